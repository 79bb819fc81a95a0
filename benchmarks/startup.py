"""Measurements of whole processes: the cost before the first step (import time and memory, installed
size, time to the first training step), and the memory that training takes.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from environments import PEERS, executable, installed_megabytes
from processes import WorkerFailed, WorkerProcess, settings

MODULES = {
    "minidl": "minidl",
    "numpy": "numpy",
    "torch": "torch",
    "jax": "jax, jax.numpy",
    "tf": "tensorflow",
    "nnabla": "nnabla, nnabla.functions, nnabla.parametric_functions, nnabla.solvers",
}
# In a fresh process each time; memory is what is resident right after the import.
SNIPPET = """
import time
start = time.perf_counter()
import {modules}
spent = time.perf_counter() - start
import json
memory = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")][0]
print(json.dumps({{"import_ms": spent * 1e3, "memory_mb": int(memory) / 1e3}}))
"""


def measure_startup(
    envs: Path, peers: list[str], case: dict, rounds: int, log: Callable[[str], None]
) -> dict[str, dict]:
    """For each peer {"rounds": [{"import_ms", "memory_mb", "first_step_ms"}], "installed_mb"};
    interleaved.
    """
    results: dict[str, dict] = {}
    for peer in peers:
        results[peer] = {
            "installed_mb": installed_megabytes(envs, PEERS[peer].environment),
            "rounds": [],
        }
    for wheel in envs.glob("wheels/*/*.whl"):
        if "minidl" in results:
            results["minidl"]["wheel_mb"] = wheel.stat().st_size / 1e6
    for number in range(rounds + 1):
        log(
            f"  round {number}"
            if number
            else "  a first round, which does not count: it brings the files into the cache"
        )
        for peer in [p for p in peers if "error" not in results[p]]:
            try:
                figures = {**import_once(envs, peer), "first_step_ms": first_step(envs, peer, case)}
            except WorkerFailed as failure:
                results[peer]["error"] = str(failure)
                continue
            if number:
                results[peer]["rounds"].append(figures)
    return results


def import_once(envs: Path, peer: str) -> dict:
    code = SNIPPET.format(modules=MODULES[peer])
    command = [str(executable(envs, PEERS[peer].environment)), "-c", code]
    done = subprocess.run(
        command, env=settings(envs), cwd=tempfile.gettempdir(), capture_output=True, text=True
    )
    if done.returncode:
        raise WorkerFailed(done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout)


def first_step(envs: Path, peer: str, case: dict) -> float:
    """ms from the start of the process to the first loss: import, data, model, compiling, one
    training step.
    """
    start = time.perf_counter()
    worker = WorkerProcess(envs, peer)
    try:
        worker.ask({"do": "prepare", "case": {**case, "steps_checked": 1}}, timeout=300)
        return (time.perf_counter() - start) * 1e3
    finally:
        worker.end()


def measure_memory(
    envs: Path, peers: list[str], case: dict, rounds: int, log: Callable[[str], None]
) -> dict[str, dict]:
    """For each peer {"rounds": [{"peak_mb"}]}: the peak memory of a separate process."""
    results: dict[str, dict] = {peer: {"rounds": []} for peer in peers}
    for number in range(rounds):
        log(f"  round {number + 1}")
        for peer in [p for p in peers if "error" not in results[p]]:
            try:
                results[peer]["rounds"].append({"peak_mb": peak_memory(envs, peer, case)})
            except WorkerFailed as failure:
                results[peer]["error"] = str(failure)
    return results


def peak_memory(envs: Path, peer: str, case: dict) -> float:
    """The peak resident memory in MB, including import, data, model, compiling and the case's steps."""
    worker = WorkerProcess(envs, peer)
    try:
        worker.ask({"do": "prepare", "case": case}, timeout=300)
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        [kilobytes] = re.findall(r"VmHWM:\s*(\d+) kB", status)
        return int(kilobytes) * 1024 / 1e6
    finally:
        worker.end()
