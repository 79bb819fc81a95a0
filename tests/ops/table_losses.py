"""The rows of table.py for losses with weights, and for those made of other operations."""

from __future__ import annotations

import numpy as np

from minidl import functional as F

from .table import Row, both, normal, probabilities, spread, unit

CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 3.0])
TARGETS = np.array([0, 2, -100, 1])
IMAGE = np.array([[0, 2], [3, 1]])
COLUMN_IDS = np.arange(40).reshape(2, 4, 5) % 3
SIGNS = np.array([1, -1, 1, -1, 1, 1])


def logs(rng: np.random.Generator) -> list:
    return [np.log(rng.dirichlet(np.ones(4), 3)) for _ in range(2)]


ROWS = [
    Row("F.softmax/columns", lambda x: F.softmax(x, 1), normal((2, 3, 17)), rtol=1e-4, levels=True),
    Row(
        "F.log_softmax/columns",
        lambda x: F.log_softmax(x, 1),
        normal((2, 3, 4, 4)),
        order=3,
        rtol=1e-4,
        levels=True,
    ),
    Row(
        "F.cross_entropy/columns",
        lambda x: F.cross_entropy(x, COLUMN_IDS),
        normal((2, 3, 4, 5)),
        levels=True,
    ),
    Row(
        "F.cross_entropy/columns, none",
        lambda x: F.cross_entropy(x, COLUMN_IDS, "none"),
        normal((2, 3, 4, 5)),
        levels=True,
    ),
    Row("F.nll_loss/columns", lambda x: F.nll_loss(x, COLUMN_IDS), normal((2, 3, 4, 5))),
    Row(
        "F.cross_entropy/weights, ignored, smoothed",
        lambda x: F.cross_entropy(x, TARGETS, "mean", CLASS_WEIGHTS, -100, 0.2),
        normal((4, 4)),
    ),
    Row(
        "F.cross_entropy/image with ignored classes",
        lambda x: F.cross_entropy(x, IMAGE, "none", ignore_index=2),
        normal((2, 4, 2)),
    ),
    Row(
        "F.cross_entropy/probabilities, weights, smoothed",
        lambda x, t: F.cross_entropy(x, t, "mean", CLASS_WEIGHTS, label_smoothing=0.2),
        both(normal((3, 4)), probabilities(3, 4)),
    ),
    Row(
        "F.nll_loss/weights, ignored",
        lambda x: F.nll_loss(x, TARGETS, "mean", CLASS_WEIGHTS),
        normal((4, 4)),
    ),
    Row(
        "F.binary_cross_entropy/weight",
        lambda p, t, w: F.binary_cross_entropy(p, t, "sum", w),
        both(unit(2, 3), unit(2, 3), unit(3)),
        rtol=1e-4,
    ),
    Row(
        "F.binary_cross_entropy_with_logits/weight, pos_weight",
        lambda x, t, w, p: F.binary_cross_entropy_with_logits(x, t, "mean", w, p),
        both(normal((2, 3)), unit(2, 3), unit(2, 1), unit(3)),
    ),
    Row("F.kl_div", F.kl_div, lambda rng: [logs(rng)[0], np.exp(logs(rng)[0])]),
    Row("F.kl_div/logarithms", lambda x, t: F.kl_div(x, t, "batchmean", True), logs),
    Row("F.hinge_loss", lambda x: F.hinge_loss(x, SIGNS, "sum", 0.83), spread((6,))),
    Row(
        "F.cosine_embedding_loss",
        lambda x, y: F.cosine_embedding_loss(x, y, SIGNS[:3], 0.1),
        normal((3, 5), (3, 5)),
        rtol=1e-4,
    ),
]
