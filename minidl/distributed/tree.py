"""The fixed tree by which numbers are added over shards: which sums a rank can make alone, and in which order.

Additions of floats depend on their order. Here it depends on the number of shards alone:

    8 shards:  ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

A **block** (first, last + 1) is a node of this tree, the sum of its shards. Blocks are added as one adds binary
numbers: each is put on a stack, and while the two on top are the halves of a node, they become that node.
"""

from __future__ import annotations

from collections.abc import Iterable

Block = tuple[int, int]


def own_shards(shards: int, size: int, rank: int) -> range:
    """The shards of a rank: neighbours, as evenly as they can be divided.

    >>> [list(own_shards(8, 3, rank)) for rank in range(3)]
    [[0, 1], [2, 3, 4], [5, 6, 7]]
    """
    return range(shards * rank // size, shards * (rank + 1) // size)


def nodes(shards: int) -> set[Block]:
    """All nodes of the tree that are sums: each is cut behind the greatest power of two below its length.

    >>> sorted(nodes(5))
    [(0, 2), (0, 4), (0, 5), (2, 4)]
    """
    found, waiting = set(), [(0, shards)]
    for first, end in waiting:  # grows
        if end - first > 1:
            found.add((first, end))
            middle = first + (1 << (end - first - 1).bit_length() - 1)
            waiting += [(first, middle), (middle, end)]
    return found


def additions(shards: int, blocks: Iterable[Block]) -> tuple[list[int], list[Block]]:
    """How many additions follow after each of the blocks was put on the stack, and what is on it in the end.

    >>> additions(8, [(2, 3), (3, 4), (4, 5)])  # the shards 2, 3, 4: the sum of the first two, and the third
    ([0, 1, 0], [(2, 4), (4, 5)])
    """
    sums, counts, stack = nodes(shards), [], list[Block]()
    for block in blocks:
        count = 0
        while stack and (stack[-1][0], block[1]) in sums:
            block = (stack.pop()[0], block[1])
            count += 1
        stack.append(block)
        counts.append(count)
    return counts, stack


def leaves(own: range) -> list[Block]:
    """The blocks of single shards."""
    return [(shard, shard + 1) for shard in own]
