"""What a training was like, epoch by epoch, and its picture."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from operator import call
from typing import Any

from minidl.atomic import at_once, starmap


class History:
    """The values of each epoch, as `fit` returns them.

    Attributes:
        history: a list per name, one number per epoch: "loss", "accuracy" (or whatever the metrics
            are called), the same with "val_" before it if there was a validation, "lr" at the end
            of the epoch, "time" in seconds. Training values are means over the samples of the epoch
            while the model was learning.
        interrupted: whether Ctrl-C ended the training.

    >>> history = History()
    >>> history.append({"loss": 0.5, "time": 1.0})
    >>> history["loss"], len(history)
    ([0.5], 1)
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.interrupted = False

    def append(self, values: Mapping[str, float]) -> None:
        """Adds the values of one more epoch."""
        columns = [(name, self.history.get(name, []), value) for name, value in values.items()]
        changes: list[tuple] = [(list.append, column, value) for _, column, value in columns]
        changes += [(dict.__setitem__, self.history, name, column) for name, column, _ in columns]
        at_once(starmap(call, changes))

    def __getitem__(self, name: str) -> list[float]:
        return self.history[name]

    def __len__(self) -> int:
        return max(map(len, self.history.values()), default=0)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        cut = ", interrupted" if self.interrupted else ""
        return f"History({len(self)} epochs{cut}{': ' if last else ''}{last})"

    def _repr_html_(self) -> str:
        from minidl.notebook.views import history_html  # here, as only notebooks need it

        return history_html(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> None:
        """Draws the learning curves, one panel for the loss and one per metric, training and
        validation together.

        Args:
            path: a file to write (the ending tells the format); without it a window, or the
                notebook's cell, shows them.

        Raises:
            ModuleNotFoundError: matplotlib is missing; says how to install it.
        """
        names = [
            name
            for name in self.history
            if name not in ("time", "lr") and not name.startswith("val_")
        ] or ["loss"]
        figure = new_figure("History.plot", path, (4.5 * len(names), 3.5))
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                values = self.history.get(key, [])
                if values:
                    axes.plot(range(1, len(values) + 1), values, ".-", label=label)
                    axes.legend()
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
        save_or_show(figure, path)


def new_figure(who: str, path: str | os.PathLike[str] | None, size: tuple[float, float]) -> Any:
    """An empty figure of matplotlib, an optional extra; `who` needs it, to write it to `path`.

    Raises:
        ModuleNotFoundError: matplotlib is missing; says how to install it.
    """
    try:
        from matplotlib import pyplot
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{who}: matplotlib is missing; install it with: pip install "minidl[plot]"'
        ) from error
    make = pyplot.figure if path is None else Figure  # the latter never opens a window
    return make(figsize=size, layout="constrained")


def save_or_show(figure: Any, path: str | os.PathLike[str] | None) -> None:
    """Writes the figure to `path`; without one a window, or the notebook's cell, shows it."""
    if path is not None:
        figure.savefig(path, dpi=120)
        return
    from matplotlib import pyplot

    with warnings.catch_warnings():  # a missing screen must not make it fail
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        pyplot.show()
