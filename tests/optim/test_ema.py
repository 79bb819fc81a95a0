"""The moving average of weights: its formula, the exchange and its way back, its state."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim

X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)


def network():
    md.manual_seed(0)
    return nn.Sequential(nn.Affine(3, 4), nn.BatchNorm(4), nn.Affine(4, 2))


def trained(model, ema, steps=3):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(X) ** 2).mean().backward()
        optimizer.step()
        ema.update()


def test_the_formula():
    model = network()
    ema = optim.EMA(model, 0.75)
    expected = [p.data.astype("float64") for p in model.parameters()]
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        (model(X) ** 2).mean().backward()
        optimizer.step()
        ema.update()
        expected = [
            0.75 * e + 0.25 * p.data for e, p in zip(expected, model.parameters(), strict=True)
        ]
    for average, values in zip(ema.state_dict()["averages"].values(), expected, strict=True):
        np.testing.assert_allclose(average, values, rtol=1e-6)
    assert ema.updates == 3


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_the_very_arrays_come_back(error):
    model = network()
    ema = optim.EMA(model, 0.5)
    trained(model, ema)
    arrays = [p._data for p in model.parameters()]
    before, state = [a.copy() for a in arrays], repr(ema.state_dict())
    model.eval()
    y = model(X).data
    try:
        with ema.average() as inside:
            assert inside is model
            averaged = model(X).data
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        assert error
    assert not np.array_equal(averaged, y)
    np.testing.assert_array_equal(model(X).data, y)
    for p, array, values in zip(model.parameters(), arrays, before, strict=True):
        assert p._data is array
        np.testing.assert_array_equal(array, values)
    assert repr(ema.state_dict()) == state
    trained(model, ema, 1)  # goes on


def test_a_graph_from_before_the_exchange_does_not_get_the_averages():
    model = network()
    ema = optim.EMA(model, 0.5)
    loss = (model(X) ** 2).mean()
    with ema.average(), pytest.raises(RuntimeError, match="in place"):
        loss.backward()


def test_not_inside_of_itself():
    ema = optim.EMA(network(), 0.5)
    with ema.average():
        for call in (ema.update, ema.average().__enter__, lambda: ema.load_state_dict({})):
            with pytest.raises(RuntimeError, match="inside of"):
                call()
    ema.update()


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_state(tmp_path, ending):
    model = network()
    ema = optim.EMA(model, 0.5)
    trained(model, ema)
    if ending == ".safetensors":
        pytest.importorskip("safetensors")
    md.save(ema.state_dict(), tmp_path / f"ema{ending}")
    other = optim.EMA(network(), 0.9)
    other.load_state_dict(md.load(tmp_path / f"ema{ending}"))
    assert repr(other.state_dict()) == repr(ema.state_dict())
    assert (other.decay, other.updates) == (0.5, 3)
    with pytest.raises(ValueError, match=r"expected averages of weight\[2, 2\], bias\[2\]; given"):
        optim.EMA(nn.Affine(2, 2)).load_state_dict(ema.state_dict())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.EMA([nn.Parameter([1.0])]), TypeError, "EMA: model: expected an nn.Module"),
        (lambda: optim.EMA(nn.Affine), TypeError, "EMA: model: expected an nn.Module"),
        (lambda: optim.EMA(nn.ReLU()), ValueError, "no parameters"),
        (lambda: optim.EMA(nn.Sequential(nn.PReLU())), ValueError, "slope: its shape is inferred"),
        (lambda: optim.EMA(network(), 1.5), ValueError, "EMA: decay"),
    ],
)
def test_what_does_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_parameter_of_another_dtype():
    model = nn.Affine(2, 2)
    ema = optim.EMA(model)
    model.astype("float64")
    with pytest.raises(ValueError, match=r"EMA.update: weight is now float64\(2, 2\)"):
        ema.update()
    assert ema.updates == 0
