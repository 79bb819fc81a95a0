"""Larger and smaller images: nearest, bilinear and bicubic upsampling, pixel shuffle and its inverse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float
from minidl.ops.arrays.joining import stack
from minidl.ops.shape import broadcast_to, reshape, transpose
from minidl.ops.spatial.conv import spatial
from minidl.ops.spatial.padding import pad


def upsample(x: Any, scale: int | Sequence[int], mode: str = "nearest") -> Tensor:
    """x enlarged `scale` times along each spatial axis: (N, C, *size) to (N, C, *(size * scale)).

    The gradient of an element is the sum of gy over the pixels that it reaches, with their weights.

    Args:
        x: (N, C, *size) with spatial axes. The result of "nearest" has x's layout in memory.
        scale: an int, or one for each spatial axis.
        mode: "nearest", each element repeated; "bilinear", between the two nearest along each axis; "bicubic", by a
            cubic through the four nearest along each axis (with a = -0.75), which may overshoot. Pixels are squares
            whose centres are half a pixel from the edge (PyTorch's ``align_corners=False``); beyond the edge, x goes
            on with its last element.

    Raises:
        ValueError: x without spatial axes, another mode.

    Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 1981.
    """
    check.choice("upsample", "mode", mode, ("nearest", *TAPS))
    x = as_float(x)
    if x.ndim < 3:
        raise ValueError(f"upsample: expected x (N, C, ...) of 3 axes or more, got {x.shape}")
    factors = spatial("upsample", "scale", scale, x.ndim - 2, 1)
    check.shape(
        "upsample", [*x.shape[:2], *[n * f for n, f in zip(x.shape[2:], factors, strict=True)]]
    )
    if mode == "nearest":
        return _repeated(x, factors)
    if 0 in x.shape[2:]:
        raise ValueError(f"upsample: {mode} needs elements along every spatial axis, got {x.shape}")
    # The last axis first: its rows are short, which costs most, and there are fewer of them then.
    for axis, factor in reversed(list(enumerate(factors, 2))):
        if factor > 1:
            x = _interpolated(x, axis, factor, TAPS[mode])
    return x


def _repeated(x: Tensor, factors: Sequence[int]) -> Tensor:
    """Each element repeated along each spatial axis."""
    last = _channels_last(x)
    y = _moved(x, 1, -1) if last else x
    first = 1 if last else 2  # the first spatial axis
    apart, wide, joined = list(y.shape[:first]), list(y.shape[:first]), list(y.shape[:first])
    for n, factor in zip(x.shape[2:], factors, strict=True):
        apart += [n, 1]
        wide += [n, factor]
        joined += [n * factor]
    rest = list(y.shape[first + len(factors) :])
    y = reshape(broadcast_to(reshape(y, apart + rest), wide + rest), joined + rest)
    return _moved(y, -1, 1) if last else y


def _linear(t: float) -> list[float]:
    """The weights of the two elements at 0 and 1, between which the place t is."""
    return [1 - t, t]


def _cubic(t: float, a: float = -0.75) -> list[float]:
    """The weights of the four elements at -1, 0, 1 and 2."""
    near, far = [t, 1 - t], [1 + t, 2 - t]
    w = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in near]
    v = [a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a for d in far]
    return [v[0], w[0], w[1], v[1]]


# The weights, and the place of the first of these elements.
TAPS: dict[str, tuple[Callable[[float], list[float]], int]] = {
    "bilinear": (_linear, 0),
    "bicubic": (_cubic, -1),
}


def _interpolated(x: Tensor, axis: int, factor: int, rule: tuple) -> Tensor:
    """x enlarged along one axis: of the pixels that an element becomes, each has weights of its own."""
    weights, first = rule
    n, reach = x.shape[axis], 1 - first  # how far the pixels of an element look, to both sides
    around = [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)]
    wide = pad(x, around, mode="replicate")
    scaled: dict[float, Tensor] = {}
    lead = (slice(None),) * axis
    phases = []
    for phase in range(factor):
        place = (phase + 0.5) / factor - 0.5  # from the element's centre, in elements
        y = None
        for k, w in enumerate(
            weights(place - math.floor(place)), reach + math.floor(place) + first
        ):
            if w:
                if w not in scaled:
                    scaled[w] = wide if w == 1 else wide * w
                term = scaled[w][(*lead, slice(k, k + n))]
                y = term if y is None else y + term
        phases.append(y)
    return reshape(stack(phases, axis + 1), (*x.shape[:axis], n * factor, *x.shape[axis + 1 :]))


def pixel_shuffle(x: Any, factor: int) -> Tensor:
    """(N, C * factor², H, W) -> (N, C, H * factor, W * factor): channels become blocks of pixels.

    ``y[n, c, h * factor + i, w * factor + j] = x[n, (c * factor + i) * factor + j, h, w]``; x may have 1 or 3 spatial
    axes as well, and the result has x's layout. The gradient is gy with its elements put back.

    Raises:
        ValueError: the channels are not a multiple of factor ** (spatial axes).

    Source: Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network, CVPR 2016.
    """
    x = as_float(x)
    factor = check.integer("pixel_shuffle", "factor", factor, 1, check.WINDOW_LIMIT)
    axes = x.ndim - 2
    if axes < 1 or x.shape[1] % factor**axes:
        raise ValueError(
            f"pixel_shuffle: expected x (N, C, ...) with a multiple of {factor}**{max(axes, 1)} "
            f"channels, got shape {x.shape}"
        )
    n, channels, size = x.shape[0], x.shape[1] // factor**axes, x.shape[2:]
    if _channels_last(x):  # (n, size..., c, factors...) -> (n, size and factor..., c)
        blocks = reshape(_moved(x, 1, -1), (n, *size, channels, *(factor,) * axes))
        pairs = [axis for i in range(axes) for axis in (1 + i, 2 + axes + i)]
        y = reshape(
            transpose(blocks, (0, *pairs, 1 + axes)), (n, *[s * factor for s in size], channels)
        )
        return _moved(y, -1, 1)
    blocks = reshape(x, (n, channels, *(factor,) * axes, *size))
    pairs = [axis for i in range(axes) for axis in (2 + axes + i, 2 + i)]
    return reshape(transpose(blocks, (0, 1, *pairs)), (n, channels, *[s * factor for s in size]))


def pixel_unshuffle(x: Any, factor: int) -> Tensor:
    """(N, C, H * factor, W * factor) -> (N, C * factor², H, W): blocks of pixels become channels; undoes
    `pixel_shuffle`.

    ``y[n, (c * factor + i) * factor + j, h, w] = x[n, c, h * factor + i, w * factor + j]``; x may have 1 or 3 spatial
    axes as well. The gradient is gy with its elements put back.

    Raises:
        ValueError: an axis whose length is not a multiple of factor.
    """
    x = as_float(x)
    factor = check.integer("pixel_unshuffle", "factor", factor, 1, check.WINDOW_LIMIT)
    n, channels, *size = x.shape if x.ndim > 2 else (0, 0, 1)
    if x.ndim < 3 or any(length % factor for length in size):
        raise ValueError(
            f"pixel_unshuffle: expected x (N, C, ...) with multiples of {factor} after axis 1, "
            f"got shape {x.shape}"
        )
    axes, parts = len(size), [part for length in size for part in (length // factor, factor)]
    blocks = reshape(x, (n, channels, *parts))
    order = (0, 1, *range(3, 2 + 2 * axes, 2), *range(2, 2 + 2 * axes, 2))
    y = transpose(blocks, order)
    return reshape(y, (n, channels * factor**axes, *[length // factor for length in size]))


def _channels_last(x: Tensor) -> bool:
    """Whether x's memory is N, ..., C and not N, C, ..."""
    data = x._data
    return not data.flags.c_contiguous and np.moveaxis(data, 1, -1).flags.c_contiguous


def _moved(x: Tensor, source: int, to: int) -> Tensor:
    """np.moveaxis."""
    order = [axis for axis in range(x.ndim) if axis != source % x.ndim]
    order.insert(to % x.ndim, source % x.ndim)
    return transpose(x, order)
