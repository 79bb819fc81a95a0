"""The schedule that follows a measured value, public as ``optim.ReduceLROnPlateau``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import call
from typing import Any

from minidl import check
from minidl._kernels.runtime.prepared import outside_of_steps
from minidl.atomic import at_once, starmap
from minidl.optim.schedules import scheduled

NAME = "ReduceLROnPlateau"


class ReduceLROnPlateau:
    """Multiplies every group's rate by `factor` when a value has not improved for more than `patience` calls of `step`.

    lr = max(lr * factor, min_lr), unless that changes lr by no more than `eps`. It starts from the present rate: one
    that was set by hand meanwhile stays.

    Args:
        mode: "min" if less is better (a loss), "max" if more is.
        threshold, threshold_mode: better is a value below best * (1 - threshold) ("rel"), or below best - threshold
            ("abs"); for "max" above best * (1 + threshold), or best + threshold.
        cooldown: for this many calls after a reduction, those without improvement are not counted.

    Raises:
        ValueError, TypeError: a setting out of its range or of another type; factor must be less than 1.

    In `md.fit`: ``callbacks=[every_epoch(schedule.step, "val_loss")]``.

    >>> from minidl import nn
    >>> from minidl.optim import SGD
    >>> optimizer = SGD(nn.Affine(1, 1).parameters(), lr=0.5)
    >>> schedule = ReduceLROnPlateau(optimizer, patience=1)
    >>> for loss in (3.0, 2.0, 2.5, 2.5):
    ...     schedule.step(loss)
    >>> optimizer.lr
    0.05
    """

    def __init__(
        self,
        optimizer: Any,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = scheduled(NAME, optimizer)
        self.sign = 1 if check.choice(NAME, "mode", mode, ("min", "max")) == "min" else -1
        words = ("rel", "abs")
        self.relative = check.choice(NAME, "threshold_mode", threshold_mode, words) == "rel"
        self.factor = check.number(NAME, "factor", factor, 0.0)
        if self.factor >= 1:
            raise ValueError(f"{NAME}: factor must be less than 1, got {factor}")
        self.patience = check.integer(NAME, "patience", patience, 0)
        self.threshold = check.number(NAME, "threshold", threshold, 0.0)
        self.cooldown = check.integer(NAME, "cooldown", cooldown, 0)
        self.min_lr = check.number(NAME, "min_lr", min_lr, 0.0)
        self.eps = check.number(NAME, "eps", eps, 0.0)
        self.best = self.sign * math.inf
        self.waited = 0  # calls without improvement
        self.resting = 0  # calls that are left of the cooldown

    def step(self, value: float) -> None:
        """Call it once per epoch with the measured value; NaN does not count as an improvement.

        Raises:
            TypeError: `value` is not a number.
        """
        outside_of_steps(NAME)
        value = check.measured(NAME, "value", value)
        best, resting = self.best, max(self.resting - 1, 0)
        waited = self.waited + 1
        if self._is_better(value):
            best, waited = value, 0
        if self.resting:
            waited = 0
        changes: list[tuple] = []
        if waited > self.patience:
            waited, resting = 0, self.cooldown
            for group in self.optimizer.groups:
                rate = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - rate > self.eps:
                    changes.append((dict.__setitem__, group, "lr", rate))
        at_once(starmap(call, [*changes, *self._attributes(best, waited, resting)]))

    def _is_better(self, value: float) -> bool:
        margin = self.threshold * (self.best if self.relative else 1)
        if math.isinf(self.best):  # the first value
            margin = 0.0
        return self.sign * value < self.sign * self.best - margin

    def _attributes(self, best: float, waited: int, resting: int) -> list[tuple]:
        values = {"best": best, "waited": waited, "resting": resting}
        return [(setattr, self, name, value) for name, value in values.items()]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` restores. (The rates are in the optimizer's state.)"""
        return {"best": self.best, "waited": self.waited, "resting": self.resting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called.

        Raises:
            ValueError, TypeError: a name is missing, or its value is not a number or count. Nothing has changed.
        """
        name = f"{NAME}.load_state_dict"
        check.state(name, state, "best", "waited", "resting")
        counts = [check.integer(name, key, state[key], 0) for key in ("waited", "resting")]
        at_once(
            starmap(call, self._attributes(check.measured(name, "best", state["best"]), *counts))
        )
