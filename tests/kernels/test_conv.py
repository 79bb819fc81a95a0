"""The convolution kernels against the reference: shapes around the tile, layouts, levels, threads, refusals."""

import inspect
import itertools

import numpy as np
import pytest

from minidl import _kernels as K

REFERENCE = K.load("reference")
ENTRY_POINTS = ("conv_forward", "conv_input_grad", "conv_weight_grad")
every_level = pytest.mark.parametrize("level", [*K.available, "reference"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

# (N, C, O, size, kernel, stride, padding, dilation, groups)
CASES = {
    "one of all": (1, 1, 1, (1,), (1,), (1,), (0,), (1,), 1),
    "DCGAN, first": (3, 1, 32, (12, 12), (4, 4), (2, 2), (1, 1), (1, 1), 1),
    "DCGAN, middle": (3, 32, 64, (8, 8), (4, 4), (2, 2), (1, 1), (1, 1), 1),
    "DCGAN, last": (5, 64, 1, (4, 4), (4, 4), (1, 1), (0, 0), (1, 1), 1),
    "one pixel of y": (9, 20, 50, (4, 3), (4, 3), (3, 3), (0, 0), (1, 1), 1),
    "one pixel of y, dilated": (3, 8, 5, (5, 3), (3, 2), (1, 1), (0, 0), (2, 2), 1),
    "3x3": (2, 17, 49, (7, 9), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "1x1": (2, 33, 97, (7, 5), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1, few pixels": (20, 9, 70, (3, 3), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1, many channels": (2, 300, 270, (11, 10), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1, one channel": (2, 1, 40, (9, 9), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1, one output": (3, 40, 1, (9, 9), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1, groups": (3, 36, 60, (9, 11), (1, 1), (1, 1), (0, 0), (1, 1), 3),
    "1x1, 1 axis": (2, 7, 20, (95,), (1,), (1,), (0,), (1,), 1),
    "1x1, 3 axes": (2, 20, 33, (3, 5, 7), (1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    "1x1, padded": (2, 20, 33, (9, 8), (1, 1), (1, 1), (1, 0), (1, 1), 1),
    "no padding": (3, 20, 40, (9, 8), (3, 2), (1, 2), (0, 0), (1, 1), 1),
    "no padding, many channels": (2, 130, 140, (9, 8), (3, 3), (2, 2), (0, 0), (1, 1), 1),
    "no padding, groups": (2, 24, 40, (9, 8), (2, 3), (1, 1), (0, 0), (1, 1), 2),
    "1x1, strided": (2, 5, 16, (7, 5), (1, 1), (2, 3), (0, 0), (1, 1), 1),
    "three outputs": (2, 40, 3, (9, 8), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "dilated": (2, 7, 20, (9, 11), (3, 2), (1, 2), (2, 1), (2, 3), 1),
    "groups": (2, 6, 9, (6, 5), (2, 3), (2, 1), (1, 1), (1, 1), 3),
    "wide groups": (2, 64, 96, (6, 5), (3, 3), (1, 2), (1, 1), (1, 1), 2),
    "depthwise": (2, 20, 20, (6, 7), (3, 3), (1, 1), (1, 1), (1, 1), 20),
    "depthwise: strided, dilated": (2, 37, 37, (9, 11), (3, 2), (2, 1), (2, 1), (2, 3), 37),
    "depthwise: wide": (2, 130, 130, (7, 9), (5, 3), (1, 1), (2, 1), (1, 1), 130),
    "depthwise: 1 axis": (3, 16, 16, (40,), (7,), (3,), (3,), (1,), 16),
    "depthwise: 3 axes": (2, 17, 17, (4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2), 17),
    "stride beyond the kernel": (2, 3, 5, (11, 10), (2, 1), (4, 3), (0, 0), (1, 1), 1),
    "padding beyond the kernel": (2, 3, 5, (2, 3), (2, 1), (1, 2), (4, 3), (1, 1), 1),
    "1 axis, long kernel": (2, 3, 18, (300,), (150,), (3,), (7,), (1,), 1),
    "1 axis, long": (1, 2, 17, (2000,), (3,), (1,), (1,), (1,), 1),
    "3 axes": (2, 3, 20, (4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2), 1),
    "many channels": (2, 300, 160, (3, 3), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "patches: 4x4": (5, 33, 50, (13, 8), (4, 4), (2, 2), (1, 1), (1, 1), 1),
    "patches: 4x4, many channels": (20, 70, 200, (5, 6), (4, 4), (2, 2), (2, 2), (1, 1), 1),
    "patches: 4x4, no padding": (9, 32, 33, (11, 11), (4, 4), (2, 2), (0, 0), (1, 1), 1),
    "patches: 3x3": (9, 20, 100, (6, 5), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "patches: 3x3, many channels": (6, 257, 16, (5, 7), (3, 3), (1, 1), (2, 2), (1, 1), 1),
    "patches: 3x3, long": (1, 18, 35, (70, 61), (3, 3), (1, 1), (0, 0), (1, 1), 1),
    "many pixels": (3, 4, 24, (40, 41), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "few: LeNet, first": (5, 1, 6, (28, 28), (5, 5), (1, 1), (2, 2), (1, 1), 1),
    "few: LeNet, second": (5, 6, 16, (14, 14), (5, 5), (1, 1), (0, 0), (1, 1), 1),
    "few: RGB": (3, 3, 64, (20, 21), (4, 4), (2, 2), (1, 1), (1, 1), 1),
    "few: RGB, 3x3": (3, 3, 64, (17, 18), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "few: one to one": (2, 1, 1, (23, 31), (3, 5), (1, 1), (1, 3), (1, 1), 1),
    "few: two to four": (2, 2, 4, (19, 17), (2, 3), (1, 1), (0, 1), (1, 1), 1),
    "few: seven to eight, strided": (2, 7, 8, (33, 37), (3, 4), (2, 3), (1, 2), (1, 1), 1),
    "few: dilated": (2, 5, 3, (30, 29), (3, 3), (1, 2), (4, 3), (3, 2), 1),
    "few: stride beyond the kernel": (2, 3, 5, (64, 66), (2, 1), (4, 3), (1, 0), (1, 1), 1),
    "few: padding beyond the kernel": (2, 2, 3, (9, 12), (3, 2), (1, 1), (5, 4), (1, 1), 1),
    "few: groups": (2, 12, 9, (15, 16), (3, 3), (1, 1), (1, 1), (1, 1), 3),
    "16 of a group": (2, 48, 48, (28, 28), (3, 3), (1, 1), (1, 1), (1, 1), 3),
    "16 of a group: dilated": (2, 16, 16, (28, 28), (3, 3), (1, 1), (2, 2), (2, 2), 1),
    "16 of a group: from one": (3, 1, 16, (28, 28), (5, 5), (1, 1), (0, 0), (1, 1), 1),
    "16 of a group: bands": (1, 16, 16, (150, 90), (5, 5), (1, 1), (2, 2), (1, 1), 1),
    "13 of a group": (2, 5, 13, (20, 31), (3, 4), (1, 1), (3, 5), (1, 1), 1),
    "10 of a group": (2, 30, 20, (25, 24), (3, 2), (1, 1), (0, 1), (1, 2), 2),
    "few: depthwise": (2, 7, 14, (14, 17), (3, 3), (1, 2), (1, 1), (1, 1), 7),
    "few: bands": (1, 8, 3, (150, 90), (5, 5), (1, 1), (2, 2), (1, 1), 1),
    "few: bands, strided": (1, 4, 6, (301, 160), (5, 3), (3, 2), (2, 0), (1, 1), 1),
    "few: from many, phases": (3, 3, 64, (40, 40), (4, 4), (2, 2), (1, 1), (1, 1), 1),
    "few: from many, bands": (1, 5, 90, (60, 30), (5, 5), (1, 1), (2, 1), (1, 1), 1),
    "few: from many": (2, 70, 3, (24, 20), (4, 4), (2, 2), (1, 1), (1, 1), 1),
    "few: 1 axis": (3, 2, 5, (400,), (7,), (2,), (3,), (1,), 1),
    "few: 3 axes": (2, 2, 3, (6, 9, 11), (2, 3, 2), (1, 2, 1), (1, 0, 1), (2, 1, 2), 1),
    "few: 3 axes, strided": (2, 3, 2, (7, 20, 22), (3, 3, 3), (2, 1, 2), (1, 1, 1), (1, 1, 1), 1),
    "few: columns to one": (2, 8, 1, (23, 31), (3, 5), (1, 1), (1, 3), (1, 1), 1),
    "few: columns from one, dilated": (2, 1, 9, (30, 29), (3, 3), (2, 1), (4, 3), (3, 2), 1),
    "few: columns, bands": (1, 1, 8, (301, 160), (5, 4), (3, 1), (2, 4), (1, 1), 1),
    "few: columns, two outputs and a long kernel": (
        2,
        3,
        2,
        (9, 70),
        (2, 20),
        (1, 1),
        (1, 19),
        (1, 1),
        1,
    ),
    "few: columns to one, long": (2, 9, 1, (4, 60), (2, 16), (1, 1), (0, 15), (1, 3), 1),
    "few: four": (2, 3, 4, (20, 21), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "few: five": (2, 5, 5, (20, 21), (3, 3), (1, 1), (1, 0), (1, 1), 1),
    "few: columns, padding beyond the kernel": (
        2,
        4,
        1,
        (9, 12),
        (3, 3),
        (1, 1),
        (5, 6),
        (1, 1),
        1,
    ),
    "few: columns, 3 axes": (2, 1, 4, (6, 9, 40), (2, 3, 3), (1, 2, 1), (1, 0, 1), (2, 1, 2), 1),
    "few: 16 to 1": (3, 16, 1, (28, 29), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "few: 8 to 2, 1 axis": (2, 8, 2, (400,), (7,), (1,), (3,), (1,), 1),
    "few: 9 to 2, 3 axes": (2, 9, 2, (3, 20, 24), (2, 3, 3), (1, 1, 1), (1, 2, 1), (1, 1, 2), 1),
    "lines: LeNet, second": (17, 6, 16, (12, 12), (5, 5), (1, 1), (0, 0), (1, 1), 1),
    "lines: phases": (3, 4, 33, (13, 10), (4, 5), (2, 2), (1, 1), (1, 1), 1),
    "lines: phases, dilation, 3 axes": (
        2,
        5,
        17,
        (5, 9, 14),
        (2, 3, 3),
        (1, 2, 1),
        (1, 1, 0),
        (2, 3, 1),
        1,
    ),
    "lines: rows that see nothing": (2, 4, 40, (19, 9), (2, 4), (4, 1), (1, 3), (1, 1), 1),
    "overlap: DCGAN, first": (33, 1, 100, (12, 10), (4, 4), (2, 2), (1, 1), (1, 1), 1),
    "overlap: RGB, 3x3": (16, 3, 250, (7, 6), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "overlap: stride beyond the kernel": (16, 3, 130, (22, 25), (2, 5), (4, 6), (1, 0), (1, 1), 1),
    "overlap: wide padding": (16, 3, 170, (20, 21), (3, 5), (1, 1), (2, 3), (1, 1), 1),
    "overlap: 1 axis": (20, 3, 220, (50,), (5,), (2,), (1,), (1,), 1),
    "overlap: 3 axes": (16, 2, 40, (4, 7, 6), (2, 2, 4), (1, 2, 1), (1, 0, 1), (2, 3, 1), 1),
    "overlap: more than taps see": (16, 3, 33, (12, 14), (5, 5), (3, 2), (1, 0), (1, 1), 1),
}
FEW = [name for name in CASES if name.startswith(("few: ", "lines: ", "overlap: "))]
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def arguments(entry_point, case, dtype="float32", seed=0):
    """What an entry point is given: arrays, then settings."""
    n, c, o, size, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(seed)
    rows = zip(size, kernel, stride, padding, dilation, strict=True)
    y_size = [(m + 2 * p - d * (k - 1) - 1) // s + 1 for m, k, s, p, d in rows]
    x, gy = rng.standard_normal((n, c, *size)), rng.standard_normal((n, o, *y_size))
    w, x_bias = rng.standard_normal((o, c // groups, *kernel)), rng.standard_normal(c)
    x, gy, w, x_bias, y_bias = (a.astype(dtype) for a in (x, gy, w, x_bias, rng.standard_normal(o)))
    move = (stride, padding, dilation, groups)
    return {
        "conv_forward": (x, w, y_bias, *move),
        "conv_input_grad": (gy, w, size, *move, x_bias),
        "conv_weight_grad": (x, gy, kernel, *move),
    }[entry_point]


def results(kernel, *given):
    """What an entry point returns, as a tuple: the gradients of weights and bias, or one image."""
    found = kernel(*given)
    return found if isinstance(found, tuple) else (found,)


def assert_all_near(got, expected, dtype):
    assert len(got) == len(expected)
    for mine, other in zip(got, expected, strict=True):
        assert_near(mine, other.astype(dtype), dtype)


def assert_near(got, expected, dtype):
    assert type(got) is np.ndarray and (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert in_order(got), f"strides {got.strides} of shape {got.shape}"
    rtol = 2e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(
        got, expected, rtol=rtol, atol=rtol * max(1.0, np.abs(expected).max(initial=0))
    )


def in_order(y):
    """Whether y lies in memory in C order, or with its channels innermost."""
    return y.flags.c_contiguous or np.moveaxis(y, 1, -1).flags.c_contiguous


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@every_case
@every_dtype
@pytest.mark.parametrize("level", K.available)
def test_equals_the_reference(entry_point, case, dtype, level):
    given = arguments(entry_point, case, dtype)
    kept = [a.copy() for a in given if isinstance(a, np.ndarray)]
    exact = arguments(entry_point, case, "float64")
    expected = results(getattr(REFERENCE, entry_point), *exact)
    kernel = getattr(K.load(level), entry_point)
    assert_all_near(results(kernel, *given), expected, dtype)
    for change in (channels_last, strided, frozen):
        changed = [change(a) if isinstance(a, np.ndarray) else a for a in given]
        assert_all_near(results(kernel, *changed), expected, dtype)
    for a, before in zip([a for a in given if isinstance(a, np.ndarray)], kept, strict=True):
        np.testing.assert_array_equal(a, before, err_msg="an input was changed")


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 1 else x


def strided(x):
    wide = np.full([2 * n for n in x.shape], np.nan, x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("o", [3, 40, 100])
@every_dtype
@pytest.mark.parametrize("level", K.available)
def test_one_channel_with_its_axes_in_any_order(level, dtype, o):
    """What the taps see may lie side by side, but not in the order of the taps."""
    rng = np.random.default_rng(0)
    for size, kernel in (((4, 4), (2, 2)), ((2, 9), (2, 2)), ((2, 9), (2, 4)), ((4, 9), (4, 2))):
        x = rng.standard_normal((1, 1, *size)).astype(dtype)
        gy_size = [n - k + 1 for n, k in zip(size, kernel, strict=True)]
        gy = channels_last(rng.standard_normal((1, o, *gy_size)).astype(dtype))
        expected = REFERENCE.conv_weight_grad(x, gy, kernel)
        for order, axes in itertools.product("CF", ((), (-1,), (-2,), (-1, -2))):
            turned = np.flip(np.flip(x, axes).copy(order), axes)
            assert_all_near(K.load(level).conv_weight_grad(turned, gy, kernel), expected, dtype)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize(
    "name",
    [
        "DCGAN, middle",
        "many channels",
        "many pixels",
        "three outputs",
        "1x1, groups",
        "1x1, many channels",
        "few: LeNet, first",
        "few: bands",
        "few: columns, bands",
        "few: from many",
        "patches: 3x3",
        "patches: 4x4",
    ],
)
@pytest.mark.parametrize("level", K.available)
def test_same_bits_with_any_number_of_threads(entry_point, name, level):
    n, *rest = CASES[name]
    given, kernel = arguments(entry_point, (8 * n, *rest)), getattr(K.load(level), entry_point)
    before = K.get_num_threads()
    try:
        bits = []
        for threads in (1, 2, 3, 4):
            K.set_num_threads(threads)
            bits.append([y.tobytes() for y in results(kernel, *given)])
    finally:
        K.set_num_threads(before)
    assert all(run == bits[0] for run in bits)


@every_level
def test_images_leave_with_their_channels_innermost_or_in_planes(level):
    if level == "reference":
        pytest.skip("the reference gives any layout")
    kernels = K.load(level)
    y = kernels.conv_forward(*arguments("conv_forward", CASES["3x3"]))
    assert y.shape == (2, 49, 7, 9) and y.strides == (49 * 63 * 4, 4, 49 * 9 * 4, 49 * 4)
    for name in ("few: one to one", "1x1, many channels"):
        y = kernels.conv_forward(*arguments("conv_forward", CASES[name]))
        assert y.flags.c_contiguous
    gx = kernels.conv_input_grad(*arguments("conv_input_grad", CASES["lines: LeNet, second"]))
    assert level == "baseline" or gx.flags.c_contiguous
    gw, _ = kernels.conv_weight_grad(*arguments("conv_weight_grad", CASES["3x3"]))
    assert gw.flags.c_contiguous


@every_level
def test_the_size_may_be_given(level):
    """More pixels than the padding allows see zeros; fewer are a part."""
    kernels, (x, w, b, *move) = K.load(level), arguments("conv_forward", CASES["3x3"])
    y = kernels.conv_forward(x, w, b, *move)
    np.testing.assert_allclose(
        kernels.conv_forward(x, w, b, *move, (3, 4)), y[:, :, :3, :4], rtol=1e-4, atol=1e-4
    )
    more = kernels.conv_forward(x, w, b, *move, (10, 11))
    np.testing.assert_allclose(more[:, :, :7, :9], y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        more[:, :, 9, :], np.broadcast_to(b[:, None], (2, 49, 11)), rtol=1e-6
    )


@pytest.mark.parametrize(
    "name",
    [
        "few: LeNet, first",
        "few: columns to one",
        "few: from many",
        "few: groups",
        "depthwise",
        "1x1, groups",
        "no padding, groups",
    ],
)
@pytest.mark.parametrize("level", K.available)
def test_what_is_not_finite_is_seen_where_a_kernel_sees_it(level, name):
    for entry_point, value in itertools.product(ENTRY_POINTS, (np.nan, np.inf)):
        first, *rest = arguments(entry_point, CASES[name])
        first[1, 0, 5, -1] = value
        got = results(getattr(K.load(level), entry_point), first, *rest)[0]
        expected = results(getattr(REFERENCE, entry_point), first, *rest)[0]
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
        assert not np.isfinite(got).all()


@pytest.mark.parametrize("name", ["patches: 3x3", "patches: 4x4", "patches: 4x4, no padding"])
@pytest.mark.parametrize("level", K.available)
def test_nan_is_seen_where_a_kernel_sees_it(level, name):
    """Tiles share intermediate results, but none that an output would not see."""
    for entry_point in ENTRY_POINTS:
        first, *rest = arguments(entry_point, CASES[name])
        first[1, 3, 2, 1] = np.nan
        got = results(getattr(K.load(level), entry_point), first, *rest)[0]
        expected = results(getattr(REFERENCE, entry_point), first, *rest)[0]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        first[1, 3, 2, 1] = np.inf  # minus inf on the way, where tiles are at work
        got = results(getattr(K.load(level), entry_point), first, *rest)[0]
        expected = results(getattr(REFERENCE, entry_point), first, *rest)[0]
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
        assert np.isnan(got).any()


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("name", ["patches: 3x3", "patches: 4x4"])
@pytest.mark.parametrize("level", K.available)
def test_tiles_are_as_exact_as_sums(entry_point, name, level):
    """Integers come out exact; other numbers within 1e-5 of the largest result."""
    given = arguments(entry_point, CASES[name], "float64")
    kernel, reference = getattr(K.load(level), entry_point), getattr(REFERENCE, entry_point)
    for y, exact in zip(
        results(kernel, *as_floats(given)), results(reference, *given), strict=True
    ):
        assert np.abs(y - exact).max() < 2e-6 * np.abs(exact).max()
    whole = [np.round(4 * a) if isinstance(a, np.ndarray) else a for a in given]
    for y, exact in zip(
        results(kernel, *as_floats(whole)), results(reference, *whole), strict=True
    ):
        np.testing.assert_array_equal(y, exact)


def as_floats(given):
    return [a.astype("float32") if isinstance(a, np.ndarray) else a for a in given]


@every_level
@every_dtype
def test_an_activation_is_applied(level, dtype):
    kernels = K.load(level)
    for entry_point in ENTRY_POINTS[:2]:
        for name in (
            "DCGAN, middle",
            "DCGAN, last",
            "groups",
            "depthwise",
            "1x1",
            "1x1, groups",
            "many pixels",
            "patches: 4x4",
            *FEW,
        ):
            given = arguments(entry_point, CASES[name], dtype)
            plain = getattr(kernels, entry_point)(*given)
            given += (None,) if entry_point == "conv_forward" else ()
            y = getattr(kernels, entry_point)(*given, "leaky_relu", 0.2, 0.0)
            np.testing.assert_allclose(y, np.where(plain > 0, plain, 0.2 * plain), rtol=1e-6)


@every_level
def test_empty(level):
    kernels = K.load(level)
    for case in ((0, 3, 4, (5, 5)), (2, 0, 4, (5, 5)), (2, 3, 0, (5, 5))):
        case = (*case, (3, 3), (1, 1), (1, 1), (1, 1), 1)
        for entry_point in ENTRY_POINTS:
            given = arguments(entry_point, case)
            y = results(getattr(kernels, entry_point), *given)
            assert_all_near(y, results(getattr(REFERENCE, entry_point), *given), "float32")


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@every_level
def test_refusals(entry_point, level):
    kernel, given = getattr(K.load(level), entry_point), arguments(entry_point, CASES["groups"])
    first, second, *rest = given
    for bad in ("float16", "int64", "complex128", "object"):
        with pytest.raises(TypeError, match=bad):
            kernel(first.astype(bad), second, *rest)
    with pytest.raises(TypeError, match="ndarray"):
        kernel(first.tolist(), second, *rest)
    with pytest.raises(TypeError, match=r"float32.*float64"):
        kernel(first, second.astype("float64"), *rest)
    for wrong in (first[0], first[:, :, 0], first[:, :-1], first[:, :, None, None]):
        with pytest.raises(ValueError, match="conv"):
            kernel(wrong, second, *rest)
    with pytest.raises(ValueError, match="conv"):
        kernel(first, second[:-1], *rest)
    with pytest.raises(ValueError, match="expected 2 numbers"):
        kernel(*given[:3], (1,), *given[4:])


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@every_level
def test_settings_beyond_all_sizes_are_refused(entry_point, level):
    kernel, given = getattr(K.load(level), entry_point), arguments(entry_point, CASES["dilated"])
    for setting in (3, 4, 5):  # stride, padding, dilation
        with pytest.raises(ValueError, match=r"expected numbers from [01] to 2147483647"):
            kernel(
                *given[:3],
                *[(2**31, 2**31) if i == setting else v for i, v in enumerate(given[3:], 3)],
            )


@every_level
def test_scratch_of_more_bytes_than_64_bits_count_is_no_memory(level):
    """(2**32)**2 pixels of 4 bytes are 2**66: that many modulo 2**64 are none."""
    kernels, one, wide = K.load(level), np.ones((1, 1, 1, 1), "float32"), 2**31 - 1
    with pytest.raises(MemoryError):
        kernels.conv_forward(one, one, None, (wide, wide), (wide, wide))
    with pytest.raises(MemoryError):
        kernels.conv_weight_grad(
            one, np.ones((1, 1, 3, 3), "float32"), (1, 1), (wide, wide), (wide, wide)
        )


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_signatures_are_the_references(entry_point):
    reference = list(inspect.signature(getattr(REFERENCE, entry_point)).parameters)
    for level in K.available:
        assert list(inspect.signature(getattr(K.load(level), entry_point)).parameters) == reference
