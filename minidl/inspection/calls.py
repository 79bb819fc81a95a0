"""Looking at every call of an op while a block runs; outside of such a block it costs nothing.

The engine finds an op's methods in the `Declaration` of its class. While a block runs there are other functions in
their place, which call the methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minidl.autograd.tape import Declaration, all_declarations, on_declared

METHODS = ("forward", "backward", "fused")


@contextmanager
def around_ops(wrap: Callable[[str, Callable], Callable]) -> Iterator[None]:
    """While the block runs, ops of all classes, those that are first called in it too, run ``wrap(method, fn)`` in
    place of fn. method is "forward", "backward" or "fused" (the ``fused_backward``), fn(op, ...) what the class has.
    """
    before: list[tuple[Declaration, dict[str, Any]]] = []

    def replace(_: type, declared: Declaration) -> None:
        own = {method: getattr(declared, method) for method in METHODS}
        before.append((declared, own))
        for method, fn in own.items():
            if fn is not None:
                setattr(declared, method, wrap(method, fn))

    on_declared.append(replace)
    try:
        for kind, declared in list(all_declarations().items()):
            replace(kind, declared)
        yield
    finally:
        on_declared.remove(replace)
        for declared, own in reversed(before):
            for method, fn in own.items():
                setattr(declared, method, fn)
