"""Convolutions over a grid of settings: values and gradients as PyTorch's, second derivatives by differences."""

from dataclasses import dataclass

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F
from minidl.testing import check_grads

torch = pytest.importorskip("torch")
G = torch.nn.functional
CONV = {1: G.conv1d, 2: G.conv2d, 3: G.conv3d}
TRANSPOSED = {1: G.conv_transpose1d, 2: G.conv_transpose2d, 3: G.conv_transpose3d}


@dataclass(frozen=True)
class Setting:
    """One way of moving a kernel, and sizes to try it on."""

    batch: int
    channels: tuple[int, int]  # of the input and of the output, in a group
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    bias: bool

    @property
    def axes(self) -> int:
        return len(self.size)

    def arrays(self, transposed: bool, dtype: str = "float64") -> list[np.ndarray]:
        """x, weight and perhaps bias."""
        rng = np.random.default_rng(0)
        c, o = self.channels
        first, second = (c * self.groups, o) if transposed else (o * self.groups, c)
        shapes = [(self.batch, c * self.groups, *self.size), (first, second, *self.kernel)]
        shapes += [(o * self.groups,)] if self.bias else []
        return [rng.standard_normal(shape).astype(dtype) for shape in shapes]

    def conv(self, function, *xs):
        bias = xs[2] if self.bias else None
        return function(*xs[:2], bias, self.stride, self.padding, self.dilation, self.groups)

    def conv_transpose(self, function, *xs):
        bias = xs[2] if self.bias else None
        return function(
            *xs[:2], bias, self.stride, self.padding, self.output_padding, self.groups,
            self.dilation,
        )  # fmt: skip

    def result(self) -> list[int]:
        """The size of conv_transpose's result."""
        rows = zip(
            self.size, self.stride, self.padding, self.dilation, self.kernel, self.output_padding,
            strict=True,
        )  # fmt: skip
        return [(n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, s, p, d, k, extra in rows]


def settings(count: int, largest: int, seed: int) -> list[Setting]:
    """The first `count` settings that a random walk over all of them meets, each with 1 to 3 axes."""
    rng = np.random.default_rng(seed)
    found: dict[Setting, None] = {}
    while len(found) < count:
        axes = len(found) % 3 + 1

        def draw(low: int, high: int, axes: int = axes) -> tuple[int, ...]:
            return tuple(rng.integers(low, high, axes, endpoint=True).tolist())

        kernel = draw(1, 4 if axes < 3 else 3)
        stride, padding, dilation = draw(1, 3), draw(0, 2), draw(1, 2)
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        extra = tuple(
            int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True)
        )
        size = tuple(
            max(1, r - 2 * p) + int(rng.integers(0, largest))
            for r, p in zip(reach, padding, strict=True)
        )
        channels = (int(rng.integers(1, 3)), int(rng.integers(1, 4)))
        setting = Setting(
            int(rng.integers(1, 3)), channels, size, kernel, stride, padding, dilation, extra,
            int(rng.choice([1, 1, 2, 3])), bool(rng.integers(2)),
        )  # fmt: skip
        if min(setting.result()) > 0:
            found[setting] = None
    return list(found)


GRID = settings(330, 6, seed=0)
SMALL = settings(165, 2, seed=1)
both_ways = pytest.mark.parametrize("transposed", [False, True], ids=["conv", "conv_transpose"])


def close(mine: np.ndarray, other, rtol: float) -> None:
    other = other.detach().numpy()
    assert mine.shape == other.shape and mine.dtype == other.dtype
    np.testing.assert_allclose(
        mine, other, rtol=rtol, atol=rtol * max(1.0, np.abs(other).max(initial=0))
    )


@both_ways
@pytest.mark.parametrize("setting", GRID, ids=range(len(GRID)))
def test_equals_torch(setting, transposed):
    dtype = "float32" if GRID.index(setting) % 2 else "float64"
    rtol = 2e-5 if dtype == "float32" else 1e-12
    arrays = setting.arrays(transposed, dtype)
    if setting.batch == 2:  # channels-last
        arrays[0] = np.moveaxis(np.ascontiguousarray(np.moveaxis(arrays[0], 1, -1)), -1, 1)
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    if transposed:
        y = setting.conv_transpose(F.conv_transpose, *ours)
        z = setting.conv_transpose(TRANSPOSED[setting.axes], *theirs)
    else:
        y, z = setting.conv(F.conv, *ours), setting.conv(CONV[setting.axes], *theirs)
    close(y.data, z, rtol)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    y.backward(weights)
    z.backward(torch.tensor(weights))
    for mine, other in zip(ours, theirs, strict=True):
        close(mine.grad.data, other.grad, rtol)


@both_ways
@pytest.mark.parametrize("setting", SMALL, ids=range(len(SMALL)))
def test_differences_to_second_order(setting, transposed):
    def square(*xs):
        y = (
            setting.conv_transpose(F.conv_transpose, *xs)
            if transposed
            else setting.conv(F.conv, *xs)
        )
        return y * y  # the gradient that enters depends on all of the inputs

    check_grads(square, setting.arrays(transposed), order=2, rtol=1e-4)


def test_the_grids_cover_what_they_should():
    for grid in (GRID, SMALL):
        assert 2 * len(grid) >= 300
        assert {s.axes for s in grid} == {1, 2, 3} and {s.groups for s in grid} == {1, 2, 3}
        assert any(max(s.output_padding) >= 1 for s in grid)
        assert any(max(s.dilation) == 2 and max(s.stride) > 1 and s.groups > 1 for s in grid)
        # sizes that the stride does not divide, and an output_padding that only dilation allows
        assert any(
            e >= s for case in grid for e, s in zip(case.output_padding, case.stride, strict=True)
        )


# ── Arguments ─────────────────────────────────────────────────────────────────────────────────────


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype("float32")


def test_an_int_stands_for_all_axes():
    x, w = normal(2, 4, 9, 8), normal(6, 2, 3, 3)
    y = F.conv(x, w, None, 2, 1, 2, 2)
    np.testing.assert_array_equal(y.data, F.conv(x, w, None, (2, 2), [1, 1], (2, 2), 2).data)
    w = normal(4, 2, 3, 3)
    y = F.conv_transpose(x, w, None, 2, 1, 1, 2, 2)
    z = F.conv_transpose(x, w, None, (2, 2), (1, 1), (1, 1), 2, (2, 2))
    np.testing.assert_array_equal(y.data, z.data)


@both_ways
def test_empty_batches(transposed):
    x = Tensor(np.zeros((0, 4, 6, 5), "float32"), requires_grad=True)
    w, b = Tensor(normal(4, 4, 3, 3), requires_grad=True), Tensor(normal(4), requires_grad=True)
    y = (F.conv_transpose if transposed else F.conv)(x, w, b)
    assert y.shape == ((0, 4, 8, 7) if transposed else (0, 4, 4, 3))
    y.sum().backward()
    assert x.grad.shape == x.shape and not w.grad.data.any() and not b.grad.data.any()


@both_ways
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_of_any_kind(transposed, dtype, level):
    """Strided, channels-last, read-only, unaligned inputs give what contiguous ones give."""
    function = F.conv_transpose if transposed else F.conv
    x, w = normal(2, 4, 5, 6).astype(dtype), normal(4, 4, 3, 2).astype(dtype)
    b = normal(4).astype(dtype)

    def run(x, w, b):
        xs = [Tensor(a, requires_grad=True) for a in (x, w, b)]
        y = function(*xs, 2, 1)
        z = function(F.relu(y), xs[1], None, 1, 1)  # a chain: the second sees channels-last
        z.backward(np.broadcast_to(np.ones((), dtype), z.shape))
        return [y.data, z.data, *(t.grad.data for t in xs)]

    expected = run(x, w, b)
    for change in (channels_last, strided, frozen, backwards, unaligned, np.asfortranarray):
        for got, want in zip(run(change(x), change(w), change(b)), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=change.__name__)


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


def backwards(x):
    turn = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[turn])[turn]


def unaligned(x):
    y = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


@both_ways
def test_special_values_stay_where_they_are(transposed, level):
    """Zeros around the image are never multiplied with more than the kernel: NaN reaches only what sees it."""
    function = F.conv_transpose if transposed else F.conv
    x, w = normal(1, 3, 9, 9), normal(3, 3, 3, 3)
    x[0, 1, 4, 4] = np.nan
    y = function(x, w, None, 1, 1).data
    assert np.isnan(y[:, :, 3:6, 3:6]).all() and np.isnan(y).sum() == 3 * 9
    x[0, 1, 4, 4] = np.inf
    y = function(x, w, None, 1, 1).data
    assert np.isinf(y[:, :, 3:6, 3:6]).all() and np.isfinite(y).sum() == 3 * (81 - 9)


def test_activations_in_the_same_pass(level):
    x, w, b = normal(3, 5, 7, 6), normal(5, 5, 3, 3), normal(5)
    for function in (F.conv, F.conv_transpose):
        for name in ("relu", "leaky_relu", "elu", "sigmoid", "tanh"):
            fused, apart = ([Tensor(a, requires_grad=True) for a in (x, w, b)] for _ in range(2))
            y = function(*fused, stride=2, padding=1, activation=name)
            z = getattr(F, name)(function(*apart, stride=2, padding=1))
            np.testing.assert_allclose(y.data, z.data, rtol=1e-6, atol=1e-7)
            y.backward(np.ones(y.shape, "float32"))
            z.backward(np.ones(y.shape, "float32"))
            for mine, other in zip(fused, apart, strict=True):
                np.testing.assert_allclose(mine.grad.data, other.grad.data, rtol=1e-5, atol=1e-5)


def test_the_input_gradient_of_what_the_stride_left_over_is_zero():
    x = Tensor(normal(1, 1, 8), requires_grad=True)
    F.conv(x, normal(1, 1, 3), stride=3).sum().backward()
    assert (x.grad.data[0, 0, 6:] == 0).all() and (x.grad.data[0, 0, :6] != 0).all()


def test_dtypes_that_differ_become_the_wider_one():
    x, w = normal(1, 2, 5), normal(3, 2, 3)
    assert F.conv(x.astype("float64"), w).dtype == np.float64
    assert F.conv(np.ones((1, 2, 5), int), w).dtype == np.float32
    assert md.Tensor(F.conv_transpose([[[1, 2]]], [[[1, 1]]]).data).dtype == np.float32


# ── A kernel that covers the image: one product ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [(4,), (3, 4), (2, 3, 2), (1, 1)])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", ("leaky_relu", 0.2)])
def test_a_kernel_as_large_as_the_image(size, last, activation):
    rng = np.random.default_rng(0)
    shapes = [(6, 5, *size), (3, 5, *size), (3,)]
    x, weight, bias = (rng.standard_normal(shape) for shape in shapes)
    if last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    ours = [Tensor(a, True) for a in (x, weight, bias)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    y, z = F.conv(*ours, activation=activation), CONV[len(size)](*theirs)
    if activation is not None:
        z = torch.relu(z) if activation == "relu" else G.leaky_relu(z, 0.2)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-12, atol=1e-12)
    (y * y).sum().backward()
    (z * z).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-11, atol=1e-11)
    check_grads(lambda *xs: F.conv(*xs), [x, weight, bias], order=2)
    captured = md.capture(lambda t: F.conv(t, ours[1], ours[2], activation=activation))
    for given in (x, 2 * x):
        assert (
            captured(given)._data.tobytes()
            == F.conv(given, *ours[1:], activation=activation)._data.tobytes()
        )
