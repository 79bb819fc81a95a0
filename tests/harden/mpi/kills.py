"""Kills a random rank of a job at a random time, again and again: the job ends, its checkpoint loads, and what is
resumed from it, with another number of ranks, has the bits of a training that was never killed.

    python tests/harden/mpi/kills.py --kills 50
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import TRAINING, Job

import minidl as md

LIMIT = 10.0  # seconds in which a job must end after one of its ranks died
STOPPED = 3.0  # seconds of silence after which a rank counts as hung, in jobs where one is stopped
LATE = 10  # times `STOPPED`: how long ranks that have ended wait for rank 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50, help="and a quarter as many are stopped")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    kills = ends = stops = loaded = 0
    slowest = {"killed": 0.0, "stopped": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        expected = digest_of(finish(Job(1, TRAINING, Path(folder, "whole.npz"))))
        path = Path(folder, "killed.npz")
        while kills < options.kills or not ends:
            ranks = rng.choice((2, 4))
            if kills >= options.kills:  # what is left of the last one
                ends += check_end(finish(Job(ranks, TRAINING, path)), expected)
                break
            stop = (kills + stops) % 5 == 4
            job = Job(ranks, TRAINING, path, *(["--timeout", str(STOPPED)] if stop else []))
            begun = killed(job, rng, path, stop)
            if begun is None:
                ends += check_end(finish(job), expected)
                path.unlink()
                continue
            kind = "stopped" if stop else "killed"
            try:
                code, spent, output = job.wait(LATE * STOPPED + LIMIT if stop else LIMIT)
                late = spent > LIMIT and "digest" in output
            except TimeoutError as error:
                raise AssertionError(
                    f"number {kills + stops}, a rank was {kind}: {error}"
                ) from None
            until = time.monotonic() + 2
            while job.pids() and time.monotonic() < until:
                time.sleep(0.01)  # killed, and about to be gone
            if not late:
                slowest[kind] = max(slowest[kind], time.monotonic() - begun)
            kills, stops = kills + (not stop), stops + stop
            if code == 0 or job.pids():
                print(output)
                raise AssertionError(f"exit status {code}, ranks left: {sorted(job.pids())}")
            if slowest[kind] > LIMIT:
                raise AssertionError(f"ended only after {slowest[kind]:.1f} s:\n{output}")
            if stop and "digest" not in output and not re.search(r"rank \d+ did not", output):
                raise AssertionError(f"no rank was named:\n{output}")
            if path.exists():
                md.load(path)
                loaded += 1
    print(
        f"{kills} ranks killed, {stops} stopped: jobs ended within {slowest['killed']:.1f} s and "
        f"{slowest['stopped']:.1f} s; {loaded} checkpoints loaded; {ends} trainings ended with the same bits"
    )
    return 0


def killed(job: Job, rng: random.Random, path: Path, stop: bool) -> float | None:
    """Kills (or stops) one of its ranks at a random time, and says when; None if the job was over before."""
    waits_for_save = rng.random() < 0.8  # else: also while it starts
    until, before = time.monotonic() + 30, changed(path)
    while time.monotonic() < until and job.process.poll() is None:
        if len(job.pids()) == job.ranks and (
            changed(path) != before or not (waits_for_save or stop)
        ):
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1.0))
    victim = job.pids().get(rng.randrange(job.ranks))
    if victim is None or job.process.poll() is not None:
        return None
    try:
        os.kill(victim, signal.SIGSTOP if stop else signal.SIGKILL)
    except ProcessLookupError:
        return None
    at = time.monotonic()
    try:
        # It may have been about to end: mpiexec then reports success.
        return None if job.process.wait(0.5) == 0 else at
    except subprocess.TimeoutExpired:
        return at


def changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def finish(job: Job) -> str:
    """The output of a job that comes to its end."""
    code, _, output = job.wait(120)
    if code:
        raise AssertionError(f"exit status {code}:\n{output}")
    return output


def digest_of(output: str) -> str:
    found = re.search(r"digest (\w+)", output)
    if found is None:
        raise AssertionError(f"no digest in:\n{output}")
    return found[1]


def check_end(output: str, expected: str) -> int:
    if digest_of(output) != expected:
        raise AssertionError("a resumed training has other bits")
    return 1


if __name__ == "__main__":
    sys.exit(main())
