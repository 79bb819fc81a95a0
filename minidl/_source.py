"""Which files minidl's modules are loaded from: what setup.py compiled, or plain Python.

In a checkout each compiled module is a file of its own, so that a change rebuilds one. In a wheel they are linked into
one file for each CPU level, and one for all that is compiled once: a sixth smaller, and quicker to load than 75 files.

``MINIDL_ENGINE=python``: the engine and the ops run from their Python files, the kernels stay compiled. For stepping
through them with a debugger, and for the tests that hold both forms to the same behaviour.

``MINIDL_PURE=1``: nothing is compiled. The kernels are the NumPy references, and _kernels/uncompiled.py is what
else would be compiled. The pure-Python wheel, in which there is nothing to compile, does the same unasked.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from typing import Any

_HERE = os.path.dirname(__file__)
# What is compiled once, by its path in minidl: Python files whose `.pxd` beside them declares types, and the kernels
# that own state of the whole process (the thread pool, the recycled memory) or look at the CPU. The others are compiled
# once per level. setup.py reads the tables.
ENGINE = (
    "autograd/modes",
    "autograd/changes",
    "autograd/tensor",
    "autograd/tape",
    "autograd/op",
    "autograd/engine",
    "ops/args",
    "ops/arithmetic",
    "ops/linalg",
    "ops/norm",
    "ops/reduction",
    "ops/shape",
    "ops/losses/loss",
    "ops/arrays/joining",
    "ops/activations/activation",
    "ops/activations/prelu",
    "ops/activations/softmax",
    "ops/spatial/conv",
    "ops/spatial/pooling",
    "replay/watch",
    "replay/record",
    "replay/capture",
    "optim/again",
)
RUNTIME = (
    "_kernels/arrays/buffers",
    "_kernels/arrays/checks",
    "_kernels/arrays/copying",
    "_kernels/arrays/padding",
    "_kernels/arrays/sorting",
    "_kernels/product/steps",
    "_kernels/runtime/cpu",
    "_kernels/runtime/cython_shared",
    "_kernels/runtime/epilogues",
    "_kernels/runtime/fields",
    "_kernels/runtime/memory",
    "_kernels/runtime/pool",
    "_kernels/runtime/prepared",
    "_kernels/runtime/shared",
)
LEVELS = ("baseline", "v3", "v4")
# The files of a wheel, and whose modules are linked into them: those of a level's folder, or what is compiled once.
LINKED = {
    "once": "linked",
    "_kernels/baseline": "_kernels/baseline/linked",
    "_kernels/v3": "_kernels/v3/linked",
    "_kernels/v4": "_kernels/v4/linked",
}
# docs/pure_python.md has the measurements.
COST = "a training step takes 6 to 26 times as long"


class _SourceFinder:
    """Finds minidl's own .py files ahead of the compiled modules beside them."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, *rest = name.split(".")
        source = os.path.join(_HERE, *rest) + ".py"
        if package == "minidl" and rest and os.path.isfile(source):
            return spec_from_file_location(name, source)
        return None


class _LinkedFinder:
    """Finds the compiled modules of a wheel."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        file = linked(module.replace(".", "/")) if package == "minidl" else None
        return None if file is None else spec_from_file_location(name, file)


def linked(module: str) -> str | None:
    """The file into which it is linked with others, if there is one. module: its path in minidl."""
    return _linked.get("once" if module in _ONCE else os.path.dirname(module))


def _compiled_file(module: str) -> str | None:
    """The file for this Python: one folder may hold builds for several."""
    path = os.path.join(_HERE, *module.split("/"))
    return next((path + s for s in EXTENSION_SUFFIXES if os.path.exists(path + s)), None)


def is_compiled(module: str) -> bool:
    """Whether it is there for this Python. module: its path in minidl."""
    return (linked(module) or _compiled_file(module)) is not None


def _is_pure(asked: bool) -> bool:
    """Whether nothing compiled is used: that was asked for, or there are no compiled modules (for no Python) and no
    sources of them."""
    if asked or is_compiled("_kernels/runtime/memory"):
        return asked
    beside = (*os.listdir(_HERE), *os.listdir(os.path.join(_HERE, "_kernels", "runtime")))
    if any(name.startswith(("linked.", "memory.")) for name in beside):
        raise ImportError(
            f"minidl is not compiled for this Python ({sys.implementation.cache_tag}): pip install . does it, in "
            "the folder with setup.py; or set MINIDL_PURE=1 to do without, which is slower"
        )
    return True


def prefer_source() -> None:
    """Modules of minidl that are imported from now on run from source. If nothing is compiled unasked, it warns."""
    sys.meta_path.insert(0, _SourceFinder())
    if PURE and not _asked:
        warnings.warn(
            f"minidl runs without compiled modules, in pure Python and NumPy: {COST}. "
            "With a C compiler: pip install --no-binary minidl minidl. MINIDL_PURE=1 says that you know",
            stacklevel=3,
        )


if (os.environ.get("MINIDL_PURE") or "0") not in ("0", "1"):
    raise ImportError(f"MINIDL_PURE={os.environ['MINIDL_PURE']!r}: expected 0 or 1")
_asked = os.environ.get("MINIDL_PURE") == "1"
_ONCE = frozenset((*ENGINE, *RUNTIME))
_found = {whose: _compiled_file(path) for whose, path in LINKED.items()}
_linked = {whose: file for whose, file in _found.items() if file is not None}
if _linked:
    sys.meta_path.insert(0, _LinkedFinder())
PURE = _is_pure(_asked)
PLAIN = PURE or os.environ.get("MINIDL_ENGINE") == "python"  # the engine is not compiled
