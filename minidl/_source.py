"""Which files minidl's modules are loaded from: what setup.py compiled, or plain Python.

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


def is_compiled(module: str) -> bool:
    """Whether it is there for this Python: one folder may hold builds for several. module: its path in minidl."""
    path = os.path.join(_HERE, *module.split("/"))
    return any(os.path.exists(path + suffix) for suffix in EXTENSION_SUFFIXES)


def _is_pure(asked: bool) -> bool:
    """Whether nothing compiled is used: that was asked for, or neither compiled modules nor their sources are there."""
    there = is_compiled("_kernels/runtime/memory")
    if asked or there:
        return asked
    if os.path.exists(os.path.join(_HERE, "_kernels", "runtime", "memory.pyx")):
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
PURE = _is_pure(_asked)
PLAIN = PURE or os.environ.get("MINIDL_ENGINE") == "python"  # the engine is not compiled
