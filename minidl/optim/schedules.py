"""Learning-rate schedules, public as ``optim.StepLR`` and so on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from operator import call
from typing import Any

from minidl import check
from minidl._kernels.runtime.prepared import outside_of_steps
from minidl.atomic import at_once, starmap


class Schedule:
    """Base of the schedules: sets every group's learning rate.

    Each group's base is the rate that it has when the schedule is built. A subclass writes
    ``lr_at(base, t)``, the rate after t calls of `step`. What is set by hand is overwritten at the
    next `step`.
    """

    def __init__(self, optimizer: Any, base: list[float] | None = None) -> None:
        if not hasattr(optimizer, "groups"):
            raise TypeError(f"{type(self).__name__}: expected an optimizer, got {optimizer!r}")
        self.optimizer = optimizer
        self.base = base or [group["lr"] for group in optimizer.groups]
        self.count = 0
        self._set(0, self.base)

    def lr_at(self, base: float, t: int) -> float:
        """The learning rate after t steps, for a group that began with `base`."""
        raise NotImplementedError(f"{type(self).__name__} has no lr_at()")

    def step(self) -> None:
        """One step on: call it once an epoch, or once a batch, whatever its lengths count."""
        self._set(self.count + 1, self.base)

    def _set(self, count: int, base: list[float]) -> None:
        """Count, bases and the rates of all groups, or nothing if a rate is invalid."""
        name, groups = type(self).__name__, self.optimizer.groups
        outside_of_steps(name)
        rates = [check.number(name, "the rate", self.lr_at(lr, count), 0.0) for lr in base]
        changes: list[tuple] = [
            (dict.__setitem__, group, "lr", rate) for group, rate in zip(groups, rates, strict=True)
        ]
        changes += [(setattr, self, "count", count), (setattr, self, "base", base)]
        at_once(starmap(call, changes))

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` restores: the count and the base rates."""
        return {"count": self.count, "base": list(self.base)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called.

        Raises:
            ValueError: the state of an optimizer with another number of groups.
        """
        name = f"{type(self).__name__}.load_state_dict"
        check.state(name, state)
        base = [check.number(name, "base", lr, 0.0) for lr in state["base"]]
        if len(base) != len(self.base):
            raise ValueError(
                f"{name}: expected the state of {len(self.base)} groups, got {len(base)}"
            )
        self._set(check.integer(name, "count", state["count"], 0), base)


class StepLR(Schedule):
    """lr = base * gamma^floor(t / step_size): after every `step_size` calls of `step` the rate is multiplied by gamma.

    Raises:
        ValueError: `step_size` below 1, `gamma` below 0 or not finite.
        TypeError: an argument of another type.
    """

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = check.integer("StepLR", "step_size", step_size, 1)
        self.gamma = check.number("StepLR", "gamma", gamma, 0.0)
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(Schedule):
    """lr = base * gamma^(how many milestones t has reached): gamma comes in at each of the milestones.

    Args:
        milestones: counts of `step`, in any order; one that is listed twice counts twice.

    Raises:
        ValueError: a milestone below 1, `gamma` below 0 or not finite.
        TypeError: an argument of another type.
    """

    def __init__(self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones = [
            check.integer("MultiStepLR", "milestones", m, 1)
            for m in check.items("MultiStepLR", "milestones", milestones, "integers")
        ]
        self.gamma = check.number("MultiStepLR", "gamma", gamma, 0.0)
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.gamma ** sum(t >= m for m in self.milestones)


class ExponentialLR(Schedule):
    """lr = base * gamma^t: each call of `step` multiplies the rate by gamma.

    Raises:
        ValueError: `gamma` below 0 or not finite.
        TypeError: an argument of another type.
    """

    def __init__(self, optimizer: Any, gamma: float) -> None:
        self.gamma = check.number("ExponentialLR", "gamma", gamma, 0.0)
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.gamma**t


class CosineLR(Schedule):
    """lr = min_lr + (base - min_lr) (1 + cos(pi t / total)) / 2, and min_lr from t = total on.

    Raises:
        ValueError: `total` below 1, `min_lr` below 0 or not finite.
        TypeError: an argument of another type.

    Source: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017 (eq. 5, no restarts).
    """

    def __init__(self, optimizer: Any, total: int, min_lr: float = 0.0) -> None:
        self.total = check.integer("CosineLR", "total", total, 1)
        self.min_lr = check.number("CosineLR", "min_lr", min_lr, 0.0)
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        part = (1 + math.cos(math.pi * min(t, self.total) / self.total)) / 2
        return self.min_lr + (base - self.min_lr) * part


class WarmupLR(Schedule):
    """lr = base (t + 1) / (steps + 1) for t < steps, then base.

    Or, after the warm-up, what the schedule `after` says for t - steps.

    >>> from minidl import nn
    >>> from minidl.optim import SGD
    >>> optimizer = SGD(nn.Affine(1, 1).parameters(), lr=0.3)
    >>> schedule = WarmupLR(optimizer, steps=2, after=CosineLR(optimizer, total=10))
    >>> rates = [(optimizer.lr, schedule.step())[0] for _ in range(3)]
    >>> [round(lr, 3) for lr in rates]
    [0.1, 0.2, 0.3]
    """

    def __init__(self, optimizer: Any, steps: int, after: Schedule | None = None) -> None:
        self.steps = check.integer("WarmupLR", "steps", steps, 1)
        if after is not None and (
            not isinstance(after, Schedule) or after.optimizer is not optimizer
        ):
            raise ValueError("WarmupLR: after must be a schedule of the same optimizer")
        self.after = after
        super().__init__(optimizer, None if after is None else after.base)

    def lr_at(self, base: float, t: int) -> float:
        if t < self.steps:
            return base * ((t + 1) / (self.steps + 1))
        return base if self.after is None else self.after.lr_at(base, t - self.steps)
