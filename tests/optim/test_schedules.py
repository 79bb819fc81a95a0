"""Learning-rate schedules: PyTorch's, and their state."""

import numpy as np
import pytest

from minidl import nn, optim


def rates(schedule, optimizer, count=12):
    result = []
    for _ in range(count):
        result.append([group["lr"] for group in optimizer.groups])
        schedule.step()
    return result


def two_groups():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    return optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.4}], lr=0.1)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("StepLR", "StepLR", {"step_size": 3, "gamma": 0.5}),
        ("MultiStepLR", "MultiStepLR", {"milestones": [2, 5], "gamma": 0.5}),
        ("ExponentialLR", "ExponentialLR", {"gamma": 0.7}),
        ("CosineLR", "CosineAnnealingLR", {"total": 11, "min_lr": 0.01}),
        ("CosineRestartsLR", "CosineAnnealingWarmRestarts", {"period": 3, "min_lr": 0.01}),
        ("CosineRestartsLR", "CosineAnnealingWarmRestarts", {"period": 2, "growth": 2}),
        ("LambdaLR", "LambdaLR", {"lr_lambda": lambda t: 0.9**t + t}),
        ("LambdaLR", "LambdaLR", {"lr_lambda": [lambda t: 1 + t, lambda t: 0.5**t]}),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_schedules_as_pytorch(ours, theirs, options):
    torch = pytest.importorskip("torch")
    optimizer = two_groups()
    result = rates(getattr(optim, ours)(optimizer, **options), optimizer)
    a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    oracle = torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.4}], lr=0.1)
    names = {"total": "T_max", "min_lr": "eta_min", "period": "T_0", "growth": "T_mult"}
    options = {names.get(key, key): value for key, value in options.items()}
    schedule = getattr(torch.optim.lr_scheduler, theirs)(oracle, **options)
    expected = []
    for _ in range(12):
        expected.append([group["lr"] for group in oracle.param_groups])
        schedule.step()
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(
    "options",
    [
        {"total_steps": 12},
        {"total_steps": 12, "three_phase": True, "anneal_strategy": "linear", "pct_start": 0.25},
        {"total_steps": 3, "pct_start": 0.1, "div_factor": 2.0, "final_div_factor": 5.0},
        {"total_steps": 12, "cycle_momentum": False},
        {"total_steps": 12, "base_momentum": 0.5, "max_momentum": 0.6, "max_lr": [1.0, 2.0]},
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_one_cycle_as_pytorch(kind, options):
    torch = pytest.importorskip("torch")
    options = {"max_lr": 0.5} | options
    settings = {"momentum": 0.3} if kind == "SGD" else {"betas": (0.3, 0.7)}
    params = [nn.Parameter([1.0]) for _ in range(2)]
    ours = getattr(optim, kind)([{"params": p} for p in params], lr=0.1, **settings)
    theirs = [torch.ones(1, requires_grad=True) for _ in range(2)]
    oracle = getattr(torch.optim, kind)([{"params": [p]} for p in theirs], lr=0.1, **settings)
    schedule = optim.OneCycleLR(ours, **options)
    expected = torch.optim.lr_scheduler.OneCycleLR(oracle, **options)
    for _ in range(options["total_steps"]):
        for group, other in zip(ours.groups, oracle.param_groups, strict=True):
            for name in ("lr", "momentum", "betas"):
                assert (name in group) == (name in other)
                np.testing.assert_allclose(group.get(name, 0), other.get(name, 0), 1e-12, 1e-15)
        end = [dict(group) for group in ours.groups]
        schedule.step()
        expected.step()
    assert [dict(group) for group in ours.groups] == end  # where PyTorch's goes on


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1},
        {"patience": 0, "cooldown": 2, "factor": 0.5, "min_lr": 0.03},
        {"patience": 0, "mode": "max", "threshold": 0.3},
        {"patience": 1, "threshold": 0.2, "threshold_mode": "abs"},
        {"patience": 1, "mode": "max", "threshold": 0.2, "threshold_mode": "abs"},
    ],
)
def test_plateau_as_pytorch(options):
    torch = pytest.importorskip("torch")
    optimizer = two_groups()
    a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    oracle = torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.4}], lr=0.1)
    schedule = optim.ReduceLROnPlateau(optimizer, **options)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(oracle, **options)
    rng = np.random.default_rng(4)
    for i, value in enumerate([1.0, 0.9, 0.95, np.nan, 0.9, 0.7, *rng.random(14)]):
        schedule.step(value)
        expected.step(value)
        rates = [group["lr"] for group in optimizer.groups]
        assert rates == pytest.approx([group["lr"] for group in oracle.param_groups], rel=1e-12)
        if i == 8:  # resumed
            state, schedule = schedule.state_dict(), optim.ReduceLROnPlateau(optimizer, **options)
            schedule.load_state_dict(state)
    assert rates[0] < 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: optim.LambdaLR(o, 0.5), TypeError, "LambdaLR: lr_lambda must be a function"),
        (lambda o: optim.LambdaLR(o, [abs]), ValueError, "LambdaLR: lr_lambda: expected 2"),
        (lambda o: optim.LambdaLR(o, lambda t: -1), ValueError, "LambdaLR: lr_lambda must be"),
        (lambda o: optim.CosineRestartsLR(o, 0), ValueError, "CosineRestartsLR: period"),
        (lambda o: optim.OneCycleLR(o, [1.0], 9), ValueError, "OneCycleLR: max_lr: expected 2"),
        (lambda o: optim.OneCycleLR(o, 1.0, 9, 1.5), ValueError, "OneCycleLR: pct_start"),
        (lambda o: optim.OneCycleLR(o, 1.0, 9, div_factor=0), ValueError, "OneCycleLR: div_factor"),
        (
            lambda o: optim.OneCycleLR(o, 1.0, 9, anneal_strategy="up"),
            ValueError,
            "anneal_strategy",
        ),
        (lambda o: optim.OneCycleLR(adagrad(), 1.0, 9), ValueError, "Adagrad has neither"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1), ValueError, "factor must be less than 1"),
        (lambda o: optim.ReduceLROnPlateau(o, "best"), ValueError, "mode: expected one of"),
        (lambda o: optim.ReduceLROnPlateau(o).step(None), TypeError, "value must be a number"),
    ],
)
def test_what_does_not_fit_changes_nothing(make, error, message):
    optimizer = two_groups()
    before = str(optimizer.groups)
    with pytest.raises(error, match=message):
        make(optimizer)
    assert str(optimizer.groups) == before


def adagrad():
    return optim.Adagrad([nn.Parameter([1.0])])


def test_cosine_stays_at_its_end():
    optimizer = two_groups()
    assert rates(optim.CosineLR(optimizer, 2, min_lr=0.05), optimizer, 6)[2:] == [[0.05, 0.05]] * 4


def test_warmup_then_another_schedule():
    optimizer = two_groups()
    schedule = optim.WarmupLR(optimizer, 3, after=optim.StepLR(optimizer, 2, gamma=0.5))
    result = [pair[0] for pair in rates(schedule, optimizer, 8)]
    expected = [0.025, 0.05, 0.075, 0.1, 0.1, 0.05, 0.05, 0.025]
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    again = two_groups()
    np.testing.assert_allclose(
        [pair[1] for pair in rates(optim.WarmupLR(again, 3), again, 5)], [0.1, 0.2, 0.3, 0.4, 0.4]
    )


def test_warmup_then_a_schedule_that_differs_by_group_or_changes_momentum():
    optimizer = two_groups()
    after = optim.LambdaLR(optimizer, [lambda t: 1 / (1 + t), lambda t: 1 - t / 4])
    schedule = optim.WarmupLR(optimizer, 1, after=after)
    expected = [[0.05, 0.2], [0.1, 0.4], [0.05, 0.3], [0.1 / 3, 0.2]]
    np.testing.assert_allclose(rates(schedule, optimizer, 4), expected, rtol=1e-12)
    optimizer = two_groups()
    after = optim.OneCycleLR(optimizer, 1.0, total_steps=4, pct_start=0.5)
    schedule, momenta = optim.WarmupLR(optimizer, 2, after=after), []
    for _ in range(6):
        momenta.append(round(optimizer.groups[0]["momentum"], 4))
        schedule.step()
    assert momenta == [0.95, 0.95, 0.95, 0.85, 0.9, 0.95]


def test_schedule_state():
    optimizer = two_groups()
    schedule = optim.CosineLR(optimizer, 10)
    before = rates(schedule, optimizer, 4)
    state = schedule.state_dict()
    after = rates(schedule, optimizer, 4)
    fresh = two_groups()
    fresh.lr = 7.0
    resumed = optim.CosineLR(fresh, 10)
    resumed.load_state_dict(state)
    assert rates(resumed, fresh, 4) == after != before
    with pytest.raises(ValueError, match="2 groups"):
        resumed.load_state_dict({"count": 1, "base": [0.1]})
