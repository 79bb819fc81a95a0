"""Kernels x CPU levels, and the engine, -> extension modules; all else about the build stands in pyproject.toml.

Each ``minidl/_kernels/*.pyx`` is translated to C once and compiled once per CPU level, with the same source and other
flags; ``minidl/_kernels/__init__.py`` picks a level at import. Two modules own state of the whole process (the thread
pool, the recycled memory) or look at the CPU: those are compiled once.

The engine and the ops are plain Python files that also run as they are; here they are compiled too, with the types that
the `.pxd` beside them declares, because calling them must cost less than the arithmetic of a small layer.

Environment: ``MINIDL_LEVELS=v3`` builds only this level and the baseline; ``CFLAGS`` is respected as usual.
"""

import filecmp
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

from distutils.ccompiler import new_compiler  # isort: skip  (setuptools provides it)
from distutils.sysconfig import customize_compiler  # isort: skip

KERNELS = Path("minidl/_kernels")
COMPILED_ONCE = {"copying", "cpu", "memory", "pool"}
ENGINE = ["minidl/modes.py", "minidl/tensor.py", "minidl/op.py", "minidl/engine.py"] + [
    f"minidl/ops/{name}.py"
    for name in (
        *("activation", "arithmetic", "linalg", "loss", "norm", "prelu", "reduction", "shape"),
        "softmax",
    )
]
# Compiled for speed: what every operation goes through. The other ops are compiled for size, which takes a third off
# them; doing so here made a chain of tiny operations 1.3 times slower.
QUICK = {"modes", "tensor", "op", "engine", "activation", "arithmetic"}
KERNEL_DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "binding": False,  # plain C functions for faces: a tenth less code in each of the 50 modules,
    "embedsignature": True,
    "embedsignature.format": "clinic",  # and inspect.signature still reads them
}
ENGINE_DIRECTIVES = {  # plain Python: it keeps Python's meaning, compiled or not
    "language_level": 3,
    "annotation_typing": False,  # hints are for readers and mypy; the .pxd files declare what is compiled
    "auto_pickle": False,  # an op belongs to its graph, and a Tensor says itself how it is pickled
    "nonecheck": True,  # None for a Tensor raises AttributeError; without, it is a segmentation fault
    "embedsignature": True,
}
# No -ffast-math: it would change the floating-point mode of the user's whole process. These two name what vectorising
# needs: nobody reads errno after a kernel, and no floating-point trap is enabled.
LEAN = ["-g0", "-fno-asynchronous-unwind-tables"]  # C has no exceptions that would need the tables
if sys.platform == "linux":
    LEAN.append("-fno-plt")  # calls into Python and NumPy jump once: a tiny op takes 0.94x
GNU = ["-O3", *LEAN, "-fno-math-errno", "-fno-trapping-math"]
GNU_LEVELS = {
    "baseline": GNU,
    "v3": [*GNU, "-march=x86-64-v3"],
    "v4": [*GNU, "-march=x86-64-v4", "-mprefer-vector-width=512"],
}
# Kernels that go through a row in short blocks: they compute one and then store it, so that nobody need ask whether
# rows overlap, or have as many partial results. As they are, gcc calls memcpy to store, which takes a block through the
# stack; and both gcc and clang unroll loops of 16 steps before they would vectorise them.
BLOCKWISE = {"gates", "loss", "norm", "prelu", "reduction"}
KEEP_LOOPS = [
    ["-fno-tree-loop-distribute-patterns", "--param=max-completely-peel-times=8"],
    ["-mllvm", "-unroll-full-max-count=8"],
]
STRIP = ["-s"] if sys.platform == "linux" else []  # symbols that nothing looks up at run time
MSVC_LEVELS = {
    "baseline": ["/O2"],
    "v3": ["/O2", "/arch:AVX2"],
    "v4": ["/O2", "/arch:AVX512"],
}


def is_x86() -> bool:
    # macOS may be asked for another processor than the one it runs on.
    target = os.environ.get("ARCHFLAGS", "") or platform.machine()
    return any(name in target.lower() for name in ("x86_64", "amd64"))


class BuildKernels(build_ext):
    """Turns one extension per kernel into one per kernel and level."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = os.cpu_count()

    def finalize_options(self) -> None:
        kernels = self.distribution.ext_modules
        if not any(ext.name.startswith("minidl._kernels.baseline") for ext in kernels):
            # (Otherwise another command was here before: egg_info asks for the sources.)
            compiler = new_compiler(compiler=self.compiler)
            customize_compiler(compiler)
            levels = available_levels(compiler)
            blockwise = next((flags for flags in KEEP_LOOPS if accepts(compiler, flags)), [])
            self.distribution.ext_modules = [
                ext
                for module in kernels
                for ext in (
                    expand(module, levels, blockwise)
                    if "_kernels" in module.name
                    else [engine(module)]
                )
            ]
        super().finalize_options()
        self.include_dirs.append(numpy.get_include())

    def run(self) -> None:
        if not (self.inplace or self.editable_mode):  # tests run in a checkout, not in a wheel
            self.extensions = [
                ext for ext in self.extensions if not ext.name.endswith(".mathcheck")
            ]
        super().run()

    def copy_extensions_to_source(self) -> None:
        for ext in self.extensions:  # an editable install: the level folders are not in the source
            Path(self.get_ext_fullpath(ext.name)).parent.mkdir(parents=True, exist_ok=True)
        super().copy_extensions_to_source()


def available_levels(compiler) -> dict[str, list[str]]:
    """The levels asked for (by default all that the target processor has) that the compiler knows."""
    table = MSVC_LEVELS if compiler.compiler_type == "msvc" else GNU_LEVELS
    default = "baseline,v3,v4" if is_x86() else "baseline"
    wanted = {"baseline", *os.environ.get("MINIDL_LEVELS", default).split(",")}
    return {
        level: table[level]
        for level in table
        if level in wanted and (level == "baseline" or accepts(compiler, table[level]))
    }


def accepts(compiler, flags: list[str]) -> bool:
    """Old compilers do not know the newer levels, and others not all of gcc's flags: they do without."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text("int main(void) { return 0; }\n")
        try:
            compiler.compile([str(probe)], output_dir=folder, extra_postargs=flags)
        except Exception as error:
            print(f"minidl: left out, the compiler does not take {flags}: {error}")
            return False
    return True


def expand(
    kernel: Extension, levels: dict[str, list[str]], blockwise: list[str]
) -> list[Extension]:
    stem = kernel.name.rpartition(".")[2]
    if stem in COMPILED_ONCE:
        return [compiled(kernel, kernel.name, levels["baseline"], threads=True)]
    more = blockwise if stem in BLOCKWISE else []
    return [
        compiled(kernel, f"minidl._kernels.{level}.{stem}", flags + more)
        for level, flags in levels.items()
    ]


def engine(module: Extension) -> Extension:
    flags = ["-O2" if module.name.rpartition(".")[2] in QUICK else "-Os", *LEAN]
    return Extension(
        module.name,
        module.sources,
        extra_compile_args=flags if os.name == "posix" else [],
        extra_link_args=STRIP,
    )


def compiled(kernel: Extension, name: str, flags: list[str], threads: bool = False) -> Extension:
    """The extension `name` from a copy of the kernel's C file, so that each level has its own object file."""
    original = Path(kernel.sources[0])
    copy = Path("build/levels", *name.split(".")).with_suffix(original.suffix)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.exists() or not filecmp.cmp(original, copy, shallow=False):
        shutil.copyfile(original, copy)  # else it stays old, and is not compiled again
    pthread = ["-pthread"] if threads and os.name == "posix" else []
    return Extension(
        name,
        [copy.as_posix()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=flags + pthread,
        extra_link_args=pthread + STRIP,
    )


def translate(paths, directives: dict) -> list[Extension]:
    extensions = [
        Extension(".".join(path.with_suffix("").parts), [path.as_posix()]) for path in paths
    ]
    return cythonize(extensions, build_dir="build/cython", compiler_directives=directives)


setup(
    ext_modules=translate(sorted(KERNELS.glob("*.pyx")), KERNEL_DIRECTIVES)
    + translate(map(Path, ENGINE), ENGINE_DIRECTIVES),
    cmdclass={"build_ext": BuildKernels},
)
