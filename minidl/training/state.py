"""A training in progress, as callbacks see it, and its whole state: what `callbacks.Checkpoint` saves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from minidl import check
from minidl.nn import Module
from minidl.nn.buffers import generators_of
from minidl.random import generator
from minidl.training.history import History
from minidl.training.metrics import Means


class Training:
    """A training in progress, as callbacks see it.

    Attributes:
        model, loader, optimizer, history: what `fit` was given, and what it will return.
        epochs, epoch: how many there will be; the present one, counted from 1.
        batch, step: batches done in this epoch; steps of the optimizer in the whole training.
        x, target, y, loss: the latest batch, the model's output for it (a Tensor), and its loss (a
            number).
        measures: the names that the history will have.
        means: the totals of the present epoch.
        interrupted: Ctrl-C was pressed.
        cleanup: a `contextlib.ExitStack`, closed at the very end, after an exception too.
    """

    def __init__(
        self,
        model: Module,
        loader: Any,
        optimizer: Any,
        epochs: int,
        callbacks: Sequence[Any],
        new_means: Callable[[], Means],
        measures: Sequence[str],
    ) -> None:
        self.model, self.loader, self.optimizer, self.epochs = model, loader, optimizer, epochs
        self.callbacks, self.new_means, self.measures = callbacks, new_means, list(measures)
        self.history = History()
        self.epoch = self.batch = self.step = 0
        self.means = new_means()
        self.x: Any = None
        self.target: Any = None
        self.y: Any = None
        self.loss = math.nan
        self.in_epoch = False  # an epoch is under way
        self.interrupted = self.stopping = False
        self.asked = False  # Ctrl-C was pressed, on this rank
        self.loads = 0  # how often a state was loaded
        self.cleanup = ExitStack()

    def stop(self) -> None:
        """Ends the training after this batch; its epoch is closed as usual, validation included."""
        self.stopping = True

    def check_measure(self, who: str, name: str) -> None:
        """Raises ValueError if the history will have no such name."""
        if name not in self.measures:
            raise ValueError(
                f"{who}: monitor: {name!r} is not measured; there are {', '.join(self.measures)}"
            )

    def goes_on(self) -> bool:
        """Whether there is an epoch to do, or to end."""
        return self.in_epoch or (self.epoch < self.epochs and not self.stopping)

    def open_epoch(self) -> None:
        """Begins the next epoch, unless one is under way."""
        if not self.in_epoch:
            self.epoch += 1
            self.batch, self.means, self.in_epoch = 0, self.new_means(), True

    def batches(self) -> Iterable[Any]:
        """What is left of this epoch: all of it, except after `load_state_dict`."""
        if self.stopping or (self.batch and self.batch == _length(self.loader)):
            return ()
        if self.batch and not hasattr(self.loader, "load_state_dict"):  # a list
            return self.loader[self.batch :]
        return self.loader

    # State.

    def state_dict(self) -> dict[str, Any]:
        """All that a training needs to go on with the same bits.

        The model, the optimizer, the loader, the totals of the epoch, the history, the random generators (the library's
        and those of layers), and of each callback what its `state_dict` gives. A tree that `minidl.save` can keep.
        """
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "in_epoch": self.in_epoch,
            "history": {name: list(values) for name, values in self.history.history.items()},
            "means": self.means.state_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": _length(self.loader),
            "loader": _state_of(self.loader),
            "random": generator().bit_generator.state,
            "layers": {name: rng.bit_generator.state for name, rng in generators_of(self.model)},
            "callbacks": [[type(c).__name__, _state_of(c)] for c in self.callbacks],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called. If anything in it does not fit, nothing has changed.

        A training that `stop` or Ctrl-C ended goes on, too, unless a callback's ``stopped`` is still true.

        Raises:
            ValueError and others: the state of another model, optimizer or loader, of other metrics or callbacks.
        """
        check.state("fit", state)
        before = self.state_dict()
        missing = [key for key in before if key not in state]
        if missing:
            raise ValueError(f"this is not the state of a training: it has no {', '.join(missing)}")
        for what, own, given in (
            ("batches of an epoch", before["batches"], state["batches"]),
            ("generators of layers", list(before["layers"]), list(state["layers"])),
            ("callbacks", *([kind for kind, _ in s["callbacks"]] for s in (before, state))),
            ("a loader with a state", *(s["loader"] is not None for s in (before, state))),
        ):
            if own != given:
                raise ValueError(f"{what}: {own}, in the state {given}")
        for name, p in self.model.named_parameters():
            if p.waits_for_shape:  # it has no values to go back to
                del before["model"][name]
        try:
            self._load(state)
            self.loads += 1
        except BaseException:
            self._load(before, strict=False)
            raise

    def _load(self, state: Mapping[str, Any], strict: bool = True) -> None:
        means = self.new_means()
        means.load_state_dict(state["means"])
        self.model.load_state_dict(state["model"], strict)
        self.optimizer.load_state_dict(state["optimizer"])
        if state["loader"] is not None:
            self.loader.load_state_dict(state["loader"])
        for callback, (_, its) in zip(self.callbacks, state["callbacks"], strict=True):
            if its is not None:
                callback.load_state_dict(its)
        generator().bit_generator.state = state["random"]
        for name, rng in generators_of(self.model):
            rng.bit_generator.state = state["layers"][name]
        self.means = means
        self.history.history = {name: list(values) for name, values in state["history"].items()}
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.in_epoch = state["in_epoch"]
        self.stopping = any(getattr(callback, "stopped", False) for callback in self.callbacks)


def _length(loader: Any) -> int | None:
    return len(loader) if hasattr(loader, "__len__") else None


def _state_of(thing: Any) -> Any:
    """The state of a loader or callback that has one."""
    return thing.state_dict() if hasattr(thing, "load_state_dict") else None
