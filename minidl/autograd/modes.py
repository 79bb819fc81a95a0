"""Settings of a thread: whether ops are recorded, gradients watched for NaN, or computed by the textbook alone."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any

from minidl._kernels.runtime.shared import Count, add, value_of
from minidl.autograd.decorate import decorated


class Entry:
    """One entry of a mode: the value that holds from there until it is left, and the entry that it was made within."""

    __slots__ = ("left", "value", "within")

    def __init__(self, value: bool, within: Entry | None) -> None:
        self.value, self.within, self.left = value, within, False


class Mode:
    """A flag that each thread (and each asyncio task) has a value of its own for.

    Entries may be left in any order, and by another thread than entered: what a generator has entered is left when the
    generator ends, or is collected.
    """

    __slots__ = ("contexts", "read", "usual", "variable")

    def __init__(self, name: str, usual: bool) -> None:
        self.variable: ContextVar[Entry | None] = ContextVar(name, default=None)
        self.read = self.variable.get  # (found once: it is asked often)
        self.usual = usual
        # Entered and not left yet, in all threads: while there are none, nobody asks `variable`.
        self.contexts = Count()

    def holds(self) -> bool:
        if value_of(self.contexts) == 0:
            return self.usual
        entry = self.last()
        return self.usual if entry is None else entry.value

    def last(self) -> Entry | None:
        """The last entry that was not left."""
        entry = self.read()
        while entry is not None and entry.left:
            entry = entry.within
        return entry

    def enter(self, value: bool) -> Entry:
        """The flag has this value from now on; returns what to `leave`."""
        entry = Entry(value, self.last())
        self.variable.set(entry)
        add(self.contexts, 1)
        return entry

    def leave(self, entry: Entry) -> None:
        entry.left = True  # `last` passes over it, and the next entry takes its place
        add(self.contexts, -1)


_recording = Mode("recording", True)
_watching = Mode("watching", False)
_textbook = Mode("textbook", os.environ.get("MINIDL_GRADIENTS") == "textbook")


def recording() -> bool:
    """Whether ops are recorded. Inside backward: whether this gradient must have a gradient of its own."""
    return _recording.holds()


def switch_recording(value: bool) -> Entry:
    """Recording is on or off from now on, until `restore_recording`. (no_grad, for the engine.)"""
    return _recording.enter(value)


def restore_recording(entry: Entry) -> None:
    _recording.leave(entry)


def watching() -> bool:
    """Whether gradients are watched for NaN."""
    return _watching.holds()


def textbook() -> bool:
    """Whether backward leaves out the fused kernels."""
    return _textbook.holds()


class no_grad:
    """Nothing is recorded inside: ``with no_grad(): ...`` or ``@no_grad()``. Results do not require a gradient.

    It holds for this thread (or asyncio task) alone. Ops are faster inside, and keep nothing for backward. A decorated
    generator or coroutine runs inside, step by step; the code that waits for its next step does not.
    """

    mode, value = _recording, False
    entries: list[Entry]  # not left yet: an object may be entered again, and by many threads

    def __new__(cls, fn: Any = None) -> Any:
        self = super().__new__(cls)
        self.entries = []
        return self if fn is None else self(fn)

    def __call__(self, fn: Any) -> Any:
        return decorated(type(self).__name__, type(self), fn)

    def __enter__(self) -> None:
        self.entries.append(self.mode.enter(self.value))

    def __exit__(self, *exception: object) -> None:
        # The only one is the one to leave. (The first, as another thread may enter meanwhile.)
        entry = self.entries[0] if len(self.entries) == 1 else self.mode.last()
        while entry is not None and entry not in self.entries:
            entry = entry.within
        if entry is None:  # another thread's, which has left it to this one
            entry = self.entries.pop()
        else:
            self.entries.remove(entry)
        self.mode.leave(entry)


class enable_grad(no_grad):
    """Recording is on inside, within a `no_grad` too: ``with enable_grad(): ...`` or ``@enable_grad()``.

    It holds for this thread (or asyncio task) alone, and until the block is left. Decorated generators as for
    `no_grad`.
    """

    value = True


class detect_anomaly(no_grad):
    """Inside, a NaN gradient raises at the op that made it and shows where that op was called.

    Also, arrays that backward needs are fingerprinted: a write that went around the Tensor (through the NumPy array it
    was made from, or ``t.data`` fetched before the op ran) raises instead of giving a wrong gradient. Slow; for
    debugging.
    """

    mode, value = _watching, True


class textbook_gradients(no_grad):
    """Inside, every op's gradient is computed by its `backward`, none by its `fused_backward`.

    For tests that compare the two. The environment variable ``MINIDL_GRADIENTS=textbook`` does it for a whole process.
    """

    mode, value = _textbook, True
