"""The optimizer kernels against the NumPy reference, at every CPU level and in both dtypes."""

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.reference import updates as reference

LEVELS = [pytest.param(K.load(level), id=level) for level in K.available]
DTYPES = [np.float32, np.float64]
# One element, around the vector width, two axes, none, a scalar, and more than one piece of work.
SHAPES = [(1,), (7,), (8,), (9,), (33,), (3, 5), (0,), (), (16384 + 5,), (3, 16384)]


def arrays(seed, dtype, positive=False):
    rng = np.random.default_rng(seed)
    values = [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in SHAPES]
    return [np.asarray(np.abs(v)) for v in values] if positive else values


def copies(lists):
    return [[x.copy() for x in items] for items in lists]


def counts_from(first):
    return [np.array(first + k) for k in range(len(SHAPES))]


def two_groups(lists, settings):
    """The parameters of all lists, in two groups that have the same settings."""
    return [(*(x and x[part] for x in lists), *settings) for part in (slice(4), slice(4, None))]


def assert_close(results, expected, dtype):
    rtol = 2e-6 if dtype == np.float32 else 1e-14
    for x, y in zip(results, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


# Entry point, how many moments it has, how many of them the settings need, and the settings.
STEPS = [
    ("sgd_step", 1, 0, (0.0, False, 0.0)),
    ("sgd_step", 1, 1, (0.9, False, 0.0)),
    ("sgd_step", 1, 1, (0.9, True, 0.0)),
    ("sgd_step", 1, 1, (0.9, False, 0.3)),
    ("adam_step", 3, 2, (0.9, 0.99, 1e-8, False)),
    ("adam_step", 3, 2, (0.9, 0.99, 1e-8, True)),
    ("adam_step", 3, 3, (0.9, 0.99, 1e-8, False)),
    ("nadam_step", 2, 2, (0.9, 0.99, 1e-8, False, 0.004)),
    ("nadam_step", 2, 2, (0.9, 0.99, 1e-8, True, 0.1)),
    ("rmsprop_step", 3, 1, (0.9, 1e-8, 0.0)),
    ("rmsprop_step", 3, 2, (0.9, 1e-8, 0.5)),
    ("rmsprop_step", 3, 3, (0.9, 1e-8, 0.5)),
    ("adagrad_step", 1, 1, (0.1, 0.2, 1e-10)),
    ("adadelta_step", 2, 2, (0.9, 1e-6)),
    ("ema_step", 0, 0, ()),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", LEVELS)
@pytest.mark.parametrize(("name", "most", "used", "settings"), STEPS)
def test_step(kernels, name, most, used, settings, dtype):
    # (Squares come first, and are greater than the square of the mean.)
    moments = [arrays(seed, dtype, positive=True) for seed in range(2, 2 + used)]
    moments[:1] = [[np.asarray(x + 20) for x in values] for values in moments[:1]]
    given = [arrays(0, dtype), arrays(1, dtype), *moments]
    lrs = [0.01 * (k + 1) for k in range(len(SHAPES))]
    decays = [0.1 * (k % 2) for k in range(len(SHAPES))]
    results = []
    for module in (kernels, reference):
        lists, counts = copies(given), counts_from(0)
        missing = [None] * (most - used)
        groups = two_groups((*lists, *missing, counts, lrs, decays), settings)
        getattr(module, name)(groups)
        assert counts == counts_from(1)
        assert all(np.array_equal(x, y) for x, y in zip(lists[1], given[1], strict=True))
        assert not any(
            np.array_equal(x, y) for x, y in zip(lists[0], given[0], strict=True) if x.size
        )
        results.append(lists)
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, dtype)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 1 - 1e-6, -0.9])
@pytest.mark.parametrize("kernels", LEVELS)
def test_bias_after_many_steps(kernels, beta):
    """1 - beta^t has the same bits where the kernel computes no power any more."""
    limit = int(40 / (1 - beta))
    for steps in (0, limit - 2, limit - 1, limit, limit + 1, 2 * limit, 100 * limit):
        p, g, m, v = (np.array([x]) for x in (0.0, 1.0, 0.0, 0.0))
        group = ([p], [g], [m], [v], None, [np.array(steps)], [1.0], [0.0], beta, 0.0, 0.0, False)
        kernels.adam_step([group])
        assert p == -(1 / (1 - beta ** (steps + 1))) * (1 - beta)


@pytest.mark.parametrize("kernels", LEVELS)
def test_bits_do_not_depend_on_the_number_of_threads(kernels):
    before = K.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            K.set_num_threads(threads)
            result = []
            for name, most, used, settings in STEPS:
                moments = [arrays(seed, np.float32, True) for seed in range(2, 2 + used)]
                given = [arrays(0, np.float32), arrays(1, np.float32), *moments]
                count = len(SHAPES)
                lists = (
                    *given,
                    *[None] * (most - used),
                    counts_from(4),
                    [0.1] * count,
                    [0.1] * count,
                )
                getattr(kernels, name)([(*lists, *settings)])
                result += [x.tobytes() for x in given[0]]
            results.append([*result, kernels.clip_norm(given[1], 1.0)[0].tobytes()])
    finally:
        K.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("kernels", LEVELS)
def test_other_memory_layouts(kernels):
    p = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    g = np.ones((3, 8), np.float32)[:, ::2]  # strided, and in another order than p
    expected = p - 0.5
    kernels.sgd_step([([p], [g], None, [np.array(0)], [0.5], [0.0], 0.0, False, 0.0)])
    np.testing.assert_array_equal(p, expected)


@pytest.mark.parametrize("kernels", LEVELS)
@pytest.mark.parametrize(
    ("p", "g", "error"),
    [
        (np.zeros(3), np.zeros(4), ValueError),
        (np.zeros(3), np.zeros(3, np.float32), TypeError),
        (np.zeros(3, np.int64), np.zeros(3, np.int64), TypeError),
        (np.zeros((4, 4))[:, ::2], np.zeros((4, 2)), ValueError),
        (np.broadcast_to(0.0, (3,)), np.zeros(3), ValueError),
        ([0.0], np.zeros(1), TypeError),
    ],
)
def test_bad_arrays_change_nothing(kernels, p, g, error):
    first, count = np.zeros(2), np.array(0)
    good = ([first], [np.ones(2)], None, [count], [1.0], [0.0], 0.0, False, 0.0)
    bad = ([p], [g], None, [np.array(0)], [1.0], [0.0], 0.0, False, 0.0)
    with pytest.raises(error):
        kernels.sgd_step([good, bad])
    assert (first == 0).all() and count == 0


@pytest.mark.parametrize("kernels", LEVELS)
@pytest.mark.parametrize("count", [0, np.array(0.0), np.zeros(2, np.int64), np.broadcast_to(0, ())])
def test_a_count_that_cannot_be_advanced(kernels, count):
    p = np.zeros(2)
    with pytest.raises(TypeError, match="count"):
        kernels.sgd_step([([p], [np.ones(2)], None, [count], [1.0], [0.0], 0.0, False, 0.0)])
    assert (p == 0).all()


@pytest.mark.parametrize("kernels", LEVELS)
def test_moments_that_would_become_subnormal_become_zero(kernels):
    m = [np.array([1.2e-38, -1.2e-38, 1e-30, np.nan], np.float32)]
    zeros = [np.zeros(4, np.float32)]
    p = [np.ones(4, np.float32)]
    kernels.sgd_step([(p, zeros, m, [np.array(0)], [0.1], [0.0], 0.5, False, 0.0)])
    np.testing.assert_array_equal(m[0], np.array([0, 0, 0.5e-30, np.nan], np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", [*LEVELS, pytest.param(reference, id="reference")])
def test_clip_norm(kernels, dtype):
    xs = arrays(0, dtype)
    before = [x.copy() for x in xs]
    expected = np.sqrt(sum(np.square(x, dtype=np.float64).sum() for x in xs))
    for most in (np.inf, 2 * expected):
        norm, clipped = kernels.clip_norm(xs, most)
        assert norm.dtype == np.float64
        assert norm == pytest.approx(expected, rel=1e-13)
        assert not clipped
        assert all(np.array_equal(x, y) for x, y in zip(xs, before, strict=True))
    norm, clipped = kernels.clip_norm(xs, 0.5 * expected)
    assert norm == pytest.approx(expected, rel=1e-13)
    assert clipped
    factor = dtype(0.5 * norm[()] / (norm[()] + 1e-6))
    for x, y in zip(xs, before, strict=True):
        np.testing.assert_allclose(x, y * factor, rtol=1e-6)
    for bad in (np.nan, np.inf):
        xs[0].flat[0] = bad
        before = [x.copy() for x in xs]
        norm, clipped = kernels.clip_norm(xs, 1.0)
        assert not (np.isfinite(norm) or clipped)
        assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(xs, before, strict=True))
    assert kernels.clip_norm([], 1.0)[0] == 0.0
    norm, _ = kernels.clip_norm([np.full(3, 1e30, np.float32)], np.inf)
    assert norm == pytest.approx(3**0.5 * 1e30)


@pytest.mark.parametrize("kernels", [*LEVELS, pytest.param(reference, id="reference")])
def test_first_misfit(kernels):
    p = [np.zeros(2), np.zeros((2, 1)), np.zeros(3)]
    assert kernels.first_misfit(p, [x.copy() for x in p]) == -1
    assert kernels.first_misfit([], []) == -1
    assert kernels.first_misfit(p, [p[0], np.zeros((1, 2)), p[2]]) == 1
    assert kernels.first_misfit(p, [p[0], p[1], np.zeros(3, np.float32)]) == 2
    assert kernels.first_misfit(p, [[0.0, 0.0], p[1], p[2]]) == 0
