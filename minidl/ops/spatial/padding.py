"""Padding: x with a constant around it, or with its own elements, mirrored or repeated."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.ops.shape import Slice

Widths = list[tuple[int, int]]  # (before, after) for each axis


class Pad(Op):
    """y = x with a number around it."""

    saves = ()

    def __init__(self, widths: Widths, value: float) -> None:
        self.widths, self.value = widths, value

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.pad(x, self.widths, "constant", self.value)

    def backward(self, gy: Tensor) -> Tensor:
        return Slice(_inside(gy.shape, self.widths))(gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return gy[_inside(gy.shape, self.widths)]


class PadEdges(Op):
    """y = x, continued beyond its edges along each axis: mirrored, or by its last element."""

    saves = ()

    def __init__(self, widths: Widths, mode: str) -> None:
        self.widths, self.mode = widths, mode

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.pad(x, self.widths, self.mode)

    def backward(self, gy: Tensor) -> Tensor:
        return FoldEdges(self.widths, self.mode)(gy)


class FoldEdges(Op):
    """gx = the inner part of gy, to which the edges are added where they came from: the transpose of PadEdges."""

    saves = ()

    def __init__(self, widths: Widths, mode: str) -> None:
        self.widths, self.mode = widths, mode

    def forward(self, gy: np.ndarray) -> np.ndarray:
        g = K.copy(gy)
        K.fold_padding(g, self.widths, self.mode)
        return K.copy(g[_inside(g.shape, self.widths)])

    def backward(self, ggx: Tensor) -> Tensor:
        return PadEdges(self.widths, self.mode)(ggx)


def _inside(shape: tuple[int, ...], widths: Widths) -> Any:
    """The index of what is not padding; of no axes, too, it gives a view."""
    return (*[slice(a, n - b) for n, (a, b) in zip(shape, widths, strict=True)], ...)


def _pairs(pad_width: Any, ndim: int) -> Widths:
    """(before, after) for each of so many axes."""
    if type(pad_width) in (list, tuple) and len(pad_width) == ndim > 0:
        for p in pad_width:
            if type(p) is not tuple or len(p) != 2 or not type(p[0]) is type(p[1]) is int:
                break
        else:  # the usual form
            return list(pad_width)
    try:
        widths = np.asarray(pad_width)
    except ValueError:  # pairs of unequal length
        widths = np.asarray(None)
    if widths.dtype.kind not in "iu":
        raise TypeError(f"pad: pad_width must be integers, got {pad_width!r}")
    if widths.shape not in ((), (1,), (2,), (1, 2), (ndim, 2)):
        raise ValueError(
            f"pad: pad_width: expected one (before, after) for each of {ndim} axes, got {pad_width}"
        )
    return [(before, after) for before, after in np.broadcast_to(widths, (ndim, 2)).tolist()]


def pad(x: Any, pad_width: Any, value: float = 0.0, mode: str = "constant") -> Tensor:
    """x with something around it: an axis of length n becomes (before + n + after).

    The gradient is the inner part of gy; in the modes that repeat elements, each gets the sum over its repetitions.

    Args:
        pad_width: as in NumPy: a number, (before, after), or one such pair for each axis of x.
        value: what is put there, in x's dtype, if the mode is "constant".
        mode: "constant"; "reflect", where x goes on mirrored at its first and last element, which are not repeated:
            1 2 3 becomes 3 2 1 2 3 2 1; or "replicate", where the first and the last element are repeated.

    Raises:
        ValueError: another number of pairs, a negative width, another mode, or an axis that is too short to be
            reflected (it must be longer than the width) or replicated (it must not be empty).
        TypeError: widths that are not integers, a value that is not a number.
    """
    x = as_tensor(x)
    shape = x._data.shape
    pairs = _pairs(pad_width, len(shape))
    if type(value) is not float and not isinstance(value, Real):
        raise TypeError(f"pad: value must be a number, got {value!r}")
    check.choice("pad", "mode", mode, ("constant", "reflect", "replicate"))
    lengths = list(shape)
    for axis, pair in enumerate(pairs):
        (before, after), n = pair, lengths[axis]
        if before < 0 or after < 0:
            raise ValueError(f"pad: widths must not be negative, got {pad_width}")
        wide = before if before > after else after
        if mode != "constant" and wide and n < (wide + 1 if mode == "reflect" else 1):
            raise ValueError(
                f"pad: axis {axis} of x has {n} elements, too few for {mode} by {pair} (x has shape {x.shape})"
            )
        lengths[axis] = before + n + after
    check.shape("pad", lengths)
    op = Pad(pairs, value) if mode == "constant" else PadEdges(pairs, mode)
    return op.run((x,))


def same_padding(
    name: str,
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Tensor, tuple[int, ...]]:
    """(x, padding) with which a convolution keeps the size of x (N, C, ...). An even kernel needs one more pixel at
    the end, which is added to x.

    Raises:
        ValueError: a stride: then no padding keeps the size.
    """
    pairs = same_widths(name, kernel, stride, dilation)
    if any(before != after for before, after in pairs):
        x = Pad([(0, 0), (0, 0), *[(0, after - before) for before, after in pairs]], 0.0)(x)
    return x, tuple([before for before, _ in pairs])


def same_widths(
    name: str, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Widths:
    """How much padding, before and after, keeps the size along each spatial axis."""
    if any(step != 1 for step in stride):
        raise ValueError(f'{name}: padding "same" needs stride 1, got stride {stride}')
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(n // 2, n - n // 2) for n in reach]
