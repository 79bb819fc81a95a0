"""The part with a free-threaded Python: minidl compiled for it, its tests, and threads that do everything at once."""

from __future__ import annotations

import os
import shutil

from part import Missing, Part, Work, last_line

NAMES = ("python3.15t", "python3.14t", "python3.13t")


def free_threaded_python() -> str:
    asked = os.environ.get("PYTHON_FREE_THREADED")
    for name in (asked,) if asked else NAMES:
        if found := shutil.which(name):
            return found
    raise Missing(
        f"{asked or ' or '.join(NAMES)}: CPython's source, configured with --disable-gil (Debian's source package of "
        "python3.13 will do); PYTHON_FREE_THREADED names one that is not on the path"
    )


def free_threads(work: Work) -> str:
    base = free_threaded_python()
    work.copy()
    if not (work.folder / "venv/bin/pytest").exists():  # an installation that broke off is repeated
        work.venv("numpy", "cython>=3.3", "setuptools", "pytest", base=base)
    work.python = work.folder / "venv" / "bin" / "python"
    work.build()
    work.check_import()
    off = "import sys, minidl; assert not sys._is_gil_enabled(), 'a module has switched the GIL on'"
    work.run(work.python, "-W", "error", "-c", off)
    # (safetensors' wheels for the stable ABI do not install here)
    folders = "tests/threads", "tests/autograd", "tests/replay", "tests/optim"
    tests = work.pytest(*folders, "-k", "not safetensors")
    stress = "tests/threads/stress.py"
    output = work.run(
        work.python, stress, f"--seconds={20 if work.quick else 600}", "--threads=4", PYTHON_GIL="0"
    )
    return f"{tests}; {last_line(output)}"


FREE_THREADS = [
    Part(
        "free-threads",
        "on a free-threaded Python no module needs the GIL, and 4 threads at once get the bits of one",
        20.0,
        free_threads,
    )
]
