"""What `fit` shows: a bar in a terminal (with tqdm), a line per epoch elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from minidl import check
from minidl.distributed import DataParallel
from minidl.training.metrics import GREATER_IS_BETTER as SHARES
from minidl.training.metrics import Means

REDRAW = 0.1  # seconds between two drawings of the bar: a step may take 0.0002 s


class Silent:
    """Shows nothing; also what the others have in common."""

    def due(self) -> bool:
        """Whether it is time to call `batch` again."""
        return False

    def go_on_after(self, epoch: int) -> None:
        """Says that these epochs were done in an earlier run."""

    def batch(self, epoch: int, batches: int, means: Means) -> None:
        """Shows the means over the samples of this epoch, after so many of its batches."""

    def epoch(self, epoch: int, values: Mapping[str, float], rate: float) -> None:
        """Shows the values of a whole epoch, and its rate in samples per second."""

    def say(self, message: str) -> None:
        """Shows a line."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


class Lines(Silent):
    """A line per epoch: for log files, notebooks, and terminals without tqdm."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.begun = time.perf_counter()
        self.before = 0

    def go_on_after(self, epoch: int) -> None:
        self.before = epoch

    def epoch(self, epoch: int, values: Mapping[str, float], rate: float) -> None:
        width = len(str(self.epochs))
        spent = time.perf_counter() - self.begun
        each = spent / max(epoch - self.before, 1)
        rest = f"{clock(each * (self.epochs - epoch))} left"
        shown = {name: value for name, value in values.items() if name not in ("time", "lr")}
        end = rest if epoch < self.epochs else clock(spent)
        self.say(
            f"epoch {epoch:{width}}/{self.epochs}  {listed(shown)}  {rate:,.0f} samples/s  {end}"
        )

    def say(self, message: str) -> None:
        print(message, flush=True)


class Bar(Lines):
    """A line per epoch, and below it a bar over the whole training. Needs tqdm."""

    def __init__(self, epochs: int, batches: int | None, tqdm: Any) -> None:
        super().__init__(epochs)
        self.batches = batches
        self.next = 0.0
        self.bar = tqdm(
            total=None if batches is None else epochs * batches,
            bar_format="{desc} {percentage:3.0f}% |{bar:20}| {remaining} left{postfix}"
            if batches
            else None,
            smoothing=0,  # the mean rate since the start, so that validation has its share in it
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def due(self) -> bool:
        return time.perf_counter() >= self.next

    def batch(self, epoch: int, batches: int, means: Means) -> None:
        self.next = time.perf_counter() + REDRAW
        self.bar.set_description_str(f"epoch {epoch}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(
            f"{listed(means.values())}  {means.rate():,.0f} samples/s", refresh=False
        )
        self.bar.n = (epoch - 1) * (self.batches or 0) + batches
        self.bar.refresh()

    def say(self, message: str) -> None:
        self.bar.clear()
        print(message, flush=True)
        self.bar.refresh()

    def close(self) -> None:
        self.bar.close()


def reporter(
    show: bool, epochs: int, batches: int | None, parallel: DataParallel | None = None
) -> Silent:
    """What suits the place: `show` as the user wishes, `batches` in an epoch if that is known. One rank shows it."""
    if not check.flag("fit", "progress", show) or (parallel and not parallel.world.is_main):
        return Silent()
    if sys.stderr.isatty() and sys.stdout.isatty():
        try:
            from tqdm import tqdm  # an optional extra
        except ImportError:
            return Lines(epochs)
        return Bar(epochs, batches, tqdm)
    return Lines(epochs)


def listed(values: Mapping[str, float]) -> str:
    """The values by name, shares in percent: "loss 0.1234  accuracy 96.31%"."""
    return "  ".join(
        f"{name} {value:.2%}" if SHARES.fullmatch(name) else f"{name} {value:.4g}"
        for name, value in values.items()
    )


def clock(seconds: float) -> str:
    """A length of time for people: "4.2 s", "2:05", "1:02:05"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
