"""ONNX's operators by minidl's ops: activations, convolutions, pooling, normalisation.

`operators` has the rest, and says what such a function is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import functional as F
from minidl import ops
from minidl.autograd.tensor import Tensor, as_tensor, plain
from minidl.onnx.operators import declare, integers, number, operator
from minidl.ops.activations.activation import FUNCTIONS
from minidl.ops.activations.smooth import SELU_ALPHA, SELU_SCALE

# ── Activations ──────────────────────────────────────────────────────────────────────────────────────────────────────

for _kind, _name in {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softsign": "softsign", "Softplus": "softplus",
    "HardSwish": "hardswish", "Mish": "mish",
}.items():  # fmt: skip
    declare(_kind, FUNCTIONS[_name])


@operator("LeakyRelu")
def leaky_relu(x: Any, *, alpha: float = 0.01) -> Tensor:
    return FUNCTIONS["leaky_relu"](x, alpha)


@operator("Elu")
def elu(x: Any, *, alpha: float = 1.0) -> Tensor:
    return FUNCTIONS["elu"](x, alpha)


@operator("Celu")
def celu(x: Any, *, alpha: float = 1.0) -> Tensor:
    return FUNCTIONS["celu"](x, alpha)


@operator("Selu")
def selu(x: Any, *, alpha: float = SELU_ALPHA, gamma: float = SELU_SCALE) -> Tensor:
    usual = math.isclose(alpha, SELU_ALPHA, rel_tol=1e-6) and math.isclose(
        gamma, SELU_SCALE, rel_tol=1e-6
    )
    return FUNCTIONS["selu"](x) if usual else gamma * FUNCTIONS["elu"](x, alpha)


@operator("HardSigmoid")
def hardsigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return FUNCTIONS["hardsigmoid"](x)
    return ops.clip(alpha * x + beta, 0, 1)


@operator("Shrink")
def shrink(x: Any, *, lambd: float = 0.5, bias: float = 0.0) -> Tensor:
    if bias in (0, lambd):
        return FUNCTIONS["softshrink"](x, lambd) if bias else FUNCTIONS["hardshrink"](x, lambd)
    return ops.where(x > lambd, x - bias, ops.where(x < -lambd, x + bias, 0.0))


@operator("ThresholdedRelu")
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Tensor:
    return FUNCTIONS["threshold"](x, alpha, 0.0)


@operator("Gelu")
def gelu(x: Any, *, approximate: str = "none") -> Tensor:
    return FUNCTIONS["gelu"](x, approximate)


@operator("PRelu")
def prelu(x: Any, slope: Any) -> Tensor:
    """A slope that broadcasts to x from the right is one along the axes where it is longer than 1."""
    x, slope = as_tensor(x), as_tensor(slope)
    before = x.ndim - slope.ndim
    axes = tuple(axis + before for axis, n in enumerate(slope.shape) if n > 1)
    if not axes:
        return F.prelu(x, ops.reshape(slope, (1,)))
    return F.prelu(x, ops.reshape(slope, [x.shape[axis] for axis in axes]), axes)


@operator("Softmax")
def softmax(x: Any, *, axis: int = -1) -> Tensor:
    return F.softmax(x, axis)


@operator("LogSoftmax")
def log_softmax(x: Any, *, axis: int = -1) -> Tensor:
    return F.log_softmax(x, axis)


@operator("Dropout", never_trained=(1, 2))
def dropout(
    x: Any, ratio: Any = None, mode: Any = None, *, seed: int | None = None, training: bool
) -> Tensor:
    share = number(ratio)
    return F.dropout(x, 0.5 if share is None else share, training)


# ── Images ───────────────────────────────────────────────────────────────────────────────────────────────────────────

Sizes = Sequence[int] | None


def _padded(
    x: Any,
    kernel: Sequence[int],
    stride: tuple[int, ...],
    dilation: Sequence[int],
    pads: Sizes,
    auto_pad: str,
    value: float,
) -> tuple:
    """x and the padding that is left to be done by a window that is the same on both sides of an axis."""
    axes = len(kernel)
    before, after = [0] * axes, [0] * axes
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(axes):
            n, reach = x.shape[2 + i], dilation[i] * (kernel[i] - 1) + 1
            width = max((-(-n // stride[i]) - 1) * stride[i] + reach - n, 0)
            small, large = width // 2, width - width // 2
            before[i], after[i] = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    elif auto_pad == "NOTSET" and pads:
        before, after = list(pads[:axes]), list(pads[axes:])
    elif auto_pad not in ("NOTSET", "VALID"):
        raise NotImplementedError(f"auto_pad={auto_pad!r} is not supported")
    if before == after:
        return x, tuple(before)
    return ops.pad(x, [(0, 0), (0, 0), *zip(before, after, strict=True)], value), (0,) * axes


@operator("Conv")
def conv(
    x: Any, w: Any, b: Any = None, *, strides: Sizes = None, pads: Sizes = None, dilations: Sizes = None,
    group: int = 1, kernel_shape: Sizes = None, auto_pad: str = "NOTSET",
) -> Tensor:  # fmt: skip
    kernel = w.shape[2:]
    stride, dilation = _each(strides, kernel), _each(dilations, kernel)
    x, padding = _padded(x, kernel, stride, dilation, pads, auto_pad, 0.0)
    return F.conv(x, w, b, stride, padding, dilation, group)


def _each(sizes: Sizes, kernel: Sequence[int]) -> tuple[int, ...]:
    return tuple(sizes) if sizes else (1,) * len(kernel)


@operator("ConvTranspose")
def conv_transpose(
    x: Any, w: Any, b: Any = None, *, strides: Sizes = None, pads: Sizes = None, dilations: Sizes = None,
    group: int = 1, kernel_shape: Sizes = None, output_padding: Sizes = None, auto_pad: str = "NOTSET",
) -> Tensor:  # fmt: skip
    kernel = w.shape[2:]
    stride, dilation = _each(strides, kernel), _each(dilations, kernel)
    pads = pads or [0] * (2 * len(kernel))
    before, after = tuple(pads[: len(kernel)]), tuple(pads[len(kernel) :])
    if auto_pad != "NOTSET" or before != after:
        raise NotImplementedError(
            f"auto_pad={auto_pad!r}, pads={list(pads)}: expected the same on both sides"
        )
    extra = tuple(output_padding) if output_padding else 0
    return F.conv_transpose(x, w, b, stride, before, extra, group, dilation)


def _pool_window(
    x: Any,
    kernel: Sizes,
    strides: Sizes,
    dilations: Sizes,
    pads: Sizes,
    auto_pad: str,
    ceil_mode: int,
    value: float,
) -> tuple:
    """x, padded if need be, and the window's size, stride and padding."""
    if ceil_mode or any(d != 1 for d in dilations or ()):
        raise NotImplementedError("ceil_mode=1 and dilations other than 1 are not supported")
    assert kernel is not None
    stride = _each(strides, kernel)
    x, padding = _padded(x, kernel, stride, (1,) * len(kernel), pads, auto_pad, value)
    return x, tuple(kernel), stride, padding


@operator("MaxPool")
def max_pool(
    x: Any, *, kernel_shape: Sizes, strides: Sizes = None, pads: Sizes = None, dilations: Sizes = None,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, storage_order: int = 0,
) -> Tensor:  # fmt: skip
    return F.max_pool(
        *_pool_window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode, -math.inf)
    )


@operator("AveragePool")
def avg_pool(
    x: Any, *, kernel_shape: Sizes, strides: Sizes = None, pads: Sizes = None, dilations: Sizes = None,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
) -> Tensor:  # fmt: skip
    settings = kernel_shape, strides, dilations, pads, auto_pad, ceil_mode, 0.0
    y = F.avg_pool(*_pool_window(x, *settings))
    if count_include_pad or not (any(pads or ()) or auto_pad.startswith("SAME")):
        return y
    ones = Tensor(np.ones((1, 1, *x.shape[2:]), x.dtype))  # the share of each window that is x
    return y / F.avg_pool(*_pool_window(ones, *settings))


@operator("GlobalAveragePool")
def global_avg_pool(x: Any) -> Tensor:
    return ops.mean(x, tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(x: Any) -> Tensor:
    return ops.max(x, tuple(range(2, x.ndim)), keepdims=True)


@operator("DepthToSpace")
def depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "DCR":  # the factors come before the channels
        n, c, h, w = x.shape
        x = ops.reshape(x, (n, blocksize**2, c // blocksize**2, h, w))
        x = ops.reshape(ops.transpose(x, 0, 2, 1, 3, 4), (n, c, h, w))
    return F.pixel_shuffle(x, blocksize)


RESIZE_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


@operator("Resize", never_trained=(1, 2, 3))
def resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel", nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0, antialias: int = 0,
    axes: Sizes = None, keep_aspect_ratio_policy: str = "stretch",
) -> Tensor:  # fmt: skip
    """By whole factors. For nearest neighbours all modes of coordinates then mean the same."""
    if sizes is not None and np.size(sizes):
        factors = [n / m for n, m in zip(integers(sizes), x.shape, strict=True)]
    else:
        factors = np.asarray(plain(scales), float).tolist()
    whole = all(f == int(f) and f >= 1 for f in factors) and factors[:2] == [1, 1]
    centres = coordinate_transformation_mode in ("half_pixel", "pytorch_half_pixel")
    usual = nearest_mode != "ceil" if mode == "nearest" else centres and cubic_coeff_a == -0.75
    others = exclude_outside or antialias or axes is not None or mode not in RESIZE_MODES
    if not whole or not usual or others:
        raise NotImplementedError(
            f"mode={mode!r} by {factors}, coordinates {coordinate_transformation_mode!r}: expected whole factors, and "
            "'half_pixel' for linear and cubic ones"
        )
    return F.upsample(x, tuple(int(f) for f in factors[2:]), RESIZE_MODES[mode])


# ── Normalisation ────────────────────────────────────────────────────────────────────────────────────────────────────


@operator("BatchNormalization", never_trained=(3, 4))
def batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, training: bool,
) -> Tensor:  # fmt: skip
    if training_mode:
        raise NotImplementedError("training_mode=1 is not supported: export in evaluation mode")
    return F.batch_norm(x, mean, var, weight, bias, training, 1 - momentum, epsilon)


@operator("LayerNormalization")
def layer_norm(
    x: Any, weight: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:  # fmt: skip
    shape = x.shape[axis:]
    weight, bias = (None if v is None else ops.broadcast_to(v, shape) for v in (weight, bias))
    return F.layer_norm(x, shape, weight, bias, epsilon)


@operator("InstanceNormalization")
def instance_norm(x: Any, weight: Any, bias: Any, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight, bias, epsilon)


@operator("GroupNormalization")
def group_norm(
    x: Any, weight: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    return F.group_norm(x, num_groups, weight, bias, epsilon)
