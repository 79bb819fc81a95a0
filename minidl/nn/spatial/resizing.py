"""Layers that make images larger or smaller: Upsample, PixelShuffle, PixelUnshuffle."""

from __future__ import annotations

from typing import Any

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor
from minidl.nn.module import Module
from minidl.nn.spatial.pooling import Sizes, window_sizes
from minidl.ops.spatial.resizing import TAPS


class Upsample(Module):
    """y = x enlarged `scale` times along each spatial axis (see `F.upsample`).

    Args:
        scale: an int for all spatial axes of x, or a tuple of one each.
        mode: "nearest" (each element is repeated), "bilinear" or "bicubic".

    >>> Upsample(2)([[[1.0, 2.0]]])
    Tensor([[[1. 1. 2. 2.]]])
    """

    def __init__(self, scale: Sizes, mode: str = "nearest") -> None:
        self.scale = window_sizes("Upsample", "scale", scale, 1)
        self.mode = check.choice("Upsample", "mode", mode, ("nearest", *TAPS))

    def forward(self, x: Any) -> Tensor:
        return F.upsample(x, self.scale, self.mode)

    def extra_repr(self) -> str:
        return f"{self.scale}" if self.mode == "nearest" else f"{self.scale}, mode={self.mode!r}"


class PixelShuffle(Module):
    """(N, C * factor², H, W) -> (N, C, H * factor, W * factor) (see `F.pixel_shuffle`).

    Raises:
        ValueError: the channels are not a multiple of factor ** (spatial axes).

    >>> import numpy as np
    >>> PixelShuffle(2)(np.zeros((1, 8, 3, 5), np.float32)).shape
    (1, 2, 6, 10)
    """

    def __init__(self, factor: int) -> None:
        self.factor = check.integer("PixelShuffle", "factor", factor, 1, check.WINDOW_LIMIT)

    def forward(self, x: Any) -> Tensor:
        return F.pixel_shuffle(x, self.factor)

    def extra_repr(self) -> str:
        return f"{self.factor}"


class PixelUnshuffle(Module):
    """(N, C, H * factor, W * factor) -> (N, C * factor², H, W): undoes `PixelShuffle` (see `F.pixel_unshuffle`).

    Raises:
        ValueError: a spatial axis is not a multiple of factor.

    >>> import numpy as np
    >>> PixelUnshuffle(2)(np.zeros((1, 2, 6, 10), np.float32)).shape
    (1, 8, 3, 5)
    """

    def __init__(self, factor: int) -> None:
        self.factor = check.integer("PixelUnshuffle", "factor", factor, 1, check.WINDOW_LIMIT)

    def forward(self, x: Any) -> Tensor:
        return F.pixel_unshuffle(x, self.factor)

    def extra_repr(self) -> str:
        return f"{self.factor}"
