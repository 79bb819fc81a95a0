"""The thread pool, scratch memory and kernels from several Python threads at once, while the number of threads changes.

    python tests/harden/pool_stress.py --seconds 60 --callers 4

Every result must have the bits that it had before the stress. Under ThreadSanitizer each data race is a report, and the
process ends with status 66: run.py's part `tsan`.
"""

import argparse
import collections
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from minidl import _kernels as K
from minidl._kernels.baseline import runtimecheck
from minidl._kernels.runtime import memory, pool

RNG = np.random.default_rng(0)
LEFT, RIGHT = RNG.normal(size=(90, 70)), RNG.normal(size=(70, 110))
IMAGE = RNG.normal(size=(2, 3, 20, 20)).astype("float32")
FILTERS = RNG.normal(size=(4, 3, 3, 3)).astype("float32")
LINE = RNG.normal(size=300_000).astype("float32")

ALONE = not hasattr(K, "matmul")  # a build of nothing but the pool and the memory
KERNELS: dict[str, Callable[[], np.ndarray]] = (
    {}
    if ALONE
    else {
        "matmul": lambda: K.matmul(LEFT, RIGHT),
        "conv": lambda: K.conv_forward(IMAGE, FILTERS, padding=(1, 1)),
        "activation": lambda: K.activation_forward("gelu", LINE),
        "binary": lambda: K.binary("mul", LINE, LINE),
        "sum": lambda: K.sum_axes(LINE, (0,), False),
    }
)


def tasks(rng: random.Random) -> None:
    count, nested = rng.randrange(60), rng.randrange(4)
    ns = rng.choice([-1, 5_000, 50_000, 500_000])  # -1: it does not say what it takes
    hold_gil = rng.random() < 0.3
    runs, nested_runs, _ = runtimecheck.run_tasks(count, nested, hold_gil=hold_gil, ns=ns)
    assert runs == [1] * count and nested_runs == [nested] * count


def scratch(rng: random.Random) -> None:
    assert runtimecheck.use_scratch(rng.randrange(1, 30), 64 * rng.randrange(1, 400)) == 0


def caller(
    seed: int, end: float, expected: dict, done: collections.Counter, failures: list
) -> None:
    rng = random.Random(seed)
    try:
        while time.monotonic() < end and not failures:
            name = rng.choice([*KERNELS, "tasks", "tasks", "scratch"])
            if name in KERNELS:
                assert KERNELS[name]().tobytes() == expected[name], f"{name}: other bits"
            else:
                {"tasks": tasks, "scratch": scratch}[name](rng)
            done[name] += 1
    except BaseException as error:
        failures.append(error)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--forks", action="store_true", help="children are forked meanwhile, too")
    options = parser.parse_args()
    expected = {name: call().tobytes() for name, call in KERNELS.items()}
    failures: list[BaseException] = []
    end, rng = time.monotonic() + options.seconds, random.Random(0)
    counts = [collections.Counter() for _ in range(options.callers)]
    threads = [
        threading.Thread(target=caller, args=(seed, end, expected, done, failures))
        for seed, done in enumerate(counts)
    ]
    for thread in threads:
        thread.start()
    changes = forks = 0
    while any(thread.is_alive() for thread in threads):
        pool.set_num_threads(rng.choice([1, 2, 3, 4, 8]))
        changes += 1
        if rng.random() < 0.2:
            memory.release_memory()
        if options.forks and rng.random() < 0.2:
            child = os.fork()
            if not child:
                signal.alarm(30)  # a child that hangs must fail
                os._exit(int(runtimecheck.run_tasks(50)[0] != [1] * 50))
            status = os.waitpid(child, 0)[1]
            if status:
                failures.append(AssertionError(f"a forked child ended with status {status}"))
            forks += 1
        time.sleep(rng.uniform(0.0, 0.02))
    for failure in failures:
        raise failure
    calls = sum(sum(done.values()) for done in counts)
    print(
        f"{calls} calls of {options.callers} threads, {changes} changes of their number, {forks} forks"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
