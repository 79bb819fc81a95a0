"""Products of matrices. They are closed under differentiation: the gradient of a product is two products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl._kernels.runtime.memory import same_floats
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, wrap
from minidl.ops.activations.activation import ActivationGrad, Row, fused_row
from minidl.ops.args import input_and_weights, pair
from minidl.ops.reduction import sum
from minidl.ops.shape import reshape, transpose


class MatMul(Op):
    """y = x0 @ x1 over the last two axes; the axes before them broadcast."""

    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        if same_floats(x0, x1):
            return K.matmul(x0, x1)
        return np.asarray(np.matmul(x0, x1))  # (of two vectors NumPy returns a scalar)

    def backward(self, gy: Tensor) -> tuple:
        return (
            gy @ swap(self.input(1)) if self.needs(0) else None,
            swap(self.input(0)) @ gy if self.needs(1) else None,
        )


class Dot(MatMul):
    """y = Σ x0 x1 of two vectors."""

    def backward(self, gy: Tensor) -> tuple:
        return (
            gy * self.input(1) if self.needs(0) else None,
            gy * self.input(0) if self.needs(1) else None,
        )


class Affine(Op):
    """y = x @ weight.T + bias for x (N, in), weight (out, in), bias (out,) or without."""

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        return K.affine_forward(x, w, b)

    def backward(self, gy: Tensor) -> tuple:
        gx = gy @ self.input(1) if self.needs(0) else None
        gw = gy.T @ self.input(0) if self.needs(1) else None
        return (
            (gx, gw)
            if len(self.edges) == 2
            else (gx, gw, sum(gy, axis=0) if self.needs(2) else None)
        )

    def fused_backward(self, gy: np.ndarray) -> tuple:
        gx = gw = gb = None
        if self.needs(0):
            gx = K.matmul(gy, self.input(1)._data)
        if self.needs(1):
            gw, gb = K.affine_weight_grad(self.input(0)._data, gy)
        if len(self.edges) == 2:
            return gx, gw
        if gb is None and self.needs(2):
            gb = K.sum_axes(gy, (0,))
        return gx, gw, gb


class ActivatedAffine(Affine):
    """y = f(x @ weight.T + bias): the activation of a row whose slope is found from y."""

    saves_output = True

    def __init__(self, row: Row, a: float = 0.0, b: float = 0.0) -> None:
        self.row, self.a, self.b = row, a, b

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        return K.affine_forward(x, w, b, self.row.name, self.a, self.b)

    def backward(self, gy: Tensor) -> tuple:
        slope = ActivationGrad(self.row, self.a, self.b, True)
        return super().backward(slope(self.output(), gy))

    def fused_backward(self, gy: np.ndarray) -> tuple:
        y = self.output()._data
        gy = K.activation_backward(self.row.name, y, gy, self.a, self.b, True)
        return super().fused_backward(gy)


def swap(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def matmul(x0: Any, x1: Any) -> Tensor:
    """x0 @ x1 as in NumPy: the last two axes are matrices, 1-D arguments are vectors, the rest broadcasts.

    The gradients are gy @ x1ᵀ and x0ᵀ @ gy, summed over what was broadcast. Dtypes as for `add`.

    Raises:
        ValueError: a scalar, or sizes that do not match; says which.
    """
    args = pair(x0, x1)
    left, right = args
    a, b = left._data, right._data
    if a.ndim == 2 and b.ndim == 2 and a.shape[1] == b.shape[0]:  # most products: no time is lost
        return MatMul().run(args)
    return _matmul(left, right)


def _matmul(x0: Tensor, x1: Tensor) -> Tensor:
    if x0.ndim == 0 or x1.ndim == 0:
        raise ValueError(f"matmul: expected at least one axis, got shapes {x0.shape}, {x1.shape}")
    inner = x1.shape[0] if x1.ndim == 1 else x1.shape[-2]
    if x0.shape[-1] != inner:
        raise ValueError(
            f"matmul: the last axis of x0 has {x0.shape[-1]}, axis {-1 if x1.ndim == 1 else -2} of "
            f"x1 has {inner} (shapes {x0.shape}, {x1.shape})"
        )
    if x0.ndim == 1 and x1.ndim == 1:
        return Dot()(x0, x1)
    if x0.ndim == 1:
        y = matmul(reshape(x0, (1, inner)), x1)
        return reshape(y, (*y.shape[:-2], y.shape[-1]))
    if x1.ndim == 1:
        y = matmul(x0, reshape(x1, (inner, 1)))
        return reshape(y, y.shape[:-1])
    if x0.ndim > 2 and x1.ndim == 2:  # one large product, and one gradient of x1 instead of a batch
        y = MatMul()(reshape(x0, (math.prod(x0.shape[:-1]), inner)), x1)
        return reshape(y, (*x0.shape[:-1], x1.shape[-1]))
    return MatMul()(x0, x1)


def affine(x: Any, weight: Any, bias: Any = None, activation: str | tuple | None = None) -> Tensor:
    """y = x @ weight.T + bias, with an activation applied to it in the same pass if one is named.

    Without an activation the gradients are gy @ weight, gyᵀ @ x and Σ gy, summed over the batch.

    Args:
        x: (..., in); axes before the last are a batch.
        weight: (out, in).
        bias: (out,) or None.
        activation: the name of one whose slope can be found from its result ("relu", "elu", "tanh", ...; a wrong name
            lists them), with default parameters, or (name, *parameters); the same as a call of it, but
            computed while the result is still in the cache.

    Raises:
        ValueError: shapes that do not fit; names the argument, the axis, what was expected and what was given.
    """
    given = (x, weight) if bias is None else (x, weight, bias)
    args = input_and_weights(*given)
    shape, w_shape = args[0]._data.shape, args[1]._data.shape
    if len(w_shape) != 2:
        raise ValueError(f"affine: weight: expected 2 axes (out, in), got shape {w_shape}")
    if not shape or shape[-1] != w_shape[1]:
        raise ValueError(
            f"affine: last axis of x: expected {w_shape[1]} (weight is (out, in) = {w_shape}), "
            f"got shape {shape}"
        )
    if bias is not None and args[2]._data.shape != w_shape[:1]:
        raise ValueError(f"affine: bias: expected shape {w_shape[:1]}, got {args[2].shape}")
    op = ActivatedAffine(*fused_row(activation)) if activation is not None else Affine()
    if len(shape) == 2:
        return op.run(args)
    flat = reshape(args[0], (math.prod(shape[:-1]), shape[-1]))
    return reshape(op(flat, *args[1:]), (*shape[:-1], w_shape[0]))


def greatest_singular_value(
    matrix: Tensor, u: np.ndarray, v: np.ndarray, steps: int, eps: float
) -> Tensor:
    """σ = uᵀ W v, the greatest singular value of W (m, n), for vectors u (m,) and v (n,) that are near those of σ.

    They are improved in place first, by so many steps of power iteration: v ← Wᵀu / |Wᵀu|, u ← W v / |W v|, with no
    length taken as less than eps. The gradient is uᵀ gy v: u and v are constants.
    """
    for _ in range(steps):
        K.assign(v, _unit(K.matmul(K.reshape(u, (1, len(u))), matrix._data), eps)[0])
        K.assign(u, _unit(K.matmul(matrix._data, K.reshape(v, (len(v), 1))), eps)[:, 0])
    # Copies: backward needs them as they are now, and the next call changes them.
    left, right = wrap(K.copy(u)), wrap(K.copy(v))
    return matmul(matmul(left, matrix), right)


def _unit(x: np.ndarray, eps: float) -> np.ndarray:
    """x / max(|x|, eps)."""
    length = K.unary("sqrt", K.sum_axes(K.binary("mul", x, x)))
    return K.binary("div", x, K.binary("maximum", length, eps))


def bilinear(x0: Any, x1: Any, weight: Any, bias: Any = None) -> Tensor:
    """y[..., o] = x0ᵀ W[o] x1 + b[o]: a form that is linear in both of its inputs.

    The gradient of x0 is Σ_o gy[o] W[o] x1, that of x1 Σ_o gy[o] W[o]ᵀ x0, that of W[o] gy[o] x0 x1ᵀ.

    Args:
        x0, x1: (..., in0) and (..., in1), with the same axes before the last.
        weight: (out, in0, in1).
        bias: (out,) or None.

    Raises:
        ValueError: shapes that do not fit; names the argument, what was expected and what was given.
    """
    x0, x1, weight, *rest = input_and_weights(*[a for a in (x0, x1, weight, bias) if a is not None])
    if weight.ndim != 3:
        raise ValueError(
            f"bilinear: weight: expected 3 axes (out, in0, in1), got shape {weight.shape}"
        )
    outputs, n0, n1 = weight.shape
    for name, x, n in (("x0", x0, n0), ("x1", x1, n1)):
        if not x.ndim or x.shape[-1] != n or x.shape[:-1] != x0.shape[:-1]:
            raise ValueError(
                f"bilinear: {name}: expected shape {(*x0.shape[:-1], n)} (weight is {weight.shape}), got {x.shape}"
            )
    if rest and rest[0].shape != (outputs,):
        raise ValueError(f"bilinear: bias: expected shape {(outputs,)}, got {rest[0].shape}")
    rows = math.prod(x0.shape[:-1])
    forms = reshape(transpose(weight, (1, 0, 2)), (n0, outputs * n1))
    seen = reshape(matmul(reshape(x0, (rows, n0)), forms), (rows, outputs, n1))
    y = sum(seen * reshape(x1, (rows, 1, n1)), -1)
    y = y + rest[0] if rest else y
    return reshape(y, (*x0.shape[:-1], outputs))
