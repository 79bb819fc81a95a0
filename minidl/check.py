"""What layers, initializers and optimizers ask of their settings.

Each function returns the checked value, or raises and names the owner and its argument.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

# The limit on strides, paddings and other settings of windows: sizes computed from them fit 64 bits.
WINDOW_LIMIT = 2**31 - 1
LARGEST = sys.maxsize // 8  # doubles of an array


def integer(
    owner: str, argument: str, value: Any, least: int | None = None, most: int | None = None
) -> int:
    """An int, at least `least` and at most `most`."""
    # (The usual type first: the question for all of them takes a while.)
    if type(value) is not int and (
        not isinstance(value, int | np.integer) or isinstance(value, bool)
    ):
        limit = "" if least is None else f" >= {least}"
        raise TypeError(f"{owner}: {argument} must be an integer{limit}, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{owner}: {argument} must be an integer >= {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{owner}: {argument} must be an integer <= {most}, got {value}")
    return int(value)


def integers(
    owner: str, argument: str, value: Any, least: int | None = None, most: int | None = None
) -> tuple[int, ...]:
    """A tuple of ints from an int or a sequence of at least one."""
    if type(value) is int:  # (to ask whether it is a sequence takes longer than all else)
        return (integer(owner, argument, value, least, most),)
    items = (
        tuple(value)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes)
        else (value,)
    )
    if not items:
        raise ValueError(f"{owner}: {argument} must not be empty")
    return tuple(integer(owner, argument, item, least, most) for item in items)


def shape(owner: str, lengths: Sequence[int]) -> tuple[int, ...]:
    """The shape of a result, if an array of doubles can have it."""
    size = 1
    for n in lengths:  # (the usual case: none is 0 or less)
        if n <= 0:
            break
        size *= n
    else:
        if size <= LARGEST:
            return tuple(lengths)
    if min(lengths, default=0) < 0:
        raise ValueError(f"{owner}: shape: lengths must not be negative, got {tuple(lengths)}")
    size = math.prod(lengths) or math.prod([max(n, 1) for n in lengths])
    if size > LARGEST:
        raise ValueError(f"{owner}: a result of shape {tuple(lengths)} is too large for an array")
    return tuple(lengths)


def state(owner: str, value: Any, *names: str) -> None:
    """A state: a mapping that has these names, and not the path of a file with one."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{owner}: state: expected a dict by name, got {value!r}; a file is read by minidl.load"
        )
    missing = [name for name in names if name not in value]
    if missing:
        raise ValueError(
            f"{owner}: state: expected {', '.join(names)}; missing: {', '.join(missing)}"
        )


def number(
    owner: str, argument: str, value: Any, least: float = -math.inf, most: float = math.inf
) -> float:
    """A finite float from `least` to `most`."""
    if type(value) is not float and (not isinstance(value, Real) or isinstance(value, bool)):
        raise TypeError(f"{owner}: {argument} must be a number, got {value!r}")
    try:
        fits = math.isfinite(value) and least <= float(value) <= most
    except OverflowError:  # an int greater than any float
        fits = False
    if not fits:
        low = "" if least == -math.inf else f" >= {least:g}"
        bounds = low if most == math.inf else f" from {least:g} to {most:g}"
        raise ValueError(f"{owner}: {argument} must be a finite number{bounds}, got {value}")
    return float(value)


def measured(owner: str, argument: str, value: Any) -> float:
    """A float that was measured: it may be infinite or NaN."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{owner}: {argument} must be a number, got {value!r}")
    return float(value)


def items(owner: str, argument: str, value: Any, what: str) -> list:
    """A list of what can be walked over; text does not count as a list of its letters."""
    if type(value) is list or type(value) is tuple:  # (the usual types first)
        return list(value)
    single = isinstance(value, str | bytes | Mapping) or getattr(value, "ndim", 1) == 0
    if single or not hasattr(value, "__iter__"):
        raise TypeError(f"{owner}: {argument} must be a sequence of {what}, got {value!r}")
    return list(value)


def function(owner: str, argument: str, value: Any) -> Any:
    """Something to call; a class that was passed in place of its object is a mistake."""
    if isinstance(value, type):
        name = value.__name__
        raise TypeError(f"{owner}: {argument}: {name} is a class: expected {name}(...)")
    if not callable(value):
        raise TypeError(f"{owner}: {argument} must be callable, got {value!r}")
    return value


def array(owner: str, argument: str, value: Any) -> np.ndarray:
    """The array of nested sequences."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{owner}: {argument}: expected rows of one length, got {reprlib.repr(value)}"
        ) from error


def dtype(owner: str, value: Any) -> np.dtype:
    """A NumPy dtype."""
    try:
        # NumPy reads None as float64, and of a tuple or a dict it makes records.
        if value is not None and not isinstance(value, tuple | list | dict):
            return np.dtype(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{owner}: dtype: expected float32, float64, an integer or bool, got {value!r}")


def choice(owner: str, argument: str, value: Any, choices: Sequence[str]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(repr(word) for word in choices)
        raise ValueError(f"{owner}: {argument}: expected one of {words}, got {value!r}")
    return value


def flag(owner: str, argument: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{owner}: {argument} must be True or False, got {value!r}")
    return bool(value)
