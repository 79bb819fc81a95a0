"""Weight and spectral normalisation: as in PyTorch, with optimizers, in files, in captured steps, and undone."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl._source import PURE

X = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
IMAGES = np.random.default_rng(1).standard_normal((3, 4, 5, 5)).astype("float32")


def pairs(torch):
    """Layers here and in PyTorch, and their input."""
    return {
        "Affine": (nn.Affine(4, 3), torch.nn.Linear(4, 3), X),
        "Conv": (nn.Conv(4, 6, 3, groups=2), torch.nn.Conv2d(4, 6, 3, groups=2), IMAGES),
        "ConvTranspose": (nn.ConvTranspose(4, 3, 3), torch.nn.ConvTranspose2d(4, 3, 3), IMAGES),
        "Embedding": (nn.Embedding(6, 3), torch.nn.Embedding(6, 3), np.array([0, 5, 5])),
    }


@pytest.mark.parametrize("norm", ["spectral_norm", "weight_norm"])
@pytest.mark.parametrize("name", ["Affine", "Conv", "ConvTranspose", "Embedding"])
def test_it_trains_as_in_pytorch(norm, name):
    torch = pytest.importorskip("torch")
    ours, theirs, x = pairs(torch)[name]
    getattr(nn, norm)(ours)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # (the norms are deprecated for parametrizations, with other names)
        getattr(torch.nn.utils, norm)(theirs)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    step = optim.SGD(ours.parameters(), 0.1, momentum=0.9)
    other = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        for model, optimizer, inputs in ((ours, step, x), (theirs, other, torch.tensor(x))):
            optimizer.zero_grad()
            y = model(inputs)
            (y * y).mean().backward()
            optimizer.step()
    ours.eval(), theirs.eval()
    np.testing.assert_allclose(ours(x).data, theirs(torch.tensor(x)).detach().numpy(), 1e-4, 1e-5)
    for name, t in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], t.numpy(), 1e-4, 1e-5, err_msg=name)


def test_the_greatest_singular_value_is_1():
    layer = nn.spectral_norm(nn.Affine(4, 3))
    for _ in range(30):
        layer(X)
    assert np.linalg.svd(layer.eval().weight.data)[1][0] == pytest.approx(1, abs=1e-5)
    u = layer.weight_u.copy()
    layer(X)
    np.testing.assert_array_equal(layer.weight_u, u)  # evaluation does not change it
    layer.weight_orig.data = layer.weight_orig.data[::-1].copy()
    layer.train()(X)
    assert not np.array_equal(layer.weight_u, u)


def test_lengths_and_directions():
    layer = nn.Affine(4, 3, lr_mult={"weight": 0.5}, weight=np.arange(12.0).reshape(3, 4))
    before = layer.weight
    assert nn.weight_norm(layer) is layer
    assert [name for name, _ in layer.named_parameters()] == ["weight_g", "weight_v", "bias"]
    assert layer.weight_v is before and layer.weight_g.lr_mult == 0.5
    np.testing.assert_allclose(layer.weight.data, before.data, rtol=1e-6)
    layer.weight_g.data = np.full((3, 1), 2.0, "float32")
    np.testing.assert_allclose(np.linalg.norm(layer.weight.data, axis=1), 2, rtol=1e-6)
    assert nn.weight_norm(nn.Affine(4, 3), dim=None).weight_g.shape == ()
    assert nn.weight_norm(nn.Affine(4, 3), dim=-1).weight_g.shape == (1, 4)
    assert nn.weight_norm(nn.BatchNorm(4)).weight_g.shape == (4,)


@pytest.mark.parametrize("norm", [nn.weight_norm, nn.spectral_norm])
def test_undone(norm):
    layer = nn.Affine(4, 3)
    weight, optimizer = layer.weight, optim.SGD(layer.parameters(), 0.1)
    norm(layer)
    y = layer.eval()(X).data
    assert isinstance(layer, nn.Affine) and repr(layer).startswith("Affine(4, 3; weight_")
    assert nn.remove_parametrization(layer) is layer
    assert type(layer) is nn.Affine and layer.weight is weight and not layer.training
    assert list(layer.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(layer(X).data, y)
    layer(X).sum().backward()
    optimizer.step()  # it has the same Parameter still
    assert not np.array_equal(layer(X).data, y)
    norm(layer)  # and once more
    with pytest.raises(ValueError, match=r"Affine\.weight is computed already"):
        norm(layer)


def test_several_on_one_layer():
    layer = nn.spectral_norm(nn.weight_norm(nn.Affine(4, 3), "bias"))
    assert list(layer.state_dict()) == ["weight_orig", "weight_u", "weight_v", "bias_g", "bias_v"]
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(again.eval()(X).data, copy.deepcopy(layer).eval()(X).data)
        assert again.weight_orig is not layer.weight_orig
        assert nn.remove_parametrization(again, "bias").bias.shape == (3,)
        assert "weight" not in vars(again) and again.weight.shape == (3, 4)
    assert layer.astype("float64").weight_u.dtype == np.float64
    assert layer(X.astype("float64")).dtype == np.float64


@pytest.mark.parametrize("norm", [nn.weight_norm, nn.spectral_norm])
def test_files_and_sequentials(norm, tmp_path):
    model = nn.Sequential(norm(nn.Affine(4, 3)), nn.ReLU())
    fused = model(X)
    assert type(fused._op).__name__ == "ActivatedAffine"  # still given to the layer before
    md.save(model.state_dict(), tmp_path / "model.npz")
    other = nn.Sequential(norm(nn.Affine(4, 3)), nn.ReLU()).eval()
    other.load_state_dict(md.load(tmp_path / "model.npz"))
    np.testing.assert_array_equal(other(X).data, model.eval()(X).data)


@pytest.mark.parametrize("norm", [nn.weight_norm, nn.spectral_norm])
def test_captured(norm):
    md.manual_seed(0)
    models = [nn.Sequential(norm(nn.Affine(4, 3)), nn.Tanh(), nn.Affine(3, 2))]
    models.append(copy.deepcopy(models[0]))
    optimizers = [optim.Adam(model.parameters(), 0.05) for model in models]

    def steps(i):
        def step(x):
            optimizers[i].zero_grad()
            loss = (models[i](x) ** 2).mean()
            loss.backward()
            optimizers[i].step()
            return loss

        return step

    plain, captured = steps(0), md.capture(steps(1))
    for seed in range(4):
        x = md.Tensor(np.random.default_rng(seed).standard_normal((5, 4)).astype("float32"))
        assert plain(x).item() == captured(x).item()
    assert captured.records == 1 or PURE
    for name, value in models[0].state_dict().items():
        np.testing.assert_array_equal(models[1].state_dict()[name], value)


@pytest.mark.parametrize("norm", [nn.weight_norm, nn.spectral_norm])
def test_second_order(norm):
    layer = norm(nn.Affine(4, 3)).astype("float64").eval()
    names = [name for name, _ in layer.named_parameters()]

    def loss(*values):
        vars(layer).update(zip(names, values, strict=True))
        return (layer(X.astype("float64")) ** 3).mean()

    md.testing.check_grads(loss, [p.data.copy() for p in layer.parameters()])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.weight_norm(nn.ReLU()),
            ValueError,
            "weight_norm: ReLU has no parameter 'weight'",
        ),
        (
            lambda: nn.weight_norm(nn.PReLU()),
            ValueError,
            "weight_norm: PReLU has no parameter 'weight'",
        ),
        (
            lambda: nn.weight_norm(nn.PReLU(), "slope"),
            ValueError,
            "no parameter whose shape is known",
        ),
        (
            lambda: nn.weight_norm(nn.Affine(2, 2), dim=2),
            ValueError,
            "weight_norm: dim 2 is out of",
        ),
        (lambda: nn.spectral_norm(nn.Affine(2, 2), "bias"), ValueError, "bias: expected two axes"),
        (lambda: nn.spectral_norm(3), TypeError, "spectral_norm: module: expected an nn.Module"),
        (
            lambda: nn.remove_parametrization(nn.Affine(2, 2)),
            ValueError,
            "remove_parametrization: Affine has no parameter 'weight' that is computed",
        ),
        (
            lambda: setattr(nn.weight_norm(nn.Affine(2, 2)), "weight", nn.Parameter([[1.0]])),
            AttributeError,
            "Affine.weight is computed by weight_norm",
        ),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
