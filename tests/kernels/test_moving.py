"""Arrays joined, and dtypes converted, against NumPy."""

import numpy as np
import pytest

from minidl import _kernels as K


@pytest.mark.parametrize("new", [False, True], ids=["an axis", "a new axis"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_join(new, axis):
    """Small and large parts, in pieces or not, of one dtype or several, into dense memory or not."""
    rng = np.random.default_rng(0)
    for shape in ((2, 3, 40), (3, 0, 2), (2, 1, 1), (70, 3, 90), (5, 6, 129), (0, 2, 3)):
        wide = rng.standard_normal((2, *shape))
        for xs in (
            (*wide,),
            (*wide.astype(np.float32),),
            (wide[0], wide[1].astype(np.float32)),
            (wide[0][::-1], np.asfortranarray(wide[1]), wide[0][..., ::-1]),
            (wide[0][:, ::-1], wide[1].transpose(1, 0, 2).copy().transpose(1, 0, 2)),
            (np.broadcast_to(wide[0][:1], shape) if shape[0] else wide[0], wide[1]),
            (wide[0].astype(np.int64), wide[1].astype(np.int64)),
            (wide[0] > 0, wide[1] > 0),
            (wide[0].astype(">f8"), wide[1].astype(">f8")),
        ):
            expected = (np.stack if new else np.concatenate)(xs, axis)
            for y in (
                np.empty(expected.shape, expected.dtype),
                np.empty((*expected.shape, 2), expected.dtype)[..., 0],
            ):
                K.join(y, xs, axis)
                np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 70])
def test_join_of_many(count):
    """Of several lengths, 0 too; rows of them end in whichever of the groups that a loop joins."""
    rng = np.random.default_rng(0)
    xs = tuple(rng.standard_normal((6, 97 * (i % 4 != 3))) for i in range(count))
    y = np.empty((6, sum(x.shape[1] for x in xs)))
    K.join(y, xs, 1)
    np.testing.assert_array_equal(y, np.concatenate(xs, 1))
    flat = tuple(x.reshape(-1) for x in xs)
    y = np.empty(y.size)
    K.join(y, flat, 0)
    np.testing.assert_array_equal(y, np.concatenate(flat))


@pytest.mark.parametrize("width", [*range(1, 80), 127, 128, 129, 160, 999, 1030, 4100])
def test_pieces_of_every_length(width):
    """Bytes around the lengths of vectors; the parts of rows are no dense arrays."""
    x = np.arange(5 * width, dtype=np.uint8).reshape(5, width)
    for cut in {1, width // 2, width - 1} - {0, width}:
        y = np.zeros(5 * width + 64, np.uint8)
        K.join(y[: x.size].reshape(x.shape), (x[:, cut:], x[:, :cut]), 1)
        np.testing.assert_array_equal(y[: x.size].reshape(x.shape), np.roll(x, -cut, 1))
        assert not y[x.size :].any()


def test_join_that_does_not_fit():
    x = np.zeros((2, 3))
    for y in (np.zeros((2, 5)), np.zeros((3, 6))):
        with pytest.raises(ValueError, match=r"broadcast|shape|dimension"):
            K.join(y, (x, x), 1)


def bits(x):
    return np.ascontiguousarray(x).view(f"u{x.itemsize}")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("target", ["float32", "float64", "int64", "float16"])
@pytest.mark.parametrize(
    "source", ["float32", "float64", "int64", "int32", "uint8", "bool", ">f4", ">i8", "float16"]
)
def test_cast(source, target):
    """Rounded as NumPy rounds, in every layout; special values too, but NaN is no integer."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(20_011) * 1e4).astype(source)
    if source in ("float32", "float64", ">f4"):
        special = [
            0.0,
            -0.0,
            1e-40,
            1e-46,
            3.4028235e38,
            3.4028236e38,
            1 + 2**-24,
            1 + 2**-24 + 2**-40,
        ]
        special += [np.inf, -np.inf, np.nan] if target.startswith("f") else []
        with np.errstate(over="ignore"):
            x[: len(special)] = special
    if source == "int64":
        x[:5] = [2**53 + 1, 2**24 + 1, -(2**63), 2**63 - 1, 2**62 + 2**38]
    if target == "int64" and source != "float16":
        x[np.abs(x.astype("float64")) > 1e15] = 7  # no integer has to be found for these
    with np.errstate(over="ignore"):
        for given in (x, x[:64].reshape(8, 8).T, x[::-3], x[:0], x[:1].reshape(())):
            y = K.empty(given.shape, target)
            K.assign(y, given)
            expected = given.astype(target)
            assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
            assert y.flags.c_contiguous
            np.testing.assert_array_equal(bits(y), bits(expected))


def test_too_large_for_float32():
    y = np.zeros(20, np.float32)
    with np.errstate(over="raise"):
        K.assign(y, np.full(20, 1e300))
    assert y.min() == np.inf


def test_no_conversion_from_or_to_what_lies_otherwise():
    """Gaps stay as they are; what is repeated, or read-only, is NumPy's to convert or refuse."""
    wide = np.zeros((40, 3), np.float32)
    K.assign(wide[:, 1], np.arange(40))
    np.testing.assert_array_equal(wide[:, 1], np.arange(40))
    assert not wide[:, ::2].any()
    K.assign(wide, np.arange(3))
    np.testing.assert_array_equal(wide, np.broadcast_to(np.arange(3), (40, 3)))
    wide.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        K.assign(wide, np.zeros((40, 3)))
    with pytest.raises(ValueError, match="broadcast"):
        K.assign(np.zeros((40, 3), np.float32), np.zeros((3, 40)))
