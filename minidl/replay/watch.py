"""What Python code reads that is no argument: the names that a function finds outside, and the attributes of modules.

A record is right as long as they are what they were. Names are compared in each call; modules only after an attribute
of some module was set, which `changed` counts.
"""

from __future__ import annotations

from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from minidl._kernels.runtime.fields import Fields
from minidl._kernels.runtime.prepared import capturing, note, outlives, outside_of_steps, recorder
from minidl._kernels.runtime.shared import Count, add, value_of

__all__ = ["Watch", "capturing", "changed", "note", "outlives", "outside_of_steps", "recorder"]

_changes = Count()  # attributes of modules that were set, in this process


def changed() -> None:
    """An attribute of a module was set."""
    add(_changes, 1)


class Watch:
    """What a function's code and the modules that it called had outside when it was recorded."""

    def __init__(self, fn: Any, modules: list) -> None:
        self.names = Fields()
        self.changes = value_of(_changes)
        self.modules = [(module, _contents(module)) for module in modules]
        seen: set[int] = set()
        _look(fn, self.names, seen)

    def holds(self) -> bool:
        """Whether all of it is as it was."""
        return self.names.same() and (self.changes == value_of(_changes) or self._modules_hold())

    def _modules_hold(self) -> bool:
        changes = value_of(_changes)  # (before it looks: another thread may set one meanwhile)
        for module, contents in self.modules:
            now = _contents(module)
            if len(now) != len(contents):
                return False
            for name, value in now.items():
                if contents.get(name, Watch) is not value:
                    return False
        self.changes = changes
        return True


def _contents(module: Any) -> dict:
    """The attributes, and what is in those that are lists."""
    contents: dict = {"training": module.training}  # (which its class has, until train() is called)
    for name, value in vars(module).items():
        contents[name] = value
        if isinstance(value, list):
            for i, item in enumerate(value):
                contents[name, i] = item
    return contents


def _look(fn: Any, names: Fields, seen: set[int]) -> None:
    """The cells and global names that a function reads, and those of the functions that it finds there."""
    if isinstance(fn, MethodType):
        for name, value in getattr(fn.__self__, "__dict__", {}).items():
            names.entry(fn.__self__.__dict__, name)
            _look(value, names, seen)
        fn = fn.__func__
    if not isinstance(fn, FunctionType) or id(fn) in seen or fn.__module__.startswith("minidl."):
        return
    seen.add(id(fn))
    for cell in fn.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        names.cell(cell)
        _look(value, names, seen)
    for name in _names(fn.__code__):
        if name in fn.__globals__ and not isinstance(fn.__globals__[name], ModuleType):
            names.entry(fn.__globals__, name)
            _look(fn.__globals__[name], names, seen)


def _names(code: CodeType) -> set[str]:
    """The names that the code and the functions inside it may look up."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
