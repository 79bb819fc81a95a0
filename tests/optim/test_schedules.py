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
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_schedules_as_pytorch(ours, theirs, options):
    torch = pytest.importorskip("torch")
    optimizer = two_groups()
    result = rates(getattr(optim, ours)(optimizer, **options), optimizer)
    a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    oracle = torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.4}], lr=0.1)
    names = {"total": "T_max", "min_lr": "eta_min"}
    options = {names.get(key, key): value for key, value in options.items()}
    schedule = getattr(torch.optim.lr_scheduler, theirs)(oracle, **options)
    expected = []
    for _ in range(12):
        expected.append([group["lr"] for group in oracle.param_groups])
        schedule.step()
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-15)


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
