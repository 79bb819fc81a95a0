"""``MINIDL_ENGINE=python``: run the engine and the ops from their plain Python files, not from what setup.py compiled.

For stepping through them with a debugger, and for the tests that hold both forms to the same behaviour.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


class _SourceFinder(MetaPathFinder):
    """Finds minidl's own .py files ahead of the compiled modules beside them."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, *rest = name.split(".")
        source = _HERE.joinpath(*rest).with_suffix(".py")
        if package == "minidl" and rest and source.is_file():
            return spec_from_file_location(name, source)
        return None


def prefer_source() -> None:
    """Modules of minidl that are imported from now on run from source."""
    sys.meta_path.insert(0, _SourceFinder())
