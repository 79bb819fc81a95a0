"""Arithmetic, comparison and selection, element by element, with broadcasting.

Python numbers take the dtype of the tensor they meet, and integers give way to floats: ``x * 2`` and ``x + ids`` keep
x's float32. Where inputs were broadcast the engine sums their gradients back.
"""

from __future__ import annotations

import reprlib
from numbers import Real
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels import binary
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.op import Add, Cast, Op
from minidl.autograd.tensor import Tensor, as_tensor, plain, wrap
from minidl.ops.args import Number, as_float, operands, pair

__all__ = [
    "abs", "add", "astype", "clip", "div", "equal", "exp", "greater", "greater_equal", "less", "less_equal",
    "log", "maximum", "minimum", "mul", "neg", "not_equal", "pow", "sqrt", "sub", "where",
]  # fmt: skip


class Sub(Op):
    saves = ()

    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return binary("sub", x0, x1)

    def backward(self, gy: Tensor) -> tuple:
        return gy, -gy if self.needs(1) else None


class Mul(Op):
    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return binary("mul", x0, x1)

    def backward(self, gy: Tensor) -> tuple:
        return (
            gy * self.input(1) if self.needs(0) else None,
            gy * self.input(0) if self.needs(1) else None,
        )

    def fused_backward(self, gy: np.ndarray) -> tuple:
        return (
            binary("mul", gy, self.input(1)._data) if self.needs(0) else None,
            binary("mul", gy, self.input(0)._data) if self.needs(1) else None,
        )


class Div(Op):
    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return binary("div", x0, x1)

    def backward(self, gy: Tensor) -> tuple:
        x1 = self.input(1)
        gx0 = gy / x1
        return gx0, -gx0 * self.input(0) / x1 if self.needs(1) else None


class Neg(Op):
    saves = ()

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.unary("neg", x)

    def backward(self, gy: Tensor) -> Tensor:
        return -gy


class PowNumber(Op):
    """y = x^p for a plain number p."""

    # The exponents that have kernels of their own; 0.5 is Sqrt.
    NAMES: dict[float, str] = {2: "square", 3: "cube", -1: "reciprocal"}

    def __init__(self, p: float) -> None:
        self.p = p

    def forward(self, x: np.ndarray) -> np.ndarray:
        if self.p in self.NAMES:
            return K.unary(self.NAMES[self.p], x)
        return K.copy(x) if self.p == 1 else K.binary("pow", x, self.p)

    def backward(self, gy: Tensor) -> Tensor | None:
        p = self.p
        if p == 0:
            return None
        if p == 1:
            return gy
        return gy * (p * self.input(0) ** (p - 1))

    def fused_backward(self, gy: np.ndarray) -> np.ndarray | None:
        p = self.p
        if p == 0:
            return None
        if p == 1:
            return gy
        x = self.input(0)._data
        if p in self.NAMES:
            return K.binary(self.NAMES[p] + "_backward", x, gy)
        return K.binary("mul", gy, K.binary("mul", K.binary("pow", x, p - 1), p))


class Pow(Op):
    """y = x0^x1. At x0 = 0 the gradient of x1 is 0 where x1 >= 0, as PyTorch has it."""

    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return K.binary("pow", x0, x1)

    def backward(self, gy: Tensor) -> tuple:
        x0, x1 = self.input(0), self.input(1)
        gx0 = gx1 = None
        if self.needs(0):
            flat = x1 == 0  # x^0 is 1 everywhere, at 0 too
            gx0 = where(flat, 0.0, gy * x1 * x0 ** where(flat, 1.0, x1 - 1))
        if self.needs(1):
            zero = wrap(by_numpy(_is_flat, x0._data, x1._data))
            gx1 = where(zero, 0.0, gy * x0**x1 * log(where(zero, 1.0, x0)))
        return gx0, gx1


def _is_flat(x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
    """Where 0^x1 stays as it is when x1 changes."""
    return np.asarray((x0 == 0) & (x1 >= 0))


class Exp(Op):
    saves = ()
    saves_output = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.unary("exp", x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * self.output()

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return binary("mul", gy, self.output()._data)


class Log(Op):
    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.unary("log", x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy / self.input(0)


class Sqrt(Op):
    saves = ()
    saves_output = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.unary("sqrt", x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy / (2 * self.output())

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.binary("sqrt_backward", self.output()._data, gy)


class Abs(Op):
    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.unary("abs", x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy * wrap(K.unary("sign", self.input(0)._data))

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.binary("abs_backward", self.input(0)._data, gy)


class Clip(Op):
    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.clip(x, self.low, self.high)

    def backward(self, gy: Tensor) -> Tensor:
        x = self.input(0)
        return where(clip(x, self.low, self.high) == x, gy, 0.0)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.clip_backward(self.input(0)._data, gy, self.low, self.high)


class Maximum(Op):
    name = "maximum"

    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return K.binary(self.name, x0, x1)

    def backward(self, gy: Tensor) -> tuple:
        x0, x1 = self.input(0), self.input(1)
        y = wrap(K.binary(self.name, x0._data, x1._data))
        share = where(same(x0, x1), 0.5 * gy, gy)
        return where(same(x0, y), share, 0.0), where(same(x1, y), share, 0.0)

    def fused_backward(self, gy: np.ndarray) -> tuple:
        x0, x1 = self.input(0)._data, self.input(1)._data
        return (
            K.extremum_backward(self.name, x0, x1, gy) if self.needs(0) else None,
            K.extremum_backward(self.name, x1, x0, gy) if self.needs(1) else None,
        )


def same(x: Tensor, y: Tensor) -> Tensor:
    """Where x and y are equal, or both NaN: y is NaN because x is."""
    return where(x == x, x == y, y != y)


class Minimum(Maximum):
    name = "minimum"


class Where(Op):
    """y = x0 where condition holds, else x1; the condition has no gradient."""

    saves = (0,)

    def forward(self, condition: np.ndarray, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return K.where(condition, x0, x1)

    def backward(self, gy: Tensor) -> tuple:
        condition, zero = self.input(0), wrap(K.number(0.0, gy._data))
        return (
            None,
            Where()(condition, gy, zero) if self.needs(1) else None,
            Where()(condition, zero, gy) if self.needs(2) else None,
        )


def add(x0: Any, x1: Any) -> Tensor:
    """x0 + x1, element by element. The gradient of either is gy, summed over the axes along which it was repeated.

    Shapes broadcast as in NumPy. A number, or a tensor of integers, takes the float dtype that it meets; float32 with
    float64 gives float64; integers among themselves stay integers. Lists of numbers become float32.

    Raises:
        ValueError: shapes that do not broadcast.
        TypeError: what no tensor can be made from, such as text or complex numbers.
    """
    return Add().run(pair(x0, x1))


def sub(x0: Any, x1: Any) -> Tensor:
    """x0 - x1, element by element. The gradients are gy and -gy. As `add`, but not for two bool tensors (TypeError)."""
    return Sub().run(pair(x0, x1))


def mul(x0: Any, x1: Any) -> Tensor:
    """x0 * x1, element by element. The gradients are gy x1 and gy x0. Shapes, dtypes and errors as for `add`."""
    return Mul().run(pair(x0, x1))


def div(x0: Any, x1: Any) -> Tensor:
    """x0 / x1; integers are divided as float32. x/0 is inf, 0/0 is NaN, without a warning.

    The gradients are gy / x1 and -gy x0 / x1². Shapes, dtypes and errors as for `add`.
    """
    inputs = pair(x0, x1)
    if inputs[0]._data.dtype.kind != "f":
        inputs = (as_float(inputs[0]), as_float(inputs[1]))
    return Div().run(inputs)


def neg(x: Any) -> Tensor:
    """y = -x, element by element, in x's shape and dtype. The gradient is -gy. TypeError for a bool tensor."""
    return Neg().run((as_tensor(x),))


def pow(x0: Any, x1: Any) -> Tensor:
    """x0 to the power x1. x⁰ is 1, also for 0 and NaN; a negative x0 with a fraction as x1 gives NaN.

    The gradients are gy x1 x0^(x1 - 1), which is 0 for x1 = 0, and gy x0^x1 log(x0), which is 0 for x0 = 0 and x1 >= 0,
    and NaN for x0 < 0. Shapes, dtypes and errors as for `add`. ValueError also for integers to negative integers.
    """
    if isinstance(x1, Number) and isinstance(x0, Tensor) and x0.dtype.kind == "f":
        if isinstance(x1, int) and x1.bit_length() > 1023:
            raise ValueError(
                f"pow: x1 has {x1.bit_length()} bits, which is more than a float holds"
            )
        return (
            Sqrt()(x0) if x1 == 0.5 else PowNumber(float(x1) if isinstance(x1, float) else x1)(x0)
        )
    return Pow()(*operands(x0, x1))


def exp(x: Any) -> Tensor:
    """y = e^x, element by element; the gradient is gy y. Integers become float32; x's shape is kept."""
    return Exp()(as_float(x))


def log(x: Any) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below, without a warning. The gradient: gy / x. Integers become float32."""
    return Log()(as_float(x))


def sqrt(x: Any) -> Tensor:
    """√x; NaN below 0, without a warning. The gradient is gy / (2 √x), infinite at 0. Integers become float32."""
    return Sqrt()(as_float(x))


def abs(x: Any) -> Tensor:
    """|x|, element by element, in x's shape and dtype. The gradient is gy sign(x): 0 at 0, NaN at NaN."""
    return Abs()(as_tensor(x))


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; the slope is 1 at the limits themselves, 0 beyond.

    Raises:
        ValueError: neither limit given, or min > max.
    """
    if min is None and max is None:
        raise ValueError("clip: give min, max or both")
    for which, limit in (("min", min), ("max", max)):
        if limit is not None and not isinstance(limit, Real):
            raise TypeError(f"clip: {which} must be a number, got {limit!r}")
    if min is not None and max is not None and min > max:
        raise ValueError(f"clip: min {min} is greater than max {max}")
    return Clip(min, max)(as_tensor(x))  # type: ignore[arg-type]


def maximum(x0: Any, x1: Any) -> Tensor:
    """The greater of x0 and x1, element by element; NaN where either is NaN. Shapes, dtypes and errors as for `add`.

    The gradient goes to the greater one (or to the NaN); where they are equal, or both NaN, each gets half of it.
    """
    return Maximum()(*operands(x0, x1))


def minimum(x0: Any, x1: Any) -> Tensor:
    """The smaller of x0 and x1, element by element; NaN where either is NaN. Shapes, dtypes and errors as for `add`.

    The gradient goes to the smaller one (or to the NaN); where they are equal, or both NaN, each gets half of it.
    """
    return Minimum()(*operands(x0, x1))


def where(condition: Any, x0: Any, x1: Any) -> Tensor:
    """x0 where `condition` holds (is not 0), x1 elsewhere; all three broadcast. Dtypes and errors as for `add`.

    The gradient is gy for the one that was chosen and 0 for the other; the condition has none.
    """
    condition = (
        condition
        if isinstance(condition, Tensor)
        else as_tensor(check.array("where", "condition", condition))
    )
    return Where()(condition, *operands(x0, x1))


def astype(x: Any, dtype: Any) -> Tensor:
    """x in another dtype; the gradient flows between float32 and float64.

    Raises:
        TypeError: a dtype that tensors do not have.
    """
    x, dtype = as_tensor(x), check.dtype("astype", dtype)
    if dtype.kind not in "fiub" or dtype.itemsize not in (1, 2, 4, 8) or dtype == np.float16:
        raise TypeError(f"astype: expected float32, float64, an integer or bool, got {dtype}")
    return x if x.dtype == dtype else Cast(dtype)(x)


def equal(x0: Any, x1: Any) -> Tensor:
    """x0 == x1, element by element, as a bool tensor without a gradient; NaN equals nothing. Shapes broadcast.

    NotImplemented for anything but numbers: Python then compares identities. TypeError: complex numbers. ValueError:
    shapes that do not broadcast.
    """
    return _compared(np.equal, "==", x0, x1)


def not_equal(x0: Any, x1: Any) -> Tensor:
    """x0 != x1, element by element, as a bool tensor; True where either is NaN. The rest as for `equal`."""
    return _compared(np.not_equal, "!=", x0, x1)


def less(x0: Any, x1: Any) -> Tensor:
    """x0 < x1, element by element, as a bool tensor; False where either is NaN. As `equal`, but TypeError for text."""
    return _compared(np.less, "<", x0, x1)


def less_equal(x0: Any, x1: Any) -> Tensor:
    """x0 <= x1, element by element, as a bool tensor; False where either is NaN. The rest as for `less`."""
    return _compared(np.less_equal, "<=", x0, x1)


def greater(x0: Any, x1: Any) -> Tensor:
    """x0 > x1, element by element, as a bool tensor; False where either is NaN. The rest as for `less`."""
    return _compared(np.greater, ">", x0, x1)


def greater_equal(x0: Any, x1: Any) -> Tensor:
    """x0 >= x1, element by element, as a bool tensor; False where either is NaN. The rest as for `less`."""
    return _compared(np.greater_equal, ">=", x0, x1)


def _compared(rule: np.ufunc, symbol: str, x0: Any, x1: Any) -> Any:
    x0, x1 = plain(x0), plain(x1)
    for x in (x0, x1):
        kind = "f" if type(x) in Number else _kind(x)
        if kind not in "fiub":
            if symbol in ("==", "!=") and kind != "c":
                return NotImplemented
            raise TypeError(
                f"{rule.__name__} ({symbol}): a tensor cannot be compared with {reprlib.repr(x)}"
            )
    try:
        return wrap(by_numpy(_truth, rule, x0, x1))
    except ValueError:
        raise ValueError(
            f"{rule.__name__} ({symbol}): shapes {np.shape(x0)} and {np.shape(x1)} do not fit together"
        ) from None


def _truth(rule: np.ufunc, x0: Any, x1: Any) -> np.ndarray:
    return np.asarray(rule(x0, x1))


def _kind(x: Any) -> str:
    """As in ``ndarray.dtype.kind``."""
    try:
        return (x if isinstance(x, np.ndarray) else np.asarray(x)).dtype.kind
    except ValueError:  # rows of unequal length
        return "O"
