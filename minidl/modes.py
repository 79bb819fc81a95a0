"""What holds in a thread: whether ops are recorded, and whether gradients are watched for NaN."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator


class _State(threading.local):
    recording = True
    anomaly = False


state = _State()
# How many of the contexts below are active, in all threads: while none is, nobody asks `state`.
_no_grads = 0
_anomalies = 0


def recording() -> bool:
    """Whether ops are recorded. Inside backward: whether this gradient must have a gradient of its own."""
    return _no_grads == 0 or state.recording


def watching() -> bool:
    """Whether gradients are watched for NaN."""
    return _anomalies != 0 and state.anomaly


class no_grad(ContextDecorator):
    """Nothing is recorded inside: ``with no_grad(): ...`` or ``@no_grad()``. Results do not require a gradient."""

    field, value = "recording", False
    before: tuple[bool, ...] = ()  # what held at each entry: an object may be entered inside itself

    def __enter__(self) -> None:
        self.before = (*self.before, getattr(state, self.field))
        setattr(state, self.field, self.value)
        _count(self.field, 1)

    def __exit__(self, *exception: object) -> None:
        _count(self.field, -1)
        *self.before, last = self.before  # type: ignore[assignment]
        setattr(state, self.field, last)

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

    field, value = "anomaly", True


def _count(field: str, step: int) -> None:
    global _no_grads, _anomalies
    if field == "recording":
        _no_grads += step
    else:
        _anomalies += step
