"""Modules of modules: ModuleList, Sequential, ModuleDict."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from minidl import check
from minidl.nn.module import Module
from minidl.replay.watch import capturing, changed, note, recorder


class ModuleList(Module):
    """A list of modules whose names are their places: "0", "1", ... It has no ``forward``: a model calls its items.
    Indexing, slices, ``len``, ``append``, ``insert``, ``extend``, ``pop`` and ``del`` as for a list. TypeError: an
    item that is not a Module.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._layers: list[Module] = []
        self.extend(check.items(type(self).__name__, "modules", modules, "modules"))

    def _names(self) -> list[str]:
        """The name of each module."""
        return [str(i) for i in range(len(self._layers))]

    def _parts(self) -> Mapping[str, Any]:
        return dict(zip(self._names(), self._layers, strict=True)) | {
            name: value for name, value in vars(self).items() if name != "_layers"
        }

    def _read(self) -> list[Module]:
        """The modules, for code that a step which is being captured runs: a later change is noticed."""
        if recorder.on and capturing():
            note("module", self)
        return self._layers

    def append(self, module: Module) -> ModuleList:
        """Adds a module at the end; returns itself."""
        return self.insert(len(self), module)

    def insert(self, index: int, module: Module) -> ModuleList:
        """Adds a module before the one at index; returns itself."""
        index = check.integer(f"{type(self).__name__}.insert", "index", index)
        self._layers.insert(index, _module(self, f" at position {index}", module))
        changed()
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Adds modules at the end; returns itself. Nothing is added if one of them is not a Module."""
        added = check.items(f"{type(self).__name__}.extend", "modules", modules, "modules")
        for place, module in enumerate(added, len(self)):
            _module(self, f" at position {place}", module)
        for module in added:
            self.append(module)
        return self

    def pop(self, index: int = -1) -> Module:
        """Takes the module at index out, and returns it."""
        module = self[check.integer(f"{type(self).__name__}.pop", "index", index)]
        del self[index]
        return module

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._read())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(self._read()[index])
        return self._read()[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self._layers[index] = _module(self, "", module)
        changed()

    def __delitem__(self, index: Any) -> None:
        del self._layers[index]
        changed()


class Sequential(ModuleList):
    """Modules that are called one after the other: y = last(... second(first(x))).

    They are named by their places; those of a dict (``Sequential({"conv": ..., "act": ...})``) by its keys, and are
    attributes then: ``model.conv``. Slices are Sequentials; ``append``, ``insert``, ``pop`` and ``del`` as for
    a list.

    An activation that follows a layer which can apply it in the same pass (`Affine`, `Conv`,
    `BatchNorm`) is given to that layer; the result has the same bits. Where somebody could see the difference
    (a ``forward`` or ``__call__`` that was replaced or is watched) each is called on its own.

    >>> from minidl.nn import Affine, ReLU
    >>> Sequential(Affine(4, 8), ReLU(), Affine(8, 2)).num_parameters()
    58
    """

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        self._own_names: list[str | None] = []  # None: its place
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            super().__init__(layers[0].values())
            names = [_name(self, name) for name in layers[0]]
            for i, name in enumerate(names):
                if (name.isdigit() and name != str(i)) or hasattr(type(self), name):
                    raise ValueError(
                        f"{type(self).__name__}: {name!r} cannot be the name of module {i}: numbers are places, "
                        "and attributes keep their names"
                    )
            self._own_names = [None if name == str(i) else name for i, name in enumerate(names)]
        else:
            super().__init__(layers)  # type: ignore[arg-type]

    def _names(self) -> list[str]:
        return [name or str(i) for i, name in enumerate(self._own_names)]

    def _parts(self) -> Mapping[str, Any]:
        parts = dict(super()._parts())
        del parts["_own_names"]
        return parts

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._own_names:
            return self._read()[self._own_names.index(name)]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name in self._own_names:
            self[self._own_names.index(name)] = value
        else:
            super().__setattr__(name, value)

    def insert(self, index: int, module: Module) -> Sequential:
        """Adds a module before the one at index, named by its place; returns itself."""
        super().insert(index, module)
        self._own_names.insert(index, None)
        return self

    def __delitem__(self, index: Any) -> None:
        super().__delitem__(index)
        del self._own_names[index]

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            return self._read()[index]
        part = type(self)(*self._read()[index])
        part._own_names = self._own_names[index]
        return part

    def forward(self, x: Any) -> Any:
        before: Module | None = None  # it fuses, and waits for what follows
        for layer in self._layers:
            if recorder.on and capturing():
                note("module", layer)  # (its forward may run without a call of it)
            if before is not None:
                activation = layer.fusable()
                x = before.forward(x, activation)  # all that a call of it would run
                before = None
                if activation is not None:
                    continue
            if layer.fuses:
                before = layer
            else:
                x = layer(x)
        return x if before is None else before.forward(x)


class ModuleDict(Module):
    """Modules by name, in the order in which they were added: ``model.heads["age"](x)``. It has no ``forward``.

    As for a dict: indexing, ``in``, ``len``, ``del``, ``keys``, ``values``, ``items``, ``update``, ``pop``;
    iterating gives the names. They are the names of the modules' parameters, too: ``heads.age.weight``.

    Raises:
        TypeError: what is not a Module. ValueError: a name with a dot, or none.

    >>> from minidl.nn import Affine, ReLU
    >>> heads = ModuleDict({"age": Affine(8, 1), "act": ReLU()})
    >>> [name for name, _ in heads.named_parameters()]
    ['age.weight', 'age.bias']
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        # Never changed, but replaced: who keeps the old one sees that something changed.
        self._layers: dict[str, Module] = {}
        self.update(modules)

    def _parts(self) -> Mapping[str, Any]:
        return self._layers | {
            name: value for name, value in vars(self).items() if name != "_layers"
        }

    def _read(self) -> dict[str, Module]:
        """The modules, for code that a step which is being captured runs: a later change is noticed."""
        if recorder.on and capturing():
            note("module", self)
        return self._layers

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds modules, or replaces those that have their names; none if there is anything wrong."""
        if isinstance(modules, Mapping | ModuleDict):
            pairs: Any = modules.items()
        else:
            pairs = check.items("ModuleDict", "modules", modules, "pairs of a name and a module")
            if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
                raise TypeError(
                    f"ModuleDict: modules: expected a dict, or pairs of a name and a module, got {modules!r}"
                )
        added = {_name(self, name): _module(self, f" {name!r}", module) for name, module in pairs}
        self._layers = self._layers | added

    def pop(self, name: str) -> Module:
        """Takes the module of this name out, and returns it."""
        module = self[name]
        del self[name]
        return module

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._read().keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._read().values()

    def items(self) -> ItemsView[str, Module]:
        """(name, module) of each."""
        return self._read().items()

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __contains__(self, name: object) -> bool:
        return name in self._read()

    def __getitem__(self, name: str) -> Module:
        return self._read()[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.update({name: module})

    def __delitem__(self, name: str) -> None:
        self[name]  # (KeyError)
        self._layers = {key: value for key, value in self._layers.items() if key != name}


def _module(container: Module, which: str, module: Any) -> Module:
    """The module, if it is one."""
    if not isinstance(module, Module):
        raise TypeError(
            f"{type(container).__name__}: expected a Module{which}, got {type(module).__name__}"
        )
    return module


def _name(container: Module, name: Any) -> str:
    """The name, if a module can have it: names of parameters have a dot behind it."""
    if not isinstance(name, str):
        raise TypeError(f"{type(container).__name__}: a name must be a string, got {name!r}")
    if not name or "." in name:
        raise ValueError(
            f"{type(container).__name__}: a name must not be empty or have a dot, got {name!r}"
        )
    return name
