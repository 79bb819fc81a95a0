"""The picture of docs/concepts/cross_entropy.md."""

import numpy as np
import svg


def gradient() -> svg.Picture:
    """Scores (2, 1, -1), true class 1: probabilities, and what the gradient does to each score."""
    e = np.exp([2.0, 1.0, -1.0])
    p = e / e.sum()
    target = np.array([0.0, 1.0, 0.0])
    values = {
        f"class {i}{' (true)' if target[i] else ''}": {"p": p[i], "gradient p − onehot": p[i] - target[i]}
        for i in range(3)
    }  # fmt: skip
    return svg.bars(values, title="Scores 2, 1, −1; the true class is 1", size=(440, 320))


def losses() -> svg.Picture:
    """-log p, whose slope explodes at 0, and the loss as a function of the score, whose slope is at most 1."""
    x = np.linspace(-8, 8, 81)
    return svg.plot(
        {"loss = log(1 + exp(−x))": (x, np.log1p(np.exp(-x))), "its slope p − 1": (x, -1 / (1 + np.exp(x)))},
        "score of the true class, against 0 of the other", title="Sure and wrong: slope −1, not −∞",
        size=(440, 320),
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/cross_entropy": svg.beside(gradient(), losses())}
