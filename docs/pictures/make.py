"""Draws every picture of the pages again: `python docs/pictures/make.py`, or with names (or parts of them) only those.

A module in this folder, or in a folder below, that has `pictures()` draws some: it returns {"section/name": picture},
and section/name.svg in docs/images is what the pages show.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "images"


def modules() -> Iterator[ModuleType]:
    """All modules that draw."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))  # for `import svg`
    for path in sorted(HERE.rglob("*.py")):
        if path.stem in ("svg", "make") or "def pictures(" not in path.read_text(encoding="utf-8"):
            continue
        name = "pictures_" + "_".join(path.relative_to(HERE).with_suffix("").parts)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        yield module


def drawn(module: ModuleType) -> dict[str, str]:
    """The module's pictures as SVG text, by name."""
    found: dict[str, Any] = module.pictures()
    return {k: v if isinstance(v, str) else v._repr_svg_() for k, v in found.items()}


def main(wanted: list[str]) -> None:
    for module in modules():
        for name, text in drawn(module).items():
            if not wanted or any(part in name for part in wanted):
                path = IMAGES / f"{name}.svg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
                print(path.relative_to(HERE.parent.parent))


if __name__ == "__main__":
    main(sys.argv[1:])
