"""Op: one operation of the graph. What a subclass writes, and what is remembered of a call for the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from minidl import _kernels as K
from minidl._kernels import binary
from minidl._kernels.runtime.memory import alike, fingerprint, owner
from minidl.autograd.changes import next_number, op_gone
from minidl.autograd.modes import recording, watching
from minidl.autograd.tensor import Tensor, wrap

_traits: dict[type, Traits] = {}  # of every class of ops that was called


class Traits:
    """What a class of ops declares, and its two methods. Read once: finding the attribute of a class is slow."""

    __slots__ = ("backward", "forward", "fused", "inplace", "saves", "saves_output", "shares")

    def __init__(self, kind: type[Op]) -> None:
        self.forward, self.backward = kind.forward, kind.backward
        self.fused = fused_backward_of(kind)
        self.saves = kind.saves
        self.saves_output = kind.saves_output
        self.shares = kind.shares in ("view", "inplace")
        self.inplace = kind.shares == "inplace"
        _traits[kind] = self


def fused_backward_of(kind: type[Op]) -> Any:
    """Its `fused_backward`; None if it has none, or one that belongs to the `backward` that it overrides."""
    owner = next(c for c in kind.__mro__ if "backward" in vars(c) or "fused_backward" in vars(c))
    return vars(owner).get("fused_backward")


class Notes:
    """What only few calls need to remember: an op makes one when it has something to write down.

    Attributes:
        likes: shape and dtype of each input. None: all inputs are saved, or all are as the output is.
        counts: the in-place changes of each saved input before the call. None: there were none.
        wanted: in backward, whether the gradient of each input is wanted. None: of all that require one.
        prints, where: under `detect_anomaly`: fingerprints of what is saved, and where the op was called.
    """

    __slots__ = ("counts", "likes", "prints", "wanted", "where")

    def __init__(self) -> None:
        self.likes: list | None = None
        self.counts: list | None = None
        self.wanted: list | None = None
        self.prints: list | None = None
        self.where: str | None = None


class Op:
    """One operation: what it computes, and how a gradient passes through it.

    A subclass writes ``forward(self, *arrays) -> ndarray`` and ``backward(self, gy) -> gradient of each input`` (a
    Tensor or None; a tuple of these for several inputs). Settings that are no tensors go to its constructor. Backward
    may return a gradient in the broadcast shape or in another float dtype: the engine sums and casts it back.

    ``backward`` is the textbook formula in Tensor operations, so that the gradient has gradients. Where a kernel is
    faster, ``fused_backward(self, gy) -> gradients`` does the same on arrays. The engine decides which of them runs:
    the fused one unless the gradient itself is to be differentiated (or inside `modes.textbook_gradients`).

    Class attributes, read when the class is first used, like the methods (later reassignment has no effect):
        saves: the inputs that backward reads with `input(i)`; None means all. The others are not kept alive.
        saves_output: backward reads the result with `output()`.
        shares: "view" if the result shares the memory of input 0, "inplace" if it has overwritten input 0.
    The attribute `kept` is for arrays that forward leaves for backward.
    """

    saves: Any = None
    saves_output = False
    shares = ""

    # What is remembered of a call. `edges` is None before it, and again when the graph was freed.
    edges: Any
    kept: Any
    _saved: Any
    _output: Any
    _output_changes: Any
    _output_count: int
    _live: bool  # recorded, and not freed
    _number: int
    _notes: Any
    _traits: Any

    def forward(self, *xs: Any, **_: Any) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, gy: Tensor) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    fused_backward: Any = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        try:
            return self.apply(inputs)
        except (AttributeError, TypeError):
            for i, x in enumerate(inputs):
                if not isinstance(x, Tensor):
                    raise TypeError(
                        f"{type(self).__name__}: input {i} must be a Tensor, got {type(x).__name__}; "
                        "wrap it: Tensor(...)"
                    ) from None
            raise

    def apply(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Runs forward on the inputs' arrays and records the op if a gradient may be asked for."""
        if self._number:  # what it remembers belongs to the graph of that call
            raise RuntimeError(
                f"{type(self).__name__}: an op object records one call; make a new one"
            )
        traits = _traits.get(type(self))
        if traits is None:
            traits = Traits(type(self))
        x = inputs[0]
        if len(inputs) == 1:  # up to three inputs are written out for speed
            y = traits.forward(self, x._data)
        elif len(inputs) == 2:
            second = inputs[1]
            y = traits.forward(self, x._data, second._data)
        elif len(inputs) == 3:
            second, third = inputs[1], inputs[2]
            y = traits.forward(self, x._data, second._data, third._data)
        else:
            y = traits.forward(self, *[x._data for x in inputs])
        if type(y) is not ndarray:
            y = self._as_array(y, "forward")
        out = wrap(y)
        if traits.shares:
            if traits.inplace:
                x._mark_changed()
            if traits.inplace or owner(y) is owner(x._data):  # (some views must be copies: reshape)
                out._changes, out._seen = x._shared_changes(), x._seen
                out._changes.viewed = True
        for x in inputs:
            if x._requires_grad:
                if recording():
                    self._record(inputs, out, traits)
                break
        return out

    def _as_array(self, y: Any, method: str) -> np.ndarray:
        """What a method returned, as an array: NumPy makes scalars of 0-d arrays."""
        if isinstance(y, ndarray | np.generic):
            return np.asarray(y)
        raise TypeError(
            f"{type(self).__name__}: its {method} must return an ndarray, got {type(y).__name__}"
        )

    def _record(self, inputs: tuple[Tensor, ...], out: Tensor, traits: Traits) -> None:
        all_alike, any_changed = True, False
        for x in inputs:
            if x._changes is not None:
                any_changed = True
                if x._seen != x._changes.overwritten:
                    check_history(x)
            if not alike(x._data, out._data):
                all_alike = False
        if not all_alike and out._data.dtype.kind != "f":
            return  # nothing flows through integers
        self._number = next_number()
        self._live = True
        self._traits = traits
        out._op = self
        out._requires_grad = True
        # An edge leads to the op that made the input, or to the leaf itself. (The tensor could be overwritten later by
        # an in-place op and then belong to another op.)
        if len(inputs) == 1:
            self.edges = (_edge(inputs[0]),)
        elif len(inputs) == 2:
            self.edges = (_edge(inputs[0]), _edge(inputs[1]))
        elif len(inputs) == 3:
            self.edges = (_edge(inputs[0]), _edge(inputs[1]), _edge(inputs[2]))
        else:
            self.edges = tuple([_edge(x) for x in inputs])
        saves = traits.saves
        if saves is None or len(saves) == len(inputs):
            self._saved = inputs
        elif saves:
            self._saved = tuple([x if i in saves else None for i, x in enumerate(inputs)])
        if not all_alike and self._saved is not inputs:
            self._note().likes = [(x._data.shape, x._data.dtype) for x in inputs]
        if any_changed and self._saved is not None:
            self._note().counts = [_count(x) for x in self._saved]
        if traits.saves_output:
            self._output = out._data
            self._output_changes = out._shared_changes()
            self._output_count = self._output_changes.count
        if watching():
            import traceback  # here, as it is slow to import and seldom needed

            calls = [call for call in traceback.extract_stack() if call.filename != __file__]
            saved = [None if x is None else fingerprint(x._data) for x in self._saved or ()]
            notes = self._note()
            notes.where = "".join(traceback.format_list(calls))
            notes.prints = [*saved, fingerprint(out._data) if traits.saves_output else None]

    def _note(self) -> Notes:
        if self._notes is None:
            self._notes = Notes()
        return self._notes

    def input(self, i: int) -> Tensor:
        """The i-th input, for backward; RuntimeError if it was changed in place since forward."""
        x = None if self._saved is None else self._saved[i]
        if x is None:
            raise RuntimeError(
                f"{type(self).__name__}: input {i} is not kept: `saves` leaves it out"
            )
        notes = self._notes
        if x._changes is not None:
            before = 0 if notes is None or notes.counts is None else notes.counts[i]
            self._check_unchanged(x._changes, before, f"input {i}", x._data)
        if (
            notes is not None
            and notes.prints is not None
            and notes.prints[i] != fingerprint(x._data)
        ):
            raise RuntimeError(self._changed_message(f"input {i}", x.shape))
        return x

    def output(self) -> Tensor:
        """The result, for backward; RuntimeError if it was changed in place since forward."""
        if self._output_changes is None:
            raise RuntimeError(f"{type(self).__name__}: the output is not kept: set `saves_output`")
        self._check_unchanged(self._output_changes, self._output_count, "the output", self._output)
        notes = self._notes
        if (
            notes is not None
            and notes.prints is not None
            and notes.prints[-1] != fingerprint(self._output)
        ):
            raise RuntimeError(self._changed_message("the output", self._output.shape))
        return wrap(self._output, self, self._output_changes, True)

    def _check_unchanged(self, changes: Any, before: int, which: str, array: ndarray) -> None:
        if changes.count != before:
            raise RuntimeError(self._changed_message(which, array.shape))
        if changes.handed is not None and changes.written(self._number):
            raise RuntimeError(
                self._changed_message(which, array.shape, " by a write through .data or numpy()")
            )

    def _changed_message(self, which: str, shape: tuple, how: str = "") -> str:
        return (
            f"{getattr(self, 'name', type(self).__name__)}: {which} (shape {shape}) is needed for its gradient but was "
            f"changed in place{how} after the op ran; change it after backward(), or give the op a copy"
        )

    def needs(self, i: int) -> bool:
        """In backward: whether the gradient of input i is wanted."""
        if self._notes is not None and self._notes.wanted is not None:
            return self._notes.wanted[i]
        return self.edges[i] is not None

    def _free(self) -> None:
        """Lets go of all that was saved. An op whose `edges` are None cannot be walked any more."""
        if self._live:
            self._live = False
            op_gone()
        self.edges = self._saved = None
        if self._output is not None:  # (asking is quicker than setting None to None)
            self._output = self._output_changes = None
        if self.kept is not None:
            self.kept = None
        if self._notes is not None:
            self._notes = None

    def __dealloc__(self) -> None:  # of the compiled class; in plain Python it is __del__
        if self._live:
            op_gone()


if not hasattr(Op, "edges"):  # plain Python: what the attributes that op.pxd declares start with
    Op.edges = Op._saved = Op._output = Op._output_changes = Op.kept = Op._notes = Op._traits = None
    Op._number, Op._live = 0, False
    Op.__del__ = Op.__dealloc__  # type: ignore[attr-defined]


def will_record(*xs: Any) -> bool:
    """Whether a call with these arguments is recorded: only then its backward may come."""
    return recording() and any([getattr(x, "_requires_grad", False) for x in xs])


def _edge(x: Tensor) -> Any:
    if not x._requires_grad:
        return None
    return x if x._op is None else x._op


def _count(x: Tensor | None) -> int:
    return 0 if x is None or x._changes is None else x._changes.count


def apply_inplace(op: Op, x: Tensor, *others: Tensor) -> Tensor:
    """Runs an op that overwrites x's memory; x itself becomes the result, as later readers of x must see.

    Raises:
        RuntimeError: as `check_inplace`.
    """
    check_inplace(getattr(op, "name", type(op).__name__), x, *others)
    before = wrap(x._data, x._op, x._shared_changes(), x._requires_grad)
    return become(x, op(before, *others))


def check_inplace(name: str, x: Tensor, *others: Tensor) -> None:
    """Refuses to overwrite what the graph could not follow.

    Raises:
        RuntimeError: x is a leaf that requires a gradient, or a view of one (its old value would be lost to the
            optimizer); others bring a gradient to x, and there are views of its memory that would not know.
    """
    if not recording():
        return
    if x._requires_grad:
        made = x._op or x
        while isinstance(made, Op) and made.shares == "view" and made.edges is not None:
            made = made.edges[0]
        if isinstance(made, Tensor):
            raise RuntimeError(
                f"{name}: a leaf that requires a gradient cannot be changed in place; do it inside no_grad()"
            )
        check_history(x)
    elif x._changes is not None and x._changes.viewed and any([y._requires_grad for y in others]):
        raise RuntimeError(
            f"{name}: this tensor (shape {x.shape}) shares its memory with views, which would not know of the "
            "gradient that it gets in place; compute a new tensor instead"
        )


def become(x: Tensor, after: Tensor) -> Tensor:
    """x, whose memory was overwritten with the values of `after`, has its history too from now on."""
    if recording():
        x._op, x._requires_grad = after._op, after._requires_grad
        if x._requires_grad:
            changes = x._shared_changes()
            changes.overwritten += 1
            x._seen = changes.overwritten
    return x


def check_history(x: Tensor) -> None:
    """Refuses a tensor whose memory an op has overwritten through another view: its gradient would be wrong."""
    if x._requires_grad and x._changes is not None and x._seen != x._changes.overwritten:
        raise RuntimeError(
            f"a tensor of shape {x.shape} was overwritten in place through another view of its memory; "
            "use the result of the in-place op, or give that op a copy"
        )


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
        return x.astype(self.dtype)

    def backward(self, gy: Tensor) -> Tensor:
        return gy
