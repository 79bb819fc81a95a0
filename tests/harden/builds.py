"""Parts that compile a copy of the checkout in another way: watched by sanitizers, by other tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from part import HERE, Missing, Part, Work, last_line

# Deselected under the sanitizers, which take 10 times as long and map terabytes: tests of times and of memory used,
# and those that fork children with a limit of memory.
SLOW = "not time and not memory and not killed and not interrupt"
SUPPRESSIONS = """
# Python itself is not watched: what it does under its own lock is not seen to be.
called_from_lib:libpython
race:^_Py
race:^Py
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
    preload = runtime("tsan")
    work.copy()
    work.build(MINIDL_SANITIZE="thread", MINIDL_LEVELS="baseline")
    rules = work.folder / "suppressions.txt"
    rules.write_text(SUPPRESSIONS)
    watched = {"LD_PRELOAD": preload, "TSAN_OPTIONS": f"suppressions={rules}:exitcode=66"}
    work.check_import(**watched)
    stress = last_line(work.run(work.python, HERE / "pool_stress.py", "--seconds=300", **watched))
    tests = work.pytest("tests/kernels/test_pool.py", "-k", "not fork and not exit", **watched)
    return f"{stress}; {tests}"


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
    Part("tsan", "no data race in the pool and in scratch memory", 15.0, tsan),
    Part(
        "clang", "clang's build passes the tests", 15.0, clang, {"clang": "apt-get install clang"}
    ),
    Part("oldest", "the oldest tools that pyproject.toml allows", 10.0, oldest),
    Part("newest", "the newest Python here, pre-releases of NumPy and Cython", 10.0, newest),
]
