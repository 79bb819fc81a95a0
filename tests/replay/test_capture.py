"""A captured step gives the bits of the function, whatever changes between its calls."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl._kernels.reference.activations import ACTIVATIONS
from minidl.autograd.interop import OPERATORS
from tests.replay.captured_cases import OPTIMIZERS, Training, batches, network, same, same_state


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_step_has_the_same_bits(name, dtype):
    plain, captured = (Training(network(dtype=dtype), OPTIMIZERS[name]) for _ in range(2))
    step = md.capture(captured.step)
    for x, y in batches(8, dtype=dtype):
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)
    assert step.records == 1


@pytest.mark.parametrize(
    "loss",
    [F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits],
    ids=lambda f: f.__name__,
)
def test_losses(loss):
    plain, captured = (Training(network(), OPTIMIZERS["SGD"], loss) for _ in range(2))
    step = md.capture(captured.step)
    for x, y in batches(4):
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_labels(kind):
    plain, captured = (Training(network(), OPTIMIZERS["Adam"], F.cross_entropy) for _ in range(2))
    step = md.capture(captured.step)
    for x, y in batches(4, labels=True):
        same(plain.step(x, y.astype(kind))._data, step(x, y.astype(kind))._data)
        same_state(plain, captured)
    with pytest.raises(ValueError, match="target 3 of row 0"):
        step(x, np.full(12, 3, kind))
    assert step.records == 1


@pytest.mark.parametrize("name", [row.name for row in ACTIVATIONS.values() if not row.required])
def test_activations(name):
    function = getattr(F, name)
    plain, captured = md.Tensor([0.5, -2.0], True), md.Tensor([0.5, -2.0], True)

    def step(x, weight):
        weight.grad = None
        y = function(x * weight).sum()
        y.backward()
        return y

    step_again = md.capture(lambda x: step(x, captured))
    for i in range(3):
        x = md.Tensor(np.float32([i - 1.0, 1.5 * i]))
        captured.grad = None
        same(step(x, plain)._data, step_again(x)._data)
        same(plain.grad._data, captured.grad._data)


def test_settings_take_effect():
    def change(training, i):
        optimizer, (first, *_, last) = training.optimizer, training.model.parameters()
        if i == 2:
            optimizer.lr = 0.02
        elif i == 3:
            first.lr_mult = 0.5
        elif i == 4:
            optimizer.groups[0]["betas"] = (0.8, 0.9)
        elif i == 5:
            optimizer.groups[0]["weight_decay"] = 0.1
        elif i == 6:
            last.lr_mult = 0.0
        elif i == 7:
            last.lr_mult = 1.0
        elif i == 8:
            first.requires_grad = False
        elif i == 9:
            first.requires_grad = True
        elif i == 10:
            optimizer.load_state_dict(optimizer.state_dict())
        elif i == 11:
            first.data = first.data * 2

    plain, captured = (Training(network(), OPTIMIZERS["Adam"]) for _ in range(2))
    step = md.capture(captured.step)
    for i, (x, y) in enumerate(batches(14)):
        change(plain, i)
        change(captured, i)
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)
    assert step.records > 1


def test_a_schedule_between_calls():
    plain, captured = (Training(network(), OPTIMIZERS["SGD"]) for _ in range(2))
    schedules = [optim.ExponentialLR(t.optimizer, 0.9) for t in (plain, captured)]
    step = md.capture(captured.step)
    for x, y in batches(5):
        same(plain.step(x, y)._data, step(x, y)._data)
        for schedule in schedules:
            schedule.step()
        same_state(plain, captured)
    assert step.records == 1


def test_other_shapes_make_another_record():
    plain, captured = (Training(network(), OPTIMIZERS["SGD"]) for _ in range(2))
    step = md.capture(captured.step)
    for n in (12, 5, 12, 5, 1):
        ((x, y),) = batches(1, n)
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)
    assert step.records == 3


def test_at_most_8_records():
    step = md.capture(lambda x: x * 2)
    for n in range(1, 20):
        step(md.Tensor(np.ones(n, np.float32)))
    assert step.records == 8


def test_results_and_gradients_are_the_callers_own():
    training = Training(network(), OPTIMIZERS["SGD"])
    step = md.capture(training.step)
    kept = []
    for x, y in batches(6):
        loss = step(x, y)
        gradients = [p.grad for p in training.model.parameters()]
        kept.append((loss, loss._data.copy(), gradients, [g._data.copy() for g in gradients]))
    for loss, before, gradients, copies in kept:
        same(loss._data, before)
        for g, copy in zip(gradients, copies, strict=True):
            same(g._data, copy)


def test_a_view_of_a_gradient_is_kept_too():
    weight = md.Tensor([1.0, 2.0], requires_grad=True)

    @md.capture
    def step(x):
        weight.zero_grad()
        (x * weight).sum().backward()

    step(md.Tensor([1.0, 1.0]))
    view = weight.grad.numpy()[:1]
    step(md.Tensor([7.0, 7.0]))
    assert view == 1
    assert weight.grad.data.tolist() == [7, 7]


def test_arguments_may_be_nested_and_named():
    step = md.capture(lambda pair, scale, extra: pair[0] * extra["w"] + scale)
    for value in (1.0, 2.0, 3.0):
        x, w = md.Tensor([value]), np.float32([value])
        assert step((x, None), 0.5, extra={"w": w}).item() == value * value + 0.5
    assert step.records == 1
    assert step((x, None), 2.0, extra={"w": w}).item() == 11
    assert step.records == 2


@pytest.mark.parametrize("name", [n for n in OPERATORS if n != "invert" and "bitwise" not in n])
def test_an_argument_that_is_an_array_may_be_on_either_side_of_an_operator(name):
    operate = getattr(np, name)
    w = md.Tensor(np.float32([[0.5, 2], [1, 3]]))
    step = md.capture(lambda x: [operate(x, w), operate(w, x)])
    for x in np.float32([[[1, 2], [3, 4]], [[0.5, 3], [2, 3]], [[2, 2], [1, 4]]]):
        for y, wanted in zip(step(x), (operate(x, w.data), operate(w.data, x)), strict=True):
            np.testing.assert_allclose(y.data, wanted, rtol=1e-6)
    assert step.records == 1


def test_names_and_attributes_that_change():
    factor = 2.0
    model = nn.Sequential(nn.Affine(1, 1, bias=False))
    model[0].weight.data = [[1.0]]
    model.scale = 1.0

    class Scaled(nn.Module):
        def forward(self, x):
            return model(x) * model.scale

    scaled = Scaled()
    step = md.capture(lambda x: scaled(x) * factor)
    x = md.Tensor([[3.0]])
    assert step(x).item() == 6
    factor = 4.0
    assert step(x).item() == 12
    model.scale = 0.5
    assert step(x).item() == 6
    model.eval().train()
    assert step(x).item() == 6
    assert step.records == 3


def test_random_numbers_go_on_in_the_same_stream():
    def run(capture):
        md.manual_seed(5)
        rng = np.random.default_rng(1)
        model = nn.Sequential(nn.Affine(4, 8), nn.RReLU(), nn.Dropout(0.5), nn.Affine(8, 3))
        training = Training(model, OPTIMIZERS["SGD"])

        def step(x, y):
            return training.step(F.dropout(x, 0.2, rng=rng), y), F.dropout(x, 0.5, rng=7)

        step, results = md.capture(step) if capture else step, []
        for i, (x, y) in enumerate(batches(7)):
            if i == 4:
                md.manual_seed(6)
            loss, dropped = step(x, y)
            results += [loss._data.copy(), dropped._data.copy(), np.float64(rng.random())]
        model.eval()
        results.append(step(x, y)[0]._data.copy())
        return results

    for plain, captured in zip(run(False), run(True), strict=True):
        same(plain, captured)


def test_gradients_are_added_up():
    plain, captured = (Training(network(), OPTIMIZERS["Adam"]) for _ in range(2))

    def gradients(training, x, y):
        loss = training.loss(training.model(x), y)
        loss.backward()
        training.loss(training.model(x * 0.5), y).backward()
        return loss

    step = md.capture(lambda x, y: gradients(captured, x, y))
    for i, (x, y) in enumerate(batches(9)):
        same(gradients(plain, x, y)._data, step(x, y)._data)
        same_state(plain, captured)
        if i % 3 == 2:
            for training in (plain, captured):
                training.optimizer.step()
                training.optimizer.zero_grad()
    assert step.records == 2  # there were gradients before, or not


def test_gradients_set_to_none_count_as_cleared():
    def stepper(weights):
        def step(x, alone=False):
            for w in weights:
                w.grad = None
            loss = ((x * weights[0]).sum() if alone else (x * weights[0] * weights[1]).sum()) ** 2
            loss.backward()
            return loss

        return step

    plain, captured = ([md.Tensor([0.5, -2.0], True) for _ in range(2)] for _ in range(2))
    step, again = stepper(plain), md.capture(stepper(captured))
    for i in range(9):
        x = md.Tensor(np.float32([i - 1.0, 1.5 * i]))
        same(step(x, i == 4)._data, again(x, i == 4)._data)
        for a, b in zip(plain, captured, strict=True):
            assert (a.grad is None) == (b.grad is None)
            if a.grad is not None:
                same(a.grad._data, b.grad._data)
        assert again.records == (2 if 4 <= i < 7 else 1)
        if i == 1:  # it has found gradients, and cleared them
            plan = again.plan()
        elif 1 < i < 7:
            assert (again.plan() is plan) == (i != 4)
        if i == 6:  # the next call must leave these alone
            kept = [(b.grad, b.grad._data.copy()) for b in captured]
    for g, before in kept:
        same(g._data, before)


def test_gradients_that_are_not_cleared_are_added_to_from_the_second_call_on():
    plain, captured = md.Tensor([0.5], True), md.Tensor([0.5], True)
    again = md.capture(lambda x: (x * captured).sum().backward())
    for i in range(4):
        (md.Tensor([i + 1.0]) * plain).sum().backward()
        again(md.Tensor([i + 1.0]))
        same(plain.grad._data, captured.grad._data)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_gradients_that_a_step_of_the_optimizer_has_used_are_added_to(name):
    def twice(training, x, y):
        loss = training.step(x, y)
        training.loss(training.model(x * 0.5), y).backward()
        return loss

    plain, captured = (Training(network(), OPTIMIZERS[name]) for _ in range(2))
    step = md.capture(lambda x, y: twice(captured, x, y))
    for x, y in batches(5):
        same(twice(plain, x, y)._data, step(x, y)._data)
        same_state(plain, captured)
    assert step.records == 1


@pytest.mark.parametrize("layout", ["planes", "channels last"])
def test_convolutions(layout):
    def make():
        md.manual_seed(3)
        return nn.Sequential(
            nn.Conv(3, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose(4, 2, 4, stride=2), nn.PReLU(2)
        )

    plain, captured = (Training(make(), OPTIMIZERS["Adam"]) for _ in range(2))
    step = md.capture(captured.step)
    rng = np.random.default_rng(0)
    for _ in range(4):
        x, y = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((2, 2, 14, 14))
        x, y = x.astype(np.float32), md.Tensor(y.astype(np.float32))
        if layout != "planes":
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        same(plain.step(md.Tensor(x), y)._data, step(md.Tensor(x), y)._data)
        same_state(plain, captured)
    assert step.records == 1


def test_a_gradient_penalty():
    plain, captured = (Training(network((4, 8, 1)), OPTIMIZERS["Adam"]) for _ in range(2))

    def penalty(training, x):
        training.model.zero_grad()
        inside = md.Tensor(x * 1.0)
        inside.requires_grad = True
        (slope,) = md.grad([training.model(inside).sum()], [inside], create_graph=True)
        loss = ((slope**2).sum() - 1) ** 2
        loss.backward()
        training.optimizer.step()
        return loss

    step = md.capture(lambda x: penalty(captured, x))
    for x, _ in batches(5):
        same(penalty(plain, x)._data, step(x)._data)
        same_state(plain, captured)
    assert step.records == 1


def test_a_shared_weight():
    plain, captured = (Training(network((4, 4)), OPTIMIZERS["Adam"]) for _ in range(2))
    for training in (plain, captured):
        training.model = nn.Sequential(training.model[0], nn.Tanh(), training.model[0])
    step = md.capture(captured.step)
    for x, y in batches(4, outputs=4):
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)


def test_gradients_that_are_added_up_over_several_layers():
    """Those of earlier calls are copied in before the first kernel runs, which must not overwrite them."""
    plain, captured = (Training(network((4, 8, 8, 8, 3)), OPTIMIZERS["SGD"]) for _ in range(2))

    def add_up(training, x, y):
        loss = training.loss(training.model(x), y)
        loss.backward()
        training.optimizer.step()
        return loss

    step = md.capture(lambda x, y: add_up(captured, x, y))
    for x, y in batches(5):
        same(add_up(plain, x, y)._data, step(x, y)._data)
        same_state(plain, captured)
    assert step.records == 1


def test_slopes_that_get_their_shape_in_the_first_call():
    def make():
        md.manual_seed(3)
        return nn.Sequential(nn.Affine(4, 8), nn.PReLU(), nn.Affine(8, 3))

    plain, captured = (Training(make(), OPTIMIZERS["Adam"]) for _ in range(2))
    step = md.capture(captured.step)
    for x, y in batches(4):
        same(plain.step(x, y)._data, step(x, y)._data)
        same_state(plain, captured)
    assert step.records == 1
    assert captured.model[1].slope.shape == (8,)


@pytest.mark.parametrize("channels", [2, 8])
def test_max_pooling_whose_gradient_has_another_layout(channels):
    """Places are recorded with the channels innermost; the gradient comes from an op that gives planes."""
    plain, captured = (md.Tensor(np.ones((1, channels, 1, 1)), True) for _ in range(2))

    def step(x, weight):
        weight.zero_grad()
        y = F.max_pool(x * weight, 3, 2)
        loss = (y.reshape(2, -1) ** 2).sum()
        loss.backward()
        return loss

    step_again = md.capture(lambda x: step(x, captured))
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal((2, 9, 9, channels)).transpose(0, 3, 1, 2)
        same(step(md.Tensor(x), plain)._data, step_again(md.Tensor(x))._data)
        same(plain.grad._data, captured.grad._data)


def test_a_replaced_tensor():
    weight = md.Tensor([2.0])
    step = md.capture(lambda x: x * weight)
    assert step(md.Tensor([3.0])).item() == 6
    weight.data[0] = 5
    assert step(md.Tensor([3.0])).item() == 15
    weight.data = [7.0]
    assert step(md.Tensor([3.0])).item() == 21
    weight = md.Tensor([1.0])
    assert step(md.Tensor([3.0])).item() == 3


def test_no_grad_and_textbook_gradients():
    from minidl.autograd.modes import textbook_gradients

    plain, captured = (Training(network(), OPTIMIZERS["SGD"]) for _ in range(2))
    step = md.capture(captured.step)
    for i, (x, y) in enumerate(batches(4)):
        if i % 2:
            with textbook_gradients():
                a, b = plain.step(x, y), step(x, y)
        else:
            a, b = plain.step(x, y), step(x, y)
        same(a._data, b._data)
        same_state(plain, captured)
    assert step.records == 2


def test_any_number_of_threads():
    before = md.get_num_threads()
    plain, captured = (Training(network((64, 300, 200, 3)), OPTIMIZERS["Adam"]) for _ in range(2))
    step = md.capture(captured.step)
    try:
        for i, (x, y) in enumerate(batches(6, 200, 64)):
            md.set_num_threads(1 + i % 3)
            same(plain.step(x, y)._data, step(x, y)._data)
            same_state(plain, captured)
    finally:
        md.set_num_threads(before)
