"""Starts ranks, for the tests: with the mpiexec of PyPI's mpich, beside this Python, or the one that is in the path."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
MPI = importlib.util.find_spec("mpi4py") is not None and MPIEXEC is not None

needs_mpi = pytest.mark.skipif(not MPI, reason='needs ranks: pip install "minidl[mpi]"')


def command(size, program, *arguments):
    return [
        MPIEXEC,
        "-n",
        str(size),
        sys.executable,
        "-m",
        f"tests.distributed.{program}",
        *arguments,
    ]


def environment(**more):
    return os.environ | {"MINIDL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | more


def start(size, program, *arguments, **more):
    """The process of mpiexec, in a group of its own; both outputs in one pipe."""
    return subprocess.Popen(
        command(size, program, *map(str, arguments)), cwd=ROOT, env=environment(**more), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finished(process, timeout=60):
    """The exit code and what all ranks have said."""
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise
    return process.returncode, said


def run(size, program, *arguments, **more):
    """What the ranks say; they must end well."""
    code, said = finished(start(size, program, *arguments, **more))
    assert code == 0, said
    return said
