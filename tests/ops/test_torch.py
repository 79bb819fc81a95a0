"""Values and gradients of every op, activation and loss against PyTorch; one table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, ops
from minidl import functional as F
from minidl.ops.activations.table import ROWS as ACTIVATION_ROWS

from .table import FUSED, ROWS, both, normal, positive, probabilities, spread, unit
from .test_gradients import NOT_DIFFERENTIABLE, public_names
from .torch_arrays import CASES as ARRAY_CASES

torch = pytest.importorskip("torch")
G = torch.nn.functional


@dataclass(frozen=True)
class Case:
    """The same function here and there; `inputs` as in table.py (ids and masks pass through)."""

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    inputs: Callable[[np.random.Generator], list]


def same(
    name: str, inputs: Callable, *args: Any, ours: Any = None, theirs: Any = None, **options: Any
) -> Case:
    """A case where both libraries take the same arguments."""
    base = name.split("/")[0]
    ours = ours or getattr(F, base, None) or getattr(ops, base)
    theirs = theirs or getattr(G, base, None) or getattr(torch, base)
    return Case(
        name,
        lambda *xs: ours(*xs, *args, **options),
        lambda *xs: theirs(*xs, *args, **options),
        inputs,
    )


def ids(high: int, *shape: int) -> Callable:
    return lambda rng: [rng.integers(0, high, shape)]


MASK = lambda rng: [rng.random((3, 1)) > 0.5]  # noqa: E731


def groups(x: Any, axis: int, pieces: int) -> Any:
    """The greatest of adjacent channels. (max over an axis: amax would share the gradient at ties.)"""
    return x.unflatten(axis, (-1, pieces)).max(axis + 1).values


def tied(rng: np.random.Generator) -> list:
    """Whole numbers: many equals, and zeros of both signs."""
    return [rng.integers(-1, 2, (40, 6)) * rng.choice([-1.0, 1.0], (40, 6))]


def stats(like: Any = None) -> tuple:
    """Running statistics, here or there."""
    mean, var = np.array([0.5, -1.0, 2.0]), np.array([1.0, 4.0, 0.5])
    return (
        (mean, var) if like is None else (torch.tensor(mean).to(like), torch.tensor(var).to(like))
    )


CASES = [
    same("add", normal((3, 4), (4,))),
    same("sub", normal((3, 1), (3, 4))),
    same("mul", normal((2, 1, 4), (3, 1))),
    same("div", both(normal((3, 4)), positive((4,)))),
    same("neg", normal((3,))),
    same("pow", both(positive((3, 4)), normal((4,)))),
    same("pow/number", normal((3,)), 3),
    same("pow/negative number", positive((3,)), -1.5),
    same("pow/root", positive((3,)), 0.5),
    same("pow/reciprocal", positive((3,)), -1),
    same("pow/of all signs", lambda rng: [np.array([-2.0, -0.5, 0.0, 3.0])], 2),
    same("exp", normal((3,))),
    same("log", positive((3,))),
    same("sqrt", positive((3,))),
    same("abs", normal((3,))),
    same("clip", spread((9,)), -0.5, 0.5),
    Case(
        "clip/low", lambda x: ops.clip(x, min=0.1), lambda x: torch.clip(x, min=0.1), spread((9,))
    ),
    Case(
        "clip/at the limits",
        lambda x: ops.clip(x, -1, 1),
        lambda x: torch.clip(x, -1, 1),
        lambda r: [np.arange(-2.0, 3.0)],
    ),
    same("maximum", spread((3, 4), (4,))),
    Case(
        "maximum/equal",
        lambda x: ops.maximum(x, 1.0),
        lambda x: torch.maximum(x, torch.ones_like(x)),
        lambda r: [np.arange(3.0)],
    ),
    same("minimum", spread((3, 4), (3, 1))),
    Case("where", ops.where, torch.where, both(MASK, normal((3, 2), (2,)))),
    Case("astype", lambda x: ops.astype(x, "float64"), lambda x: x.double(), normal((3,))),
    Case("reshape", lambda x: x.reshape(2, -1), lambda x: x.reshape(2, -1), normal((3, 4))),
    Case(
        "transpose", lambda x: x.transpose(2, 0, 1), lambda x: x.permute(2, 0, 1), normal((2, 3, 4))
    ),
    Case("flatten", lambda x: x.flatten(1), lambda x: x.flatten(1), normal((2, 3, 4))),
    Case("squeeze", lambda x: x.squeeze(1), lambda x: x.squeeze(1), normal((2, 1, 4))),
    Case("expand_dims", lambda x: x.expand_dims(1), lambda x: x.unsqueeze(1), normal((2, 4))),
    Case(
        "broadcast_to",
        lambda x: x.broadcast_to((2, 3, 4)),
        lambda x: x.broadcast_to((2, 3, 4)),
        normal((3, 1)),
    ),
    Case(
        "pad",
        lambda x: x.pad(((1, 0), (2, 3)), 7.0),
        lambda x: G.pad(x, (2, 3, 1, 0), value=7.0),
        normal((3, 4)),
    ),
    Case(
        "concatenate",
        lambda x, y: md.concatenate([x, y], 1),
        lambda x, y: torch.cat([x, y], 1),
        normal((2, 3), (2, 1)),
    ),
    Case(
        "stack",
        lambda x, y: md.stack([x, y], -1),
        lambda x, y: torch.stack([x, y], -1),
        normal((2, 3), (2, 3)),
    ),
    Case(
        "getitem",
        lambda x: x[1:, None, [0, 0, 2]],
        lambda x: x[1:, None, [0, 0, 2]],
        normal((3, 4)),
    ),
    same("sum", normal((3, 4))),
    Case(
        "sum/axes",
        lambda x: x.sum((0, 2), keepdims=True),
        lambda x: x.sum((0, 2), keepdim=True),
        normal((2, 3, 4)),
    ),
    Case("mean", lambda x: x.mean(1), lambda x: x.mean(1), normal((3, 4))),
    Case("var", lambda x: x.var(1), lambda x: x.var(1, correction=0), normal((3, 4))),
    Case("var/ddof", lambda x: x.var(ddof=1), lambda x: x.var(), normal((3, 4))),
    Case("std", lambda x: x.std(0, ddof=1), lambda x: x.std(0), normal((3, 4))),
    Case("max", lambda x: x.max(1), lambda x: x.amax(1), spread((3, 4))),
    Case("max/equal", lambda x: x.max(), lambda x: x.amax(), lambda r: [np.array([1.0, 3.0, 3.0])]),
    Case("min", lambda x: x.min((0, 2)), lambda x: x.amin((0, 2)), spread((2, 3, 4))),
    same("matmul", normal((2, 1, 3, 4), (5, 4, 2))),
    same("matmul/vectors", normal((4,), (4,))),
    same("matmul/batch and matrix", normal((2, 3, 4), (4, 2))),
    Case(
        "einsum",
        lambda x, y: md.einsum("bij,bkj->bik", x, y),
        lambda x, y: torch.einsum("bij,bkj->bik", x, y),
        normal((2, 3, 4), (2, 5, 4)),
    ),
    same("affine", normal((5, 4), (3, 4), (3,)), theirs=G.linear),
    same("affine/no bias", normal((2, 5, 4), (3, 4)), theirs=G.linear),
    *[
        Case(
            f"affine/{name}",
            lambda x, w, b, name=name: F.affine(x, w, b, name),
            lambda x, w, b, name=name: (getattr(G, name))(G.linear(x, w, b)),
            normal((5, 4), (3, 4), (3,)),
        )
        for name in FUSED
    ],
    same("conv", normal((2, 4, 7, 6), (6, 2, 3, 3), (6,)), 2, 1, 1, 2, theirs=G.conv2d),
    same("conv/1 axis", normal((2, 4, 9), (3, 4, 3)), None, 1, 2, 2, theirs=G.conv1d),
    same(
        "conv_transpose",
        normal((2, 4, 4, 3), (4, 3, 4, 3), (6,)),
        2,
        1,
        1,
        2,
        theirs=G.conv_transpose2d,
    ),
    same(
        "conv_transpose/3 axes", normal((1, 2, 2, 3, 2), (2, 3, 2, 2, 3)), theirs=G.conv_transpose3d
    ),
    Case("embedding", F.embedding, G.embedding, both(ids(5, 2, 3), normal((5, 4)))),
    Case(
        "layer_norm",
        lambda x, w, b: F.layer_norm(x, 4, w, b),
        lambda x, w, b: G.layer_norm(x, (4,), w, b),
        normal((3, 4), (4,), (4,)),
    ),
    Case(
        "layer_norm/axes",
        lambda x: F.layer_norm(x, (3, 4), eps=0.1),
        lambda x: G.layer_norm(x, (3, 4), eps=0.1),
        normal((2, 3, 4)),
    ),
    *[
        Case(
            f"batch_norm/{shape}, training={training}",
            lambda x, w, b, t=training: F.batch_norm(x, *stats(), w, b, t, 0.3, 1e-3),
            lambda x, w, b, t=training: G.batch_norm(x, *stats(x), w, b, t, 0.3, 1e-3),
            normal(shape, (3,), (3,)),
        )
        for shape in ((5, 3), (4, 3, 2), (2, 3, 4, 5), (2, 3, 2, 2, 2))
        for training in (True, False)
    ],
    Case(
        "batch_norm/plain",
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: G.batch_norm(x, None, None, training=True),
        normal((4, 3, 5)),
    ),
    Case(
        "group_norm",
        lambda x, w, b: F.group_norm(x, 2, w, b),
        lambda x, w, b: G.group_norm(x, 2, w, b),
        normal((3, 4, 5, 2), (4,), (4,)),
    ),
    Case(
        "group_norm/rows",
        lambda x: F.group_norm(x, 2),
        lambda x: G.group_norm(x, 2),
        normal((4, 8)),
    ),
    Case(
        "instance_norm",
        F.instance_norm,
        lambda x, w, b: G.instance_norm(x, weight=w, bias=b),
        normal((3, 4, 5, 2), (4,), (4,)),
    ),
    Case("instance_norm/plain", F.instance_norm, lambda x: G.instance_norm(x), normal((3, 4, 5))),
    *[
        Case(
            f"{name}/{size}, {window}",
            lambda x, name=name, w=window: getattr(F, name)(x, *w),
            lambda x, name=name, w=window: getattr(G, f"{name}{x.ndim - 2}d")(x, *w),
            spread((2, 3, *size)),
        )
        for name in ("max_pool", "avg_pool")
        for size, window in (
            ((9,), (3, 2, 1)),
            ((6, 7), (2,)),
            ((7, 6), ((3, 2), (2, 1), (1, 0))),
            ((5, 4, 6), (3, 2, 1)),
            ((4, 4, 4), ((1, 2, 4),)),
        )
    ],
    Case(
        "upsample",
        lambda x: F.upsample(x, 3),
        lambda x: G.interpolate(x, scale_factor=3),
        normal((2, 3, 4, 5)),
    ),
    Case(
        "upsample/1-d",
        lambda x: F.upsample(x, 2),
        lambda x: G.interpolate(x, scale_factor=2),
        normal((2, 3, 4)),
    ),
    same("pixel_shuffle", normal((2, 12, 3, 4)), 2),
    Case("identity", F.identity, lambda x: x, normal((3,))),
    same("prelu", both(normal((2, 3, 4)), positive((3,)))),
    same("prelu/one slope", both(normal((2, 3, 4)), positive((1,)))),
    same("rrelu/evaluating", normal((3, 4))),
    same("rrelu/evaluating, other bounds", normal((3, 4)), 0.0, 0.5),
    Case("maxout", lambda x: F.maxout(x, 3), lambda x: groups(x, 1, 3), normal((4, 6, 2, 3))),
    Case("maxout/last axis", lambda x: F.maxout(x, 2, -1), lambda x: groups(x, 1, 2), tied),
    Case("crelu", F.crelu, lambda x: torch.cat([G.relu(x), G.relu(-x)], 1), normal((4, 3, 5))),
    Case("crelu/at 0", F.crelu, lambda x: torch.cat([G.relu(x), G.relu(-x)], 1), tied),
    Case("glu", F.glu, lambda x: G.glu(x, -1), normal((4, 6))),
    Case("glu/axis 1", lambda x: F.glu(x, 1), lambda x: G.glu(x, 1), normal((4, 6, 3, 2))),
    Case("softmax", lambda x: F.softmax(x, 1), lambda x: G.softmax(x, 1), normal((3, 4, 2))),
    Case("softmax/last", F.softmax, lambda x: G.softmax(x, -1), normal((3, 17))),
    Case(
        "log_softmax", lambda x: F.log_softmax(x, 0), lambda x: G.log_softmax(x, 0), normal((3, 4))
    ),
]


def losses() -> list[Case]:
    """Every loss with every reduction and kind of target."""
    cases = []
    for how in ("mean", "sum", "none"):
        cases += [
            same(f"cross_entropy/ids, {how}", both(normal((5, 4)), ids(4, 5)), reduction=how),
            same(
                f"cross_entropy/image, {how}", both(normal((2, 4, 3)), ids(4, 2, 3)), reduction=how
            ),
            same(f"cross_entropy/one, {how}", both(normal((4,)), ids(4)), reduction=how),
            same(
                f"cross_entropy/probabilities, {how}",
                both(normal((5, 4)), probabilities(5, 4)),
                reduction=how,
            ),
            same(f"nll_loss/ids, {how}", both(normal((5, 4)), ids(4, 5)), reduction=how),
            same(f"nll_loss/image, {how}", both(normal((2, 4, 3)), ids(4, 2, 3)), reduction=how),
            same(f"binary_cross_entropy/{how}", both(unit(3, 2), unit(3, 2)), reduction=how),
            same(
                f"binary_cross_entropy_with_logits/{how}",
                both(normal((3, 2)), unit(3, 2)),
                reduction=how,
            ),
            same(f"mse_loss/{how}", normal((3, 2), (3, 2)), reduction=how),
            same(f"l1_loss/{how}", normal((3, 2), (3, 2)), reduction=how),
            same(f"huber_loss/{how}", normal((9,), (9,)), reduction=how, delta=0.6),
        ]
    target = np.array(
        [0.0, 1.0, 0.0, 1.0]
    )  # its own gradient is infinite there with PyTorch, finite here
    cases.append(
        Case(
            "binary_cross_entropy/0 and 1",
            lambda p: F.binary_cross_entropy(p, target.astype(p.dtype)),
            lambda p: G.binary_cross_entropy(p, torch.tensor(target, dtype=p.dtype)),
            lambda rng: [np.array([0.0, 1.0, 0.5, 0.5])],
        )
    )
    return cases


def activations() -> list[Case]:
    """Every row of the activation table, with its default parameters and with others."""
    cases = []
    for row in ACTIVATION_ROWS:
        theirs = getattr(G, row.name, None) or getattr(torch, row.name, None)
        if row.name in ("sigmoid", "tanh"):
            theirs = getattr(torch, row.name)  # G's are deprecated
        if theirs is None and row.name != "gelu_tanh":
            continue
        fixed = {"threshold": 1e9} if row.name == "softplus" else {}  # theirs is linear from 20 on
        if row.name == "gelu_tanh":
            theirs, fixed = G.gelu, {"approximate": "tanh"}
        if row.name == "hardsigmoid":  # in float64, G.hardsigmoid takes 1/6 from float32
            theirs = lambda x: (  # noqa: E731
                G.hardsigmoid(x) if x.dtype == torch.float32 else G.relu6(x + 3) / 6
            )
        for factor in (1.0, 1.5) if row.params else (1.0,):
            options = {name: factor * value for name, value in row.params.items()}
            cases.append(
                Case(
                    f"{row.name}/{options}",
                    lambda x, o=options, f=F.FUNCTIONS[row.name]: f(x, **o),
                    lambda x, o=options, f=theirs, fixed=fixed: f(x, **o, **fixed),
                    lambda rng, row=row, o=options: [
                        np.concatenate(
                            [
                                3 * rng.standard_normal(29),
                                [0.0, -0.0, 30, -30],
                                list(row.kinks(*o.values())),
                            ]
                        )
                    ],
                )
            )
    return cases


def of_the_same_name(known: set[str]) -> list[Case]:
    """Rows of the gradients' table whose function has a namesake in PyTorch, and no case of its own above."""
    found = []
    for row in ROWS:
        name = row.name.split(".")[1]
        there = hasattr(G, name) or hasattr(torch, name)
        if there and name not in known and row.fn is getattr(ops, name, None):
            found.append(same(name, row.inputs))
    return found


NO_COUNTERPART = {"dropout": "draws other random numbers"}
NO_COUNTERPART |= dict.fromkeys(("kl_div", "cosine_embedding_loss"), "test_torch_losses.py")
NO_COUNTERPART |= dict.fromkeys(
    ("gru", "lstm", "scaled_dot_product_attention"), "tests/nn/test_sequence.py"
)
NO_COUNTERPART |= dict.fromkeys(("dropout2d", "pixel_unshuffle"), "test_torch_images.py")
NO_COUNTERPART |= dict.fromkeys(
    ("gru", "lstm", "scaled_dot_product_attention"), "tests/nn/test_sequence.py"
)
WRITTEN = [*CASES, *losses(), *activations(), *[Case(*case) for case in ARRAY_CASES]]
ALL = WRITTEN + of_the_same_name(
    {case.name.split("/")[0] for case in WRITTEN} | set(NO_COUNTERPART)
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_equals_torch(case, dtype):
    arrays = [np.asarray(x) for x in case.inputs(np.random.default_rng(0))]
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in arrays]
    ours = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    theirs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    y, z = case.ours(*ours), case.theirs(*theirs)
    close(y.data, z, dtype)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    y.backward(weights)
    z.backward(torch.tensor(weights))
    for mine, other in zip(ours, theirs, strict=True):
        if mine.requires_grad:
            close(mine.grad.data, other.grad, dtype)


@pytest.mark.parametrize("case", activations(), ids=lambda case: case.name)
def test_second_derivatives_equal_torch(case):
    """In float64, away from kinks (30: saturated)."""
    x = np.concatenate([3 * np.random.default_rng(2).standard_normal(40), [30.0, -30.0]])
    first, second = np.random.default_rng(1).standard_normal((2, x.size))
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    gx = md.grad(case.ours(ours), ours, Tensor(first), create_graph=True)
    gz = torch.autograd.grad(case.theirs(theirs), theirs, torch.tensor(first), create_graph=True)[0]
    if not gz.requires_grad:  # piecewise linear: nothing to differentiate there
        gz = gz + 0 * theirs
    mine = md.grad(gx, ours, Tensor(second)) if gx.requires_grad else Tensor(np.zeros_like(x))
    close(mine.data, torch.autograd.grad(gz, theirs, torch.tensor(second))[0], "float64")


def close(mine: np.ndarray, other: Any, dtype: str) -> None:
    other = other.detach().numpy()
    assert mine.shape == other.shape and mine.dtype == other.dtype
    scale = np.abs(other).max(initial=1e-3)
    tolerance = 2e-6 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(mine, other, rtol=10 * tolerance, atol=tolerance * min(scale, 1e3))


def test_dropout_keeps_as_many_and_scales_as_torch():
    x = np.ones(100_000, "float32")
    for p in (0.0, 0.3, 0.5, 1.0):
        mine, other = F.dropout(x, p, rng=0).data, G.dropout(torch.tensor(x), p).numpy()
        assert set(np.unique(mine)) == set(np.unique(other))
        assert abs(mine.mean() - x.mean() * (p < 1)) < 0.02


def test_nothing_is_left_out():
    compared = {case.name.split("/")[0] for case in ALL} | set(NO_COUNTERPART)
    compared |= {name.split(".")[1] for name in NOT_DIFFERENTIABLE}
    names = {name.split(".")[1] for name in public_names()}
    assert {n for n in names - compared if hasattr(G, n) or hasattr(torch, n)} == set()


def test_one_hot():
    x = np.array([[0, 2], [1, 1]])
    np.testing.assert_array_equal(F.one_hot(x, 3).data, G.one_hot(torch.tensor(x), 3).numpy())
