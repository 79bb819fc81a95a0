"""Padding and triangles against NumPy's, and the way back as its transpose; short rows sorted against NumPy's."""

import numpy as np
import pytest

from minidl import _kernels as K

# (shape, widths): all axes, some, none; long axes, which several threads share; widths longer than the axis
CASES = [
    ((), []),
    ((5,), [(2, 3)]),
    ((1,), [(0, 0)]),
    ((3, 4), [(0, 2), (3, 1)]),
    ((3, 4), [(1, 2), (0, 0)]),
    ((2, 3, 5, 4), [(0, 0), (0, 0), (2, 2), (2, 1)]),
    ((2, 6, 3, 4), [(0, 0), (2, 1), (0, 0), (0, 0)]),
    ((2, 3, 4, 2, 3), [(1, 1), (0, 0), (0, 3), (0, 0), (2, 0)]),
    ((4, 3, 90, 80), [(0, 0), (0, 0), (5, 2), (0, 4)]),
    ((400, 300), [(3, 3), (3, 3)]),
]
LONG = [((1, 2), [(9, 30), (0, 70)]), ((3, 200), [(100, 0), (0, 0)])]
NUMPYS = {"reflect": "reflect", "replicate": "edge"}
DTYPES = ["float32", "float64", "int64", "int32", "int16", "uint8", "bool"]
modes = pytest.mark.parametrize("mode", ["constant", *NUMPYS])


def cases(mode):
    return CASES + LONG * (mode != "reflect")


@modes
@pytest.mark.parametrize("dtype", DTYPES)
def test_pad(mode, dtype):
    for shape, widths in cases(mode):
        x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
        how = {"constant_values": 1} if mode == "constant" else {}
        expected = np.pad(x, widths, NUMPYS.get(mode, mode), **how) if widths else x
        for same in (x, np.asfortranarray(x) if x.ndim else x):
            y = K.pad(same, widths, mode, 1)
            assert y.dtype == x.dtype
            np.testing.assert_array_equal(y, expected)


def test_pad_nothing_with_a_number():
    np.testing.assert_array_equal(
        K.pad(np.ones((2, 0, 3)), [(0, 0), (1, 2), (0, 1)], "constant", np.inf),
        np.full((2, 3, 4), np.inf),
    )
    assert np.signbit(K.pad(np.ones(1, "float32"), [(1, 0)], "constant", -0.0)[0])
    assert K.pad(np.ones((0, 3)), [(0, 0), (2, 2)], "reflect").shape == (0, 7)


@pytest.mark.parametrize("mode", NUMPYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_way_back_is_the_transpose(mode, dtype):
    """Σ pad(x) g = Σ x fold(g), for whole numbers, whose sums are exact."""
    for shape, widths in cases(mode):
        rng = np.random.default_rng(1)
        x = rng.integers(-9, 10, shape).astype(dtype)
        g = rng.integers(-9, 10, K.pad(x, widths, mode).shape).astype(dtype)
        expected = (K.pad(x, widths, mode) * g).sum()
        K.fold_padding(g, widths, mode)
        inside = tuple(slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True))
        assert (x * g[inside]).sum() == expected


def test_many_repetitions_are_added_in_double():
    g = np.full(100_001, 0.1, "float32")
    K.fold_padding(g, [(100_000, 0)], "replicate")
    assert abs(g[-1] - 100_001 * float(np.float32(0.1))) < 1e-3


def test_bits_do_not_depend_on_threads():
    rng = np.random.default_rng(2)
    x, widths = rng.standard_normal((64, 60, 50)).astype("float32"), [(0, 0), (3, 4), (2, 5)]
    g, before, found = rng.standard_normal((64, 67, 57)).astype("float32"), K.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            K.set_num_threads(threads)
            folded = g.copy()
            K.fold_padding(folded, widths, "replicate")
            found.append((K.pad(x, widths, "reflect").tobytes(), folded.tobytes()))
    finally:
        K.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: K.pad(x, [(1, 1)], "constant"), ValueError, "expected 2 pairs"),
        (lambda x: K.pad(x, [(0, 0), (3, 0)], "reflect"), ValueError, "too few elements on axis 1"),
        (lambda x: K.pad(x, [(-1, 0), (0, 0)], "constant"), ValueError, "do not fit"),
        (lambda x: K.pad(x[:0], [(1, 0), (0, 0)], "replicate"), ValueError, "do not fit"),
        (lambda x: K.fold_padding(x, [(2, 1), (0, 0)], "replicate"), ValueError, "do not fit"),
        (lambda x: K.fold_padding(x.T, [(0, 0), (1, 0)], "reflect"), TypeError, "in C order"),
        (lambda x: K.pad(x.astype(complex), [(0, 1)] * 2, "reflect"), TypeError, "8 bytes"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((2, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_triangle(dtype):
    for shape in ((3, 5), (5, 3), (2, 4, 4), (0, 3), (2, 0, 3), (70, 300, 20)):
        x = np.random.default_rng(0).integers(1, 100, shape).astype(dtype)
        for k in (-400, -3, -1, 0, 1, 2, 7, 2**40):
            for y in (x, np.asfortranarray(x)):
                if k < 2**31:
                    np.testing.assert_array_equal(K.triangle(y, k, True), np.tril(x, k))
                    np.testing.assert_array_equal(K.triangle(y, k, False), np.triu(x, k))
                else:
                    np.testing.assert_array_equal(K.triangle(y, k, True), x)
                    assert not K.triangle(y, k, False).any()
    with pytest.raises(ValueError, match="at least 2 axes"):
        K.triangle(np.ones(3), 0, True)


# ── Sorting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", range(17))
def test_sort_rows(n, dtype):
    """Equal elements keep their order, 0 and -0 too; NaN is last."""
    rng = np.random.default_rng(n)
    values = [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 3.0, 1e-40, -7.0]
    x = rng.choice(values, (3000, n)).astype(dtype)
    y, order = K.sort_rows(x)
    expected = np.argsort(x, 1, kind="stable")
    np.testing.assert_array_equal(order, expected)
    sorted_x = np.take_along_axis(x, expected, 1)
    np.testing.assert_array_equal(y, sorted_x)
    np.testing.assert_array_equal(np.signbit(y), np.signbit(sorted_x))
    np.testing.assert_array_equal(K.permute_rows(x, order), sorted_x)
    np.testing.assert_array_equal(K.permute_rows(sorted_x, order, True), x)


def test_orders_that_do_not_fit():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="expected an order of shape"):
        K.permute_rows(x, np.zeros((3, 2), int))
    for place in (3, -1):
        for undo in (False, True):
            with pytest.raises(ValueError, match="outside of rows"):
                K.permute_rows(x, np.full((2, 3), place), undo)
    with pytest.raises(ValueError, match="16 elements or fewer"):
        K.sort_rows(np.ones((2, 17)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 1), (31, 4), (32, 24), (33, 2), (5, 100), (20001, 4), (0, 3)], ids=str
)
def test_extremum_places(shape, dtype):
    """The first of equal elements, and the first NaN; of -0 and infinite numbers too, and however x lies in memory."""
    values = [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 3.0, 1e-40, -7.0]
    rng = np.random.default_rng(0)
    x = rng.choice(values, shape).astype(dtype)
    for given in (
        x,
        rng.choice([0.0, -0.0, 2.0], shape).astype(dtype),
        np.asfortranarray(x),
        x[:, ::-1],
        np.full_like(x, -np.inf),
    ):
        for greatest, rule in ((True, np.argmax), (False, np.argmin)):
            places = K.extremum_places(given, greatest)
            np.testing.assert_array_equal(places, rule(given, 1))
            assert places.dtype == np.int64


def test_extremum_places_of_nothing():
    with pytest.raises(ValueError, match="extremum_places: expected rows of 1 to"):
        K.extremum_places(np.zeros((3, 0)), True)
