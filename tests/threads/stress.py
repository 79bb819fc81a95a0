"""Threads that do all jobs at once, for a while: each result must have the bits that a single thread gets.

    python tests/threads/stress.py --seconds 600 --threads 4

On a free-threaded Python they run in parallel; on another one, threads change places every microsecond.
Closes with one line of figures; exit status 1 if a job raised or its result differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import sysconfig
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import minidl as md
from tests.threads import jobs


def run(seconds, threads, most=10):
    """(rounds done by name, findings as text)."""
    right = jobs.expected()
    done = dict.fromkeys((job.__name__ for job in jobs.JOBS), 0)
    findings: list[str] = []
    counted, end = threading.Lock(), time.monotonic() + seconds
    leaf = md.Tensor(np.zeros(3), requires_grad=True)
    added = [0] * threads

    def work(number):
        draw = random.Random(number)
        while time.monotonic() < end and len(findings) < most:
            job, variant = draw.choice(jobs.JOBS), draw.randrange(jobs.VARIANTS)
            try:
                if not jobs.same(job(variant), right[job.__name__, variant]):
                    findings.append(f"{job.__name__}({variant}): another result")
                (leaf * 2).sum().backward()  # all threads add to the gradient of one leaf
                added[number] += 1
            except BaseException:
                findings.append(f"{job.__name__}({variant}): {traceback.format_exc()}")
            with counted:
                done[job.__name__] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    if sum(added) and leaf.grad._data[0] != 2 * sum(added):
        findings.append(f"a shared leaf: gradient {leaf.grad._data[0]}, expected {2 * sum(added)}")
    return done, findings


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    done, findings = run(options.seconds, options.threads)
    for finding in findings:
        print(finding)
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    built = "a free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "an ordinary"
    rounds = ", ".join(f"{name} {count:,}" for name, count in done.items())
    print(
        f"{options.threads} threads, {options.seconds:.0f} s, {built} Python {sys.version.split()[0]}, the GIL "
        f"{'on' if gil else 'off'}: {rounds}: {len(findings)} findings"
    )
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
