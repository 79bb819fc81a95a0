"""What `fit` says when nothing would be trained, or slowly."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.callbacks import EarlyStopping as Early


def test_the_optimizer_of_another_model_is_noticed():
    model, other = nn.Affine(2, 2), nn.Affine(2, 2)
    loader = [(np.ones((1, 2), "float32"), np.zeros(1, int))]
    with pytest.raises(ValueError, match="none of its 2 parameters is one of the model's 2"):
        md.fit(
            model, loader, "cross_entropy", optim.SGD(other.parameters(), 0.1), 1, progress=False
        )
    # Some of them are enough: a part of a model is trained.
    md.fit(model, loader, "cross_entropy", optim.SGD([model.bias], 0.1), 1, progress=False)


def test_a_class_is_no_optimizer():
    model = nn.Affine(2, 2)
    loader = [(np.ones((1, 2), "float32"), np.zeros(1, int))]
    with pytest.raises(TypeError, match=r"Adam is a class: expected Adam\(model.parameters\(\)"):
        md.fit(model, loader, "cross_entropy", optim.Adam, 1)


def test_float64_data_for_a_float32_model_is_said():
    model = nn.Affine(2, 2)
    loader = [(np.ones((1, 2)), np.zeros(1, int))]
    with pytest.warns(
        UserWarning, match="a float64 input makes float32 parameters compute in float64"
    ):
        md.fit(
            model, loader, "cross_entropy", optim.SGD(model.parameters(), 0.1), 1, progress=False
        )


def score(y, target):
    return 0.5


def accuracy(y, target):
    return 0.5


def loss(y, target):
    return 0.5


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"loss": nn.CrossEntropyLoss}, TypeError, r"loss: CrossEntropyLoss is a class"),
        ({"loss": score}, TypeError, "loss: expected a Tensor, got float"),
        ({"callbacks": [Early]}, TypeError, r"callbacks: EarlyStopping is a class: expected Early"),
        ({"metrics": [nn.CrossEntropyLoss]}, TypeError, "metrics: CrossEntropyLoss is a class"),
        ({"metrics": [score, score]}, ValueError, "metrics: 'score' is the name of something"),
        ({"metrics": [accuracy, "accuracy"]}, ValueError, "metrics: 'accuracy' is the name of"),
        ({"metrics": [loss]}, ValueError, "metrics: 'loss' is the name of something else"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_or_told_apart(changed, error, message):
    model = nn.Affine(2, 2)
    options = {"loader": [(np.ones((1, 2), "float32"), np.zeros(1, int))], "loss": "cross_entropy"}
    options |= {"optimizer": optim.SGD(model.parameters(), 0.1), "epochs": 1, "progress": False}
    before = model.weight.data.copy()
    with pytest.raises(error, match=message):
        md.fit(model, **options | changed)
    np.testing.assert_array_equal(model.weight.data, before)
