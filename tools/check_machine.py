"""Says what is missing on this machine before anything is built: used by the Makefile."""

import os
import shlex
import shutil
import sys
import sysconfig

ADVICE = {
    "python": "minidl needs Python 3.11 or newer, this is {}: make PYTHON=python3.12",
    "venv": "Python's venv lacks pip; on Debian or Ubuntu: sudo apt install python3-venv",
    "headers": "no C header {}; on Debian or Ubuntu: sudo apt install python3-dev",
    "compiler": "no C compiler ({}); on Debian or Ubuntu: sudo apt install gcc; on macOS: "
    "xcode-select --install",
}


def problems():
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever has an old one shall be told)
        return [ADVICE["python"].format(sys.version.split()[0])]
    found = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        found.append(ADVICE["venv"])
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.exists(header):
        found.append(ADVICE["headers"].format(header))
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if not shutil.which(compiler):
        found.append(ADVICE["compiler"].format(compiler))
    return found


if __name__ == "__main__":
    sys.exit("".join("\n*** " + problem for problem in problems()) or 0)
