"""Normalisation and pooling layers: against PyTorch over steps, both memory layouts, state, errors."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import init, nn, optim

RNG = np.random.default_rng(0)
SHAPES = [(8, 6), (8, 6, 5), (4, 6, 5, 3), (2, 6, 3, 2, 2)]


def images(shape=(4, 6, 5, 3), last=False):
    x = RNG.normal(1.5, 2, shape).astype(np.float32)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if last else x


def steps(model, xs, gys):
    """What comes out, and the gradients, batch after batch."""
    found = []
    for x, gy in zip(xs, gys, strict=True):
        x = md.Tensor(x, requires_grad=True)
        model.zero_grad()
        y = model(x)
        (y * gy).sum().backward()
        found.append([y.data, x.grad.data, *[p.grad.data for p in model.parameters()]])
    return found


# ── BatchNorm ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_is_pytorchs(shape, last, momentum, dtype):
    torch = pytest.importorskip("torch")
    oracle = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}.get(
        len(shape), torch.nn.BatchNorm3d
    )(6, momentum=momentum)
    layer = nn.BatchNorm(6, momentum=momentum).astype(dtype)
    oracle = oracle.to(getattr(torch, dtype))
    weight = RNG.normal(size=6).astype(dtype)
    layer.weight.data[...] = weight
    oracle.weight.data[...] = torch.tensor(weight)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for mode in (True, True, True, False):
        layer.train(mode), oracle.train(mode)
        x, gy = images(shape, last).astype(dtype), images(shape).astype(dtype)
        xs = torch.tensor(np.ascontiguousarray(x), requires_grad=True)
        y = oracle(xs)
        oracle.zero_grad()
        y.backward(torch.tensor(gy))
        ours = steps(layer, [x], [gy])[0]
        assert ours[0].strides == x.strides
        for mine, other in zip(
            ours, [y, xs.grad, oracle.weight.grad, oracle.bias.grad], strict=True
        ):
            other = other.detach().numpy()
            assert mine.dtype == other.dtype
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=10 * tolerance)
    state, other = layer.state_dict(), oracle.state_dict()
    assert list(state) == list(other)
    for name, value in other.items():
        np.testing.assert_allclose(state[name], value.numpy(), rtol=tolerance, err_msg=name)
    nn.BatchNorm(6).load_state_dict({name: value.numpy() for name, value in other.items()})


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(0.2),
        nn.LeakyReLU(),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Hardtanh(-0.5, 0.7),
    ],
    ids=repr,
)
def test_sequential_gives_batch_norm_the_activation_and_the_bits_stay(activation, last):
    def model(wrapped):
        layer = nn.BatchNorm(6)
        layer.weight.data[...] = np.linspace(-1, 2, 6)
        return nn.Sequential(layer, *([nn.Identity()] if wrapped else []), activation)

    xs, gys = [images(last=last) for _ in range(2)], [images(last=last) for _ in range(2)]
    fused, apart = model(False), model(True)
    y = fused(md.Tensor(xs[0], requires_grad=True))
    assert type(y._op).__name__ == "ActivatedBatchNorm" and y.data.strides == xs[0].strides
    fused, apart = model(False), model(True)
    for ours, expected in zip(steps(fused, xs, gys), steps(apart, xs, gys), strict=True):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_sequential_leaves_alone():
    class Loud(nn.ReLU):
        def forward(self, x):
            return super().forward(x) + 1

    class Own(nn.BatchNorm):
        def forward(self, x):
            return super().forward(x) * 2

    x = images()
    plain = F.relu(nn.BatchNorm(6)(x)).data
    np.testing.assert_array_equal(nn.Sequential(nn.BatchNorm(6), Loud())(x).data, plain + 1)
    np.testing.assert_array_equal(nn.Sequential(Own(6), nn.ReLU())(x).data, 2 * plain)
    one = nn.BatchNorm(6, activation="relu")
    np.testing.assert_array_equal(nn.Sequential(one, nn.ReLU())(x).data, plain)
    two = nn.Sequential(nn.BatchNorm(6), nn.BatchNorm(6), nn.ReLU(), nn.BatchNorm(6))
    assert two(x).shape == x.shape
    for other in (nn.ELU(), nn.GELU(), nn.GELU("tanh"), nn.Hardtanh(-1, -0.5)):
        ours, expected = (nn.BatchNorm(6), nn.Identity(), other), other(nn.BatchNorm(6)(x))
        np.testing.assert_array_equal(nn.Sequential(*ours)(x).data, expected.data)
        np.testing.assert_array_equal(nn.Sequential(nn.BatchNorm(6), other)(x).data, expected.data)
    soft = nn.Sequential(nn.BatchNorm(6), nn.Softplus(), nn.BatchNorm(6), nn.LeakyReLU(-0.5))
    expected = F.leaky_relu(nn.BatchNorm(6)(F.softplus(nn.BatchNorm(6)(x))), -0.5)
    np.testing.assert_array_equal(soft(x).data, expected.data)


def test_settings_of_batch_norm():
    plain = nn.BatchNorm(6, affine=False)
    assert list(plain.parameters()) == [] and len(plain.buffers) == 3
    x = images()
    np.testing.assert_allclose(plain(x).data.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    untracked = nn.BatchNorm(6, track_running_stats=False)
    assert untracked.buffers == {} and list(untracked.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(untracked.eval()(x).data, untracked.train()(x).data)
    layer = nn.BatchNorm(6, bias=False, weight=init.Constant(2.0), lr_mult={"weight": 3.0})
    assert layer.bias is None and (layer.weight.data == 2).all() and layer.weight.lr_mult == 3
    with nn.ParameterScope():
        a, b = nn.BatchNorm(6, scope="s"), nn.BatchNorm(6, scope="s")
    assert a.weight is b.weight and a.running_mean is not b.running_mean
    assert repr(nn.BatchNorm(6, momentum=None, activation="tanh")).startswith(
        "BatchNorm(6, eps=1e-05, momentum=None, activation='tanh'; weight (6,)"
    )


def test_running_statistics_are_updated_in_place_and_only_in_training(tmp_path):
    layer, x = nn.BatchNorm(6), images()
    mean, var = layer.running_mean, layer.running_var
    layer.eval()(x)
    assert not mean.any() and (var == 1).all() and layer.num_batches_tracked == 0
    with md.no_grad():
        layer.train()(x)
    assert (
        layer.running_mean is mean and layer.running_var is var and layer.num_batches_tracked == 1
    )
    np.testing.assert_allclose(mean, 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)
    for ending in ("npz", "safetensors"):
        md.save(layer.state_dict(), tmp_path / f"state.{ending}")
        other = nn.BatchNorm(6)
        other.load_state_dict(md.load(tmp_path / f"state.{ending}"))
        np.testing.assert_array_equal(other.eval()(x).data, layer.eval()(x).data)
        assert other.num_batches_tracked == 1 and other.num_batches_tracked.dtype == np.int64
    kept = mean.copy()
    with pytest.raises(ValueError):
        layer.train()(images((4, 5, 3)))
    with pytest.raises(ValueError):
        layer(images((1, 6)))
    assert np.array_equal(mean, kept) and layer.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"eps": None}, TypeError),
        ({"eps": -1.0}, ValueError),
        ({"eps": np.nan}, ValueError),
        ({"momentum": "a"}, TypeError),
        ({"momentum": np.nan}, ValueError),
        ({"weight": np.ones(2)}, ValueError),
        ({"activation": "sin"}, ValueError),
    ],
)
def test_what_is_refused_leaves_the_running_statistics(settings, error):
    mean, var = np.zeros(6, np.float32), np.ones(6, np.float32)
    with pytest.raises(error, match="batch_norm: "):
        F.batch_norm(images(), mean, var, training=True, **settings)
    assert not mean.any() and (var == 1).all()


def test_a_large_mean():
    x = (1e4 + RNG.normal(size=(64, 6, 8, 8))).astype(np.float32)
    for array in (x, np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)):
        layer = nn.BatchNorm(6, momentum=1.0)
        y = layer(array).data
        np.testing.assert_allclose(
            layer.running_var, x.var(axis=(0, 2, 3), ddof=1, dtype="f8"), rtol=1e-4
        )
        np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, rtol=1e-4)
        np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 6), (0, 6, 4, 4), (3, 6, 0)])
def test_empty_batches(shape):
    for layer in (
        nn.BatchNorm(6),
        nn.BatchNorm(6).eval(),
        nn.BatchNorm(6, activation="relu"),
        nn.GroupNorm(2, 6),
    ):
        x = md.Tensor(np.zeros(shape, np.float32), requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.shape == x.grad.shape == shape and not layer.weight.grad.data.any()
        if isinstance(layer, nn.BatchNorm):
            assert not layer.running_mean.any() and (layer.running_var == 1).all()


def test_nan_stays_in_its_channel():
    x = images()
    x[1, 2, 0, 0] = np.nan
    y = nn.BatchNorm(6)(x).data
    assert np.isnan(y[:, 2]).all() and np.isfinite(np.delete(y, 2, axis=1)).all()


# ── The others ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("last", [False, True])
def test_group_and_instance_norm(last):
    torch = pytest.importorskip("torch")
    x, gy = images(last=last), images()
    for layer, oracle in (
        (nn.GroupNorm(3, 6), torch.nn.GroupNorm(3, 6)),
        (nn.GroupNorm(1, 6, affine=False), torch.nn.GroupNorm(1, 6, affine=False)),
        (nn.InstanceNorm(6), torch.nn.InstanceNorm2d(6)),
        (nn.InstanceNorm(6, affine=True), torch.nn.InstanceNorm2d(6, affine=True)),
    ):
        state = {name: RNG.normal(size=6).astype("f") for name in layer.state_dict()}
        layer.load_state_dict(state)
        oracle.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        xs = torch.tensor(np.ascontiguousarray(x), requires_grad=True)
        y = oracle(xs)
        y.backward(torch.tensor(gy))
        expected = [y, xs.grad, *[p.grad for p in oracle.parameters()]]
        for mine, other in zip(steps(layer, [x], [gy])[0], expected, strict=True):
            np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_pooling_layers(last):
    x = images((2, 8, 6, 9), last)
    for layer, expected in (
        (nn.MaxPool(2), F.max_pool(x, 2)),
        (nn.MaxPool((3, 2), stride=1, padding=(1, 0)), F.max_pool(x, (3, 2), 1, (1, 0))),
        (nn.AvgPool(3, 2, 1), F.avg_pool(x, 3, 2, 1)),
        (nn.Upsample((2, 3)), F.upsample(x, (2, 3))),
        (nn.PixelShuffle(2), F.pixel_shuffle(x, 2)),
    ):
        y = layer(x).data
        np.testing.assert_array_equal(y, expected.data)
        assert np.moveaxis(y, 1, -1).flags.c_contiguous == last
    assert repr(nn.MaxPool((3, 2), padding=1)) == "MaxPool((3, 2), stride=(3, 2), padding=1)"


def test_same_bits_with_any_number_of_threads():
    def train(threads, last):
        before = md.get_num_threads()
        md.set_num_threads(threads)
        try:
            rng = np.random.default_rng(0)
            x = rng.normal(size=(16, 40, 12, 12)).astype("f")
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if last else x
            model = nn.Sequential(
                nn.BatchNorm(40), nn.LeakyReLU(0.2), nn.MaxPool(3, 2, 1), nn.Upsample(2), nn.BatchNorm(40),
                nn.Tanh(), nn.AvgPool(2), nn.GroupNorm(4, 40),
            )  # fmt: skip
            step = optim.SGD(model.parameters(), lr=1e-4)
            for _ in range(5):
                model.zero_grad()
                y = model(md.Tensor(x, requires_grad=True))
                (y * y * y).sum().backward()
                step.step()
            return [v.tobytes() for v in model.state_dict().values()]
        finally:
            md.set_num_threads(before)

    for last in (False, True):
        assert train(1, last) == train(2, last) == train(3, last) == train(4, last)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.BatchNorm(6)(images((4, 5, 3, 3))), ValueError,
         r"BatchNorm\(6\): axis 1 of x: expected 6 channels, got shape \(4, 5, 3, 3\)"),
        (lambda: nn.BatchNorm(6)(images((1, 6))), ValueError,
         r"batch_norm: training needs more than one value per channel, got x of shape \(1, 6\)"),
        (lambda: nn.BatchNorm(6)(images((6,))), ValueError, r"batch_norm: expected x \(N, C\)"),
        (lambda: nn.BatchNorm(6)(images((1, 6, 1, 1, 1, 2))), ValueError, "up to 3 more axes"),
        (lambda: nn.BatchNorm(0), ValueError, "BatchNorm: num_features"),
        (lambda: nn.BatchNorm(6, eps=-1), ValueError, "BatchNorm: eps"),
        (lambda: nn.BatchNorm(6, momentum=1.5), ValueError, "BatchNorm: momentum"),
        (lambda: nn.BatchNorm(6, affine=1), TypeError, "BatchNorm: affine"),
        (lambda: nn.BatchNorm(6, track_running_stats=None), TypeError, "track_running_stats"),
        (lambda: nn.BatchNorm(6, activation="nonsense"), ValueError, "activation: expected one of"),
        (lambda: nn.BatchNorm(6, weight=np.ones(5)), ValueError, r"BatchNorm.weight: expected shape \(6,\)"),
        (lambda: nn.GroupNorm(4, 6), ValueError, "num_groups=4 does not divide num_channels=6"),
        (lambda: nn.GroupNorm(2, 6)(images((4, 5))), ValueError,
         r"GroupNorm\(2, 6\): axis 1 of x: expected 6 channels, got shape \(4, 5\)"),
        (lambda: nn.InstanceNorm(6)(images((4, 6))), ValueError, r"instance_norm: expected x"),
        (lambda: nn.InstanceNorm(6)(images((4, 6, 1))), ValueError, "more than one value"),
        (lambda: nn.MaxPool(0), ValueError, "MaxPool: kernel_size"),
        (lambda: nn.MaxPool(2, 0), ValueError, "MaxPool: stride"),
        (lambda: nn.AvgPool(2, padding=-1), ValueError, "AvgPool: padding"),
        (lambda: nn.AvgPool((1, 1, 1, 1)), ValueError, "AvgPool: kernel_size: expected at most 3"),
        (lambda: nn.MaxPool(7)(images()), ValueError, "axis 2: kernel_size 7 is larger than the padded"),
        (lambda: nn.Upsample(0), ValueError, "Upsample: scale"),
        (lambda: nn.PixelShuffle(4)(images()), ValueError, r"pixel_shuffle: expected x .* got shape"),
    ],
)  # fmt: skip
def test_bad(call, error, message):
    with pytest.raises(error, match=message):
        call()
