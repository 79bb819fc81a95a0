"""What each step of an optimizer does in Python, compiled: it gathers its arrays; if it is part of a captured step, its
call is given the settings that hold now.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl._kernels.runtime.fields import Effect, Fields
from minidl._kernels.runtime.prepared import is_older
from minidl.autograd.tensor import Tensor


def gather(optimizer: Any, slots: list, lr: float, used: int) -> tuple[list, list]:
    """The slots that take part in a step; and one list each of their arrays, gradients, moments (see `state_of`),
    counts and learning rates. used: how many moments a parameter has.
    """
    stepped: list = []
    arrays: list[np.ndarray] = []
    grads: list[np.ndarray] = []
    lrs: list[float] = []
    for slot in slots:
        parameter = slot.parameter
        grad = parameter.grad
        lr_mult = getattr(parameter, "_lr_mult", 1.0)
        if grad is None or lr_mult == 0:
            continue
        data = parameter._data
        if data is not slot.data or len(slot.moments) != used:
            optimizer._prepare(slot, used)
        stepped.append(slot)
        arrays.append(data)
        grads.append(grad._data if isinstance(grad, Tensor) else grad)
        lrs.append(lr * lr_mult)
    return stepped, [arrays, grads, *state_of(optimizer, stepped), lrs]


def state_of(optimizer: Any, stepped: list) -> list:
    """One list per name in MOMENTS, None for those that the settings do not need; and the counts."""
    used = len(stepped[0].moments) if stepped else 0
    lists: list = [None] * len(optimizer.MOMENTS)
    for k in range(used):
        lists[k] = [slot.moments[k] for slot in stepped]
    lists.append([slot.count for slot in stepped])
    return lists


class StepAgain(Effect):
    """What is done before each replay. `recorded` is the call: a kernel's `Recorded`."""

    def __init__(self, optimizer: Any, recorded: Any, stepped: list[Tensor]) -> None:
        self.optimizer, self.recorded = optimizer, recorded
        slots = [slot for group in optimizer.groups for slot in group.slots]
        taking_part = {id(parameter) for parameter in stepped}
        self.stepped = [slot for slot in slots if id(slot.parameter) in taking_part]
        self.arrays = Fields()
        for slot in self.stepped:
            self.arrays.attribute(slot, "count")
            self.arrays.attribute(slot, "moments")
        self.left_alone = [slot for slot in slots if id(slot.parameter) not in taking_part]
        self.without_gradient = [slot.parameter.grad is None for slot in self.left_alone]
        # Gradients that are not computed in the step: the same ones must be there.
        given = [p for p in stepped if is_older(p.grad._data)]
        self.given = [(p, p.grad) for p in given]
        self.settings = self._settings_now()

    def ready(self) -> bool:
        """Whether the step may be replayed: the same parameters take part, and its arrays are those that were recorded.
        The settings may be others.
        """
        if not self.arrays.same():
            return False
        for parameter, grad in self.given:
            if parameter.grad is not grad:
                return False
        for i in range(len(self.left_alone)):
            if (self.left_alone[i].parameter.grad is None) is not self.without_gradient[i]:
                return False
        return self.settings.same() or self._set()

    def _settings_now(self) -> Fields:
        """To see whether one is set later."""
        now = Fields()
        now.attribute(self.optimizer, "groups")
        for group in self.optimizer.groups:
            for name in group:
                now.entry(group, name)
            for slot in group.slots:
                if hasattr(slot.parameter, "_lr_mult"):
                    now.attribute(slot.parameter, "_lr_mult")
                    now.attribute(slot.parameter, "decay")
        return now

    def _set(self) -> bool:
        """Gives the call the settings of now; False if other parameters or moments take part with them."""
        for slot, none in zip(self.left_alone, self.without_gradient, strict=True):
            if not none and slot.parameter._lr_mult != 0:
                return False
        work = []
        for group in self.optimizer.groups:
            used = self.optimizer._moments(group)
            slots = [slot for slot in group.slots if slot in self.stepped]
            for slot in slots:
                if len(slot.moments) != used or getattr(slot.parameter, "_lr_mult", 1.0) == 0:
                    return False
            lrs = [group["lr"] * getattr(slot.parameter, "_lr_mult", 1.0) for slot in slots]
            decays = self.optimizer._decays(group, slots)
            work.append((lrs, decays, *self.optimizer._settings(group)))
        self.recorded.set(work)
        self.settings = self._settings_now()
        return True
