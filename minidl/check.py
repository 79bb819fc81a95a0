"""What layers, initializers and optimizers ask of their settings.

Each function returns the checked value, or raises and names the owner and its argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np


def integer(owner: str, argument: str, value: Any, least: int | None = None) -> int:
    """An int, at least `least`."""
    limit = "" if least is None else f" >= {least}"
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{owner}: {argument} must be an integer{limit}, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{owner}: {argument} must be an integer{limit}, got {value}")
    return int(value)


def integers(owner: str, argument: str, value: Any, least: int | None = None) -> tuple[int, ...]:
    """A tuple of ints from an int or a sequence of at least one."""
    items = tuple(value) if isinstance(value, Sequence) else (value,)
    if not items:
        raise ValueError(f"{owner}: {argument} must not be empty")
    return tuple(integer(owner, argument, item, least) for item in items)


def number(
    owner: str, argument: str, value: Any, least: float = -math.inf, most: float = math.inf
) -> float:
    """A finite float from `least` to `most`."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{owner}: {argument} must be a number, got {value!r}")
    if not (math.isfinite(value) and least <= float(value) <= most):
        low = "" if least == -math.inf else f" >= {least:g}"
        bounds = low if most == math.inf else f" from {least:g} to {most:g}"
        raise ValueError(f"{owner}: {argument} must be a finite number{bounds}, got {value}")
    return float(value)


def flag(owner: str, argument: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{owner}: {argument} must be True or False, got {value!r}")
    return bool(value)
