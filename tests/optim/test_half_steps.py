"""Nothing is half done: what is broken off at any instruction has either not begun, or is complete."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import _kernels as K
from minidl import nn, optim

PACKAGE = str(Path(md.__file__).parent)
ENGINE_COMPILED = not md.autograd.tensor.__file__.endswith(".py")


def frozen(x):
    """x as something that can be compared: arrays as their bytes."""
    if isinstance(x, dict):
        return {key: frozen(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [frozen(item) for item in x]
    if isinstance(x, md.Tensor):
        return frozen(x.data)
    return (x.dtype.str, x.shape, x.tobytes()) if isinstance(x, np.ndarray) else x


def broken_off(action, n):
    """Raises KeyboardInterrupt at the n-th instruction that `action` runs in minidl; False if it has fewer."""

    def trace(frame, event, argument):
        nonlocal n
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            n -= 1
            if n < 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def breaks_off_whole(make, act, state, every=1):
    """At whatever instruction `act` is broken off, `state` is the old one or the new one."""
    whole = make()
    old = frozen(state(whole))
    act(whole)
    new = frozen(state(whole))
    assert old != new, "the test would show nothing"
    n = seen = 0
    while True:
        thing = make()
        if not broken_off(lambda thing=thing: act(thing), n):
            break
        left = frozen(state(thing))
        assert left in (old, new), f"half done at instruction {n}"
        seen += left == old
        n += every
    assert seen


# ── Optimizers ───────────────────────────────────────────────────────────────────────────────────


class Lion(optim.Optimizer):
    """What a user may write: all in Python."""

    MOMENTS = ("momentum",)

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "weight_decay": 0.0})

    def _step(self, group, slots, arrays, grads, lrs, decays):
        for slot, p, g, lr in zip(slots, arrays, grads, lrs, strict=True):
            p -= lr * np.sign(0.9 * slot.moments[0] + 0.1 * g) / slot.step
            slot.moments[0][...] = 0.99 * slot.moments[0] + 0.01 * g


class Noisy(optim.Adam):
    """A step of minidl's and something more."""

    def _step(self, group, slots, arrays, grads, lrs, decays):
        super()._step(group, slots, arrays, grads, lrs, decays)
        for p in arrays:
            p += 1.0


OPTIMIZERS = [
    optim.SGD,
    lambda params, lr: optim.SGD(params, lr, momentum=0.9),
    optim.Adam,
    optim.AdamW,
    Lion,
    Noisy,
]
IDS = ["SGD", "momentum", "Adam", "AdamW", "Lion", "Noisy"]


def two_groups(make, steps=2):
    """An optimizer with two groups of which it has stepped `steps` times, with gradients there."""
    rng = np.random.default_rng(0)
    params = [nn.Parameter(rng.normal(size=s).astype(np.float32)) for s in [(3, 2), (2,), (4,)]]
    optimizer = make([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}], lr=0.1)
    for _ in range(steps):
        for p in params:
            p.grad = md.Tensor(rng.normal(size=p.shape).astype(np.float32))
        if _ < steps - 1:
            optimizer.step()
    return optimizer


def parameters_of(optimizer):
    return [p for group in optimizer.groups for p in group["params"]]


def all_of(optimizer):
    grads = [p.grad is None or p.grad.data for p in parameters_of(optimizer)]
    return optimizer.state_dict(), parameters_of(optimizer), grads


@pytest.mark.parametrize("make", OPTIMIZERS, ids=IDS)
def test_a_step_is_for_all_groups_or_none(make):
    breaks_off_whole(lambda: two_groups(make), lambda o: o.step(), all_of)


def test_the_first_step_too():
    breaks_off_whole(lambda: two_groups(optim.Adam, 1), lambda o: o.step(), all_of)


@pytest.mark.parametrize("make", OPTIMIZERS, ids=IDS)
def test_a_gradient_that_does_not_fit_the_last_group_stops_all(make):
    optimizer = two_groups(make)
    before = frozen(all_of(optimizer))
    last = parameters_of(optimizer)[-1]
    good, last.grad = last.grad, md.Tensor(np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="parameter 2: expected a gradient of shape"):
        optimizer.step()
    last.grad = good
    assert frozen(all_of(optimizer)) == before


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("make", OPTIMIZERS, ids=IDS)
def test_what_finds_no_memory_steps_nothing(make, steps, monkeypatch):
    """Two groups used to be two calls of a kernel, and the second could fail."""
    left = 0

    def failing(function):
        def call(*args):
            nonlocal left
            left -= 1
            if left == 0:
                raise MemoryError
            return function(*args)

        return call

    for owner, name in ((K, "sgd_step"), (K, "adam_step"), (np, "zeros_like")):
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    for n in itertools.count(1):
        optimizer = two_groups(make, steps)
        before, left = frozen(all_of(optimizer)), n
        try:
            optimizer.step()
        except MemoryError:
            assert frozen(all_of(optimizer)) == before
        if left > 0:  # fewer calls than that
            break


def test_lr_of_all_groups():
    breaks_off_whole(
        lambda: two_groups(optim.SGD), lambda o: setattr(o, "lr", 0.25), lambda o: o.state_dict()
    )


@pytest.mark.skipif(not ENGINE_COMPILED, reason="the compiled engine has no instructions between")
def test_zero_grad():
    breaks_off_whole(lambda: two_groups(optim.SGD), lambda o: o.zero_grad(), all_of)


def test_the_state_of_an_optimizer():
    state = two_groups(optim.Adam, 5).state_dict()
    state["groups"][1]["lr"] = 7.0
    breaks_off_whole(
        lambda: two_groups(optim.Adam),
        lambda o: o.load_state_dict(state),
        lambda o: o.state_dict(),
        every=11,
    )


# ── Everything else that changes several things ──────────────────────────────────────────────────


def network():
    md.manual_seed(0)
    return nn.Sequential(nn.Affine(3, 4), nn.BatchNorm(4), nn.ReLU(), nn.Affine(4, 2))


def with_schedule():
    return optim.StepLR(two_groups(optim.SGD), 1, gamma=0.5)


def with_gradients(times=1):
    model = network()
    for _ in range(times):
        model(np.eye(3, dtype=np.float32)).sum().backward()
    return model


def arrays_of(model):
    return [(p.data, p.grad is None or p.grad.data) for p in model.parameters()], model.buffers


def test_a_schedule_and_its_state():
    def state(schedule):
        return schedule.state_dict(), [group["lr"] for group in schedule.optimizer.groups]

    breaks_off_whole(with_schedule, lambda s: s.step(), state)
    other = {"count": 3, "base": [1.0, 2.0]}
    breaks_off_whole(with_schedule, lambda s: s.load_state_dict(other), state)


def test_a_rate_that_is_none_changes_no_group():
    class Broken(optim.Schedule):
        def lr_at(self, base, t):
            return base if t == 0 or base < 0.3 else float("nan")

    schedule = Broken(two_groups(optim.SGD))
    with pytest.raises(ValueError, match="Broken: the rate"):
        schedule.step()
    assert schedule.count == 0


def test_the_state_of_a_module():
    state = network().state_dict()
    state["0.weight"] += 1
    state["1.running_mean"] += 1
    breaks_off_whole(network, lambda m: m.load_state_dict(state), arrays_of, every=41)


@pytest.mark.skipif(not ENGINE_COMPILED, reason="the compiled engine has no instructions between")
@pytest.mark.parametrize("act", [lambda m: m.astype("float64"), lambda m: m.zero_grad()])
def test_all_parts_of_a_module(act):
    breaks_off_whole(with_gradients, act, arrays_of, every=29)


def test_modes():
    breaks_off_whole(
        network, lambda m: m.eval(), lambda m: [part.training for part in m.modules()], every=7
    )


@pytest.mark.skipif(
    not ENGINE_COMPILED, reason="an op's __del__, which only plain Python has, loses an interrupt"
)
def test_running_statistics_and_their_count():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    breaks_off_whole(lambda: nn.BatchNorm(4), lambda m: m(x), arrays_of, every=7)


def test_what_fails_in_a_batch_norm_updates_nothing(monkeypatch):
    def failing(*args):
        raise MemoryError

    layer = nn.BatchNorm(4)
    before = frozen(arrays_of(layer))
    monkeypatch.setattr(K, "batch_norm_forward", failing)
    with pytest.raises(MemoryError):
        layer(np.arange(12, dtype=np.float32).reshape(3, 4))
    assert frozen(arrays_of(layer)) == before


def test_backward_that_fails_adds_to_no_leaf(monkeypatch):
    model, n = with_gradients(), 0
    before = frozen(arrays_of(model)[0])
    real = K.binary

    def failing(name, *args):
        nonlocal n
        n += name == "add"
        if n == 3:
            raise MemoryError
        return real(name, *args)

    loss = model(np.eye(3, dtype=np.float32)).sum()
    monkeypatch.setattr(K, "binary", failing)
    with pytest.raises(MemoryError):
        loss.backward()
    assert frozen(arrays_of(model)[0]) == before


def test_a_row_of_the_history():
    breaks_off_whole(md.History, lambda h: h.append({"loss": 1.0, "lr": 0.1}), lambda h: h.history)


def test_the_state_of_a_loader():
    def loader():
        return md.data.DataLoader(np.arange(9), 2, shuffle=True, rng=3)

    other = loader()
    next(iter(other))
    state = other.state_dict()
    breaks_off_whole(loader, lambda it: it.load_state_dict(state), lambda it: it.state_dict())
