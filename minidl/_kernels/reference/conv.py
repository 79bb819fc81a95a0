"""The NumPy twins of the convolutions: a sum over the taps of the kernel, one matrix product a tap."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import numpy as np

from minidl._kernels.reference.activations import activation_forward
from minidl._kernels.reference.gemm import _floats


def _steps(name, axes, *settings) -> list[tuple[int, ...]]:
    for setting in settings:
        if len(setting) != axes:
            raise ValueError(f"{name}: expected {axes} numbers, one a spatial axis, got {setting}")
    return [tuple(setting) for setting in settings]


def _check_settings(name, stride, padding, dilation) -> None:
    for least, setting in ((1, stride), (0, padding), (1, dilation)):
        if not all(least <= n <= 2**31 - 1 for n in setting):
            raise ValueError(f"{name}: expected numbers from {least} to {2**31 - 1}, got {setting}")


def _check_shapes(name, x, weight, y_channels, groups) -> None:
    """x (N, C, ...) and weight (O, C/groups, ...) fit, and y has `y_channels` = O."""
    if not 3 <= x.ndim <= 5 or weight.ndim != x.ndim:
        raise ValueError(f"{name}: expected 1 to 3 spatial axes, got {x.shape}, {weight.shape}")
    if groups < 1 or y_channels % groups or weight.shape[1] * groups != x.shape[1]:
        raise ValueError(
            f"{name}: expected weight (O, {x.shape[1]}/{groups}, ...) with O divided by {groups}, "
            f"got {weight.shape}"
        )


def _taps(kernel, size, stride, dilation) -> Iterator[tuple[tuple, tuple]]:
    """Each tap of the kernel, and the part of a padded image that it sees."""
    for tap in np.ndindex(*kernel):
        starts = [t * d for t, d in zip(tap, dilation, strict=True)]
        yield (
            tap,
            tuple(
                slice(a, a + (n - 1) * s + 1 if n else a, s)
                for a, n, s in zip(starts, size, stride, strict=True)
            ),
        )


def _reach(kernel, size, stride, dilation) -> tuple[int, ...]:
    """How much of a padded image an output of this size sees."""
    return tuple(
        max(0, (n - 1) * s + d * (k - 1) + 1)
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    )


def _padded(lead, reach, dtype):
    """Zeros of that many images and channels, and of the size that is seen."""
    if math.prod((*lead, *reach)) > sys.maxsize // 16:
        raise MemoryError(f"conv: no memory for an image of {reach} pixels")
    return np.zeros((*lead, *reach), dtype)


def _overlap(shape, reach, padding) -> tuple[tuple, tuple]:
    """Where image and padded image meet: the slices in the one and in the other."""
    inner, outer = [], []
    for n, r, p in zip(shape, reach, padding, strict=True):
        start, stop = max(0, -p), max(0, -p, min(n, r - p))
        inner.append(slice(start, stop))
        outer.append(slice(start + p, stop + p))
    return tuple(inner), tuple(outer)


def _channels_last(x):
    """x with its channels innermost in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def _finish(y, bias, activation, a, b):
    if bias is not None:
        if bias.shape != y.shape[1:2]:
            raise ValueError(f"conv: expected bias {y.shape[1:2]}, got {bias.shape}")
        y += bias.reshape(-1, *[1] * (y.ndim - 2))
    if activation is not None:
        activation_forward(activation, y, a, b, y)
    return _channels_last(y)


def conv_forward(
    x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, size=None,
    activation=None, a=0.0, b=0.0,
):  # fmt: skip
    _floats("conv", x, weight, *(() if bias is None else (bias,)))
    _check_shapes("conv", x, weight, weight.shape[0] if weight.ndim else 0, groups)
    stride, padding, dilation = _steps("conv", x.ndim - 2, stride, padding, dilation)
    _check_settings("conv", stride, padding, dilation)
    n, kernel = len(x), weight.shape[2:]
    if size is None:
        size = [
            max(0, (m + 2 * p - d * (k - 1) - 1) // s + 1)
            for m, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
        ]
    (size,) = _steps("conv", x.ndim - 2, size)
    reach = _reach(kernel, size, stride, dilation)
    padded = _padded(x.shape[:2], reach, x.dtype)
    inner, outer = _overlap(x.shape[2:], reach, padding)
    padded[(..., *outer)] = x[(..., *inner)]
    w = weight.reshape(groups, -1 if weight.size else len(weight) // groups, *weight.shape[1:])
    y = np.zeros((n, groups, w.shape[1], int(np.prod(size))), x.dtype)
    with np.errstate(all="ignore"):
        for tap, seen in _taps(kernel, size, stride, dilation):
            part = padded[(..., *seen)].reshape(n, groups, w.shape[2], y.shape[3])
            y += w[(..., *tap)] @ part
        y = y.reshape(n, weight.shape[0], *size)
        return _finish(y, bias, activation, a, b)


def conv_input_grad(
    gy, weight, size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, bias=None,
    activation=None, a=0.0, b=0.0,
):  # fmt: skip
    _floats("conv_transpose", gy, weight, *(() if bias is None else (bias,)))
    if not 3 <= gy.ndim <= 5 or weight.ndim != gy.ndim:
        raise ValueError(
            f"conv_transpose: expected 1 to 3 spatial axes, got {gy.shape}, {weight.shape}"
        )
    if groups < 1 or weight.shape[0] % groups or weight.shape[0] != gy.shape[1]:
        raise ValueError(
            f"conv_transpose: expected weight ({gy.shape[1]}, O/{groups}, ...) for gy {gy.shape}, "
            f"got {weight.shape}"
        )
    size, stride, padding, dilation = _steps(
        "conv_transpose", gy.ndim - 2, size, stride, padding, dilation
    )
    _check_settings("conv_transpose", stride, padding, dilation)
    n, kernel, channels = len(gy), weight.shape[2:], weight.shape[1] * groups
    pixels = int(np.prod(gy.shape[2:]))
    reach = _reach(kernel, gy.shape[2:], stride, dilation)
    padded = _padded((n, channels), reach, gy.dtype)
    w = weight.reshape(groups, len(weight) // groups, *weight.shape[1:]).swapaxes(1, 2)
    part = gy.reshape(n, groups, len(weight) // groups, pixels)
    with np.errstate(all="ignore"):
        for tap, seen in _taps(kernel, gy.shape[2:], stride, dilation):
            padded[(..., *seen)] += (w[(..., *tap)] @ part).reshape(n, channels, *gy.shape[2:])
        gx = np.zeros((n, channels, *size), gy.dtype)
        inner, outer = _overlap(size, reach, padding)
        gx[(..., *inner)] = padded[(..., *outer)]
        return _finish(gx, bias, activation, a, b)


def conv_weight_grad(
    x, gy, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
):  # fmt: skip
    _floats("conv_weight_grad", x, gy)
    if not 3 <= x.ndim <= 5 or gy.ndim != x.ndim or len(x) != len(gy):
        raise ValueError(
            f"conv_weight_grad: expected x and gy of one batch with 1 to 3 spatial axes, "
            f"got {x.shape}, {gy.shape}"
        )
    if groups < 1 or x.shape[1] % groups or gy.shape[1] % groups:
        raise ValueError(
            f"conv_weight_grad: {groups} groups do not divide the channels of "
            f"x {x.shape} and gy {gy.shape}"
        )
    kernel, stride, padding, dilation = _steps(
        "conv_weight_grad", x.ndim - 2, kernel, stride, padding, dilation
    )
    _check_settings("conv_weight_grad", stride, padding, dilation)
    n, size = len(x), gy.shape[2:]
    reach = _reach(kernel, size, stride, dilation)
    padded = _padded(x.shape[:2], reach, x.dtype)
    inner, outer = _overlap(x.shape[2:], reach, padding)
    padded[(..., *outer)] = x[(..., *inner)]
    outputs, channels = gy.shape[1] // groups, x.shape[1] // groups
    pixels = n * int(np.prod(size))
    g = gy.swapaxes(0, 1).reshape(groups, outputs, pixels)
    gw = np.zeros((groups, outputs, channels, *kernel), x.dtype)
    with np.errstate(all="ignore"):
        for tap, seen in _taps(kernel, size, stride, dilation):
            part = padded[(..., *seen)].swapaxes(0, 1).reshape(groups, channels, pixels)
            gw[(..., *tap)] = g @ part.swapaxes(1, 2)
    return gw.reshape(gy.shape[1], channels, *kernel)
