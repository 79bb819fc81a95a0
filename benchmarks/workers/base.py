"""What all workers share: the protocol between them and the orchestrator, and the stopwatch.

A worker is one process that measures one framework. It reads one job per line on stdin, as JSON, and
answers each with one line on stdout; between jobs it is blocked on the pipe (and the orchestrator
stops it, so that its threads cannot spin):

    {"do": "hello"}                                 -> versions
    {"do": "names"}                                 -> minidl only: the activations it has
    {"do": "prepare", "case": {"kind": ..., ...}}   -> builds, compiles, warms up; {"check": [...]}
    {"do": "measure", "seconds": 0.5}               -> {"ns": ..., "chunks": ...} or the case's figures
    {"do": "quit"}

A subclass has one method for each kind of case, which returns a `Task`. If there is none, or if it
raises NotImplementedError, the answer is "not available", and the tables say so. This file runs on
Python 3.10 too.
"""

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 0.02  # seconds of one timed chunk; a measurement is the median over its chunks
EARLY_EPS = "Adam's eps added before the bias correction"  # as in NNabla; NumPy checks both
BIG = 1_000_000  # from this many elements on, asynchronous frameworks wait after every call


@dataclass
class Task:
    """Something prepared that can be timed.

    Attributes:
        run: run(n) does the work n times and returns when it is done.
        check: figures that must agree between the peers (losses, sampled outputs); None if they
            are random. A dictionary of such lists by condition, if a peer can only be compared
            under one.
        units: how many units (steps, ops) a repetition has; times are reported per unit.
        restore: called before each measurement, outside the clock.
    """

    run: Callable[[int], Any]
    check: Any = None
    units: int = 1
    restore: Callable[[], None] = lambda: None

    def measure(self, seconds: float) -> dict:
        self.restore()
        return stopwatch(self.run, seconds, self.units)


@dataclass
class Contention:
    """Two calls that may compete for the cores: each alone, and alternating."""

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    check: Any = None

    def measure(self, seconds: float) -> dict:
        return {
            "ours": stopwatch(repeat(self.ours), seconds),
            "theirs": stopwatch(repeat(self.theirs), seconds),
            "alternating": alternate(self.ours, self.theirs, seconds),
        }


def repeat(call: Callable[[], Any]) -> Callable[[int], None]:
    """run(n) of a call that is done when it returns."""

    def run(n: int) -> None:
        for _ in range(n):
            call()

    return run


def stopwatch(
    run: Callable[[int], Any], seconds: float, units: int = 1, chunk: float = CHUNK
) -> dict:
    """Median and minimum ns per unit over chunks of about `chunk` seconds."""
    begin = time.perf_counter()
    run(1)
    n = 1
    while True:  # grow n until a chunk is long enough; this is the warm-up as well
        start = time.perf_counter()
        run(n)
        spent = time.perf_counter() - start
        if spent >= chunk or time.perf_counter() - begin > seconds:
            break
        n = max(n + 1, min(10 * n, int(1.2 * n * chunk / max(spent, 1e-7))))
    chunks = []
    begin = time.perf_counter()
    while len(chunks) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter_ns()
        run(n)
        chunks.append((time.perf_counter_ns() - start) / (n * units))
    return {
        "ns": statistics.median(chunks),
        "min_ns": min(chunks),
        "chunks": len(chunks),
        "repetitions": n * units,
    }


def alternate(first: Callable, second: Callable, seconds: float) -> dict:
    """Medians of a whole turn and of its two parts, of two calls that alternate."""
    for _ in range(3):
        first()
        second()
    turns = []
    begin = time.perf_counter()
    while len(turns) < 10 or time.perf_counter() - begin < seconds:
        t0 = time.perf_counter_ns()
        first()
        t1 = time.perf_counter_ns()
        second()
        turns.append((t1 - t0, time.perf_counter_ns() - t1))
    return {
        "ns": statistics.median(a + b for a, b in turns),
        "mean_ns": statistics.fmean(a + b for a, b in turns),
        "ours_ns": statistics.median(a for a, b in turns),
        "theirs_ns": statistics.median(b for a, b in turns),
        "turns": len(turns),
    }


class Worker:
    """One framework, in one of its variants."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self.task: Task | None = None

    def versions(self) -> dict:
        raise NotImplementedError

    # ── the protocol ─────────────────────────────────────────────────────────────────────────────

    def answer(self, job: dict) -> dict:
        if job["do"] == "hello":
            return {
                "versions": self.versions(),
                "pid": os.getpid(),
                "cpus": sorted(os.sched_getaffinity(0)),
            }
        if job["do"] == "names":
            return {"activations": self.activation_names(), "config": self.config()}
        if job["do"] == "prepare":
            self.task = None  # frees the memory of the last case
            case = job["case"]
            method = getattr(self, case["kind"], None)
            if method is None:
                raise NotImplementedError
            self.task = method(case)
            return {"check": self.task.check}
        if job["do"] == "measure":
            return self.task.measure(job["seconds"])
        raise ValueError(f"unknown job {job}")

    def activation_names(self) -> list:
        raise NotImplementedError

    def config(self) -> str:
        raise NotImplementedError

    def contention(self, case: dict) -> Contention:
        """The framework's elementwise op alternating with the user's own np.matmul."""
        a = normal((case["matmul"], case["matmul"]), 1)
        b = normal((case["matmul"], case["matmul"]), 2)
        return Contention(self.elementwise(case["elements"]), lambda: np.matmul(a, b))

    def elementwise(self, elements: int) -> Callable[[], Any]:
        raise NotImplementedError


# ── the same data for all ────────────────────────────────────────────────────────────────────────


def normal(shape: tuple, seed: int) -> np.ndarray:
    """float32 from N(0, 1): never zeros, and the same for every peer."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


class ClassifierData:
    """Batches and initial weights of an MLP or of LeNet-5, from the .npz that the orchestrator wrote."""

    def __init__(self, case: dict) -> None:
        with np.load(case["data"]) as file:
            images, labels = file["images"], file["labels"]
        with np.load(case.get("weights", case["data"])) as file:
            layers = sum(name.startswith("w") for name in file)
            self.weights = [file[f"w{i}"] for i in range(layers)]  # (out, in)
            self.biases = [file[f"b{i}"] for i in range(layers)]
        self.activation = case.get("activation", "relu")
        self.trains = case.get("adam", True)  # False: a step computes the gradient only
        n = case["batch"]
        starts = range(0, len(images) - n + 1, n)
        self.x = [np.ascontiguousarray(images[s : s + n]) for s in starts]
        self.t = [np.ascontiguousarray(labels[s : s + n]) for s in starts]
        self.lr = 1e-3
        self.steps_checked = case["steps_checked"]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def initial(self) -> list:
        """The parameters in the order of the layers: each one's weight and bias."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [array for pair in pairs for array in pair]


def training_task(
    step: Callable[[int], Any],
    loss: Callable[[Any], Any],
    data: Any,
    restore,
    wait=lambda out: None,
):
    """The Task of a training loop: step(i) trains on batch i and returns its loss, or losses, in the
    framework's own type; loss(...) converts that to a float, or floats.
    """
    batches = len(data)
    losses = [loss(step(i % batches)) for i in range(data.steps_checked)]
    position = [0]

    def run(n: int) -> None:
        i = position[0]
        for _ in range(n):
            out = step(i)
            i = i + 1 if i + 1 < batches else 0
        position[0] = i
        wait(out)

    return Task(run, check=np.ravel(losses).tolist(), restore=restore)


def activation_input(case: dict) -> tuple:
    """x and gy of an activation case."""
    return normal(tuple(case["shape"]), 1), normal(tuple(case["shape"]), 2)


def prelu_slopes(case: dict) -> np.ndarray:
    """0.25 for each channel, or one slope for all."""
    return np.full(case["slopes"], 0.25, np.float32)


def sample(*arrays: np.ndarray) -> list:
    """Up to 64 evenly spaced values of each array: these are compared between the peers."""
    picked = []
    for a in arrays:
        flat = (
            np.asarray(a, dtype=np.float64).ravel()
            if np.size(a) < BIG
            else np.asarray(a).reshape(-1)
        )
        picked += [float(v) for v in flat[:: max(1, flat.size // 64)][:64]]
    return picked


def affine_operands(case: dict) -> tuple:
    """x, weight (out, in), bias and gy of an affine case."""
    rows, n_in, n_out = case["shape"]
    shapes = (rows, n_in), (n_out, n_in), (n_out,), (rows, n_out)
    return tuple(normal(shape, seed) for seed, shape in enumerate(shapes, 1))


def operands(case: dict) -> tuple:
    """a (m, k) and b (k, n) of a GEMM case as views: "t" in `layout` means that the operand is
    stored transposed.
    """
    m, k, n = case["mkn"]
    a = normal((k, m), 1).T if case["layout"][0] == "t" else normal((m, k), 1)
    b = normal((n, k), 2).T if case["layout"][1] == "t" else normal((k, n), 2)
    return a, b


def main(worker_class: type) -> None:
    """Serves jobs until stdin closes. stdout is only for answers: what a framework prints goes to
    stderr.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = worker_class(sys.argv[1])
    for line in sys.stdin:
        job = json.loads(line)
        if job["do"] == "quit":
            break
        try:
            reply = worker.answer(job)
        except NotImplementedError:
            reply = {"error": "not available", "absent": True}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()
