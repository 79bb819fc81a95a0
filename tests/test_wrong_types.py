"""Arguments of the wrong type: the error names the function or layer, and the argument."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, nn, optim
from minidl import functional as F


class Clip:
    def on_backward_end(self, training):
        pass


def fit(callbacks):
    model = nn.Affine(2, 2)
    loader = [(np.ones((1, 2), "float32"), np.zeros(1, int))]
    steps = optim.SGD(model.parameters(), 0.1)
    md.fit(model, loader, "cross_entropy", steps, 1, callbacks=callbacks, progress=False)


def optimizer():
    return optim.SGD(nn.Affine(2, 2).parameters(), 0.1)


def schedule():
    return optim.StepLR(optimizer(), 1)


def ones():
    return Tensor(np.ones(2), requires_grad=True)


def ids():
    return Tensor(np.ones(2, int))


class Own(md.Op):
    def __init__(self, gradient):
        self.gradient = gradient

    def forward(self, x):
        return 2 * x

    def backward(self, gy):
        return self.gradient(gy)


def returned(gradient):
    Own(gradient)(ones()).sum().backward()


def grad_twice():
    x = ones()
    y = (x * x).sum()
    md.grad(y, x)
    md.grad(y, x)


def assigned(value):
    x = Tensor(np.ones(2))
    before = x.data.copy()
    try:
        x[:] = value
    finally:
        assert (x.data == before).all()


CASES = {
    "callbacks: a callback": (lambda: fit(Clip()), "fit: callbacks: expected a list, got Clip"),
    "callbacks: a number": (lambda: fit(3), "fit: callbacks: expected a list, got int"),
    "callbacks: text": (lambda: fit("Clip"), "fit: callbacks: expected a list, got str"),
    "callbacks: step": (lambda: fit([schedule().step]), "fit: callbacks: .*step.*every_batch"),
    "padding": (lambda: nn.Conv(1, 1, 3, padding="valid"), "Conv: padding .*got 'valid'"),
    "same": (lambda: nn.Conv(1, 1, 3, 2, "same"), 'Conv: padding "same" needs stride 1'),
    "kernel_size": (lambda: nn.Conv(1, 1, "33"), "Conv: kernel_size .*got '33'"),
    "module": (lambda: nn.ReLU().load_state_dict("x.npz"), "ReLU.load_state_dict: state.*x.npz"),
    "optimizer": (lambda: optimizer().load_state_dict("x.npz"), "SGD.load_state_dict: state.*npz"),
    "schedule": (lambda: schedule().load_state_dict([1]), r"StepLR.load_state_dict: state.*\[1\]"),
    "save": (lambda: md.save({}, 3), "save: path must be a string or a Path, got 3"),
    "load": (lambda: md.load(None), "load: path must be a string or a Path, got None"),
    "fused activation": (
        lambda: F.affine(ones(), [[1.0, 2.0]], activation=("leaky_relu", [0.1])),
        "affine: activation: expected a name or",
    ),
    "below": (lambda: ones() < "a", r"less \(<\): a tensor cannot be compared with 'a'"),
    "complex below": (
        lambda: ones() < np.array([1j, 2]),
        r"less \(<\): a tensor cannot be compared with array",
    ),
    "complex equal": (lambda: ones() == 1j, r"equal \(==\): a tensor cannot be compared with 1j"),
    "assigned None": (lambda: assigned(None), r"Tensor: x\[index\] = value: .* got None"),
    "assigned array of None": (
        lambda: assigned(np.array([None, 1.0])),
        r"Tensor: x\[index\] = value: expected numbers, got array\(\[None.*object",
    ),
    "assigned text": (lambda: assigned(["1", "2"]), r"Tensor: x\[index\] = value: .*<U1"),
    "assigned complex": (lambda: assigned(1 + 2j), r"Tensor: x\[index\] = value: .*complex128"),
    "assigned ragged": (
        lambda: assigned([[1], [1, 2]]),
        r"Tensor: x\[index\] = value: .*one length",
    ),
    "ragged": (
        lambda: ones() >= [[1], [1, 2]],
        r"greater_equal \(>=\): a tensor cannot be compared with",
    ),
    "shapes": (
        lambda: ones() == np.ones(3),
        r"equal \(==\): shapes \(2,\) and \(3,\) do not fit together",
    ),
    "add": (lambda: ones() + np.ones(3, int), r"add: .*\(2,\).*\(3,\)"),
    "integers": (lambda: ids() + np.ones(3, int), "add: operands could not be broadcast"),
    "where": (lambda: md.where(ids(), ids(), np.ones(3, int)), "where: operands could not be"),
    "text": (lambda: ones() + "a", "Tensor: dtype <U1 is not supported"),
    "op": (
        lambda: md.ops.arithmetic.Exp()(np.ones(2)),
        "Exp: input 0 must be a Tensor, got ndarray",
    ),
    "activation": (lambda: F.affine(ones(), [[1, 1]], activation=""), "affine: activation.*got ''"),
    "ndarray": (
        lambda: returned(lambda x: np.ones(2)),
        "Own: its backward must return Tensors.*nda",
    ),
    "shape": (
        lambda: returned(lambda x: Tensor(np.ones(3))),
        r"Own: .*\(3,\) for input 0, .*\(2,\)",
    ),
    "freed": (lambda: grad_twice(), "pass retain_graph=True .or create_graph=True"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_error_names_the_argument(name):
    call, message = CASES[name]
    with pytest.raises((TypeError, ValueError, RuntimeError), match=message):
        call()


@pytest.mark.parametrize("other", ["a", None, object(), [[1], [1, 2]], np.array(["a", "b"])])
def test_what_is_no_number_is_not_equal(other):
    x = ones()
    assert (x == other) is False and (x != other) is True
    assert x not in [other, "b", None] and x in [other, x]
    assert {x: 1}[x] == 1
