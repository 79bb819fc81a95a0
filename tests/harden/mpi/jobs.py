"""What the scripts of this folder share: a job of several ranks is started, its processes found, its end awaited."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRAINING = HERE / "training.py"
MARK = "MINIDL_HARDEN_JOB"  # in the environment of all processes of a job


def mpiexec() -> str:
    """The one beside this Python, or on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("mpiexec", path=path)
    if found is None:
        raise SystemExit('mpiexec is missing: pip install "minidl[mpi]"')
    return found


class Job:
    """`command` under mpiexec, with so many ranks."""

    def __init__(self, ranks: int, *command: str | Path, launch: tuple[str, ...] = ()) -> None:
        self.ranks, self.mark = ranks, uuid.uuid4().hex
        words = [*launch] if launch else [mpiexec(), "-n", str(ranks)]
        self.process = subprocess.Popen(
            [*words, sys.executable, *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {MARK: self.mark, "MINIDL_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip

    def pids(self) -> dict[int, int]:
        """The processes of the ranks that are running: {rank: pid}."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and (rank := self._rank(folder)) is not None:
                found[rank] = int(folder.name)
        return found

    def _rank(self, folder: Path) -> int | None:
        try:
            words = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended
            return None
        values = dict(word.partition(b"=")[::2] for word in words)
        if values.get(MARK.encode(), b"").decode() != self.mark or state == "Z":
            return None
        rank = values.get(b"PMI_RANK")
        return None if rank is None else int(rank)

    def wait(self, seconds: float) -> tuple[int, float, str]:
        """Exit status, seconds that it took, and all that was printed; TimeoutError after so many seconds."""
        begun = time.monotonic()
        try:
            output, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            left = self.pids()
            said = self.end()
            raise TimeoutError(
                f"not done after {seconds:g} s; ranks left: {left}\n{said}"
            ) from None
        return self.process.returncode, time.monotonic() - begun, output

    def end(self) -> str:
        """Kills what is left of it; what it had printed."""
        for pid in [*self.pids().values(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return self.process.communicate()[0]
