"""Every differentiable function against differences, to second order or higher; see table.py."""

import inspect
import math

import numpy as np
import pytest

from minidl import functional as F
from minidl import ops
from minidl.autograd.engine import grad
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.testing import check_grads

from .table import ALIASES, NOT_DIFFERENTIABLE, NOT_RECORDED, ROWS, Row

by_name = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
with_kernels = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.levels], ids=lambda row: row.name
)


def inputs(row: Row, seed: int = 0) -> list[np.ndarray]:
    return [np.asarray(x) for x in row.inputs(np.random.default_rng(seed))]


def gradients(row: Row, arrays: list[np.ndarray], dtype: str, create_graph: bool = False) -> tuple:
    """The result and the gradients of a fixed weighted sum of it."""
    xs = [
        Tensor(a.astype(dtype), requires_grad=True) if a.dtype.kind == "f" else Tensor(a)
        for a in arrays
    ]
    y = row.fn(*xs)
    w = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    return y, grad(
        ops.sum(y * w),
        [x for x in xs if x.requires_grad],
        create_graph=create_graph,
        allow_unused=True,
    )


def square(y: Tensor) -> Tensor:
    return y * y


@by_name
def test_differences(row):
    check_grads(row.fn, inputs(row), order=row.order, eps=row.eps, rtol=row.rtol)


@by_name
def test_differences_of_the_square(row):
    """The gradient that enters depends on x: linear ops, too, must differentiate their backward."""
    check_grads(
        lambda *xs: square(row.fn(*xs)), inputs(row), order=2, eps=row.eps, rtol=10 * row.rtol
    )


@with_kernels
def test_differences_at_every_level(row, level):
    check_grads(row.fn, inputs(row, seed=1), order=2, eps=row.eps, rtol=row.rtol)


@by_name
def test_float32(row):
    """Gradients in float32 have that dtype and the values of float64, to rounding."""
    if row.single is None:
        pytest.skip("opted out in its row")
    arrays = [a.astype("float32") if a.dtype.kind == "f" else a for a in inputs(row)]
    (y, single), (_, double) = gradients(row, arrays, "float32"), gradients(row, arrays, "float64")
    assert y.dtype == np.float32
    for g, expected in zip(single, double, strict=True):
        if expected is None:
            assert g is None
            continue
        assert g.dtype == np.float32
        scale = np.abs(expected.data).max(initial=1e-3)
        np.testing.assert_allclose(g.data, expected.data, rtol=0, atol=row.single * scale)


def public_names() -> set[str]:
    names = {f"F.{name}" for name in F.__all__}
    for name, value in vars(ops).items():
        if inspect.isroutine(value) and not name.startswith("_") and name not in ALIASES:
            names.add(f"ops.{name}")
    return names


def test_every_public_function_has_a_row():
    covered = {row.covers for row in ROWS} | NOT_DIFFERENTIABLE
    assert public_names() - covered == set(), "no row in tests/ops/table.py"
    assert covered - public_names() == set(), "a row for what does not exist"
    assert len({row.name for row in ROWS}) == len(ROWS)


def op_classes(base: type = Op) -> set[type]:
    found = set()
    for child in base.__subclasses__():
        found |= {child} | op_classes(child)
    return {op for op in found if op.__module__.split(".")[0] == "minidl"}


def recorded(y: Tensor) -> set[type]:
    """The classes of all ops that y depends on."""
    seen = {y._op} - {None}
    stack = list(seen)
    while stack:
        for edge in stack.pop().edges:
            if isinstance(edge, Op) and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return {type(op) for op in seen}


def test_every_op_is_reached():
    reached = set()
    for row in ROWS:
        squared = Row(row.name, lambda *xs, row=row: square(row.fn(*xs)), row.inputs)
        y, gs = gradients(squared, inputs(row), "float64", create_graph=True)
        for tensor in (y, *gs):
            if tensor is not None:
                reached |= recorded(tensor)
    missing = {op.__name__ for op in op_classes() - reached} - set(NOT_RECORDED)
    assert missing == set(), "no row of tests/ops/table.py records these ops"


@pytest.mark.parametrize(
    "fn",
    [
        F.mse_loss,
        F.l1_loss,
        F.huber_loss,
        F.binary_cross_entropy,
        F.binary_cross_entropy_with_logits,
        lambda x, t: F.layer_norm(x, 3, t).sum(),
    ],
)
def test_two_kinds_of_floats_meet(fn):
    """As in arithmetic; each gradient has the dtype of what it belongs to."""
    for first, second in (("float32", "float64"), ("float64", "float32")):
        x = Tensor(np.full(3, 0.25), requires_grad=True, dtype=first)
        t = Tensor(np.full(3, 0.5), requires_grad=True, dtype=second)
        fn(x, t).backward()
        assert x.grad.dtype == first and t.grad.dtype == second


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum"])
def test_numbers_have_gradients_too(name, create_graph):
    """Of tensors without axes NumPy makes numbers that are no arrays."""
    xs = [Tensor(np.array(value), requires_grad=True) for value in (2.0, 3.0)]
    slopes = {"add": (1, 1), "sub": (1, -1), "mul": (3, 2), "div": (1 / 3, -2 / 9)}
    slopes |= {"pow": (12, 8 * math.log(2)), "maximum": (0, 1), "minimum": (1, 0)}
    gs = grad(getattr(ops, name)(*xs), xs, create_graph=create_graph)
    assert [g.shape for g in gs] == [(), ()]
    np.testing.assert_allclose([g.item() for g in gs], slopes[name], rtol=1e-12)
