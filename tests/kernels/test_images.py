"""Batch normalisation and pooling against the NumPy reference: both memory layouts, every CPU level and dtype."""

import inspect
import itertools

import numpy as np
import pytest

from minidl import _kernels as K

LEVELS = {level: K.load(level) for level in K.available}
REFERENCE = K.load("reference")
ENTRY_POINTS = [
    "batch_norm_moments",
    "batch_norm_forward",
    "batch_norm_backward",
    "batch_norm_track",
    "max_pool_forward",
    "max_pool_places",
    "max_pool_backward",
    "max_pool_scatter",
    "max_pool_gather",
    "avg_pool_forward",
    "avg_pool_backward",
]
every_level = pytest.mark.parametrize("level", LEVELS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def channels_last(x):
    turned = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return np.moveaxis(turned, -1, 1)


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "C": np.ascontiguousarray,
    "channels last": channels_last,
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "read-only": frozen,
}


def results(value):
    return value if isinstance(value, tuple) else (value,)


def close(got, expected, dtype, size=1):
    assert len(results(got)) == len(results(expected))
    rtol = 2e-5 if dtype == "float32" else 1e-11
    for y, z in zip(results(got), results(expected), strict=True):
        assert type(y) is np.ndarray and (y.dtype, y.shape) == (z.dtype, z.shape)
        np.testing.assert_allclose(y, z, rtol=rtol, atol=rtol * max(1.0, np.sqrt(size)))


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_signatures_are_the_references(entry_point):
    reference = list(inspect.signature(getattr(REFERENCE, entry_point)).parameters)
    for kernels in LEVELS.values():
        assert list(inspect.signature(getattr(kernels, entry_point)).parameters) == reference


# ── Batch normalisation ───────────────────────────────────────────────────────────────────────────

SHAPES = [
    (1, 1),
    (7, 3),
    (300, 1),
    (64, 100),
    (513, 300),
    (5, 3, 7),
    (16, 5, 9),
    (2, 3, 4, 5),
    (33, 6, 5, 10),
    (3, 5, 1, 1),
    (4, 300, 3, 3),
    (2, 3, 70, 60),
    (40, 8, 20, 20),
    (2, 2100, 2),
    (1, 2, 3, 4, 5),
    (0, 3),
    (0, 3, 2, 2),
    (2, 0, 3),
]


EPS = 0.1


def given(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    channels = (1, shape[1]) + (1,) * (len(shape) - 2)
    x = (rng.normal(size=shape) + 3 * rng.normal(size=channels)).astype(dtype)
    gy, (weight, bias) = rng.normal(size=shape), rng.normal(size=(2, shape[1]))
    mean, var = REFERENCE.batch_norm_moments(x)
    return (
        x,
        gy.astype(dtype),
        mean,
        var,
        weight.astype(dtype),
        bias.astype(dtype),
    )


@every_level
@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch_norm(level, dtype, layout):
    kernels = LEVELS[level]
    for shape in SHAPES:
        x, gy, mean, var, weight, bias = given(shape, dtype)
        x = LAYOUTS[layout](x)
        before = x.copy()
        moments = REFERENCE.batch_norm_moments(x)
        close(kernels.batch_norm_moments(x), moments, dtype)
        for parameters in ((), (weight,), (weight, bias), (None, bias)):
            y = kernels.batch_norm_forward(x, mean, var, EPS, *parameters)
            close(y, REFERENCE.batch_norm_forward(x, mean, var, EPS, *parameters), dtype)
            if x.size and layout in ("C", "channels last"):
                assert y.strides == x.strides
            for moving, g in itertools.product((True, False), (gy, channels_last(gy))):
                arguments = (x, g, mean, var, EPS, *(*parameters, None, None)[:2], moving)
                expected = REFERENCE.batch_norm_backward(*arguments)
                close(kernels.batch_norm_backward(*arguments), expected, dtype, x.size)
        np.testing.assert_array_equal(x, before)


@every_level
@every_dtype
@pytest.mark.parametrize("layout", ["C", "channels last"])
def test_an_activation_in_the_same_pass_gives_the_same_bits(level, dtype, layout):
    kernels = LEVELS[level]
    for shape in SHAPES:
        x, gy, mean, var, weight, bias = given(shape, dtype)
        x = LAYOUTS[layout](x)
        plain = kernels.batch_norm_forward(x, mean, var, EPS, weight, bias)
        for name, a, by_sign in (("relu", 0, True), ("leaky_relu", 0.2, True), ("tanh", 0, False)):
            y = kernels.batch_norm_forward(x, mean, var, EPS, weight, bias, name, a)
            np.testing.assert_array_equal(y, kernels.activation_forward(name, plain, a))
            g = kernels.activation_backward(name, y, gy, a)
            apart = kernels.batch_norm_backward(x, g, mean, var, EPS, weight, bias)
            for result in (y, None) if by_sign else (y,):
                args = (x, gy, mean, var, EPS, weight, bias, True, name, a, 0, result)
                fused = kernels.batch_norm_backward(*args)
                for ours, other in zip(fused, apart, strict=True):
                    np.testing.assert_array_equal(ours, other)
                close(fused, REFERENCE.batch_norm_backward(*args), dtype, x.size)


@every_level
@pytest.mark.parametrize("layout", ["C", "channels last"])
@pytest.mark.parametrize("mean", [1e4, -3e5])
def test_a_large_mean_costs_no_accuracy(level, layout, mean):
    for shape in ((1000, 3), (64, 3, 10, 10), (8, 40, 64, 64)):
        x = LAYOUTS[layout]((mean + np.random.default_rng(0).normal(size=shape)).astype("float32"))
        (center, var), expected = (
            LEVELS[level].batch_norm_moments(x),
            REFERENCE.batch_norm_moments(x),
        )
        np.testing.assert_allclose(center, expected[0], rtol=1e-9)
        np.testing.assert_allclose(var, expected[1], rtol=1e-5)
        y = LEVELS[level].batch_norm_forward(x, center, var, 0.0)
        np.testing.assert_allclose(
            y, REFERENCE.batch_norm_forward(x, expected[0], var, 0.0), atol=1e-5
        )


@every_level
@pytest.mark.parametrize("layout", ["C", "channels last"])
def test_moments_of_special_values(level, layout):
    moments = LEVELS[level].batch_norm_moments
    x = np.zeros((8, 5, 6), "float32")
    x[:, 0] = 7
    x[:, 1] = 1e30 * np.random.default_rng(0).normal(size=(8, 6))  # its squares overflow
    x[3, 2, 1] = np.nan
    x[3, 3, 1] = np.inf
    x[0, 4, 0] = 1e4  # the first element is far from all others
    mean, var = moments(LAYOUTS[layout](x))
    expected = REFERENCE.batch_norm_moments(x)
    finite = [0, 1, 4]
    np.testing.assert_allclose(mean[finite], expected[0][finite], rtol=1e-6)
    np.testing.assert_allclose(var[finite], expected[1][finite], rtol=1e-5)
    assert var[0] == 0 and np.isnan(var[2:4]).all() and not np.isfinite(mean[2:4]).any()


def test_batch_norm_refuses():
    for kernels in LEVELS.values():
        x, gy, mean, var, weight, bias = given((2, 3, 4), "float32")
        with pytest.raises(ValueError, match=r"batch_norm: weight: expected 3 values, got .*2"):
            kernels.batch_norm_forward(x, mean, var, EPS, weight[:2], bias)
        with pytest.raises(ValueError, match=r"batch_norm: expected shape \(2, 3, 4\)"):
            kernels.batch_norm_backward(x, gy[:1], mean, var, EPS)
        with pytest.raises(ValueError, match=r"batch_norm: expected x \(N, C, ...\)"):
            kernels.batch_norm_moments(x[0, 0])
        for bad in ("float16", "int64", "object"):
            with pytest.raises(TypeError, match=bad):
                kernels.batch_norm_moments(x.astype(bad))
        for wrong in (mean[:2], mean.astype("float16"), list(mean), frozen(mean)):
            with pytest.raises(TypeError, match="running_var: expected 3 floats"):
                kernels.batch_norm_track(None, wrong, None, mean, var, 8, 0.1)
        with pytest.raises(ValueError, match=r"batch_norm: var: expected 3 values, got .*2"):
            kernels.batch_norm_track(None, None, None, mean, var[:2], 8, 0.1)
        for wrong in (3, np.int32(3), np.zeros(2, "int64")):
            with pytest.raises(TypeError, match="count must be an int64 array"):
                kernels.batch_norm_track(None, None, wrong, mean, var, 8, 0.1)
        with pytest.raises(ValueError, match="needs their count"):
            kernels.batch_norm_track(mean.copy(), None, None, mean, var, 8)


@pytest.mark.parametrize("level", [*LEVELS, "reference"])
@every_dtype
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
def test_running_statistics(level, dtype, momentum):
    """By hand, after each of three batches; strided ones, too."""
    kernels, rng = K.load(level), np.random.default_rng(0)
    running_mean, running_var = np.ones((2, 5, 3), dtype)[:, :, 1]
    count, expected = np.array(0), [np.ones(5), np.ones(5)]
    for n in (1, 8, 0):
        mean, var = rng.normal(size=(2, 5)) ** 2
        kernels.batch_norm_track(running_mean, running_var, count, mean, var, n, momentum)
        if n:
            share = momentum if momentum is not None else 1 / count
            for i, new in enumerate((mean, var * n / max(n - 1, 1))):
                expected[i] = (1 - share) * expected[i] + share * new
        np.testing.assert_allclose(running_mean, expected[0], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(running_var, expected[1], rtol=1e-6, atol=1e-7)
    assert count == 3
    before = running_mean.copy()
    kernels.batch_norm_track(None, running_var, count, mean, var, 4, momentum)
    np.testing.assert_array_equal(running_mean, before)


# ── Pooling ───────────────────────────────────────────────────────────────────────────────────────


def windows(axes, seed, count):
    """Random (shape, kernel, stride, padding) that fit."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        size = tuple(int(n) for n in rng.integers(1, 9, axes))
        kernel = tuple(int(rng.integers(1, n + 1)) for n in size)
        stride = tuple(int(n) for n in rng.integers(1, 4, axes))
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        yield (
            (int(rng.integers(0, 4)), int(rng.choice([1, 2, 5, 70])), *size),
            kernel,
            stride,
            padding,
        )


@every_level
@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pooling(level, dtype, layout, axes):
    for shape, *window in windows(axes, axes, 20):
        check_pooling(LEVELS[level], LAYOUTS[layout], dtype, shape, *window)


# What is walked in ways of its own: few or many results side by side, windows that tile the image or leave gaps, that
# overlap, are wide, or as large as the image; (size, kernel, stride, padding).
USUAL = [
    *(((n, m), (2, 2), (2, 2), (0, 0)) for n in (2, 7) for m in (2, 8, 9, 14, 16, 24, 35, 70)),
    *(((6, n), (2, 2), (3, 3), (0, 0)) for n in (5, 40)),
    *(((6, n), (2, 3), (2, 2), (1, 1)) for n in (6, 37)),
    *(((5, n), (3, 3), (1, 1), (1, 1)) for n in (3, 20, 33)),
    ((5, 40), (1, 2), (1, 2), (0, 1)),
    ((6, 36), (2, 1), (2, 2), (0, 0)),
    ((9, 40), (4, 9), (4, 9), (0, 0)),
    ((8, 31), (4, 4), (2, 3), (2, 0)),
    ((28, 28), (14, 14), (7, 7), (0, 0)),
    ((14, 14), (14, 14), (1, 1), (0, 0)),
    ((15, 15), (14, 14), (1, 1), (7, 7)),
    ((1, 210), (1, 70), (1, 70), (0, 0)),
    ((1, 210), (1, 70), (1, 35), (0, 30)),
    ((2, 1200), (2, 600), (1, 1), (0, 300)),
    ((2, 1200), (1, 3), (1, 2), (0, 1)),
    ((3, 40), (2, 17), (1, 1), (0, 8)),
    ((7, 7), (7, 7), (1, 1), (0, 0)),
    ((7, 7), (3, 7), (2, 7), (0, 0)),
    ((3, 5, 4), (3, 5, 4), (3, 5, 4), (0, 0, 0)),
    *((size, (d, 2, 2), (d, 2, 2), (0, 0, 0)) for d in (1, 2) for size in ((4, 4, 6), (3, 7, 13))),
]


@every_level
@every_dtype
@pytest.mark.parametrize("layout", ["C", "channels last"])
@pytest.mark.parametrize("window", USUAL, ids=str)
def test_usual_windows(level, dtype, layout, window):
    size, *window = window
    long = size[-1] > 1000  # the reference takes long for these
    for channels in (1, 8, 20) if long else (1, 3, 6, 8, 20, 45):
        check_pooling(LEVELS[level], LAYOUTS[layout], dtype, (2, channels, *size), *window)


def check_pooling(kernels, turn, dtype, shape, *window):
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=shape), 1).astype(dtype)  # equal values: the first one counts
    x[rng.random(shape) < 0.05] = np.nan
    x[rng.random(shape) < 0.05] = np.inf
    x[rng.random(shape) < 0.1] = -np.inf
    x[rng.random(shape) < 0.1] = -0.0
    y, index = kernels.max_pool_places(turn(x), *window)
    expected, places = REFERENCE.max_pool_places(x, *window)
    for given in (y, kernels.max_pool_forward(turn(x), *window)):
        np.testing.assert_array_equal(given, expected)
        assert given.dtype == dtype and np.signbit(given).tobytes() == np.signbit(y).tobytes()
    np.testing.assert_array_equal(index, places)
    again = kernels.max_pool_places(turn(x), *window, False)
    np.testing.assert_array_equal(again[0], expected)
    assert again[1] is None or again[1].tobytes() == index.tobytes()
    gy, ggx = rng.normal(size=y.shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    gx = REFERENCE.max_pool_scatter(gy, index, shape[2:])
    close(kernels.max_pool_scatter(turn(gy), index, shape[2:]), gx, dtype)
    close(kernels.max_pool_backward(turn(x), gy, *window), gx, dtype)
    gathered = REFERENCE.max_pool_gather(ggx, index)
    np.testing.assert_array_equal(kernels.max_pool_gather(turn(ggx), index), gathered)
    means = REFERENCE.avg_pool_forward(ggx, *window)
    close(kernels.avg_pool_forward(turn(ggx), *window), means, dtype)
    gx = REFERENCE.avg_pool_backward(gy, shape[2:], *window)
    close(kernels.avg_pool_backward(turn(gy), shape[2:], *window), gx, dtype)


def test_pooling_keeps_the_layout():
    x = channels_last(np.random.default_rng(0).normal(size=(2, 5, 6, 4)))
    for kernels in (*LEVELS.values(), REFERENCE):
        window = (2, 2), (2, 2), (0, 0)
        y, index = kernels.max_pool_places(x, *window)
        gx, given = (
            kernels.max_pool_scatter(y, index, (6, 4)),
            kernels.max_pool_backward(x, y, *window),
        )
        mean = kernels.avg_pool_forward(x, (2, 2), (2, 2), (0, 0))
        back = kernels.avg_pool_backward(mean, (6, 4), (2, 2), (2, 2), (0, 0))
        for array in (y, index, gx, given, mean, back, kernels.max_pool_gather(x, index)):
            assert np.moveaxis(array, 1, -1).flags.c_contiguous


@every_level
@pytest.mark.parametrize("layout", ["C", "channels last"])
def test_a_window_larger_than_the_image_costs_what_the_image_costs(level, layout):
    kernels, turn, wide = LEVELS[level], LAYOUTS[layout], 2**31 - 2
    for size in ((4,), (3, 5), (2, 3, 2)):
        x = turn(np.random.default_rng(0).normal(size=(2, 3, *size)))
        for stride in (1, 2, wide):
            window = [(n,) * len(size) for n in (wide, stride, wide // 2)]
            y = kernels.max_pool_forward(x, *window)
            np.testing.assert_array_equal(y, REFERENCE.max_pool_forward(x, *window))
            given, expected = [k.max_pool_backward(x, y, *window) for k in (kernels, REFERENCE)]
            np.testing.assert_allclose(given, expected, rtol=1e-12)
            mean = kernels.avg_pool_forward(x, *window)
            np.testing.assert_allclose(mean, REFERENCE.avg_pool_forward(x, *window), rtol=1e-12)
            gx = kernels.avg_pool_backward(y, size, *window)
            np.testing.assert_allclose(
                gx, REFERENCE.avg_pool_backward(y, size, *window), rtol=1e-12
            )


@every_level
@pytest.mark.parametrize("layout", ["C", "channels last"])
def test_rows_of_more_than_one_piece(level, layout):
    kernels, turn = LEVELS[level], LAYOUTS[layout]
    x = turn(np.random.default_rng(0).integers(-9, 9, (1, 2, 40_000)).astype("float64"))
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (2, 2))), 5, axis=2)
    for stride in (1, 2, 3):
        mean = kernels.avg_pool_forward(x, (5,), (stride,), (2,))
        np.testing.assert_allclose(mean, seen[:, :, ::stride].mean(axis=-1), atol=1e-12)
        gx, gy = np.zeros((1, 2, 40_004)), np.moveaxis(mean, 2, 0)
        for at, g in enumerate(gy):
            gx[:, :, at * stride : at * stride + 5] += g[..., None] / 5
        back = kernels.avg_pool_backward(mean, (40_000,), (5,), (stride,), (2,))
        np.testing.assert_allclose(back, gx[:, :, 2:-2], atol=1e-12)


def test_pooling_refuses():
    x = np.zeros((2, 3, 4, 4), "float32")
    one, two = (1, 1), (2, 2)
    for kernels in LEVELS.values():
        for kernel, stride, padding in (
            ((5, 1), one, (0, 0)),
            (two, (0, 1), (0, 0)),
            (two, one, two),
            ((2**31, 1), one, (2**30, 0)),
            (two, (2**31, 1), (0, 0)),
        ):
            for entry_point in ("max_pool", "avg_pool"):
                with pytest.raises(ValueError, match=f"{entry_point}: .* does not fit 4 places"):
                    getattr(kernels, f"{entry_point}_forward")(x, kernel, stride, padding)
        _, index = kernels.max_pool_places(x, two, two, (0, 0))
        for bad in (index + 16, index - 1):
            with pytest.raises(ValueError, match="max_pool: index: expected places from 0 to 15"):
                kernels.max_pool_gather(x, bad)
            with pytest.raises(ValueError, match="places from 0 to 15"):
                kernels.max_pool_scatter(x[:, :, :2, :2], bad, (4, 4))
        with pytest.raises(ValueError, match="index of shape"):
            kernels.max_pool_scatter(x, index, (4, 4))
        with pytest.raises(ValueError, match=r"max_pool: expected shape \(2, 3, 2, 2\)"):
            kernels.max_pool_backward(x, x, two, two, (0, 0))
        with pytest.raises(ValueError, match="does not fit"):
            kernels.avg_pool_backward(x, (4, 4), two, two, (0, 0))
        with pytest.raises(TypeError, match="int64"):
            kernels.max_pool_forward(x.astype("int64"), two, two, (0, 0))
        with pytest.raises(ValueError, match="too large"):  # 2**66 wraps around to 0
            kernels.max_pool_scatter(x[..., None], index[..., None], (2**22,) * 3)
        with pytest.raises(ValueError, match="1 to 3 axes"):
            kernels.avg_pool_forward(x[..., None, None], one * 2, one * 2, (0,) * 4)


# ── Threads ───────────────────────────────────────────────────────────────────────────────────────


@every_level
@pytest.mark.parametrize("layout", ["C", "channels last"])
def test_same_bits_with_any_number_of_threads(level, layout):
    kernels, turn, before = LEVELS[level], LAYOUTS[layout], K.get_num_threads()
    x, gy, mean, var, weight, bias = given((20, 70, 30, 25), "float32")
    x, gy, window = turn(x), turn(gy), ((3, 2), (2, 2), (1, 1))
    (_, index), two = kernels.max_pool_places(x, *window), ((2, 2), (2, 2), (0, 0))
    g = turn(gy[:, :, : index.shape[2], : index.shape[3]])
    calls = [
        lambda: kernels.batch_norm_moments(x),
        lambda: kernels.batch_norm_forward(x, mean, var, EPS, weight, bias),
        lambda: kernels.batch_norm_backward(x, gy, mean, var, EPS, weight, bias),
        lambda: kernels.max_pool_forward(x, *window),
        lambda: kernels.max_pool_places(x, *window),
        lambda: kernels.max_pool_backward(x, g, *window),
        lambda: kernels.max_pool_backward(x, kernels.max_pool_forward(x, *two), *two),
        lambda: kernels.avg_pool_backward(kernels.avg_pool_forward(x, *two), (30, 25), *two),
        lambda: kernels.max_pool_scatter(g, index, (30, 25)),
        lambda: kernels.max_pool_gather(x, index),
        lambda: kernels.avg_pool_forward(x, *window),
        lambda: kernels.avg_pool_backward(g, (30, 25), *window),
    ]
    try:
        bits = []
        for threads in (1, 2, 3, 4):
            K.set_num_threads(threads)
            bits.append([y.tobytes() for call in calls for y in results(call())])
    finally:
        K.set_num_threads(before)
    assert all(run == bits[0] for run in bits)
