"""Batch normalisation: each channel by its own mean and variance, over the batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, wrap
from minidl.ops.activations.activation import ActivationGrad, Row, fused_row
from minidl.ops.args import as_float, check_shape_of, filled, scale_and_shift
from minidl.ops.reduction import centered, mean, sum
from minidl.ops.shape import reshape

Activation = str | tuple
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class BatchNorm(Op):
    """y = (x - mean) / sqrt(var + eps) weight + bias for x (N, C, ...), all others (C,).

    weight and bias may be left out. `batch_statistics`: mean and var are those of x, with gradients; else they are
    constants.
    """

    def __init__(
        self, mean: np.ndarray, var: np.ndarray, batch_statistics: bool, eps: float = 0.0
    ) -> None:
        self.mean, self.var, self.eps = mean, var, eps
        self.batch_statistics = batch_statistics

    def forward(self, x: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
        return K.batch_norm_forward(x, self.mean, self.var, self.eps, *parameters)

    def backward(self, gy: Tensor) -> tuple:
        x, axes = self.input(0), (0, *range(2, self.input(0).ndim))
        each = (-1, *(1,) * (x.ndim - 2))  # one number a channel, against x
        if self.batch_statistics:
            d = centered(x, axes)
            var = mean(d * d, axis=axes, keepdims=True)
        else:
            d = x - reshape(wrap(self.mean).astype(x.dtype), each)
            var = reshape(wrap(self.var).astype(x.dtype), each)
        rstd = (var + self.eps) ** -0.5
        z, gx = d * rstd, gy
        if self.batch_statistics:
            gx = (
                gy - mean(gy, axis=axes, keepdims=True) - z * mean(gy * z, axis=axes, keepdims=True)
            )
        scale = rstd if len(self.edges) == 1 else rstd * reshape(self.input(1), each)
        grads = scale * gx, sum(gy * z, axis=axes), sum(gy, axis=axes)
        return grads[: len(self.edges)]

    def fused_backward(self, gy: np.ndarray, *activation: Any) -> tuple:
        """In two passes over memory; `activation` as `K.batch_norm_backward` has it."""
        x, *parameters = [self.input(i)._data for i in range(len(self.edges))]
        weight, bias = (*parameters, None, None)[:2]
        statistics = self.mean, self.var, self.eps
        grads = K.batch_norm_backward(
            x, gy, *statistics, weight, bias, self.batch_statistics, *activation
        )
        return grads[: len(self.edges)]


class ActivatedBatchNorm(BatchNorm):
    """y = f(batch normalisation of x): the activation of a row whose slope is found from y."""

    saves_output = True

    def __init__(self, statistics: tuple, row: Row, a: float = 0.0, b: float = 0.0) -> None:
        super().__init__(*statistics)
        self.row, self.a, self.b = row, a, b

    def forward(self, x: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
        weight, bias = (*parameters, None, None)[:2]
        return K.batch_norm_forward(
            x, self.mean, self.var, self.eps, weight, bias, self.row.name, self.a, self.b
        )

    def backward(self, gy: Tensor) -> tuple:
        slope = ActivationGrad(self.row, self.a, self.b, True)
        return super().backward(slope(self.output(), gy))

    def fused_backward(self, gy: np.ndarray) -> tuple:  # type: ignore[override]
        name, a, b = self.row.name, self.a, self.b
        y = None if self.row.sign_only else self.output()._data  # x has the sign
        return super().fused_backward(gy, name, a, b, y)


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Activation | None = None,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and var of each channel.

    Training, the gradients are those of `layer_norm`, the means over each channel of the batch. Evaluating, that of x
    is gy weight / sqrt(var + eps).

    Args:
        x: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), C order or channels last in memory; the result has x's
            layout.
        running_mean, running_var: (C,), float arrays. Evaluating, they are used. Training, the mean and the (biased)
            variance of x are used, and these arrays are updated in place: ``r += momentum * (new - r)``, with the
            unbiased variance; None: nothing is kept.
        weight, bias: (C,); None means 1 and 0.
        activation: the name of one to apply in the same pass, as in `F.affine`, or (name, *its parameters).

    Raises:
        ValueError: shapes that do not fit, training with one value a channel, evaluating without running statistics.
        TypeError: running statistics that cannot be updated in place, eps or momentum that is not a number.
    If this raises, nothing has been modified.

    Source: Ioffe & Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift, ICML 2015.
    """
    momentum = check.number("batch_norm", "momentum", momentum)
    return normalized(
        x, running_mean, running_var, weight, bias, training, momentum, eps, activation
    )


def normalized(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float | None,
    eps: float,
    activation: Activation | None,
    count: np.ndarray | None = None,
) -> Tensor:
    """`batch_norm`; training, `count` batches are counted, in place, too. momentum None: the average of all of them."""
    x = as_float(x)
    shape = x._data.shape
    if not 2 <= len(shape) <= 5:
        raise ValueError(f"batch_norm: expected x (N, C) with up to 3 more axes, got shape {shape}")
    # (The usual types first, here and below: for a small image the questions take longer than the kernel.)
    if type(eps) is not float or not 0.0 <= eps < math.inf:
        eps = check.number("batch_norm", "eps", eps, 0.0)
    fused = None if activation is None else fused_row(activation, "batch_norm")
    if type(training) is not bool:
        training = check.flag("batch_norm", "training", training)
    given = (
        _statistic("running_mean", running_mean, x, shape[1:2], training),
        _statistic("running_var", running_var, x, shape[1:2], training),
    )
    inputs = (x, *_parameters(x, shape[1:2], weight, bias))
    if not training:
        if given[0] is None or given[1] is None:
            raise ValueError(
                "batch_norm: evaluating needs running_mean and running_var, got None: pass them, or "
                "training=True to use those of x"
            )
        op = _op((*given, False, eps), fused)
        y = op.run(inputs)
        if y._requires_grad:
            # Backward needs these values, whatever becomes of the running statistics.
            op.mean, op.var = _as_now(given[0]), _as_now(given[1])
        return y
    n = x._data.size // max(shape[1], 1)
    if n == 1:
        raise ValueError(
            f"batch_norm: training needs more than one value per channel, got x of shape {shape}: "
            "a batch of 1 sample. If it is the last one of an epoch, pass drop_last=True to the DataLoader"
        )
    center, var = K.batch_norm_moments(x._data)
    y = _op((center, var, True, eps), fused).run(inputs)
    K.batch_norm_track(*given, count, center, var, n, momentum)
    return y


def _as_now(statistic: np.ndarray) -> np.ndarray:
    """A copy in float64."""
    copy = K.empty(statistic.shape, np.float64)
    K.assign(copy, statistic)
    return copy


def _op(statistics: tuple, fused: tuple[Row, float, float] | None) -> BatchNorm:
    return BatchNorm(*statistics) if fused is None else ActivatedBatchNorm(statistics, *fused)


def _parameters(x: Tensor, shape: tuple[int, ...], weight: Any, bias: Any) -> list[Tensor]:
    """Those that are given; a weight of 1 if only the bias is."""
    if isinstance(weight, Tensor) and isinstance(bias, Tensor):
        w_data, b_data = weight._data, bias._data
        if w_data.shape == b_data.shape == shape and w_data.dtype == b_data.dtype == x._data.dtype:
            return [weight, bias]
    w, b = scale_and_shift("batch_norm", x, "axis 1", shape, weight, bias)
    if w is None and b is not None:
        w = filled(shape, 1.0, x.dtype)
    return [v for v in (w, b) if v is not None]


def _statistic(
    name: str, value: Any, x: Tensor, shape: tuple[int, ...], training: bool
) -> np.ndarray | None:
    if value is None:
        return None
    array = value._data if isinstance(value, Tensor) else value
    if not training:
        array = np.asarray(array)
        if array.dtype not in FLOATS:
            array = _as_now(array)
    elif not (isinstance(array, np.ndarray) and array.dtype in FLOATS and array.flags.behaved):
        raise TypeError(
            f"batch_norm: {name}: expected a float32 or float64 array that can be updated in place, "
            f"got {value!r}"
        )
    if array.shape != shape:
        check_shape_of(f"batch_norm: {name}", array, x, "axis 1", shape)
    return array
