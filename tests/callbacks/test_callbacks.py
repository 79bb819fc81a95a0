"""EarlyStopping, TensorBoard, every_epoch; averaged weights and accumulated gradients in `fit`."""

import os
import signal
import struct
import sys

import numpy as np
import pytest

import minidl as md
from minidl import callbacks, nn, optim
from minidl.data import DataLoader

X = np.random.default_rng(0).standard_normal((20, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype(int)


def fit(*given, model=None, epochs=5, lr=0.1, **options):
    md.manual_seed(0)
    model = nn.Affine(4, 2) if model is None else model
    loader = options.pop("loader", None) or [(X, Y)]
    history = md.fit(
        model, loader, "cross_entropy", optim.SGD(model.parameters(), lr), epochs,
        callbacks=given, progress=False, **options,
    )  # fmt: skip
    return model, history


class Losses:
    """Gives the history the losses that a test wants, and keeps the weights of each epoch."""

    def __init__(self, *losses, name="loss"):
        self.losses, self.name, self.weights = losses, name, []

    def on_epoch_end(self, training):
        training.history[self.name][-1] = self.losses[training.epoch - 1]
        self.weights.append(training.model.weight.data.copy())


@pytest.mark.parametrize(
    ("losses", "options", "epochs", "best"),
    [
        ((3, 2, 1, 2, 3, 4), {"patience": 2}, 5, 3),
        ((3, 2, 3, 1, 2, 2), {"patience": 2}, 6, 4),
        ((3, 2, 1, 2, 3, 4), {"patience": 9}, 6, 3),
        ((3, 2.5, 1, 0.8, 0.9, 0), {"patience": 2, "min_delta": 0.6}, 5, 3),
        ((np.nan, 2, np.nan, np.inf, 1, 1), {"patience": 2}, 4, 2),
        ((1, 2, 3, 2, 1, 0), {"patience": 2, "mode": "max"}, 5, 3),
    ],
)
def test_when_it_stops_and_what_it_restores(losses, options, epochs, best):
    given, stopping = Losses(*losses), callbacks.EarlyStopping("loss", **options)
    model, history = fit(given, stopping, epochs=6)
    assert (len(history), stopping.best_epoch, stopping.best) == (epochs, best, losses[best - 1])
    np.testing.assert_array_equal(model.weight.data, given.weights[best - 1])
    given = Losses(*losses)
    model, _ = fit(given, callbacks.EarlyStopping("loss", restore=False, **options), epochs=6)
    np.testing.assert_array_equal(model.weight.data, given.weights[-1])


def test_more_is_better_for_metrics():
    given = Losses(0.1, 0.5, 0.4, 0.4, name="val_accuracy")
    stopping = callbacks.EarlyStopping("val_accuracy", 2)
    model, history = fit(given, stopping, validation=(X, Y))
    assert (len(history), stopping.best_epoch) == (4, 2)
    np.testing.assert_array_equal(model.weight.data, given.weights[1])


@pytest.mark.parametrize("how", ["another callback", "Ctrl-C", "Ctrl-C in an epoch"])
def test_the_best_weights_come_back_whoever_stops(how):
    class End:
        def on_batch_end(self, training):
            if how == "Ctrl-C in an epoch" and training.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

        def on_epoch_end(self, training):
            if training.epoch == 3 and how == "another callback":
                training.stop()
            elif training.epoch == 3:
                os.kill(os.getpid(), signal.SIGINT)

    given = Losses(3, 1, 2, 2, 2)
    model, history = fit(given, callbacks.EarlyStopping("loss", 9), End())
    assert len(history) == (2 if how == "Ctrl-C in an epoch" else 3)
    np.testing.assert_array_equal(model.weight.data, given.weights[1])


def test_a_second_training_begins_anew():
    stopping = callbacks.EarlyStopping("loss", 1)
    for _ in range(2):
        _, history = fit(Losses(2, 1, 3), stopping)
        assert (len(history), stopping.best_epoch) == (3, 2)


def test_a_name_that_is_not_measured():
    model = nn.Affine(4, 2)
    before = model.weight.data.copy()
    for make in (
        lambda: callbacks.EarlyStopping("val_loss"),
        lambda: callbacks.every_epoch(print, "val_loss"),
    ):
        with pytest.raises(
            ValueError, match="'val_loss' is not measured; there are loss, accuracy, lr, time"
        ):
            fit(make(), model=model)
    with pytest.raises(ValueError, match="there are loss, f1, val_loss, val_f1, lr, time"):
        fit(callbacks.EarlyStopping("accuracy"), model=model, metrics="f1", validation=(X, Y))
    np.testing.assert_array_equal(model.weight.data, before)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: callbacks.EarlyStopping(3), TypeError, "EarlyStopping: monitor"),
        (lambda: callbacks.EarlyStopping("loss", 0), ValueError, "EarlyStopping: patience"),
        (lambda: callbacks.EarlyStopping("loss", restore=1), TypeError, "EarlyStopping: restore"),
        (lambda: callbacks.EarlyStopping("loss", mode="less"), ValueError, "mode: expected one of"),
        (lambda: callbacks.EarlyStopping("psnr"), ValueError, "less or more of 'psnr' is better"),
        (lambda: callbacks.every_batch(3), TypeError, "every_batch: fn must be a function"),
        (lambda: callbacks.TensorBoard(3), TypeError, "TensorBoard: folder"),
        (lambda: callbacks.TensorBoard("runs", 0), ValueError, "TensorBoard: every"),
    ],
)
def test_bad_settings(make, error, message):
    if "TensorBoard" in message:
        pytest.importorskip("tensorboardX")
    with pytest.raises(error, match=message):
        make()


def test_every_epoch_with_and_without_a_value():
    seen = []
    _, history = fit(
        callbacks.every_epoch(lambda: seen.append(None)), callbacks.every_epoch(seen.append, "loss")
    )
    assert seen == [value for loss in history["loss"] for value in (None, loss)]


# ── TensorBoard ──────────────────────────────────────────────────────────────────────────────────


def scalars(folder):
    """(tag, step, value) of all that is in a folder's files of events."""
    event = pytest.importorskip("tensorboardX.proto.event_pb2")
    for file in folder.iterdir():
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            told = event.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            yield from ((v.tag, told.step, v.simple_value) for v in told.summary.value)


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    board = callbacks.TensorBoard(tmp_path / "run", every=2)
    _, history = fit(board, epochs=3, loader=[(X, Y)] * 3, validation=(X, Y))
    written = list(scalars(tmp_path / "run"))
    assert [step for tag, step, _ in written if tag == "loss/step"] == [2, 4, 6, 8]
    for tag, name in (
        ("loss/training", "loss"), ("loss/validation", "val_loss"), ("lr", "lr"),
        ("accuracy/training", "accuracy"), ("accuracy/validation", "val_accuracy"),
    ):  # fmt: skip
        values = [(step, value) for t, step, value in written if t == tag]
        assert [step for step, _ in values] == [1, 2, 3]
        np.testing.assert_allclose([value for _, value in values], history[name], rtol=1e-6)


def test_without_tensorboardx(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "minidl\[tensorboard\]"'):
        callbacks.TensorBoard("runs")


# ── Averages of weights, accumulated gradients ───────────────────────────────────────────────────


def test_fit_averages_weights():
    model = nn.Affine(4, 2)
    ema = optim.EMA(model, 0.5)
    expected, seen = model.weight.data.copy(), []

    def follow():
        seen.append(0.5 * (seen[-1] if seen else expected) + 0.5 * model.weight.data)

    fit(ema, callbacks.every_batch(follow), model=model, loader=[(X, Y)] * 2, epochs=2)
    assert ema.updates == 4
    with ema.average():
        np.testing.assert_allclose(model.weight.data, seen[-1], rtol=1e-6)


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("sizes", [(8, 2), (8, 4), (20, 2), (6, 3)])
def test_accumulated_gradients_are_those_of_a_large_batch(sizes, capture):
    """Batches of `size`, `together` a step; the last ones are smaller."""
    size, together = sizes
    results = []
    for batch, accumulate in ((size * together, 1), (size, together)):
        md.manual_seed(0)
        model = nn.Sequential(nn.Affine(4, 5), nn.Tanh(), nn.Affine(5, 2)).astype("float64")
        _, history = fit(
            model=model, epochs=3, accumulate=accumulate, capture=capture,
            loader=DataLoader((X.astype("float64"), Y), batch),
        )  # fmt: skip
        results.append(
            (history["loss"], history["accuracy"], *(p.data for p in model.parameters()))
        )
    for large, small in zip(*results, strict=True):
        np.testing.assert_allclose(small, large, rtol=1e-12)


def test_events_and_counts_while_gradients_add_up():
    told = []

    class Teller:
        def on_backward_end(self, training):
            told.append("backward")

        def on_batch_end(self, training):
            told.append((training.step, training.batch, len(training.x)))

    fit(Teller(), epochs=2, loader=DataLoader((X, Y), 6), accumulate=3)
    one = ["backward", (1, 3, 6), "backward", (2, 4, 2)]
    assert told == [*one, "backward", (3, 3, 6), "backward", (4, 4, 2)]
    with pytest.raises(ValueError, match="fit: accumulate must be an integer >= 1"):
        fit(accumulate=0)


def test_a_bad_batch_takes_its_whole_step_with_it():
    model = nn.Sequential(nn.BatchNorm(4), nn.Affine(4, 2))
    before = repr(model.state_dict())
    with pytest.raises(FloatingPointError, match="epoch 1, batch 2"), np.errstate(all="ignore"):
        fit(model=model, loader=[(X, Y), (X * np.nan, Y)], accumulate=2)
    assert repr(model.state_dict()) == before
