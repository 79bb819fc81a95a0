"""The elementwise kernels against NumPy: every operation, dtype and CPU level, and all ways to lie in memory."""

import itertools
import warnings

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.reference import elementwise as reference

LEVELS = [pytest.param(K.load(level), id=level) for level in K.available]
DTYPES = [np.float32, np.float64]
BINARY, UNARY = list(reference.BINARY), list(reference.UNARY)
SPECIAL = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-42, 5e-324]
CHUNK = 16384
ROUNDED = {
    "exp",
    "expm1",
    "log",
    "log1p",
    "sin",
    "cos",
    "erf",
    "rsqrt",
    "log2",
    "tan",
    "arctan",
    "sinh",
    "cosh",
}  # elsewhere every bit is NumPy's
# Of two inputs: these have NumPy's bits at special values, others (logaddexp, in the docs) are right to 1 ulp there.
EXACT = {
    "abs_backward",
    "add",
    "cube_backward",
    "div",
    "maximum",
    "minimum",
    "mul",
    "pow",
    "reciprocal_backward",
    "remainder",
    "same",
    "sqrt_backward",
    "square_backward",
    "sub",
    "weigh",
}

kernels = pytest.mark.parametrize("kernels", LEVELS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def same(y, expected, ulp=0):
    assert type(y) is np.ndarray
    assert y.shape == expected.shape
    assert y.dtype == expected.dtype
    if ulp:
        np.testing.assert_allclose(y, expected, rtol=ulp * np.finfo(y.dtype).eps, atol=0)
    else:
        np.testing.assert_array_equal(y, expected)


def array(shape, dtype, seed=0):
    return np.asarray(np.random.default_rng(seed).normal(size=shape)).astype(dtype)


@kernels
@dtypes
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.filterwarnings("error")
def test_special_values_of_two(kernels, dtype, name):
    with np.errstate(over="ignore"):
        x0, x1 = (
            np.array(c, dtype) for c in zip(*itertools.product(SPECIAL, SPECIAL), strict=True)
        )
    ulp = 0 if name in EXACT else 1
    same(kernels.binary(name, x0, x1), reference.binary(name, x0, x1), ulp)
    for a, b in zip(x0, x1, strict=True):  # one by one: no vector, and no axis
        same(kernels.binary(name, np.asarray(a), np.asarray(b)), reference.binary(name, a, b), ulp)


@kernels
@dtypes
@pytest.mark.filterwarnings("error")
def test_pow(kernels, dtype):
    """Whole, odd, half and huge exponents of either sign, of numbers of either sign: against double precision."""
    x = np.array([0.0, -0.0, 1, -1, 2, -2, 0.3, -7.5, np.inf, -np.inf, np.nan, 1e-30, 1e30], dtype)
    p = [0.0, -0.0, 1, -1, 2, 3, -3, 0.5, -0.5, 1.7, -2.5, np.inf, -np.inf, np.nan, 16777215, 2e9]
    x, p = (np.array(c, dtype) for c in zip(*itertools.product(x, np.array(p)), strict=True))
    with np.errstate(all="ignore"):
        expected = np.power(x.astype("float64"), p.astype("float64")).astype(dtype)
    same(kernels.binary("pow", x, p), expected, ulp=1)
    same(
        np.signbit(kernels.binary("pow", x, p))[~np.isnan(expected)],
        np.signbit(expected)[~np.isnan(expected)],
    )
    for exponent in np.unique(p):  # one for all
        chosen = (p == exponent) | (np.isnan(p) & np.isnan(exponent))
        y = kernels.binary("pow", np.tile(x[chosen], 9), np.asarray(exponent))
        same(y, np.tile(expected[chosen], 9), ulp=1)


@kernels
@dtypes
@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
def test_rounding_down(kernels, dtype, name):
    """Whole and broken quotients, near whole ones, small and steep ones, of all signs: bit by bit as NumPy's.

    (NumPy rounds large quotients twice; so they are compared in a wider type.)
    """
    rng = np.random.default_rng(0)
    quotient, x1 = rng.integers(-300, 300, 6000), rng.integers(-40, 40, 6000) / 8
    near = (quotient * x1).astype(dtype)
    pairs = [
        (quotient / 8, x1),
        (near, x1),
        (np.nextafter(near, dtype(np.inf)), x1),
        (np.nextafter(near, dtype(-np.inf)), x1),
        *[
            (rng.normal(size=6000) * size, rng.normal(size=6000))
            for size in (1e-30, 1, 1e4, 1e9, 1e30)
        ],
    ]
    for x0, x1 in [(x0.astype(dtype), x1.astype(dtype)) for x0, x1 in pairs]:
        wide = (x0.astype(np.longdouble), x1.astype(np.longdouble))
        steep = abs(wide[0]) > 2**20 * abs(wide[1])
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x0, x1)
            wide_quotient = np.floor_divide(*wide).astype(dtype)
        y = kernels.binary(name, x0, x1)
        if name == "floor_divide":
            expected = np.where(steep & np.isfinite(wide_quotient), wide_quotient, expected)
            same(y[steep], expected[steep], ulp=1)
            y, expected = y[~steep], expected[~steep]
        same(y, expected)
        known = ~np.isnan(expected)
        same(np.signbit(y[known]), np.signbit(expected[known]))
    for divisor in (0.75, -2.0, 0.0, np.inf):  # a number, and columns
        for x in (near, near[::3], near.reshape(60, 100).T):
            same(kernels.binary(name, x, divisor), reference.binary(name, x, dtype(divisor)))


@kernels
@dtypes
@pytest.mark.parametrize("name", UNARY)
@pytest.mark.filterwarnings("error")
def test_special_values_of_one(kernels, dtype, name):
    with np.errstate(over="ignore"):
        x = np.array(SPECIAL * 7, dtype)
    same(kernels.unary(name, x), reference.unary(name, x), ulp=3 if name in ROUNDED else 0)


@kernels
@dtypes
@pytest.mark.parametrize("name", UNARY)
def test_one_operand_in_any_layout(kernels, dtype, name):
    x = np.abs(array((6, 4, 5), dtype)) + dtype(0.1)
    ulp = 3 if name in ROUNDED else 0
    for view in (x, x[::2], x[:, ::-1], x.transpose(2, 0, 1), x[:, 1:3, ::2], x[:0], x[0, 0, 0]):
        view = np.asarray(view)
        same(kernels.unary(name, view), reference.unary(name, view), ulp)
        y = np.empty_like(view)
        assert kernels.unary(name, view, y) is y
        same(y, reference.unary(name, view), ulp)
    expected = reference.unary(name, x[::2])
    kernels.unary(name, x[::2], x[::2])  # in place, through a view
    same(x[::2], expected, ulp)


SHAPES = [
    ((), ()), ((4,), ()), ((), (4,)), ((1,), (5,)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (3, 4)), ((3, 1), (1, 4)),
    ((2, 3, 4, 5), (3, 1, 1)), ((2, 3, 4, 5), (1, 3, 1, 5)), ((2, 1, 4, 1), (3, 1, 5)), ((0,), (1,)), ((0, 3), (3,)),
    ((2, 0, 3), (2, 1, 1)), ((1, 1), (1,)), ((33, 65), (33, 1)), ((3, 70001), (70001,)), ((CHUNK + 3,), ()),
    ((300, 700), (300, 1)), ((7, 3, 9001), (3, 1)),
]  # fmt: skip


@kernels
@dtypes
@pytest.mark.parametrize(("first", "second"), SHAPES)
@pytest.mark.parametrize("name", ["sub", "maximum"])
def test_broadcasting(kernels, dtype, first, second, name):
    x0, x1 = array(first, dtype), array(second, dtype, 1)
    same(kernels.binary(name, x0, x1), reference.binary(name, x0, x1))
    out = np.empty(np.broadcast_shapes(first, second), dtype)
    assert kernels.binary(name, x0, x1, out) is out
    same(out, reference.binary(name, x0, x1))


def layouts(shape, dtype, seed):
    """One array of this shape, lying in memory in many ways."""
    x = array(shape, dtype, seed)
    yield x
    for order in itertools.permutations(range(len(shape))):
        yield x.transpose(order).copy().transpose(np.argsort(order))
    yield x[:, ::-1].copy()[:, ::-1]
    wide = np.repeat(x, 3, axis=-1)
    yield wide[..., ::3]
    yield wide[..., ::-3][..., ::-1] if shape[-1] > 1 else x
    yield np.broadcast_to(x[:1], shape)


@kernels
@dtypes
def test_layouts(kernels, dtype):
    for x0, x1 in itertools.product(layouts((3, 4, 5), dtype, 0), layouts((3, 4, 5), dtype, 1)):
        same(kernels.binary("div", x0, x1), reference.binary("div", x0, x1))


@kernels
@dtypes
@pytest.mark.parametrize("name", BINARY)
def test_an_array_with_itself_in_other_layouts(kernels, dtype, name):
    """Both operands begin at one place: with the same strides, or with others."""
    memory = np.abs(array((30, 30), dtype)) + dtype(0.5)
    x = memory[:7, :7]
    for x0, x1 in ((x, x), (x, x.T), (x.T, x), (x[::2, ::3], x[::2, ::3]), (memory, memory.T)):
        ulp = 0 if name in EXACT - {"pow"} else 2
        same(kernels.binary(name, x0, x1), reference.binary(name, x0, x1), ulp)


@kernels
def test_channels_last_stays_channels_last(kernels):
    x = array((2, 5, 6, 3), np.float32).transpose(0, 3, 1, 2)
    bias = array((3, 1, 1), np.float32)
    for y in (
        kernels.binary("add", x, bias),
        kernels.binary("add", bias, x),
        kernels.binary("mul", x, x),
        kernels.unary("neg", x),
    ):
        assert y.strides == x.strides
    same(kernels.binary("add", x, bias), x + bias)


@kernels
@dtypes
def test_python_numbers(kernels, dtype):
    x = array((3, 4), dtype)
    same(kernels.binary("mul", x, 0.1), x * dtype(0.1))
    same(kernels.binary("sub", 1, x), 1 - x)
    same(kernels.binary("div", 2.0, np.asarray(x[0, 0])), np.asarray(dtype(2) / x[0, 0]))


@kernels
@dtypes
def test_number(kernels, dtype):
    size = np.dtype(dtype).itemsize
    unaligned = np.zeros(3 * size + 1, np.uint8)[1:].view(dtype)
    assert not unaligned.flags.aligned
    x = array((3,), dtype)
    for value in (0.1, 3, float("inf")):
        same(kernels.number(value, x), reference.number(value, x))
    same(kernels.number(2.5, unaligned), reference.number(2.5, unaligned))
    with pytest.raises(TypeError, match="number: expected a float32 or float64 array, got int64"):
        kernels.number(1.0, np.arange(3))


@kernels
@pytest.mark.parametrize("dtype", [*DTYPES, np.int64, np.bool_])
def test_broadcast_to(kernels, dtype):
    for first, shape in [*SHAPES, ((3, 1), (3, 1)), ((2, 1, 3), (2, 0, 3)), ((), (2, 3))]:
        x = array(first, np.float64).astype(dtype)
        try:
            expected = np.broadcast_to(x, shape)
        except ValueError:
            with pytest.raises(ValueError, match=r"broadcast|axis remapping"):
                kernels.broadcast_to(x, shape)
            continue
        y = kernels.broadcast_to(x, shape)
        same(y, expected)
        assert np.shares_memory(x, y) or y.size == 0
        assert not y.flags.writeable
    with pytest.raises(ValueError, match=r"broadcast|negative"):
        kernels.broadcast_to(array((1,), np.float32), (-1,))


@kernels
@pytest.mark.filterwarnings("error")
def test_what_numpy_does(kernels):
    """Integers, mixed kinds, foreign byte orders and odd strides mean what NumPy says."""
    x, ids = array((4,), np.float32), np.arange(4)
    fields = np.zeros(4, [("a", "u1"), ("b", "<f4")])
    fields["b"] = x
    for x0, x1 in itertools.product(
        (x, ids, ids.astype(np.int32), x.astype(np.float64), x.astype(">f4"), fields["b"], ids > 1),
        repeat=2,
    ):
        same(kernels.binary("add", x0, x1), np.asarray(x0 + x1))
        same(kernels.binary("div", x0, x1), reference.binary("div", x0, x1))
    same(kernels.unary("neg", ids), -ids)
    same(kernels.unary("square", fields["b"]), x * x)
    same(kernels.binary("mul", ids, 2), ids * 2)


@kernels
@dtypes
def test_out_may_be_an_operand(kernels, dtype):
    for shape in ((5,), (CHUNK * 3 + 1,), (4, 5)):
        x0, x1 = array(shape, dtype), array(shape, dtype, 1)
        expected = x0 - x1
        same(kernels.binary("sub", x0.copy(), x1), expected)
        for place in (0, 1):
            a, b = x0.copy(), x1.copy()
            assert kernels.binary("sub", a, b, (a, b)[place]) is (a, b)[place]
            same((a, b)[place], expected)


@kernels
def test_out_may_overlap(kernels):
    for n in (10, CHUNK * 2):
        memory = array((n + 3,), np.float32)
        expected = memory[:-3] * memory[3:]
        same(kernels.binary("mul", memory[:-3], memory[3:], memory[3:]), expected)
        memory = array((n + 3,), np.float32)
        expected = -memory[:-3]
        same(kernels.unary("neg", memory[:-3], memory[3:]), expected)


@kernels
def test_bad_input(kernels):
    x = array((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"add: shapes \(3, 4\) and \(3,\)"):
        kernels.binary("add", x, x[:, 0])
    with pytest.raises(ValueError, match=r"add: out: expected shape \(3, 4\), got \(4,\)"):
        kernels.binary("add", x, x, np.empty(4, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        frozen = x.copy()
        frozen.flags.writeable = False
        kernels.binary("add", x, x, frozen)
    with pytest.raises(KeyError):
        kernels.binary("nothing", x, x)


@kernels
@dtypes
def test_same_bits_for_any_number_of_threads(kernels, dtype):
    x0, x1, column = array((700, 501), dtype), array((700, 501), dtype, 1), array((700, 1), dtype)
    before, results = K.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 4):
            K.set_num_threads(threads)
            results.append(
                [
                    kernels.binary("div", x0, x1).tobytes(),
                    kernels.binary("mul", x0, column).tobytes(),
                    kernels.binary("add", x0, x1.T.copy().T).tobytes(),
                    kernels.unary("exp", x0).tobytes(),
                ]
            )
    finally:
        K.set_num_threads(before)
    assert all(result == results[0] for result in results)


def test_no_warnings_from_the_reference():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference.unary("log", np.array([0.0, -1.0]))
        reference.binary("div", np.array([1.0]), np.array([0.0]))


@kernels
@dtypes
def test_floor_between_whole_numbers(kernels, dtype):
    """Halves and their neighbours, where numbers begin to be whole, too; -0 stays -0."""
    last = 1 / np.finfo(dtype).eps
    around = np.concatenate(
        [
            np.arange(-3, 3.5, 0.5),
            *[s * last * m + np.arange(-2, 2.5, 0.5) for s in (-1, 1) for m in (0.5, 1, 2)],
        ]
    )
    x = around.astype(dtype)
    x = np.concatenate(
        [x, np.nextafter(x, dtype(np.inf)), np.nextafter(x, dtype(-np.inf)), dtype([-0.0, 0.0])]
    )
    y = kernels.unary("floor", x)
    same(y, np.floor(x))
    assert (np.signbit(y) == np.signbit(np.floor(x))).all()


@kernels
@dtypes
def test_pow_of_fractions_is_that_of_any_exponents(kernels, dtype):
    """Where no exponent of a block is whole, float32 has a shorter loop: the bits are those of the other one."""
    special = [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38, -2]
    x = np.concatenate([special, np.exp(np.linspace(-103, 88, 3001))]).astype(dtype)
    for p in (2.5, -0.5, 1 / 3, 1e-40, -8388607.5):
        y = kernels.binary("pow", x, kernels.number(p, x))
        for first in (0, 1):
            z = np.full(x.shape, p, dtype)
            z[first::2] = 3
            mixed = kernels.binary("pow", x[::-1], z[::-1])[::-1]
            np.testing.assert_array_equal(mixed[1 - first :: 2], y[1 - first :: 2])
    for p in (np.nan, np.inf, -np.inf, 1e30, 0):
        with np.errstate(all="ignore"):
            same(kernels.binary("pow", x, kernels.number(p, x)), np.power(x, dtype(p)))
