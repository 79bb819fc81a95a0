"""Op: one operation of the graph. What a subclass writes; `tape` has what is remembered of a call for the way back."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl._kernels import binary
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.tape import Record
from minidl.autograd.tensor import Tensor, wrap


class PyTorchsApply:
    """`MyOp.apply`, which is how PyTorch calls an op: the error says how it is called here."""

    def __get__(self, op: Any, kind: Any) -> Any:
        def apply(*_: Any) -> None:
            raise TypeError(
                f"{kind.__name__}.apply: an op is an object, made for one call: {kind.__name__}()(x), where settings "
                "that are not tensors go to the constructor"
            )

        return apply if op is None else op.run


class Op(Record):
    """One operation: what it computes, and how a gradient passes through it.

    A subclass writes ``forward(self, *arrays) -> ndarray`` and ``backward(self, gy) -> gradient of each input`` (a
    Tensor or None; a tuple of these for several inputs). Settings that are not tensors go to its constructor. Backward
    may return a gradient in the broadcast shape or in another float dtype: the engine sums and casts it back.

    ``backward`` is the textbook formula in Tensor operations, so that the gradient has gradients. Where a kernel is
    faster, ``fused_backward(self, gy) -> gradients`` does the same on arrays. The engine decides which of them runs:
    the fused one unless the gradient itself is to be differentiated (or inside `modes.textbook_gradients`).

    Where an op takes a part of its input, ``add_gradient(self, gy, gx)`` adds gy to that part of gx, an array: the
    gradients of all parts of a tensor then meet in one array, where `backward` would fill one for each.

    Class attributes, read when the class is first used, like the methods (later reassignment has no effect):
        saves: the inputs that backward reads with `input(i)`; None means all. The others are not kept alive.
        saves_output: backward reads the result with `output()`.
        shares: "view" if the result shares the memory of input 0, "inplace" if it has overwritten input 0.
    The attribute `kept` is for arrays that forward leaves for backward. An object records one call.
    """

    saves: Any = None
    saves_output = False
    shares = ""

    def forward(self, *xs: Any, **_: Any) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, gy: Tensor) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    fused_backward: Any = None
    add_gradient: Any = None
    apply: Any = PyTorchsApply()

    def __call__(self, *inputs: Tensor) -> Tensor:
        try:
            return self.run(inputs)
        except (AttributeError, TypeError):
            for i, x in enumerate(inputs):
                if not isinstance(x, Tensor):
                    raise TypeError(
                        f"{type(self).__name__}: input {i} must be a Tensor, got {type(x).__name__}; "
                        "wrap it: Tensor(...)"
                    ) from None
            raise

    def input(self, i: int) -> Tensor:
        """The i-th input, for backward; RuntimeError if it was changed in place since forward."""
        x = None if self._saved is None else self._saved[i]
        if x is None:
            raise RuntimeError(
                f"{type(self).__name__}: input {i} is not kept: `saves` leaves it out"
            )
        if x._changes is not None or self._details is not None:
            before = None if self._details is None else self._details.counts
            self._check_unchanged(i, x._data, x._changes, 0 if before is None else before[i])
        return x

    def output(self) -> Tensor:
        """The result, for backward; RuntimeError if it was changed in place since forward."""
        y, changes, before = self._output, self._output_changes, self._output_count
        if changes is None:
            raise RuntimeError(f"{type(self).__name__}: the output is not kept: set `saves_output`")
        if changes.count != before or changes.handed is not None or self._details is not None:
            self._check_unchanged(-1, y, changes, before)
        return wrap(y, self, changes, True)

    def needs(self, i: int) -> bool:
        """In backward: whether the gradient of input i is wanted."""
        if self._details is not None and self._details.wanted is not None:
            return self._details.wanted[i]
        return self.edges[i] is not None


# ── The engine's own ops: gradients add up, and broadcasting and casting are undone ──────────────────────────────────


class Add(Op):
    """y = x0 + x1, with broadcasting."""

    saves = ()

    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return binary("add", x0, x1)

    def backward(self, gy: Tensor) -> tuple[Tensor, Tensor]:
        return gy, gy


class SumTo(Op):
    """y = x summed over the axes along which `shape` was broadcast."""

    saves = ()

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x_shape = x.shape
        return K.sum_to(x, self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return BroadcastTo(self.x_shape)(gy)


class BroadcastTo(Op):
    """y = x, repeated along new axes and axes of length 1. (A read-only view: nothing is copied.)"""

    saves = ()
    shares = "view"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.broadcast_to(x, self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return gy


class Cast(Op):
    """y = x in another dtype."""

    saves = ()

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)

    def forward(self, x: np.ndarray) -> np.ndarray:
        if not x.flags.c_contiguous:
            return by_numpy(np.ndarray.astype, x, self.dtype)  # in the order in which x lies
        # Into memory that was used before: fresh pages, which NumPy would take, cost more than the cast.
        y = K.empty(x.shape, self.dtype)
        K.assign(y, x)
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return gy
