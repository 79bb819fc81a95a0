"""A batch in parts, each of which is computed on its own: `minidl.distributed` divides them among ranks."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.tensor import plain


class Shards(NamedTuple):
    """The parts of a batch that one rank has.

    Attributes:
        edges: where each shard begins in the batch, and where the last one ends: shard i has the samples
            ``edges[i]`` to ``edges[i + 1] - 1``.
        parts: the arrays of each shard that the rank has and that is not empty, by its number.
        key: the same on all ranks, if they have the same batch.
    """

    edges: list[int]
    parts: dict[int, tuple[Any, ...]]
    key: Any = None

    @property
    def samples(self) -> int:
        """In the whole batch."""
        return self.edges[-1]

    @property
    def first(self) -> int:
        """The number of the first shard that is not empty."""
        return next(i for i, end in enumerate(self.edges[1:]) if end)

    def share(self, shard: int) -> float:
        """How much of the batch is in this shard."""
        return (self.edges[shard + 1] - self.edges[shard]) / max(self.samples, 1)


def edges_of(samples: int, shards: int) -> list[int]:
    """Where the shards of a batch begin, and its end. As even as can be, but none with a single sample: the last ones
    of a small batch are empty instead.

    >>> edges_of(8, 4), edges_of(5, 4)
    ([0, 2, 4, 6, 8], [0, 2, 5, 5, 5])
    """
    used = max(min(shards, samples // 2), 1)
    return [samples * min(shard, used) // used for shard in range(shards + 1)]


def checksum(array: np.ndarray) -> int:
    """Of the bytes of an array; 0 if it holds Python objects."""
    if array.dtype.hasobject:
        return 0
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view("u1").data)


def cut(arrays: tuple[Any, ...], shards: int, own: Iterable[int], keyed: bool = False) -> Shards:
    """The shards `own` of a whole batch; if it is `keyed`, with a checksum of all of it.

    Raises:
        ValueError: the arrays have first axes of different lengths, or none.
    """
    rows = [np.asarray(plain(array)) for array in arrays]
    lengths = {array.shape[:1] for array in rows}
    if len(lengths) != 1 or () in lengths:
        raise ValueError(
            "DataParallel: expected arrays whose first axis counts the samples of the batch, got shapes "
            f"{', '.join(str(array.shape) for array in rows) or 'of no arrays'}"
        )
    edges = edges_of(len(rows[0]), shards)
    parts = {
        shard: tuple(array[edges[shard] : edges[shard + 1]] for array in rows)
        for shard in own
        if edges[shard] < edges[shard + 1]
    }
    key = tuple(map(checksum, rows)) if keyed else None
    return Shards(edges, parts, key)
