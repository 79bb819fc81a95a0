"""What a captured step cannot record is said, with the op and the line; and what `capture` is beside its bits."""

import gc

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from tests.replay.captured_cases import OPTIMIZERS, Training, batches, network, same, same_state


def test_fit():
    def run(capture):
        training = Training(network(), OPTIMIZERS["Adam"], F.cross_entropy)
        seen = []

        class Watch:
            def on_backward_end(self, t):
                seen.append([p.grad._data.copy() for p in t.model.parameters()])
                seen.append([t.y._data.copy(), np.float64(t.loss)])

        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((50, 4)).astype(np.float32), rng.integers(0, 3, 50)
        loader = md.data.DataLoader((x, y), 16, shuffle=True, rng=1)
        history = md.fit(
            training.model, loader, F.cross_entropy, training.optimizer, 3, validation=(x, y),
            callbacks=[Watch()], progress=False, capture=capture,
        )  # fmt: skip
        return training, history, seen

    (plain, history, seen), (captured, history2, seen2) = run(False), run(True)
    same_state(plain, captured)
    assert history["loss"] == history2["loss"]
    assert history["val_loss"] == history2["val_loss"]
    for a, b in zip(seen, seen2, strict=True):
        for array, other in zip(a, b, strict=True):
            same(array, other)


def test_fit_says_what_cannot_be_captured():
    training = Training(network(), OPTIMIZERS["Adam"])
    loader = [(np.ones((2, 4), np.float32), np.ones((2, 3), np.float32))]
    with pytest.raises(md.CaptureError, match="value is read"):
        md.fit(
            training.model, loader, lambda y, t: F.mse_loss(y, t) * y.sum().item(),
            training.optimizer, 1, capture=True, progress=False,
        )  # fmt: skip


# ── What cannot be recorded is said ──────────────────────────────────────────────────────────────────────────────────


class Own(md.Op):
    def forward(self, x):
        return x * 2

    def backward(self, gy):
        return gy * 2


def keeps(x, kept=[]):  # noqa: B006
    kept.append(x * 2)


CONSTANT = md.Tensor([1.0])
REFUSED = {
    "item": lambda x: x * x.sum().item(),
    "float": lambda x: x * float(x.sum()),
    "if": lambda x: x if x.sum() > 1 else -x,
    "numpy": lambda x: x * np.sqrt(x.numpy()),
    "array": lambda x: x * np.asarray(x),
    "print": lambda x: repr(x) and x,
    "own op": lambda x: Own()(x),
    "a draw": lambda x: x + np.random.default_rng(0).standard_normal(1),
    "a batch of its own": lambda x: x + next(iter([md.Tensor(np.ones(1, np.float32))])),
    "in place": lambda x: CONSTANT.__iadd__(x),
    "an argument in place": lambda x: x.__iadd__(1.0),
    "assignment": lambda x: CONSTANT.__setitem__(0, 5.0),
    "kept": keeps,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises(md.CaptureError) as error:
        md.capture(REFUSED[name])(md.Tensor([4.0]))
    assert "test_refused.py:" in error.value.line
    assert error.value.op
    assert str(error.value).startswith(error.value.op)


@pytest.mark.parametrize(
    "value", [lambda y: y.sum(), lambda y: float(y[0]), lambda y: np.exp(y), lambda y: y.item()]
)
def test_an_array_argument_is_not_computed_with(value):
    with pytest.raises(md.CaptureError, match="argument"):
        md.capture(lambda x, y: x * value(y))(md.Tensor([1.0]), np.ones(1, np.float32))


def test_the_op_and_the_line_are_named():
    def step(x):
        return (
            x.exp() + Own()(x)  # the line
        )

    with pytest.raises(md.CaptureError, match=r"^Own: ") as error:
        md.capture(step)(md.Tensor([4.0]))
    assert error.value.op == "Own"
    file, line = error.value.line.rsplit(":", 1)
    with open(file) as text:
        assert "# the line" in text.read().splitlines()[int(line) - 1]


def test_settings_are_not_changed_inside():
    training = Training(network(), OPTIMIZERS["SGD"])

    def step(x, y):
        training.optimizer.lr = 0.1
        return training.step(x, y)

    ((x, y),) = batches(1)
    with pytest.raises(md.CaptureError, match=r"SGD\.lr"):
        md.capture(step)(x, y)


def test_checks_of_values_are_made_again():
    step = md.capture(lambda p, t: F.binary_cross_entropy(p, t))
    t = md.Tensor([1.0, 0.0])
    step(md.Tensor([0.5, 0.5]), t)
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        step(md.Tensor([0.5, -0.5]), t)
    slope = md.Tensor([0.5])
    step = md.capture(lambda x: F.prelu(x * 1, slope, inplace=True))
    step(md.Tensor([-1.0]))
    slope.data[0] = -0.5
    with pytest.raises(ValueError, match="inplace needs every slope"):
        step(md.Tensor([-1.0]))
    assert step.records == 1


def test_not_strict_warns_once_and_runs():
    step = md.capture(lambda x: x * float(x.sum()), strict=False)
    with pytest.warns(UserWarning, match="runs uncaptured") as warned:
        assert step(md.Tensor([3.0])).item() == 9
    assert len(warned) == 1
    assert step(md.Tensor([4.0])).item() == 16
    assert step.records == 0


def test_not_strict_changes_arguments_in_place():
    def step(x, mean):
        F.batch_norm(x, mean, None, training=True, momentum=1.0)
        x += 1.0

    values = np.float32([[1.0], [3.0]])
    x, mean = md.Tensor(values), np.zeros(1, np.float32)
    captured = md.capture(step, strict=False)
    with pytest.warns(UserWarning, match="running_mean is an argument"):
        captured(x, mean)
    assert (x.data.tolist(), mean.tolist()) == ([[2.0], [4.0]], [2.0])
    captured(x, mean)
    assert (x.data.tolist(), mean.tolist()) == ([[3.0], [5.0]], [3.0])


def test_not_strict_does_every_call_once():
    plain, captured = (Training(network(), OPTIMIZERS["Adam"]) for _ in range(2))
    step = md.capture(lambda x, y: (captured.step(x, y), repr(x))[0], strict=False)
    for i, (x, y) in enumerate(batches(3)):
        a = plain.step(x, y)
        if i == 0:
            with pytest.warns(UserWarning, match="runs uncaptured"):
                b = step(x, y)
        else:
            b = step(x, y)
        same(a._data, b._data)
        same_state(plain, captured)


def test_after_an_error_all_is_as_before():
    @md.capture
    def step(x):
        return x * float(x.sum())

    with pytest.raises(md.CaptureError):
        step(md.Tensor([4.0]))
    array = np.ones(3, np.float32)
    assert (md.Tensor(array) * np.ones(3, np.float32)).numpy().sum() == 3
    assert float(md.Tensor([2.0])) == 2


def test_memory_is_given_back():
    def used():
        gc.collect()
        return md.memory_stats()["used"]

    before = used()
    step = md.capture(lambda x: (x * 2).exp())
    result = step(md.Tensor(np.ones((500, 500), np.float32)))
    assert step.plan().nbytes > 2e6
    del step, result
    assert used() <= before + 100_000


def test_the_plan_can_be_printed():
    training = Training(network(), OPTIMIZERS["Adam"])
    step = md.capture(training.step)
    assert step.plan() is None
    for x, y in batches(3):
        step(x, y)
    text = str(step.plan())
    for word in ("ActivatedAffine", "SquaredError", "SquaredError backward", "Adam", "us"):
        assert word in text


def test_a_decorator():
    @md.capture(strict=False)
    def step(x):
        """What it does."""
        return x + 1

    assert step(md.Tensor([1.0])).item() == 2
    assert step.__doc__ == "What it does."


@pytest.mark.parametrize("wrong", [3, "step", None])
def test_wrong_types(wrong):
    if wrong is not None:
        with pytest.raises(TypeError, match="capture: expected a function"):
            md.capture(wrong)
    with pytest.raises(TypeError, match="strict"):
        md.capture(lambda x: x, strict=wrong)
