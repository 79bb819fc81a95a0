"""A step of an optimizer that is part of a captured step: its call is given the settings that hold now."""

from __future__ import annotations

from typing import Any

from minidl._kernels.runtime.prepared import is_older
from minidl.autograd.tensor import Tensor


class StepAgain:
    """What is done before each replay. `recorded` is the call: a kernel's `Recorded`."""

    def __init__(self, optimizer: Any, recorded: Any, stepped: list[Tensor]) -> None:
        self.optimizer, self.recorded = optimizer, recorded
        slots = [slot for group in optimizer.groups for slot in group.slots]
        taking_part = {id(parameter) for parameter in stepped}
        self.stepped = [slot for slot in slots if id(slot.parameter) in taking_part]
        self.counts = [slot.count for slot in self.stepped]
        self.moments = [slot.moments for slot in self.stepped]
        self.left_alone = [slot for slot in slots if id(slot.parameter) not in taking_part]
        self.without_gradient = [slot.parameter.grad is None for slot in self.left_alone]
        # Gradients that are not computed in the step: the same ones must be there.
        given = [p for p in stepped if is_older(p.grad._data)]
        self.given = [(p, p.grad) for p in given]
        # To see whether settings were changed.
        self.values = [list(group.values()) for group in optimizer.groups]
        self.parameters = [slot.parameter for slot in slots if hasattr(slot.parameter, "_lr_mult")]
        self.rates = [(p._lr_mult, p.decay) for p in self.parameters]

    def ready(self) -> bool:
        """Whether the step may be replayed: the same parameters take part, and its arrays are those that were recorded.
        The settings may be others.
        """
        for i in range(len(self.stepped)):
            slot = self.stepped[i]
            if slot.count is not self.counts[i] or slot.moments is not self.moments[i]:
                return False
        for parameter, grad in self.given:
            if parameter.grad is not grad:
                return False
        for i in range(len(self.left_alone)):
            if (self.left_alone[i].parameter.grad is None) is not self.without_gradient[i]:
                return False
        return not self._settings_changed() or self._set()

    def _settings_changed(self) -> bool:
        groups = self.optimizer.groups
        for i in range(len(self.values)):
            before = self.values[i]
            for k, value in enumerate(groups[i].values()):
                if value is not before[k]:
                    return True
        for i in range(len(self.parameters)):
            parameter, (lr_mult, decay) = self.parameters[i], self.rates[i]
            if parameter._lr_mult is not lr_mult or parameter.decay is not decay:
                return True
        return False

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
        self.values = [list(group.values()) for group in self.optimizer.groups]
        self.rates = [(p._lr_mult, p.decay) for p in self.parameters]
        return True
