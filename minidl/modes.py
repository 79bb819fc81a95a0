"""What holds in a thread: whether ops are recorded, and whether gradients are watched for NaN."""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar


class Mode:
    """A flag that each thread (and each asyncio task) has a value of its own for."""

    __slots__ = ("contexts", "read", "usual", "variable")

    def __init__(self, name: str, usual: bool) -> None:
        self.variable: ContextVar[bool] = ContextVar(name, default=usual)
        self.read = self.variable.get  # (found once: it is asked often)
        self.usual = usual
        self.contexts = 0  # entered and not left yet, in all threads: while there are none, nobody asks `variable`

    def holds(self) -> bool:
        return self.usual if self.contexts == 0 else self.read()

    def enter(self, value: bool) -> bool:
        """The flag has this value from now on; returns what to `leave` with."""
        before = self.read()
        self.variable.set(value)
        self.contexts += 1
        return before

    def leave(self, before: bool) -> None:
        self.contexts -= 1
        self.variable.set(before)


_recording = Mode("recording", True)
_watching = Mode("watching", False)


def recording() -> bool:
    """Whether ops are recorded. Inside backward: whether this gradient must have a gradient of its own."""
    return _recording.holds()


def switch_recording(value: bool) -> bool:
    """Recording is on or off from now on; returns what to `restore_recording` with. (no_grad, for the engine.)"""
    return _recording.enter(value)


def restore_recording(before: bool) -> None:
    _recording.leave(before)


def watching() -> bool:
    """Whether gradients are watched for NaN."""
    return _watching.holds()


class no_grad(ContextDecorator):
    """Nothing is recorded inside: ``with no_grad(): ...`` or ``@no_grad()``. Results do not require a gradient."""

    mode, value = _recording, False
    before: tuple[bool, ...] = ()  # what held at each entry: an object may be entered inside itself

    def __enter__(self) -> None:
        self.before = (*self.before, self.mode.enter(self.value))

    def __exit__(self, *exception: object) -> None:
        *self.before, last = self.before  # type: ignore[assignment]
        self.mode.leave(last)

    def _recreate_cm(self) -> no_grad:
        # As a decorator, each call gets its own memory of what held before: calls may nest, or run in other threads.
        return type(self)()


class enable_grad(no_grad):
    """Recording is on inside, within a `no_grad` too."""

    value = True


class detect_anomaly(no_grad):
    """Inside, a NaN gradient raises at the op that made it and shows where that op was called.

    Also, arrays that backward needs are fingerprinted: a write that went around the Tensor (``t.data[0] = 1``, or
    through a NumPy array that shares its memory) raises instead of giving a wrong gradient. Slow; for debugging.
    """

    mode, value = _watching, True
