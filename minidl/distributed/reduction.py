"""Sums over all shards of all ranks. `TreeSum` adds them in the order of the fixed tree, for each number:

    1. a rank adds its own shards, as far as they are nodes of the tree;
    2. every rank is given a segment of the array: the others send it their nodes of this segment;
    3. it completes the tree there, and sends the sum to all others.

If its shards are one node, a rank thus sends and receives about twice the array, as in a plain ring allreduce.
Nothing here waits: `poll` does what can be done by now. `World.complete` polls until all is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl.distributed.ranks import World
from minidl.distributed.tree import additions, leaves, own_shards

# Segments begin at multiples of this many numbers, so that additions and copies begin at a cache line.
ALIGNED = 16


class TreeSum:
    """The sum over shards of an array of `length` numbers: the same bits for any number of ranks.

    For each of the rank's shards, in order: fill ``row()``, then call ``added()``. After the last one the exchange
    with the other ranks begins; when `poll` is true, ``result`` is there.

    Args:
        tag: distinguishes the messages of sums that are under way at the same time; uses tag and tag + 1.
    """

    def __init__(self, world: World, shards: int, length: int, dtype: Any, tag: int = 0) -> None:
        self.world, self.length, self.dtype, self.tag = world, length, np.dtype(dtype), tag
        ranks = [own_shards(shards, world.size, rank) for rank in range(world.size)]
        self.blocks = [additions(shards, leaves(own))[1] for own in ranks]  # what each can make
        self.own_additions, _ = additions(shards, leaves(ranks[world.rank]))
        all_blocks = [block for blocks in self.blocks for block in blocks]
        self.additions, _ = additions(shards, all_blocks)
        depth = most = 0
        for count in self.own_additions:
            depth, most = depth + 1 - count, max(most, depth + 1)
        self.rows = np.empty((most, length), dtype)  # the stack of the rank's own sums
        cuts = [length * rank // world.size // ALIGNED * ALIGNED for rank in range(world.size)]
        self.segments = [slice(*ends) for ends in zip(cuts, [*cuts[1:], length], strict=True)]
        own = self.segments[world.rank]
        self.inbox = np.empty((len(all_blocks), own.stop - own.start), dtype)
        self.begin()

    def begin(self) -> None:
        """Another sum, from the first shard on."""
        self.height = self.shard = 0
        self.phase = 0  # 1: the segment's nodes are awaited; 2: the others' sums; 3: all is there
        self.received: dict[int, list[Any]] = {}  # requests, by rank
        self.sent: dict[int, list[Any]] = {}

    def row(self) -> np.ndarray:
        """What the next shard's numbers are to be written to."""
        return self.rows[self.height]

    def added(self) -> None:
        """The row is filled: adds it to those before, as far as the tree says."""
        self.height += 1
        for _ in range(self.own_additions[self.shard]):
            self.height -= 1
            below = self.rows[self.height - 1]
            np.add(below, self.rows[self.height], out=below)
        self.shard += 1
        if self.shard == len(self.own_additions):
            self._send_nodes()

    def _send_nodes(self) -> None:
        world, own, channel = self.world, self.segments[self.world.rank], self.world.channel
        self.result = K.empty((self.length,), self.dtype)
        self.phase, at = 1, 0
        for rank, blocks in enumerate(self.blocks):
            if rank != world.rank and own.start < own.stop:
                inbox = self.inbox[at : at + len(blocks)]
                self.received[rank] = [channel.Irecv(row, rank, self.tag) for row in inbox]
            at += len(blocks)
        for rank in world.others():
            segment = self.segments[rank]
            if segment.start < segment.stop:
                rows = self.rows[: self.height, segment]
                self.sent[rank] = [channel.Isend(row, rank, self.tag) for row in rows]
        self.poll()

    def poll(self) -> bool:
        """Does what can be done by now; whether the result is there."""
        if self.phase == 1 and self._all_done(self.received):
            self._complete_segment()
        if self.phase == 2 and self._all_done(self.received) and self._all_done(self.sent):
            self.phase = 3
        return self.phase == 3

    def _all_done(self, requests: dict[int, list[Any]]) -> bool:
        """Whether these messages were sent or received; those of ranks with which all is done are taken out."""
        for rank, its in list(requests.items()):
            if self.world.all_done(its):
                del requests[rank]
        return not requests

    def _complete_segment(self) -> None:
        world, own, stack = self.world, self.segments[self.world.rank], list[np.ndarray]()
        at = 0
        for rank, blocks in enumerate(self.blocks):
            its = self.rows[:, own] if rank == world.rank else self.inbox[at:]
            for i in range(len(blocks)):
                stack.append(its[i])
                for _ in range(self.additions[at]):
                    top = stack.pop()
                    np.add(stack[-1], top, out=stack[-1])
                at += 1
        self.result[own] = stack[0]
        self.phase = 2
        for rank in world.others():
            segment = self.segments[rank]
            if segment.start < segment.stop:
                request = world.channel.Irecv(self.result[segment], rank, self.tag + 1)
                self.received[rank] = [request]
            if own.start < own.stop:
                request = world.channel.Isend(self.result[own], rank, self.tag + 1)
                self.sent.setdefault(rank, []).append(request)

    def missing(self) -> list[int]:
        """The ranks whose numbers have not arrived, or that do not take this one's."""
        return list(self.received or self.sent)

    def doing(self) -> str:
        """What is waited for, for the error message."""
        return "its part of a sum"

    @property
    def indirect(self) -> bool:
        """Whether those that are missing may themselves be waiting for others."""
        return self.phase == 2


class AllReduce(TreeSum):
    """The same by MPI's allreduce: its order of additions, and so the last bits, depend on the number of ranks."""

    def __init__(self, world: World, shards: int, length: int, dtype: Any, tag: int = 0) -> None:
        super().__init__(world, shards, length, dtype, tag)
        self.inbox = np.empty((0, 0), dtype)

    def _send_nodes(self) -> None:
        total = self.rows[0]
        for row in self.rows[1 : self.height]:
            np.add(total, row, out=total)
        self.result = K.empty((self.length,), self.dtype)
        self.phase = 2
        if self.world.size == 1:
            self.result[...] = total
        else:
            self.sent[self.world.rank] = [self.world.channel.Iallreduce(total, self.result)]
        self.poll()

    def missing(self) -> list[int]:
        """Not known: MPI does not tell."""
        return []
