"""The one table that drives the gradient checks: what is called, on what, to which order.

Everything public in `minidl.ops` and `minidl.functional` has a row here or is listed in
NOT_DIFFERENTIABLE; `test_gradients.py` fails otherwise. An activation's rows follow from its row in
`minidl/ops/activations/table.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minidl import functional as F
from minidl import ops
from minidl.ops.activations.table import ROWS as ACTIVATION_ROWS


@dataclass(frozen=True)
class Row:
    """One function (or one way of calling it) and how its gradients are checked.

    Attributes:
        name: the public name, "ops.x" or "F.x", and after a "/" which way of calling it.
        fn: takes Tensors, returns a Tensor.
        inputs: draws the inputs; kinks and singular points must stay 0.05 away.
        order: how often it is differentiated.
        eps, rtol: of `check_grads`.
        single: allowed difference of float32 gradients, relative to the greatest; None opts out.
        levels: it reaches compiled kernels and runs at every CPU level.
    """

    name: str
    fn: Callable[..., Any]
    inputs: Callable[[np.random.Generator], list]
    order: int = 2
    eps: float = 1e-6
    rtol: float = 1e-5
    single: float | None = 1e-5
    levels: bool = False

    @property
    def covers(self) -> str:
        return self.name.split("/")[0]


def normal(*shapes: tuple[int, ...]) -> Callable:
    """Normal numbers, none closer than 0.05 to 0: the kink of abs, relu and others."""
    return lambda rng: [_away(rng.standard_normal(shape), (0.0,)) for shape in shapes]


def positive(*shapes: tuple[int, ...]) -> Callable:
    return lambda rng: [rng.uniform(0.5, 2.0, shape) for shape in shapes]


def both(*samplers: Callable) -> Callable:
    return lambda rng: [x for sampler in samplers for x in sampler(rng)]


def spread(*shapes: tuple[int, ...]) -> Callable:
    """Numbers at least 0.2 apart, so that the order of no two of them is in doubt."""

    def draw(rng):
        sizes = [int(np.prod(shape)) for shape in shapes]
        values = rng.permutation(np.arange(sum(sizes)) - sum(sizes) / 2 + 0.3) * 0.2
        pieces = np.split(values, np.cumsum(sizes)[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]

    return draw


def _away(x: np.ndarray, kinks: tuple[float, ...]) -> np.ndarray:
    for kink in kinks:
        x = np.where(np.abs(x - kink) < 0.05, kink + np.where(x > kink, 0.1, -0.1), x)
    return x


def probabilities(*shape: int) -> Callable:
    return lambda rng: [rng.dirichlet(np.ones(shape[-1]), shape[:-1])]


def unit(*shape: int) -> Callable:
    return lambda rng: [rng.uniform(0.1, 0.9, shape)]


MASK = np.array([[True], [False], [True]])
IDS = np.array([[0, 2], [1, 2]])

train_rrelu = partial(F.rrelu, training=True, rng=3)
wide_rrelu = partial(F.rrelu, lower=-2.0, upper=3.0, training=True, rng=3)


def place_rrelu(x):
    return F.rrelu(x * 1.5, training=True, rng=3, inplace=True)


# What affine applies in the same pass.
FUSED = [row.name for row in ACTIVATION_ROWS if row.has_slope_from_y and not row.required]

ROWS = [
    # Arithmetic
    Row("ops.add", ops.add, normal((3, 4), (4,))),
    Row("ops.add/operators", lambda x: 2 + x + np.float32(1) + 1, normal((3,))),
    Row("ops.add/to itself", lambda x: x + x, normal((3,))),
    Row("ops.sub", ops.sub, normal((3, 1), (3, 4))),
    Row("ops.sub/from a number", lambda x: 1 - x, normal((3,))),
    Row("ops.mul", ops.mul, normal((2, 1, 4), (3, 1))),
    Row("ops.mul/0-d", ops.mul, normal((), (3,))),
    Row("ops.div", ops.div, both(normal((3, 4)), positive((4,)))),
    Row("ops.div/a number", lambda x: 2 / x, positive((3,))),
    Row("ops.neg", ops.neg, normal((3,))),
    Row("ops.pow", ops.pow, both(positive((3, 4)), normal((4,)))),
    Row("ops.pow/2", lambda x: x**2, normal((3,)), order=3),
    Row("ops.pow/3", lambda x: x**3, normal((3,)), order=3, levels=True),
    Row("ops.pow/-1", lambda x: x**-1, positive((3,)), order=3, rtol=1e-4, levels=True),
    Row("ops.pow/0.5", lambda x: x**0.5, positive((3,)), order=3, rtol=1e-4, levels=True),
    Row("ops.pow/1.7", lambda x: x**1.7, positive((3,)), order=3, rtol=1e-4, levels=True),
    Row("ops.pow/1", lambda x: x**1, normal((3,))),
    Row("ops.pow/0", lambda x: x**0, normal((3,))),
    Row("ops.pow/-1.5", lambda x: x**-1.5, positive((3,)), order=3, rtol=1e-4),
    Row("ops.pow/of a number", lambda x: 2**x, normal((3,))),
    Row(
        "ops.pow/whole exponents", lambda x, p: x**p, lambda rng: [rng.normal(size=3), np.arange(3)]
    ),
    Row("ops.exp", ops.exp, normal((3, 2)), order=3),
    Row("ops.log", ops.log, positive((3, 2)), order=3, rtol=1e-4),
    Row("ops.sqrt", ops.sqrt, positive((3, 2)), order=3, rtol=1e-4),
    Row("ops.abs", ops.abs, normal((3, 4)), levels=True),
    Row("ops.clip", lambda x: ops.clip(x, -0.5, 0.5), spread((9,)), levels=True),
    Row("ops.clip/one side", lambda x: ops.clip(x, min=0.1), spread((9,))),
    Row("ops.maximum", ops.maximum, spread((3, 4), (4,)), levels=True),
    Row("ops.maximum/a number", lambda x: ops.maximum(x, 0.07), spread((3, 4))),
    Row("ops.minimum", ops.minimum, spread((3, 1), (3, 4)), levels=True),
    Row("ops.where", lambda x, y: ops.where(MASK, x, y), normal((3, 2), (2,)), levels=True),
    Row("ops.where/one side", lambda x: ops.where(MASK, 0.0, x), normal((3, 2))),
    # float32 keeps 7 digits: a linear function and a wide step check the cast and its gradient.
    Row("ops.astype", lambda x: ops.astype(x, "float32"), normal((3,)), eps=1e-2, rtol=1e-4),
    # Shapes and indexing
    Row("ops.reshape", lambda x: ops.reshape(x, 2, -1), normal((3, 4))),
    Row("ops.transpose", ops.transpose, normal((2, 3, 4))),
    Row("ops.transpose/axes", lambda x: ops.transpose(x, 1, -1, 0), normal((2, 3, 4))),
    Row("ops.flatten", lambda x: ops.flatten(x, 1), normal((2, 3, 2))),
    Row("ops.squeeze", lambda x: ops.squeeze(x, (0, -1)), normal((1, 3, 1))),
    Row("ops.expand_dims", lambda x: ops.expand_dims(x, (0, 2)), normal((3, 2))),
    Row("ops.broadcast_to", lambda x: ops.broadcast_to(x, (2, 3, 4)), normal((3, 1))),
    Row("ops.pad", lambda x: ops.pad(x, ((1, 0), (2, 3)), 7.0), normal((3, 2))),
    Row("ops.concatenate", lambda x, y: ops.concatenate([x, y, x], -1), normal((2, 3), (2, 1))),
    Row("ops.stack", lambda x, y: ops.stack([x, y], 1), normal((2, 3), (2, 3))),
    Row("ops.getitem/slices", lambda x: x[1:, None, ::-2], normal((3, 4))),
    Row("ops.getitem/number", lambda x: x[-1, ...], normal((3, 4))),
    Row("ops.getitem/repeated ids", lambda x: x[[0, 0, 2]], normal((3, 4))),
    Row("ops.getitem/ids in a tuple", lambda x: x[(0, 0, 2),], normal((3, 4))),
    Row("ops.getitem/ids and slice", lambda x: x[IDS, 1:], normal((3, 4))),
    Row("ops.getitem/mask", lambda x: x[MASK[:, 0]], normal((3, 4))),
    # Reductions
    Row("ops.sum", ops.sum, normal((3, 4))),
    Row("ops.sum/axis", lambda x: ops.sum(x, (0, -1)), normal((2, 3, 4))),
    Row("ops.sum/keepdims", lambda x: ops.sum(x, 1, keepdims=True), normal((2, 3))),
    Row("ops.mean", lambda x: ops.mean(x, 0), normal((3, 4))),
    Row("ops.var", lambda x: ops.var(x, 1, ddof=1), normal((3, 4))),
    Row("ops.std", lambda x: ops.std(x, 0, keepdims=True), normal((3, 4)), rtol=1e-4),
    Row("ops.max", lambda x: ops.max(x, 1), spread((3, 4)), levels=True),
    Row("ops.max/all", ops.max, spread((3, 4)), levels=True),
    Row("ops.min", lambda x: ops.min(x, (0, 2), keepdims=True), spread((2, 3, 4))),
    # Products
    Row("ops.matmul", ops.matmul, normal((3, 4), (4, 2))),
    Row("ops.matmul/batch", ops.matmul, normal((2, 3, 4), (4, 2))),
    Row("ops.matmul/broadcast", ops.matmul, normal((2, 1, 3, 4), (3, 4, 2))),
    Row("ops.matmul/vector", ops.matmul, normal((3, 4), (4,))),
    Row("ops.matmul/vector first", ops.matmul, normal((4,), (2, 4, 3))),
    Row("ops.matmul/dot", ops.matmul, normal((4,), (4,))),
    Row("ops.einsum", lambda x, y: ops.einsum("ij,jk->ki", x, y), normal((2, 3), (3, 2))),
    Row("ops.einsum/diagonal", lambda x: ops.einsum("iji->j", x), normal((3, 2, 3))),
    Row("ops.einsum/dots", lambda x, y: ops.einsum("...ij,jk", x, y), normal((2, 2, 3), (3, 2))),
    Row("ops.einsum/summed", lambda x, y: ops.einsum("ij,k->j", x, y), normal((2, 3), (2,))),
    Row("ops.einsum/of length 1", lambda x, y: ops.einsum("i,i->", x, y), normal((3,), (1,))),
    Row(
        "ops.einsum/three",
        lambda x, y, z: ops.einsum("ij,jk,kl->il", x, y, z),
        normal((2, 3), (3, 2), (2, 2)),
    ),
    Row("F.affine", F.affine, normal((3, 4), (2, 4), (2,)), levels=True),
    Row("F.affine/no bias", F.affine, normal((2, 3, 4), (2, 4)), levels=True),
    Row("F.affine/one sample", F.affine, normal((4,), (2, 4), (2,)), levels=True),
    *[
        Row(
            f"F.affine/{name}",
            lambda x, w, b, name=name: F.affine(x, w, b, activation=name),
            normal((2, 3, 4), (5, 4), (5,)),
            order=3,
            rtol=1e-4,
            single=1e-4,
            levels=True,
        )
        for name in FUSED
    ],
    Row("F.conv", F.conv, normal((2, 3, 4, 5), (4, 3, 3, 2), (4,)), levels=True),
    Row(
        "F.conv/stride, padding, dilation, groups",
        lambda x, w, b: F.conv(x, w, b, (2, 1), (1, 2), (1, 2), 2),
        normal((2, 4, 6, 5), (6, 2, 3, 2), (6,)),
        levels=True,
    ),
    Row("F.conv/1 axis", lambda x, w: F.conv(x, w, None, 2), normal((2, 3, 9), (2, 3, 4))),
    Row("F.conv/3 axes", F.conv, normal((1, 2, 3, 4, 3), (2, 2, 2, 3, 1), (2,)), levels=True),
    Row(
        "F.conv/elu",
        lambda x, w, b: F.conv(x, w, b, activation="elu"),
        normal((2, 2, 4, 3), (3, 2, 2, 2), (3,)),
        rtol=1e-4,
        single=1e-4,
        levels=True,
    ),
    Row(
        "F.conv_transpose", F.conv_transpose, normal((2, 3, 3, 2), (3, 4, 2, 3), (4,)), levels=True
    ),
    Row(
        "F.conv_transpose/stride, padding, output_padding, groups, dilation",
        lambda x, w, b: F.conv_transpose(x, w, b, (2, 1), (1, 2), (1, 0), 2, (1, 3)),
        normal((2, 4, 3, 4), (4, 3, 4, 2), (6,)),
        levels=True,
    ),
    Row(
        "F.conv_transpose/1 axis",
        lambda x, w: F.conv_transpose(x, w, None, 2),
        normal((2, 3, 5), (3, 2, 4)),
    ),
    Row(
        "F.conv_transpose/3 axes, tanh",
        lambda x, w: F.conv_transpose(x, w, stride=2, activation="tanh"),
        normal((1, 2, 2, 3, 2), (2, 2, 2, 3, 1)),
        rtol=1e-4,
        single=1e-4,
    ),
    # Layers
    Row("F.embedding", lambda w: F.embedding(IDS, w), normal((3, 2)), levels=True),
    Row("F.dropout", lambda x: F.dropout(x, 0.5, rng=3), normal((3, 4)), order=3, levels=True),
    Row("F.dropout/evaluating", lambda x: F.dropout(x, 0.5, training=False), normal((3,))),
    Row(
        "F.layer_norm",
        lambda x, w, b: F.layer_norm(x, 4, w, b),
        normal((3, 4), (4,), (4,)),
        rtol=1e-4,
        single=1e-4,
        levels=True,
    ),
    Row(
        "F.layer_norm/two axes, plain",
        lambda x: F.layer_norm(x, (2, 3), eps=0.1),
        normal((2, 2, 3)),
        rtol=1e-4,
        levels=True,
    ),
    Row("F.dropout/all", lambda x: F.dropout(x, 1.0, rng=3), normal((3,)), levels=True),
    # Activations that are not rows of their own table
    Row("F.identity", F.identity, normal((3,))),
    Row("F.prelu", F.prelu, both(normal((2, 3, 4)), positive((3,))), order=3, levels=True),
    Row("F.prelu/one", F.prelu, both(normal((2, 3)), positive((1,))), order=3, levels=True),
    Row("F.prelu/0-d slope", F.prelu, both(normal((2, 3)), positive(())), levels=True),
    Row(
        "F.prelu/last axis",
        lambda x, a: F.prelu(x, a, -1),
        both(normal((2, 3, 4)), positive((4,))),
        levels=True,
    ),
    Row(
        "F.prelu/axes apart",
        lambda x, a: F.prelu(x, a, (2, 0)),
        both(normal((2, 3, 4)), positive((4, 2))),
        levels=True,
    ),
    Row(
        "F.prelu/an element",
        lambda x, a: F.prelu(x, a, None),
        both(normal((2, 3, 4)), positive((3, 4))),
        levels=True,
    ),
    Row(
        "F.prelu/in place",
        lambda x, a: F.prelu(x * 1.5, a, inplace=True),
        both(normal((2, 3, 4)), positive((3,))),
        order=3,
        levels=True,
    ),
    Row(
        "F.prelu/in place, one",
        lambda x, a: F.prelu((x * 1.5).T, a, None, inplace=True),
        both(normal((2, 3)), positive((1,))),
        levels=True,
    ),
    Row("F.softmax", F.softmax, normal((3, 4)), order=3, rtol=1e-4, levels=True),
    Row("F.softmax/axis 0", lambda x: F.softmax(x, 0), normal((3, 2, 2)), rtol=1e-4, levels=True),
    Row("F.log_softmax", F.log_softmax, normal((3, 4)), order=3, rtol=1e-4, levels=True),
    Row("F.log_softmax/1-d", F.log_softmax, normal((4,)), levels=True),
    Row("F.rrelu", F.rrelu, normal((3, 4)), order=3, levels=True),
    Row("F.rrelu/training", train_rrelu, normal((9, 9)), order=3, levels=True),
    Row("F.rrelu/training, a wide range", wide_rrelu, normal((9, 9)), levels=True),
    Row("F.rrelu/in place", place_rrelu, normal((9, 9)), levels=True),
    Row("F.maxout", lambda x: F.maxout(x, 2), spread((3, 6)), order=3, levels=True),
    Row("F.maxout/3 pieces", lambda x: F.maxout(x, 3, 0), spread((6, 4)), order=3, levels=True),
    Row("F.maxout/image", lambda x: F.maxout(x, 2, 1), spread((2, 4, 3, 2)), levels=True),
    Row("F.maxout/5 pieces", lambda x: F.maxout(x, 5, -1), spread((3, 10)), levels=True),
    Row("F.crelu", F.crelu, normal((3, 4)), order=3, levels=True),
    Row("F.crelu/axis 2", lambda x: F.crelu(x, 2), normal((2, 3, 2, 2)), levels=True),
    Row("F.glu", F.glu, normal((3, 6)), order=3, rtol=1e-4, single=1e-4, levels=True),
    Row("F.glu/axis 1", lambda x: F.glu(x, 1), normal((2, 4, 3)), order=3, rtol=1e-4, levels=True),
    # Losses
    Row("F.cross_entropy", lambda x: F.cross_entropy(x, [0, 2, 1]), normal((3, 4)), levels=True),
    Row(
        "F.cross_entropy/sum",
        lambda x: F.cross_entropy(x, [0, 2], "sum"),
        normal((2, 3)),
        levels=True,
    ),
    Row(
        "F.cross_entropy/image",
        lambda x: F.cross_entropy(x, IDS, "none"),
        normal((2, 3, 2)),
        levels=True,
    ),
    Row("F.cross_entropy/one sample", lambda x: F.cross_entropy(x, 1), normal((3,)), levels=True),
    Row(
        "F.cross_entropy/probabilities",
        F.cross_entropy,
        both(normal((3, 4)), probabilities(3, 4)),
        levels=True,
    ),
    Row("F.nll_loss", lambda x: F.nll_loss(x, [0, 2, 1]), normal((3, 4))),
    Row("F.nll_loss/none", lambda x: F.nll_loss(x, IDS, "none"), normal((2, 3, 2))),
    Row(
        "F.binary_cross_entropy",
        F.binary_cross_entropy,
        both(unit(3), unit(3)),
        rtol=1e-4,
        levels=True,
    ),
    Row(
        "F.binary_cross_entropy_with_logits",
        F.binary_cross_entropy_with_logits,
        both(normal((3,)), unit(3)),
        levels=True,
    ),
    Row(
        "F.binary_cross_entropy_with_logits/none",
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, "none"),
        both(normal((2, 3)), unit(2, 3)),
        levels=True,
    ),
    Row("F.mse_loss/sum", lambda x, t: F.mse_loss(x, t, "sum"), normal((3, 2), (3, 2))),
    Row("F.mse_loss", F.mse_loss, normal((3, 2), (3, 2)), levels=True),
    Row("F.l1_loss", lambda x, t: F.l1_loss(x, t, "sum"), spread((3,), (3,)), levels=True),
    Row(
        "F.huber_loss",
        lambda x, t: F.huber_loss(x, t, "sum", 0.61),
        spread((5,), (5,)),
        levels=True,
    ),
]

# The losses in ops are those in F.
ALIASES = {
    name: f"F.{name}"
    for name in F.__all__
    if hasattr(ops, name) and getattr(ops, name) is getattr(F, name)
}

NOT_DIFFERENTIABLE = {
    "ops.equal",
    "ops.not_equal",
    "ops.less",
    "ops.less_equal",
    "ops.greater",
    "ops.greater_equal",
    "F.one_hot",
    "ops.inplace",  # test_inplace_operators.py has its gradients
}

# Op classes that no row records, and why.
NOT_RECORDED: dict[str, str] = {
    "Gate": "what Maxout, CReLU and GLU share",
    "ElementLoss": "what the losses of one number and its target have in common",
    "RowNorm": "what LayerNorm, GroupNorm and InstanceNorm share",
    "Elementary": "what Sin, Cos and others share",
    "Flat": "what Sign and Floor share",
    "EinsumOfIntegers": "has no gradients",
    "_ThroughBarrier": "of a module's backward hook",
    "_Barrier": "of a module's backward hook",
    "Recurrence": "what RNN, LSTM and GRU share",
    "_Fused": "what Conv and ConvTranspose share",
    "ShardSum": "of several ranks; tests/distributed has its gradients",
    "MaxPoolGather": "only the gradient of MaxPoolScatter has it, as the checks to second order do",
}


def _activation(row: Any, params: dict[str, float], variant: str = "") -> Row:
    function = F.FUNCTIONS[row.name]
    kinks = row.kinks(*params.values())
    return Row(
        f"F.{row.name}{variant}",
        lambda x: function(x, **params),
        lambda rng: [_away(2 * rng.standard_normal((3, 5)), kinks)],
        order=3,
        rtol=1e-4,
        single=1e-4,
        levels=True,
    )


def _inplace(row: Any) -> Row:
    function = F.FUNCTIONS[row.name]
    plain = _activation(row, row.params, "/in place")
    # order 2: the next one differentiates a slope that was found from y, once more
    return Row(
        plain.name,
        lambda x: function(x * 1.5, **row.params, inplace=True),
        plain.inputs,
        rtol=1e-4,
        levels=True,
    )


for _row in ACTIVATION_ROWS:
    ROWS.append(_activation(_row, _row.params))
    if _row.params:
        _other = {name: 1.5 * value if value else 0.3 for name, value in _row.params.items()}
        ROWS.append(
            _activation(_row, _other, "/" + ", ".join(f"{k}={v:g}" for k, v in _other.items()))
        )
    if _row.inplace:
        ROWS.append(_inplace(_row))

from . import table_arrays, table_images, table_losses, table_sequences  # noqa: E402  (they need what is above)

ROWS += table_arrays.ROWS + table_images.ROWS + table_losses.ROWS + table_sequences.ROWS
NOT_DIFFERENTIABLE |= table_arrays.NOT_DIFFERENTIABLE
