"""Ctrl-C at random moments of a loop written by hand: what is left is what an uninterrupted run had.

``python tests/training/test_interrupted_loop.py 200`` presses it 200 times.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim

X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
Y = np.arange(16) % 3


class Run:
    def __init__(self):
        md.manual_seed(0)
        self.model = nn.Sequential(
            nn.Affine(6, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(0.3), nn.Affine(16, 3)
        )
        groups = [{"params": [*self.model[0].parameters(), *self.model[1].parameters()]}]
        groups.append({"params": [*self.model[4].parameters()], "lr": 0.02})
        self.optimizer = optim.Adam(groups, lr=0.01)
        self.schedule = optim.CosineLR(self.optimizer, 1000)

    def step(self, number):
        md.manual_seed(number)  # the mask of dropout
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(X), Y).backward()
        self.optimizer.step()
        self.schedule.step()

    def weights(self):
        moments = [m for g in self.optimizer.groups for s in g.slots for m in s.moments]
        return [a.tobytes() for a in (*(p.data for p in self.model.parameters()), *moments)]

    def statistics(self):
        return [value.tobytes() for value in self.model.buffers.values()]

    def counts(self):
        return {s.step for group in self.optimizer.groups for s in group.slots}

    def gradients(self):
        return [p.grad is not None and p.grad.data.tobytes() for p in self.model.parameters()]


def presses(times):
    run, plain = Run(), Run()
    weights, statistics, gradients = [plain.weights()], [plain.statistics()], []
    done, rng = 0, random.Random(0)
    for _ in range(times):
        timer = threading.Timer(rng.uniform(0.0, 0.004), os.kill, (os.getpid(), signal.SIGINT))
        number = done
        try:
            timer.start()
            while True:
                run.step(number)
                number += 1
        except KeyboardInterrupt:
            pass
        timer.join()
        (done,) = run.counts()  # of all groups alike
        while len(weights) <= done + 1:
            plain.step(len(weights) - 1)
            weights.append(plain.weights())
            statistics.append(plain.statistics())
            gradients.append(plain.gradients())
        if done:
            assert run.weights() == weights[done]
        seen = int(run.model[1].num_batches_tracked)
        assert seen in (done, done + 1) and run.statistics() == statistics[seen]
        assert run.schedule.count in (done - 1, done)
        lr = {run.schedule.lr_at(base, run.schedule.count) for base in run.schedule.base}
        assert {group["lr"] for group in run.optimizer.groups} == lr
        none = [False] * len(gradients[0])
        assert run.gradients() in (none, gradients[done], gradients[done - 1] if done else none)
        # Goes on from there: what is behind catches up, a forward pass too many is taken back.
        if run.schedule.count < done:
            run.schedule.step()
        for own, was in zip(run.model.buffers.values(), statistics[done], strict=True):
            own[...] = np.frombuffer(was, own.dtype).reshape(own.shape)
    return done


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between processes")
@pytest.mark.skipif(
    md.autograd.tensor.__file__.endswith(".py"), reason="Python's engine can be parted"
)
def test_nothing_is_half_done():
    times = os.environ.get("MINIDL_INTERRUPTIONS", "40")
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, __file__, times],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 0


if __name__ == "__main__":
    print(presses(int(sys.argv[1])))
