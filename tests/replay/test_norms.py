"""Normalisation and clipping in a captured step: the bits of the function, statistics and counts included."""

import numpy as np
import pytest

import minidl as md
from minidl import _kernels as K
from minidl import functional as F
from minidl import nn, optim
from tests.replay.captured_cases import OPTIMIZERS, Training, batches, network, same, same_state

LAYERS = {
    "BatchNorm": lambda: nn.BatchNorm(4),
    "BatchNorm, the plain average": lambda: nn.BatchNorm(4, momentum=None),
    "BatchNorm, no parameters": lambda: nn.BatchNorm(4, affine=False),
    "BatchNorm, no statistics": lambda: nn.BatchNorm(4, track_running_stats=False),
    "BatchNorm, no bias": lambda: nn.BatchNorm(4, bias=False),
    "BatchNorm, relu": lambda: nn.BatchNorm(4, activation="relu"),
    "BatchNorm, tanh": lambda: nn.BatchNorm(4, activation="tanh"),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "GroupNorm, no bias": lambda: nn.GroupNorm(2, 4, bias=False),
    "InstanceNorm": lambda: nn.InstanceNorm(4),
    "InstanceNorm, affine": lambda: nn.InstanceNorm(4, affine=True),
    "LayerNorm": lambda: nn.LayerNorm((4, 5, 6)),
    "LayerNorm, no parameters": lambda: nn.LayerNorm(6, affine=False),
}


@pytest.fixture(params=K.available)
def compiled_level(request, monkeypatch):
    for name, entry_point in vars(K.load(request.param)).items():
        monkeypatch.setattr(K, name, entry_point, raising=False)


def images(count, layout="planes", dtype="float32", shape=(3, 4, 5, 6)):
    rng = np.random.default_rng(0)
    for i in range(count):
        x, y = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
        x = x * (i + 1) + i
        if layout == "channels last":
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        yield md.Tensor(x), md.Tensor(y)


def trainings(layer, dtype="float32"):
    """The layer and another before it, so that x has a gradient; twice."""
    for _ in range(2):
        md.manual_seed(3)
        model = nn.Sequential(nn.Conv(4, 4, 1), layer())
        yield Training(model.astype(dtype), OPTIMIZERS["Adam"])


def same_buffers(plain, captured):
    for name, array in plain.model.buffers.items():
        same(array, captured.model.buffers[name])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", ["planes", "channels last"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_has_the_same_bits(compiled_level, name, layout, dtype):
    plain, captured = trainings(LAYERS[name], dtype)
    step = md.capture(captured.step)
    for i, (x, y) in enumerate(images(7, layout, dtype)):
        if i in (3, 5):
            for training in (plain, captured):
                training.model.train(i == 5)
        if i in (2, 4, 6):
            step.plan().spoil()
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)
        same_buffers(plain, captured)
    assert step.records == 2  # training, and evaluating


def test_of_features_and_one_thread_or_more():
    """(N, C), and so many of them that all threads take part."""
    before = md.get_num_threads()
    plain, captured = (
        Training(nn.Sequential(nn.BatchNorm(40), nn.Tanh(), nn.LayerNorm(40)), OPTIMIZERS["SGD"])
        for _ in range(2)
    )
    step = md.capture(captured.step)
    try:
        for i, (x, y) in enumerate(batches(6, 3000, 40, 40)):
            md.set_num_threads(1 + i % 3)
            same(plain.step(x, y)._data, step(x, y)._data)
            same_state(plain, captured)
            same_buffers(plain, captured)
    finally:
        md.set_num_threads(before)


@pytest.mark.parametrize("layer", ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm"])
def test_a_gradient_penalty_through_a_layer(layer):
    def penalty(training, x):
        training.model.zero_grad()
        inside = x * 1.0
        inside.requires_grad = True
        slope = md.grad(F.tanh(training.model(inside)).sum(), inside, create_graph=True)
        loss = ((slope * slope).sum(axis=(1, 2, 3)) - 1).abs().mean()
        loss.backward()
        training.optimizer.step()
        return loss, slope

    plain, captured = trainings(LAYERS[layer])
    step = md.capture(lambda x: penalty(captured, x))
    for x, _ in images(4):
        for a, b in zip(penalty(plain, x), step(x), strict=True):
            same(a._data, b._data)
        same_state(plain, captured)
        same_buffers(plain, captured)
    assert step.records == 1


def test_statistics_of_the_users_own():
    """Arrays that the function finds outside, of both dtypes and any strides; without them, none are kept."""
    wide = np.zeros((4, 2))
    statistics = {
        "plain": (np.zeros(4, np.float32), np.ones(4)),
        "captured": (wide[:, 0].astype(np.float32), wide[:, 1]),
    }
    wide[:, 1] = 1

    def step_of(which):
        mean, var = statistics[which]

        def step(x, training):
            return F.batch_norm(x, mean, var, training=training, momentum=0.3)

        return step

    step, again = step_of("plain"), md.capture(step_of("captured"))
    for i, (x, _) in enumerate(images(6)):
        same(step(x, i != 3)._data, again(x, i != 3)._data)
        for a, b in zip(*statistics.values(), strict=True):
            same(a, np.ascontiguousarray(b))
    assert not np.array_equal(wide[:, 1], np.ones(4))


def test_statistics_that_are_arguments_are_refused():
    step = md.capture(lambda x, mean: F.batch_norm(x, mean, None, training=True))
    ((x, _),) = images(1)
    with pytest.raises(md.CaptureError, match="running_mean is an argument"):
        step(x, np.zeros(4, np.float32))


def test_running_statistics_are_replaced():
    plain, captured = trainings(LAYERS["BatchNorm"])
    step = md.capture(captured.step)
    for i, (x, y) in enumerate(images(5)):
        if i == 2:
            for training in (plain, captured):
                training.model[1].running_mean = np.full(4, 2, np.float32)
        if i == 3:
            captured.model.load_state_dict(plain.model.state_dict())
        same(plain.step(x, y)._data, step(x, y)._data)
        same_buffers(plain, captured)


def test_fit():
    def run(capture):
        md.manual_seed(3)
        model = nn.Sequential(nn.Affine(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Affine(8, 3))
        training = Training(model, OPTIMIZERS["Adam"])
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((50, 4)).astype(np.float32), rng.integers(0, 3, 50)
        history = md.fit(
            model, md.data.DataLoader((x, y), 16, shuffle=True, rng=1), F.cross_entropy,
            training.optimizer, 3, validation=(x, y), progress=False, capture=capture,
        )  # fmt: skip
        return training, history["val_loss"]

    (plain, losses), (captured, losses2) = run(False), run(True)
    same_state(plain, captured)
    same_buffers(plain, captured)
    assert losses == losses2


def test_no_elements():
    layer = nn.BatchNorm(4)
    step = md.capture(lambda x: layer(x))
    x = md.Tensor(np.zeros((0, 4, 5, 6), np.float32))
    for _ in range(3):
        assert step(x).shape == x.shape
    assert layer.num_batches_tracked == 3
    np.testing.assert_array_equal(layer.running_mean, np.zeros(4))
    np.testing.assert_array_equal(layer.running_var, np.ones(4))
    assert step.records == 1


def test_attributes_of_layers_that_a_sequential_fuses():
    def change(model, i):
        if i == 2:
            model[1].momentum = 0.5
        elif i == 3:
            model[2].negative_slope = 0.3
        elif i == 4:
            model[1].eval()
        elif i == 5:
            model[0].stride = (2, 2)

    models = [
        nn.Sequential(nn.Conv(4, 4, 1, bias=False, weight=np.eye(4).reshape(4, 4, 1, 1)), *layers)
        for layers in [(nn.BatchNorm(4), nn.LeakyReLU(0.1)) for _ in range(2)]
    ]
    step = md.capture(lambda x: models[1](x))
    for i, (x, _) in enumerate(images(7)):
        for model in models:
            change(model, i)
        same(models[0](x)._data, step(x)._data)
        for name, array in models[0].buffers.items():
            same(array, models[1].buffers[name])
    assert step.records == 5


# ── Clipping ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Clipped(Training):
    max_norm = 0.5

    def step(self, x, y):
        self.model.zero_grad()
        loss = self.loss(self.model(x), y)
        loss.backward()
        norm = optim.clip_grad_norm(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        return loss, norm


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1.5, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_has_the_same_bits(compiled_level, max_norm, dtype):
    plain, captured = (Clipped(network(dtype=dtype), OPTIMIZERS["Adam"]) for _ in range(2))
    plain.max_norm = captured.max_norm = max_norm
    step, norms = md.capture(captured.step), []
    for i, (x, y) in enumerate(batches(7, dtype=dtype)):
        x, y = x * (50.0 if i % 2 else 1.0), y * (30.0 if i % 2 else 1.0)  # clipped, or not
        if i == 6:
            x.data[0, 0] = np.nan
        (loss, norm), (loss2, norm2) = plain.step(x, y), step(x, y)
        assert isinstance(norm, float)
        same(loss._data, loss2._data)
        same(np.float64(norm), norm2._data)
        same_state(plain, captured)
        norms.append(norm)
    assert min(norms) < 1.5 < np.nanmax(norms)
    assert step.records == 1


def test_clipped_values_and_averaged_weights_have_the_same_bits():
    class Averaged(Training):
        def step(self, x, y):
            self.model.zero_grad()
            loss = self.loss(self.model(x), y)
            loss.backward()
            optim.clip_grad_value(self.model.parameters(), 0.01)
            self.optimizer.step()
            self.ema.update()
            return loss

    plain, captured = (Averaged(network(), OPTIMIZERS["Adam"]) for _ in range(2))
    for training in (plain, captured):
        training.ema = optim.EMA(training.model, 0.9)
    step = md.capture(captured.step)
    for i, (x, y) in enumerate(batches(7)):
        if i == 3:  # inside, the parameters have other arrays
            with captured.ema.average(), plain.ema.average():
                same(plain.model(x)._data, captured.model(x)._data)
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)
        assert repr(plain.ema.state_dict()) == repr(captured.ema.state_dict())
    assert step.records == 1
    with captured.ema.average(), pytest.raises(RuntimeError, match="inside of"):
        step(x, y)


def test_a_gradient_that_comes_and_goes_counts():
    """A parameter outside of the step has a gradient from somewhere else: it is clipped, too."""
    other = nn.Parameter(np.zeros(3, np.float32))
    weight = nn.Parameter(np.ones(3, np.float32))

    @md.capture
    def step(x):
        weight.zero_grad()
        (x * weight).sum().backward()
        return optim.clip_grad_norm([weight, other], 1.0)

    x = md.Tensor([1.0, 2.0, 2.0])
    for _ in range(3):
        assert step(x).item() == 3
    other.grad = md.Tensor([4.0, 0.0, 0.0])
    with pytest.raises(md.CaptureError, match="clip_grad_norm: a gradient that is not computed"):
        step(x)
    other.grad = None
    assert step(x).item() == 3


def test_the_norm_is_not_read_in_the_step():
    training = Clipped(network(), OPTIMIZERS["SGD"])

    def step(x, y):
        _, norm = training.step(x, y)
        return x * 2 if norm > 3 else x

    with pytest.raises(md.CaptureError, match="value is read"):
        md.capture(step)(*next(batches(1)))


def by_hand(parameters):
    for p in parameters:
        p.grad.data = p.grad.data * 0.5


@pytest.mark.parametrize("change", [lambda ps: optim.clip_grad_value(ps, 0.01), by_hand])
def test_gradients_may_get_other_arrays_between_the_calls(change):
    plain, captured = (Training(network()) for _ in range(2))
    step = md.capture(captured.step)
    for x, y in batches(4):
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)
        for training in (plain, captured):
            change(list(training.model.parameters()))
        same_state(plain, captured)
