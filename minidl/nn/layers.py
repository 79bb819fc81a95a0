"""Layers without parameters: Flatten, Reshape, Identity."""

from __future__ import annotations

from typing import Any

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.nn.module import Module


class Flatten(Module):
    """All axes from `start_axis` on become one: (N, C, H, W) -> (N, C*H*W). The layer of `md.flatten`.

    Raises:
        ValueError: x has no such axis. TypeError: `start_axis` is not an integer.

    >>> Flatten()([[[1.0], [2.0]]]).shape
    (1, 2)
    """

    def __init__(self, start_axis: int = 1) -> None:
        self.start_axis = check.integer("Flatten", "start_axis", start_axis)

    def forward(self, x: Any) -> Tensor:
        return as_tensor(x).flatten(self.start_axis)

    def extra_repr(self) -> str:
        return "" if self.start_axis == 1 else f"start_axis={self.start_axis}"


class Reshape(Module):
    """Each sample gets a new shape, the batch axis stays: ``Reshape(8, 4, 4)`` takes (N, 128) to
    (N, 8, 4, 4).

    Args:
        shape: lengths without the batch axis, as ints or one tuple; one of them may be -1.

    Raises:
        ValueError: the sample has another number of elements.

    >>> Reshape(2, -1)([[1.0, 2.0, 3.0, 4.0]]).shape
    (1, 2, 2)
    """

    def __init__(self, *shape: Any) -> None:
        sizes = shape[0] if len(shape) == 1 else shape
        self.shape = check.integers("Reshape", "shape", sizes, -1)
        if self.shape.count(-1) > 1:
            raise ValueError(f"Reshape: only one length can be -1, got {self.shape}")

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        try:
            return x.reshape(x.shape[0], *self.shape)
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"Reshape: cannot give samples of shape {x.shape[1:]} the shape {self.shape}"
            ) from error

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


class Identity(Module):
    """y = x, in x's shape and dtype; the gradient is gy. Arguments are ignored, so that it can stand in for any layer.

    It has no parameters: put in a layer's place it switches the layer off.
    """

    def __init__(self, *ignored: Any, **ignored_too: Any) -> None:
        pass

    def forward(self, x: Any) -> Tensor:
        return F.identity(x)
