"""Changes: what a block of memory remembers of the writes into it."""

from __future__ import annotations


class Changes:
    """Counts the in-place changes of one block of memory; shared by all tensors that are views of it.

    `overwritten` counts those that are part of the graph. A tensor that has `_seen` fewer is a view from before: its op
    no longer tells how its values came about. `viewed`: an op has made a view of the memory.
    """

    __slots__ = ("count", "overwritten", "viewed")

    def __init__(self) -> None:
        self.count = 0
        self.overwritten = 0
        self.viewed = False
