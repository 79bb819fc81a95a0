"""The gradients of all parameters, and what else is summed over shards, end to end in a few flat arrays: buckets.

The sum of a bucket is under way while backward computes the gradients of the next. The result does not depend on the
size of buckets: each number is summed independently of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.distributed.messages import SUMS
from minidl.distributed.ranks import World
from minidl.distributed.reduction import AllReduce, TreeSum


class Place(NamedTuple):
    """Where an array is: in which bucket, and which part of it."""

    bucket: int
    part: slice
    shape: tuple[int, ...]


class Flat:
    """Sums over shards of arrays that are like these. For each of the rank's shards: `put` each array as soon as it is
    known, then `end_shard`.

    Args:
        arrays: in the order in which they will be known.
        size: of a bucket, in bytes.
    """

    def __init__(
        self,
        world: World,
        shards: int,
        arrays: Sequence[np.ndarray],
        reproducible: bool,
        size: int,
    ) -> None:
        self.world = world
        lengths: list[int] = []
        dtypes: list[np.dtype] = []
        latest: dict[str, int] = {}  # by dtype, the bucket that is not full
        self.places: list[Place] = []
        for array in arrays:
            kind = array.dtype.str
            if kind not in latest or lengths[latest[kind]] * array.itemsize >= size:
                latest[kind] = len(lengths)
                lengths.append(0)
                dtypes.append(array.dtype)
            bucket = latest[kind]
            part = slice(lengths[bucket], lengths[bucket] + array.size)
            self.places.append(Place(bucket, part, array.shape))
            lengths[bucket] = part.stop
        make = TreeSum if reproducible else AllReduce
        self.sums = [
            make(world, shards, length, dtype, SUMS + 2 * i)
            for i, (length, dtype) in enumerate(zip(lengths, dtypes, strict=True))
        ]
        self.members = [
            [i for i, p in enumerate(self.places) if p.bucket == b] for b in range(len(lengths))
        ]

    def begin(self) -> None:
        """Another sum, from the first shard on."""
        for its in self.sums:
            its.begin()
        self._begin_shard()

    def _begin_shard(self) -> None:
        self.absent = set(range(len(self.places)))
        self.left = [len(members) for members in self.members]
        # The first bucket that is not complete: all ranks sum them in this order, which MPI's allreduce needs.
        self.next = 0

    def put(self, i: int, array: Any) -> None:
        """The i-th array of this shard; None for zeros."""
        bucket, part, shape = self.places[i]
        row = self.sums[bucket].row()[part].reshape(shape)
        row[...] = 0 if array is None else array
        self.absent.remove(i)
        self.left[bucket] -= 1
        while self.next < len(self.sums) and self.left[self.next] == 0:
            self.sums[self.next].added()
            self.next += 1
        for its in self.sums[: self.next]:  # (MPI gets on with its messages when it is asked)
            self.world.poll(its)

    def end_shard(self) -> None:
        """What was not put is zero."""
        for i in sorted(self.absent):
            self.put(i, None)
        self._begin_shard()

    def results(self) -> list[np.ndarray]:
        """The sums, in the shapes of the arrays."""
        return [self.sums[p.bucket].result[p.part].reshape(p.shape) for p in self.places]
