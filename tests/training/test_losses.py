"""`md.fit` with each loss: by name, as a function, as a layer."""

import inspect
import math

import numpy as np
import pytest

from minidl import functional as F
from minidl import nn, optim
from minidl.training.metrics import OUTPUTS

from .test_fit import X, Y, fit


@pytest.mark.parametrize("name", F.LOSSES)
def test_every_loss_goes_by_its_name(name):
    model = nn.Sequential(nn.Affine(4, 2), nn.Sigmoid())  # binary_cross_entropy takes probabilities
    target = Y if name in ("cross_entropy", "nll_loss") else np.eye(2, dtype=np.float32)[Y]
    target = 2 * target - 1 if name == "hinge_loss" else target
    history = fit(model, [(X, target)], name, metrics=())
    assert math.isfinite(history["loss"][0]) and history["loss"][1] < history["loss"][0]


def test_losses_are_the_functions_with_a_target():
    functions = {name: inspect.signature(getattr(F, name)).parameters for name in F.__all__}
    second = {name: [*given, None, None][1] for name, given in functions.items()}
    assert set(F.LOSSES) == {name for name, argument in second.items() if argument == "target"}


@pytest.mark.parametrize(
    "loss",
    [
        "mse_loss",
        nn.MSELoss(),
        *(getattr(F, n) for n in F.LOSSES if getattr(F, n) not in OUTPUTS),
    ],
    ids=str,
)
def test_real_numbers_have_no_accuracy(loss):
    model = nn.Affine(4, 1)
    target = np.sign(X[:, :1])
    history = fit(model, [(X, target)], loss, optimizer=optim.SGD(model.parameters(), 0.1))
    assert history.history.keys() == {"loss", "lr", "time"}


def test_a_loss_layer_trains_as_its_function_does():
    results = [
        fit(loss=loss, capture=capture).history
        for loss in (F.cross_entropy, nn.CrossEntropyLoss())
        for capture in (False, True)
    ]
    for history in results:
        assert (
            history["loss"] == results[0]["loss"] and history["accuracy"] == results[0]["accuracy"]
        )
