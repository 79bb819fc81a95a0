"""What accuracy means depends on the loss; a batch that comes to nothing leaves nothing behind."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.training.fit import evaluate
from minidl.training.metrics import accuracy

P = np.array([[0.2, 0.9, 0.4], [0.6, 0.3, 0.7]], np.float32)
MANY = np.array([[0, 1, 1], [1, 0, 0]], np.float32)  # 4 of 6 labels are right at 0.5


@pytest.mark.parametrize(
    ("loss", "y", "target", "expected"),
    [
        ("binary_cross_entropy", P, MANY, 4 / 6),
        ("binary_cross_entropy", P[:, :1], MANY[:, :1], 1.0),
        ("binary_cross_entropy", P[:, 2], MANY[:, 2], 0.0),
        ("binary_cross_entropy", P, np.eye(3, dtype=np.float32)[:2], 1 / 6),
        ("binary_cross_entropy_with_logits", P - 0.5, MANY, 4 / 6),
        ("binary_cross_entropy_with_logits", P[:, 0] - 0.5, MANY[:, 0], 1.0),
        ("cross_entropy", P, np.array([1, 0]), 1 / 2),
        ("cross_entropy", P, np.eye(3, dtype=np.float32)[[1, 2]], 1.0),
        ("cross_entropy", P[:, :1], np.array([0, 0]), 1.0),
        ("nll_loss", P, np.array([1, 2]), 1.0),
        (None, P, np.array([1, 0]), 1 / 2),
    ],
)
def test_the_loss_says_what_accuracy_is(loss, y, target, expected):
    assert evaluate(nn.Identity(), (y, target), loss)["accuracy"] == pytest.approx(expected)


def test_targets_that_are_no_classes_are_refused():
    for loss, target in (("binary_cross_entropy", P), (None, MANY), (lambda y, t: y.sum(), MANY)):
        with pytest.raises(ValueError, match=r"accuracy: targets of shape \(2, 3\), float32"):
            evaluate(nn.Identity(), (P, target), loss)
    with pytest.raises(ValueError, match="scores of shape"):
        accuracy(P, MANY)


def test_a_nan_batch_leaves_the_statistics_of_the_batch_before():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    batches = [(x, np.zeros(6, int)), (x * np.nan, np.zeros(6, int))]
    results = []
    for spoilt in (False, True):
        md.manual_seed(0)
        model = nn.Sequential(nn.BatchNorm(2), nn.Affine(2, 2))
        arguments = "cross_entropy", optim.SGD(model.parameters(), 0.1), 1
        if spoilt:
            with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="buffers"):
                md.fit(model, batches, *arguments, progress=False)
        else:
            md.fit(model, batches[:1], *arguments, progress=False)
        results.append({name: value.tolist() for name, value in model.state_dict().items()})
    assert results[0] == results[1]


# ── Copies ───────────────────────────────────────────────────────────────────────────────────────


def trained(model, optimizer):
    model(np.ones((2, 3), np.float32)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return [p.data.tolist() for p in model.parameters()]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_optimizer_steps_the_copied_model(how):
    model = nn.Sequential(nn.Affine(3, 4), nn.PReLU(4), nn.Affine(4, 1))
    optimizer = optim.Adam(model.parameters(), 0.1)
    schedule = optim.WarmupLR(optimizer, 2, after=optim.CosineLR(optimizer, 9))
    trained(model, optimizer)
    copied, its, plan = how((model, optimizer, schedule))
    assert plan.optimizer is its
    before = [p.data.tolist() for p in model.parameters()]
    after = trained(copied, its)
    assert [p.data.tolist() for p in model.parameters()] == before != after
    assert trained(model, optimizer) == after
    schedule.step()
    plan.step()
    assert plan.state_dict() == schedule.state_dict() and its.lr == optimizer.lr
    assert str(how(optimizer).state_dict()) == str(optimizer.state_dict())


@pytest.mark.parametrize("name", F.__all__)
def test_functions_can_be_pickled(name):
    function = getattr(F, name)
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


def test_a_frozen_parameter_is_left_alone_until_it_is_thawed():
    first, second = nn.Parameter([1.0]), nn.Parameter([1.0])
    first.requires_grad = False
    optimizer = optim.Adam([first, second], 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (first * second).sum().backward()
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
    assert first.item() == 1.0 and second.item() < 1.0
    first.requires_grad = True
    (first * second).sum().backward()
    optimizer.step()
    assert first.item() < 1.0
