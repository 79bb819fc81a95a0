"""Groups of parameters: their settings, checked whenever they are set, and what is kept for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl._kernels.runtime.prepared import outside_of_steps
from minidl.autograd.tensor import Tensor


def _at_least_0(owner: str, name: str, value: Any) -> float:
    return check.number(owner, name, value, least=0.0)


def _betas(owner: str, name: str, value: Any) -> tuple[float, float]:
    pair = tuple(value) if isinstance(value, Sequence) else ()
    if len(pair) != 2:
        raise TypeError(f"{owner}: {name} must be two numbers, got {value!r}")
    first, second = (check.number(owner, name, beta, least=0.0) for beta in pair)
    if max(first, second) >= 1:
        raise ValueError(f"{owner}: {name} must be less than 1, got {value}")
    return first, second


def _from_0_to_1(owner: str, name: str, value: Any) -> float:
    return check.number(owner, name, value, least=0.0, most=1.0)


# The checks of settings that are not simply a number >= 0.
CHECKS: dict[str, Callable[[str, str, Any], Any]] = {
    "nesterov": check.flag,
    "amsgrad": check.flag,
    "centered": check.flag,
    "decoupled_weight_decay": check.flag,
    "betas": _betas,
    "alpha": _from_0_to_1,
    "rho": _from_0_to_1,
}


def checked(owner: str, name: str, value: Any) -> Any:
    """The value of a setting of `owner`, if it is one that it may have."""
    return CHECKS.get(name, _at_least_0)(owner, name, value)


class Slot:
    """What an optimizer keeps for one parameter."""

    __slots__ = ("count", "data", "moments", "parameter")

    def __init__(self, parameter: Tensor) -> None:
        self.parameter: Any = parameter  # a Parameter, or a Tensor without lr_mult and decay
        self.data: np.ndarray | None = None  # the array that was last found fit to be stepped
        self.moments: tuple[np.ndarray, ...] = ()
        self.count = np.zeros((), np.int64)  # an array: the kernel that steps also counts

    @property
    def step(self) -> int:
        """How often the parameter was stepped; while `_step` runs, this step included."""
        return int(self.count)

    def __reduce__(self) -> tuple:
        # Without `data`: a copy's memory may be laid out in another way, so the moments are fitted anew.
        return Slot, (self.parameter,), (None, {"moments": self.moments, "count": self.count})


class Group(dict):
    """Some parameters and their settings; ``group["lr"] = 0.1`` is checked as the constructor's
    arguments are.
    """

    def __init__(self, owner: str, params: Sequence[Tensor], options: Mapping[str, Any]) -> None:
        super().__init__({name: checked(owner, name, value) for name, value in options.items()})
        super().__setitem__("params", tuple(params))
        self.owner = owner
        self.slots = [Slot(p) for p in params]

    def __reduce__(self) -> tuple:
        return Group, (self.owner, self["params"], self.options()), {"slots": self.slots}

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self or name == "params":
            raise KeyError(
                f"{self.owner}: {name!r} cannot be set; settable: {list(self.options())}"
            )
        outside_of_steps(self.owner)
        super().__setitem__(name, checked(self.owner, name, value))

    def options(self) -> dict[str, Any]:
        """The settings without the parameters."""
        return {name: value for name, value in self.items() if name != "params"}


def groups_of(name: str, params: Any, options: dict[str, Any]) -> list[tuple[list, dict[str, Any]]]:
    """(parameters, settings of their own) of each group."""
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        hint = "; call its parameters()" if hasattr(params, "parameters") else ""
        raise TypeError(
            f"{name}: params must be a sequence of Parameters or of groups, "
            f"got {type(params).__name__}{hint}"
        )
    items = list(params)
    if not any(isinstance(item, Mapping) for item in items):
        return [(_each_once(items), {})]
    groups = []
    for i, item in enumerate(items):
        if not isinstance(item, Mapping) or "params" not in item:
            raise TypeError(f"{name}: group {i} must be a dict with 'params', got {item!r}")
        own = {key: value for key, value in item.items() if key != "params"}
        unknown = [key for key in own if key not in options]
        if unknown:
            raise ValueError(f"{name}: group {i} sets {unknown}, but settings are {list(options)}")
        members = item["params"]
        members = [members] if isinstance(members, Tensor) else _each_once(members)
        groups.append((members, own))
    return groups


def _each_once(params: Iterable[Any]) -> list[Any]:
    """Layers with the same scope each name the parameter that they share: it is stepped once."""
    return list({id(p): p for p in params}.values())


def check_parameters(name: str, params: list[Any]) -> None:
    """Raises unless there are parameters, all of them leaves of a float dtype, and none of them in two groups."""
    if not params:
        raise ValueError(f"{name}: params is empty (an iterator may have been used up already)")
    first: dict[int, int] = {}
    for i, p in enumerate(params):
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: parameter {i} must be a Parameter, got {type(p).__name__}")
        if p.dtype.kind != "f":
            raise TypeError(
                f"{name}: parameter {i} has dtype {p.dtype}; only floats can be trained"
            )
        if p._op is not None:
            raise ValueError(
                f"{name}: parameter {i} is the result of an op; only leaves can be stepped"
            )
        if id(p) in first:
            raise ValueError(
                f"{name}: parameters {first[id(p)]} and {i} are the same one, in two groups"
            )
        first[id(p)] = i
