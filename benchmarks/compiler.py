"""The C compiler that CC names, with its arguments ("ccache gcc"), or cc."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import tempfile
from pathlib import Path


def command() -> list[str]:
    return shlex.split(os.environ.get("CC") or "cc")


def compiled(source: Path, flags: list[str]) -> ctypes.CDLL:
    """`source`, compiled and loaded. Raises OSError with what the compiler said, or if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder, "library.so"))
        call = [*command(), "-shared", "-fPIC", str(source), "-o", target, *flags]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{source.name} does not compile:\n{done.stderr}")
        return ctypes.CDLL(target)


def version() -> str:
    try:
        done = subprocess.run([*command(), "--version"], capture_output=True, text=True)
    except OSError:
        return "none"
    return done.stdout.splitlines()[0] if done.stdout else "none"
