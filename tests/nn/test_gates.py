"""The layers Maxout, CReLU, GLU and RReLU."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import init, nn

X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


def test_maxout_is_the_greatest_of_linear_maps():
    layer = nn.Maxout(4, 3, 2)
    assert layer.weight.shape == (6, 4) and layer.bias.shape == (6,)
    maps = X @ layer.weight.data.T + layer.bias.data
    np.testing.assert_allclose(layer(X).data, maps.reshape(5, 3, 2).max(axis=2), rtol=1e-5)
    deep = np.stack([X, X])
    assert layer(deep).shape == (2, 5, 3)
    np.testing.assert_allclose(layer(deep).data[1], layer(X).data, rtol=1e-6)
    assert nn.Maxout(4, 3, 2, bias=False).bias is None
    layer(X).sum().backward()
    assert (
        layer.weight.grad.shape == (6, 4) and (layer.bias.grad.data.reshape(3, 2).sum(1) == 5).all()
    )


def test_maxout_takes_parameters_from_anywhere(tmp_path):
    weight = np.arange(24, dtype=np.float32).reshape(6, 4)
    np.save(tmp_path / "w.npy", weight)
    layer = nn.Maxout(
        4, 3, 2, weight=tmp_path / "w.npy", bias=init.Constant(0.5), lr_mult={"bias": 2}
    )
    np.testing.assert_array_equal(layer.weight.data, weight)
    assert (layer.bias.data == 0.5).all() and layer.bias.lr_mult == 2 and layer.weight.lr_mult == 1
    assert nn.Maxout(4, 3, 2, weight=layer.weight).weight is layer.weight
    with nn.ParameterScope():
        a, b = nn.Maxout(4, 3, 2, scope="s"), nn.Maxout(4, 3, 2, scope="s")
        assert a.weight is b.weight and a.bias is b.bias
        with pytest.raises(ValueError, match=r"scope 's' holds .* \(6, 4\) .*needs \(9, 4\)"):
            nn.Maxout(4, 3, 3, scope="s")
    bound = 1 / np.sqrt(400)
    wide = nn.Maxout(400, 100, 3)
    for p in (wide.weight, wide.bias):
        assert np.abs(p.data).max() <= bound and np.abs(p.data).max() > 0.97 * bound
    assert repr(layer) == "Maxout(4, 3, pieces=2; weight (6, 4), bias (6,) lr_mult=2)"


def test_crelu_and_glu():
    np.testing.assert_array_equal(nn.CReLU()(X).data, F.crelu(X).data)
    np.testing.assert_array_equal(nn.CReLU(axis=0)(X).data, F.crelu(X, 0).data)
    np.testing.assert_array_equal(nn.GLU()(X).data, F.glu(X).data)
    np.testing.assert_array_equal(nn.GLU(axis=1)(X).data, F.glu(X, 1).data)
    assert (repr(nn.CReLU()), repr(nn.GLU())) == ("CReLU(axis=1)", "GLU(axis=-1)")


def test_rrelu():
    layer = nn.RReLU(0.1, 0.4, rng=0)
    x = np.full(1000, -1, np.float32)
    first = layer(x).data
    assert (
        first.min() >= np.float32(-0.4) and first.max() <= np.float32(-0.1) and first.std() > 0.05
    )
    assert not np.array_equal(layer(x).data, first)  # a seed starts one stream, not one draw
    np.testing.assert_array_equal(nn.RReLU(0.1, 0.4, rng=0)(x).data, first)
    np.testing.assert_allclose(layer.eval()(x).data, -0.25, rtol=1e-6)
    md.manual_seed(3)
    first = nn.RReLU()(x).data
    md.manual_seed(3)
    np.testing.assert_array_equal(nn.RReLU()(x).data, first)
    inplace = x.copy()
    nn.RReLU(inplace=True)(inplace)
    assert (inplace > -0.34).all() and len(np.unique(inplace)) > 900
    assert repr(nn.RReLU(0.1, 0.4, True)) == "RReLU(lower=0.1, upper=0.4, inplace=True)"
    assert repr(nn.RReLU()) == "RReLU(lower=0.125, upper=0.333333)"
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(again(x).data, layer(x).data)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Maxout(4, 3, 0), ValueError, "Maxout: pieces must be an integer >= 1"),
        (lambda: nn.Maxout(4, 0, 2), ValueError, "Maxout: out_features"),
        (lambda: nn.Maxout(4.0, 3, 2), TypeError, "Maxout: in_features"),
        (lambda: nn.Maxout(4, 3, 2, weight=np.zeros((3, 4))), ValueError, "Maxout.weight"),
        (
            lambda: nn.Maxout(3, 3, 2)(X),
            ValueError,
            "affine: last axis of x: expected 3 .* got shape",
        ),
        (lambda: nn.CReLU("1"), TypeError, "CReLU: axis"),
        (lambda: nn.GLU(1.0), TypeError, "GLU: axis"),
        (lambda: F.glu(X, 1.0), TypeError, "glu: axis must be an integer"),
        (lambda: F.maxout(X, 2, "1"), TypeError, "maxout: axis must be an integer"),
        (lambda: nn.GLU()(X[:, :3]), ValueError, "glu: axis -1 of x has 3 channels"),
        (lambda: nn.RReLU(0.5, 0.25), ValueError, "RReLU: upper must be .* >= 0.5, got 0.25"),
        (lambda: nn.RReLU(float("nan")), ValueError, "RReLU: lower"),
        (lambda: nn.RReLU(-0.1, inplace=True), ValueError, "RReLU: inplace needs lower >= 0"),
        (lambda: nn.RReLU(inplace=1), TypeError, "RReLU: inplace"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
