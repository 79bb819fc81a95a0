"""The option ``--ranks N`` of the examples: the script is started again, as N MPI ranks on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from minidl import distributed

STARTED = "MINIDL_EXAMPLE_RANKS"  # set in the ranks that `ranks` starts


def ranks(count: int | None) -> distributed.World:
    """The world, if it has so many ranks or none were asked for. Otherwise this script is started again with the
    same arguments, as so many ranks, and the process ends with their exit status.

    Raises:
        SystemExit: at the end of the ranks; or mpi4py or mpiexec is missing, or each belongs to another MPI.
    """
    world = distributed.world()
    if count in (None, world.size):
        return world
    if world.size > 1:
        raise SystemExit(f"--ranks {count}: mpiexec has started {world.size} ranks already")
    if importlib.util.find_spec("mpi4py") is None:
        raise SystemExit('--ranks needs mpi4py: pip install "minidl[mpi]"')
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=path)  # PyPI's mpich puts it beside Python
    if mpiexec is None:
        raise SystemExit("--ranks needs mpiexec: pip install mpich, or the system's MPI")
    if STARTED in os.environ:
        raise SystemExit(f"{mpiexec} and mpi4py belong to different MPIs: each rank is alone")
    command = [mpiexec, "-n", str(count), sys.executable, *sys.argv]
    job = subprocess.Popen(command, env=os.environ | {STARTED: "1"})
    while True:
        try:
            raise SystemExit(job.wait())
        except KeyboardInterrupt:  # mpiexec and the ranks have it, too: they end
            continue
