"""What this machine lacks to build minidl, a sentence each: for the Makefile, and for setup.py before it translates."""

import os
import shlex
import shutil
import sys
import sysconfig

PURE = os.environ.get("MINIDL_PURE") == "1"  # nothing will be compiled
INSTALL = {
    "linux": "on Debian or Ubuntu: sudo apt install gcc python3-dev; on Fedora: sudo dnf install gcc python3-devel",
    "darwin": "on macOS: xcode-select --install",
    "win32": "on Windows: the C++ workload of the Build Tools for Visual Studio",
}.get(sys.platform, "install one with the headers of this Python")
WITHOUT = (
    ". Or do without a compiler, with 6 to 26 times slower training: MINIDL_PURE=1 pip install ."
)
ADVICE = {
    "python": "minidl needs Python 3.11 or newer, this is {}: make PYTHON=python3.12",
    "venv": "Python's venv lacks pip; on Debian or Ubuntu: sudo apt install python3-venv",
    "headers": "minidl needs to be compiled, but the C header {} is missing; " + INSTALL + WITHOUT,
    "compiler": "minidl needs to be compiled, but there is no C compiler ({}); "
    + INSTALL
    + WITHOUT,
    "broken": "minidl needs to be compiled, but the C compiler ({}) cannot compile a file that includes Python.h; "
    + INSTALL
    + WITHOUT,
}


def python_problem():
    if sys.version_info < (3, 11):  # noqa: UP036 (users of an old one should be told)
        return ADVICE["python"].format(sys.version.split()[0])
    return None


def venv_problem():
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return ADVICE["venv"]
    return None


def compiler():
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]


def compiler_problem():
    """Found quickly, from files on the disk. (On Windows only an attempt to compile would show it.)"""
    if os.name == "posix" and not shutil.which(compiler()):
        return ADVICE["compiler"].format(compiler())
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.exists(header):
        return ADVICE["headers"].format(header)
    return None


def problems():
    if python_problem():
        return [python_problem()]
    found = (venv_problem(), None if PURE else compiler_problem())
    return [problem for problem in found if problem]


if __name__ == "__main__":
    sys.exit("".join("\n*** " + problem for problem in problems()) or 0)
