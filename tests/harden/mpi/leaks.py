"""1,000 steps with 4 ranks leave nothing behind: memory, open files, threads, messages that nobody took.

python tests/harden/mpi/leaks.py --steps 1000
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
from pathlib import Path

import numpy as np
from jobs import Job

import minidl as md
from minidl import distributed, nn, optim
from minidl import functional as F

WARM = 0.3  # share of the steps before the first look
ALLOWED = {"kB of memory": 1024, "open files": 0, "threads": 0, "Python's blocks": 2000}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        train(options.steps)
        return 0
    code, seconds, output = Job(options.ranks, __file__, "--rank", f"--steps={options.steps}").wait(600)  # fmt: skip
    print(output.strip())
    if not code:
        print(
            f"{options.steps} steps with {options.ranks} ranks in {seconds:.0f} s: nothing is left"
        )
    return code


def train(steps: int) -> None:
    world = distributed.world(timeout=60)
    md.manual_seed(0)
    model = nn.Sequential(
        nn.Affine(64, 256), nn.BatchNorm(256), nn.Dropout(0.2), nn.Affine(256, 10)
    )
    parallel = distributed.DataParallel(model, optim.Adam(model.parameters()), check_every=10)
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    target = np.arange(64) % 10
    first: dict[str, int] = {}
    for step in range(steps):
        parallel.step(lambda x, target: F.cross_entropy(model(x), target), x, target)
        if step == int(WARM * steps):
            first = held()
    world.barrier()
    more = {name: now - first[name] for name, now in held().items()}
    found = world.gather(more)
    if world.is_main:
        worst = {name: max(its[name] for its in found) for name in more}
        print("the most that a rank gained:", ", ".join(f"{n} {name}" for name, n in worst.items()))
    if too_much := {name: n for name, n in more.items() if n > ALLOWED[name]}:
        raise AssertionError(f"rank {world.rank} holds more: {too_much}")
    if world.size > 1:
        world.comm.Barrier()  # MPI's own: no rank sends anything else until all have looked
        waiting = [comm.iprobe() for comm in (world.channel, world.faults.comm)]
        world.comm.Barrier()
        if any(waiting):
            raise AssertionError(f"rank {world.rank}: a message was sent and never received")


def held() -> dict[str, int]:
    """What this process holds now."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return {
        "kB of memory": int(memory.split()[1]),
        "open files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "Python's blocks": sys.getallocatedblocks(),
    }


if __name__ == "__main__":
    sys.exit(main())
