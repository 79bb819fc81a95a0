"""Recording what goes through the modules of a model, for the monitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.autograd.engine import grad
from minidl.autograd.modes import enable_grad
from minidl.autograd.tensor import Tensor, plain
from minidl.nn import GLU, CReLU, Maxout, Module, PReLU, RReLU
from minidl.nn.activation import Activation

ELEMENTWISE = (Activation, PReLU, RReLU)
ACTIVATIONS = (*ELEMENTWISE, CReLU, GLU, Maxout)  # not Softmax and LogSoftmax: scores, not units


@contextmanager
def watch(modules: Sequence[Module], fn: Callable[[Module, Any, Any], Any]) -> Iterator[None]:
    """While the block runs, calls ``fn(module, x, y)`` with the first input and the output of each
    forward pass of these modules.

    x and y are Tensors (x is whatever the module was called with). A module that works in place
    overwrites x, so fn gets a copy. Afterwards the modules are as they were.

    >>> from minidl.nn import ReLU, Sequential
    >>> model = Sequential(ReLU())
    >>> with watch(list(model), lambda module, x, y: print(module, y.data)):
    ...     _ = model([-1.0, 2.0])
    ReLU() [0. 2.]
    """
    before = [(vars(m), vars(m).get("forward")) for m in modules]
    for module in {id(module): module for module in modules}.values():
        vars(module)["forward"] = _Watched(module, module.forward, fn)
    try:
        yield
    finally:
        for own, forward in before:
            own.pop("forward", None)
            if forward is not None:
                own["forward"] = forward


class _Watched:
    """Stands in for a module's forward: the same call, and then fn."""

    def __init__(self, module: Module, forward: Callable, fn: Callable) -> None:
        self.module, self.forward, self.fn = module, forward, fn

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        x = inputs[0] if inputs else None
        if getattr(self.module, "inplace", False):
            x = np.array(plain(x))
        y = self.forward(*inputs, **options)
        self.fn(self.module, x, y)
        return y


def activation_layers(model: Module) -> list[tuple[str, Module]]:
    """(label, module) of a model's activation layers, also of those that apply one in the same pass
    (``Affine(..., activation="relu")``). Softmax is not one of them.
    """
    return [
        (label, module)
        for label, module in labelled(model)
        if isinstance(module, ACTIVATIONS) or isinstance(getattr(module, "activation", None), str)
    ]


def labelled(model: Module) -> list[tuple[str, Module]]:
    """(label, module) of itself and all modules below: "1 ReLU", the name and the class."""
    return [
        (f"{name} {type(module).__name__}".lstrip(), module)
        for name, module in model.named_modules()
    ]


def is_elementwise(module: Module) -> bool:
    """Whether it is an activation layer that gives one number for each it is given."""
    return isinstance(module, ELEMENTWISE)


def slope(module: Module, x: np.ndarray) -> np.ndarray:
    """dy/dx of a module that works element by element, in evaluation mode."""
    forward = module.forward
    while isinstance(forward, _Watched):
        forward = forward.forward
    training = module.training
    module.training = False  # nothing is drawn
    try:
        with enable_grad():
            leaf = Tensor(x, requires_grad=True)
            y = forward(leaf * 1 if getattr(module, "inplace", False) else leaf)
            return grad(y, leaf, Tensor(np.ones_like(y._data)))._data
    finally:
        module.training = training
