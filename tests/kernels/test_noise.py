"""The generator: published answers, the numbers made of its words, and which element gets which."""

import math

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.reference.noise import _threefry

LEVELS = (*K.available, "reference")
every_level = pytest.mark.parametrize("level", LEVELS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

ZEROS, ONES = [0] * 4, [2**32 - 1] * 4
PI = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
MORE_PI = [0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89]
# From the file kat_vectors of Random123, by the authors of the paper: rounds, counter, key, words.
KNOWN = [
    (13, ZEROS, ZEROS, [0x531C7E4F, 0x39491EE5, 0x2C855A92, 0x3D6ABF9A]),
    (13, ONES, ONES, [0xC4189358, 0x1C9CC83A, 0xD5881C67, 0x6A0A89E0]),
    (13, PI, MORE_PI, [0x4AA71D8F, 0x734738C2, 0x431FC6A8, 0xAE6DEBF1]),
    (20, ZEROS, ZEROS, [0x9C6CA96A, 0xE17EAE66, 0xFC10ECD4, 0x5256A7D8]),
    (20, ONES, ONES, [0x2A881696, 0x57012287, 0xF6C7446E, 0xA16A6732]),
    (20, PI, MORE_PI, [0x59CD1DBB, 0xB8879579, 0x86B5D00C, 0xAC8B6D84]),
    (72, PI, MORE_PI, [0x09930ADF, 0x7F27BD55, 0x9ED68CE1, 0x97F803F6]),
]


@pytest.mark.parametrize(("rounds", "counter", "key", "words"), KNOWN)
def test_known_answers(rounds, counter, key, words):
    assert [int(w[0]) for w in _threefry(counter, key, rounds)] == words
    if rounds == 13:
        for level in LEVELS:
            assert K.load(level).random_words(np.uint32([*counter, *key]))[:, 0].tolist() == words


@every_level
def test_lanes_are_consecutive_counters(level):
    kernels, rng = K.load(level), np.random.default_rng(0)
    for _ in range(20):
        counter, key = rng.integers(0, 2**32 - 16, (2, 4)).tolist()
        words = kernels.random_words(np.uint32([*counter, *key]))
        assert words.dtype == np.uint32 and words.shape == (4, 16)
        for lane in range(16):
            alone = _threefry([counter[0] + lane, *counter[1:]], key)
            assert words[:, lane].tolist() == [int(w[0]) for w in alone]


def draws(kernels, n, key, dtype):
    """The uniform numbers of n elements: the slopes of an RReLU from 0 to 1."""
    return kernels.rrelu_forward(np.full(n, -1, dtype), 0.0, 1.0, key)[1]


@every_level
def test_float32_gets_the_first_24_bits_of_float64(level):
    kernels = K.load(level)
    single, double = (draws(kernels, 1000, 12345, dtype) for dtype in ("float32", "float64"))
    np.testing.assert_array_equal(single, np.floor(double * 2**24) / 2**24)
    assert (double * 2**53 == np.floor(double * 2**53)).all()
    assert (double * 2**30 != np.floor(double * 2**30)).mean() > 0.99  # the lower bits are there


@every_dtype
def test_every_level_draws_the_same(dtype):
    expected = draws(K.load("reference"), 20_011, 2**53 - 5, dtype)
    for level in K.available:
        np.testing.assert_array_equal(draws(K.load(level), 20_011, 2**53 - 5, dtype), expected)


def normals(kernels, n, key, dtype):
    return kernels.standard_normal(np.empty(n, dtype), key)


@every_level
@every_dtype
@pytest.mark.parametrize("draw", [draws, normals])
def test_an_element_keeps_its_number(draw, level, dtype):
    """It depends on the element's place and the key, not on the length or the threads."""
    kernels, before = K.load(level), K.get_num_threads()
    long = draw(kernels, 70_000, 99, dtype)
    for n in (0, 1, 31, 32, 33, 63, 64, 65, 511, 513, 8191, 8193, 40_001):
        np.testing.assert_array_equal(draw(kernels, n, 99, dtype), long[:n])
    try:
        for threads in (1, 2, 3, 4):
            K.set_num_threads(threads)
            np.testing.assert_array_equal(draw(kernels, 70_000, 99, dtype), long)
    finally:
        K.set_num_threads(before)
    for key in (98, 99 + 2**32, 2**40):
        assert (draw(kernels, 1000, key, dtype) == long[:1000]).mean() < 0.01


@every_dtype
def test_uniform(dtype):
    """Mean, variance, bounds, every bucket's share, and no correlation with neighbours or lanes."""
    n = 1_000_000
    u = draws(K, n, 4242, dtype).astype("float64")
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
    assert abs(u.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    counts = np.bincount((u * 256).astype(int), minlength=256)
    chi_square = ((counts - n / 256) ** 2).sum() / (n / 256)
    assert 255 - 5 * np.sqrt(2 * 255) < chi_square < 255 + 5 * np.sqrt(2 * 255)
    for lag in (1, 2, 15, 16, 17, 32, 48, 64, 512, 8192):
        assert abs(np.corrcoef(u[:-lag], u[lag:])[0, 1]) < 5 / np.sqrt(n), f"lag {lag}"
    other = draws(K, n, 4243, dtype).astype("float64")
    assert abs(np.corrcoef(u, other)[0, 1]) < 5 / np.sqrt(n)


@every_level
def test_normal_numbers_of_float32_are_those_of_float64(level):
    single, double = (normals(K.load(level), 100_003, 7, dtype) for dtype in ("float32", "float64"))
    np.testing.assert_array_equal(single, double.astype("float32"))
    assert (double != single).mean() > 0.99  # the lower bits are there


def test_every_level_draws_the_same_normal_numbers():
    expected = normals(K.load("reference"), 200_011, 2**53 - 5, "float64")
    for level in K.available:
        y = normals(K.load(level), 200_011, 2**53 - 5, "float64")
        np.testing.assert_allclose(y, expected, rtol=3e-15, atol=1e-15)


@every_dtype
def test_normal_distribution(dtype):
    """Moments, every bucket's share, the tails, and no correlation of numbers or squares with neighbours."""
    n = 4_000_000
    z = normals(K, n, 2024, dtype).astype("float64")
    for power, expected in enumerate([0, 1, 0, 3, 0, 15, 0, 105], 1):
        variance = math.prod(range(1, 2 * power, 2)) - expected**2
        assert abs((z**power).mean() - expected) < 5 * np.sqrt(variance / n), f"moment {power}"
    share = 0.5 + 0.5 * np.vectorize(math.erf)(np.linspace(-4, 4, 257) / math.sqrt(2))
    share = np.diff(np.concatenate([[0], share, [1]])) * n
    counts = np.bincount(np.clip(np.floor(z * 32) + 129, 0, 257).astype(int), minlength=258)
    chi_square = ((counts - share) ** 2 / share).sum()
    assert 257 - 5 * np.sqrt(2 * 257) < chi_square < 257 + 5 * np.sqrt(2 * 257)
    assert 4.5 < np.abs(z).max() < 8.7
    for lag in (1, 2, 15, 16, 31, 32, 33, 64, 512, 8192):
        assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < 5 / np.sqrt(n), f"lag {lag}"
        assert abs(np.corrcoef(z[:-lag] ** 2, z[lag:] ** 2)[0, 1]) < 5 / np.sqrt(n), (
            f"lag {lag}, squares"
        )


@pytest.mark.parametrize("level", K.available)
def test_normal_numbers_go_into_what_is_given_or_nothing_is_changed(level):
    kernels = K.load(level)
    fixed = np.zeros(3)
    fixed.flags.writeable = False
    wide = np.zeros((4, 4))
    for y in (
        wide[:, ::2],
        wide[:, :3].T,
        fixed,
        np.zeros(4, "int64"),
        np.zeros(4, ">f4"),
        [0.0, 0.0],
    ):
        with pytest.raises(TypeError, match="standard_normal: y must be a writable array"):
            kernels.standard_normal(y, 1)
        assert not np.any(y)
    y = np.zeros((3, 5), "float32")
    assert kernels.standard_normal(y, 1) is y
    np.testing.assert_array_equal(y.ravel(), normals(kernels, 15, 1, "float32"))


@every_level
@every_dtype
def test_factors(level, dtype):
    """y is exactly x times the factor; a factor that nobody keeps is not made."""
    kernels = K.load(level)
    x = np.random.default_rng(0).standard_normal(1001).astype(dtype)
    for entry_point, options in (("rrelu_forward", (0.1, 0.4)), ("dropout_forward", (0.25,))):
        y, factor = getattr(kernels, entry_point)(x, *options, 5)
        np.testing.assert_array_equal(y, x * factor)
        again, none = getattr(kernels, entry_point)(x, *options, 5, False)
        np.testing.assert_array_equal(again, y)
        assert none is None
    out = x.copy()
    y, _ = kernels.rrelu_forward(out, 0.1, 0.4, 5, out=out)
    assert y is out
    np.testing.assert_array_equal(y, kernels.rrelu_forward(x, 0.1, 0.4, 5)[0])
    for p in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="dropout: expected p in"):
            kernels.dropout_forward(x, p, 5)


@every_level
@every_dtype
def test_rounding_does_not_lead_beyond_the_bounds(level, dtype):
    kernels, x = K.load(level), np.full(100_000, -1, dtype)
    for lower, upper in ((0.1, 0.1), (0.1, np.nextafter(np.float32(0.1), 1)), (-0.3, 0.7), (1, 3)):
        slopes = kernels.rrelu_forward(x, float(lower), float(upper), 3)[1]
        assert slopes.min() >= np.array(lower, dtype) and slopes.max() <= np.array(upper, dtype)
