"""nn.PReLU: every property that the PReLU layer of Sony's Neural Network Console has, one section each."""

import copy
import gc
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import init, nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 3, 5)).astype(np.float32)
X[:, :, 0, 0] = 0  # the kink
GY = RNG.normal(size=X.shape).astype(np.float32)
FOUR = np.array([0.1, -0.2, 0.3, 1.5], np.float32)


class Untouched(init.Initializer):
    """An initializer that must not run."""

    def draw(self, shape, rng, fan):
        raise AssertionError("the initializer ran")


def in_numpy(x, a, gy):
    """y, gx and the gradient of the slopes, one per element; a is in a shape that broadcasts."""
    x, a, gy = (np.asarray(array, np.float64) for array in (x, a, gy))
    y = np.maximum(0, x) + a * np.minimum(0, x)
    return y, np.where(x > 0, 1, a) * gy, np.minimum(0, x) * gy


# ── BaseAxis, Shared ─────────────────────────────────────────────────────────────────────────────

# arguments, shape of the slopes, their shape where they are broadcast over (4, 3, 5)
AXES = [
    ({}, (4,), (4, 1, 1)),
    ({"base_axis": 0}, (4,), (4, 1, 1)),
    ({"base_axis": 1}, (3,), (3, 1)),
    ({"base_axis": 2}, (5,), (5,)),
    ({"base_axis": -1}, (5,), (5,)),
    ({"base_axis": -3}, (4,), (4, 1, 1)),
    ({"base_axis": (0, 1)}, (4, 3), (4, 3, 1)),
    ({"base_axis": (1, 2)}, (3, 5), (3, 5)),
    ({"base_axis": (0, 2)}, (4, 5), (4, 1, 5)),
    ({"base_axis": [0, -1]}, (4, 5), (4, 1, 5)),
    ({"base_axis": (0, 1, 2)}, (4, 3, 5), (4, 3, 5)),
    ({"base_axis": None}, (4, 3, 5), (4, 3, 5)),
    ({"shared": True}, (1,), (1, 1, 1)),
    ({"shared": True, "base_axis": 2}, (1,), (1, 1, 1)),
]


@pytest.mark.parametrize("given", ["first batch", "input shape", "number of slopes"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("arguments", "slopes", "broadcast"), AXES)
def test_axes(arguments, slopes, broadcast, given, dtype):
    if given == "number of slopes" and len(slopes) > 1:
        pytest.skip("one number tells no shape of several axes")
    shape = {"first batch": None, "input shape": (4, 3, 5), "number of slopes": slopes[0]}[given]
    layer = nn.PReLU(shape, **arguments).astype(dtype)
    if given != "first batch":
        assert layer.slope.shape == slopes
    x = md.Tensor(X.astype(dtype), requires_grad=True)
    layer(x)
    assert layer.slope.shape == slopes and (layer.slope.data == 0.25).all()
    layer.slope.data[...] = RNG.normal(size=slopes)
    y = layer(x)
    y.backward(GY.astype(dtype))
    a = layer.slope.data.reshape(broadcast)
    expected, gx, gslope = in_numpy(X, a, GY)
    assert y.shape == x.shape and y.dtype == dtype
    np.testing.assert_allclose(y.data, expected, rtol=1e-6)
    np.testing.assert_allclose(x.grad.data, gx, rtol=1e-6)
    over = tuple(i for i, n in enumerate((1, *(1,) * (3 - a.ndim), *broadcast)) if n == 1)
    gslope = gslope.sum(axis=over).reshape(slopes)
    np.testing.assert_allclose(layer.slope.grad.data, gslope, rtol=1e-4, atol=1e-5)


def test_axes_in_another_order():
    layer = nn.PReLU((4, 3, 5), base_axis=(2, 0))
    assert layer.slope.shape == (5, 4)
    layer.slope.data[...] = RNG.normal(size=(5, 4))
    expected, gx, gslope = in_numpy(X, layer.slope.data.T[:, None, :], GY)
    x = md.Tensor(X, requires_grad=True)
    y = layer(x)
    y.backward(GY)
    np.testing.assert_allclose(y.data, expected, rtol=1e-6)
    np.testing.assert_allclose(x.grad.data, gx, rtol=1e-6)
    np.testing.assert_allclose(layer.slope.grad.data, gslope.sum(axis=(0, 2)).T, rtol=1e-4)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (6, 4, 3, 5), (6, 4, 3, 5, 2)])
@pytest.mark.parametrize("axis", [0, -1, None, "shared"])
def test_output_has_the_shape_of_the_input_from_2_to_5_axes(shape, axis):
    x = RNG.normal(size=shape).astype(np.float32)
    layer = nn.PReLU(shared=True) if axis == "shared" else nn.PReLU(base_axis=axis)
    y = layer(x)
    slopes = {0: (4,), -1: shape[-1:], None: shape[1:], "shared": (1,)}[axis]
    assert y.shape == shape and layer.slope.shape == slopes
    np.testing.assert_allclose(y.data, np.where(x > 0, x, x / 4), rtol=1e-6)


def test_the_gradient_at_exactly_0_is_the_slope():
    layer = nn.PReLU(4, slope=FOUR)
    for zero in (0.0, -0.0):
        x = md.Tensor(np.full((2, 4), zero, np.float32), requires_grad=True)
        layer.zero_grad()
        layer(x).sum().backward()
        np.testing.assert_array_equal(x.grad.data, [FOUR, FOUR])
        np.testing.assert_array_equal(layer.slope.grad.data, np.zeros(4))


def test_gradients_to_third_order():
    layer = nn.PReLU((4, 3, 5), base_axis=(0, 2)).astype(np.float64)
    x = np.where(np.abs(X) < 0.1, 0.5, X).astype(np.float64)
    md.testing.check_grads(lambda x: (layer(x) * x) ** 2, [x], order=3)
    slope = RNG.normal(size=(4, 5))
    md.testing.check_grads(lambda a: F.prelu(x, a, (1, 3)) ** 3, [slope], order=3)


# ── ParameterScope ───────────────────────────────────────────────────────────────────────────────


def through_both(a, b):
    """Two separate uses: the gradients of the slopes must add up."""
    (a(X) * GY).sum().backward()
    (b(2 * X) * GY).sum().backward()
    return (np.minimum(0, X) * GY * 3).sum(axis=(0, 2, 3), dtype=np.float64)


@pytest.mark.parametrize("how", ["scope", "parameter"])
@pytest.mark.parametrize("first", ["given a shape", "told by the first batch"])
def test_shared_slopes_add_gradients_and_step_once(how, first):
    with nn.ParameterScope():
        a = nn.PReLU(4 if first == "given a shape" else None, scope="s")
        b = nn.PReLU(scope="s") if how == "scope" else nn.PReLU(slope=a.slope)
    assert a.slope is b.slope
    model = nn.Sequential(a, b)
    assert [name for name, _ in model.named_parameters()] == ["0.slope"]
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    gradient = through_both(a, b)
    np.testing.assert_allclose(a.slope.grad.data, gradient, rtol=1e-4, atol=1e-5)
    optimizer.step()
    np.testing.assert_allclose(b.slope.data, 0.25 - 0.01 * gradient, rtol=1e-4, atol=1e-6)
    assert list(model.state_dict()) == ["0.slope", "1.slope"]


def test_the_parameters_of_both_layers_may_go_to_the_optimizer():
    with nn.ParameterScope():
        a, b = nn.PReLU(4, scope="s"), nn.PReLU(4, scope="s")
    for both in ([*a.parameters(), *b.parameters()], [{"params": [a.slope, b.slope]}]):
        a.slope.data[...], a.slope.grad = 0.25, None
        optimizer = optim.SGD(both, lr=0.01)
        gradient = through_both(a, b)
        optimizer.step()
        np.testing.assert_allclose(a.slope.data, 0.25 - 0.01 * gradient, rtol=1e-4, atol=1e-6)


def test_shapes_that_differ_raise_and_name_both():
    with nn.ParameterScope():
        first = nn.PReLU(4, scope="s")
        with pytest.raises(ValueError, match=r"'s' holds .*shape \(4,\) .* needs \(5,\)"):
            nn.PReLU(5, scope="s")
        late = nn.PReLU(base_axis=1, scope="s")
    with pytest.raises(ValueError, match=r"scope='s'.* shape \(3,\), this layer has \(4,\)"):
        late(X)
    with pytest.raises(ValueError, match=r"expected shape \(5,\), the given Parameter has \(4,\)"):
        nn.PReLU(5, slope=first.slope)


def test_the_layer_that_comes_first_tells_the_first_values():
    """Also where its slopes wait for their shape and another layer is the first to run."""
    for second in ({}, {"shape": 4}, {"slope": Untouched()}):
        with nn.ParameterScope():
            a = nn.PReLU(slope=init.Constant(0.5), scope="s")
            b = nn.PReLU(scope="s", **second)
        b(X)
        np.testing.assert_array_equal(a.slope.data, [0.5] * 4)
    a = nn.PReLU(slope=init.Constant(0.5))
    nn.PReLU(4, slope=a.slope)
    np.testing.assert_array_equal(a.slope.data, [0.5] * 4)


def test_parameter_scope_keeps_names_apart():
    outside = nn.PReLU(4, scope="s")
    with nn.ParameterScope():
        inside = nn.PReLU(5, scope="s")
    again = nn.PReLU(4, scope="s")
    assert again.slope is outside.slope is not inside.slope
    del outside, again
    gc.collect()
    assert nn.PReLU(6, scope="s").slope.shape == (6,)  # forgotten with its last layer


# ── slope.File ───────────────────────────────────────────────────────────────────────────────────

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3) / 8


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, slope=values, bias=np.zeros(2))
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file({"slope": values}, path)
    else:
        np.savetxt(path, values, delimiter="," if path.suffix == ".csv" else " ")
    return path


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors", ".csv", ".txt"])
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_slopes_from_a_file_without_an_initializer(tmp_path, monkeypatch, ending, kind):
    path = kind(write(tmp_path / f"slope{ending}", FOUR))
    table = write(tmp_path / f"table{ending}", TABLE)
    one = write(tmp_path / f"one{ending}", FOUR[:1])
    monkeypatch.setattr("minidl.nn.activation._QUARTER", Untouched())
    state = md.random.generator(None).bit_generator.state
    for shape in (None, 4, (4, 3, 5)):
        layer = nn.PReLU(shape, slope=path)
        np.testing.assert_array_equal(layer.slope.data, FOUR)
        np.testing.assert_allclose(
            layer(X).data, in_numpy(X, FOUR[:, None, None], GY)[0], rtol=1e-6
        )
    layer = nn.PReLU((4, 3, 5), base_axis=(0, 1), slope=table)
    np.testing.assert_array_equal(layer.slope.data, TABLE)
    assert nn.PReLU(shared=True, slope=one)(X).shape == X.shape
    assert md.random.generator(None).bit_generator.state == state, "something was drawn"
    with pytest.raises(AssertionError, match="the initializer ran"):
        nn.PReLU(4, slope=Untouched())  # this is what would have been seen


def test_files_that_do_not_fit(tmp_path):
    path = write(tmp_path / "slope.npy", FOUR)
    with pytest.raises(ValueError, match=r"PReLU.slope: expected shape \(5,\), the file .*\(4,\)"):
        nn.PReLU(5, slope=path)
    with pytest.raises(ValueError, match=r"needs slopes of shape \(3,\), this layer has \(4,\)"):
        nn.PReLU(base_axis=1, slope=path)(X)
    with pytest.raises(FileNotFoundError, match=r"PReLU.slope: .*none.npy is not there"):
        nn.PReLU(slope=tmp_path / "none.npy")


def test_slopes_from_an_array_are_a_copy():
    for source in (FOUR, FOUR.tolist(), md.Tensor(FOUR), FOUR.astype(np.float64)):
        layer = nn.PReLU(slope=source)
        np.testing.assert_array_equal(layer.slope.data, FOUR)
        assert layer.slope.dtype == np.float32
        layer.slope.data[...] = 0
    assert FOUR.all()


# ── slope.Initializer, slope.InitializerMultiplier ───────────────────────────────────────────────


def test_the_default_is_constant_1_times_a_quarter():
    np.testing.assert_array_equal(nn.PReLU(4).slope.data, [0.25] * 4)
    assert nn.PReLU.__init__.__defaults__[3].value == 1.0
    assert nn.PReLU.__init__.__defaults__[3].multiplier == 0.25


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("multiplier", [1.0, 0.25])
def test_initializers_times_multiplier(multiplier, known):
    n = 20_000
    drawn = {}
    for name, initializer in {
        "uniform": init.Uniform(-1, 1, multiplier),
        "normal": init.Normal(0, 1, multiplier),
        "constant": init.Constant(1.0, multiplier),
    }.items():
        layer = nn.PReLU(n if known else None, slope=initializer)
        layer(np.zeros((1, n), np.float32))
        drawn[name] = layer.slope.data / multiplier
        assert layer.slope.shape == (n,) and layer.slope.dtype == np.float32
    assert drawn["uniform"].min() == pytest.approx(-1, abs=1e-3)
    assert drawn["uniform"].max() == pytest.approx(1, abs=1e-3)
    assert drawn["uniform"].std() == pytest.approx(1 / np.sqrt(3), rel=0.03)
    assert drawn["normal"].mean() == pytest.approx(0, abs=0.03)
    assert drawn["normal"].std() == pytest.approx(1, rel=0.03)
    assert (drawn["constant"] == 1).all()


def test_the_same_seed_draws_the_same_slopes():
    drawn = []
    for shape in (4, 4, None):
        md.manual_seed(7)
        layer = nn.PReLU(shape, slope=init.Normal)
        layer(X)
        drawn.append(layer.slope.data)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


# ── slope.LRateMultiplier, weight decay ──────────────────────────────────────────────────────────


def change(optimizer_of, **arguments):
    """How far one step moves the slopes."""
    layer = nn.PReLU(4, **arguments)
    optimizer = optimizer_of(layer.parameters())
    layer(-np.ones((2, 4), np.float32)).sum().backward()
    optimizer.step()
    return layer.slope.data - 0.25


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_multiplier_scales_the_step(name):
    once = change(OPTIMIZERS[name])
    assert (once != 0).all()
    np.testing.assert_allclose(change(OPTIMIZERS[name], lr_mult=3.0), 3 * once, rtol=1e-5)
    np.testing.assert_allclose(
        change(OPTIMIZERS[name], lr_mult={"slope": 0.5}), once / 2, rtol=1e-5
    )
    np.testing.assert_array_equal(change(OPTIMIZERS[name], lr_mult=0), np.zeros(4))


@pytest.mark.parametrize("optimizer_of", [optim.SGD, optim.AdamW])
def test_slopes_are_exempt_from_weight_decay(optimizer_of):
    layers = nn.PReLU(4), nn.PReLU(4, slope=FOUR), nn.PReLU(), nn.PReLU(shared=True)
    assert not any(p.decay for layer in layers for p in layer.parameters())
    plain = change(lambda p: optimizer_of(p, lr=0.1, weight_decay=0.0))
    decayed = change(lambda p: optimizer_of(p, lr=0.1, weight_decay=0.5))
    np.testing.assert_array_equal(plain, decayed)

    def with_decay(params):
        (slope,) = params
        slope.decay = True
        return optimizer_of([slope], lr=0.1, weight_decay=0.5)

    assert (change(with_decay) != plain).all()


# ── State ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [4, None])
def test_state_goes_round(tmp_path, shape):
    trained = nn.PReLU(4, slope=FOUR, lr_mult=2.0)
    md.save(trained.state_dict(), tmp_path / "prelu.npz")
    fresh = nn.PReLU(shape, slope=Untouched() if shape is None else FOUR[::-1].copy())
    fresh.load_state_dict(md.load(tmp_path / "prelu.npz"))
    np.testing.assert_array_equal(fresh.slope.data, FOUR)
    assert fresh.slope.lr_mult == 2.0 and not fresh.slope.decay
    np.testing.assert_array_equal(fresh(X).data, trained(X).data)


def test_slopes_that_wait_for_their_shape_are_parameters_already():
    model = nn.Sequential(nn.Affine(2, 3), nn.PReLU(lr_mult=2.0))
    assert "first batch" in repr(model)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    slope = model[1].slope
    model(-np.ones((4, 2), np.float32)).sum().backward()
    optimizer.step()
    assert model[1].slope is slope and slope.shape == (3,) and slope.lr_mult == 2.0
    assert (slope.data != 0.25).any()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_wait_too(again):
    layer = again(nn.PReLU(slope=init.Constant(0.5)))
    layer(X)
    np.testing.assert_array_equal(layer.slope.data, [0.5] * 4)
    assert nn.PReLU().slope.waits_for_shape and not again(layer).slope.waits_for_shape


# ── Arguments that are wrong ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.PReLU(alpha=0.25), TypeError, "'alpha'; use slope="),
        (lambda: nn.PReLU(4, alpha=0.25), TypeError, r"init.Constant\(0.25\)"),
        (lambda: nn.PReLU(init=0.25), TypeError, "'init'; use slope="),
        (lambda: nn.PReLU(weight=0.25), TypeError, "'weight'; use slope="),
        (lambda: nn.PReLU(num_parameters=4), TypeError, "'num_parameters'; use shape="),
        (lambda: nn.PReLU(axis=1), TypeError, "'axis'; use base_axis="),
        (lambda: nn.PReLU(nonsense=4), TypeError, "'nonsense'; use one of shape"),
        (lambda: nn.PReLU(slope=0.25), TypeError, r"init.Constant\(0.25\)"),
        (lambda: nn.PReLU(0), ValueError, "PReLU: shape"),
        (lambda: nn.PReLU((4, 3), base_axis=2), ValueError, "base_axis=2"),
        (lambda: nn.PReLU(4, base_axis=(0, 1)), ValueError, r"shape of several axes, got shape=4"),
        (lambda: nn.PReLU((4, 3), base_axis=(0, -2)), ValueError, "names an axis twice"),
        (lambda: nn.PReLU(base_axis=3)(X), ValueError, "base_axis=3 counts without the batch"),
        (lambda: nn.PReLU(base_axis=-4)(X), ValueError, "base_axis=-4"),
        (lambda: nn.PReLU(base_axis=0.5), TypeError, "base_axis"),
        (lambda: nn.PReLU(base_axis=()), ValueError, "base_axis"),
        (lambda: nn.PReLU(shared=1), TypeError, "shared"),
        (lambda: nn.PReLU(lr_mult=-1), ValueError, "PReLU.slope: lr_mult"),
        (lambda: nn.PReLU(4)(X[:, :3]), ValueError, r"shape \(3,\), this layer has \(4,\)"),
        (lambda: nn.PReLU()(np.zeros(3, np.float32)), ValueError, "x has 0 such axes"),
        (lambda: nn.PReLU()(X[:, :0]), ValueError, "the number of slopes .* got 0"),
        (lambda: F.prelu(X, alpha=0.25), TypeError, "'alpha'; use slope="),
        (lambda: F.prelu(X, weight=FOUR), TypeError, "'weight'; use slope="),
        (lambda: F.prelu(X, FOUR, axis=1), TypeError, "'axis'; use base_axis="),
        (lambda: F.prelu(X, FOUR, nonsense=1), TypeError, "'nonsense'"),
        (lambda: F.prelu(X), TypeError, "slope"),
        (lambda: F.prelu(X, FOUR, "channels"), TypeError, "base_axis"),
        (lambda: F.prelu(X, FOUR, True), TypeError, "base_axis"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ── As PyTorch ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 7), (2, 4, 3, 5), (2, 4, 3, 5, 2)])
@pytest.mark.parametrize("slopes", [1, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_pytorch(shape, slopes, dtype):
    torch = pytest.importorskip("torch")
    values = RNG.normal(size=shape).astype(dtype)
    values.ravel()[::5] = 0
    gy = RNG.normal(size=shape).astype(dtype)
    oracle = torch.nn.PReLU(slopes, dtype=getattr(torch, dtype))
    layer = nn.PReLU(slopes).astype(dtype)
    layer.load_state_dict({"slope": oracle.weight.detach().numpy()})
    theirs = torch.tensor(values, requires_grad=True)
    ours = md.Tensor(values, requires_grad=True)
    expected, y = oracle(theirs), layer(ours)
    expected.backward(torch.tensor(gy))
    y.backward(gy)
    tight = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(y.data, expected.detach().numpy(), rtol=tight)
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=tight)
    np.testing.assert_allclose(
        layer.slope.grad.data, oracle.weight.grad.numpy(), rtol=100 * tight, atol=10 * tight
    )
