"""How modules become files: each its own in a checkout, those of a CPU level together in a wheel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext


class Linked(Extension):
    """Modules that are one file: PyInit_NAME in it begins the module NAME."""

    _needs_stub = False  # what setuptools sets for extensions that it was given at first

    def __init__(self, name: str, modules: list[Extension]) -> None:
        link = dict.fromkeys(arg for module in modules for arg in module.extra_link_args)
        super().__init__(name, [m.sources[0] for m in modules], extra_link_args=list(link))
        self.modules = modules


def linked(modules: list[Extension], files: Mapping[str, str] | None) -> list[Linked]:
    """One file for each CPU level, and one for all that is compiled once (minidl/_source.py says why).

    files: {whose modules: the file}, paths in minidl; None: a file for each module.
    """
    if files is None:
        return [Linked(module.name, [module]) for module in modules]
    found: dict[str, list[Extension]] = {}
    for module in modules:
        folder = module.name.rpartition(".")[0].removeprefix("minidl.").replace(".", "/")
        file = files.get(folder, files["once"])
        found.setdefault(f"minidl/{file}".replace("/", "."), []).append(module)
    return [Linked(name, its) for name, its in found.items()]


def stem_of(module: Extension) -> str:
    return module.name.rpartition(".")[2]


class BuildLinked(build_ext):
    """Compiles all modules, several at once, and then links them. `extensions` are what `linked` gave."""

    extensions: list[Linked]

    def build_extensions(self) -> None:
        self.check_extensions_list(self.extensions)
        modules = [module for ext in self.extensions for module in ext.modules]
        with ThreadPoolExecutor(self.parallel) as pool:
            self.objects = dict(pool.map(self.compile_module, modules))
        for ext in self.extensions:
            self.build_extension(ext)

    def build_extension(self, ext: Linked) -> None:
        """Links its file, unless it is newer than all that is in it."""
        place = Path(self.get_ext_fullpath(ext.name))
        objects = [self.objects[module.name] for module in ext.modules]
        if not self.force and is_newer(place, *objects):
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            [str(made) for made in objects],
            str(place),
            libraries=self.get_libraries(ext),
            extra_postargs=ext.extra_link_args,
            export_symbols=[f"PyInit_{stem_of(module)}" for module in ext.modules],
            build_temp=self.build_temp,
        )

    def compile_module(self, module: Extension) -> tuple[str, Path]:
        """Its name and its object file, which is made again if the source or the flags are not those of the last time.

        The flags are in a file beside the object.
        """
        (source,) = module.sources
        (name,) = self.compiler.object_filenames([source], output_dir=self.build_temp)
        made, note = Path(name), Path(f"{name}.flags")
        command = getattr(self.compiler, "compiler_so", self.compiler.compiler_type)
        flags = repr(
            (command, module.extra_compile_args, module.extra_link_args, module.define_macros)
        )
        noted = note.read_text(encoding="utf-8") if note.exists() else None
        if self.force or noted != flags or not is_newer(made, Path(source)):
            note.unlink(missing_ok=True)  # a compilation that breaks off leaves none
            self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                macros=module.define_macros,
                include_dirs=module.include_dirs,
                extra_postargs=module.extra_compile_args,
            )
            note.write_text(flags, encoding="utf-8")
        return module.name, made


def is_newer(made: Path, *sources: Path) -> bool:
    """Whether it is there, and none of its sources has been changed since."""
    return made.exists() and all(made.stat().st_mtime >= os.stat(s).st_mtime for s in sources)
