"""The augmented assignments: ``x += y`` and its relatives write into x's own memory, as in NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl.autograd.op import Cast
from minidl.autograd.tape import become, check_inplace, will_record
from minidl.autograd.tensor import Tensor, as_tensor, wrap
from minidl.ops.args import pair
from minidl.ops.arithmetic import add, div, mul, pow, sub
from minidl.ops.linalg import matmul
from minidl.ops.shape import Slice

FUNCTIONS = {"+=": add, "-=": sub, "*=": mul, "/=": div, "**=": pow, "@=": matmul}
KERNELS = {"+=": "add", "-=": "sub", "*=": "mul", "/=": "div"}


def inplace(x: Tensor, other: Any, symbol: str) -> Tensor:
    """x becomes ``x + other`` (or what `symbol` says), in the memory and the dtype that it has; returns x.

    Where it is recorded, the op gets a copy of the old values, so that gradients are those of ``x = x + other``.

    Raises:
        RuntimeError: recorded, and x is a leaf that requires a gradient, a part of a tensor that requires one, or
            shares its memory with tensors that would not know of the gradient.
        TypeError: a result that x's dtype cannot hold (``integers += 0.5``).
        ValueError: a result of another shape than x, or memory that is read-only or repeated by broadcasting.
    """
    array = x._data
    if not array.flags.writeable:
        raise ValueError(f"{symbol}: this tensor's array is read-only; give it a copy")
    if any(n > 1 and step == 0 for n, step in zip(array.shape, array.strides, strict=True)):
        raise ValueError(f"{symbol}: this tensor repeats its memory (broadcasting); give it a copy")
    if will_record(x, other):
        return _recorded(x, other, symbol)
    if symbol in KERNELS and array.dtype.kind == "f":
        x0, x1 = pair(x, other)
        if x1.dtype == array.dtype and x1.shape in ((), array.shape):
            K.binary(KERNELS[symbol], x0._data, x1._data, array)
            x._mark_changed()
            return x
    y = FUNCTIONS[symbol](x, other)
    _check_fit(x, y, symbol)
    array[...] = y._data
    x._mark_changed()
    return x


def _recorded(x: Tensor, other: Any, symbol: str) -> Tensor:
    check_inplace(symbol, x, as_tensor(other))
    if x._requires_grad and isinstance(x._op, Slice):  # x[i] += 1 ends in an assignment to x
        raise RuntimeError(
            f"{symbol}: a part of a tensor that requires a gradient cannot be changed in place; "
            "do it inside no_grad(), or use where() or concatenate()"
        )
    before = wrap(K.copy(x._data), x._op, None, x._requires_grad)
    y = FUNCTIONS[symbol](before, before if other is x else other)
    _check_fit(x, y, symbol)
    if y.dtype != x.dtype:
        y = Cast(x.dtype)(y)
    K.assign(x._data, y._data)
    x._mark_changed()
    return become(x, y)


def _check_fit(x: Tensor, y: Tensor, symbol: str) -> None:
    if y.shape != x.shape:
        raise ValueError(
            f"{symbol}: a result of shape {y.shape} does not fit into a tensor of shape {x.shape}"
        )
    if not np.can_cast(y.dtype, x.dtype, "same_kind"):
        raise TypeError(
            f"{symbol}: a tensor of dtype {x.dtype} cannot hold a result of dtype {y.dtype}"
        )
