"""Tensors: what they are made of, and how Python and NumPy see them."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor

# ── Construction ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (3, ()),
        (2.5, ()),
        (True, ()),
        ([1, 2, 3], (3,)),
        ((1.5, 2.5), (2,)),
        ([[1, 2], [3, 4]], (2, 2)),
        ([], (0,)),
        ([[]], (1, 0)),
        (range(4), (4,)),
        ([True, False], (2,)),
    ],
)
def test_python_numbers_and_sequences_become_float32(data, shape):
    t = Tensor(data)
    assert t.dtype == np.float32 and t.shape == shape
    assert type(t.data) is np.ndarray
    np.testing.assert_array_equal(t.data, np.array(data, np.float32))


def test_sequences_of_arrays_and_tensors():
    np.testing.assert_array_equal(Tensor([np.arange(2.0), np.arange(2)]).data, [[0, 1], [0, 1]])
    np.testing.assert_array_equal(
        Tensor([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])]).data, [[1, 2], [3, 4]]
    )


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int8", "int32", "int64", "uint8", "uint64", "bool"]
)
def test_arrays_keep_their_dtype_and_share_memory(dtype):
    array = np.ones((2, 3), dtype)
    t = Tensor(array)
    assert t.dtype == dtype and t.data is array and t.numpy() is array
    assert Tensor(t).data is array
    assert not np.shares_memory(Tensor(array.copy()).data, array)


@pytest.mark.parametrize(
    "array", [np.ones((3, 2)).T, np.ones(6)[::2], np.broadcast_to(1.0, (2, 3))]
)
def test_strides_are_kept(array):
    assert np.shares_memory(Tensor(array).data, array)
    assert Tensor(array).data.strides == array.strides


def test_numpy_scalars_keep_their_dtype():
    assert Tensor(np.float64(1)).dtype == np.float64
    assert Tensor(np.float32(1)).dtype == np.float32
    assert Tensor(np.int16(1)).dtype == np.int16


def test_dtype_converts():
    assert Tensor([1, 2], dtype="int64").dtype == np.int64
    assert Tensor(np.arange(3), dtype=np.float64).dtype == np.float64
    assert Tensor(2, dtype="float64").dtype == np.float64
    array = np.ones(2, np.float32)
    assert Tensor(array, dtype="float32").data is array


def test_float16_and_foreign_byte_order_are_converted():
    assert Tensor(np.ones(2, np.float16)).dtype == np.float32
    assert Tensor([1.0], dtype="float16").dtype == np.float32
    t = Tensor(np.arange(3, dtype=">f8"))
    assert t.dtype == np.dtype("float64") and t.dtype.isnative
    np.testing.assert_array_equal(t.data, [0, 1, 2])


@pytest.mark.parametrize(
    "data",
    [
        1j,
        np.ones(2, complex),
        np.ones(2, np.complex64),
        "abc",
        ["a", "b"],
        ["1"],
        b"1",
        None,
        [1.0, None],
        object(),
        {"a": 1},
        {1, 2},
        np.array([1, "a"], object),
        np.array("abc"),
        np.array(["2020-01-01"], "M8[D]"),
        np.ones(2, np.longdouble),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_what_is_no_number_is_refused(data, dtype):
    if getattr(data, "dtype", None) == np.longdouble and np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is double here")
    with pytest.raises(TypeError, match=r"dtype .* is not supported; use float32"):
        Tensor(data, dtype=dtype)


@pytest.mark.parametrize("dtype", ["complex64", "O", "U3", "M8[s]"])
def test_dtypes_that_tensors_do_not_have(dtype):
    with pytest.raises(TypeError, match="is not supported"):
        Tensor([1.0], dtype=dtype)
    with pytest.raises(TypeError, match="astype: expected float32"):
        Tensor([1.0]).astype(dtype)


def test_ragged_lists_are_refused():
    with pytest.raises(ValueError, match="Tensor: data: expected rows of one length"):
        Tensor([[1.0, 2.0], [3.0]])


def test_only_floats_require_a_gradient():
    for dtype in ("int64", "uint8", "bool"):
        with pytest.raises(TypeError, match=f"only float32 and float64 .* this one is {dtype}"):
            Tensor(np.ones(2, dtype), requires_grad=True)
    t = Tensor([1, 2], requires_grad=True)
    assert t.requires_grad
    t.requires_grad = False
    assert not (t * 2).requires_grad
    t.requires_grad = True
    with pytest.raises(RuntimeError, match="only be switched off on a leaf"):
        (t * 2).requires_grad = False
    assert not t.detach().requires_grad and np.shares_memory(t.detach().data, t.data)


class Foreign:
    """What other libraries' arrays look like."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype, copy=copy)


class Exporting:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("wrapper", [Foreign, Exporting])
def test_foreign_arrays_are_shared(wrapper):
    array = np.arange(3.0)
    t = Tensor(wrapper(array))
    assert t.dtype == np.float64 and np.shares_memory(t.data, array)
    np.testing.assert_array_equal((Tensor(np.ones(3)) + wrapper(array)).data, [1, 2, 3])


def test_numpy_reads_tensors():
    t = Tensor(np.arange(3.0))
    assert np.asarray(t) is t.data
    assert np.shares_memory(np.from_dlpack(t), t.data)
    assert np.asarray(t, dtype="float32").dtype == np.float32
    assert not np.shares_memory(np.array(t, copy=True), t.data)
    with pytest.raises(ValueError, match=r"[Cc]opy"):
        np.array(t, dtype="float32", copy=False)
    np.testing.assert_array_equal(np.asarray([Tensor(1.0), Tensor(2.0)]), [1, 2])


def test_torch_reads_tensors_and_they_read_torch():
    torch = pytest.importorskip("torch")
    t = Tensor(np.arange(3.0))
    seen = torch.from_dlpack(t)
    seen[0] = 9
    assert t.data[0] == 9
    there = torch.arange(3, dtype=torch.float32)
    here = Tensor(there)
    there[1] = 7
    assert here.dtype == np.float32 and here.data[1] == 7
    assert Tensor(torch.tensor([True, False])).dtype == bool


# ── As Python sees it ─────────────────────────────────────────────────────────────────────────────


def test_attributes():
    t = Tensor(np.zeros((2, 3), np.float32))
    assert (t.shape, t.ndim, t.size, t.dtype, len(t)) == ((2, 3), 2, 6, np.float32, 2)
    assert t.T.shape == (3, 2) and t.grad is None


def test_item():
    assert Tensor([[2.5]]).item() == 2.5 and isinstance(Tensor(2.5).item(), float)
    assert isinstance(Tensor(np.arange(1)).item(), int)
    with pytest.raises(ValueError, match=r"item\(\): expected one element.*\(2,\)"):
        Tensor([1.0, 2.0]).item()


def test_numbers():
    t = Tensor(2.5)
    assert float(t) == 2.5 and int(t) == 2 and bool(t) and not bool(Tensor([0.0]))
    assert f"{t:.2f}" == "2.50" and f"{t}" == str(t)
    assert [10, 20, 30][Tensor(np.array(1))] == 20
    with pytest.raises(ValueError, match="expected one element"):
        bool(Tensor([1.0, 2.0]))
    with pytest.raises(TypeError):
        [1, 2][Tensor(1.0)]


def test_len_and_iteration():
    t = Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    rows = list(t)
    assert len(rows) == len(t) == 3 and all(isinstance(row, Tensor) for row in rows)
    first, _, last = t
    (first * last).sum().backward()
    np.testing.assert_array_equal(t.grad.data, [[4, 5], [0, 0], [0, 1]])
    with pytest.raises(TypeError, match="no axes"):
        len(Tensor(1.0))
    with pytest.raises(TypeError):
        list(Tensor(1.0))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor([1.0, 2.5]), "Tensor([1.  2.5])"),
        (Tensor(3.0), "Tensor(3.)"),
        (Tensor([]), "Tensor([])"),
        (Tensor(np.arange(2)), "Tensor([0 1], dtype=int64)"),
        (Tensor([1.0], requires_grad=True), "Tensor([1.], requires_grad=True)"),
        (Tensor([1.0], requires_grad=True) * 2, "Tensor([2.], op=Mul)"),
        (Tensor(np.ones(2)), "Tensor([1. 1.], dtype=float64)"),
    ],
)
def test_repr(tensor, text):
    assert repr(tensor) == text == str(tensor)


def test_repr_of_large_tensors_is_short():
    assert len(repr(Tensor(np.zeros((100, 100))))) < 400


def test_hash_is_identity():
    a, b = Tensor([1.0]), Tensor([1.0])
    assert len({a, b, a}) == 2 and {a: 1}[a] == 1
    assert a == b  # one element: truth of the comparison


# ── Operators ─────────────────────────────────────────────────────────────────────────────────────


def test_comparisons_give_bool_tensors():
    t = Tensor([1.0, 2.0, 3.0])
    for result, expected in (
        (t == 2, [0, 1, 0]),
        (t != 2, [1, 0, 1]),
        (t < 2, [1, 0, 0]),
        (t <= 2, [1, 1, 0]),
        (t > np.array([0, 5, 2]), [1, 0, 1]),
        (t >= Tensor([1.0, 5.0, 2.0]), [1, 0, 1]),
        (np.float32(2) < t, [0, 0, 1]),
        (np.array([1, 2, 9]) == t, [1, 1, 0]),
    ):
        assert isinstance(result, Tensor) and result.dtype == bool and not result.requires_grad
        np.testing.assert_array_equal(result.data, np.array(expected, bool))


@pytest.mark.parametrize("array", [np.array([1.0, 2.0]), np.float64(2), np.float32(2), np.array(2)])
@pytest.mark.parametrize(
    "operator", ["__add__", "__sub__", "__mul__", "__truediv__", "__pow__", "__lt__", "__eq__"]
)
def test_arrays_on_the_left_give_tensors(array, operator):
    import operator as names

    function = getattr(names, operator)
    t = Tensor(np.array([3.0, 4.0]), requires_grad=True)
    y = function(array, t)
    assert isinstance(y, Tensor) and y.requires_grad == (operator not in ("__lt__", "__eq__"))
    np.testing.assert_array_equal(y.data, function(array, t.data))


def test_matmul_with_an_array_on_the_left():
    y = np.eye(2) @ Tensor(np.ones((2, 2)))
    assert isinstance(y, Tensor) and y.shape == (2, 2)


def test_numpy_functions_refuse_tensors_instead_of_cutting_the_graph():
    t = Tensor([1.0], requires_grad=True)
    for call, advice in (
        (lambda: np.exp(t), r"np.exp has no gradient for Tensors: md.exp\(...\) has one"),
        (
            lambda: np.hypot(t, 1),
            r"np.hypot has no gradient for Tensors: for values alone: np.hypot\(x.data",
        ),
        (lambda: np.add.reduce(t), "np.add has no gradient for Tensors: for values alone"),
        (lambda: np.mean(t), r"np.mean has no gradient for Tensors: md.mean\(...\) has one"),
        (lambda: np.concatenate([[1.0], t]), r"np.concatenate .* md.concatenate\(...\)"),
        (
            lambda: np.add(t, 1, out=np.zeros(1)),
            "np.add: an array cannot be changed in place by a Tensor",
        ),
    ):
        with pytest.raises(TypeError, match=advice):
            call()


def test_numpy_functions_whose_result_has_no_gradient_take_all_tensors():
    t = Tensor([[1.0, 3.0, 2.0]], requires_grad=True)
    assert np.shape(t) == (1, 3) and np.ndim(t) == 2 and np.size(t) == 3 and np.argmax(t) == 1
    assert np.allclose(t, [[1, 3, 2]]) and np.array_equal(t, t) and not np.iscomplexobj(t)
    assert type(np.zeros_like(t)) is np.ndarray and np.ones_like(t).dtype == np.float32


def test_advice_names_only_functions():
    t = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(
        TypeError, match=r"np\.norm has no gradient for Tensors: md\.norm\(\.\.\.\) has"
    ):
        np.linalg.norm(t)
    with pytest.raises(TypeError, match=r"np\.cond has no gradient for Tensors: for values alone"):
        np.linalg.cond(t)


def test_numpy_functions_take_tensors_without_a_gradient():
    t = Tensor([1.0, 2.0])
    assert np.mean(t) == 1.5 and np.allclose(t, [1, 2]) and np.array_equal(t, t)
    np.testing.assert_array_equal(np.concatenate([t, (t, t)[0]]), [1, 2, 1, 2])
    np.testing.assert_array_equal(np.sum([t, t], axis=0), [2, 4])


@pytest.mark.parametrize("name", ["+", "-", "*", "/", "**", "@", "==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize(
    "other", [np.array([3.0, 2.0], "float32"), np.float32(2)], ids=["array", "number"]
)
def test_operators_between_numpy_and_tensors(name, other):
    if name == "@" and np.ndim(other) == 0:
        pytest.skip("@ needs axes")
    t = Tensor([1.0, 2.0], requires_grad=True)
    operator = eval(f"lambda x, y: x {name} y")
    for y, expected in (
        (operator(other, t), operator(other, t.detach().data)),
        (operator(t, other), operator(t.detach().data, other)),
    ):
        assert type(y) is Tensor and y.dtype == expected.dtype
        np.testing.assert_array_equal(y.detach().data, expected)


def test_operands_that_are_no_numbers():
    with pytest.raises(TypeError):
        Tensor([1.0]) + "a"
    with pytest.raises(TypeError):
        Tensor([1.0]) * None


def test_methods_are_the_functions():
    t = Tensor(np.arange(6.0).reshape(2, 3) + 1)
    for name in ("sum", "mean", "var", "std", "max", "min", "exp", "log", "sqrt", "abs", "flatten"):
        np.testing.assert_array_equal(getattr(t, name)().data, getattr(md, name)(t).data)
    assert abs(-t).data[0, 0] == 1 and (+t) is t


@pytest.mark.parametrize("name", ["sum", "exp", "reshape", "astype"])
def test_methods_are_documented_as_the_functions_that_they_call(name):
    function = getattr(md.ops, name)
    assert getattr(md.Tensor, name).__doc__ == function.__doc__ != ""
