"""New tensors: of one number, of evenly spaced ones, of random ones. They are float32 unless a dtype is given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.tensor import Tensor, wrap
from minidl.ops.activations.noise import draw_key

__all__ = ["arange", "full", "ones", "randn", "zeros"]

NUMBER = (int, float, np.number)
COMMON = {name: np.dtype(name) for name in ("float32", "float64")}


def zeros(*shape: Any, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor y = 0 of this shape: ``zeros(2, 3)`` or ``zeros((2, 3))``.

    Args:
        dtype: float32, float64, an integer or bool.
        requires_grad: whether `backward` should compute its gradient, as for `Tensor`.

    Raises:
        ValueError: a negative length. TypeError: lengths that are not integers, a dtype that tensors do not have.
    """
    return _full("zeros", shape, 0, dtype, requires_grad)


def ones(*shape: Any, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor y = 1 of this shape: ``ones(2, 3)`` or ``ones((2, 3))``. Arguments and errors as for `zeros`."""
    return _full("ones", shape, 1, dtype, requires_grad)


def full(shape: Any, value: float, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor y = value of this shape, an int or a tuple. The other arguments and errors as for `zeros`."""
    if not isinstance(value, NUMBER):
        raise TypeError(f"full: value must be a number, got {value!r}")
    return _full("full", (shape,), value, dtype, requires_grad)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... up to stop, which is not reached; ``arange(n)`` is 0, 1, ... n - 1.

    The dtype is int64 if all numbers are integers, else float32. The rest as for `zeros`; ValueError for a step of 0.
    """
    if stop is None:
        start, stop = 0, start
    numbers = {"start": start, "stop": stop, "step": step}
    whole = all(isinstance(number, int | np.integer) for number in numbers.values())
    for which, number in numbers.items():
        if whole:
            check.integer("arange", which, number, -(2**63), 2**63 - 1)
        else:
            check.number("arange", which, number)
    if step == 0:
        raise ValueError("arange: step must not be 0")
    dtype = _dtype("arange", (np.int64 if whole else np.float32) if dtype is None else dtype)
    check.shape("arange", [int(min(max((stop - start) / step, 0), 2.0**63))])
    given: Any = (start, stop, step)
    count = len(range(*given)) if whole else max(math.ceil((stop - start) / step), 0)
    kind: Any = np.int64 if whole else np.float32 if dtype == np.float32 else np.float64
    y = K.evenly(start, step, count, np.dtype(kind))
    y = y if y.dtype == dtype else by_numpy(np.ndarray.astype, y, dtype)
    return _new("arange", y, requires_grad)


def randn(
    *shape: Any, dtype: Any = "float32", requires_grad: bool = False, rng: Any = None
) -> Tensor:
    """A tensor of this shape of independent y ~ N(0, 1): ``randn(2, 3)`` or ``randn((2, 3))``.

    Args:
        dtype: float32 or float64.
        rng: numpy Generator or int seed; None takes the library's (`minidl.manual_seed`). It gives the key of a
            counter-based generator. The same seed gives the same numbers for any number of threads; those of float32
            are those of float64, rounded.

    The other arguments and errors as for `zeros`. A captured step draws anew in each replay.

    Source: Box & Muller, A Note on the Generation of Random Normal Deviates, Annals of Mathematical Statistics 29,
    1958.
    """
    lengths, dtype = _lengths("randn", shape), _dtype("randn", dtype)
    if dtype.kind != "f":
        raise TypeError(f"randn: dtype: expected float32 or float64, got {dtype}")
    key = draw_key(rng, "randn")
    return _new("randn", K.standard_normal(K.empty(lengths, dtype), key), requires_grad)


def _full(name: str, shape: tuple, value: Any, dtype: Any, requires_grad: bool) -> Tensor:
    y = K.empty(_lengths(name, shape), _dtype(name, dtype))
    K.set_all(y, value)  # (a captured step fills it again)
    return _new(name, y, requires_grad)


def _new(name: str, array: np.ndarray, requires_grad: bool) -> Tensor:
    y = wrap(array)
    if requires_grad is not False:
        y.requires_grad = check.flag(name, "requires_grad", requires_grad)
    return y


def _lengths(name: str, shape: tuple) -> tuple[int, ...]:
    """The lengths that were given one by one, or as one sequence."""
    if len(shape) == 1 and type(shape[0]) is tuple:
        (shape,) = shape
    elif len(shape) == 1 and not isinstance(shape[0], int | np.integer):
        shape = tuple(check.items(name, "shape", shape[0], "integers"))
    for n in shape:
        if type(n) is not int:
            return check.shape(name, [check.integer(name, "shape", n) for n in shape])
    return check.shape(name, shape)


def _dtype(name: str, dtype: Any) -> np.dtype:
    if type(dtype) is str and dtype in COMMON:
        return COMMON[dtype]
    found = check.dtype(name, dtype)
    if found.kind not in "fiub" or found.itemsize > 8 or found == np.float16:
        raise TypeError(
            f"{name}: dtype: expected float32, float64, an integer or bool, got {dtype!r}"
        )
    return found
