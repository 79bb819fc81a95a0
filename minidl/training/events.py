"""What happens in a training, and who is called then: the callbacks of `fit`, sorted by event."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minidl.distributed import DataParallel
from minidl.training.ranks import OnMain

EVENTS = ("on_train_begin", "on_backward_end", "on_batch_end", "on_epoch_end", "on_train_end")


def listed(callbacks: Any) -> list[Any]:
    """The callbacks as a list; raises if one is passed alone."""
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str):
        given = getattr(callbacks, "__name__", type(callbacks).__name__)
        raise TypeError(f"fit: callbacks: expected a list, got {given}; one alone: [{given}]")
    return list(callbacks)


def handlers(
    callbacks: Sequence[Any], parallel: DataParallel | None = None
) -> dict[str, list[Callable]]:
    """For each event what to call, in the order of the callbacks. One with a true attribute `sees_all` is called after
    the others, and at the end of the training before them. Where there are several ranks, they are called on rank 0,
    as `OnMain` says.
    """
    events: dict[str, list[Callable]] = {event: [] for event in EVENTS}
    for callback in sorted(callbacks, key=lambda callback: getattr(callback, "sees_all", False)):
        if isinstance(callback, type):
            kind = callback.__name__
            raise TypeError(f"fit: callbacks: {kind} is a class: expected {kind}(...)")
        named = [name for name in dir(callback) if name.startswith("on_")]
        for name in named:
            if name not in EVENTS:
                raise TypeError(
                    f"fit: callback {type(callback).__name__}: {name} is not an event; there are "
                    f"{', '.join(EVENTS)}"
                )
            first = name == "on_train_end" and getattr(callback, "sees_all", False)
            handler = _on_ranks(callback, getattr(callback, name), parallel)
            events[name].insert(0 if first else len(events[name]), handler)
        if not named:
            if not callable(callback):
                raise TypeError(
                    f"fit: callback {type(callback).__name__}: expected a function or an object "
                    "with a method such as on_epoch_end (a schedule: every_batch(schedule.step))"
                )
            if not _takes_one(callback):
                name = getattr(callback, "__qualname__", type(callback).__name__)
                raise TypeError(
                    f"fit: callbacks: {name} cannot be called with the training as its argument "
                    "(a schedule: every_batch(schedule.step))"
                )
            events["on_epoch_end"].append(_on_ranks(callback, callback, parallel))
    return events


def _on_ranks(callback: Any, handler: Callable, parallel: DataParallel | None) -> Callable:
    if parallel is None or parallel.world.size == 1 or getattr(callback, "every_rank", False):
        return handler
    return OnMain(callback, handler, parallel)


def _takes_one(fn: Callable) -> bool:
    try:
        inspect.signature(fn).bind(None)
    except TypeError:
        return False
    except ValueError:  # built in: it does not say what it takes
        pass
    return True
