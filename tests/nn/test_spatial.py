"""Layers of images that came with sizes and edges: padding modes, adaptive pooling, interpolation, Bilinear."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn

X = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype("float32")


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"padding": 1}),
        ((2, 3), {"padding": "same"}),
        ((4, 3), {"padding": "same", "dilation": (1, 2)}),
        (3, {"padding": (2, 0), "stride": 2}),
    ],
)
def test_padding_of_a_convolution(mode, kernel, options):
    torch = pytest.importorskip("torch")
    ours = nn.Conv(3, 4, kernel, padding_mode=mode, **options)
    theirs = torch.nn.Conv2d(3, 4, kernel, padding_mode=mode, **options)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    x, z = md.Tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y, expected = ours(x), theirs(z)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(x.grad.data, z.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_padding_is_said_and_kept():
    layer = nn.Conv(3, 4, 3, padding="same", padding_mode="reflect")
    assert "padding='same', padding_mode='reflect'" in repr(layer)
    model = nn.Sequential(layer, nn.ReLU())
    np.testing.assert_array_equal(model(X).data, F.relu(layer(X)).data)
    step = md.capture(lambda x: model(x))
    for seed in range(3):
        x = md.Tensor(np.random.default_rng(seed).standard_normal(X.shape).astype("float32"))
        np.testing.assert_array_equal(step(x).data, model(x).data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv(3, 4, 3, stride=2, padding="same"), 'Conv: padding "same" needs stride 1'),
        (
            lambda: nn.Conv(3, 4, 3, padding_mode="mirror"),
            "Conv: padding_mode: expected one of 'zeros'",
        ),
        (
            lambda: nn.Conv(3, 4, 3, padding=6, padding_mode="reflect")(X),
            "pad: axis 2 of x has 6 el",
        ),
        (lambda: nn.Conv(3, 4, 3, padding=1, padding_mode="reflect")(X[0]), "conv: x and weight"),
        (
            lambda: F.conv(X, np.ones((4, 3, 3, 3)), padding="full"),
            'padding: expected integers or "s',
        ),
        (lambda: nn.Upsample(2, "cubic"), "Upsample: mode: expected"),
        (lambda: F.upsample(X[:, :, :0], 2, "bilinear"), "upsample: bilinear needs elements along"),
        (
            lambda: nn.AdaptiveAvgPool((2, 2, 2))(X),
            "adaptive_avg_pool: output_size: expected one size",
        ),
        (lambda: nn.AdaptiveAvgPool(0), "AdaptiveAvgPool: output_size must be an integer >= 1"),
        (lambda: nn.PixelUnshuffle(4)(X), "pixel_unshuffle: expected x .* multiples of 4"),
        (lambda: nn.Dropout2d()(X[0, 0]), "dropout2d: expected x .* with spatial axes"),
        (
            lambda: nn.Bilinear(2, 3, 4)(X[0, 0, :, :2], X[0, 0, :5, :3]),
            r"bilinear: x1: expected shape \(6, 3",
        ),
        (lambda: md.pad(X, 1, mode="wrap"), "pad: mode: expected"),
        (lambda: md.pad(X[:0], 1, mode="replicate"), "pad: axis 0 of x has 0 elements"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_are_their_functions():
    for layer, expected in (
        (nn.AdaptiveAvgPool((2, None)), F.adaptive_avg_pool(X, (2, None))),
        (nn.AdaptiveMaxPool(1), X.max(axis=(2, 3), keepdims=True)),
        (nn.Upsample(2, "bicubic"), F.upsample(X, 2, "bicubic")),
        (nn.PixelUnshuffle(1), X),
    ):
        np.testing.assert_array_equal(
            layer(X).data, getattr(expected, "data", expected), str(layer)
        )
        assert repr(layer) in (
            "AdaptiveAvgPool((2, None))", "AdaptiveMaxPool(1)", "Upsample(2, mode='bicubic')", "PixelUnshuffle(1)",
        )  # fmt: skip
    layer = nn.Dropout2d(0.5, rng=0)
    y = layer(np.ones((20, 30, 2, 2), "float32")).data
    assert set(np.unique(y.mean(axis=(2, 3)))) == {0, 2}
    assert layer.eval()(X).data is X or np.array_equal(layer(X).data, X)


def test_bilinear_starts_and_loads_as_in_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Bilinear(100, 5, 40), torch.nn.Bilinear(100, 5, 40)
    assert 0.095 < np.abs(ours.weight.data).max() <= 0.1 and np.abs(ours.bias.data).max() <= 0.1
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    a, b = np.random.default_rng(0).standard_normal((2, 7, 100)).astype("float32")
    expected = theirs(torch.tensor(a), torch.tensor(b[:, :5])).detach().numpy()
    np.testing.assert_allclose(ours(a, b[:, :5]).data, expected, rtol=1e-4, atol=1e-5)
