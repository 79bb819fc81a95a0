"""How many batches per second one model classifies in 1, 2 and 4 threads of Python that share it.

    python3.13t tests/threads/scaling.py

Each call computes in the thread that makes it (`set_num_threads(1)`). The three are measured in turns, and the best of
all turns is printed. Results are compared with those of a single thread, bit by bit.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import minidl as md
from minidl import nn

md.set_num_threads(1)
md.manual_seed(0)
MODELS = {
    "784-256-256-10, batch 32": nn.Sequential(
        nn.Affine(784, 256), nn.ReLU(), nn.Affine(256, 256), nn.ReLU(), nn.Affine(256, 10)
    ).eval(),
    "4-32-16-4, batch 8": nn.Sequential(
        nn.Affine(4, 32), nn.Tanh(), nn.Affine(32, 16), nn.Tanh(), nn.Affine(16, 4)
    ).eval(),
}


def inputs(name):
    width, batch = int(name.split("-")[0]), int(name.split()[-1])
    return np.random.default_rng(0).standard_normal((batch, width)).astype(np.float32)


def rate(model, x, expected, threads, calls):
    """Calls per second, of all threads together."""
    times, wrong = [], []
    barrier = threading.Barrier(threads, lambda: times.append(time.perf_counter()))

    def work():
        barrier.wait()
        with md.no_grad():
            for _ in range(calls):
                y = model(md.Tensor(x))._data
        if not np.array_equal(y, expected):
            wrong.append(y)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, "a thread got another result"
    return threads * calls / (time.perf_counter() - times[0])


def main():
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, the GIL {'on' if gil else 'off'}")
    for name, model in MODELS.items():
        x = inputs(name)
        with md.no_grad():
            expected = model(md.Tensor(x)).numpy()
        best = dict.fromkeys((1, 2, 4), 0.0)
        calls = int(0.1 * max(rate(model, x, expected, 1, 20) for _ in range(5))) + 4  # some 0.1 s
        for _ in range(20):
            for threads in best:
                found = rate(model, x, expected, threads, calls // threads)
                best[threads] = max(best[threads], found)
        figures = ", ".join(f"{n}: {r:,.0f} ({r / best[1]:.2f}x)" for n, r in best.items())
        print(f"{name}: batches per second by threads {figures}")


if __name__ == "__main__":
    main()
