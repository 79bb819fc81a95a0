"""fit, evaluate, History and what they show."""

import builtins
import itertools
import math
import signal
import sys
import threading

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.training import progress
from minidl.training.fit import evaluate, every_batch
from minidl.training.metrics import accuracy

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)


def loader(batch_size=10, **options):
    return data.DataLoader((X, Y), batch_size, **options)


def network(seed=0):
    md.manual_seed(seed)
    return nn.Sequential(nn.Affine(4, 8), nn.ReLU(), nn.Affine(8, 2))


def fit(model=None, batches=None, loss=F.cross_entropy, epochs=2, **options):
    model = network() if model is None else model
    options.setdefault("optimizer", optim.SGD(model.parameters(), 0.5))
    return md.fit(
        model,
        loader() if batches is None else batches,
        loss,
        epochs=epochs,
        progress=False,
        **options,
    )


def values(model):
    return [p.data.copy() for p in model.parameters()]


def same(model, before):
    return all(np.array_equal(p.data, b) for p, b in zip(model.parameters(), before, strict=True))


# ── What it does ────────────────────────────────────────────────────────────────────────────────


def test_it_learns_and_tells():
    model = network()
    history = fit(model, epochs=20, validation=(X, Y))
    assert set(history.history) == {
        "loss", "accuracy", "val_loss", "val_accuracy", "lr", "time"
    }  # fmt: skip
    assert all(len(column) == 20 for column in history.history.values())
    assert len(history) == 20
    assert history["loss"][-1] < 0.2 < history["loss"][0]
    assert history["val_accuracy"][-1] > 0.95
    assert not history.interrupted


def test_it_is_the_loop_that_one_would_write():
    ours, theirs = network(), network()
    history = fit(ours, epochs=3, optimizer=optim.Adam(ours.parameters(), 0.01))
    optimizer = optim.Adam(theirs.parameters(), 0.01)
    for epoch in range(3):
        total = 0.0
        for x, y in loader():
            optimizer.zero_grad()
            loss = F.cross_entropy(theirs(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        assert history["loss"][epoch] == pytest.approx(total / 60)
    assert same(ours, values(theirs))


def test_means_are_over_samples_when_batches_differ():
    model = network()
    uneven = [(X[:50], Y[:50]), (X[50:], Y[50:])]
    measured = evaluate(model, uneven, F.cross_entropy)
    assert measured["loss"] == pytest.approx(F.cross_entropy(model(X), Y).item(), rel=1e-6)
    assert measured["accuracy"] == pytest.approx((model(X).data.argmax(1) == Y).mean())
    assert evaluate(model, (X, Y)) == {"accuracy": measured["accuracy"]}


def test_losses_go_by_function_or_name_and_metrics_too():
    def confidence(y, target):
        assert not y.requires_grad
        return F.softmax(y).data.max(axis=1).mean()

    history = fit(loss="cross_entropy", metrics=("accuracy", confidence), validation=loader())
    assert {"accuracy", "confidence", "val_confidence"} <= set(history.history)
    assert fit(metrics=()).history.keys() == {"loss", "lr", "time"}


def test_modes_during_and_after():
    model = nn.Sequential(nn.Affine(4, 2), nn.Dropout(0.5))
    model[1].eval()
    seen = []

    class Watch:
        def on_batch_end(self, training):
            seen.append(training.model[1].training)

        def on_epoch_end(self, training):
            seen.append(training.model[1].training)

    fit(model, epochs=1, callbacks=[Watch()], validation=(X, Y))
    assert all(seen) and len(seen) == 7
    assert model.training and not model[1].training
    with pytest.raises(ZeroDivisionError):
        fit(model, callbacks=[lambda training: 1 / 0])
    assert model.training and not model[1].training


def test_evaluate_does_not_record_or_change():
    model = nn.Sequential(nn.Dropout(0.9), network())
    before = values(model)
    assert evaluate(model, (X, Y)) == evaluate(model, loader())
    assert model.training and same(model, before)
    assert all(p.grad is None for p in model.parameters())


# ── Callbacks ───────────────────────────────────────────────────────────────────────────────────


def test_callbacks_see_every_event_in_order():
    events = []

    class Log:
        def on_train_begin(self, training):
            events.append(("begin", training.epoch, training.step))

        def on_backward_end(self, training):
            assert all(p.grad is not None for p in training.model.parameters())
            events.append(("backward", training.epoch, training.step))

        def on_batch_end(self, training):
            assert math.isfinite(training.loss) and len(training.y) == len(training.target) == 30
            events.append(("batch", training.epoch, training.step))

        def on_epoch_end(self, training):
            assert len(training.history) == training.epoch
            events.append(("epoch", training.epoch, training.step))

        def on_train_end(self, training):
            events.append(("end", training.epoch, training.step))

    epochs = []
    fit(
        batches=loader(30), callbacks=[Log(), lambda t: epochs.append((t.epoch, t.batch, t.epochs))]
    )
    assert events == [
        ("begin", 0, 0),
        ("backward", 1, 0), ("batch", 1, 1), ("backward", 1, 1), ("batch", 1, 2), ("epoch", 1, 2),
        ("backward", 2, 2), ("batch", 2, 3), ("backward", 2, 3), ("batch", 2, 4), ("epoch", 2, 4),
        ("end", 2, 4),
    ]  # fmt: skip
    assert epochs == [(1, 2, 2), (2, 2, 2)]


def test_a_schedule_each_batch():
    model = network()
    optimizer = optim.SGD(model.parameters(), 1.0)
    schedule = optim.StepLR(optimizer, step_size=6, gamma=0.5)
    history = fit(model, optimizer=optimizer, callbacks=[every_batch(schedule.step)])
    assert history["lr"] == [0.5, 0.25]


def test_stopping_early_closes_the_epoch():
    history = fit(epochs=9, validation=(X, Y), callbacks=[lambda training: training.stop()])
    assert len(history) == 1

    class AfterSteps:
        def on_batch_end(self, training):
            if training.step == 8:
                training.stop()

    history = fit(epochs=9, validation=(X, Y), callbacks=[AfterSteps()])
    assert len(history) == len(history["val_loss"]) == 2 and not history.interrupted


def test_gradients_can_be_clipped_before_the_step():
    class Clip:
        def on_backward_end(self, training):
            optim.clip_grad_norm(training.model.parameters(), 0.0)

    model = network()
    before = values(model)
    fit(model, callbacks=[Clip()])
    assert same(model, before)


@pytest.mark.parametrize("callback", ["x", 3, type("Typo", (), {"on_epoch_begin": None})()])
def test_a_callback_that_is_none(callback):
    with pytest.raises(TypeError, match="callback"):
        fit(callbacks=[callback])


# ── Ctrl-C and bad losses ───────────────────────────────────────────────────────────────────────


def test_ctrl_c_keeps_what_was_learned(capsys):
    model, other = network(), network()
    handler = signal.getsignal(signal.SIGINT)
    ended = []

    class Press:
        def on_backward_end(self, training):
            if training.step == 7:
                signal.raise_signal(signal.SIGINT)

        def on_train_end(self, training):
            ended.append(training.step)

    history = md.fit(
        model, loader(), F.cross_entropy, optim.SGD(model.parameters(), 0.5), 5, callbacks=[Press()]
    )
    assert history.interrupted and len(history) == 1
    assert ended == [8]  # the step in progress was finished
    assert "interrupted in epoch 2, after 2 batches" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler
    fit(other, itertools.islice(itertools.cycle(loader()), 8), epochs=1)
    assert same(model, values(other))


def test_a_second_ctrl_c_raises():
    def press_twice(training):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(callbacks=[press_twice])
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_handler_of_the_user_is_left_alone():
    def theirs(signum, frame):
        seen.append(signum)

    seen = []
    before = signal.signal(signal.SIGINT, theirs)
    try:
        history = fit(callbacks=[lambda training: signal.raise_signal(signal.SIGINT)])
        assert signal.getsignal(signal.SIGINT) is theirs
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen) == len(history) == 2 and not history.interrupted


def test_other_threads_can_train():
    histories = []
    thread = threading.Thread(target=lambda: histories.append(fit()))
    thread.start()
    thread.join()
    assert len(histories[0]) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_harm(bad):
    model, other = network(), network()
    spoilt = [*loader(), (X * bad, Y)]
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(FloatingPointError, match="epoch 1, batch 7"),
    ):
        fit(model, spoilt)
    fit(other, epochs=1)
    assert same(model, values(other))


# ── Arguments ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs"),
        ({"epochs": 1.5}, TypeError, "epochs"),
        ({"epochs": True}, TypeError, "epochs"),
        ({"batches": (X, Y)}, TypeError, "DataLoader"),
        ({"batches": 3}, TypeError, "loader"),
        ({"batches": iter([(X, Y)])}, TypeError, "only once"),
        ({"batches": []}, ValueError, "no batches"),
        ({"batches": [X]}, ValueError, "got ndarray"),
        ({"batches": [(X, Y, Y)]}, ValueError, "got 3 items"),
        ({"loss": "crossentropy"}, ValueError, "cross_entropy"),
        ({"loss": None}, TypeError, "loss"),
        ({"loss": 3}, TypeError, "loss"),
        ({"loss": lambda y, t: F.cross_entropy(y, t, "none")}, ValueError, "reduction"),
        ({"metrics": ("acuracy",)}, ValueError, "acuracy"),
        ({"optimizer": object()}, TypeError, "zero_grad"),
        ({"validation": []}, ValueError, "no samples"),
        ({"validation": 3}, TypeError, "validation"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        fit(**options)


def test_a_model_that_is_none():
    with pytest.raises(TypeError, match=r"model: expected an nn.Module, got function"):
        md.fit(lambda x: x, loader(), F.cross_entropy, optim.SGD(network().parameters(), 0.1), 1)


def test_no_epochs_is_no_training():
    model = network()
    before = values(model)
    assert len(fit(model, epochs=0)) == 0
    assert same(model, before)


def test_accuracy():
    scores = np.array([[3.0, 1, 2], [0, 5, 1]])
    assert accuracy(scores, np.array([0, 2])) == 0.5
    assert accuracy(md.Tensor(scores), np.eye(3)[[0, 1]]) == 1
    assert accuracy(scores.T[None], np.array([[0, 1]])) == 1  # classes on axis 1, places behind
    assert accuracy(np.array([-1.0, 2]), np.array([0, 1])) == 1
    assert accuracy(np.array([[-1.0], [2]]), np.array([1.0, 1])) == 0.5
    for target in (np.array([0.5, 1.5]), np.array([0, 1, 2])):
        with pytest.raises(ValueError, match="not classes"):
            accuracy(scores, target)
    with pytest.raises(ValueError, match="not classes"):
        accuracy(scores[:, :1], np.array([0.5, 1.5]))


# ── What it shows ───────────────────────────────────────────────────────────────────────────────


def test_a_line_per_epoch_where_there_is_no_terminal(capsys):
    model = network()
    md.fit(model, loader(), F.cross_entropy, optim.SGD(model.parameters(), 0.5), 2, (X, Y))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2 and err == ""
    for word in ("epoch 1/2", "loss", "accuracy", "val_accuracy", "samples/s", " left"):
        assert word in lines[0]
    fit()
    assert capsys.readouterr() == ("", "")


class Terminal:
    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def isatty(self):
        return True


def test_a_bar_in_a_terminal(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(progress, "REDRAW", 0.0)
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    model = network()
    md.fit(model, loader(), F.cross_entropy, optim.SGD(model.parameters(), 0.5), 2)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    for word in ("epoch 2/2", "loss", "accuracy", "samples/s", " left"):
        assert word in err


def test_a_terminal_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    assert type(progress.reporter(True, 2, 6)) is progress.Lines


def test_clock():
    assert [progress.clock(s) for s in (4.21, 125, 3725)] == ["4.2 s", "2:05", "1:02:05"]


# ── History ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("validation", [None, (X, Y)])
def test_a_plot_in_a_file(tmp_path, validation):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    fit(validation=validation).plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    md.History().plot(path)  # nothing to draw is not an error


def test_a_plot_in_a_window(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    fit().plot()
    assert len(pyplot.get_fignums()) == 1
    pyplot.close("all")


def test_a_plot_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "minidl\[plot\]"'):
        md.History().plot("x.png")


def test_history_in_words():
    history = fit(metrics=())
    history.interrupted = True
    assert repr(history).startswith("History(2 epochs, interrupted: loss 0.")
