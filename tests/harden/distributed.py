"""Parts with several MPI ranks: kills, what a thousand steps leave behind, ranks with addresses of their own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from part import HERE, Missing, Part, Work, last_line

NEEDS = {"mpi4py": 'pip install "minidl[mpi]"'}


def script(work: Work, name: str, *arguments: str) -> str:
    """The closing line of a script in mpi/."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if shutil.which("mpiexec", path=path) is None:
        raise Missing('mpiexec: pip install "minidl[mpi]", or the MPI of the system')
    said = last_line(work.run(work.python, HERE / "mpi" / name, *arguments))
    if said.startswith("skipped: "):
        raise Missing(said.removeprefix("skipped: "))
    return said


def kills(work: Work) -> str:
    return script(work, "kills.py", f"--kills={3 if work.quick else 50}")


def leaks(work: Work) -> str:
    return script(work, "leaks.py", f"--steps={300 if work.quick else 1000}")


def namespaces(work: Work) -> str:
    return script(work, "namespaces.py")


DISTRIBUTED = [
    Part(
        "mpi-kills",
        "a rank that dies or hangs ends the job; what is resumed has the same bits",
        4.0,
        kills,
        NEEDS,
    ),
    Part(
        "mpi-leaks",
        "1,000 steps with 4 ranks leave no memory, files or messages behind",
        0.3,
        leaks,
        NEEDS,
    ),
    Part(
        "mpi-hosts",
        "ranks in two network namespaces: the same bits; a cut cable",
        0.5,
        namespaces,
        NEEDS,
    ),
]
