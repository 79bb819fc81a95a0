"""A record of a step: its plan, and what is done before and after the plan's calls.

Before: what was decided in Python must still hold; arguments are copied into the plan's buffers, or its calls are
pointed to them; optimizers give their settings. After: gradients are set, parameters marked as changed, and results
copied out, so that they are the caller's own.
"""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from minidl._kernels.arrays.buffers import fits, put, references, taken_out
from minidl._kernels.runtime.memory import empty, owner
from minidl._kernels.runtime.prepared import (
    argument_for,
    do_again,
    is_older,
    reads,
    refuse,
)
from minidl.autograd.modes import recording, textbook
from minidl.autograd.tensor import Tensor, mark_changed, wrap
from minidl.replay.watch import Watch


class Given(np.ndarray):
    """An argument that is an array, as the function sees it while it is recorded: NumPy refuses to compute with it."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented  # array - tensor: the Tensor says what this is
        _refuse_value()
        plain = [x.view(np.ndarray) if isinstance(x, Given) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        _refuse_value()
        return super().__array_function__(function, types, args, options)

    def __getitem__(self, index: Any) -> Any:
        _refuse_value()
        return self.view(np.ndarray)[index]

    def item(self, *place: Any) -> Any:
        _refuse_value()
        return super().item(*place)

    def tolist(self) -> Any:
        _refuse_value()
        return super().tolist()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())


def _refuse_value() -> None:
    refuse("a value is read from an argument, which would not be read again")


class Older:
    """A tensor that was there before the recording, as it must be found."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.array = tensor, tensor._data
        self.requires_grad = tensor._requires_grad


class Leaf:
    """A leaf and the gradient that the step gives it. cleared: it may have one before the call."""

    def __init__(self, tensor: Tensor, cleared: bool) -> None:
        self.tensor, self.cleared, self.gradient = tensor, cleared, tensor.grad
        self.array = None if self.gradient is None else self.gradient._data
        self.owner = None if self.array is None else owner(self.array)

    def is_held(self) -> bool:
        """Whether somebody has kept the gradient of the last replay, which the next would overwrite; or has given it
        another array, in which the next would not arrive.
        """
        if self.gradient is None:
            return False
        if self.gradient._data is not self.array:
            return True
        return self.references() > ALONE + (self.tensor.grad is self.gradient)

    def references(self) -> int:
        """How many there are to the gradient, its array and its memory."""
        return references(self.gradient, self.array, self.owner)


class Record:
    """One plan, and what must hold for it to be replayed."""

    def __init__(self, plan: Any, given: tuple, spec: Any) -> None:
        self.plan, self.spec = plan, spec
        self.checks = plan.checks
        self.kinds = [type(x) for x in given]
        self.fits_without_gradients = (
            False  # as `fits` found last: only gradients of earlier calls were in the way
        )
        self.recorded, self.textbook = recording(), textbook()
        self.arguments: list = []
        self.stand_ins: list = []  # what the function is given, in the place of the arguments
        for x in given:
            argument = argument_for(array_of(x))
            buffer = argument.buffer
            if not fits(buffer, array_of(x)):
                refuse("an argument that is not one block of memory: pass a copy")
            if isinstance(x, Tensor) and x._requires_grad:
                refuse("an argument that requires a gradient: detach() it")
            self.arguments.append(argument)
            self.stand_ins.append(wrap(buffer) if isinstance(x, Tensor) else buffer.view(Given))

    # ── After the recording, while the plan is still open ────────────────────────────────────────────────────────────

    def finish(self, fn: Any, result: Any, copies: bool, had: list) -> None:
        """Sorts what was noted. CaptureError for what a replay could not do.

        had: leaves that had a gradient before the call. Where the step then found none, it has cleared it.
        """
        for x in self.stand_ins:
            if isinstance(x, Tensor) and x._changes is not None and x._changes.count:
                refuse("an argument is changed in place")
        self.stand_ins.clear()
        noted: dict[str, dict] = {
            kind: {}
            for kind in ("module", "tensor", "made", "changed", "before", "draw", "drawn", "added")
        }
        gradients: dict[int, tuple] = {}  # (leaf, whether it may have one before the call)
        before = {id(leaf) for leaf in had}
        for kind, thing in self.plan.notes:
            if kind == "cleared":
                for leaf in thing:
                    gradients.setdefault(id(leaf), (leaf, True))
            elif kind == "changed":
                noted[kind].update({id(tensor): tensor for tensor in thing})
            elif kind != "gradient":
                noted[kind][id(thing)] = thing
            elif id(thing[0]) not in gradients:
                leaf, grad = thing
                gradients[id(leaf)] = leaf, grad is None and id(leaf) in before
        self.effects, self.changed = list(noted["before"].values()), list(noted["changed"].values())
        self.watch, self.copies = Watch(fn, list(noted["module"].values())), copies
        # Draws of random numbers: what gives a key, and the call that takes it. In the order of the stream.
        self.draws = list(zip(noted["draw"].values(), noted["drawn"].values(), strict=True))
        # Gradients of earlier calls to which the step adds: (leaf, the buffer into which they are copied).
        self.added = list(noted["added"].values())
        added = {id(leaf) for leaf, _ in self.added}
        made = noted["made"]
        self.tensors = [Older(x) for x in noted["tensor"].values() if id(x._data) not in made]
        self.leaves = [
            Leaf(leaf, cleared or key in added)
            for key, (leaf, cleared) in gradients.items()
            if is_older(leaf._data)  # (what was made in the step ends with it)
        ]
        for leaf in self.leaves:
            if leaf.array is not None:
                reads(leaf.array)
        self.results: list = []
        self.outline = self._outlined(result)

    def check_lifetimes(self) -> None:
        """What was there before must stay, and what was made must go. (Nobody holds the function's result any more.)"""
        self.plan.notes.clear()
        # Tensors that nobody else has, to compare with: the array of one owns its memory, the other is a view.
        for probe in (np.zeros(1, np.float32), np.zeros(2, np.float32)[:1]):
            self.plan.older[id(probe)] = probe
            self.tensors.append(Older(wrap(probe)))
        del probe
        counts = [references(x.tensor, x.array, owner(x.array)) for x in self.tensors]
        shared, own = counts.pop(), counts.pop()
        for x in (self.tensors.pop(), self.tensors.pop()):
            del self.plan.older[id(x.array)]
        alone = [own if x.array.base is None else shared for x in self.tensors]
        if any(count <= least for count, least in zip(counts, alone, strict=True)):
            refuse(
                "it reads an array that nobody has after the call, so that the next call would read the same one: "
                "pass it as an argument"
            )
        kept = [
            *(argument.buffer for argument in self.arguments),
            *(buffer for _, buffer in self.added),
            *self.results,
            *(leaf.array for leaf in self.leaves if leaf.array is not None),
        ]
        if self.plan.in_use(kept):
            gc.collect()
            if self.plan.in_use(kept):
                refuse("a tensor that was made in it is kept after the call: return it")

    def give_back(self, given: tuple) -> None:
        """Where nothing is recorded after all: arguments that the function has changed in place are changed, too."""
        for argument, x in zip(self.arguments, given, strict=True):
            if argument.buffer.tobytes() != array_of(x).tobytes():
                put(array_of(x), argument.buffer)
                if isinstance(x, Tensor):
                    mark_changed([x])

    def _outlined(self, result: Any) -> Any:
        """The result, with the number of its place in `results` for each tensor that the plan computes."""
        if isinstance(result, Tensor):
            reads(result._data)
            if is_older(result._data):
                return result
            self.results.append(result._data)
            return _Place(len(self.results) - 1)
        if isinstance(result, np.ndarray):
            reads(result)
        if type(result) in (tuple, list):
            return type(result)([self._outlined(item) for item in result])
        if type(result) is dict:
            return {key: self._outlined(value) for key, value in result.items()}
        return result

    # ── Replaying ────────────────────────────────────────────────────────────────────────────────────────────────────

    def fits(self, given: tuple, spec: Any) -> bool:
        """Whether it may be replayed with these arguments, now; if so, its optimizers have given their settings."""
        self.fits_without_gradients = False
        if spec is not self.spec and spec != self.spec:
            return False
        if len(given) != len(self.arguments):
            return False
        for i, argument in enumerate(self.arguments):  # (compiled, zip takes longer)
            x = given[i]
            if type(x) is not self.kinds[i] or not fits(argument.buffer, array_of(x)):
                return False
        if recording() != self.recorded or textbook() != self.textbook:
            return False
        for older in self.tensors:
            if (
                older.tensor._data is not older.array
                or older.tensor._requires_grad != older.requires_grad
            ):
                return False
        for tensor, buffer in self.added:
            if tensor.grad is None or not fits(buffer, tensor.grad._data):
                return False
        if not self.watch.holds():
            return False
        for leaf in self.leaves:
            if not leaf.cleared and leaf.tensor.grad is not None:
                self.fits_without_gradients = True
                return False
        for effect in self.effects:  # noqa: SIM110 (a generator takes longer)
            if not effect.ready():
                return False
        return True

    def with_gradients(self) -> list:
        """The leaves that have a gradient now, of those to which the step gives one."""
        return [leaf.tensor for leaf in self.leaves if leaf.tensor.grad is not None]

    def replaces(self, earlier: Record) -> bool:
        """Whether it does for this call and later ones what an earlier record would do if there were no gradients."""
        return earlier.fits_without_gradients and all([leaf.cleared for leaf in self.leaves])

    def gradients_are_held(self) -> bool:
        """Whether one of them is (see `Leaf.is_held`), and matters."""
        if not self.copies:
            for leaf in self.leaves:
                if leaf.is_held():
                    return True
        return False

    def replay(self, given: tuple) -> Any:
        """The step, with arguments that fit."""
        try:
            for i, argument in enumerate(self.arguments):
                argument.arrive(array_of(given[i]))
            for tensor, buffer in self.added:
                put(buffer, tensor.grad._data)
            for function, inputs in self.checks:
                function(*inputs)
            for draw, drawn in self.draws:
                drawn.set(draw())
            do_again(self.plan)
        finally:
            for argument in self.arguments:
                argument.leave()
        return self.hand_out()

    def hand_out(self) -> Any:
        """What a call leaves behind: marks, gradients, and the results, which are returned."""
        mark_changed(self.changed)
        for leaf in self.leaves:
            kept = self.copies and leaf.gradient is not None
            leaf.tensor.grad = wrap(taken_out(leaf.array)) if kept else leaf.gradient
        if type(self.outline) is _Place:
            return wrap(taken_out(self.results[0]))
        return _filled(self.outline, [wrap(taken_out(array)) for array in self.results])


class _Place(int):
    """Stands for a tensor among the results."""


def _filled(outline: Any, results: list) -> Any:
    if type(outline) is _Place:
        return results[outline]
    if type(outline) in (tuple, list):
        return type(outline)([_filled(item, results) for item in outline])
    if type(outline) is dict:
        return {key: _filled(value, results) for key, value in outline.items()}
    return outline


def array_of(x: Any) -> np.ndarray:
    """The array of a tensor, or the array itself."""
    if isinstance(x, Tensor):
        tensor = x
        return tensor._data
    return x


def _references_of_one() -> int:
    """How many `gradients_are_held` finds to a gradient that only its list holds."""
    tensor = wrap(empty(1, np.float32))
    tensor.grad = wrap(empty(1, np.float32))
    leaf = Leaf(tensor, False)
    tensor.grad = None
    return leaf.references()


ALONE = _references_of_one()
