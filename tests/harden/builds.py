"""Parts that compile a copy of the checkout in another way: watched by sanitizers, by other tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from part import HERE, ROOT, Missing, Part, Work, last_line

# Deselected under the sanitizers, which take 10 times as long and map terabytes: tests of times and of memory used,
# and those that fork children with a limit of memory.
SLOW = "not time and not memory and not killed and not interrupt"
POOL_ALONE = """
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

flags = ["-fsanitize=thread", "-O1", "-g", "-pthread"]
names = "runtime.pool", "runtime.memory", "baseline.runtimecheck"
modules = [
    Extension(
        f"minidl._kernels.{name}", [f"minidl/_kernels/{name.replace('.', '/')}.pyx"],
        include_dirs=[numpy.get_include()], extra_compile_args=flags, extra_link_args=flags,
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
    )
    for name in names
]
directives = dict(language_level=3, boundscheck=False, wraparound=False, cdivision=True, binding=False)
setup(name="pool", ext_modules=cythonize(modules, compiler_directives=directives))
"""


def runtime(name: str) -> str:
    """The path of one of gcc's sanitizer libraries, which must be loaded before all others."""
    compiler = os.environ.get("CC", "gcc").split()[-1]
    found = subprocess.run(
        [compiler, f"-print-file-name=lib{name}.so"], capture_output=True, text=True
    ).stdout.strip()
    if not os.path.isabs(found):
        raise Missing(f"lib{name}.so of {compiler}: apt-get install gcc")
    return found


def asan(work: Work) -> str:
    preload = f"{runtime('asan')} {runtime('ubsan')}"
    work.copy()
    work.build(MINIDL_SANITIZE="address,undefined", MINIDL_LEVELS="v3")
    watched = {
        "LD_PRELOAD": preload, "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    }  # fmt: skip
    work.check_import(**watched)
    cases = "--cases=30000", "--seed=20", "--guard", "--timeout=300"
    fuzz = last_line(work.run(work.python, "tests/fuzz/run.py", *cases, **watched))
    tests = work.pytest("tests/kernels", "tests/ops", "-k", SLOW, **watched)
    return f"{fuzz}; {tests}"


def tsan(work: Work) -> str:
    """The pool and the memory are compiled alone, which takes a minute; all else of minidl calls them."""
    watched = {"LD_PRELOAD": runtime("tsan")}
    alone = work.folder / "src"
    for package in (
        "minidl",
        "minidl/_kernels",
        "minidl/_kernels/runtime",
        "minidl/_kernels/system",
        "minidl/_kernels/baseline",
    ):
        (alone / package).mkdir(parents=True, exist_ok=True)
        (alone / package / "__init__.py").touch()
    kernels, tests = Path("minidl/_kernels"), ROOT / "tests/kernels"
    for package in ("runtime", "system"):
        for source in (ROOT / kernels / package).glob("*.p[yx]*"):
            shutil.copy(source, alone / kernels / package)
    shutil.copy(tests / "runtimecheck.pyx", alone / kernels / "baseline")
    (alone / "setup.py").write_text(POOL_ALONE)
    work.source = alone
    work.run(work.python, "setup.py", "-q", "build_ext", "--inplace")
    stress = ROOT / HERE / "pool_stress.py", f"--seconds={20 if work.quick else 120}"
    watched["TSAN_OPTIONS"] = "exitcode=66"
    return last_line(work.run(work.python, *stress, **watched))


def clang(work: Work) -> str:
    work.copy()
    work.build(CC="clang")
    work.check_import()
    version = work.run("clang", "--version").split("\n")[0]
    tests = work.pytest("tests/kernels", "tests/ops", "tests/autograd", "tests/replay", "tests/nn")
    return f"{version}: {tests}"


def oldest(work: Work) -> str:
    """What .ci/run does in short: here all tests but those that read the tools' own output."""
    work.copy()
    versions = work.run(work.python, "tools/minima.py").split()
    work.venv(*[line for line in versions if "==" in line], "wheel")
    work.build(MINIDL_LEVELS="v3")
    work.check_import()
    tests = work.pytest(
        "tests/kernels", "tests/ops", "tests/onnx", "-W", "ignore::DeprecationWarning"
    )
    return f"NumPy {numpy_of(work)}: {tests}"


def newest(work: Work) -> str:
    """The newest Python at hand, with pre-releases of what minidl is built with and of what it needs."""
    python = newest_python()
    work.copy()
    work.venv(
        "--pre",
        "numpy",
        "cython",
        "setuptools",
        "wheel",
        "pytest",
        "mpmath",
        "safetensors",
        base=python,
    )
    work.build(MINIDL_LEVELS="v3")
    work.check_import()
    tests = work.pytest("tests/kernels", "tests/ops", "tests/autograd", "tests/replay", "tests/nn",
                        "tests/optim", "tests/training", "tests/io")  # fmt: skip
    return f"NumPy {numpy_of(work)}: {tests}"


def newest_python() -> str:
    """The command of the newest Python on PATH or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for minor in range(20, 10, -1):
        found = shutil.which(f"python3.{minor}")
        for place in [
            found,
            *map(str, sorted(pyenv.glob(f"3.{minor}.*/bin/python3"), reverse=True)),
        ]:
            if place and subprocess.run([place, "-c", ""]).returncode == 0:
                return place
    raise Missing("python3: apt-get install python3")


def numpy_of(work: Work) -> str:
    code = "import sys, numpy; print(numpy.__version__, 'on Python', sys.version.split()[0])"
    return last_line(work.run(work.python, "-c", code))


BUILDS = [
    Part(
        "asan",
        "no access outside of an array, nothing undefined: 30,000 random calls, tests",
        40.0,
        asan,
    ),
    Part("tsan", "no data race in the pool and in scratch memory", 5.8, tsan),
    Part(
        "clang", "clang's build passes the tests", 15.0, clang, {"clang": "apt-get install clang"}
    ),
    Part("oldest", "the oldest tools that pyproject.toml allows", 10.0, oldest),
    Part("newest", "the newest Python here, pre-releases of NumPy and Cython", 10.0, newest),
]
