"""A function on all numbers of a sample: how far each level is from the true value and slope, what else is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import minidl as md
from accuracy import truth
from accuracy.definitions import ACTIVATIONS
from accuracy.sample import Sample, blocks
from minidl import _kernels as K
from minidl.ops.activations.table import ROWS

PYTORCH_EVERY = (
    8  # so many blocks, one is compared with PyTorch, which takes longer than the kernels
)


class Compared(NamedTuple):
    """What was found; each findings as a dict of what truth.Findings has."""

    values: dict[str, dict]  # by level
    slopes: dict[str, dict]  # of activations
    torch: dict | None
    levels: dict  # differ: how often a level has NaN, 0, -0 or an infinity where another has not; at: where
    numbers: int
    seconds: float  # of the processor


def in_pytorch(name: str) -> Callable[[np.ndarray, float, float], np.ndarray] | None:
    """How PyTorch computes it of x and the parameters; None where PyTorch is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(1)
    special = {
        "gelu_tanh": lambda x, a, b: torch.nn.functional.gelu(x, approximate="tanh"),
        "normal_cdf": lambda x, a, b: torch.special.ndtr(x),
    }
    count = next((len(row.params) for row in ROWS if row.name == name), 0)
    found = getattr(torch.nn.functional if name in ACTIVATIONS else torch, name, None)
    run = special.get(name, lambda x, a, b: found(x, *(a, b)[:count]))
    return lambda x, a, b: run(torch.from_numpy(x), a, b).numpy()


def pytorch_version() -> dict[str, str]:
    try:
        import torch
    except ModuleNotFoundError:
        return {"torch": "was not installed", "capability": "none"}
    return {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}


class Function:
    """Values and slopes of an elementary function or an activation (with its default parameters) at each level."""

    def __init__(self, name: str):
        self.name = name
        self.row = next((row for row in ROWS if row.name == name), None)
        self.a, self.b = [*(self.row.params.values() if self.row else ()), 0.0, 0.0][:2]
        self.kernels = {level: K.load(level, (*K.MODULES, "mathcheck")) for level in K.available}

    def truth(self, x: np.ndarray, slope: bool = False) -> np.ndarray:
        return truth.true(self.name, x, self.a, self.b, slope=slope)

    def values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        if self.row is None:
            return {level: k.math_apply(self.name, x) for level, k in self.kernels.items()}
        return {
            level: k.activation_forward(self.name, x, self.a, self.b)
            for level, k in self.kernels.items()
        }

    def slopes(self, x: np.ndarray, ones: np.ndarray, values: dict) -> dict[str, np.ndarray]:
        """From x, or from the level's own value where backward has that."""
        if self.row is None:
            return {}
        from_y = self.row.slope_from == "y"
        return {
            level: k.activation_backward(
                self.name, values[level] if from_y else x, ones, self.a, self.b, from_y
            )
            for level, k in self.kernels.items()
        }


class Levels:
    """Findings of each level. One whose results have the same bits as another's, so far, is not compared again."""

    def __init__(self, names: list[str]):
        self.findings = {name: truth.Findings() for name in names}
        self.same: dict[str, str] = {}
        for name, other in zip(names[1:], names, strict=False):
            self.same[name] = other

    def judge(self, x: np.ndarray, results: dict[str, np.ndarray], t: np.ndarray) -> None:
        bits = f"u{x.itemsize}"
        for name, other in [*self.same.items()][::-1]:
            if not np.array_equal(results[name].view(bits), results[other].view(bits)):
                source = other
                while source in self.same:
                    source = self.same[source]
                self.findings[name] = truth.Findings.from_buffer_copy(self.findings[source])
                del self.same[name]
        for name, y in results.items():
            if name not in self.same:
                truth.judge(x, y, t, self.findings[name])

    def found(self) -> dict[str, dict]:
        for name, other in self.same.items():  # in the order of the levels
            self.findings[name] = self.findings[other]
        return {name: findings.to_dict() for name, findings in self.findings.items()}

    def begin_anew(self) -> None:
        """The next number is not the one after the last: the result may be smaller."""
        for findings in self.findings.values():
            findings.last = -np.inf


def compare(
    name: str, dtype: str, sample: Sample, done: Callable[[int], None] = lambda blocks: None
) -> Compared:
    """done is called after each block."""
    md.set_num_threads(1)
    start, numbers = time.process_time(), 0
    function, pytorch = Function(name), in_pytorch(name)
    levels = list(function.kernels)
    values, slopes, torch_values = Levels(levels), Levels(levels), Levels(["torch"])
    differ = {"differ": 0, "at": 0.0}
    for i, (x, goes_on) in enumerate(blocks(dtype, sample)):
        if not goes_on:
            for found in (values, slopes, torch_values):
                found.begin_anew()
        t = function.truth(x)
        y = function.values(x)
        values.judge(x, y, t)
        for level in levels[1:]:
            if level not in values.same:
                count, at = truth.classes_differ(x, y[levels[0]], y[level])
                if count:
                    differ = {"differ": differ["differ"] + count, "at": at}
        if pytorch and i % PYTORCH_EVERY == 0:
            torch_values.judge(x, {"torch": pytorch(x, function.a, function.b)}, t)
        if function.row:
            gx = function.slopes(x, np.ones_like(x), y)
            slopes.judge(x, gx, function.truth(x, slope=True))
        numbers += len(x)
        done(1)
    return Compared(
        values.found(),
        slopes.found() if function.row else {},
        torch_values.found()["torch"] if pytorch else None,
        differ,
        numbers,
        time.process_time() - start,
    )
