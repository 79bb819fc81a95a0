"""The cases of test_torch.py for `minidl/ops/arrays` and some reductions: (name, ours, theirs, inputs).

Elementary functions have the same name in both, and are compared without a case of their own.
"""

import numpy as np
import pytest

from minidl import ops

from .table import normal, positive, spread
from .table_arrays import COUNTS, with_ties, with_zeros

torch = pytest.importorskip("torch")


def rows_of_extremes(rng):
    return [np.array([[-np.inf, 0.0, 1.0], [700.0, 800.0, 800.0], [-1e3, -2e3, -1e3]])]


def at_special_places(rng):
    return [np.array([0.0, -0.0, 1e-30, -3.0, 50.0, 1e5, -1e7, 2.5e30])]


CASES = [
    ("sin/far", ops.sin, torch.sin, at_special_places),
    ("cos/far", ops.cos, torch.cos, at_special_places),
    ("erf/far", ops.erf, torch.erf, at_special_places),
    ("arctan", ops.arctan, torch.arctan, at_special_places),
    ("sign", ops.sign, torch.sign, lambda rng: [np.array([-2.0, 0.0, 3.0])]),
    ("floor", ops.floor, torch.floor, lambda rng: [np.array([-2.5, -2.0, 0.3])]),
    ("prod", lambda x: ops.prod(x, 1), lambda x: torch.prod(x, 1), with_zeros),
    ("prod/all", ops.prod, torch.prod, positive((3, 5))),
    ("norm/0", ops.norm, torch.norm, lambda rng: [np.zeros(3)]),
    (
        "norm/1 at 0",
        lambda x: ops.norm(x, 1),
        lambda x: torch.norm(x, 1),
        lambda rng: [np.arange(-1.0, 2)],
    ),
    ("norm/3", lambda x: ops.norm(x, 3, 1), lambda x: torch.norm(x, 3, 1), normal((3, 4))),
    (
        "norm/inf",
        lambda x: ops.norm(x, np.inf, 0),
        lambda x: torch.norm(x, np.inf, 0),
        spread((3, 4)),
    ),
    (
        "logsumexp",
        lambda x: ops.logsumexp(x, 1, True),
        lambda x: torch.logsumexp(x, 1, True),
        normal((3, 40)),
    ),
    (
        "logsumexp/axes",
        lambda x: ops.logsumexp(x, (0, 2)),
        lambda x: torch.logsumexp(x, (0, 2)),
        normal((3, 2, 4)),
    ),
    (
        "logsumexp/extremes",
        lambda x: ops.logsumexp(x, 1),
        lambda x: torch.logsumexp(x, 1),
        rows_of_extremes,
    ),
    ("cumsum", lambda x: ops.cumsum(x, 1), lambda x: torch.cumsum(x, 1), normal((3, 4))),
    ("sort", lambda x: ops.sort(x, 0), lambda x: torch.sort(x, 0).values, spread((5, 3))),
    (
        "sort/ties",
        lambda x: ops.sort(x),
        lambda x: torch.sort(x, stable=True).values,
        with_ties,
    ),
    (
        "split",
        lambda x: ops.split(x, [1, 3], 1)[1],
        lambda x: torch.split(x, [1, 2, 1], 1)[1],
        normal((3, 4)),
    ),
    ("unstack", lambda x: ops.unstack(x, 1)[2], lambda x: torch.unbind(x, 1)[2], normal((3, 4))),
    ("repeat", lambda x: ops.repeat(x, 2, 1), lambda x: x.repeat_interleave(2, 1), normal((3, 4))),
    (
        "repeat/each",
        lambda x: ops.repeat(x, COUNTS, 0),
        lambda x: x.repeat_interleave(torch.tensor(COUNTS), 0),
        normal((3, 4)),
    ),
    ("tile", lambda x: ops.tile(x, (2, 1, 3)), lambda x: torch.tile(x, (2, 1, 3)), normal((3, 4))),
    ("flip", lambda x: ops.flip(x, (0, 1)), lambda x: torch.flip(x, (0, 1)), normal((3, 4))),
    ("roll", lambda x: ops.roll(x, 5), lambda x: torch.roll(x, 5), normal((3, 4))),
    (
        "roll/axes",
        lambda x: ops.roll(x, (1, -6), (1, 0)),
        lambda x: torch.roll(x, (1, -6), (1, 0)),
        normal((3, 4)),
    ),
    ("outer", ops.outer, torch.outer, normal((3,), (4,))),
    ("tril", lambda x: ops.tril(x, -1), lambda x: torch.tril(x, -1), normal((2, 4, 3))),
    ("triu", lambda x: ops.triu(x, 1), lambda x: torch.triu(x, 1), normal((3, 4))),
]
