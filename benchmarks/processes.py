"""Worker processes: they get the same two cores and settings, communicate over pipes, and are stopped
when it is not their turn.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from environments import PEERS, executable

THREADS = 2

# Two threads for all. Frameworks that do not read these variables see two CPUs, since a worker is
# bound to two.
SETTINGS = {
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "MINIDL_NUM_THREADS": "2",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "PYTHONNOUSERSITE": "1",
    "PYTHONHASHSEED": "0",
}


class WorkerFailed(Exception):
    """A worker died, hung or answered with an error; `absent` if its framework does not have the
    operation.
    """

    def __init__(self, message: str, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent


def two_cpus() -> list[int]:
    """Two CPUs of different cores, out of those this process may use."""
    chosen: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text().strip() if siblings.exists() else str(cpu)
        chosen.setdefault(core, cpu)
    return sorted(chosen.values())[:THREADS]


def settings(envs: Path) -> dict[str, str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTHON", "VIRTUAL_ENV", "OMP_", "MINIDL_"))
    }
    return {**kept, **SETTINGS, "TORCHINDUCTOR_CACHE_DIR": str(envs / "torch-compiled")}


class WorkerProcess:
    """One peer's process. It runs only inside `ask`; otherwise it is stopped (SIGSTOP), threads
    and all.
    """

    def __init__(self, envs: Path, peer: str) -> None:
        self.peer = peer
        spec = PEERS[peer]
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (lives as long as the process)
        self.process = subprocess.Popen(
            [executable(envs, spec.environment), spec.script, spec.variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=settings(envs),
            cwd=tempfile.gettempdir(),
        )

    def ask(self, job: dict, timeout: float = 120) -> dict:
        """Sends a job and waits for the answer. Raises WorkerFailed."""
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        try:
            os.kill(process.pid, signal.SIGCONT)
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], timeout)[0]:
                process.kill()
                raise WorkerFailed(f"no answer within {timeout:.0f} s to {job['do']}")
            line = process.stdout.readline()
        except OSError as error:
            raise WorkerFailed(f"died: {self._last_words()}") from error
        if not line:
            raise WorkerFailed(f"died: {self._last_words()}")
        os.kill(process.pid, signal.SIGSTOP)
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerFailed(reply["error"], reply.get("absent", False))
        return reply

    def state(self) -> tuple[str, int]:
        """The state of the process ("T" if stopped) and the CPU time it has used, in ticks."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[11]) + int(fields[12])

    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        return f"exit code {self.process.wait(5)}, {lines[-1][:300] if lines else 'no message'}"


class Idle:
    """Checks that all other processes are stopped and use no CPU time during a measurement.

    >>> with Idle(others) as idle: ...        # doctest: +SKIP
    >>> idle.proved                           # doctest: +SKIP
    """

    def __init__(self, others: list[WorkerProcess]) -> None:
        self.others = [worker for worker in others if worker.alive()]

    def __enter__(self) -> Idle:
        deadline = time.monotonic() + 1
        while not (stopped := self._stopped()) and time.monotonic() < deadline:
            time.sleep(0.001)  # all threads stop within microseconds
        self.before = [worker.state()[1] for worker in self.others]
        self.proved = stopped
        return self

    def __exit__(self, *exception: object) -> None:
        after = [worker.state()[1] for worker in self.others]
        self.proved = self.proved and self._stopped() and after == self.before

    def _stopped(self) -> bool:
        return all(worker.state()[0] == "T" for worker in self.others)
