"""Ctrl-C at random moments of `md.fit`: what is left is what an uninterrupted training had after as many steps.

    python tests/harden/interrupted_fit.py --times 200

A Ctrl-C ends the training after its step; every second time another one follows within milliseconds and raises. After
each, weights, moments, step counts and running statistics must be those of one and the same step, modules in the mode
that they were in, Python's handler back, and the next `fit` goes on with the bits of the uninterrupted one.
"""

import argparse
import collections
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import minidl as md
from minidl import callbacks, nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 16, 6)).astype(np.float32)
TARGET = RNG.integers(3, size=(50, 16))


class Run:
    """A training whose batches are those that come after the steps that have been done."""

    def __init__(self, accumulate: int) -> None:
        md.manual_seed(0)
        self.accumulate = accumulate
        self.model = nn.Sequential(
            nn.Affine(6, 16), nn.BatchNorm(16), nn.PReLU(), nn.Affine(16, 8), nn.Affine(8, 3)
        )
        self.model[3].eval()  # a mode that fit changes and gives back
        groups = [{"params": [*self.model[0].parameters(), *self.model[1].parameters()]}]
        groups.append({"params": [*self.model[2:].parameters()], "lr": 0.02})
        self.optimizer = optim.Adam(groups, lr=0.01)

    def __iter__(self):
        for number in itertools.count(self.accumulate * self.steps()):
            yield X[number % 50], TARGET[number % 50]

    def state_dict(self) -> dict:  # Checkpoint asks for it; the optimizer knows where it is
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass

    def steps(self) -> int:
        counts = {s.step for group in self.optimizer.groups for s in group.slots}
        assert len(counts) == 1, f"parameters of different steps: {counts}"
        return counts.pop()

    def fit(self, capture: bool, extra: list) -> md.History:
        return md.fit(
            self.model, self, "cross_entropy", self.optimizer, 1, progress=False, capture=capture,
            accumulate=self.accumulate, callbacks=extra,
        )  # fmt: skip

    def state(self) -> dict[str, list[bytes]]:
        slots = [s for group in self.optimizer.groups for s in group.slots]
        arrays = {
            "weights": [p.data for p in self.model.parameters()],
            "moments": [m for slot in slots for m in slot.moments],
            "running statistics": list(self.model.buffers.values()),
        }
        return {kind: [a.tobytes() for a in found] for kind, found in arrays.items()}


class Stop(Exception):
    pass


class Uninterrupted(Run):
    """The states of a training that nobody interrupts, by the number of steps."""

    def __init__(self, accumulate: int) -> None:
        super().__init__(accumulate)
        self.states = [self.state()]

    def after(self, steps: int) -> dict[str, list[bytes]]:
        def stop(training):
            raise Stop

        end = type("End", (), {"on_batch_end": staticmethod(stop)})()
        while len(self.states) <= steps:
            try:
                self.fit(False, [end])
            except Stop:
                self.states.append(self.state())
        return self.states[steps]


def presses(
    times: int, accumulate: int, capture: bool, seed: int, file: Path
) -> collections.Counter:
    """Interrupts a training so often; how each of its parts ended."""
    run, plain, rng = Run(accumulate), Uninterrupted(accumulate), random.Random(seed)
    modes = [module.training for module in run.model.modules()]
    ends: collections.Counter[str] = collections.Counter()
    for number in range(times):
        waits = [rng.uniform(0.0, 0.02), rng.uniform(0.0, 0.001)][: 1 + number % 2]

        end = "no training was there to interrupt"
        thread = threading.Thread(target=send, args=(waits,))
        try:
            thread.start()
            history = run.fit(capture, [callbacks.Checkpoint(file)] if number % 3 == 0 else [])
            assert history.interrupted
            end = "ended after its step"
            thread.join()
        except KeyboardInterrupt:
            end = "raised" if end.startswith("no") else end
        while thread.is_alive():
            with contextlib.suppress(KeyboardInterrupt):
                thread.join()
        signal.signal(signal.SIGINT, check_handler(signal.getsignal(signal.SIGINT)))
        ends[end] += 1
        steps, left = run.steps(), run.state()
        for kind, expected in plain.after(steps).items():
            assert steps == 0 or left[kind] == expected, (
                f"{kind} are not those of step {steps} ({end})"
            )
        assert [module.training for module in run.model.modules()] == modes, f"modes ({end})"
        if file.exists():
            md.load(file)
    ends["steps"] = run.steps()
    return ends


def send(waits: list[float]) -> None:
    for wait in waits:
        time.sleep(wait)
        os.kill(os.getpid(), signal.SIGINT)


def check_handler(handler):
    assert handler is signal.default_int_handler, f"Ctrl-C is still handled by {handler}"
    return handler


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    kinds = list(itertools.product((1, 2), (False, True)))
    total: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, (accumulate, capture) in enumerate(kinds):
            file = Path(folder, f"{number}.npz")
            times = -(-options.times // len(kinds))
            total += presses(times, accumulate, capture, options.seed + number, file)
    print(", ".join(f"{count} {end}" for end, count in total.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
