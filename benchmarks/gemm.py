"""Matrix products: minidl against NumPy's BLAS and, where it is installed, PyTorch.

    python benchmarks/gemm.py                      two threads, float32
    python benchmarks/gemm.py --threads 1 --levels v4,v3,baseline

The shapes are those of the MLP steps of the other benchmarks (forward, gradient of the weight,
gradient of the input), squares, and a tiny one. Each library runs in a separate process that is
started for each round, so that two thread pools are never alive at once; rounds are interleaved. A
figure is the median over the rounds of the fastest of many short batches in a round. Shares are of
the rate of fused multiply-adds in registers, measured in the same way before each round.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from statistics import median

STEPS = {32: (784, 100, 10), 128: (784, 256, 256, 10), 256: (784, 1024, 1024, 10)}  # batch: widths
SQUARES = (1024, 512, 256, 4)
SECONDS = 0.1  # for each shape, in each round
PATIENCE = 20  # seconds that a round waits for an idle machine


def shapes() -> dict[str, tuple]:
    """name: (m, k, n, A is a transposed array, B is a transposed array)."""
    rows: dict[str, tuple] = {f"{n}^3": (n, n, n, False, False) for n in SQUARES}
    for batch, widths in STEPS.items():
        for n_in, n_out in dict.fromkeys(pairwise(widths)):
            layer = f"{batch}: {n_in}-{n_out}"
            rows[f"{layer} y = x W'"] = (batch, n_in, n_out, False, True)
            rows[f"{layer} gW = gy' x"] = (n_out, batch, n_in, True, False)
            if n_in != widths[0]:
                rows[f"{layer} gx = gy W"] = (batch, n_out, n_in, False, False)
    return rows


def product(library: str):
    """A function (a, b, out), and one that converts NumPy arrays to the library's own."""
    import numpy as np

    if library == "numpy":
        return lambda a, b, out: np.matmul(a, b, out=out), lambda x: x
    if library == "torch":
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        return lambda a, b, out: torch.mm(a, b, out=out), torch.from_numpy
    gemm = importlib.import_module(f"minidl._kernels.{library}.gemm").matmul
    return lambda a, b, out: gemm(a, b, out=out), lambda x: x


def fastest(call, seconds: float = SECONDS) -> float:
    """Seconds per call, in the fastest batch of about a millisecond."""
    call()
    start = time.perf_counter()
    call()
    repeat = max(1, int(1e-3 / (time.perf_counter() - start + 1e-9)))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(repeat):
            call()
        best = min(best, (time.perf_counter() - start) / repeat)
    return best


def work(library: str, dtype: str) -> None:
    """The worker: prints {name: seconds}."""
    import numpy as np

    rng = np.random.default_rng(0)
    multiply, own = product(library)

    def operand(rows, columns, transposed):
        if transposed:
            return own(rng.standard_normal((columns, rows)).astype(dtype)).T
        return own(rng.standard_normal((rows, columns)).astype(dtype))

    times = {}
    for name, (m, k, n, a_turned, b_turned) in shapes().items():
        a, b, out = operand(m, k, a_turned), operand(k, n, b_turned), own(np.empty((m, n), dtype))
        times[name] = fastest(lambda a=a, b=b, out=out: multiply(a, b, out))
    print(json.dumps(times))


def measure(library: str, args) -> dict[str, float]:
    variables = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MINIDL_NUM_THREADS")
    env = os.environ | dict.fromkeys(variables, str(args.threads))
    command = [sys.executable, __file__, "--worker", library, "--dtype", args.dtype]
    answer = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def fma_peak(probe) -> float:
    """The best GFLOP/s of one thread, in bursts as short as the batches."""
    probe.work *= 1e-3 / probe._time(probe._loop, 1)[0]
    return max(probe._rate(1) for _ in range(200))


def report(results: dict[str, list[dict[str, float]]], peak: float, ours: list[str]) -> None:
    others = [library for library in results if library not in ours]
    heads = "".join(f"{library:>20}" for library in results)
    ratios = "".join(f"{o + '/' + u:>16}" for u in ours for o in others)
    print(f"{'GFLOP/s (share of peak)':28}{heads}{ratios}")
    for name, (m, k, n, *_) in shapes().items():
        seconds = {library: median(r[name] for r in runs) for library, runs in results.items()}
        rates = {library: 2e-9 * m * k * n / s for library, s in seconds.items()}
        line = "".join(f"{rate:13.1f} ({rate / peak:4.0%})" for rate in rates.values())
        line += "".join(f"{seconds[o] / seconds[u]:16.2f}" for u in ours for o in others)
        print(f"{name:28}{line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--levels", help="of minidl, with commas; default: the one it chooses")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args.worker, args.dtype)

    from probe import Probe

    from minidl import _kernels as K

    ours = args.levels.split(",") if args.levels else [K.active]
    torch = ["torch"] if importlib.util.find_spec("torch") else []
    results: dict[str, list[dict[str, float]]] = {name: [] for name in [*ours, "numpy", *torch]}
    peak = 0.0
    for number in range(args.rounds):
        probe = Probe()
        for _ in range(PATIENCE if args.threads > 1 else 0):
            if probe.check()["passed"]:
                break
            print("waiting: other work is running on the two cores", file=sys.stderr)
            time.sleep(1)
        else:
            if args.threads > 1:
                print("it never stopped: do not trust these figures", file=sys.stderr)
        peak = max(peak, fma_peak(probe) * args.threads / (2 if args.dtype == "float64" else 1))
        for library, runs in results.items():
            runs.append(measure(library, args))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    print(f"{args.threads} threads, {args.dtype}, FMA peak {peak:.0f} GFLOP/s ({probe.kind})")
    report(results, peak, ours)


if __name__ == "__main__":
    main()
