"""Monitors: what they measure is right, and the training and the model do not notice them."""

import builtins
import doctest
import math

import numpy as np
import pytest

import minidl as md
from minidl import data, monitor, nn, optim
from minidl import functional as F
from minidl.monitor import DeadUnits, GradientNorms, Saturation
from minidl.training import watching

RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def network(activation=nn.ReLU):
    md.manual_seed(0)
    return nn.Sequential(nn.Affine(4, 6), activation(), nn.Dropout(0.2), nn.Affine(6, 2))


def fit(model, callbacks, epochs=3, loss=F.cross_entropy, **options):
    md.manual_seed(1)
    loader = data.DataLoader((X, Y), 16, shuffle=True)
    optimizer = optim.SGD(model.parameters(), 0.5)
    return md.fit(model, loader, loss, optimizer, epochs, callbacks=callbacks,
                  progress=False, **options)  # fmt: skip


class Custom(nn.Module):
    """A model with a layer of its own making and a function where others have a layer."""

    def __init__(self):
        self.first = nn.Affine(4, 3)
        self.act = Doubled()
        self.last = nn.Affine(3, 2)

    def forward(self, x):
        return self.last(F.relu(self.act(self.first(x))))


class Doubled(nn.Module):
    def forward(self, x):
        return F.relu(2 * x)


def known_units():
    """Four ReLU units: one that never fires, one that always does, two for one sign each."""
    weight = np.array([[0.0], [0.0], [1.0], [-1.0]])
    return nn.Sequential(
        nn.Affine(1, 4, weight=weight, bias=np.array([-1.0, 1.0, 0.0, 0.0])), nn.ReLU()
    )


@pytest.mark.parametrize("module", [monitor, watching], ids=lambda module: module.__name__)
def test_docstrings_run(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


# ── Dead units ──────────────────────────────────────────────────────────────────────────────────


def test_known_dead_units():
    dead = DeadUnits()
    assert dead.measure(known_units(), [[-1.0], [1.0]]) == {"1 ReLU": 0.25}
    assert dead.units["1 ReLU"].tolist() == [True, False, False, False]
    assert dead.measure(known_units(), [[1.0]]) == {"1 ReLU": 0.5}
    assert dead.history == {"1 ReLU": [0.25, 0.5]} and dead.at == [0, 1]


def test_a_unit_lives_if_it_fires_once_in_an_epoch():
    # Each batch holds one sign only: in each of them another unit is silent.
    model = known_units()
    batches = [(np.float32([[-1.0]]), np.array([0])), (np.float32([[1.0]]), np.array([0]))]
    dead = DeadUnits()
    md.fit(model, batches, "cross_entropy", optim.SGD(model.parameters(), 0.0), 2,
           callbacks=[dead], progress=False)  # fmt: skip
    assert dead.history == {"1 ReLU": [0.25, 0.25]} and dead.at == [1, 2]


def test_validation_does_not_count_as_training():
    model = known_units()
    batches = [(np.float32([[-1.0]]), np.array([0]))]
    dead = DeadUnits()
    md.fit(model, batches, "cross_entropy", optim.SGD(model.parameters(), 0.0), 1,
           validation=(np.float32([[1.0]]), np.array([0])), callbacks=[dead],
           progress=False)  # fmt: skip
    assert dead.history == {"1 ReLU": [0.5]}


def test_a_probe_is_measured_before_and_after_each_epoch_in_parts():
    probe = np.tile(np.float32([[-1.0]]), (2 * monitor.PROBE_BATCH, 1))
    probe[-1] = 1
    model = known_units()
    dead = DeadUnits(probe)
    batches = [(probe[:1], np.array([0]))]
    md.fit(model, batches, "cross_entropy", optim.SGD(model.parameters(), 0.0), 2,
           callbacks=[dead], progress=False)  # fmt: skip
    assert dead.history == {"1 ReLU": [0.25] * 3} and dead.at == [0, 1, 2]


def test_channels_are_units_and_axis_can_be_chosen():
    images = np.full((2, 3, 4, 4), -1.0)
    images[1, 2, 3, 3] = 1  # one pixel of one image
    model = nn.Sequential(nn.ReLU())
    assert DeadUnits().measure(model, images) == {"0 ReLU": pytest.approx(2 / 3)}
    assert DeadUnits(axis=-1).measure(model, images) == {"0 ReLU": 0.75}
    with pytest.raises(ValueError, match=r"layer 0 ReLU: an output of shape .3,. has no axis 1"):
        DeadUnits().measure(model, np.ones(3))


def test_what_is_watched_by_default():
    model = nn.Sequential(
        nn.Affine(4, 4, activation="relu"), nn.Tanh(), nn.LayerNorm(4), nn.PReLU(), nn.Softmax()
    )
    labels = [label for label, _ in watching.activation_layers(model)]
    assert labels == ["0 Affine", "1 Tanh", "3 PReLU"]
    assert list(Saturation().measure(model, X)) == ["1 Tanh", "3 PReLU"]


def test_layers_of_two_inputs_and_of_random_slopes_are_activations():
    made = {"RReLU": (), "CReLU": (), "GLU": (), "Maxout": (4, 4, 2)}
    layers = [getattr(nn, name)(*made[name]) for name in made if hasattr(nn, name)]
    found = [
        type(module).__name__ for _, module in watching.activation_layers(nn.ModuleList(layers))
    ]
    assert found == [name for name in made if hasattr(nn, name)]
    flat = [layer for layer in layers if watching.is_elementwise(layer)]
    assert [type(layer).__name__ for layer in flat] == found[:1]


def test_modules_may_be_named_or_given_in_a_model_of_ones_own():
    model = Custom()
    dead = DeadUnits(modules=["act", model.first])
    fit(model, [dead])
    assert list(dead.history) == ["act Doubled", "first Affine"]
    with pytest.raises(ValueError, match=r"'acts' is not in the model, which has first, act, last"):
        fit(model, [DeadUnits(modules=["acts"])])
    with pytest.raises(ValueError, match="no activation layers"):
        fit(model, [DeadUnits()])


def test_an_activation_that_the_layer_before_would_apply_is_seen():
    md.manual_seed(0)
    model = nn.Sequential(nn.Affine(4, 6), nn.BatchNorm(6), nn.ReLU()).eval()
    before, seen = model(X).data, []
    with monitor.watch([model[2]], lambda module, x, y: seen.append((x.data, y.data))):
        assert np.array_equal(model(X).data, before)
    ((x, y),) = seen
    assert (x < 0).any() and np.array_equal(y, before)


# ── Saturation ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (nn.ReLU(), [-1.0, 0.0, 1.0, 2.0], 0.5),
        (nn.ReLU(inplace=True), [-1.0, 0.0, 1.0, 2.0], 0.5),
        (nn.LeakyReLU(0.001), [-1.0, 1.0, 1.0, 1.0], 0.25),
        (nn.LeakyReLU(0.1), [-1.0, 1.0, 1.0, 1.0], 0.0),
        # sigmoid's slope is a hundredth of its maximum where 4 s (1 - s) = 0.01, at |x| = 5.98
        (nn.Sigmoid(), [5.9, 6.1, -5.9, -6.1, 0, 0, 0, 0], 0.25),
        # tanh: 1 - tanh² = 0.01 at |x| = 2.993
        (nn.Tanh(), [2.98, 3.01, -2.98, -3.01], 0.5),
        (nn.PReLU(4, slope=np.array([0.0, 0.5, 0.0, 0.5])), [-1.0, -1.0, 1.0, 1.0], 0.25),
        (Doubled(), [-1.0, 1.0, 1.0, 1.0], 0.25),
    ],
)
def test_known_saturation(layer, inputs, expected):
    saturation = Saturation(modules=[layer])
    model = nn.Sequential(layer)
    for dtype in (np.float32, np.float64):
        name = f"0 {type(layer).__name__}"
        assert saturation.measure(model, np.array([inputs], dtype)) == {name: expected}
    assert all(p.grad is None for p in model.parameters())


def test_saturation_is_a_mean_over_the_batches_looked_at():
    batches = [(np.float32([[-1.0, -1.0]]), np.array([0])), (np.float32([[1.0, 1.0]] * 3), Y[:3])]
    every_batch, first_batch = Saturation(every=1), Saturation(every=2)
    model = nn.Sequential(nn.Affine(2, 2, weight=np.eye(2), bias=False), nn.ReLU())
    md.fit(model, batches, "cross_entropy", optim.SGD(model.parameters(), 0.0), 1,
           callbacks=[every_batch, first_batch], progress=False)  # fmt: skip
    assert every_batch.history == {"1 ReLU": [0.25]}
    assert first_batch.history == {"1 ReLU": [1.0]}


def test_only_elementwise_layers_have_a_slope():
    model = network()
    with pytest.raises(
        ValueError, match=r"layer 0 Affine: an output of shape .16, 6. for an input"
    ):
        fit(model, [Saturation(modules=["0"])])


# ── Gradient norms ──────────────────────────────────────────────────────────────────────────────


def test_norms_of_a_step_by_hand():
    model = nn.Sequential(nn.Affine(2, 1, weight=np.zeros((1, 2)), bias=np.zeros(1)))
    F.mse_loss(model([[3.0, 4.0]]), [[-1.0]]).backward()  # gy = 2 (0 + 1): weight 6, 8, bias 2
    by_layer, by_parameter = GradientNorms(), GradientNorms(by="parameter")
    assert by_parameter.measure(model) == {"0.weight": pytest.approx(10), "0.bias": 2}
    assert by_layer.measure(model) == {"0 Affine": pytest.approx(math.sqrt(104))}
    model.zero_grad()
    assert by_layer.measure(model, at=7) == {"0 Affine": 0.0}
    assert by_layer.at == [0, 7]


def test_small_and_great_gradients_have_norms():
    layer = nn.Affine(2, 1, bias=False)
    for size in (1e-30, 1e30):
        layer.weight.grad = md.Tensor(np.float32([[3 * size, 4 * size]]))
        norm = GradientNorms().measure(layer)["Affine"]
        assert norm == pytest.approx(5 * size, rel=1e-6)


def test_norms_per_epoch_are_means_and_per_step_are_not():
    kept = []

    class ByHand:
        def on_backward_end(self, training):
            first = training.model[0]
            squares = [np.square(p.grad.data).sum() for p in (first.weight, first.bias)]
            kept.append(math.sqrt(sum(squares)))

    mean, some = GradientNorms(), GradientNorms(every=2)
    fit(network(), [ByHand(), mean, some])
    assert mean.at == [1, 2, 3] and some.at == [1, 3, 5, 7, 9]
    np.testing.assert_allclose(mean.history["0 Affine"], np.reshape(kept, (3, 3)).mean(1), 1e-5)
    np.testing.assert_allclose(some.history["0 Affine"], kept[::2], 1e-5)
    assert list(mean.history) == ["0 Affine", "3 Affine"]


# ── They leave no trace ─────────────────────────────────────────────────────────────────────────


def monitors():
    return [DeadUnits(), DeadUnits(X), Saturation(every=1), Saturation(X), GradientNorms()]


class Noisy(nn.Module):
    """An activation that draws numbers while it trains."""

    def forward(self, x):
        return F.relu(F.dropout(x, 0.5, self.training))


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU, nn.PReLU, lambda: nn.ReLU(inplace=True), nn.Sigmoid, Noisy]
    + [getattr(nn, name) for name in ("RReLU",) if hasattr(nn, name)],
)
def test_the_training_takes_the_same_steps(activation):
    alone, watched = network(activation), network(activation)
    modules = [1] if activation is Noisy else None
    watchers = monitors()
    if modules:
        watchers = [DeadUnits(modules=["1"]), Saturation(modules=["1"], every=1), GradientNorms()]
    one = fit(alone, [], validation=(X, Y))
    two = fit(watched, watchers, validation=(X, Y))
    for name in ("loss", "val_loss"):
        assert one[name] == two[name]
    for p, q in zip(alone.parameters(), watched.parameters(), strict=True):
        assert np.array_equal(p.data, q.data)


def untouched(model):
    return all("forward" not in vars(module) for module in model.modules())


def test_nothing_is_left_after_training():
    model = network()
    model[1].forward = own = lambda x: F.relu(x)  # a forward of the user's own stays
    fit(model, monitors())
    assert vars(model[1]).pop("forward") is own and untouched(model)
    assert all(module.training for module in model.modules())


def test_nothing_is_left_after_an_error():
    model = network()
    calls = []

    class Fails:
        def on_batch_end(self, training):
            calls.append("forward" in vars(model[1]))
            raise RuntimeError("a callback's own mistake")

    with pytest.raises(RuntimeError, match="a callback's own mistake"):
        fit(model, [*monitors(), Fails()])
    assert calls == [True] and untouched(model)
    fit(model, [])  # and it can be trained further


def test_a_monitor_that_fails_leaves_the_model_as_the_last_step_did():
    model, alone = network(), network()
    wrong = np.zeros((3, 5), np.float32)  # the model takes 4 features
    with pytest.raises(ValueError, match="last axis of x: expected 4 "):
        fit(model, [DeadUnits(), DeadUnits(wrong)])
    assert untouched(model) and all(module.training for module in model.modules())
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        assert np.array_equal(p.data, q.data)


def test_a_layer_that_waits_for_its_first_batch_is_not_disturbed():
    probed = DeadUnits(X)
    fit(network(nn.PReLU), [probed])
    assert probed.at == [1, 2, 3]


@pytest.mark.parametrize("watcher", [DeadUnits, Saturation])
def test_a_model_that_works_in_place_leaves_the_probe_alone(watcher):
    probe = np.array([[-10.0, -1.0, 2.0]], np.float32)
    model = nn.Sequential(nn.ELU(inplace=True))
    watching_it = watcher(probe)
    assert watching_it.measure(model) == watching_it.measure(model)
    np.testing.assert_array_equal(probe, [[-10, -1, 2]])


def test_an_output_that_is_no_tensor_is_refused_by_name():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Model(nn.Module):
        def __init__(self):
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)[0]

    for watcher in (DeadUnits, Saturation):
        with pytest.raises(TypeError, match=r"layer pair Pair: expected a Tensor .*got tuple"):
            watcher(modules=["pair"]).measure(Model(), X)


def test_another_fit_begins_anew():
    watchers = monitors()
    model = network()
    fit(model, watchers)
    fit(model, watchers, epochs=1)
    assert [m.at for m in watchers] == [[1], [0, 1], [1], [0, 1], [1]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DeadUnits((X, Y)), TypeError, "probe: expected inputs as an array, got a tuple"),
        (lambda: DeadUnits(X[:0]), ValueError, "probe: expected samples"),
        (lambda: DeadUnits(modules="act"), TypeError, "modules: expected a list"),
        (lambda: DeadUnits(axis=1.5), TypeError, "axis must be an integer"),
        (lambda: DeadUnits().measure(network()), ValueError, "no x given, and no probe"),
        (lambda: Saturation(tolerance=2), ValueError, "tolerance must be a finite number"),
        (lambda: Saturation(every=0), ValueError, "every must be an integer >= 1"),
        (
            lambda: GradientNorms(by="layers"),
            ValueError,
            "by: expected one of 'layer', 'parameter', got 'layers'",
        ),
        (lambda: GradientNorms(every=0), ValueError, "every must be an integer >= 1"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ── Pictures ────────────────────────────────────────────────────────────────────────────────────


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    watchers = monitors()
    fit(network(), watchers)
    for i, watcher in enumerate(watchers):
        path = tmp_path / f"{i}.png"
        watcher.plot(path)
        assert path.read_bytes().startswith(b"\x89PNG")
    GradientNorms().plot(tmp_path / "empty.png")  # nothing measured yet


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r'DeadUnits.plot.*pip install "minidl\[plot\]"'):
        DeadUnits().plot(tmp_path / "dead.png")
