"""What all optimizers have in common: how a step is done, state and checks.

The formulas are in `minidl/optim/algorithms.py` and `minidl/_kernels/optim/formulas.pxd`. A parameter takes part in a
step if it has a gradient and its ``lr_mult`` is not 0; all others are left as they are, their
moments and step count included. A parameter that is frozen (``requires_grad`` False) gets no
gradient, and is trained from the moment on when it is thawed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from operator import call, setitem
from typing import Any, ClassVar

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import (
    begins,
    capturing,
    note,
    outlives,
    outside_of_steps,
    recorder,
    refuse,
)
from minidl.atomic import at_once, starmap
from minidl.autograd.tensor import Tensor, mark_changed, zero_grads
from minidl.optim.again import StepAgain, gather, state_of
from minidl.optim.groups import Group, Slot, check_parameters, checked, groups_of


class Optimizer:
    """Base of the optimizers: groups, checks, state, and steps that are done wholly or not at all.

    A subclass names its moments and writes ``_step(group, slots, arrays, grads, lrs, decays)``, which
    changes the arrays of one group, and ``slot.moments``, in place. Whatever that raises, Ctrl-C too,
    everything is put back as it was, at the price of a copy. The optimizers of minidl need none: they
    name a kernel instead, which steps all groups in one call, and write `_settings`.

    Attributes:
        groups: the parameter groups, each a dict of "params" and settings.
    """

    MOMENTS: ClassVar[tuple[str, ...]] = ()  # the names of a parameter's moments in the state
    ADDED: ClassVar[dict[str, Any]] = {}  # settings that older states lack, and what held then
    kernel: ClassVar[str] = ""  # of minidl._kernels, which steps all groups at once

    def __init__(self, params: Any, options: dict[str, Any]) -> None:
        name = type(self).__name__
        self.groups = [
            Group(name, members, options | own) for members, own in groups_of(name, params, options)
        ]
        check_parameters(name, [p for group in self.groups for p in group["params"]])

    @property
    def lr(self) -> float:
        """The learning rate (the first group's). Setting it sets that of all groups."""
        return self.groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        outside_of_steps(f"{type(self).__name__}.lr")
        value = checked(type(self).__name__, "lr", value)
        at_once(map(dict.__setitem__, self.groups, repeat("lr"), repeat(value)))

    def zero_grad(self) -> None:
        """Forgets the gradients of all parameters."""
        zero_grads([p for group in self.groups for p in group["params"]])

    def step(self) -> None:
        """Changes all parameters that have a gradient, in place: those of all groups, or none.

        Raises:
            ValueError: a gradient has another shape or dtype than its parameter, or a parameter's
                array cannot be written in place.
        Whatever is raised, MemoryError and KeyboardInterrupt too: either nothing has changed, or the
        whole step was done.
        """
        batches: list[tuple] = []
        stepped: list[Tensor] = []
        for group in self.groups:
            slots, lists = self._gather(group)
            batches.append((group, slots, lists))
            stepped += [slot.parameter for slot in slots]
        # Marked first: a change without its mark would be worse than a mark without its change.
        mark_changed(stepped)
        if recorder.on and capturing():
            begins(type(self).__name__)
        if type(self)._step is Optimizer._step:
            work = []
            for group, _, lists in batches:
                work.append((*lists, *self._settings(group)))
            recorded = getattr(K, self.kernel)(work)
            if recorder.on and capturing():
                note("before", StepAgain(self, recorded, stepped))
        else:
            refuse("a step of its own: it is Python, which would not run again")
            self._step_or_undo([batch for batch in batches if batch[1]])

    def _step_or_undo(self, batches: list[tuple]) -> None:
        """The `_step` of a subclass for each group; what it raises undoes all of them."""
        undo: list[tuple] = []
        for _, slots, (arrays, *_) in batches:
            for slot, array in zip(slots, arrays, strict=True):
                undo.append((setattr, slot, "moments", slot.moments))
                undo.append((setattr, slot.parameter, "_data", array))
                undo += [(setitem, a, ..., a.copy()) for a in (array, slot.count, *slot.moments)]
        try:
            for group, slots, (arrays, grads, *_, lrs, decays) in batches:
                for slot in slots:
                    slot.count[...] += 1
                self._step(group, slots, arrays, grads, lrs, decays)
        except BaseException:
            at_once(starmap(call, undo))
            raise

    def _gather(self, group: Group) -> tuple[list[Slot], list]:
        """The slots that take part, and for the kernel one list each of their arrays, gradients, moments, counts,
        learning rates and decays.
        """
        slots, lists = gather(self, group.slots, group["lr"], self._moments(group))
        arrays, grads = lists[0], lists[1]
        misfit = K.first_misfit(arrays, grads)
        if misfit >= 0:
            data, grad = arrays[misfit], grads[misfit]
            raise ValueError(
                f"{type(self).__name__}.step: {self._name_of(slots[misfit])}: expected "
                f"a gradient of shape {data.shape} and dtype {data.dtype}, "
                f"got {grad.shape}, {grad.dtype}"
            )
        return slots, [*lists, self._decays(group, slots)]

    def _decays(self, group: Group, slots: list[Slot]) -> list[float]:
        """The weight decay of each slot's parameter."""
        decays = [0.0] * len(slots)
        if group.get("weight_decay"):
            for i, slot in enumerate(slots):
                if getattr(slot.parameter, "decay", True):
                    decays[i] = group["weight_decay"]
        return decays

    def _prepare(self, slot: Slot, count: int) -> None:
        """Fits a slot to an array that is new to it: the moments must lie in memory as it does."""
        data = slot.parameter._data
        what = f"{type(self).__name__}.step: {self._name_of(slot)}"
        if not (data.flags.writeable and data.flags.aligned and _is_dense(data)):
            raise ValueError(
                f"{what}: its array is read-only or not one block of memory; "
                "assign a copy: p.data = p.data.copy()"
            )
        for moment in slot.moments:
            if moment.shape != data.shape or moment.dtype != data.dtype:
                raise ValueError(
                    f"{what}: it is now {data.dtype}{data.shape}, its state in the optimizer "
                    f"{moment.dtype}{moment.shape}; build the optimizer after astype()"
                )
        moments = [outlives(np.zeros_like(data)) for _ in range(count)]
        for new, old in zip(moments, slot.moments, strict=False):
            new[...] = old
        slot.moments = tuple(moments)
        slot.data = data

    def _name_of(self, slot: Slot) -> str:
        place = [id(s) for group in self.groups for s in group.slots].index(id(slot))
        name = getattr(slot.parameter, "name", None)
        return f"parameter {place}" + (f" ({name})" if name else "")

    def _moments(self, group: Group) -> int:
        """How many moments a parameter of this group has."""
        return len(self.MOMENTS)

    def _settings(self, group: Group) -> tuple:
        """The settings of a group that the kernel takes, after the lists of `_gather`."""
        raise NotImplementedError(
            f"{type(self).__name__} has neither _step() nor a kernel's _settings()"
        )

    def _step(
        self, group: Group, slots: list, arrays: list, grads: list, lrs: list, decays: list
    ) -> None:
        """Steps one group; `slots` have counted this step already."""
        for slot in slots:
            slot.count[...] -= 1  # the kernel counts itself
        work = (arrays, grads, *state_of(self, slots), lrs, decays, *self._settings(group))
        getattr(K, self.kernel)([work])

    # State.

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on with the same bits.

        Settings, multipliers, step counts and copies of the moments.

        A tree of dicts, lists, arrays and plain values, which `minidl.save` can keep.
        """
        return {
            "optimizer": type(self).__name__,
            "groups": [
                group.options() | {"parameters": [self._slot_state(slot) for slot in group.slots]}
                for group in self.groups
            ],
        }

    def _slot_state(self, slot: Slot) -> dict[str, Any]:
        return {
            "lr_mult": getattr(slot.parameter, "lr_mult", 1.0),
            "decay": getattr(slot.parameter, "decay", True),
            "step": slot.step,
            **{
                name: m.copy()
                for name, m in zip(self.MOMENTS, slot.moments, strict=False)
                if slot.step  # (before the first step there is nothing that they would tell)
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave. Everything is checked before anything changes.

        Raises:
            ValueError: the state of another optimizer, of other groups or parameters.
        """
        name = f"{type(self).__name__}.load_state_dict"
        outside_of_steps(name)
        check.state(name, state)
        if state.get("optimizer") != type(self).__name__:
            raise ValueError(f"{name}: this is the state of {state.get('optimizer')!r}")
        saved = state["groups"]
        if len(saved) != len(self.groups):
            raise ValueError(f"{name}: expected {len(self.groups)} groups, got {len(saved)}")
        restored = []
        for i, (group, its) in enumerate(zip(self.groups, saved, strict=True)):
            its = {**self.ADDED, **its}
            missing = [key for key in (*group.options(), "parameters") if key not in its]
            if missing:
                raise ValueError(f"{name}: group {i} lacks {missing}")
            if len(its["parameters"]) != len(group.slots):
                raise ValueError(
                    f"{name}: group {i}: expected {len(group.slots)} parameters, "
                    f"got {len(its['parameters'])}"
                )
            options = {key: checked(name, key, its[key]) for key in group.options()}
            pairs = zip(group.slots, its["parameters"], strict=True)
            restored.append((options, [self._checked(slot, values) for slot, values in pairs]))
        changes: list[tuple] = []
        for group, (options, slots) in zip(self.groups, restored, strict=True):
            changes += [(dict.__setitem__, group, key, value) for key, value in options.items()]
            for slot, (lr_mult, decay, count, moments) in zip(group.slots, slots, strict=True):
                changes.append((setattr, slot, "data", None))
                changes.append((setattr, slot, "count", count))
                changes.append((setattr, slot, "moments", moments))
                if hasattr(slot.parameter, "lr_mult"):
                    changes.append((setattr, slot.parameter, "_lr_mult", lr_mult))
                    changes.append((setattr, slot.parameter, "decay", decay))
        at_once(starmap(call, changes))

    def _checked(self, slot: Slot, values: Mapping[str, Any]) -> tuple:
        """The saved values of one parameter, as copies."""
        what = f"{type(self).__name__}.load_state_dict: {self._name_of(slot)}"
        like = slot.parameter._data
        moments = tuple(np.array(values[key], like.dtype) for key in self.MOMENTS if key in values)
        for moment in moments:
            if moment.shape != like.shape:
                raise ValueError(
                    f"{what}: expected moments of shape {like.shape}, got {moment.shape}"
                )
        return (
            check.number(what, "lr_mult", values["lr_mult"], 0.0),
            check.flag(what, "decay", values["decay"]),
            np.array(check.integer(what, "step", values["step"], 0)),
            moments,
        )

    def __repr__(self) -> str:
        groups = [
            ", ".join(f"{name}={value}" for name, value in group.options().items())
            + f"; {len(group.slots)} parameters"
            for group in self.groups
        ]
        return f"{type(self).__name__}(" + " | ".join(groups) + ")"


def _is_dense(array: np.ndarray) -> bool:
    """One block without gaps, the axes in any order."""
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return array.size == 0 or array.transpose(order).flags.c_contiguous
