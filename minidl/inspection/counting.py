"""How many multiply-adds an op does, from the shapes of its operands; how much memory a graph keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minidl._kernels.runtime.memory import owner
from minidl.autograd.op import Op
from minidl.ops.einsum import Einsum
from minidl.ops.linalg import Affine, MatMul
from minidl.ops.sequence.attention_op import Attention
from minidl.ops.sequence.recurrent import Recurrence
from minidl.ops.spatial.conv import Conv, ConvTranspose, ConvWeightGrad

# For each class of ops: (op, result, operands) -> multiply-adds.
MULTIPLY_ADDS: dict[type, Any] = {
    MatMul: lambda op, y, x0, x1: y.size * x0.shape[-1],
    Affine: lambda op, y, x, w, *b: y.size * w.shape[1],
    Conv: lambda op, y, x, w, *b: y.size * math.prod(w.shape[1:]),
    ConvTranspose: lambda op, y, x, w, *b: x.size * math.prod(w.shape[1:]),
    ConvWeightGrad: lambda op, gw, x, y: y.size * math.prod(gw.shape[1:]),
    Einsum: lambda op, y, *xs: _einsum(op, xs),
    Attention: lambda op, y, q, k, v: (q.size + y.size) * k.shape[1],
    Recurrence: lambda op, y, gx, h, *more: gx.size * h.shape[-1],
}


def multiply_adds(op: Op, y: np.ndarray, xs: tuple[np.ndarray, ...]) -> int:
    """Of one call: those of products and convolutions, 0 for all other ops.

    A product of (n, k) and (k, m) does n k m. A convolution does one for each output element, input channel of its
    group and tap of the kernel, taps on the padding included; a transposed one for each input element, output channel
    and tap. A recurrence does a product of h and its weight for each step and gate. An einsum multiplies two operands
    at a time, which does the product of the lengths of all axes that the two have then.
    """
    rule = next((MULTIPLY_ADDS[kind] for kind in type(op).__mro__ if kind in MULTIPLY_ADDS), None)
    return 0 if rule is None else int(rule(op, y, *xs))


def _einsum(op: Any, xs: tuple[np.ndarray, ...]) -> int:
    lengths: dict[str, int] = {}
    for letters, x in zip(op.subscripts[:2], xs, strict=True):
        lengths.update(zip(letters, x.shape, strict=True))
    return math.prod(lengths.values())


def kept_bytes(ops: Iterable[Op], others: Iterable[np.ndarray]) -> int:
    """Bytes of all arrays, except `others`, that these ops and those that they depend on keep for backward."""
    known = {id(owner(array)) for array in others}
    sizes: dict[int, int] = {}
    order = list(dict.fromkeys(ops))
    seen = set(order)
    for op in order:  # grows while we walk over it
        kept = [x._data for x in op._saved or () if x is not None]
        for array in _arrays([kept, op.kept, op._output]):
            if id(owner(array)) not in known:
                sizes[id(owner(array))] = _whole(array).nbytes
        for edge in op.edges or ():
            if isinstance(edge, Op) and edge not in seen:
                seen.add(edge)
                order.append(edge)
    return sum(sizes.values())


def _arrays(kept: Any) -> Iterator[np.ndarray]:
    """The arrays in nested lists and tuples."""
    if isinstance(kept, np.ndarray):
        yield kept
    elif isinstance(kept, list | tuple):
        for item in kept:
            yield from _arrays(item)


def _whole(array: np.ndarray) -> np.ndarray:
    """The array that this one is a view of, whose memory it keeps."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
