"""A resumed training has the same bits as one that was never interrupted."""

import os
import signal

import numpy as np
import pytest

import minidl as md
from minidl import callbacks, nn, optim
from minidl.data import DataLoader

RNG = np.random.default_rng(0)
X = RNG.standard_normal((26, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype(int)
STEPS = 7  # of an epoch: 13 batches of 2 samples, two of them a step


class Stop(Exception):
    pass


class Crash:
    """Ends the training before its step with this number; as does a power cut, it leaves no time to save."""

    def __init__(self, step):
        self.step = step

    def on_backward_end(self, training):
        if training.step + 1 == self.step:
            raise Stop


def train(path, epochs, crash=0, resume=False, rng=1, **options):
    """All that may matter after a training in which everything draws, counts, averages and waits."""
    md.manual_seed(0)
    model = nn.Sequential(
        nn.Affine(4, 8), nn.BatchNorm(8), nn.PReLU(), nn.Dropout(0.2), nn.Dropout(0.2, rng=5),
        nn.Affine(8, 2),
    )  # fmt: skip
    model(X[:2])
    optimizer = optim.NAdam(model.parameters(), 0.02)
    cycle = optim.OneCycleLR(optimizer, 0.05, total_steps=4 * STEPS)
    plateau = optim.ReduceLROnPlateau(optim.SGD(model.parameters(), 1.0), patience=0, threshold=0.3)
    ema = optim.EMA(model, 0.9)
    stopping = callbacks.EarlyStopping("val_accuracy", 9, min_delta=0.01)
    checkpoint = callbacks.Checkpoint(path, every=2, resume=resume)
    history = md.fit(
        model, DataLoader((X, Y), 2, shuffle=True, rng=rng), "cross_entropy", optimizer, epochs,
        validation=(X[::2], Y[::2]), metrics=("accuracy", "f1"), accumulate=2, progress=False,
        callbacks=[
            checkpoint, callbacks.every_batch(cycle.step), ema, stopping, Crash(crash),
            callbacks.every_epoch(plateau.step, "val_loss"),
        ],
        **options,
    )  # fmt: skip
    history.history.pop("time")
    model.eval()
    return repr([
        model.state_dict(), optimizer.state_dict(), cycle.state_dict(), plateau.state_dict(),
        ema.state_dict(), stopping.state_dict(), history.history, md.random.generator().random(),
    ])  # fmt: skip


@pytest.mark.parametrize("rng", [1, None])
def test_every_step_may_be_the_last(tmp_path, rng):
    expected = train(tmp_path / "plain.npz", 2, rng=rng)
    for crash in range(3 if rng else 4, 2 * STEPS + 1, 2):  # with each of both, every second one
        with pytest.raises(Stop):
            train(tmp_path / "run.npz", 2, crash, rng=rng)
        assert train(tmp_path / "run.npz", 2, resume=True, rng=rng) == expected, crash


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_captured_steps_and_both_formats(tmp_path, ending):
    if ending == ".safetensors":
        pytest.importorskip("safetensors")
    expected = train(tmp_path / f"plain{ending}", 2, capture=True)
    with pytest.raises(Stop):
        train(tmp_path / f"run{ending}", 2, STEPS + 2, capture=True)
    assert train(tmp_path / f"run{ending}", 2, resume=True, capture=True) == expected


def test_more_epochs_later(tmp_path):
    train(tmp_path / "run.npz", 1)
    later = train(tmp_path / "run.npz", 3, resume=True)
    assert later == train(
        tmp_path / "other.npz", 3, resume=True
    )  # nothing to resume: from the start
    assert train(tmp_path / "run.npz", 3, resume=True) == later  # nothing left to do


class Press:
    """Ctrl-C after so many steps."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, training):
        if training.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def simple(path, epochs, *more, resume=False, loader=None, restore=True, lr=0.5):
    md.manual_seed(0)
    model = nn.Affine(4, 2)
    loader = DataLoader((X, Y), 4, shuffle=True, rng=2) if loader is None else loader
    stopping = callbacks.EarlyStopping("loss", 1, restore)
    history = md.fit(
        model, loader, "cross_entropy", optim.Adam(model.parameters(), lr), epochs, progress=False,
        callbacks=[callbacks.Checkpoint(path, resume=resume), stopping, *more],
    )  # fmt: skip
    return history, model.state_dict()


def test_ctrl_c_saves_where_it_was_although_the_best_weights_come_back(tmp_path):
    expected, weights = simple(tmp_path / "plain.npz", 3)
    cut, best = simple(tmp_path / "run.npz", 3, Press(10))
    assert cut.interrupted and len(cut) == 1
    saved = md.load(tmp_path / "run.npz")
    assert (saved["epoch"], saved["batch"]) == (2, 3)
    assert not np.array_equal(saved["model"]["weight"], best["weight"])
    resumed, same = simple(tmp_path / "run.npz", 3, Press(0), resume=True)
    assert resumed["loss"] == expected["loss"] and not resumed.interrupted
    np.testing.assert_array_equal(same["weight"], weights["weight"])


def test_a_training_that_has_stopped_early_has_stopped(tmp_path):
    options = {"lr": 0.0, "loader": [(X, Y)]}
    history, _ = simple(tmp_path / "run.npz", 5, **options)
    assert len(history) == 2
    again, _ = simple(tmp_path / "run.npz", 5, resume=True, **options)
    assert again["loss"] == history["loss"]


def test_a_training_that_was_ended_by_another_goes_on(tmp_path):
    class Hour:  # is over after the first epoch of each run
        def on_epoch_end(self, training):
            training.stop()

    expected, weights = simple(tmp_path / "plain.npz", 3)
    for epochs in (1, 2, 3):
        history, same = simple(tmp_path / "run.npz", 3, Hour(), resume=True)
        assert len(history) == epochs
    assert history["loss"] == expected["loss"]
    np.testing.assert_array_equal(same["weight"], weights["weight"])


def test_a_list_of_batches(tmp_path):
    batches = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 24, 4)]
    expected, weights = simple(tmp_path / "plain.npz", 2, loader=batches)
    simple(tmp_path / "run.npz", 2, Press(8), loader=batches)
    resumed, same = simple(tmp_path / "run.npz", 2, Press(0), loader=batches, resume=True)
    assert resumed["loss"] == expected["loss"]
    np.testing.assert_array_equal(same["weight"], weights["weight"])


def test_what_cannot_be_resumed(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(TypeError, match="Checkpoint: loader: Batches has no state_dict"):
        simple(path, 1, loader=type("Batches", (), {"__iter__": lambda self: iter([])})())
    with pytest.raises(FileNotFoundError, match="its folder is not there"):
        simple(tmp_path / "none" / "run.npz", 1)
    simple(path, 1)
    model = nn.Affine(4, 2)
    for message, loader, metrics, more in (
        (r"callbacks: \['Checkpoint'\], in the state", DataLoader((X, Y), 4), ("accuracy",), ()),
        ("metrics are", DataLoader((X, Y), 4), ("f1",), ("loss",)),
        ("batches of an epoch: 6, in the state 7", DataLoader((X, Y), 5), ("accuracy",), ("loss",)),
        ("monitor is 'accuracy'", DataLoader((X, Y), 4), ("accuracy",), ("accuracy",)),
    ):  # fmt: skip
        before = repr((model.state_dict(), loader.state_dict()))
        checkpoint = callbacks.Checkpoint(path, resume=True)
        with pytest.raises(ValueError, match=f"Checkpoint: .*: {message}"):
            md.fit(
                model, loader, "cross_entropy", optim.Adam(model.parameters()), 2, metrics=metrics,
                callbacks=[checkpoint, *map(callbacks.EarlyStopping, more)], progress=False,
            )  # fmt: skip
        assert repr((model.state_dict(), loader.state_dict())) == before
    for loader, layers, message in (
        ([(X[:4], Y[:4])] * 7, (), "a loader with a state: False, in the state True"),
        (DataLoader((X, Y), 4), (nn.Dropout(0.5, rng=0),), "generators of layers: .* in the state"),
    ):
        with pytest.raises(ValueError, match=f"Checkpoint: .*: {message}"):
            md.fit(
                nn.Sequential(model, *layers), loader, "cross_entropy",
                optim.Adam(model.parameters()), 2, progress=False,
                callbacks=[callbacks.Checkpoint(path, resume=True), callbacks.EarlyStopping("loss")],
            )  # fmt: skip
    md.save({"weight": X}, path)
    with pytest.raises(ValueError, match="not the state of a training"):
        simple(path, 1, resume=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"path": "run.pickle"}, ValueError, "must end in one of .npz, .safetensors"),
        ({"path": None}, TypeError, "Checkpoint: path"),
        ({"path": "run.npz", "every": 0}, ValueError, "Checkpoint: every"),
        ({"path": "run.npz", "resume": 1}, TypeError, "Checkpoint: resume"),
    ],
)
def test_bad_settings(options, error, message):
    with pytest.raises(error, match=message):
        callbacks.Checkpoint(**options)


SGD = optim.SGD(nn.Affine(1, 1).parameters(), lr=0.1)


@pytest.mark.parametrize(
    "stateful",
    [
        callbacks.EarlyStopping(),
        optim.EMA(nn.Affine(1, 1)),
        optim.StepLR(SGD, 2),
        optim.ReduceLROnPlateau(SGD),
        DataLoader(X, 2, rng=0),
    ],
    ids=lambda stateful: type(stateful).__name__,
)
def test_a_state_that_lacks_a_name(stateful):
    whole = stateful.state_dict()
    stateful.load_state_dict(whole)
    for name in set(whole) - {"samples"}:  # (states of older loaders do not have it)
        state = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(ValueError, match=rf"{type(stateful).__name__}.*missing: {name}$"):
            stateful.load_state_dict(state)
