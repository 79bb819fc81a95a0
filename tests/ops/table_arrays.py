"""The rows of table.py for `minidl/ops/arrays`, and for reductions that are more than a fold."""

import numpy as np

from minidl import ops

from .table import Row, normal, positive, spread


def with_zeros(rng):
    """Rows with no 0, one and two, for products."""
    x = rng.uniform(0.5, 2, (3, 5)) * rng.choice([-1, 1], (3, 5))
    x[1, 2] = x[2, 0] = x[2, 4] = 0
    return [x]


def with_ties(rng):
    """For a sort that keeps the order of equal elements: their gradients differ."""
    return [rng.permutation(np.repeat(np.arange(4.0), 3)).reshape(3, 4)]


COUNTS = [2, 0, 3]

ROWS = [
    # Elementary functions
    Row("ops.sin", ops.sin, normal((3, 2)), order=3, levels=True),
    Row("ops.cos", ops.cos, normal((3, 2)), order=3, levels=True),
    Row("ops.tan", ops.tan, lambda rng: [rng.uniform(-1, 1, 5)], order=3, rtol=1e-4),
    Row("ops.arctan", ops.arctan, normal((3, 2)), order=3, rtol=1e-4),
    Row("ops.sinh", ops.sinh, normal((3, 2)), order=3),
    Row("ops.cosh", ops.cosh, normal((3, 2)), order=3),
    Row("ops.erf", ops.erf, normal((3, 2)), order=3, rtol=1e-4, levels=True),
    Row("ops.expm1", ops.expm1, normal((3, 2)), order=3, levels=True),
    Row("ops.log1p", ops.log1p, positive((3, 2)), order=3, rtol=1e-4, levels=True),
    Row("ops.log2", ops.log2, positive((3, 2)), order=3, rtol=1e-4),
    Row("ops.rsqrt", ops.rsqrt, positive((3, 2)), order=3, rtol=1e-4, levels=True),
    Row("ops.sign", ops.sign, normal((3, 2))),
    Row("ops.floor", lambda x: ops.floor(3 * x), spread((7,))),
    # Reductions
    Row("ops.prod", lambda x: ops.prod(x, 1), with_zeros),
    Row("ops.prod/all", ops.prod, lambda rng: [rng.uniform(0.5, 1.5, (2, 3))], rtol=1e-4),
    Row("ops.prod/one, two", lambda x: ops.prod(x[:, :1], 1) + ops.prod(x[:, 1:3], 1), with_zeros),
    Row("ops.prod/axes", lambda x: ops.prod(x, (2, 0), keepdims=True), positive((2, 3, 2))),
    Row("ops.norm", ops.norm, normal((3, 4))),
    Row("ops.norm/1", lambda x: ops.norm(x, 1, axis=0), normal((3, 4))),
    Row("ops.norm/3", lambda x: ops.norm(x, 3, (0, 1), True), normal((3, 4)), rtol=1e-4),
    Row("ops.norm/inf", lambda x: ops.norm(x, np.inf, -1), spread((3, 4))),
    Row("ops.logsumexp", ops.logsumexp, normal((3, 4)), order=3, rtol=1e-4, levels=True),
    Row("ops.logsumexp/axis", lambda x: ops.logsumexp(x, 0, True), normal((3, 2)), levels=True),
    Row("ops.logsumexp/axes", lambda x: ops.logsumexp(x, (2, 0)), normal((2, 3, 2)), rtol=1e-4),
    # Running sums and sorting
    Row("ops.cumsum", ops.cumsum, normal((2, 3))),
    Row("ops.cumsum/axis", lambda x: ops.cumsum(x, 0), normal((3, 2))),
    Row("ops.sort", ops.sort, spread((3, 4))),
    Row("ops.sort/axis", lambda x: ops.sort(x, 0), spread((4, 2, 2))),
    Row("ops.sort/one row", lambda x: ops.sort(x, None), spread((2, 3))),
    # Joining and rearranging
    Row("ops.split", lambda x: ops.split(x * x, 2, 1)[1], normal((2, 4))),
    Row("ops.split/all parts", lambda x: merged(ops.split(x, [1, 3])), normal((4, 2))),
    Row("ops.unstack", lambda x: merged(ops.unstack(x, 1)), normal((2, 3))),
    Row("ops.repeat", lambda x: ops.repeat(x, 2), normal((2, 3))),
    Row("ops.repeat/axis", lambda x: ops.repeat(x, 3, 1), normal((2, 3, 2))),
    Row("ops.repeat/each", lambda x: ops.repeat(x, COUNTS, 0), normal((3, 2))),
    Row("ops.tile", lambda x: ops.tile(x, 2), normal((2, 3))),
    Row("ops.tile/new axis", lambda x: ops.tile(x, (2, 1, 3)), normal((2, 3))),
    Row("ops.flip", ops.flip, normal((2, 3))),
    Row("ops.flip/axis", lambda x: ops.flip(x, -1), normal((2, 3))),
    Row("ops.roll", lambda x: ops.roll(x, 2), normal((2, 3))),
    Row("ops.roll/axes", lambda x: ops.roll(x, (1, -2), (0, 1)), normal((3, 4))),
    Row("ops.outer", ops.outer, normal((3,), (2, 2))),
    Row("ops.tril", lambda x: ops.tril(x, 1), normal((2, 3, 4))),
    Row("ops.triu", ops.triu, normal((4, 3))),
]


def merged(parts):
    """A sum of all parts, each with another factor."""
    total = ops.sum(parts[0] * parts[0])
    for i, part in enumerate(parts[1:]):
        total = total + (i + 2) * ops.sum(part * part)
    return total


NOT_DIFFERENTIABLE = {
    "ops.arange", "ops.argmax", "ops.argmin", "ops.argsort", "ops.floor_divide", "ops.full", "ops.logical_and",
    "ops.logical_not", "ops.logical_or", "ops.ones", "ops.randn", "ops.remainder", "ops.zeros",
}  # fmt: skip
