"""Values of einsum against NumPy, and its gradients: every way in which letters can be shared by two operands."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl.ops.einsum import FEW_STEPS, _layout, _plan

from .test_values import F32, F64, normal

CASES = [
    # a matrix product, its operands turned or not
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ij,jk->ki", [(2, 3), (3, 4)]),
    ("ji,kj->ik", [(3, 2), (4, 3)]),
    ("ij,j->i", [(2, 3), (3,)]),
    ("j,ij->i", [(3,), (2, 3)]),
    ("i,i->", [(3,), (3,)]),
    # batches, before, between and behind
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bij,bjk->ikb", [(2, 3, 4), (2, 4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
    ("bqhd,bkhd->bhqk", [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ("bhqk,bkhd->bqhd", [(2, 2, 3, 5), (2, 5, 2, 4)]),
    ("bi,bi->b", [(4, 3), (4, 3)]),
    ("bic,cbi->b", [(2, 20, 13), (13, 2, 20)]),
    ("abi,bai->ba", [(2, 3, 4), (3, 2, 4)]),
    ("bij,bj->bi", [(2, 3, 4), (2, 4)]),
    # several letters in one group, in one order or in two
    ("ijab,abk->kij", [(2, 3, 4, 2), (4, 2, 5)]),
    ("ijk,jil->kl", [(2, 3, 4), (3, 2, 5)]),
    ("aibj,bjak->ik", [(2, 3, 4, 2), (4, 2, 2, 5)]),
    ("ij,ij->", [(2, 3), (2, 3)]),
    # letters of one operand around those of the other: few elements, and many
    ("nchw,oc->nohw", [(2, 3, 2, 2), (4, 3)]),
    ("nchw,oc->nohw", [(2, 3, 9, 9), (4, 3)]),
    ("oc,nchw->nohw", [(20, 3), (2, 3, 4, 4)]),
    ("icj,kcl->ikjl", [(2, 3, 17), (2, 3, 17)]),
    # nothing is summed
    ("i,j->ji", [(2,), (3,)]),
    ("bi,bj->bij", [(2, 3), (2, 4)]),
    ("ij,ji->ij", [(2, 3), (3, 2)]),
    ("ij,i->ij", [(2, 3), (2,)]),
    (",->", [(), ()]),
    (",ij->ji", [(), (2, 3)]),
    # letters of one operand alone
    ("ij,k->j", [(2, 3), (4,)]),
    ("aij,jkb->ik", [(2, 2, 3), (3, 4, 2)]),
    (" i j , j -> i ", [(2, 3), (3,)]),
    ("i,j->", [(2,), (3,)]),
    # one operand
    ("ba", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ijk->kj", [(2, 3, 4)]),
    ("...", [(2, 3)]),
    ("i...->...", [(2, 3, 4)]),
    # diagonals
    ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("iij->j", [(3, 3, 2)]),
    ("iij,jkk->ik", [(3, 3, 2), (2, 4, 4)]),
    # "..."
    ("...ij,...jk->...ik", [(5, 2, 3), (3, 4)]),
    ("...ij,...jk->...ik", [(5, 1, 2, 3), (6, 3, 4)]),
    ("...ij,jk", [(5, 6, 2, 3), (3, 4)]),
    ("i...,i...->...", [(3, 2, 4), (3, 4)]),
    # axes of length 1 and 0
    ("i,i->i", [(3,), (1,)]),
    ("i,i->", [(1,), (3,)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("bij,bjk->bik", [(1, 3, 4), (2, 4, 5)]),
    ("bij,bjk->bik", [(1, 1, 1), (1, 1, 1)]),
    ("ij,jk->ik", [(2, 0), (0, 4)]),
    ("ij,jk->ik", [(0, 3), (3, 4)]),
    ("ij,jk->ik", [(2, 1), (0, 4)]),
    ("bij,bjk->bik", [(0, 3, 4), (0, 4, 5)]),
    # three and more
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
    ("bi,oij,bj->bo", [(2, 3), (4, 3, 5), (2, 5)]),
    ("i,i,i->i", [(3,), (3,), (1,)]),
    ("i,ij,j->", [(2,), (2, 3), (3,)]),
    ("ab,cd,bc,de->ea", [(2, 3), (4, 2), (3, 4), (2, 5)]),
]


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(("equation", "shapes"), CASES)
def test_values_and_gradients(equation, shapes, dtype):
    xs = [normal(*shape, dtype=dtype) for shape in shapes]
    expected = np.einsum(equation, *xs)
    ts = [Tensor(x, requires_grad=True) for x in xs]
    result = md.einsum(equation, *ts)
    assert (result.shape, result.dtype) == (expected.shape, dtype)
    tolerance = 1e-5 if dtype == F32 else 1e-12
    np.testing.assert_allclose(result.data, expected, rtol=tolerance, atol=tolerance)
    result.backward(np.ones(result.shape))
    assert [t.grad.shape for t in ts] == shapes
    if dtype == F64 and expected.size < 100:
        md.testing.check_grads(lambda *ts: md.einsum(equation, *ts), ts, order=2)


@pytest.mark.parametrize(("equation", "shapes"), [c for c in CASES if c[0].count(",") == 1])
def test_operands_that_do_not_lie_row_by_row(equation, shapes):
    """And that hold whole numbers, whose dtype is NumPy's, as their values are."""
    xs = [np.array(normal(*shape), order="F") for shape in shapes]
    np.testing.assert_allclose(
        md.einsum(equation, *xs).data, np.einsum(equation, *xs), rtol=1e-12, atol=1e-12
    )
    whole = [(10 * x).astype(np.int32) for x in xs]
    result, expected = md.einsum(equation, *whole).data, np.einsum(equation, *whole)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_what_lies_well_is_not_copied():
    """The layout of an operand keeps the order of its axes, or changes it as a transposed matrix has it."""
    how = _layout("nchw", "oc", "nohw", (2, 8, 16, 16), (4, 8))
    assert how.turned and how.left == ((0, 1), (1, 4, 8))
    assert how.right == ((0, 1, 2, 3), (2, 8, 256)) and how.order == (0, 1, 2, 3)
    assert _layout("bij", "bjk", "bik", (2, 3, 4), (2, 4, 5)).order == (0, 1, 2)


def test_products_of_vectors():
    """One is a matrix product; many short ones are multiplied, then summed."""
    assert _layout("i", "i", "", (3,), (3,)).summed is None
    assert _layout("bi", "bi", "b", (4, FEW_STEPS), (4, FEW_STEPS)).summed == (1,)
    assert _layout("bi", "bi", "b", (4, FEW_STEPS + 1), (4, FEW_STEPS + 1)).summed is None


def test_the_smallest_product_comes_first():
    shapes = ((2, 100), (100, 100), (100, 1))
    sums, pairs = _plan("", ("ij", "jk", "kl"), "il", shapes)
    assert sums == [(), (), ()] and pairs == [
        (1, 2, ("jk", "kl", "jl")),
        (0, 1, ("ij", "jl", "il")),
    ]


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("ij->k", [(2, 3)], "letter 'k' of the output: no operand has it"),
        ("ij->ii", [(2, 3)], "letter 'i' of the output: the output names it twice"),
        ("i1->i", [(2, 3)], "expected letters, got '1'"),
        ("ij->i->j", [(2, 3)], "expected letters, got '-'"),
        ("i.j->i", [(2, 3, 4)], "expected letters, got '.'"),
        ("ij,jk->ik", [(2, 3), (2, 3)], "letter 'j': axis 0 of operand 1 has 2"),
        ("i,i,i->", [(1,), (0,), (3,)], "letter 'i': axis 0 of operand 2 has 3"),
    ],
)
def test_errors(equation, shapes, message):
    with pytest.raises(ValueError, match=message):
        md.einsum(equation, *[np.ones(shape) for shape in shapes])


@pytest.mark.parametrize(
    "dtypes", [(F32, F64), (F64, F32), (np.int64, F32), (F32, bool), (bool, F64)]
)
def test_operands_of_two_dtypes_are_computed_in_the_wider_one(dtypes):
    a, b = (normal(3, 3).astype(dtype) for dtype in dtypes)
    wide = F64 if F64 in dtypes else F32
    for equation, xs in (("ij,jk->ik", (a, b)), ("ij,ij->i", (a, b)), ("ij,jk,kl->il", (a, b, a))):
        xs = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in xs]
        y = md.einsum(equation, *xs)
        assert y.dtype == wide
        np.testing.assert_allclose(
            y.data, np.einsum(equation, *(x.data for x in xs)), rtol=1e-5, atol=1e-6
        )
        y.sum().backward()
        assert all(x.grad.dtype == x.dtype for x in xs if x.requires_grad)
