"""The runs of the study spread over MPI ranks: rank 0 hands them out, one at a time, to whoever has nothing to do.

The runs know nothing of each other, so a queue is all it takes: the results are those of one process, and a slow
machine gets fewer runs. Rank 0 does not train: it waits, writes files and shows the progress.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import minidl as md
from minidl import distributed
from study.plan import Settings
from study.run import Result, run


def results(todo: list[Settings]) -> Iterator[Result]:
    """On rank 0: the result of each run, in the order in which they are finished."""
    world = distributed.world()
    waiting = iter(todo)
    busy = 0
    for rank in range(1, min(world.size, len(todo) + 1)):
        world.send(next(waiting), rank)
        busy += 1
    while busy:
        rank, result = world.receive(timeout=math.inf)  # a run may take long
        settings = next(waiting, None)
        if settings is None:
            busy -= 1
        else:
            world.send(settings, rank)
        yield result


def serve(root: str | None) -> None:
    """On all other ranks: trains what rank 0 sends, until that is None. One thread per rank, as with --jobs."""
    world = distributed.world()
    md.set_num_threads(1)
    while (settings := world.receive(0, timeout=math.inf)[1]) is not None:
        world.send(run(settings, root), 0)


def close() -> None:
    """On rank 0: nothing is left to do; `serve` returns on the others."""
    world = distributed.world()
    for rank in range(1, world.size):
        world.send(None, rank)
