"""Changes: what a block of memory remembers of the writes into it.

A write through a Tensor is counted. One through the array that `Tensor.data` or `numpy()` gave cannot be: so what the
array holds when it is handed out is noted as a fingerprint, and an op that was recorded before then compares it in
backward. While no op waits for its backward, nobody will compare, and handing out an array costs nothing.
"""

from __future__ import annotations

import numpy as np

from minidl._kernels.runtime.memory import fingerprint
from minidl._kernels.runtime.shared import Count, add, hold, let_go, value_of

MOST_HANDED = 64  # entries of `handed`

_recorded = Count()  # ops recorded so far, in this process
_live = Count()  # those of them that may still run backward
_settled = 0  # the ops up to this number may not


def next_number() -> int:
    """The number of an op that is recorded now; it is live until `op_gone`."""
    add(_live, 1)  # (before it has a number: see `op_gone`)
    return add(_recorded, 1)


def op_gone() -> None:
    """A recorded op was freed, or has died: it will not run backward again."""
    global _settled
    recorded = value_of(_recorded)  # asked before: other threads may record ops meanwhile
    if add(_live, -1) == 0:
        _settled = recorded


def any_live() -> bool:
    """Whether any op may still run backward."""
    return value_of(_live) != 0


class Changes:
    """Counts the in-place changes of one piece of memory; shared by all tensors that are views of it.

    `overwritten` counts those that are part of the graph. A tensor whose `_seen` is smaller is a view taken before: its
    op no longer says how its values came about. `viewed`: an op has made a view of the memory. `handed`: the arrays
    that were handed out while ops were live, each with the number of ops recorded before and its fingerprint; or None.
    (A list that is there is never changed: another thread may be reading it.)
    """

    __slots__ = ("count", "handed", "overwritten", "viewed")

    def __init__(self) -> None:
        self.count = 0
        self.overwritten = 0
        self.viewed = False
        self.handed: list | None = None

    def mark(self) -> None:
        """Counts a change. Ops from before raise for that, so what was noted for them is needed no more."""
        hold(self)
        before, self.handed = self.handed, None
        self.count += 1
        let_go(self)
        del before  # (not while others wait)

    def hand_out(self, array: np.ndarray) -> None:
        """Notes what `array`, a view of this memory, holds: somebody may write into it from now on."""
        if not array.flags.writeable:
            return
        recorded, holds = value_of(_recorded), fingerprint(array)
        while True:
            before = self._handed_now()
            handed = [entry for entry in before or () if entry[1] > _settled]
            for i in reversed(range(len(handed))):
                if handed[i][0] is array:
                    if handed[i][2] == holds:  # the newer entry says the same, to more ops
                        del handed[i]
                    break
            if len(handed) == MOST_HANDED:
                del handed[0]
            handed.append((array, recorded, holds))
            hold(self)
            alone = self.handed is before
            if alone:
                self.handed = handed
            let_go(self)
            if alone:
                return

    def _handed_now(self) -> list | None:
        hold(self)
        handed = self.handed
        let_go(self)
        return handed

    def written(self, number: int) -> bool:
        """Whether an array that was handed out after the op of this number ran holds something else since."""
        seen: set[int] = set()
        for array, recorded, holds in self._handed_now() or ():
            if recorded >= number and id(array) not in seen:
                seen.add(id(array))
                if fingerprint(array) != holds:
                    return True
        return False
