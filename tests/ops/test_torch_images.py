"""Padding, pooling to a size, interpolation and the like against PyTorch, to second order."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F

from .oracle import compare

torch = pytest.importorskip("torch")
G = torch.nn.functional

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize(
    ("size", "widths"),
    [((6,), [(5, 2)]), ((3, 4), [(0, 2), (3, 1)]), ((3, 2, 4), [(1, 2), (0, 1), (2, 3)])],
)
def test_pad(mode, size, widths):
    theirs = [n for pair in reversed(widths) for n in pair]
    compare(
        lambda x: md.pad(x, [(0, 0), (0, 0), *widths], mode=mode),
        lambda x: G.pad(x, theirs, mode=mode),
        [draw(2, 2, *size)],
    )


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize(
    ("size", "kernel", "dilation"),
    [
        ((7,), (4,), 1),
        ((5, 6), (3, 3), 1),
        ((6, 5), (2, 3), 2),
        ((5, 4), (1, 4), (3, 1)),
        ((3, 4, 5), (2, 3, 2), 1),
    ],
)
def test_conv_that_keeps_the_size(size, kernel, dilation):
    conv = (G.conv1d, G.conv2d, G.conv3d)[len(size) - 1]
    compare(
        lambda x, w, b: F.conv(x, w, b, padding="same", dilation=dilation),
        lambda x, w, b: conv(x, w, b, padding="same", dilation=dilation),
        [draw(2, 2, *size), draw(3, 2, *kernel), draw(3)],
    )


@pytest.mark.parametrize("name", ["avg", "max"])
@pytest.mark.parametrize(
    ("size", "output"),
    [
        ((7,), 3),
        ((6, 9), (3, None)),
        ((7, 5), (3, 2)),
        ((4, 6), 1),
        ((3, 2), (5, 3)),
        ((5, 4, 3), (2, 4, 2)),
    ],
)
def test_adaptive_pooling(name, size, output):
    theirs = getattr(G, f"adaptive_{name}_pool{len(size)}d")
    compare(
        lambda x: getattr(F, f"adaptive_{name}_pool")(x, output),
        lambda x: theirs(x, output),
        [draw(2, 2, *size)],
    )


def test_the_first_of_equal_values_takes_the_gradient():
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, [0, 1, 3, 4, 4], [1, 0, 4, 3, 4]] = 1
    ours, theirs = md.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    F.adaptive_max_pool(ours, 2).sum().backward()
    G.adaptive_max_pool2d(theirs, 2).sum().backward()
    np.testing.assert_array_equal(ours.grad.data, theirs.grad.numpy())


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "scale"), [((3, 4), 2), ((2, 5), (3, 4)), ((1, 2), (5, 1)), ((4, 1), 8)]
)
def test_upsample(mode, size, scale):
    factors = scale if isinstance(scale, tuple) else (scale, scale)
    compare(
        lambda x: F.upsample(x, scale, mode),
        lambda x: G.interpolate(x, scale_factor=factors, mode=mode),
        [draw(2, 2, *size)],
    )


@pytest.mark.parametrize(("mode", "size"), [("linear", (5,)), ("trilinear", (2, 3, 2))])
def test_bilinear_upsampling_of_other_images(mode, size):
    compare(
        lambda x: F.upsample(x, 3, "bilinear"),
        lambda x: G.interpolate(x, scale_factor=3, mode=mode),
        [draw(2, 2, *size)],
    )


def test_interpolation_of_what_is_not_finite_reaches_its_neighbours_only():
    x = np.ones((1, 1, 1, 6), "float32")
    x[..., 2] = np.nan
    wrong = np.isnan(F.upsample(x, (1, 2), "bilinear").data[0, 0, 0])
    assert np.flatnonzero(wrong).tolist() == [3, 4, 5, 6]


def test_pixel_unshuffle():
    compare(
        lambda x: F.pixel_unshuffle(x, 3), lambda x: G.pixel_unshuffle(x, 3), [draw(2, 2, 6, 3)]
    )
    x = draw(2, 3, 4, 6, 2)
    np.testing.assert_array_equal(F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2).data, x)


def test_bilinear():
    compare(F.bilinear, G.bilinear, [draw(4, 3, 2), draw(4, 3, 5), draw(6, 2, 5), draw(6)])
    compare(F.bilinear, G.bilinear, [draw(4, 2), draw(4, 5), draw(6, 2, 5)])


def test_dropout2d_drops_channels():
    x = np.ones((50, 40, 3, 3), "float32")
    x[0, 0, 0, 0] = np.inf
    y = F.dropout2d(x, 0.25, rng=0).data.reshape(2000, 9)
    assert set(np.unique(y)) == {0, np.float32(4 / 3), np.inf} or set(np.unique(y)) == {
        0,
        np.float32(4 / 3),
    }
    assert ((y == 0).all(1) | (y != 0).all(1)).all()
    assert (y[:, 1] == 0).mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(F.dropout2d(x, 0.25, training=False).data, x)
