"""EarlyStopping: ends a training that no longer improves, and restores its best weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from minidl import check
from minidl.training.metrics import GREATER_IS_BETTER
from minidl.training.state import Training


class EarlyStopping:
    """Stops the training when a value has not improved for `patience` epochs, and restores the best weights.

    They are restored however the training ends: by this callback, another one, Ctrl-C or the last epoch; but not
    after an exception. Parameters and buffers are then those of the best epoch; the optimizer, and an `optim.EMA`,
    are as the last step left them.

    Args:
        monitor: a name in the history, such as "val_loss".
        patience: how many epochs in a row may pass without improvement.
        restore: False keeps the weights of the last epoch.
        mode: "min" if less is better, "max" if more is; "auto" decides by name, for losses and minidl's own metrics.
        min_delta: an improvement of no more than this does not count.

    Attributes:
        best, best_epoch: the best value, and its epoch, counted from 1.

    Raises:
        ValueError, TypeError: a setting out of its range or of another type; and, when the training begins, a name
            that its history will not have (the message lists those that it will).

    >>> import minidl as md
    >>> from minidl import nn, optim
    >>> md.manual_seed(0)
    >>> model, batches = nn.Affine(2, 2), [([[1.0, 2.0]], [0])]
    >>> stopping = EarlyStopping("loss", patience=2)
    >>> history = md.fit(model, batches, "cross_entropy", optim.SGD(model.parameters(), 0.0), 9,
    ...                  callbacks=[stopping], progress=False)
    >>> len(history), stopping.best_epoch
    (3, 1)
    """

    every_rank = True  # it sees the same values on all

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        restore: bool = True,
        mode: str = "auto",
        min_delta: float = 0.0,
    ) -> None:
        who = "EarlyStopping"
        if not isinstance(monitor, str):
            raise TypeError(f"{who}: monitor must be a name in the history, got {monitor!r}")
        self.monitor = monitor
        self.patience = check.integer(who, "patience", patience, 1)
        self.restore = check.flag(who, "restore", restore)
        self.sign = _sign(monitor, check.choice(who, "mode", mode, ("auto", "min", "max")))
        self.min_delta = check.number(who, "min_delta", min_delta, 0.0)
        self._begin()

    def _begin(self) -> None:
        self.best = self.sign * math.inf
        self.best_epoch = self.waited = 0
        self._weights: Any = None

    @property
    def stopped(self) -> bool:
        """Whether there were `patience` epochs in a row without improvement."""
        return self.waited >= self.patience

    def on_train_begin(self, training: Training) -> None:
        """Checks that the history will have the value."""
        training.check_measure("EarlyStopping", self.monitor)
        self._begin()

    def on_epoch_end(self, training: Training) -> None:
        """Keeps the weights if the value has improved; stops after `patience` epochs without improvement."""
        value = training.history[self.monitor][-1]
        least = 0.0 if math.isinf(self.best) else self.min_delta  # (the first value is the best)
        if self.sign * value < self.sign * self.best - least:
            self.best, self.best_epoch, self.waited = value, training.epoch, 0
            if self.restore:
                self._weights = training.model.state_dict()
            return
        self.waited += 1
        if self.stopped:
            training.stop()

    def on_train_end(self, training: Training) -> None:
        """Restores the best weights."""
        if self._weights is not None:
            training.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What `callbacks.Checkpoint` keeps: the best value and weights, and the epochs since."""
        return {
            "monitor": self.monitor,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "weights": self._weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            ValueError: the callback that gave it watched another value; a name is missing.
        """
        names = ("monitor", "best", "best_epoch", "waited", "weights")
        check.state("EarlyStopping.load_state_dict", state, *names)
        if state["monitor"] != self.monitor:
            raise ValueError(
                f"EarlyStopping: monitor is {self.monitor!r}, in the state {state['monitor']!r}"
            )
        self.best, self._weights = float(state["best"]), state["weights"]
        self.best_epoch, self.waited = int(state["best_epoch"]), int(state["waited"])


def _sign(monitor: str, mode: str) -> int:
    """1 if less of the value is better, -1 if more is."""
    if mode != "auto":
        return 1 if mode == "min" else -1
    if monitor.endswith("loss"):
        return 1
    if GREATER_IS_BETTER.fullmatch(monitor):
        return -1
    raise ValueError(
        f"EarlyStopping: mode: say whether less or more of {monitor!r} is better: 'min' or 'max'"
    )
