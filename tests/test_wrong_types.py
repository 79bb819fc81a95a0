"""Arguments of the wrong type: the error names the function or layer, and the argument."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim


class Clip:
    def on_backward_end(self, training):
        pass


def fit(callbacks):
    model = nn.Affine(2, 2)
    loader = [(np.ones((1, 2), "float32"), np.zeros(1, int))]
    md.fit(model, loader, "cross_entropy", optimizer(), 1, callbacks=callbacks, progress=False)


def optimizer():
    return optim.SGD(nn.Affine(2, 2).parameters(), 0.1)


def schedule():
    return optim.StepLR(optimizer(), 1)


CASES = {
    "callbacks: a callback": (lambda: fit(Clip()), "fit: callbacks: expected a list, got Clip"),
    "callbacks: a number": (lambda: fit(3), "fit: callbacks: expected a list, got int"),
    "callbacks: text": (lambda: fit("Clip"), "fit: callbacks: expected a list, got str"),
    "callbacks: step": (lambda: fit([schedule().step]), "fit: callbacks: .*step.*every_batch"),
    "padding": (lambda: nn.Conv(1, 1, 3, padding="same"), "Conv: padding .*got 'same'"),
    "kernel_size": (lambda: nn.Conv(1, 1, "33"), "Conv: kernel_size .*got '33'"),
    "module": (lambda: nn.ReLU().load_state_dict("x.npz"), "ReLU.load_state_dict: state.*x.npz"),
    "optimizer": (lambda: optimizer().load_state_dict("x.npz"), "SGD.load_state_dict: state.*npz"),
    "schedule": (lambda: schedule().load_state_dict([1]), r"StepLR.load_state_dict: state.*\[1\]"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_error_names_the_argument(name):
    call, message = CASES[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()
