"""A model after a trial run as before it: whatever its forward pass does to it is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from minidl.nn import Module
from minidl.random import generator
from minidl.replay.watch import changed


@contextmanager
def unchanged(model: Module) -> Iterator[None]:
    """After the block every module has the attributes that it had, arrays, lists and dicts among them their contents;
    parameters that waited for a shape wait again; the generators of random numbers (minidl's own, NumPy's and those
    that modules hold) go on from where they were.
    """
    undo: list[Callable] = [
        partial(setattr, generator().bit_generator, "state", generator().bit_generator.state),
        partial(np.random.set_state, np.random.get_state()),
    ]
    for module in model.modules():
        own = dict(vars(module))
        undo += [step for value in own.values() for step in _undoing(value)]
        undo.append(partial(_restore, vars(module), own))
    for parameter in model.parameters():
        if parameter.waits_for_shape:
            undo.append(partial(setattr, parameter, "_data", parameter._data))
            undo.append(partial(setattr, parameter, "_initializer", parameter._initializer))
    try:
        yield
    finally:
        for step in undo:
            step()
        changed()


def _undoing(value: Any) -> Iterator[Callable]:
    """What gives a value of a module's its present contents back."""
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            yield partial(np.copyto, value, value.copy())
    elif isinstance(value, np.random.Generator):
        yield partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    elif type(value) is list:
        yield partial(value.__setitem__, slice(None), list(value))
    elif type(value) is dict:
        yield partial(_restore, value, dict(value))


def _restore(dictionary: dict, contents: dict) -> None:
    dictionary.clear()
    dictionary.update(contents)
