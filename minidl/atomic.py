"""Changes that belong together, made in one step: Ctrl-C finds all of them done, or none.

Python looks for signals between its own instructions. A loop that runs in C, over functions written
in C, has none in between. So a half step is impossible where everything that may raise or allocate
comes first, and the changes that it leads to are one call of `at_once`.

>>> from operator import setitem
>>> here, there = [1.0, 2.0], [3.0]
>>> at_once(starmap(setitem, [(here, 0, 5.0), (there, 0, 6.0)]))
>>> here, there
([5.0, 2.0], [6.0])
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import starmap

__all__ = ["at_once", "starmap"]


def at_once(calls: Iterable[object]) -> None:
    """Runs a `map` or `starmap` of a function written in C (setattr, operator.setitem, operator.call,
    ...) to its end. No call may raise.
    """
    deque(calls, maxlen=0)
