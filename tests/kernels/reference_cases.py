"""Sizes and samplers of test_against_reference.py, and what it gives the kernels of noise, gates and scan.pyx."""

from collections.abc import Callable

import numpy as np

LENGTHS = [(n,) for n in (*range(1, 68), 16384, 16385, 40_000)]
FEW = [(0,), (), (3, 5), (2, 0), (2, 3, 4), (17,), (20_000,)]
MATRICES = [
    (0, 3),
    (1, 1),
    (3, 10),
    (2, 0),
    (5, 67),
    (700, 10),
    (5, 16),
    (3, 7000),
    (1, 40_000),
    (33, 5),
]
MATRICES += [(2, n) for n in range(2, 20)]
MATRICES += [(1100, 2), (261, 3), (67, 4), (75, 15)]  # more than a block; no whole vectors of rows


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape))


def with_zeros(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Every seventh number is on a kink. (Gradients have no zeros: they would hide it.)"""
    x = normal(rng, *shape)
    x.reshape(-1)[::7] = 0
    return x


def choice(rng, high, *shape):
    return rng.integers(0, high, shape).astype(np.uint16)


PARTS = [(7, k, m) for k in (1, 2, 3, 4, 7) for m in (1, 2, 17)]  # (rows, parts, m)
PARTS += [(n, k, 1) for n in (255, 256, 257, 20_000) for k in (2, 5)]
PARTS += [(0, 2, 3), (3, 2, 0), (2, 3, 16384), (2, 2, 16385), (3000, 2, 9)]

NOISE_AND_GATES: dict[str, list[tuple[str, Callable, list]]] = {
    "rrelu_forward": [
        ("", lambda rng, *s: (with_zeros(rng, *s), 0.125, 0.25, 2**40 + 7), LENGTHS + FEW),
        ("negative", lambda rng, *s: (with_zeros(rng, *s), -3.0, 2.0, 7), FEW),
        ("relu", lambda rng, *s: (with_zeros(rng, *s), 0.0, 0.0, 7), FEW),
    ],
    "dropout_forward": [
        (f"{p:g}", lambda rng, *s, p=p: (with_zeros(rng, *s), p, 2**53 - 1), LENGTHS + FEW)
        for p in (0.3, 1.0, 1e-12)
    ],
    "noise_backward": [("", lambda rng, *s: (with_zeros(rng, *s), normal(rng, *s)), LENGTHS + FEW)],
    "maxout_forward": [("", lambda rng, *s: (normal(rng, *s).round(1),), PARTS)],
    "maxout_backward": [
        (
            "",
            lambda rng, *s: (normal(rng, s[0], s[2]), choice(rng, s[1], s[0], s[2]), s[1]),
            PARTS,
        )
    ],
    "crelu_forward": [("", lambda rng, *s: (with_zeros(rng, *s),), MATRICES)],
    "crelu_backward": [
        ("", lambda rng, n, m: (with_zeros(rng, n, m), normal(rng, n, 2, m)), MATRICES)
    ],
    "glu_forward": [("", lambda rng, n, m: (3 * normal(rng, n, 2, m),), MATRICES)],
    "glu_backward": [
        ("", lambda rng, n, m: (3 * normal(rng, n, 2, m), normal(rng, n, m)), MATRICES)
    ],
}


def factors(rng, *shape):
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def with_extrema(rng, *shape):
    """Elements, many of which are equal, the greatest of each row, and its gradient."""
    x = normal(rng, *shape).round(1)
    return x, x.max(1), normal(rng, shape[0])


FACTORS = [(0, 3), (1, 1), (3, 10), (2, 0), (5, 67), (700, 10), (5, 16), (33, 5), (4, 300)]

OF_ROWS: dict[str, list[tuple[str, Callable, list]]] = {
    "prod_rows": [
        ("", lambda rng, *s: (factors(rng, *s),), MATRICES),
        ("columns", lambda rng, *s: (np.asfortranarray(factors(rng, *s)),), MATRICES),
    ],
    "prod_rows_backward": [
        ("", lambda rng, *s: (factors(rng, *s), normal(rng, s[0])), FACTORS),
        ("zeros", lambda rng, *s: (with_zeros(rng, *s), normal(rng, s[0])), FACTORS),
    ],
    "extremum_rows_backward": [("", with_extrema, [shape for shape in MATRICES if shape[1]])],
}


def scores(rng: np.random.Generator, *shape: int) -> tuple:
    return (3 * normal(rng, *shape),)


def probabilities(rng: np.random.Generator, *shape: int) -> np.ndarray:
    e = np.exp(normal(rng, *shape))
    return e / e.sum(1, keepdims=True)


def scores_and_targets(rng: np.random.Generator, outer: int, n: int, *inner: int) -> tuple:
    rows = outer * int(np.prod(inner, dtype=int))
    return *scores(rng, outer, n, *inner), rng.integers(0, n, rows)


def slopes_and_targets(rng: np.random.Generator, outer: int, n: int, *inner: int) -> tuple:
    """A gradient for each row, or one for all; targets, the shape of the scores, a divisor."""
    rows = outer * int(np.prod(inner, dtype=int))
    target = rng.integers(0, max(n, 1), rows)
    if rng.random() < 0.5:
        return normal(rng, rows), target, (outer, n, *inner)
    return normal(rng), target, (outer, n, *inner), 7.0


# (outer, n, inner): odd numbers of columns, several blocks of them, sums of several chains, no columns
_COLUMNS = [
    (2, 5, 16),
    (1, 1, 17),
    (3, 21, 33),
    (1, 256, 19),
    (2, 40, 300),
    (1, 7, 520),
    (5, 3, 4097),
    (0, 4, 20),
]
OF_COLUMNS: dict[str, list[tuple[str, Callable, list]]] = {
    "softmax_forward": [("columns", scores, _COLUMNS)],
    "log_softmax_forward": [("columns", scores, _COLUMNS)],
    "softmax_backward": [
        ("columns", lambda rng, *s: (probabilities(rng, *s), normal(rng, *s)), _COLUMNS)
    ],
    "log_softmax_backward": [
        ("columns", lambda rng, *s: (np.log(probabilities(rng, *s)), normal(rng, *s)), _COLUMNS)
    ],
    "cross_entropy_forward": [
        ("columns", scores_and_targets, _COLUMNS),
        ("scaled columns", lambda rng, *s: (*scores_and_targets(rng, *s), 0.3), _COLUMNS),
    ],
    "nll_forward": [("columns", scores_and_targets, [*_COLUMNS, (3, 4, 1), (2, 3, 0)])],
    "nll_backward": [("columns", slopes_and_targets, [*_COLUMNS, (3, 4, 1), (2, 3, 0)])],
    "cross_entropy_backward": [
        ("columns", lambda rng, *s: (probabilities(rng, *s), normal(rng), 0.3), _COLUMNS)
    ],
}

_CLASSES = [shape for shape in MATRICES if shape[1]]
OF_ROWS |= {
    "nll_forward": [("", scores_and_targets, _CLASSES)],
    "nll_backward": [("", slopes_and_targets, _CLASSES)],
}
