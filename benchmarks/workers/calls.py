"""A case of the section `ops`: one call, forward alone and with the gradients, on one thread and on two."""

import re
from typing import Any

import numpy as np
from base import normal, repeat, sample, stopwatch

CHUNK = 0.003  # seconds: shorter than elsewhere, for there are hundreds of cases
NAMES = "xyzuvw"  # of the operands, in the calls
THREADS = (1, 2)
CONSTANT = ("const", "signs", "zeros", "variances", "probabilities")  # operands without a gradient


class CallTask:
    """Measures {"forward 1": ns, "forward 2": ns, "both 1": ...}; `ns` is the last of them."""

    def __init__(self, worker: Any, case: dict) -> None:
        self.worker = worker
        arrays = [drawn(text, seed) for seed, text in enumerate(case["operands"], 1)]
        modes = {mode: self.calls(case, arrays, mode) for mode in case["modes"]}
        self.runs = {(mode, n): repeat(call) for mode, call in modes.items() for n in THREADS}
        outputs = [array for call in modes.values() for array in call()]
        self.check = None if case["random"] else sample(*map(worker.array, outputs))

    def calls(self, case: dict, arrays: list, mode: str) -> Any:
        worker, both = self.worker, mode == "both"
        wanted = [
            both and array.dtype.kind == "f" and not text.startswith(CONSTANT)
            for array, text in zip(arrays, case["operands"], strict=True)
        ]
        operands = [worker.operand(*pair) for pair in zip(arrays, wanted, strict=True)]
        leaves = [x for x, differentiated in zip(operands, wanted, strict=True) if differentiated]
        names = ", ".join(NAMES[: len(operands)])
        function = eval(f"lambda {names}: {case['calls'][worker.library]}", worker.namespace())

        def forward():
            with worker.no_grad():
                return [function(*operands)]

        if not both:
            return forward
        gy = worker.tensor(normal(tuple(function(*operands).shape), 99))

        def with_gradients():
            y = function(*operands)
            for leaf in leaves:
                worker.clear(leaf)
            y.backward(gy if y.dtype == gy.dtype else worker.cast(gy, y))
            return [y, *[leaf.grad for leaf in leaves]]

        return with_gradients

    def measure(self, seconds: float) -> dict:
        times = {}
        for (mode, n), run in self.runs.items():
            self.worker.set_threads(n)
            times[f"{mode} {n}"] = stopwatch(run, seconds / len(self.runs), chunk=CHUNK)["ns"]
        self.worker.set_threads(max(THREADS))
        return {"ns": times[f"{mode} {n}"], "times": times}


def drawn(text: str, seed: int) -> np.ndarray:
    """The operand that a text like "64x1000" or "ids<10>:256" describes: N(0, 1), or what is named before the colon.

    Those in CONSTANT have no gradient. Recurrent layers need `small` weights: with others, rounding errors grow at each
    step.
    """
    kind, _, size = text.rpartition(":")
    shape = tuple(map(int, size.split("x")))
    x = normal(shape, seed)
    if kind in ("", "const"):
        return x
    if kind == "zeros":
        return np.zeros_like(x)
    if kind == "mask":
        return x > 0
    if kind == "signs":
        return np.sign(x)
    if kind == "small":
        return x / 10
    if kind in ("positive", "variances"):
        return 0.5 + np.abs(x)
    unit = 0.05 + 0.9 * np.random.default_rng(seed).random(shape, np.float32)
    if kind == "unit":
        return unit
    if kind == "probabilities":
        return unit / unit.sum(-1, keepdims=True)
    if found := re.fullmatch(r"ids<(\d+)>", kind):
        return np.random.default_rng(seed).integers(0, int(found[1]), shape)
    raise ValueError(f"{text}: no such way to draw an operand")
