"""Each layer: what it computes, as PyTorch where there is such a layer, and what it refuses."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.nn.activation import LAYERS
from minidl.training.watching import watch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4, 3, 5)).astype(np.float32)


def test_affine():
    layer = nn.Affine(5, 2)
    x = X[0]
    np.testing.assert_allclose(
        layer(x).data, x @ layer.weight.data.T + layer.bias.data, rtol=1e-5, atol=1e-6
    )
    assert layer(X).shape == (6, 4, 3, 2)
    assert nn.Affine(5, 2, bias=False)(x).shape == (4, 3, 2)
    limit = np.abs(nn.Affine(400, 300).weight.data).max()
    assert 0.99 / 20 < limit <= 1 / 20
    assert np.abs(nn.Affine(400, 3000).bias.data).max() == pytest.approx(1 / 20, rel=0.01)
    for bad in (np.zeros((2, 4), np.float32), np.float32(1)):
        with pytest.raises(ValueError, match=r"affine: last axis of x: expected 5 .*, got shape"):
            layer(bad)


def test_embedding():
    layer = nn.Embedding(5, 3)
    ids = np.array([[0, 4], [4, 1]])
    y = layer(ids)
    np.testing.assert_array_equal(y.data, layer.weight.data[ids])
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.data[:, 0], [1, 1, 0, 0, 2])
    assert nn.Embedding(1000, 30).weight.data.std() == pytest.approx(1, rel=0.03)
    with pytest.raises((ValueError, IndexError)):
        layer(np.array([5]))


@pytest.mark.parametrize("shape", [5, (5,), (3, 5)])
def test_layer_norm(shape):
    torch = pytest.importorskip("torch")
    layer, oracle = nn.LayerNorm(shape), torch.nn.LayerNorm(shape)
    weight = RNG.normal(size=layer.weight.shape).astype(np.float32)
    layer.load_state_dict({"weight": weight, "bias": weight * 2})
    oracle.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(weight * 2)})
    expected = oracle(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(layer(X).data, expected, rtol=1e-4, atol=1e-5)
    plain = nn.LayerNorm(shape, affine=False)
    assert list(plain.parameters()) == []
    np.testing.assert_allclose(
        plain(X).data.mean(axis=-1 if shape != (3, 5) else (2, 3)), 0, atol=1e-6
    )
    with pytest.raises(ValueError, match="layer_norm: expected last axes"):
        layer(np.zeros((2, 4), np.float32))


def test_dropout():
    x = np.ones((100, 100), np.float32)
    layer = nn.Dropout(0.25, rng=0)
    y = layer(x).data
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert not np.array_equal(layer(x).data, y)  # a seed starts one stream, not one mask
    np.testing.assert_array_equal(nn.Dropout(0.25, rng=0)(x).data, y)
    np.testing.assert_array_equal(layer.eval()(x).data, x)
    md.manual_seed(3)
    y = nn.Dropout()(x).data
    md.manual_seed(3)
    np.testing.assert_array_equal(nn.Dropout()(x).data, y)
    assert (nn.Dropout(1.0)(x).data == 0).all()


def test_shapes():
    assert nn.Flatten()(X).shape == (6, 60)
    assert nn.Flatten(start_axis=2)(X).shape == (6, 4, 15)
    assert nn.Reshape(5, 12)(X).shape == nn.Reshape((5, -1))(X).shape == (6, 5, 12)
    with pytest.raises(ValueError, match=r"Reshape: cannot give samples of shape \(4, 3, 5\)"):
        nn.Reshape(7)(X)
    assert nn.Identity(54, unused=True)(X).shape == X.shape


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Affine(0, 2), ValueError, "Affine: in_features"),
        (lambda: nn.Affine(2, -1), ValueError, "Affine: out_features"),
        (lambda: nn.Affine(2.0, 1), TypeError, "Affine: in_features"),
        (lambda: nn.Affine(True, 1), TypeError, "Affine: in_features"),
        (lambda: nn.Embedding(0, 3), ValueError, "Embedding: num_embeddings"),
        (lambda: nn.LayerNorm(()), ValueError, "LayerNorm: normalized_shape"),
        (lambda: nn.LayerNorm(3, eps=-1), ValueError, "LayerNorm: eps"),
        (lambda: nn.LayerNorm(3, affine=1), TypeError, "LayerNorm: affine"),
        (lambda: nn.Dropout(1.5), ValueError, "Dropout: p must be a finite number from 0 to 1"),
        (lambda: nn.Dropout(float("nan")), ValueError, "Dropout: p"),
        (lambda: nn.Reshape(-1, -1), ValueError, "Reshape: only one"),
        (lambda: nn.Reshape(), ValueError, "Reshape: shape must not be empty"),
        (lambda: nn.Flatten("1"), TypeError, "Flatten: start_axis"),
        (lambda: nn.Softmax(axis=1.0), TypeError, "Softmax: axis"),
        (lambda: nn.LeakyReLU(negative_slope="a"), TypeError, "LeakyReLU: negative_slope"),
        (lambda: nn.LeakyReLU(float("nan")), ValueError, "LeakyReLU: negative_slope"),
        (lambda: nn.ReLU(alpha=1), TypeError, r"ReLU\(inplace=False\): .*alpha"),
        (lambda: nn.ReLU(inplace="yes"), TypeError, "ReLU: inplace"),
        (lambda: nn.Sigmoid(1), TypeError, "Sigmoid"),
        (lambda: nn.Softplus(beta=0), ValueError, "Softplus: beta"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ── Activations ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_activation_layers(name):
    row = LAYERS[name].row
    needed = row.params if row.required else {}
    layer = getattr(nn, name)(**needed)
    expected = getattr(F, row.name)(X, **needed)
    np.testing.assert_array_equal(layer(X).data, expected.data)
    assert type(layer).__doc__ and layer.row.paper in type(layer).__doc__
    for param, default in layer.row.params.items():
        other = getattr(nn, name)(**needed | {param: default + 0.5})
        assert getattr(other, param) == default + 0.5 and f"{param}=" in repr(other)
        changed = getattr(F, layer.row.name)(X, **needed | {param: default + 0.5})
        np.testing.assert_array_equal(other(X).data, changed.data)
    if layer.row.inplace:
        x = md.Tensor(X.copy())
        assert getattr(nn, name)(**needed, inplace=True)(x) is x
        np.testing.assert_allclose(x.data, expected.data, rtol=1e-6)


def test_a_parameter_of_an_activation_may_be_changed_later():
    leaky = nn.LeakyReLU(0.1)
    leaky.negative_slope = 0.5
    assert leaky([-1.0]).data == [-0.5] and "0.5" in repr(leaky)
    norm = nn.BatchNorm(1).eval()
    x = np.array([[-1.0]], np.float32)
    np.testing.assert_array_equal(nn.Sequential(norm, leaky)(x).data, leaky(norm(x)).data)
    leaky.inplace = True
    leaky.negative_slope = -0.5
    with pytest.raises(ValueError, match="inplace needs negative_slope >= 0"):
        leaky(x)


def test_softmax_layers():
    for axis in (-1, 1):
        np.testing.assert_allclose(nn.Softmax(axis)(X).data.sum(axis=axis), 1, rtol=1e-5)
        np.testing.assert_allclose(
            np.exp(nn.LogSoftmax(axis)(X).data), nn.Softmax(axis)(X).data, rtol=1e-5
        )


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.2), nn.Hardtanh(-0.5, 0.7)], ids=repr
)
def test_sequential_gives_affine_the_activation_and_the_bits_stay(activation):
    rng = np.random.default_rng(0)
    layer, x = nn.Affine(7, 5), rng.standard_normal((9, 7)).astype("f")
    results = []
    for model in (nn.Sequential(layer, activation), lambda x: activation(layer(x))):
        inputs = md.Tensor(x, requires_grad=True)
        y = model(inputs)
        layer.weight.grad = layer.bias.grad = None
        (y * y).sum().backward()
        results.append([y, inputs.grad, layer.weight.grad, layer.bias.grad])
    assert type(results[0][0]._op).__name__ == "ActivatedAffine"
    for fused, apart in zip(*results, strict=True):
        np.testing.assert_array_equal(fused.data, apart.data)


def test_sequential_leaves_an_affine_alone_that_is_not_plain():
    class Own(nn.Affine):
        def forward(self, x):
            return super().forward(x) * 2

    x = np.random.default_rng(0).standard_normal((9, 7)).astype("f")
    own, has = Own(7, 5), nn.Affine(7, 5, activation="tanh")
    for layer in (own, has):
        expected = nn.ReLU()(layer(x)).data
        np.testing.assert_array_equal(nn.Sequential(layer, nn.ReLU())(x).data, expected)
    layer, seen = nn.Affine(7, 5), []
    with watch([layer], lambda module, x, y: seen.append(y.data)):
        nn.Sequential(layer, nn.ReLU())(x)
    np.testing.assert_array_equal(seen[0], layer(x).data)
