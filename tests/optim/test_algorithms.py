"""Optimizers: PyTorch's formulas, exact multipliers, complete state."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import _kernels as K
from minidl import nn, optim

RNG = np.random.default_rng(0)
SHAPES = [(5, 3), (3,), ()]
START = [np.asarray(RNG.normal(size=shape)) for shape in SHAPES]
GRADS = [[np.asarray(RNG.normal(size=shape)) for shape in SHAPES] for _ in range(20)]

OPTIONS = {
    optim.SGD: [
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
    ],
    optim.Adam: [
        {},
        {"lr": 0.1, "betas": (0.5, 0.9)},
        {"lr": 0.1, "eps": 0.1},
        {"lr": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "betas": (0.0, 0.0)},
        {"lr": 0.1, "betas": (0.9, 0.5), "amsgrad": True},
    ],
    optim.AdamW: [
        {},
        {"lr": 0.1, "weight_decay": 0.3, "betas": (0.5, 0.999), "eps": 1e-5},
        {"lr": 0.1, "betas": (0.9, 0.5), "amsgrad": True},
    ],
    optim.NAdam: [
        {},
        {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.1, "momentum_decay": 0.1},
        {"lr": 0.1, "betas": (0.99, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True},
        {"lr": 0.1, "betas": (0.0, 0.9), "eps": 0.1},
    ],
    optim.RMSprop: [
        {},
        {"lr": 0.1, "alpha": 0.9, "eps": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.1, "centered": True},
        {"lr": 0.01, "centered": True, "momentum": 0.9},
    ],
    optim.Adagrad: [
        {},
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 0.1},
    ],
    optim.Adadelta: [{}, {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}],
}
CASES = [(cls, options) for cls, rows in OPTIONS.items() for options in rows]
NAMES = [f"{cls.__name__}-{options}" for cls, options in CASES]


def parameters(dtype=np.float32, **settings):
    return [nn.Parameter(x.astype(dtype), **settings) for x in START]


def run(optimizer, params, grads=GRADS):
    for step in grads:
        for p, g in zip(params, step, strict=True):
            p.grad = md.Tensor(g.astype(p.dtype))
        optimizer.step()
    return [p.data.copy() for p in params]


def same_bits(xs, ys):
    return all(np.array_equal(x, y) for x, y in zip(xs, ys, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cls", "options"), CASES, ids=NAMES)
def test_20_steps_as_pytorch(cls, options, dtype, request):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, cls.__name__):
        pytest.skip("PyTorch has no optimizer of this name")
    theirs = [torch.tensor(x.astype(dtype), requires_grad=True) for x in START]
    oracle = getattr(torch.optim, cls.__name__)(theirs, **options)
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(theirs[0].dtype)  # that of the numbers that it computes from the steps
    ours = parameters(dtype)
    optimizer = cls(ours, **options)
    rtol = 3e-6 if dtype == np.float32 else 1e-13
    for grads in GRADS:
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.tensor(g.astype(dtype))
        oracle.step()
        run(optimizer, ours, [grads])
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("level", K.available)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cls", "options"), CASES, ids=NAMES)
def test_every_level_steps_as_the_reference(cls, options, dtype, level, monkeypatch):
    if not cls.kernel:
        pytest.skip("its formula is in Python")
    results = {}
    for name in (level, "reference"):
        monkeypatch.setattr(K, cls.kernel, getattr(K.load(name), cls.kernel))
        ours = parameters(dtype)
        results[name] = run(cls(ours, **{"lr": 0.1} | options), ours, GRADS[:5])
    rtol = 3e-6 if dtype == np.float32 else 1e-13
    for p, q in zip(results[level], results["reference"], strict=True):
        np.testing.assert_allclose(p, q, rtol=rtol, atol=rtol)


# ── Multipliers ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("cls", "options"), CASES, ids=NAMES)
def test_lr_mult_is_exact(cls, options):
    lr = cls(parameters(), **options).lr
    doubled, plain = parameters(lr_mult=2.0), parameters()
    results = run(cls(doubled, **options), doubled)
    assert same_bits(results, run(cls(plain, **options | {"lr": 2 * lr}), plain))
    assert not same_bits(results, run(cls(plain := parameters(), **options), plain))


@pytest.mark.parametrize(("cls", "options"), CASES, ids=NAMES)
def test_lr_mult_0_freezes_parameter_and_state(cls, options):
    frozen, plain = parameters(), parameters()
    optimizer, other = cls(frozen, **options), cls(plain, **options)
    run(optimizer, frozen, GRADS[:5])
    run(other, plain, GRADS[:5])
    for p in frozen:
        p.lr_mult = 0
    before = optimizer.state_dict()
    assert same_bits(run(optimizer, frozen, GRADS[5:10]), [p.data for p in plain])
    for p, saved in zip(frozen, before["groups"][0]["parameters"], strict=True):
        p.lr_mult = saved["lr_mult"] = 1.0
    assert str(optimizer.state_dict()) == str(before)
    assert same_bits(run(optimizer, frozen, GRADS[10:]), run(other, plain, GRADS[10:]))


@pytest.mark.parametrize("cls", OPTIONS)
def test_decay_false_exempts(cls):
    exempt, plain = parameters(decay=False), parameters()
    results = run(cls(exempt, lr=0.1, weight_decay=0.5), exempt)
    assert same_bits(results, run(cls(plain, lr=0.1, weight_decay=0.0), plain))
    assert not same_bits(results, run(cls(p := parameters(), lr=0.1, weight_decay=0.5), p))


def test_parameters_without_gradient_are_skipped():
    params = parameters()
    optimizer = optim.Adam(params, weight_decay=0.1)
    params[0].grad = md.Tensor(np.ones((5, 3), np.float32))
    optimizer.step()
    assert not np.array_equal(params[0].data, START[0].astype(np.float32))
    assert same_bits([p.data for p in params[1:]], [x.astype(np.float32) for x in START[1:]])
    steps = [p["step"] for p in optimizer.state_dict()["groups"][0]["parameters"]]
    assert steps == [1, 0, 0]


def test_plain_tensors_and_groups():
    a, b = md.Tensor([1.0], requires_grad=True), nn.Parameter([1.0])
    optimizer = optim.SGD([{"params": a, "lr": 1.0}, {"params": [b], "weight_decay": 1.0}], lr=0.5)
    a.grad = b.grad = md.Tensor([0.25])
    optimizer.step()
    assert a.item() == 0.75
    assert b.item() == 1 - 0.5 * 1.25
    optimizer.zero_grad()
    assert a.grad is None and b.grad is None
    assert optimizer.lr == 1.0
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.groups] == [0.25, 0.25]
    optimizer.groups[1]["lr"] = 2
    assert optimizer.groups[1]["lr"] == 2.0


def test_a_step_counts_as_in_place_change():
    p = nn.Parameter([2.0])
    y = (p * p).sum()
    optimizer = optim.SGD([p], lr=0.1)
    p.grad = md.Tensor([1.0])
    optimizer.step()
    with pytest.raises(RuntimeError, match="in place"):
        y.backward()


def test_momentum_can_be_switched_on_and_off():
    params = parameters()
    optimizer = optim.SGD(params, lr=0.1)
    run(optimizer, params, GRADS[:1])
    optimizer.groups[0]["momentum"] = 0.9
    run(optimizer, params, GRADS[1:3])
    optimizer.groups[0]["momentum"] = 0.0
    run(optimizer, params, GRADS[3:4])
    expected = START[0] - 0.1 * (GRADS[0][0] + 1.9 * GRADS[1][0] + GRADS[2][0] + GRADS[3][0])
    np.testing.assert_allclose(params[0].data, expected, rtol=1e-5)


def test_an_assigned_array_of_another_layout_is_stepped_with_the_same_moments():
    plain, moved = parameters(), parameters()
    first, second = optim.Adam(plain, lr=0.1), optim.Adam(moved, lr=0.1)
    run(first, plain, GRADS[:3])
    run(second, moved, GRADS[:3])
    moved[0].data = np.asfortranarray(moved[0].data)
    assert same_bits(run(first, plain, GRADS[3:6]), run(second, moved, GRADS[3:6]))


# ── State ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", ["", ".npz", ".safetensors"])
@pytest.mark.parametrize(("cls", "options"), CASES, ids=NAMES)
def test_resume_has_the_same_bits(cls, options, ending, tmp_path):
    params = parameters(lr_mult=3.0)
    params[1].decay = False
    optimizer = cls(params, **options)
    run(optimizer, params, GRADS[:7])
    state = optimizer.state_dict()
    if ending:
        md.save(state, tmp_path / f"state{ending}")
        state = md.load(tmp_path / f"state{ending}")
    resumed = [nn.Parameter(p.data.copy()) for p in params]
    other = cls(resumed, lr=123.0)
    other.load_state_dict(state)
    assert (other.lr, resumed[0].lr_mult, resumed[1].decay) == (optimizer.lr, 3.0, False)
    expected = run(optimizer, params, GRADS[7:])
    assert same_bits(run(other, resumed, GRADS[7:]), expected)


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_state_from_before_a_setting_existed(cls):
    optimizer = cls(parameters(), lr=0.1)
    state = optimizer.state_dict()
    for name in cls.ADDED:
        del state["groups"][0][name]
    other = cls(parameters(), lr=0.5)
    other.load_state_dict(state)
    assert str(other.state_dict()) == str(optimizer.state_dict())


def test_nadam_after_many_steps_as_with_the_whole_product():
    p = nn.Parameter(np.zeros(1))
    optimizer = optim.NAdam([p], lr=1.0, betas=(0.9, 0.9), eps=0.0)
    p.grad = md.Tensor(np.ones(1))
    for _ in range(400):
        before = p.item()
        optimizer.step()
    mu = 0.9 * (1 - 0.5 * 0.96 ** (4e-3 * np.arange(1, 402)))
    expected = (1 - mu[-2]) / (1 - mu[:-1].prod()) + mu[-1] / (1 - mu.prod()) * (1 - 0.9**400)
    assert before - p.item() == pytest.approx(expected, rel=1e-12)


def change(path, value):
    def apply(state):
        for key in path[:-1]:
            state = state[key]
        if value is None:
            del state[path[-1]]
        else:
            state[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(["optimizer"], "SGD"), "state of 'SGD'"),
        (change(["groups"], []), "expected 1 groups"),
        (change(["groups", 0, "lr"], None), "lacks"),
        (change(["groups", 0, "lr"], math.nan), "lr must be a finite"),
        (change(["groups", 0, "parameters"], []), "expected 3 parameters, got 0"),
        (change(["groups", 0, "parameters", 2, "mean"], np.zeros(7)), "shape"),
        (change(["groups", 0, "parameters", 2, "step"], -1), "step"),
        (change(["groups", 0, "parameters", 2, "lr_mult"], -1.0), "lr_mult"),
    ],
)
def test_a_bad_state_changes_nothing(spoil, message):
    params = parameters()
    optimizer = optim.Adam(params)
    run(optimizer, params, GRADS[:2])
    before = str(optimizer.state_dict())
    state = optim.Adam(parameters(lr_mult=9.0), lr=0.5).state_dict()
    spoil(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    assert str(optimizer.state_dict()) == before


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────

P = nn.Parameter([1.0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([], lr=0.1), ValueError, "empty"),
        (lambda: optim.SGD(iter([]), lr=0.1), ValueError, "empty"),
        (lambda: optim.SGD([{"params": [P]}, {"params": P}], lr=0.1), ValueError, "0 and 1 are"),
        (lambda: optim.SGD([np.zeros(1)], lr=0.1), TypeError, "ndarray"),
        (lambda: optim.SGD(P, lr=0.1), TypeError, "sequence"),
        (lambda: optim.SGD(nn.Affine(1, 1), lr=0.1), TypeError, r"parameters\(\)"),
        (
            lambda: optim.SGD([md.Tensor([1, 2], dtype="int64")], lr=0.1),
            TypeError,
            "0 has dtype int",
        ),
        (lambda: optim.SGD([P * 2], lr=0.1), ValueError, "result of an op"),
        (lambda: optim.SGD([P, {"params": []}], lr=0.1), TypeError, "group 0"),
        (lambda: optim.SGD([{"params": [P], "rate": 1}], lr=0.1), ValueError, "rate"),
        (lambda: optim.SGD([{"params": [P], "lr": -1}], lr=0.1), ValueError, "lr"),
        (lambda: optim.SGD([P], lr=math.nan), ValueError, "SGD: lr must be a finite number"),
        (lambda: optim.SGD([P], lr=math.inf), ValueError, "lr"),
        (lambda: optim.SGD([P], lr=-0.1), ValueError, "lr"),
        (lambda: optim.SGD([P], lr="0.1"), TypeError, "lr"),
        (lambda: optim.SGD([P], lr=0.1, momentum=-1), ValueError, "momentum"),
        (lambda: optim.SGD([P], lr=0.1, nesterov=True), ValueError, "nesterov"),
        (
            lambda: optim.SGD([P], lr=0.1, momentum=0.9, nesterov=True, dampening=0.1),
            ValueError,
            "dampening = 0",
        ),
        (lambda: optim.RMSprop([P], alpha=1.5), ValueError, "RMSprop: alpha .* from 0 to 1"),
        (lambda: optim.RMSprop([P], centered=1), TypeError, "RMSprop: centered must be True"),
        (lambda: optim.Adadelta([P], rho=-0.1), ValueError, "Adadelta: rho"),
        (lambda: optim.NAdam([P], betas=(1.0, 0.9)), ValueError, "NAdam: betas"),
        (lambda: optim.Adam([P], amsgrad="yes"), TypeError, "Adam: amsgrad must be True"),
        (lambda: optim.SGD([P], lr=0.1, weight_decay=math.nan), ValueError, "weight_decay"),
        (lambda: optim.Adam([P], betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda: optim.Adam([P], betas=(-0.1, 0.9)), ValueError, "betas"),
        (lambda: optim.Adam([P], betas=0.9), TypeError, "betas"),
        (lambda: optim.Adam([P], eps=-1e-8), ValueError, "eps"),
        (lambda: setattr(optim.Adam([P]), "lr", math.nan), ValueError, "lr"),
        (lambda: optim.Adam([P]).groups[0].__setitem__("lr", -1), ValueError, "lr"),
        (lambda: optim.Adam([P]).groups[0].__setitem__("momentum", 1), KeyError, "momentum"),
        (lambda: optim.StepLR(optim.Adam([P]), 0), ValueError, "step_size"),
        (lambda: optim.CosineLR(P, 3), TypeError, "optimizer"),
        (lambda: optim.WarmupLR(optim.Adam([P]), 3, after=1), ValueError, "after"),
        (lambda: optim.clip_grad_norm([P], -1.0), ValueError, "max_norm"),
        (lambda: optim.clip_grad_norm([P], math.nan), ValueError, "max_norm"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "gradient", [np.ones(4, np.float32), np.ones(3), np.ones((1, 3), np.float32)]
)
def test_a_bad_gradient_changes_nothing(gradient):
    params = parameters()
    params[1].name = "bias"
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    optimizer = optim.Adam(groups)
    for p, g in zip(params, GRADS[0], strict=True):
        p.grad = md.Tensor(g.astype(np.float32))
    params[1].grad = md.Tensor(gradient)
    with pytest.raises(ValueError, match=r"parameter 1 \(bias\): expected a gradient of shape"):
        optimizer.step()
    assert same_bits([p.data for p in params], [x.astype(np.float32) for x in START])
    assert optimizer.state_dict()["groups"][0]["parameters"][0]["step"] == 0


def test_arrays_that_cannot_be_stepped():
    p = nn.Parameter([1.0, 2.0])
    p.grad = md.Tensor([1.0, 1.0])
    optimizer = optim.SGD([p], lr=0.1, momentum=0.5)
    p.data = np.broadcast_to(np.float32(1), 2)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.step()
    p.data = np.zeros(2, np.float32)
    optimizer.step()
    layer = nn.Affine(2, 1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1, momentum=0.5)
    for dtype in ("float32", "float64"):
        layer.astype(dtype)
        layer.zero_grad()
        layer(np.ones((1, 2), dtype)).sum().backward()
        if dtype == "float32":
            optimizer.step()
    with pytest.raises(ValueError, match="after astype"):
        optimizer.step()


def test_gradients_of_a_shared_parameter_add_up_and_are_stepped_once():
    first = nn.Affine(2, 2, bias=False)
    second = nn.Affine(2, 2, bias=False, weight=first.weight)
    model = nn.Sequential(first, second)
    before = first.weight.data.copy()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model(np.ones((1, 2), np.float32)).sum().backward()
    grad = first.weight.grad.data.copy()
    optimizer.step()
    np.testing.assert_allclose(second.weight.data, before - 0.1 * grad, rtol=1e-6)
