"""The NumPy definitions of the convolutions: a sum over the taps of the kernel, one matrix product per tap.

Below them, Winograd's algorithm in plain NumPy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minidl._kernels.reference.activations import activation_forward
from minidl._kernels.reference.gemm import _floats

__all__ = ("conv_forward", "conv_input_grad", "conv_weight_grad")


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
    return gw.reshape(gy.shape[1], channels, *kernel), gy.sum((0, *range(2, gy.ndim)))


# ── Winograd's algorithm: the definition of conv/winograd.pxd (docs/winograd.md) ──────────────────
# For square kernels of r * stride taps, r = 2 or 3: the kernels use 3 x 3 with stride 1 and 4 x 4 with stride 2.
# Two neighbouring outputs y of r taps g see r + 1 pixels d, and take r + 1 products instead of 2 r:
#
#     y = Aᵀ [(G g) * (Bᵀ d)]                       along one axis
#     y = Aᵀ [(G g Gᵀ) * (Bᵀ d B)] A                along two: a patch of 2 x 2 outputs
#
# Summed over channels, each position of the square in brackets is a product of matrices. All of it is linear in d and
# in g, so the gradients are the same with the matrices transposed: gg = Gᵀ [(A gy Aᵀ) * (Bᵀ d B)] G.
#
# This is for finite numbers: a zero in a matrix times an infinite pixel is NaN, where the kernels skip zeros.

DATA = {  # r: Bᵀ
    2: np.array([[1, -1, 0], [0, 1, 0], [0, -1, 1]]),
    3: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
}
TAPS = {  # r: G
    2: np.array([[1, 0], [1, 1], [0, 1]]),
    3: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
}
RESULT = {  # r: Aᵀ
    2: np.array([[1, 1, 0], [0, 1, 1]]),
    3: np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
}


def _both(matrix, x):
    """matrix x matrixᵀ for the squares in the last two axes of x: its rows and columns are transformed."""
    return np.einsum("ai,...ij,bj->...ab", matrix.astype(x.dtype), x, matrix.astype(x.dtype))


def _window(x, first, count, step):
    """The pixels first, first + step, ... of x, `count` along each spatial axis, with zeros beyond the edges of x."""
    for axis in (2, 3):
        at = first[axis - 2] + step * np.arange(count[axis - 2])
        inside = (at >= 0) & (at < x.shape[axis])
        found = x.take(at.clip(0, x.shape[axis] - 1), axis)
        x = np.where(inside[:, None] if axis == 2 else inside, found, 0)
    return x


def _transformed_patches(x, r):
    """Bᵀ d B: (N, C, P, Q, r + 1, r + 1), where neighbouring patches overlap in r - 1 pixels."""
    return _both(DATA[r], sliding_window_view(x, (r + 1, r + 1), (2, 3))[:, :, ::2, ::2])


def _patches(size):
    """How many patches of two outputs cover each axis."""
    return [(n + 1) // 2 for n in size]


def _correlate(x, weight):
    """The sum over taps with stride 1 and no padding: y (N, O, 2 P, 2 Q) of x (N, C, 2 P + r - 1, 2 Q + r - 1)."""
    r = weight.shape[-1]
    products = np.einsum(
        "ncpqij,ocij->nopqij", _transformed_patches(x, r), _both(TAPS[r], weight), optimize=True
    )
    y = _both(RESULT[r], products).swapaxes(3, 4)
    return y.reshape(*y.shape[:2], 2 * y.shape[2], 2 * y.shape[4])


def winograd_forward(x, weight, stride, padding):
    """y (N, O, ...): the sum of convolutions with stride 1, one for every stride-th tap on every stride-th pixel."""
    kernel = weight.shape[-1]
    r = kernel // stride
    size = [(n + 2 * p - kernel) // stride + 1 for n, p in zip(x.shape[2:], padding, strict=True)]
    count = [2 * n + r - 1 for n in _patches(size)]
    parts = [
        _correlate(
            _window(x, (i - padding[0], j - padding[1]), count, stride),
            weight[:, :, i::stride, j::stride],
        )
        for i, j in np.ndindex(stride, stride)
    ]
    return np.sum(parts, axis=0)[:, :, : size[0], : size[1]]


def winograd_input_grad(gy, weight, size, stride, padding):
    """gx (N, C, *size): every stride-th pixel of it, a phase, sees r taps in each direction, the last of them first."""
    r = weight.shape[-1] // stride
    gx = np.zeros((len(gy), weight.shape[1], *size), gy.dtype)
    for phase in np.ndindex(stride, stride):
        pixels = [len(range(i, n, stride)) for i, n in zip(phase, size, strict=True)]
        starts = [(i + p) // stride - (r - 1) for i, p in zip(phase, padding, strict=True)]
        seen = _window(gy, starts, [2 * n + r - 1 for n in _patches(pixels)], 1)
        i, j = ((i + p) % stride for i, p in zip(phase, padding, strict=True))
        taps = weight[:, :, i::stride, j::stride][:, :, ::-1, ::-1].swapaxes(0, 1)
        part = _correlate(seen, taps)[:, :, : pixels[0], : pixels[1]]
        gx[:, :, phase[0] :: stride, phase[1] :: stride] = part
    return gx


def winograd_weight_grad(x, gy, kernel, stride, padding):
    """gw (O, C, *kernel): here the sum is over the patches of all images, not over channels."""
    r = kernel[0] // stride
    p, q = _patches(gy.shape[2:])
    outputs = _window(gy, (0, 0), (2 * p, 2 * q), 1).reshape(*gy.shape[:2], p, 2, q, 2)
    spread = _both(RESULT[r].T, outputs.swapaxes(3, 4))
    gw = np.zeros((gy.shape[1], x.shape[1], *kernel), x.dtype)
    for i, j in np.ndindex(stride, stride):
        count = (2 * p + r - 1, 2 * q + r - 1)
        seen = _transformed_patches(_window(x, (i - padding[0], j - padding[1]), count, stride), r)
        products = np.einsum("nopqij,ncpqij->ocij", spread, seen, optimize=True)
        gw[:, :, i::stride, j::stride] = _both(TAPS[r].T, products)
    return gw
