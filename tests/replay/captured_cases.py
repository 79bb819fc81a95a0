"""Steps that are made twice, to be run plainly and captured, and the comparison of both."""

from itertools import pairwise

import numpy as np

import minidl as md
from minidl import functional as F
from minidl import nn, optim

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "damped": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "AMSGrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01, weight_decay=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.1),
    "Adadelta": lambda p: optim.Adadelta(p),
}


def network(sizes=(4, 16, 8, 3), activation=nn.Tanh, dtype="float32"):
    md.manual_seed(3)
    layers = []
    for n, m in pairwise(sizes):
        layers += [nn.Affine(n, m), activation()]
    return nn.Sequential(*layers[:-1]).astype(dtype)


class Training:
    """A model, its optimizer and a step; made twice, it does the same twice."""

    def __init__(self, model, optimizer=None, loss=F.mse_loss, zero=True):
        self.model, self.loss, self.zero = model, loss, zero
        self.optimizer = optimizer(model.parameters()) if optimizer else None

    def step(self, x, y):
        self.model.zero_grad()
        loss = self.loss(self.model(x), y)
        loss.backward()
        if self.optimizer:
            self.optimizer.step()
        return loss


def same(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


def same_state(plain, captured):
    for p, q in zip(plain.model.parameters(), captured.model.parameters(), strict=True):
        same(p._data, q._data)
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            same(p.grad._data, q.grad._data)
    if plain.optimizer:
        assert repr(plain.optimizer.state_dict()) == repr(captured.optimizer.state_dict())


def batches(count, n=12, inputs=4, outputs=3, labels=False, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x = rng.standard_normal((n, inputs)).astype(dtype)
        y = rng.integers(0, outputs, n) if labels else rng.standard_normal((n, outputs))
        yield md.Tensor(x), y if labels else md.Tensor(y.astype(dtype))
