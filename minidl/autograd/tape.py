"""The tape: what is remembered of a call for the way back, and the checks that it was not changed meanwhile.

Whoever writes or reads an op need not know this: `op` says what an op is. Much here is a shortcut, because a call must
cost less than the arithmetic of a small layer.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy import ndarray

from minidl._kernels.runtime.memory import alike, fingerprint, owner
from minidl._kernels.runtime.prepared import (
    begins,
    capturing,
    is_older,
    note,
    reads,
    recorder,
    refuse,
)
from minidl.autograd.changes import Changes, next_number, op_gone
from minidl.autograd.modes import recording, watching
from minidl.autograd.tensor import Tensor, wrap

HERE = sys.modules["minidl.autograd"].__path__[0]  # (a compiled module may be elsewhere)

declarations: dict[type, Declaration] = {}  # of every class of ops that was called
on_declared: list = []  # functions of (class, declaration): called when a class of ops is called for the first time


class Declaration:
    """What a class of ops declares, and its methods. Read once: finding the attribute of a class is slow."""

    __slots__ = (
        "adds",
        "backward",
        "forward",
        "fused",
        "inplace",
        "saves",
        "saves_output",
        "shares",
    )

    def __init__(self, kind: Any) -> None:
        self.forward, self.backward = kind.forward, kind.backward
        self.fused = fused_backward_of(kind)
        self.adds = kind.add_gradient
        self.saves = kind.saves
        self.saves_output = kind.saves_output
        self.shares = kind.shares in ("view", "inplace")
        self.inplace = kind.shares == "inplace"
        declarations[kind] = self
        for fn in on_declared:
            fn(kind, self)


def all_declarations() -> dict[type, Declaration]:
    """By class. Who times or counts calls replaces the methods in them for a while: see minidl/inspection/calls.py."""
    return declarations


def fused_backward_of(kind: type) -> Any:
    """Its `fused_backward`; None if it has none, or if a subclass overrides only `backward`."""
    owner = next(c for c in kind.__mro__ if "backward" in vars(c) or "fused_backward" in vars(c))
    return vars(owner).get("fused_backward")


class Details:
    """Extra bookkeeping that few calls need; created on demand.

    Attributes:
        likes: shape and dtype of each input. None: all inputs are saved, or all are as the output is.
        counts: the in-place changes of each saved input before the call. None: there were none.
        wanted: in backward, whether the gradient of each input is wanted. None: of all that require one.
        fingerprints, where: under `detect_anomaly`: of all that is saved, and where the op was called.
    """

    __slots__ = ("counts", "fingerprints", "likes", "wanted", "where")

    def __init__(self) -> None:
        self.likes: list | None = None
        self.counts: list | None = None
        self.wanted: list | None = None
        self.fingerprints: list | None = None
        self.where: str | None = None


class Record:
    """What an op remembers of its call: the base of `Op`.

    Attributes:
        edges: for each input the op that made it, or the leaf itself, or None if it requires no gradient. (The tensor
            could be overwritten later by an in-place op and then belong to another op.) None before the call, and
            again when the graph was freed.
        kept: arrays that forward leaves for backward.
    """

    edges: Any
    kept: Any
    _saved: Any
    _output: Any
    _output_changes: Any
    _output_count: Any
    _live: Any  # recorded, and not freed
    _number: Any
    _details: Any
    _declared: Any

    def run(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The call, for inputs known to be Tensors: forward on their arrays, recorded if backward may come.

        An op in place overwrites input 0, which itself becomes the result, as later readers of it must see.
        """
        if self._number:  # what it remembers belongs to the graph of that call
            raise RuntimeError(
                f"{type(self).__name__}: an op object records one call; make a new one"
            )
        declared = declarations.get(type(self))
        if declared is None:
            declared = Declaration(type(self))
        if recorder.on and capturing():
            _note_call(self, inputs)
        target = x = inputs[0]
        if declared.inplace:
            check_inplace(getattr(self, "name", type(self).__name__), *inputs)
            x = wrap(x._data, x._op, x._shared_changes(), x._requires_grad)  # as it was before
            inputs = (x, *inputs[1:])
        if len(inputs) == 1:  # up to three inputs are written out for speed
            y = declared.forward(self, x._data)
        elif len(inputs) == 2:
            second = inputs[1]
            y = declared.forward(self, x._data, second._data)
        elif len(inputs) == 3:
            second, third = inputs[1], inputs[2]
            y = declared.forward(self, x._data, second._data, third._data)
        else:
            y = declared.forward(self, *[x._data for x in inputs])
        if type(y) is not ndarray:
            y = self._as_array(y, "forward")
        if recorder.on and capturing():
            _note_result(y)
        out = wrap(y)
        if declared.shares:
            if declared.inplace:
                x._shared_changes().mark()
            if declared.inplace or owner(y) is owner(
                x._data
            ):  # (some views must be copies: reshape)
                out._changes, out._seen = x._shared_changes(), x._seen
                out._changes.viewed = True
        for x in inputs:
            if x._requires_grad:
                if recording():
                    self._record(inputs, out, declared)
                break
        return become(target, out) if declared.inplace else out

    def _as_array(self, y: Any, method: str) -> np.ndarray:
        """What a method returned, as an array: NumPy makes scalars of 0-d arrays."""
        if isinstance(y, ndarray | np.generic):
            return np.asarray(y)
        raise TypeError(
            f"{type(self).__name__}: its {method} must return an ndarray, got {type(y).__name__}"
        )

    def _record(self, inputs: tuple[Tensor, ...], out: Tensor, declared: Declaration) -> None:
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
        self._declared = declared
        out._op = self
        out._requires_grad = True
        if len(inputs) == 1:
            self.edges = (_edge(inputs[0]),)
        elif len(inputs) == 2:
            self.edges = (_edge(inputs[0]), _edge(inputs[1]))
        else:
            self.edges = tuple([_edge(x) for x in inputs])
        saves = declared.saves
        if saves is None or len(saves) == len(inputs):
            self._saved = inputs
        elif saves:
            self._saved = tuple([x if i in saves else None for i, x in enumerate(inputs)])
        if not all_alike and self._saved is not inputs:
            self._detailed().likes = [(x._data.shape, x._data.dtype) for x in inputs]
        if any_changed and self._saved is not None:
            self._detailed().counts = [_count(x) for x in self._saved]
        if declared.saves_output:
            self._output = out._data
            self._output_changes = out._shared_changes()
            self._output_count = self._output_changes.count
        if watching():
            self._take_fingerprints()

    def _detailed(self) -> Details:
        if self._details is None:
            self._details = Details()
        return self._details

    def _take_fingerprints(self) -> None:
        import traceback  # here, as it is slow to import and seldom needed

        calls = [
            call for call in traceback.extract_stack() if os.path.dirname(call.filename) != HERE
        ]
        saved = [None if x is None else fingerprint(x._data) for x in self._saved or ()]
        details = self._detailed()
        details.where = "".join(traceback.format_list(calls))
        details.fingerprints = [*saved, None if self._output is None else fingerprint(self._output)]

    def _check_unchanged(
        self, i: int, array: ndarray, changes: Changes | None, before: int
    ) -> None:
        """RuntimeError if the saved array of input i (-1: the output) was changed since forward."""
        details, how = self._details, None
        if changes is not None:
            if changes.count != before:
                how = ""
            elif changes.handed is not None and changes.written(self._number):
                how = " by a write through .data or numpy()"
        if how is None and details is not None and details.fingerprints is not None:
            how = None if details.fingerprints[i] == fingerprint(array) else ""
        if how is not None:
            which = "the output" if i < 0 else f"input {i}"
            raise RuntimeError(
                f"{getattr(self, 'name', type(self).__name__)}: {which} (shape {array.shape}) is needed for its "
                f"gradient but was changed in place{how} after the op ran; change it after backward(), or give the "
                "op a copy"
            )

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
        if self._details is not None:
            self._details = None

    def __dealloc__(self) -> None:  # of the compiled class; in plain Python it is __del__
        if self._live:
            op_gone()


if not hasattr(
    Record, "edges"
):  # plain Python: what the attributes that tape.pxd declares start with
    Record.edges = Record._saved = Record._output = Record._output_changes = Record.kept = None
    Record._details = Record._declared = None
    Record._number = Record._output_count = 0
    Record._live = False
    Record.__del__ = Record.__dealloc__  # type: ignore[attr-defined]


def will_record(*xs: Any) -> bool:
    """Whether a call with these arguments is recorded: only then its backward may come."""
    return recording() and any([getattr(x, "_requires_grad", False) for x in xs])


def _edge(x: Tensor) -> Any:
    if not x._requires_grad:
        return None
    return x if x._op is None else x._op


def _count(x: Tensor | None) -> int:
    return 0 if x is None or x._changes is None else x._changes.count


def _note_call(op: Any, inputs: tuple[Tensor, ...]) -> None:
    """While a step is captured: what a call reads that was there before; CaptureError for what only Python could do."""
    begins(type(op).__name__)
    if not type(op).__module__.startswith("minidl."):
        refuse("an op of your own: its forward is Python, which would not run again")
    elif op.shares == "inplace" and is_older(inputs[0]._data):
        refuse("a tensor that was there before the call is changed in place")
    for x in inputs:
        if capturing() and is_older(x._data):
            note("tensor", x)


def _note_result(y: np.ndarray) -> None:
    """That y was computed by calls that will be done again, or is a view of what was there before."""
    reads(y)
    if capturing() and is_older(y):
        note("made", y)


# ── Ops in place ─────────────────────────────────────────────────────────────────────────────────────────────────────


def check_inplace(name: str, x: Tensor, *others: Tensor) -> None:
    """Refuses to overwrite what the graph could not follow.

    Raises:
        RuntimeError: x is a leaf that requires a gradient, or a view of one (its old value would be lost to the
            optimizer); others bring a gradient to x, and there are views of its memory that would not know.
    """
    if not recording():
        return
    if x._requires_grad:
        made: Any = x._op or x
        while getattr(made, "shares", "") == "view" and made.edges is not None:
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
