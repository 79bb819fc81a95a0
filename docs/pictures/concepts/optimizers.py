"""Pictures of docs/concepts/optimizers.md."""

from collections.abc import Callable, Iterator

import numpy as np
import svg

START, STEPS = np.array([-9.0, 1.4]), 50
SPREAD = np.array([0.01, 1.0])  # L = (0.01 x² + y²) / 2: a hundred times as steep across as along


def sgd(rate: float, momentum: float) -> Iterator[np.ndarray]:
    p, m = START, np.zeros(2)
    for _ in range(STEPS):
        yield p
        m = momentum * m + SPREAD * p
        p = p - rate * m


def adam(rate: float) -> Iterator[np.ndarray]:
    p, m, v = START, np.zeros(2), np.zeros(2)
    for t in range(1, STEPS + 1):
        yield p
        g = SPREAD * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - rate * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def valley() -> svg.Picture:
    """Steps down a narrow valley."""
    ways: dict[str, Callable[[], Iterator[np.ndarray]]] = {
        "SGD, lr 1.7": lambda: sgd(1.7, 0.0),
        "momentum 0.9, lr 0.4": lambda: sgd(0.4, 0.9),
        "Adam, lr 0.4": lambda: adam(0.4),
    }
    lines = {name: np.stack(list(way())) for name, way in ways.items()}
    return svg.plot(
        lines, "along the valley", "across", f"{STEPS} steps towards (0, 0)", markers=True
    )


def bias() -> svg.Picture:
    """The factor by which Adam's steps would be too long without its correction."""
    t = np.unique(np.round(np.logspace(0, 4, 60)))
    return svg.plot(
        [(t, (1 - 0.9**t) / np.sqrt(1 - 0.999**t))], "step t", "times too long",
        "Adam without bias correction", logx=True,
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/optimizers": valley(), "concepts/adam_bias": bias()}
