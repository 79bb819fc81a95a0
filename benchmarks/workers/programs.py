"""Whole programs of the section `ops`, as users write them: long chains of small operations, on one thread and on two.

In such a chain some operations are large enough for two threads and others are not: what passes between the cores'
caches, and waking a thread for each of them, can cost more than the second thread gains. Each program computes the
gradients of one step; `inference` is a forward pass alone.
"""

from typing import Any

import numpy as np
from base import normal, repeat, sample, stopwatch

CHUNK = 0.005  # seconds
THREADS = (1, 2)


def weights(worker: Any, *shapes: tuple, seed: int = 1) -> list:
    arrays = [
        normal(shape, seed + i) / np.float32(shape[-1] ** 0.5) for i, shape in enumerate(shapes)
    ]
    return [worker.tensor(array, True) for array in arrays]


def pinn(worker: Any) -> tuple:
    """Burgers' equation: u_t + u u_x = 0.01 u_xx at 1,000 points; a network of three hidden layers of 32."""
    tanh, affine, concatenate = (
        *map(worker.function, ("tanh", "affine")),
        worker.on_arrays("concatenate"),
    )
    x, t = (worker.tensor(normal((1000, 1), seed), True) for seed in (20, 21))
    ws = weights(worker, (32, 2), (32, 32), (32, 32), (1, 32))
    bs = weights(worker, (32,), (32,), (32,), (1,), seed=10)

    def step():
        h = concatenate([x, t], 1)
        for w, b in zip(ws[:-1], bs[:-1], strict=True):
            h = tanh(affine(h, w, b))
        u = affine(h, ws[-1], bs[-1])
        u_x, u_t = worker.gradients(u, [x, t])
        (u_xx,) = worker.gradients(u_x, [x])
        return ((u_t + u * u_x - 0.01 * u_xx) ** 2).mean()

    return step, [*ws, *bs]


def lstm(worker: Any) -> tuple:
    """An LSTM written by hand: 32 sequences of 30 steps, 64 hidden units."""
    sigmoid, tanh = map(worker.function, ("sigmoid", "tanh"))
    xs, zeros = (
        worker.tensor(normal((30, 32, 32), 20)),
        worker.tensor(np.zeros((32, 64), np.float32)),
    )
    w, v, b = weights(worker, (256, 32), (256, 64), (256,))

    def step():
        h = c = zeros
        for i in range(30):
            gates = xs[i] @ w.T + h @ v.T + b
            c = sigmoid(gates[:, 64:128]) * c + sigmoid(gates[:, :64]) * tanh(gates[:, 128:192])
            h = sigmoid(gates[:, 192:]) * tanh(c)
        return (h * h).mean()

    return step, [w, v, b]


def gru(worker: Any) -> tuple:
    """A GRU written by hand: 32 sequences of 30 steps, 64 hidden units."""
    sigmoid, tanh, affine = map(worker.function, ("sigmoid", "tanh", "affine"))
    xs, zeros = (
        worker.tensor(normal((30, 32, 32), 20)),
        worker.tensor(np.zeros((32, 64), np.float32)),
    )
    w, v, b, d = weights(worker, (192, 32), (192, 64), (192,), (192,))

    def step():
        h = zeros
        for i in range(30):
            given, kept = affine(xs[i], w, b), affine(h, v, d)
            gates = sigmoid(given[:, :128] + kept[:, :128])
            new = tanh(given[:, 128:] + gates[:, :64] * kept[:, 128:])
            h = new + gates[:, 64:] * (h - new)
        return (h * h).mean()

    return step, [w, v, b, d]


def chain(worker: Any) -> tuple:
    """tanh(x x + x) of 64,000 numbers: two operations that are short, and one that is not."""
    tanh = worker.function("tanh")
    x = worker.tensor(normal((64, 1000), 1), True)
    return lambda: tanh(x * x + x).mean(), [x]


def products(worker: Any) -> tuple:
    """4,096 products of 8 x 8."""
    x, y = (worker.tensor(normal((4096, 8, 8), seed), True) for seed in (1, 2))
    return lambda: ((x @ y) ** 2).mean(), [x, y]


def cnn(worker: Any, training: bool) -> tuple:
    """A small convolutional network on one image of 3 x 32 x 32."""
    model = worker.small_cnn()
    x, target = worker.tensor(normal((1, 3, 32, 32), 1)), worker.labels(np.array([3], np.int32))
    cross_entropy = worker.function("cross_entropy")
    for i, p in enumerate(model.parameters()):
        worker.assign(p, normal(tuple(p.shape), i) / 8)
    if training:
        return lambda: cross_entropy(model(x), target), list(model.parameters())
    model.eval()

    def inference():
        with worker.no_grad():
            return model(x)

    return inference, []


PROGRAMS = {
    "PINN": pinn,
    "LSTM by hand": lstm,
    "GRU by hand": gru,
    "tanh(x * x + x)": chain,
    "products of 8 x 8": products,
    "CNN, one image": lambda worker: cnn(worker, training=False),
    "CNN, one image, training": lambda worker: cnn(worker, training=True),
}


class ProgramTask:
    """Measures {"both 1": ns, "both 2": ns}, or "forward" where there are no gradients; `ns` is the last of them."""

    def __init__(self, worker: Any, case: dict) -> None:
        self.worker = worker
        step, leaves = PROGRAMS[case["program"]](worker)
        self.mode = "both" if leaves else "forward"

        def call():
            y = step()
            if leaves:
                for leaf in leaves:
                    worker.clear(leaf)
                y.backward()
            return [y, *[leaf.grad for leaf in leaves]]

        self.run, self.check = repeat(call), sample(*map(worker.array, call()))

    def measure(self, seconds: float) -> dict:
        times = {}
        for n in THREADS:
            self.worker.set_threads(n)
            times[f"{self.mode} {n}"] = stopwatch(self.run, seconds / len(THREADS), chunk=CHUNK)[
                "ns"
            ]
        self.worker.set_threads(max(THREADS))
        return {"ns": times[f"{self.mode} {n}"], "times": times}
