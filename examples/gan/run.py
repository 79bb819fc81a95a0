"""A run of the GAN study: data, training, checkpoints, and the line that shows the progress."""

import argparse
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import minidl as md
from gan import classifier, images, quality
from gan.game import Game
from gan.images import pixels, scaled
from minidl import data
from minidl.training.progress import clock

try:
    from gan import drawing
except ModuleNotFoundError as error:
    if error.name not in ("matplotlib", "PIL"):
        raise
    drawing = None

# A run is not resumed from a checkpoint with other settings. (More epochs may follow.)
SETTINGS = ("data", "images", "seed", "nz", "ngf", "batch_size", "wgan_gp")
SHOWN = 64  # samples on a page


class Run:
    """A training: the two networks, the progress so far, and the files that it writes.

    Args:
        make_game: called with args; returns a `gan.game.Game`.
    """

    def __init__(
        self, args: argparse.Namespace, make_game: Callable[[argparse.Namespace], Game]
    ) -> None:
        self.args = args
        kind = args.data
        if kind.startswith(images.FOLDER):
            kind = f"folder-{Path(kind.removeprefix(images.FOLDER)).resolve().name}"
        kind += ("-wgan-gp" if args.wgan_gp else "") + ("-quick" if args.quick else "")
        self.folder = args.out / "dcgan" / kind
        self.checkpoint = self.folder / "checkpoint.npz"
        if args.resume and not self.checkpoint.is_file():
            raise SystemExit(f"{self.checkpoint} is not there; start without --resume")
        loaded = images.load(args.data, args.images, args.batch_size)
        self.images, self.held_out, self.names = loaded.train, loaded.held_out, loaded.names
        self.skipped = loaded.skipped
        args.epochs = args.epochs or loaded.epochs
        self.fingerprint = zlib.crc32(self.images)
        self.folder.mkdir(parents=True, exist_ok=True)

        self.loader = data.DataLoader(
            self.images,
            args.batch_size,
            shuffle=True,
            drop_last=True,
            rng=args.seed,
            transform=scaled,
        )
        held_out = scaled(self.held_out)
        self.real_spread = quality.spread(held_out) or 1.0  # if all are the same
        self.eye = None
        if loaded.labels is not None:
            # Training the classifier again gives the same one: it is not in the checkpoint.
            self.eye = classifier.trained(
                scaled,
                self.images,
                loaded.labels,
                loaded.classifier_epochs,
                args.seed,
                len(self.names),
            )
            found, self.real_features = self.eye.look(held_out)
            self.eye_accuracy = float((found == loaded.held_out_labels).mean())
            self.real_shares = quality.class_shares(found, len(self.names))

        self.gan = make_game(args)
        rng = np.random.default_rng([args.seed, 2])
        self.noise = rng.standard_normal((1000, args.nz, 1, 1), np.float32)  # for all epochs
        self.epoch = 0  # epochs that are finished
        self.sums: dict[str, float] = {}  # of the current epoch
        self.batches = 0
        self.history: dict[str, list[float]] = {}
        self.warnings: list[str] = []
        self.stopping = False
        if args.resume:
            self.resume()

    def save(self) -> None:
        """Saves the whole state; the file is replaced completely or not at all."""
        state = {
            "settings": {name: getattr(self.args, name) for name in SETTINGS},
            "fingerprint": self.fingerprint,
            "gan": self.gan.state(),
            "loader": self.loader.state_dict(),
            "epoch": self.epoch,
            "sums": self.sums,
            "batches": self.batches,
            "history": self.history,
            "warnings": self.warnings,
        }
        md.save(state, self.checkpoint)

    def resume(self) -> None:
        """Continues from the checkpoint, with the same bits as without the interruption."""
        state = md.load(self.checkpoint)
        for name in SETTINGS:
            then, now = state["settings"][name], getattr(self.args, name)
            if then != now:
                raise SystemExit(f"{self.checkpoint} was made with {name} {then}, not {now}")
        if state["fingerprint"] != self.fingerprint:
            raise SystemExit(f"{self.checkpoint} was made with other pictures")
        self.gan.restore(state["gan"])
        self.loader.load_state_dict(state["loader"])
        for name in ("epoch", "sums", "batches", "history", "warnings"):
            setattr(self, name, state[name])

    def train(self) -> bool:
        """Trains up to the last epoch; returns False if Ctrl-C stopped it, after which it can be resumed."""
        progress = Progress(self)
        with ctrl_c_asks(self):
            while self.epoch < self.args.epochs:
                for (real,) in self.loader:
                    values = self.gan.step(real)
                    self.sums = {k: self.sums.get(k, 0.0) + v for k, v in values.items()}
                    self.batches += 1
                    progress.step()
                    if self.stopping:
                        self.save()
                        progress.say(f"interrupted in epoch {self.epoch + 1}: --resume continues")
                        return False
                self.end_epoch(progress)
                self.save()
                if self.stopping:
                    progress.say(f"interrupted after epoch {self.epoch}: --resume continues")
                    return False
        return True

    def end_epoch(self, progress: "Progress") -> None:
        """Examines samples: draws a page, counts classes, warns of problems."""
        means = {name: total / self.batches for name, total in self.sums.items()}
        self.epoch, self.sums, self.batches = self.epoch + 1, {}, 0
        samples = self.gan.samples(self.noise)
        spread = quality.spread(samples) / self.real_spread
        values, signs = means | {"spread": spread}, (spread,)
        if self.eye is not None:
            shares = quality.class_shares(self.eye.look(samples)[0], len(self.names))
            values["classes"] = float(quality.seen(shares, self.real_shares).mean())
            signs = (spread, shares, self.real_shares)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        if self.draws:
            path = self.page_of(self.epoch)
            path.parent.mkdir(exist_ok=True)
            drawing.picture(path, drawing.page(pixels(samples[:SHOWN]), 8))
        progress.epoch()
        if self.gan.steps >= self.gan.warm_up:
            for trouble in self.gan.troubles(means) + quality.troubles(*signs):
                self.warnings.append(f"epoch {self.epoch}: {trouble}")
                progress.say(f"WARNING: {trouble}")

    @property
    def draws(self) -> bool:
        return drawing is not None and not self.args.no_plots

    def page_of(self, epoch: int) -> Path:
        return self.folder / "samples" / f"epoch_{epoch:03}.png"


class Progress:
    """A line after each epoch; in a terminal, also one that is redrawn during it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.begun = self.drawn = time.perf_counter()
        self.done = 0
        self.live = sys.stdout.isatty()

    def left(self) -> str:
        run = self.run
        rest = (run.args.epochs - run.epoch) * len(run.loader) - run.batches
        spent = time.perf_counter() - self.begun
        return f"{clock(spent / max(self.done, 1) * rest)} left"

    def step(self) -> None:
        self.done += 1
        if self.live and time.perf_counter() - self.drawn > 0.2:
            self.drawn, run = time.perf_counter(), self.run
            text = f"epoch {run.epoch + 1}/{run.args.epochs}, {run.batches}/{len(run.loader)}"
            print(f"\r{text}, {self.left()}\033[K", end="", flush=True)

    def epoch(self) -> None:
        run = self.run
        last = {name: values[-1] for name, values in run.history.items()}
        classes = f"classes {last['classes']:4.0%}  " if "classes" in last else ""
        self.say(
            f"epoch {run.epoch:3}/{run.args.epochs}  D {last['d_loss']:6.3f}  "
            f"G {last['g_loss']:6.3f}  D(x) {last['real']:5.2f}  D(G(z)) {last['fake']:5.2f}  "
            f"{classes}spread {last['spread']:4.0%}  "
            f"{clock(time.perf_counter() - self.begun)}, {self.left()}"
        )

    def say(self, text: str) -> None:
        print(f"\r\033[K{text}" if self.live else text, flush=True)


@contextmanager
def ctrl_c_asks(run: Run):
    """The first Ctrl-C makes the run stop after the current step; a second one ends it at once."""

    def asked(signum: int, frame: object) -> None:
        if run.stopping:
            raise KeyboardInterrupt
        run.stopping = True

    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, asked) if ours else None
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
