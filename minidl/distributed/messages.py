"""Values on their way from rank to rank. Nothing here waits: `World.complete` polls until all is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minidl.distributed.ranks import World

OBJECT, VALUE = 1, 2  # tags; sums use those from SUMS on
SUMS = 16


class Sending:
    """A value on its way to some ranks. (What `complete` takes has these four methods, and `indirect`.)"""

    indirect = False  # whether those that are missing may themselves wait for others

    def __init__(self, world: World, value: Any, ranks: Sequence[int], tag: int) -> None:
        self.world = world
        self.requests = {rank: world.channel.isend(value, rank, tag) for rank in ranks}

    def poll(self) -> bool:
        """Does what can be done by now; whether all of it is done."""
        return self.world.all_done(list(self.requests.values()))

    def missing(self) -> list[int]:
        """The ranks that are waited for."""
        return [rank for rank, request in self.requests.items() if not request.Test()]

    def doing(self) -> str:
        """What is waited for, for the error message."""
        return "that it takes a message"


class Receiving:
    """Values that these ranks send: those of the first `count` of them that come."""

    indirect = False

    def __init__(self, world: World, ranks: Sequence[int], tag: int, count: int) -> None:
        self.world, self.ranks, self.tag, self.count = world, list(ranks), tag, count
        self.coming: dict[int, Any] = {}
        self.values: dict[int, Any] = {}

    def poll(self) -> bool:
        """Does what can be done by now; whether all of it is done."""
        for rank in self.ranks:
            if len(self.coming) + len(self.values) == self.count:
                break
            if rank not in self.coming and rank not in self.values:
                message = self.world.channel.improbe(rank, self.tag)
                if message is not None:
                    self.coming[rank] = message.irecv()
        for rank, request in list(self.coming.items()):
            done, value = request.test()
            if done:
                del self.coming[rank]
                self.values[rank] = value
        return len(self.values) == self.count

    def missing(self) -> list[int]:
        """The ranks that are waited for."""
        return [rank for rank in self.ranks if rank not in self.values]

    def doing(self) -> str:
        """What is waited for, for the error message."""
        return "a message from it"


class Gathering:
    """The values of all ranks."""

    indirect = False

    def __init__(self, world: World, value: Any) -> None:
        self.rank, self.value = world.rank, value
        self.sending = Sending(world, value, world.others(), OBJECT)
        self.receiving = Receiving(world, world.others(), OBJECT, world.size - 1)

    def poll(self) -> bool:
        """Does what can be done by now; whether all of it is done."""
        return self.receiving.poll() and self.sending.poll()

    @property
    def values(self) -> list[Any]:
        """In the order of ranks."""
        both = {**self.receiving.values, self.rank: self.value}
        return [both[rank] for rank in sorted(both)]

    def missing(self) -> list[int]:
        """The ranks that are waited for."""
        return self.receiving.missing() or self.sending.missing()

    def doing(self) -> str:
        """What is waited for, for the error message."""
        return "a message from it"
