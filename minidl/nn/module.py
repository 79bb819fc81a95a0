"""Module: a thing with parameters and a forward function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from operator import call, setitem
from typing import Any, NamedTuple

import numpy as np

from minidl import check
from minidl.atomic import at_once, starmap
from minidl.autograd.tensor import Tensor, mark_changed, zero_grads
from minidl.io.state import StateDict
from minidl.nn.hooks import Inspected
from minidl.nn.parameter import Parameter
from minidl.porting import Buffers
from minidl.replay.watch import capturing, changed, note, outside_of_steps, recorder


class Mismatch(NamedTuple):
    """The names in which a state and a module differ."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Inspected):
    """Base of all layers and models: write ``forward``, assign parts as attributes, call it.

    A layer is a plain object. What it holds as attributes, in the order of assignment, is what it consists of:

    - a `Parameter` is trained;
    - a `Module` is a child, whose parameters belong to this one too, under ``child.name``;
    - an ndarray is a buffer: saved, not trained (an attribute that starts with an underscore is not one);
    - lists, tuples and dicts are looked into, so that no parameter in them is left untrained.

    >>> from minidl.nn import Affine
    >>> class Net(Module):
    ...     def __init__(self):
    ...         self.layers = [Affine(2, 3), Affine(3, 1)]
    >>> [name for name, p in Net().named_parameters()]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    training = True
    # Whether forward takes, as its second argument, an activation to apply in the same pass.
    fuses = False
    # What PyTorch calls those of its parameters that have another name there.
    torch_names: Mapping[str, str] = {}

    def fusable(self) -> tuple | None:
        """What this module is to a layer that fuses: (name, *parameters) of an activation, or None."""
        return None

    def runs(self, forward: Callable) -> bool:
        """Whether a call runs this method of its class and nothing else: no subclass, no hooks, nobody who watches or
        has replaced ``forward`` or ``__call__``, who would see that a layer was fused with its neighbour.
        """
        own, alone = type(self), self._hooks is None and "forward" not in self.__dict__
        return alone and own.forward is forward and own.__call__ is _CALL

    def forward(self, *inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if recorder.on and capturing():
            note("module", self)
        if self._hooks is not None:
            return self._hooks.call(self, inputs, options)
        return self.forward(*inputs, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, _NEVER_TRAINED):
            before = vars(self).get(name)
            if isinstance(before, Parameter | Module) and not any(_unpacked(name, value)):
                raise TypeError(_replaces(self, name, before, value))
        _SET(self, name, value)
        changed()

    # ── What it consists of ───────────────────────────────────────────────────────────────────────

    def _parts(self) -> Mapping[str, Any]:
        """What is looked through for parameters, buffers and children, by name."""
        return vars(self)

    def _own(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of its own parameters, buffers and children."""
        for name, value in self._parts().items():
            if isinstance(value, np.ndarray):
                if not name.startswith("_"):
                    yield name, value
            else:
                yield from _unpacked(name, value)

    def _all(
        self, prefix: str = "", above: tuple[Module, ...] = (), torch_names: bool = False
    ) -> Iterator[tuple[str, Any]]:
        """(name, value) of all parameters and buffers; what is shared comes under each name."""
        for name, value in self._own():
            if not isinstance(value, Module):
                yield prefix + (self.torch_names.get(name, name) if torch_names else name), value
            elif value is not self and value not in above:  # a child may point back to its parent
                yield from value._all(f"{prefix}{name}.", (*above, self), torch_names)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter), each parameter once, under its first name. The order never varies."""
        seen = set()
        for name, value in self._all():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """The arrays that are saved but not trained, by name."""
        return Buffers(
            (name, value) for name, value in self._all() if isinstance(value, np.ndarray)
        )

    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.size for parameter in self.parameters())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules one level below, each once."""
        seen = {id(self)}
        for name, value in self._own():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        """The modules one level below."""
        return (child for _, child in self.named_children())

    def named_modules(
        self, prefix: str = "", seen: set[int] | None = None
    ) -> Iterator[tuple[str, Module]]:
        """(name, module) of itself (named "") and all modules below, each once, parents first."""
        seen = set() if seen is None else seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """Itself and all modules below it."""
        return (module for _, module in self.named_modules())

    # ── What is done to all of it ─────────────────────────────────────────────────────────────────

    def train(self, mode: bool = True) -> Module:
        """Sets ``training``, which dropout looks at, here and below; returns itself."""
        if not isinstance(mode, bool):
            raise TypeError(f"train: mode must be True or False, got {mode!r}")
        changed()
        at_once(map(_SET, list(self.modules()), repeat("training"), repeat(mode)))
        return self

    def eval(self) -> Module:
        """``train(False)``."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        zero_grads(list(self.parameters()))

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Calls fn on every module, children first; returns itself."""
        seen = set()

        def visit(module: Module) -> None:
            seen.add(id(module))
            for child in module.children():
                if id(child) not in seen:
                    visit(child)
            fn(module)

        visit(self)
        return self

    def astype(self, dtype: Any) -> Module:
        """Converts parameters, gradients and float buffers to float32 or float64; returns itself.

        An optimizer built before keeps state of the old dtype and will refuse to step: build it
            afterwards.
        """
        outside_of_steps(f"{type(self).__name__}.astype")
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"astype: expected float32 or float64, got {dtype}")
        parameters, changes = list(self.parameters()), list[tuple]()
        for parameter in parameters:
            changes.append((setattr, parameter, "_data", parameter._data.astype(dtype)))
            if parameter.grad is not None:
                grad = Tensor(parameter.grad._data, dtype=dtype)
                changes.append((setattr, parameter, "grad", grad))
        for module in self.modules():
            for name, value in module._own():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    changes.append((_SET, module, name, value.astype(dtype)))
        changed()
        mark_changed(parameters)
        at_once(starmap(call, changes))
        return self

    # ── State ─────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self, torch_names: bool = False) -> StateDict:
        """Copies of all parameters and buffers by name, shared ones under each name;
        ``.multipliers`` beside them.

        Args:
            torch_names: True gives the names that PyTorch has for them (a PReLU's slope is its
                ``weight``), for a file that PyTorch is to load.
        """
        state = StateDict()
        for name, value in self._all(torch_names=torch_names):
            state[name] = np.array(value)
            if isinstance(value, Parameter):
                state.multipliers[name] = {"lr_mult": value.lr_mult, "decay": value.decay}
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Mismatch:
        """Copies a state's values into the parameters and buffers, in place and in their dtypes.

        Values may be arrays, Tensors or anything that NumPy can read; PyTorch's names will do where
        they are others (a PReLU's ``weight``). Everything is checked before anything changes. A
        shared parameter needs only one of its names. ``lr_mult`` and ``decay`` are restored where
        the state has them (``state.multipliers``).

        Args:
            strict: names that are missing or not known raise, too; else they are only returned.

        Raises:
            RuntimeError: names or shapes do not match; the message lists all of them.
        """
        outside_of_steps(f"{type(self).__name__}.load_state_dict")
        check.state(f"{type(self).__name__}.load_state_dict", state)
        own = dict(self._all())
        state = _renamed(state, self)
        given = {id(own[name]) for name in state if name in own}
        missing = [name for name, value in own.items() if id(value) not in given]
        unexpected = [name for name in state if name not in own]
        problems = []
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"not known here: {', '.join(map(str, unexpected))}")
        values = {name: np.asarray(state[name]) for name in own if name in state}
        for name, value in values.items():
            problems += _misfit(name, own[name], value)
        multipliers = {
            name: (check.number(name, "lr_mult", m["lr_mult"], 0.0), bool(m["decay"]))
            for name, m in getattr(state, "multipliers", {}).items()
            if name in values and isinstance(own[name], Parameter)
        }
        if problems:
            raise RuntimeError(
                f"{type(self).__name__}.load_state_dict:" + "".join(f"\n  {p}" for p in problems)
            )
        changes = [change for name in values for change in _changes(own[name], values[name])]
        for name, (lr_mult, decay) in multipliers.items():
            changes.append((setattr, own[name], "_lr_mult", lr_mult))
            changes.append((setattr, own[name], "decay", decay))
        mark_changed([own[name] for name in values if isinstance(own[name], Parameter)])
        at_once(starmap(call, changes))
        return Mismatch(missing, unexpected)

    # ── Text ──────────────────────────────────────────────────────────────────────────────────────

    def extra_repr(self) -> str:
        """The settings, as shown between the parentheses of the repr."""
        return ""

    def __repr__(self) -> str:
        name = type(self).__name__
        own = [_described(key, value) for key, value in self._own() if isinstance(value, Parameter)]
        inside = "; ".join(part for part in (self.extra_repr(), ", ".join(own)) if part)
        children = [f"({key}): {child!r}" for key, child in self.named_children()]
        if not children:
            return f"{name}({inside})"
        lines = "\n".join(([inside] if inside else []) + children).splitlines()
        return f"{name}(\n" + "".join(f"  {line}\n" for line in lines) + ")"


_CALL = Module.__call__
_SET = object.__setattr__
_NEVER_TRAINED = (Tensor, np.ndarray, np.generic, int, float, str, list, tuple)


def _replaces(module: Module, name: str, before: Parameter | Module, value: Any) -> str:
    """Why a parameter or a layer is not replaced by what no optimizer would ever train."""
    what = f"{type(module).__name__}.{name}: {type(value).__name__} is not trained, unlike the {type(before).__name__}"
    is_module = isinstance(before, Module)
    return f"{what}; {'None leaves it out' if is_module else f'{name}.data = ..., or nn.Parameter(...)'}"


def _unpacked(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The Modules and Parameters in value: itself, or what lists, tuples and dicts hold."""
    if isinstance(value, Module | Parameter):
        yield name, value
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _unpacked(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unpacked(f"{name}.{key}", item)


def _described(name: str, parameter: Parameter) -> str:
    shape = (
        "of a shape inferred from the first batch" if parameter.waits_for_shape else parameter.shape
    )
    lr_mult = f" lr_mult={parameter.lr_mult:g}" if parameter.lr_mult != 1 else ""
    return f"{name} {shape}{lr_mult}"


def _renamed(state: Mapping[str, Any], module: Module) -> Mapping[str, Any]:
    """The state under the module's own names, where it has PyTorch's."""
    both = zip(module._all(), module._all(torch_names=True), strict=True)
    pairs = [(here, there) for (here, _), (there, _) in both if here != there]
    names = {there: here for here, there in pairs if there in state and here not in state}
    if not names:
        return state
    parts = [state, getattr(state, "multipliers", {})]
    return StateDict(*({names.get(name, name): part[name] for name in part} for part in parts))


def _misfit(name: str, own: Parameter | np.ndarray, value: np.ndarray) -> list[str]:
    """What is wrong with value as the new value of own, as a list of no or one message."""
    waits_for_shape = isinstance(own, Parameter) and own.waits_for_shape
    if value.shape != own.shape and not waits_for_shape:
        return [f"{name}: expected shape {own.shape}, got {value.shape}"]
    if not np.can_cast(value.dtype, own.dtype, "same_kind"):
        return [f"{name}: expected {own.dtype}, got {value.dtype}"]
    if not (own._data if isinstance(own, Parameter) else own).flags.writeable:
        return [f"{name}: its array is read-only"]
    return []


def _changes(own: Parameter | np.ndarray, value: np.ndarray) -> list[tuple]:
    """The calls that give own this value. It is converted here, as that may raise."""
    value = value.astype(own.dtype, copy=False)
    array = own._data if isinstance(own, Parameter) else own
    if array.shape == value.shape:
        return [(setitem, array, ..., value)]
    return [(setattr, own, "_data", value.copy()), (setattr, own, "_initializer", None)]
