"""Looking at every call of an op while a block runs; outside of such a block it costs nothing.

The engine finds an op's methods in the `Declaration` of its class. While a block runs they are replaced by functions
that call them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from minidl.autograd.tape import Declaration, all_declarations, on_declared

METHODS = ("forward", "backward", "fused", "adds")
Wrap = Callable[[str, Callable], Callable]

_wraps: list[Wrap] = []  # of all blocks that run now, in any thread
_own: dict[Declaration, dict[str, Any]] = {}  # the methods themselves, while there are blocks
_lock = RLock()  # (Python 3.14 may leave it taken on Ctrl-C: then its thread must be able to go on)
_replaced: list[
    Callable
] = []  # when the last block began or ended: another thread may just be about to call one


@contextmanager
def around_ops(wrap: Wrap) -> Iterator[None]:
    """While the block runs, ops of all classes, those that are first called in it too, run ``wrap(method, fn)`` in
    place of fn. method is "forward", "backward", "fused" (the ``fused_backward``) or "adds" (``add_gradient``), fn(op,
    ...) what the class has. Blocks may be nested, and left in any order.
    """
    _change(_wraps.append, wrap)
    try:
        yield
    finally:
        _change(_wraps.remove, wrap)


def _change(change: Callable[[Wrap], None], wrap: Wrap) -> None:
    """Adds or removes a wrap, in all declarations."""
    with _lock:
        change(wrap)
        _replaced.clear()
        for kind, declared in list(all_declarations().items()):
            _put(kind, declared)
        on_declared[:] = [_put] if _wraps else []
        if not _wraps:
            _own.clear()


def _put(_: type, declared: Declaration) -> None:
    """Puts the methods of a class of ops, in all wraps, into its declaration."""
    if declared not in _own:
        _own[declared] = {method: getattr(declared, method) for method in METHODS}
    for method, fn in _own[declared].items():
        for wrap in _wraps if fn is not None else ():
            fn = wrap(method, fn)
        _replaced.append(getattr(declared, method))
        setattr(declared, method, fn)
