"""Sums of gradients over ranks, measured here and simulated for networks: writes docs/distributed.json.

    python benchmarks/distributed.py                 sums measured on this machine, steps measured, networks simulated
    python benchmarks/distributed.py --only sums     one of these parts; the others are kept as the file has them
    python benchmarks/distributed.py --quick         does everything run? (nothing is written)

Needs mpi4py and mpiexec (pip install "minidl[mpi]"). `python docs/make_distributed.py` writes the tables of
docs/distributed.md from the file, `python docs/pictures/make.py distributed` draws its pictures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import network
import numpy as np
import rank_times

from minidl import _kernels, distributed
from minidl.distributed.reduction import AllReduce, TreeSum

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "docs" / "distributed.json"
RANKS = (1, 2, 4, 8)
SIZES = tuple(1 << i for i in range(10, 25, 2))  # 1 K to 16 M floats
SPREAD = 0.05  # the standard deviation of a rank's step time in the simulation
BUCKET = 2**20  # bytes; DataParallel's default
TOTAL = 1024  # samples of a batch that more and more ranks share

# ── Sums ──────────────────────────────────────────────────────────────────────────────────────────


def sums(quick: bool) -> dict[str, Any]:
    """{ranks: {floats: {"tree", "allreduce", "mpi": {"median", "least": seconds}}}}, each in a job of so many ranks."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=path)
    if mpiexec is None:
        raise SystemExit('mpiexec is missing: pip install "minidl[mpi]"')
    found: dict[str, Any] = {}
    for count in RANKS:
        command = [mpiexec, "-n", str(count), sys.executable, __file__, "--rank", "--only", "sums"]  # fmt: skip
        told = subprocess.run(
            command + ["--quick"] * quick, check=True, capture_output=True, text=True, timeout=900,
            env=os.environ | {"MINIDL_NUM_THREADS": "1"},
        )  # fmt: skip
        found[str(count)] = json.loads(told.stdout.splitlines()[-1])
        print(f"{count} ranks: tree / MPI_Allreduce", {
            f"{int(n):,}": [round(t["tree"][k] / t["mpi"][k], 2) for k in ("median", "least")]
            for n, t in found[str(count)].items()
        }, flush=True)  # fmt: skip
    return found


def rank_of_sums(quick: bool) -> None:
    """What each rank does: times the three sums by turns. A time is that of the slowest rank."""
    world = distributed.world()
    found = {}
    for n in SIZES[:3] if quick else SIZES:
        x = np.random.default_rng(world.rank).standard_normal(n).astype(np.float32)
        calls, results = variants(world, x)
        times: dict[str, list[float]] = {name: [] for name in calls}
        rounds = 3 if quick else max(9, min(51, (1 << 24) // n))
        for _ in range(rounds + 2):
            for name, call in calls.items():
                world.barrier()
                begun = time.perf_counter()
                results[name] = call()
                times[name].append(max(world.gather(time.perf_counter() - begun)))
        if len({result.tobytes() for result in world.gather(results["tree"][:1000])}) != 1:
            raise AssertionError(f"{n} floats: the ranks have different sums")
        np.testing.assert_allclose(results["tree"], results["mpi"], rtol=1e-3, atol=1e-4)
        found[str(n)] = {
            k: {"median": statistics.median(v[2:]), "least": min(v[2:])} for k, v in times.items()
        }
    if world.is_main:
        print(json.dumps(found))


def variants(
    world: Any, x: np.ndarray
) -> tuple[dict[str, Callable[[], np.ndarray]], dict[str, Any]]:
    """The sum of each rank's x: the tree of minidl.distributed, its plain option, and MPI's call itself."""
    tree = TreeSum(world, world.size, len(x), x.dtype, tag=16)
    plain = AllReduce(world, world.size, len(x), x.dtype, tag=18)
    out = np.empty_like(x)

    def minidls(job: TreeSum) -> np.ndarray:
        job.begin()
        job.row()[...] = x
        job.added()
        world.complete([job])
        return job.result

    def mpis() -> np.ndarray:
        if world.comm is None:
            out[...] = x
        else:
            world.comm.Allreduce(x, out)
        return out

    return {"tree": lambda: minidls(tree), "allreduce": lambda: minidls(plain), "mpi": mpis}, {}


# ── The simulation ────────────────────────────────────────────────────────────────────────────────


def simulated(steps: dict[str, Any], adding: float) -> dict[str, Any]:
    """Sums of 4 MB and whole steps with 2 to 1024 ranks, on each network."""
    counts = [1 << i for i in range(11)]
    found: dict[str, Any] = {"ranks": counts, "sums": {}, "weak": {}, "strong": {}}
    for name, net in network.NETWORKS.items():
        found["sums"][name] = {
            kind: [float(network.run(a, np.zeros(n), 4e6, net, adding).max()) for n in counts]
            for kind, a in network.ALGORITHMS.items()
        }
    for case, table in steps.items():
        shard = max(map(int, table))
        for kind in ("weak", "strong"):
            found[kind][case] = {}
            for name, net in network.NETWORKS.items():
                for overlap in ("after", "overlapped"):
                    found[kind][case][f"{name}, {overlap}"] = [
                        sum(
                            network.step(
                                work, n, network.exchange, net, adding,
                                max(1, round(work.size / BUCKET)) if overlap == "overlapped" else 1,
                            )
                            for work in rank_times.works(
                                table, shard if kind == "weak" else max(TOTAL // n, 1), SPREAD
                            )
                        )
                        for n in counts
                    ]  # fmt: skip
    return found


def seconds_per_byte_added() -> float:
    """Of a sum of two arrays of 4 MB, in place."""
    a, b = np.ones(1 << 20, np.float32), np.ones(1 << 20, np.float32)
    times = []
    for _ in range(50):
        begun = time.perf_counter()
        np.add(a, b, out=a)
        times.append(time.perf_counter() - begun)
    return min(times) / a.nbytes


# ── All of it ─────────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("sums", "steps", "simulation"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        rank_of_sums(args.quick)
        return
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    if args.only in (None, "sums"):
        results["sums"] = sums(args.quick)
        results["machine"] = {
            "date": datetime.date.today().isoformat(), "cpus": len(os.sched_getaffinity(0)),
            "level": _kernels.active,
        }  # fmt: skip
    if args.only in (None, "steps"):
        results["adding"] = seconds_per_byte_added()
        results["steps"] = rank_times.all_measured(0.01 if args.quick else 1.0)
    if args.only in (None, "simulation", "steps"):
        results["simulated"] = simulated(results["steps"], results["adding"])
    if not args.quick:
        RESULTS.write_text(
            json.dumps(rounded(results), indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
        print(f"written: {RESULTS.name}")


def rounded(value: Any) -> Any:
    """Floats with four digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
