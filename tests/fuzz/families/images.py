"""Convolution and its transpose, pooling, upsampling, pixel shuffle."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Case, family, torch
from draw import Draw

from minidl import functional as F


def each_axis(draw: Draw, axes: int, low: int, high: int) -> Any:
    """A setting as one int for all axes, or a tuple with one for each."""
    if draw.chance(0.5):
        return draw.integer(low, high)
    return tuple(draw.integer(low, high) for _ in range(axes))


def full(value: Any, axes: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * axes


def channels(draw: Draw) -> int:
    return draw.choice([1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17])


@family("conv", 3)
def conv(draw: Draw) -> Case:
    axes = draw.choice([1, 2, 2, 3])
    groups = draw.choice([1, 1, 1, 2, 3, 4])
    inside, outside = channels(draw), channels(draw)
    if groups > 1 and draw.chance(0.3):
        inside = outside = 1  # depthwise
    kernel = full(each_axis(draw, axes, 1, draw.choice([1, 3, 3, 4, 5])), axes)
    settings = {
        "stride": each_axis(draw, axes, 1, draw.choice([1, 2, 3])),
        "padding": each_axis(draw, axes, 0, draw.choice([0, 1, 3])),
        "dilation": each_axis(draw, axes, 1, draw.choice([1, 1, 2])),
        "groups": groups,
    }
    if draw.chance(0.2):  # the shapes with fewer products
        kernel, s = draw.choice([((3,) * axes, 1), ((4,) * axes, 2)])
        settings |= {"stride": s, "dilation": 1}
    size = []
    for k, p, d in zip(
        kernel, full(settings["padding"], axes), full(settings["dilation"], axes), strict=True
    ):
        least = max(d * (k - 1) + 1 - 2 * p, 1)
        size.append(least + draw.integer(0, 40 if draw.large else {1: 12, 2: 6, 3: 3}[axes]))
    x = draw.array((draw.choice([1, 1, 2, 3]), inside * groups, *size))
    w = draw.array((outside * groups, inside, *kernel))
    operands = [x, w] + ([draw.array((outside * groups,))] if draw.chance(0.5) else [])

    def reference(x, w, b=None, **settings):
        return getattr(torch.nn.functional, f"conv{axes}d")(x, w, b, **settings)

    return Case("conv", F.conv, operands, settings, reference=reference, sums=True, eps=256)


@family("conv_transpose", 2)
def conv_transpose(draw: Draw) -> Case:
    axes = draw.choice([1, 2, 2, 3])
    groups = draw.choice([1, 1, 1, 2, 3])
    inside, outside = channels(draw), channels(draw)
    kernel = full(each_axis(draw, axes, 1, draw.choice([1, 3, 4, 5])), axes)
    stride, dilation = each_axis(draw, axes, 1, draw.choice([1, 2, 3])), each_axis(draw, axes, 1, 2)
    settings: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
    if draw.chance(0.2):
        kernel, settings["stride"], settings["dilation"] = (4,) * axes, 2, 1
    strides, dilations = full(settings["stride"], axes), full(settings["dilation"], axes)
    extra = tuple(draw.integer(0, max(s, d) - 1) for s, d in zip(strides, dilations, strict=True))
    settings["output_padding"] = extra if draw.chance(0.5) else 0
    size = [draw.integer(1, 8 if axes < 3 else 4) for _ in range(axes)]
    reach = min(
        (n - 1) * s + d * (k - 1)
        for n, s, d, k in zip(size, strides, dilations, kernel, strict=True)
    )
    settings["padding"] = draw.integer(0, min(3, reach // 2))
    x = draw.array((draw.choice([1, 1, 2]), inside * groups, *size))
    w = draw.array((inside * groups, outside, *kernel))
    operands = [x, w] + ([draw.array((outside * groups,))] if draw.chance(0.5) else [])

    def reference(x, w, b=None, **settings):
        return getattr(torch.nn.functional, f"conv_transpose{axes}d")(x, w, b, **settings)

    return Case(
        "conv_transpose",
        F.conv_transpose,
        operands,
        settings,
        reference=reference,
        sums=True,
        eps=256,
    )


@family("pool", 2)
def pool(draw: Draw) -> Case:
    name = draw.choice(["max_pool", "avg_pool"])
    axes = draw.choice([1, 2, 2, 3])
    kernel = each_axis(draw, axes, 1, 4)
    sizes = full(kernel, axes)
    padding = draw.choice([0, tuple(draw.integer(0, k // 2) for k in sizes)])
    settings = {
        "kernel_size": kernel,
        "stride": draw.choice([None, each_axis(draw, axes, 1, 3)]),
        "padding": padding,
    }
    size = [
        draw.integer(max(k - 2 * p, 1), k + 8)
        for k, p in zip(sizes, full(padding, axes), strict=True)
    ]
    x = draw.array(
        (draw.choice([1, 1, 2, 0]), draw.choice([1, 2, 3, 8, 16, 17, 33]), *size),
        wild=name == "max_pool",
    )

    if name == "max_pool":  # (of several NaN the first is taken here, the last by PyTorch)
        x = np.nan_to_num(x, nan=9.0, posinf=np.inf, neginf=-np.inf)

    def reference(x, **settings):
        return getattr(torch.nn.functional, f"{name}{axes}d")(x, **settings)

    return Case(
        name,
        getattr(F, name),
        [x],
        settings,
        reference=reference if x.shape[0] else None,
        sums=True,
        eps=32,
    )


@family("upsample")
def upsample(draw: Draw) -> Case:
    axes = draw.choice([1, 2, 3])
    scale = each_axis(draw, axes, 1, 3)
    x = draw.array(
        (draw.integer(1, 3), draw.integer(1, 9), *(draw.integer(1, 5) for _ in range(axes))),
        wild=True,
    )

    def reference(x, scale):
        for axis, factor in enumerate(full(scale, axes), 2):
            x = x.repeat_interleave(factor, axis)
        return x

    return Case(
        "upsample", F.upsample, [x], {"scale": scale}, reference=reference, sums=True, eps=32
    )


@family("pixel_shuffle")
def pixel_shuffle(draw: Draw) -> Case:
    axes, factor = draw.choice([1, 2, 2, 3]), draw.integer(1, 3)
    shape = (
        draw.integer(0, 2),
        draw.integer(1, 4) * factor**axes,
        *(draw.integer(1, 4) for _ in range(axes)),
    )

    def reference(x, factor):
        n, c, *size = x.shape
        y = x.reshape(n, c // factor**axes, *(factor,) * axes, *size)
        pairs = [axis for i in range(axes) for axis in (2 + axes + i, 2 + i)]
        return y.permute(0, 1, *pairs).reshape(n, c // factor**axes, *(s * factor for s in size))

    return Case(
        "pixel_shuffle",
        F.pixel_shuffle,
        [draw.array(shape, wild=True)],
        {"factor": factor},
        reference=reference,
    )
