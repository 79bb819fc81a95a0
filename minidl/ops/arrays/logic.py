"""What has no gradient: ``//`` and ``%``, which round, and ``~ & |``, which are for bools."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import check
from minidl._kernels import binary
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor, as_tensor, wrap
from minidl.ops.args import operands

__all__ = ["floor_divide", "logical_and", "logical_not", "logical_or", "remainder"]


def floor_divide(x0: Any, x1: Any) -> Tensor:
    """x0 // x1, the quotient rounded down. Shapes and dtypes as for `add`; 0 for integers // 0, inf or NaN for floats.

    Raises:
        RuntimeError: an operand that requires a gradient, of which there is none: ``md.floor(x0 / x1)`` has slope 0.
        TypeError, ValueError: as `add`.
    """
    return _rounded("floor_divide", "//", x0, x1)


def remainder(x0: Any, x1: Any) -> Tensor:
    """x0 % x1 = x0 - x1 (x0 // x1), which has the sign of x1, without a gradient. NaN for floats % 0.

    The rest as for `floor_divide`.
    """
    return _rounded("remainder", "%", x0, x1)


def _rounded(rule: str, symbol: str, x0: Any, x1: Any) -> Tensor:
    name = f"{rule} ({symbol})"
    if will_record(x0, x1):
        raise RuntimeError(
            f"{name}: a tensor that requires a gradient: there is none; use detach(), or do it inside no_grad()"
        )
    x0, x1 = operands(x0, x1)
    if x0._data.dtype.kind != "f":
        return _by_ufunc(getattr(np, rule), name, x0, x1)
    try:
        return wrap(binary(rule, x0._data, x1._data))
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix(f'{rule}: ')}") from None


def logical_and(x0: Any, x1: Any) -> Tensor:
    """x0 & x1 of bools, element by element; without a gradient. Shapes broadcast.

    Raises:
        TypeError: what is not bool; compare first: ``(x > 0) & (x < 1)``.
        ValueError: shapes that do not broadcast.
    """
    return _logic(np.logical_and, "&", x0, x1)


def logical_or(x0: Any, x1: Any) -> Tensor:
    """x0 | x1 of bools, element by element; without a gradient. Shapes and errors as for `logical_and`."""
    return _logic(np.logical_or, "|", x0, x1)


def logical_not(x: Any) -> Tensor:
    """~x of bools: True where x is False; without a gradient.

    TypeError for what is not bool, as for `logical_and`.
    """
    return _logic(np.logical_not, "~", x)


def _logic(rule: np.ufunc, symbol: str, *xs: Any) -> Tensor:
    name = f"{rule.__name__} ({symbol})"
    tensors = [
        x if isinstance(x, Tensor) else as_tensor(check.array(rule.__name__, "x", x)) for x in xs
    ]
    for x in tensors:
        if x.dtype.kind != "b":
            raise TypeError(f"{name}: expected bools, such as x > 0, got {x.dtype}")
    return _by_ufunc(rule, name, *tensors, call=_truth)


def _by_ufunc(rule: np.ufunc, name: str, *xs: Tensor, call: Any = None) -> Tensor:
    try:
        return wrap(by_numpy(call or _quiet, rule, *[x._data for x in xs]))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _truth(rule: np.ufunc, *xs: np.ndarray) -> np.ndarray:
    return np.asarray(rule(*xs))


def _quiet(rule: np.ufunc, *xs: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(rule(*xs))
