"""Kernels x CPU levels, and the engine, -> extension modules; everything else about the build is in pyproject.toml.

Each ``minidl/_kernels/*/*.pyx`` is translated to C once and compiled once per CPU level, with the same source and other
flags; ``minidl/_kernels/__init__.py`` picks a level at import. Two modules own state of the whole process (the thread
pool, the recycled memory) or look at the CPU: those are compiled once.

In a checkout each module is a file, so that a change rebuilds one; in a wheel the modules of a level are linked into
one file, and what is compiled once into another. A wheel has no `.pyx` and `.pxd`: they are in the sdist, and in Git.

The engine and the ops are plain Python files that also run as they are; here they are compiled too, with the types that
the `.pxd` beside them declares, because calling them must cost less than the arithmetic of a small layer.

Environment: ``MINIDL_LEVELS=v3`` builds only this level and the baseline; ``CFLAGS`` is respected as usual.
``MINIDL_PURE=1`` compiles nothing: a wheel of the Python files alone, for any machine (``py3-none-any``), whose kernels
are the NumPy references. pip prefers a compiled wheel where both are there, because its tag says more.

``MINIDL_SANITIZE=address,undefined`` (or ``thread``) makes gcc watch every access to memory: the first fault ends the
process and says where it is. A build for tests, in a checkout of its own, 10 times as slow as the other:

    MINIDL_SANITIZE=address,undefined MINIDL_LEVELS=v3 python setup.py -q build_ext --inplace
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 PYTHONMALLOC=malloc \
        python tests/fuzz/run.py --cases 30000 --guard
"""

import ast
import filecmp
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build

from distutils.ccompiler import new_compiler  # isort: skip  (setuptools provides it)
from distutils.sysconfig import customize_compiler  # isort: skip

sys.path.insert(0, str(Path(__file__).parent / "tools"))
import check_machine
import minima
from linking import BuildLinked, linked, stem_of

KERNELS = Path("minidl/_kernels")
# Old NumPys compile for yet older ones unless told otherwise; prepared.pyx sets an allocator, which 1.22 brought.
NUMPY_API = [
    ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
    ("NPY_TARGET_VERSION", "NPY_1_22_API_VERSION"),
]
# There are kernels too, by which the tests reach what is inside of others. They are not in the wheel.
TESTS = Path("tests/kernels")
# What minidl/_source.py says of compiled modules. (Read, not imported: it would look for them.)
TABLES = {
    node.targets[0].id: ast.literal_eval(node.value)
    for node in ast.parse(Path("minidl/_source.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.Assign) and node.targets[0].id in ("ENGINE", "RUNTIME", "LINKED")
}
ENGINE = [f"minidl/{module}.py" for module in TABLES["ENGINE"]]
RUNTIME = {f"minidl/{module}".replace("/", ".") for module in TABLES["RUNTIME"]}
# What Cython would write into each of the 80 modules (how keyword arguments are read, classes and functions made) is
# written once, into a module that the others ask for it.
SHARED = "minidl._kernels.runtime.cython_shared"
# Compiled for speed: what every operation goes through. The other ops are compiled for size, which takes a third off
# them; doing so here made a chain of tiny operations 1.3 times slower.
QUICK = {
    *("modes", "changes", "tensor", "tape", "op", "engine", "args", "arithmetic"),
    *("capture", "record"),
}
KERNEL_DIRECTIVES = {
    "language_level": 3,
    "freethreading_compatible": True,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "binding": False,  # plain C functions for entry points: a tenth less code in each of the 50 modules,
    "embedsignature": True,
    "embedsignature.format": "clinic",  # and inspect.signature still reads them
}
ENGINE_DIRECTIVES = {  # plain Python: it keeps Python's meaning, compiled or not
    "language_level": 3,
    "freethreading_compatible": True,
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
# Functions and loops that begin at any byte, not at multiples of 16 or 32, make a wheel 2 % smaller and run as fast.
ANYWHERE = [f"-fno-align-{what}" for what in ("functions", "jumps", "labels", "loops")]
GNU = ["-O3", *LEAN, *ANYWHERE, "-fno-math-errno", "-fno-trapping-math"]
GNU_LEVELS = {
    "baseline": GNU,
    "v3": [*GNU, "-march=x86-64-v3"],
    "v4": [*GNU, "-march=x86-64-v4", "-mprefer-vector-width=512"],
}
# The greatest function declared `inline` that is inlined, in gcc's instructions. At -O3 this is 200, and checks of
# arguments are inlined too, which takes up to a quarter of a kernel's size. These are as fast with less; in others a
# polynomial would be called instead of vectorised (in losses too, with 70: that is what -O2 has).
CALLING = {"conv": 110, "gemm": 70, "losses": 130, "softmax": 70}
# At -O2 it is 70. What Cython needs for attributes, calls and tuples is inlined thousands of times in the engine: with
# less, its quick modules are 17 KB smaller in a wheel; a chain of tiny operations takes 0.98x, a captured step 1.01x.
CALLING_PYTHON = [["--param=max-inline-insns-single=30"]]
# Calls count the references of what need not be quick, where Python has no GIL: the wheel of 3.13t has 5.44 MB and not
# 5.62, and small operations take 1.005x on average. With a GIL, counting is shorter, and they took up to 1.07x.
COUNTING = ["-include", "tools/counting.h"]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# Kernels that are as fast with what -O2 does if loops are still vectorised, and short loops unrolled (peeled). They are
# a fifth smaller.
LIGHT = {
    "batch_norm", "gates", "losses", "noise", "normalization", "pooling", "prelu", "scan", "scatter", "selection",
    "updates",
    "checks", "memory", "padding", "pool", "sorting",
}  # fmt: skip
VECTORISE = [["-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic", "-fpeel-loops"], ["-O2"]]
# Compiled for size: what runs once, only while a step is recorded, or only calls what does the work.
RARE = {"cpu", "cython_shared", "prepared", "shared", "steps"}
# Kernels that go through a row in short blocks: they compute one and then store it, so that nobody need ask whether
# rows overlap, or have as many partial results; and activations, which keep a block between two loops. As they are,
# gcc calls memcpy to store, which takes a block through the stack; and both gcc and clang unroll loops of 16 steps
# before they would vectorise them.
BLOCKWISE = {"activations", "gates", "normalization", "prelu", "reduction", "softmax"}
KEEP_LOOPS = [
    ["-fno-tree-loop-distribute-patterns", "--param=max-completely-peel-times=8"],
    ["-mllvm", "-unroll-full-max-count=8"],
]
# Pooling walks 8 or 16 windows at a time: their partial results are in registers if each loop over so many is a loop
# of vectors inside of the loops around it, and all functions of the walk are one.
WINDOWED = {"pooling"}
KEEP_SHORT_LOOPS = [
    [
        "-fno-tree-loop-distribute-patterns",
        "--param=max-completely-peel-times=3",
        "--param=max-inline-insns-single=3000",
        "--param=large-function-growth=100000",
        "--param=large-stack-frame-growth=100000",
        "--param=inline-unit-growth=1000",
    ],
    ["-mllvm", "-unroll-full-max-count=3", "-mllvm", "-inline-threshold=3000"],
]
# Kernels around the register tile, whose sums and operands need all registers of an ARM processor. Before it assigns
# registers, gcc 12 moves loads up (on x86 it does not), and then goes to the stack 8 times in each step of 24 products.
TILED = {"conv", "gemm"}
KEEP_REGISTERS = [
    ["-Werror", "-fno-schedule-insns"]
]  # clang, which need not be told, only warns of it
SANITIZE = os.environ.get("MINIDL_SANITIZE", "")
WATCHED = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"] if SANITIZE else []
# Overrules the flags before it; without stack frames a report would name no line.
WATCHING = [*WATCHED, "-O1", "-g", "-fno-omit-frame-pointer"] if SANITIZE else []
# Symbols that nothing looks up at run time, and pages that begin with each section.
LEAVE_OUT = ["-s", "-Wl,--build-id=none", "-Wl,--hash-style=gnu", "-Wl,-z,noseparate-code"]
STRIP = WATCHED or (LEAVE_OUT if sys.platform == "linux" else [])
MSVC_LEVELS = {
    "baseline": ["/O2"],
    "v3": ["/O2", "/arch:AVX2"],
    "v4": ["/O2", "/arch:AVX512"],
}


def is_for(*names: str) -> bool:
    # macOS may be asked for another processor than the one it runs on.
    target = os.environ.get("ARCHFLAGS", "") or platform.machine()
    return any(name in target.lower() for name in names)


class BuildKernels(BuildLinked):
    """Turns one extension per kernel into one per kernel and level, and translates all to C when it comes to build."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = os.cpu_count()

    def finalize_options(self) -> None:
        """Also run by egg_info and sdist, which ask for the sources and need neither Cython nor a compiler."""
        compiler = new_compiler(compiler=self.compiler)
        customize_compiler(compiler)
        self.problem = compiler_problem(compiler)
        given = self.distribution.ext_modules
        if not any(ext.name.startswith("minidl._kernels.baseline") for ext in given):
            # Nothing is built if there is a problem, but the sources are the same.
            levels = {"baseline": []} if self.problem else available_levels(compiler)
            more = {} if self.problem else special_flags(compiler)
            self.distribution.ext_modules = expanded(given, levels, more)
        super().finalize_options()
        self.made_with = tools(compiler)

    def run(self) -> None:
        if self.problem:
            raise SystemExit(f"error: {self.problem}")
        import numpy

        stamp = Path(f"build/made-with-{sys.implementation.cache_tag}.txt")
        if stamp.exists() and stamp.read_text(encoding="utf-8") != self.made_with:
            self.force = True  # other tools or flags than the last time: nothing of then is good
        if not (self.inplace or self.editable_mode):  # tests run in a checkout, not in a wheel
            self.extensions = [
                ext for ext in self.extensions if TESTS not in Path(ext.sources[0]).parents
            ]
        self.include_dirs.append(numpy.get_include())
        translate(self.extensions, self.force)
        together = not (self.inplace or self.editable_mode)
        self.extensions = linked(self.extensions, TABLES["LINKED"] if together else None)
        super().run()
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(self.made_with, encoding="utf-8")

    def copy_extensions_to_source(self) -> None:
        places = [Path(self.get_ext_fullpath(ext.name)) for ext in self.extensions]
        for place in places:  # an editable install: the level folders are not in the source
            place.parent.mkdir(parents=True, exist_ok=True)
        super().copy_extensions_to_source()
        # Python would rather import a module of an earlier build than the file that it was made from.
        remove_all_but(places, Path("minidl").rglob(self.get_ext_filename("*")))


class Build(build):
    """Leaves nothing in the build folder that this build did not make: all of it goes into a wheel."""

    def run(self) -> None:
        super().run()
        commands = map(self.get_finalized_command, self.get_sub_commands())
        made = [file for command in commands for file in command.get_outputs()]
        remove_all_but(map(Path, made), Path(self.build_lib).rglob("*"))


def remove_all_but(made: Iterable[Path], found: Iterable[Path]) -> None:
    keep = {path.resolve() for path in made}
    stale = [path for path in found if path.is_file() and path.resolve() not in keep]
    for path in stale:
        path.unlink()
    if stale:
        print(f"minidl: removed {len(stale)} files of an earlier build, {stale[0]} and such")


def compiler_problem(compiler) -> str | None:
    """In one sentence, what keeps this machine from compiling; None: nothing."""
    problem = check_machine.compiler_problem()
    includes = "#include <Python.h>\n#include <math.h>\n"
    if problem is None and not accepts(compiler, [], includes):
        problem = check_machine.ADVICE["broken"].format(check_machine.compiler())
    return problem


def tools(compiler) -> str:
    """What else than the sources makes the modules what they are."""
    versions = [metadata.version(name) for name in minima.minima(minima.requirements()["build"])]
    flags = (NUMPY_API, GNU_LEVELS, MSVC_LEVELS, KEEP_LOOPS, KEEP_SHORT_LOOPS, KEEP_REGISTERS)
    flags += (sorted(QUICK), CALLING_PYTHON, CALLING, sorted(LIGHT), VECTORISE)
    flags += (sorted(RARE), LEAVE_OUT)
    command = getattr(compiler, "compiler_so", compiler.compiler_type)
    return repr((versions, command, flags, KERNEL_DIRECTIVES, ENGINE_DIRECTIVES))


def available_levels(compiler) -> dict[str, list[str]]:
    """The levels asked for (by default all that the target processor has) that the compiler knows."""
    table = MSVC_LEVELS if compiler.compiler_type == "msvc" else GNU_LEVELS
    default = "baseline,v3,v4" if is_for("x86_64", "amd64") else "baseline"
    wanted = {"baseline", *os.environ.get("MINIDL_LEVELS", default).split(",")}
    return {
        level: table[level]
        for level in table
        if level in wanted and (level == "baseline" or accepts(compiler, table[level]))
    }


def special_flags(compiler) -> dict[str, list[str]]:
    """{kernel: flags besides those of its level}"""

    def taken(choices: list[list[str]]) -> list[str]:
        return next((flags for flags in choices if accepts(compiler, flags)), [])

    if compiler.compiler_type == "msvc":  # takes any flag, with a warning
        return {}
    more: dict[str, list[str]] = {}
    for kernels, choices in (
        (QUICK, CALLING_PYTHON),
        (LIGHT, VECTORISE),
        (RARE, [["-Os"]]),
        (BLOCKWISE, KEEP_LOOPS),
        (WINDOWED, KEEP_SHORT_LOOPS),
        (TILED if is_for("aarch64", "arm64") else set(), KEEP_REGISTERS),
        *(({kernel}, [[f"--param=max-inline-insns-single={n}"]]) for kernel, n in CALLING.items()),
    ):
        # -Werror asks whether the compiler knows a flag; of the sources no warning is an error.
        flags = [flag for flag in taken(choices) if flag != "-Werror"]
        for kernel in kernels:
            more[kernel] = more.get(kernel, []) + flags
    return more


def accepts(compiler, flags: list[str], includes: str = "") -> bool:
    """Old compilers do not know the newer levels, and others not all of gcc's flags: they do without."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text(includes + "int main(void) { return 0; }\n")
        try:
            compiler.compile(
                [str(probe)],
                output_dir=folder,
                include_dirs=[sysconfig.get_paths()["include"]],
                extra_postargs=flags,
            )
        except Exception as error:
            print(f"minidl: the compiler does not take {flags or 'Python.h'}: {error}")
            return False
    return True


def expanded(
    modules: list[Extension], levels: dict[str, list[str]], more: dict[str, list[str]]
) -> list[Extension]:
    """For each kernel an extension per level. The engine, and what is compiled once, stay one each."""
    found = []
    for module in modules:
        stem = stem_of(module)
        if module.sources[0].endswith(".py"):
            # (The stem of a module that is not quick may be a kernel's, too.)
            quick = ["-O2", *ANYWHERE, *more.get(stem, [])]
            flags = [*(quick if stem in QUICK else ["-Os"]), *LEAN] if os.name == "posix" else []
            found.append(compiled(module, module.name, flags))
        elif module.name in RUNTIME:
            pthread = ["-pthread"] if os.name == "posix" else []
            flags = levels["baseline"] + more.get(stem, []) + pthread
            found.append(compiled(module, module.name, flags, pthread))
        else:
            found += [
                compiled(module, f"minidl._kernels.{level}.{stem}", flags + more.get(stem, []))
                for level, flags in levels.items()
            ]
    return found


def compiled(module: Extension, name: str, flags: list[str], link: Iterable[str] = ()) -> Extension:
    if FREE_THREADED and os.name == "posix" and stem_of(module) not in QUICK:
        flags = flags + COUNTING
    return Extension(
        name,
        module.sources,
        define_macros=NUMPY_API,
        extra_compile_args=flags + WATCHING,
        extra_link_args=[*link, *STRIP],
    )


def translate(extensions: list[Extension], force: bool) -> None:
    """Replaces the sources by C files."""
    from Cython.Build import cythonize

    sources = sorted({ext.sources[0] for ext in extensions})
    written = {}
    for suffix, directives in (
        (".pyx", KERNEL_DIRECTIVES),
        (".py", ENGINE_DIRECTIVES),
        (".c", KERNEL_DIRECTIVES),  # SHARED, which has no source
    ):
        for made in cythonize(
            [module(source) for source in sources if source.endswith(suffix)],
            nthreads=os.cpu_count() or 1,
            build_dir="build/cython",
            compiler_directives=directives,
            force=force,
            shared_utility_qualified_name=SHARED,
            shared_utility_features_disabled=["MemoryView"],  # kernels use pointers
        ):
            written[made.name] = Path(made.sources[0])
    for ext in extensions:
        file = written[module(ext.sources[0]).name]
        ext.sources = [str(copied(file, ext.name) if "_kernels" in ext.name else file)]


def copied(original: Path, name: str) -> Path:
    """A copy for the extension `name`: each level has its own object file."""
    copy = Path("build/levels", *name.split(".")).with_suffix(original.suffix)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.exists() or not filecmp.cmp(original, copy, shallow=False):
        shutil.copyfile(original, copy)  # else it stays old, and is not compiled again
    return copy


def module(source: str) -> Extension:
    return Extension(".".join(Path(source).with_suffix("").parts), [source])


def modules() -> list[Extension]:
    kernels = map(Path.as_posix, (*KERNELS.glob("*/*.pyx"), *TESTS.glob("*.pyx")))
    return [
        module(source) for source in (SHARED.replace(".", "/") + ".c", *sorted(kernels), *ENGINE)
    ]


def main() -> None:
    if check_machine.PURE:
        setup(cmdclass={"build": Build})
        return
    problem = minima.outdated(minima.minima(minima.requirements()["build"]))
    if problem:
        raise SystemExit(f"error: {problem}")
    setup(ext_modules=modules(), cmdclass={"build": Build, "build_ext": BuildKernels})


if __name__ == "__main__":
    main()
