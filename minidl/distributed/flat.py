"""The gradients of all parameters, and what else is summed over shards, end to end in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.distributed.reduction import AllReduce, TreeSum
from minidl.distributed.world import SUMS, World


class Place(NamedTuple):
    """Where an array is: in which sum, and where there."""

    number: int
    part: slice
    shape: tuple[int, ...]


class Flat:
    """Sums over shards of arrays that are like these: one sum for each dtype."""

    def __init__(
        self, world: World, shards: int, arrays: Sequence[np.ndarray], reproducible: bool
    ) -> None:
        kinds = {array.dtype.str: i for i, array in enumerate(arrays)}
        numbers = {kind: number for number, kind in enumerate(kinds)}
        lengths = [0] * len(kinds)
        self.places: list[Place] = []
        for array in arrays:
            number = numbers[array.dtype.str]
            part = slice(lengths[number], lengths[number] + array.size)
            self.places.append(Place(number, part, array.shape))
            lengths[number] = part.stop
        kind = TreeSum if reproducible else AllReduce
        self.sums = [
            kind(world, shards, length, dtype, SUMS + 2 * number)
            for number, (dtype, length) in enumerate(zip(kinds, lengths, strict=True))
        ]

    def begin(self) -> None:
        """Another sum, from the first shard on."""
        for its in self.sums:
            its.begin()

    def add(self, arrays: Sequence[Any]) -> None:
        """The arrays of the rank's next shard; None for zeros."""
        for place, array in zip(self.places, arrays, strict=True):
            row = self.sums[place.number].row()[place.part].reshape(place.shape)
            row[...] = 0 if array is None else array
        for its in self.sums:
            its.added()

    def add_nothing(self) -> None:
        """The rank's next shard has no samples."""
        for its in self.sums:
            its.row()[...] = 0
            its.added()

    def results(self) -> list[np.ndarray]:
        """The sums, in the shapes of the arrays."""
        return [self.sums[p.number].result[p.part].reshape(p.shape) for p in self.places]
