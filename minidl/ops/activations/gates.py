"""Activations that join or split the channels of one axis: maxout, CReLU, GLU.

The kernels see an array as (rows, parts, m): the rows are what lies before the channel axis, the parts are what is
joined or split, and m is what lies behind. No array is taken apart or put together on the way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor
from minidl.ops.activations.smooth import sigmoid
from minidl.ops.args import as_float, normalize_axis
from minidl.ops.arithmetic import where
from minidl.ops.arrays.joining import stack
from minidl.ops.shape import reshape


class Gate(Op):
    """What the three share: `rows` is x's shape as the kernel wants it, `shape` that of the result."""

    def __init__(self, rows: tuple[int, ...], shape: tuple[int, ...]) -> None:
        self.rows, self.shape = rows, shape


class Maxout(Gate):
    """y (rows, m) = the greatest of the parts of x (rows, parts, m)."""

    saves = ()

    def __init__(self, rows: tuple[int, ...], shape: tuple[int, ...], keep: bool) -> None:
        super().__init__(rows, shape)
        self.keep = keep

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, which = K.maxout_forward(x.reshape(self.rows), self.keep)
        self.kept = which, x.shape
        return y.reshape(self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        which, x_shape = self.kept
        rows, parts, m = self.rows
        mine = Tensor(which[:, None] == np.arange(parts)[:, None])
        return reshape(where(mine, reshape(gy, (rows, 1, m)), 0.0), x_shape)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        which, x_shape = self.kept
        rows, parts, m = self.rows
        return K.maxout_backward(gy.reshape(rows, m), which, parts).reshape(x_shape)


class CReLU(Gate):
    """y (rows, 2, m) = relu(x) and relu(-x) for x (rows, m)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.crelu_forward(x.reshape(self.rows)).reshape(self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        x, (rows, m) = self.input(0), self.rows
        up, x_rows = reshape(gy, (rows, 2, m)), reshape(x, self.rows)
        gx = where(x_rows <= 0, 0.0, up[:, 0]) - where(x_rows >= 0, 0.0, up[:, 1])
        return reshape(where(x_rows == x_rows, gx, math.nan), x.shape)  # the slope at NaN is NaN

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        x, (rows, m) = self.input(0)._data, self.rows
        gx = K.crelu_backward(x.reshape(self.rows), gy.reshape(rows, 2, m))
        return gx.reshape(x.shape)


class GLU(Gate):
    """y (rows, m) = x[:, 0] sigmoid(x[:, 1]) for x (rows, 2, m)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.glu_forward(x.reshape(self.rows)).reshape(self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        x, (rows, _, m) = self.input(0), self.rows
        x_rows = reshape(x, self.rows)
        a, s = x_rows[:, 0], sigmoid(x_rows[:, 1])
        ga = reshape(gy, (rows, m)) * s
        gb = ga * a * (1 - s)
        return reshape(
            stack([where(a == a, ga, math.nan), gb], 1), x.shape
        )  # the slope at NaN is NaN

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        x, (rows, _, m) = self.input(0)._data, self.rows
        return K.glu_backward(x.reshape(self.rows), gy.reshape(rows, m)).reshape(x.shape)


def maxout(x: Any, pieces: int, axis: int = 1) -> Tensor:
    """maxout(x)[k] = max(x[k * pieces], ..., x[k * pieces + pieces - 1]) along `axis`: groups of adjacent channels.

    Shapes: x (N, C, ...), y (N, C / pieces, ...), for axis=1. The gradient goes to the greatest of each group; among
    equals to the first, as that of `torch.max` over an axis does. NaN is greater than all numbers.

    Raises:
        ValueError: `pieces` does not divide the length of the axis, or is more than 65,536.

    Source: Goodfellow, Warde-Farley, Mirza, Courville & Bengio, Maxout Networks, ICML 2013.

    >>> maxout([[1.0, 4.0, 3.0, 2.0]], 2).numpy()
    array([[4., 3.]], dtype=float32)
    """
    pieces = check.integer("maxout", "pieces", pieces, 1)
    x, before, channels, behind = _split("maxout", x, axis)
    if channels % pieces:
        raise ValueError(
            f"maxout: axis {axis} of x has {channels} channels, which {pieces} pieces do not divide; "
            f"x has shape {x.shape}"
        )
    groups = channels // pieces
    rows = (math.prod(before) * groups, pieces, math.prod(behind))
    return Maxout(rows, (*before, groups, *behind), will_record(x))(x)


def crelu(x: Any, axis: int = 1) -> Tensor:
    """crelu(x) = [relu(x), relu(-x)], joined along `axis`: both signs are kept, in twice as many channels.

    Shapes: x (N, C, ...), y (N, 2C, ...), for axis=1. At 0 the slope of both halves is 0.

    Source: Shang, Sohn, Almeida & Lee, Understanding and Improving Convolutional Neural Networks via Concatenated
    Rectified Linear Units, ICML 2016.

    >>> crelu([[1.0, -2.0]]).numpy()
    array([[1., 0., 0., 2.]], dtype=float32)
    """
    x, before, channels, behind = _split("crelu", x, axis)
    rows = (math.prod(before), channels * math.prod(behind))
    return CReLU(rows, (*before, 2 * channels, *behind))(x)


def glu(x: Any, axis: int = -1) -> Tensor:
    """glu(x) = a * sigmoid(b), where a and b are the two halves of x along `axis`: a gate for each channel.

    Shapes: x (..., 2C), y (..., C), for axis=-1. Smooth everywhere: with s = sigmoid(b)
    the gradients are gy s and gy a s (1 - s).

    Raises:
        ValueError: the axis has an odd length.

    Source: Dauphin, Fan, Auli & Grangier, Language Modeling with Gated Convolutional Networks, ICML 2017.

    >>> glu([3.0, 0.0]).numpy()
    array([1.5], dtype=float32)
    """
    x, before, channels, behind = _split("glu", x, axis)
    if channels % 2:
        raise ValueError(
            f"glu: axis {axis} of x has {channels} channels, an odd number; x has shape {x.shape}"
        )
    half = channels // 2
    rows = (math.prod(before), 2, half * math.prod(behind))
    return GLU(rows, (*before, half, *behind))(x)


def _split(name: str, x: Any, axis: int) -> tuple[Tensor, tuple, int, tuple]:
    """x, and its shape in three: before the channel axis, the channels, behind it."""
    x = as_float(x)
    at = normalize_axis(name, check.integer(name, "axis", axis), x.ndim)
    return x, x.shape[:at], x.shape[at], x.shape[at + 1 :]
