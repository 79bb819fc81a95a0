"""Elementary functions, element by element: each a class with its value and the textbook's slope."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.ops.activations.table import FUNCTIONS
from minidl.ops.args import as_float, filled
from minidl.ops.arithmetic import exp

__all__ = [
    "arctan", "cos", "cosh", "erf", "expm1", "floor", "log1p", "log2", "rsqrt", "sign", "sin", "sinh", "tan", "tanh",
]  # fmt: skip

tanh = FUNCTIONS["tanh"]  # an activation, too


class Elementary(Op):
    """y = f(x), element by element; f is the name of a class in small letters."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.unary(type(self).__name__.lower(), x)


class Sin(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy * cos(self.input(0))


class Cos(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return -gy * sin(self.input(0))


class Tan(Elementary):
    saves = ()
    saves_output = True

    def backward(self, gy: Tensor) -> Tensor:
        return gy * (1 + self.output() ** 2)


class Arctan(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy / (1 + self.input(0) ** 2)


class Sinh(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy * cosh(self.input(0))


class Cosh(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy * sinh(self.input(0))


class Erf(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy * (2 / math.sqrt(math.pi)) * exp(-(self.input(0) ** 2))


class Expm1(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy * exp(self.input(0))  # (y + 1 would lose the digits of a small exp(x))


class Log1p(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy / (1 + self.input(0))


class Log2(Elementary):
    def backward(self, gy: Tensor) -> Tensor:
        return gy / (math.log(2) * self.input(0))


class Rsqrt(Elementary):
    saves = ()
    saves_output = True

    def backward(self, gy: Tensor) -> Tensor:
        return gy * (-0.5 * self.output() ** 3)


class Flat(Elementary):
    """A function of steps: its slope is 0."""

    saves = ()

    def backward(self, gy: Tensor) -> Tensor:
        return filled(gy.shape, 0.0, gy.dtype)


class Sign(Flat):
    pass


class Floor(Flat):
    pass


def sin(x: Any) -> Tensor:
    """y = sin x, x in radians; NaN at ±inf. The gradient is gy cos(x). Integers become float32; x's shape is kept."""
    return Sin()(as_float(x))


def cos(x: Any) -> Tensor:
    """y = cos x, x in radians; NaN at ±inf. The gradient is -gy sin(x). Integers become float32; x's shape is kept."""
    return Cos()(as_float(x))


def tan(x: Any) -> Tensor:
    """y = tan x, x in radians; NaN at ±inf. The gradient is gy (1 + y²). Integers become float32. As `sin`."""
    return Tan()(as_float(x))


def arctan(x: Any) -> Tensor:
    """The angle from -π/2 to π/2, in radians, whose tangent is x. The gradient is gy / (1 + x²). As `sin`."""
    return Arctan()(as_float(x))


def sinh(x: Any) -> Tensor:
    """(e^x - e^-x) / 2; it overflows to ±inf without a warning. The gradient is gy cosh(x). As `sin`."""
    return Sinh()(as_float(x))


def cosh(x: Any) -> Tensor:
    """(e^x + e^-x) / 2; it overflows to inf without a warning. The gradient is gy sinh(x). As `sin`."""
    return Cosh()(as_float(x))


def erf(x: Any) -> Tensor:
    """The error function, 2 / √π times the integral of exp(-t²) from 0 to x; ±1 at ±inf.

    The gradient is 2 gy exp(-x²) / √π. Integers become float32; x's shape is kept.

    Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 1964, 7.1.1.
    """
    return Erf()(as_float(x))


def expm1(x: Any) -> Tensor:
    """e^x - 1, to full precision near 0, where the difference would cancel. The gradient is gy e^x. As `sin`."""
    return Expm1()(as_float(x))


def log1p(x: Any) -> Tensor:
    """log(1 + x), to full precision near 0; -inf at -1, NaN below. The gradient is gy / (1 + x). As `sin`."""
    return Log1p()(as_float(x))


def log2(x: Any) -> Tensor:
    """The logarithm to base 2; -inf at 0, NaN below, without a warning. The gradient: gy / (x log 2). As `sin`."""
    return Log2()(as_float(x))


def rsqrt(x: Any) -> Tensor:
    """1 / √x; inf at 0, NaN below, without a warning. The gradient is -gy / (2 x √x). Integers become float32."""
    return Rsqrt()(as_float(x))


def sign(x: Any) -> Tensor:
    """y = x / |x|: -1 below 0, 1 above; 0 at 0, NaN at NaN. The gradient is 0 everywhere. Integers become float32."""
    return Sign()(as_float(x))


def floor(x: Any) -> Tensor:
    """The greatest whole number y <= x, element by element. The gradient is 0 everywhere. Integers become float32."""
    return Floor()(as_float(x))
