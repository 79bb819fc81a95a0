"""Learning-rate schedules, public as ``optim.StepLR`` and so on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
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
        self.optimizer = scheduled(type(self).__name__, optimizer)
        self.base = base or [group["lr"] for group in optimizer.groups]
        self.count = 0
        self._set(0, self.base)

    def lr_at(self, base: float, t: int) -> float:
        """The learning rate after t steps, for a group that began with `base`."""
        raise NotImplementedError(f"{type(self).__name__} has no lr_at()")

    def rates_at(self, base: list[float], t: int) -> list[float]:
        """The learning rates of all groups after t steps."""
        return [self.lr_at(lr, t) for lr in base]

    def others_at(self, group: Mapping[str, Any], t: int) -> dict[str, Any]:
        """Other settings of a group after t steps; most schedules change none."""
        return {}

    def step(self) -> None:
        """Goes one step on. Call it once per epoch or once per batch, whichever unit the settings are in."""
        self._set(self.count + 1, self.base)

    def _set(self, count: int, base: list[float]) -> None:
        """Count, bases and the settings of all groups, or nothing if a rate is invalid."""
        name, groups = type(self).__name__, self.optimizer.groups
        outside_of_steps(name)
        changes: list[tuple] = []
        for group, rate in zip(groups, self.rates_at(base, count), strict=True):
            settings = {"lr": check.number(name, "the rate", rate, 0.0)}
            settings |= self.others_at(group, count)
            changes += [(dict.__setitem__, group, key, value) for key, value in settings.items()]
        changes += [(setattr, self, "count", count), (setattr, self, "base", base)]
        at_once(starmap(call, changes))

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` restores: the count and the base rates."""
        return {"count": self.count, "base": list(self.base)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was called.

        Raises:
            ValueError: the state of an optimizer with another number of groups; a name is missing.
        """
        name = f"{type(self).__name__}.load_state_dict"
        check.state(name, state, "count", "base")
        base = [check.number(name, "base", lr, 0.0) for lr in state["base"]]
        if len(base) != len(self.base):
            raise ValueError(
                f"{name}: expected the state of {len(self.base)} groups, got {len(base)}"
            )
        self._set(check.integer(name, "count", state["count"], 0), base)


def scheduled(name: str, optimizer: Any) -> Any:
    """The optimizer of the schedule `name`; TypeError if it is not an optimizer."""
    if isinstance(optimizer, type) or not hasattr(optimizer, "groups"):
        raise TypeError(f"{name}: expected an optimizer, got {optimizer!r}")
    return optimizer


def _per_group(name: str, argument: str, value: Any, optimizer: Any) -> list[Any]:
    """A list with an item per group, or the same value for all of them."""
    groups = scheduled(name, optimizer).groups
    if not isinstance(value, list | tuple):
        return [value] * len(groups)
    if len(value) != len(groups):
        raise ValueError(
            f"{name}: {argument}: expected {len(groups)}, one per group, got {len(value)}"
        )
    return list(value)


class LambdaLR(Schedule):
    """lr = base * lr_lambda(t), for a function of your own, or a list with one for each group.

    The functions are not in `state_dict`: build the schedule with the same ones before `load_state_dict`.

    Raises:
        TypeError: `lr_lambda` is not a function. ValueError: it returns what is not a finite number >= 0 (nothing has
            changed then); a list of another length than there are groups.

    >>> from minidl import nn
    >>> from minidl.optim import SGD
    >>> optimizer = SGD(nn.Affine(1, 1).parameters(), lr=0.5)
    >>> schedule = LambdaLR(optimizer, lambda t: 1 / (1 + t))
    >>> schedule.step()
    >>> optimizer.lr
    0.25
    """

    def __init__(
        self, optimizer: Any, lr_lambda: Callable[[int], float] | list[Callable[[int], float]]
    ) -> None:
        self.functions = _per_group("LambdaLR", "lr_lambda", lr_lambda, optimizer)
        for function in self.functions:
            if not callable(function):
                raise TypeError(f"LambdaLR: lr_lambda must be a function of t, got {function!r}")
        super().__init__(optimizer)

    def rates_at(self, base: list[float], t: int) -> list[float]:
        factors = [check.number("LambdaLR", "lr_lambda", f(t), 0.0) for f in self.functions]
        return [lr * factor for lr, factor in zip(base, factors, strict=True)]


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
    """lr = base * gamma^(how many milestones t has reached): each milestone multiplies the rate by gamma.

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


class CosineRestartsLR(Schedule):
    """`CosineLR` that begins anew after `period` steps, then after growth times as many, and so on:

        lr = min_lr + (base - min_lr) (1 + cos(pi t_i / T_i)) / 2

    with T_i = period growth^i the length of the present period and t_i the steps done in it.

    Raises:
        ValueError: `period` or `growth` below 1, `min_lr` below 0 or not finite.
        TypeError: an argument of another type.

    Source: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017 (eq. 5).
    """

    def __init__(self, optimizer: Any, period: int, growth: int = 1, min_lr: float = 0.0) -> None:
        self.period = check.integer("CosineRestartsLR", "period", period, 1)
        self.growth = check.integer("CosineRestartsLR", "growth", growth, 1)
        self.min_lr = check.number("CosineRestartsLR", "min_lr", min_lr, 0.0)
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        length = self.period
        if self.growth == 1:
            t %= length
        while t >= length:
            t, length = t - length, length * self.growth
        return self.min_lr + (base - self.min_lr) * (1 + math.cos(math.pi * t / length)) / 2


class OneCycleLR(Schedule):
    """From max_lr / div_factor up to max_lr and down to max_lr / div_factor / final_div_factor, in total_steps steps.

    The way up takes the share pct_start of the steps. With three_phase the way down is as long and ends where it
    began, and the rest goes from there to the end. Afterwards the rate stays as it is. Momentum (SGD's momentum, beta1
    of others) goes the other way: down from max_momentum to base_momentum and back up. As in PyTorch, with one
    difference: after total_steps there it raises.

    Args:
        max_lr: a number, or a list with one for each group.
        total_steps: the steps of the whole training: epochs * len(loader), if `step` is called after each batch.
        anneal_strategy: "cos" or "linear", how the rate goes from one end of a phase to the other.
        cycle_momentum: False leaves momentum as it is.

    Raises:
        ValueError, TypeError: a setting out of its range or of another type; cycle_momentum for an optimizer that has
            none.

    Source: Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates, 2018.
    """

    def __init__(
        self,
        optimizer: Any,
        max_lr: float | list[float],
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        name, number = "OneCycleLR", partial(check.number, "OneCycleLR")
        rates = [number("max_lr", lr, 0.0) for lr in _per_group(name, "max_lr", max_lr, optimizer)]
        total = check.integer(name, "total_steps", total_steps, 1)
        share = number("pct_start", pct_start, 0.0, 1.0)
        words = ("cos", "linear")
        self.cosine = check.choice(name, "anneal_strategy", anneal_strategy, words) == "cos"
        first = 1 / _positive(name, "div_factor", div_factor)
        last = first / _positive(name, "final_div_factor", final_div_factor)
        low = number("base_momentum", base_momentum, 0.0, 1.0)
        high = number("max_momentum", max_momentum, 0.0, 1.0)
        self.cycles = check.flag(name, "cycle_momentum", cycle_momentum)
        groups = optimizer.groups
        if self.cycles and not all("momentum" in g or "betas" in g for g in groups):
            raise ValueError(
                f"{name}: cycle_momentum: {type(optimizer).__name__} has neither momentum nor "
                "betas; pass cycle_momentum=False"
            )
        # Of each phase: its first and last step; the rate there, as a part of max_lr; the momentum there.
        top = share * total - 1
        self.phases = [(0.0, top, first, 1.0, high, low)]
        if check.flag(name, "three_phase", three_phase):
            down = 2 * share * total - 2
            self.phases.append((top, down, 1.0, first, low, high))
            self.phases.append((down, total - 1, first, last, high, high))
        else:
            self.phases.append((top, total - 1, 1.0, last, low, high))
        super().__init__(optimizer, rates)

    def _at(self, t: float) -> tuple[float, float]:
        """The part of max_lr, and the momentum."""
        phase = next((phase for phase in self.phases if t <= phase[1]), self.phases[-1])
        begin, end, lr0, lr1, momentum0, momentum1 = phase
        t = min(t, self.phases[-1][1])
        share = (t - begin) / (end - begin) if end > begin else 1.0
        if self.cosine:
            share = (1 - math.cos(math.pi * share)) / 2
        return lr0 + (lr1 - lr0) * share, momentum0 + (momentum1 - momentum0) * share

    def lr_at(self, base: float, t: int) -> float:
        return base * self._at(t)[0]

    def others_at(self, group: Mapping[str, Any], t: int) -> dict[str, Any]:
        if not self.cycles:
            return {}
        momentum = self._at(t)[1]
        if "betas" in group:
            return {"betas": (momentum, group["betas"][1])}
        return {"momentum": momentum}


def _positive(owner: str, name: str, value: Any) -> float:
    if check.number(owner, name, value) <= 0:
        raise ValueError(f"{owner}: {name} must be a number > 0, got {value}")
    return float(value)


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

    def rates_at(self, base: list[float], t: int) -> list[float]:
        if t < self.steps:
            return [lr * ((t + 1) / (self.steps + 1)) for lr in base]
        return base if self.after is None else self.after.rates_at(base, t - self.steps)

    def others_at(self, group: Mapping[str, Any], t: int) -> dict[str, Any]:
        return {} if self.after is None else self.after.others_at(group, max(t - self.steps, 0))
