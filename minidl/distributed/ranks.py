"""The world: all processes, the ranks, that were started together, and what they say to each other.

Every wait is a loop of `World.complete`: it polls, and meanwhile looks for the fault that another rank reports, and at
the clock. So a rank never waits in MPI itself, where Ctrl-C and faults would not be seen.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from minidl import check
from minidl._kernels import LEVELS, get_num_threads, set_num_threads
from minidl.distributed.faults import Faults, RankError, ends_together, say
from minidl.distributed.messages import OBJECT, VALUE, Gathering, Receiving, Sending

LAUNCHERS = ("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "MPI_LOCAL", "SLURM_STEP_", "PALS_", "FLUX_JOB_")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
SPIN = 0.02  # seconds of polling without a pause
LOOK = 0.01  # seconds between two looks for faults
GRACE = 1.0  # seconds in which messages that a rank sent before it ended may still arrive
# Times the timeout, where the rank that is awaited may itself be waiting for another: so a rank that waits for the
# culprit itself gives up first, and names it.
INDIRECT = 1.25


class World:
    """All ranks. `world` makes the only one of a process.

    Attributes:
        rank, size: this process's number, from 0, and how many there are.
        timeout: seconds after which a rank that does not answer ends the job. Longer than any step, validation
            and callbacks included.
        comm: an mpi4py communicator for own use; None if there is one rank.
    """

    def __init__(self, mpi: Any = None, timeout: float = 300.0) -> None:
        self.mpi, self.timeout = mpi, timeout
        self.rank, self.size = 0, 1
        self.comm: Any = None
        self.channel: Any = None  # minidl's own: its messages do not meet those of others
        self.is_alone = False  # in a callback that the other ranks do not call
        self.unfinished: list[Any] = []  # at a fault: MPI may still write to the memory of these
        if mpi is not None and mpi.COMM_WORLD.size > 1:
            self.comm, self.channel = mpi.COMM_WORLD.Dup(), mpi.COMM_WORLD.Dup()
            self.rank, self.size = self.comm.rank, self.comm.size
        self.faults = Faults(self)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which shows progress and writes files."""
        return self.rank == 0

    def others(self) -> list[int]:
        """All ranks but this one. Each rank begins with the one after itself, so that they do not all send to the same
        rank at once.
        """
        return [(self.rank + i) % self.size for i in range(1, self.size)]

    def __repr__(self) -> str:
        if self.size > 1:
            return f"World(rank {self.rank} of {self.size})"
        more = 'mpiexec -n 4 python ..., for which: pip install "minidl[mpi]"'
        return f"World(one rank; start more with: {more})"

    # ── Messages ──────────────────────────────────────────────────────────────────────────────────

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order, on every rank. Any that pickle can write."""
        self.together("World.gather")
        if self.size == 1:
            return [value]
        gathering = Gathering(self, value)
        self.complete([gathering])
        return gathering.values

    def from_main(self, value: Any) -> Any:
        """The value of rank 0, on every rank."""
        self.together("World.from_main")
        if self.size == 1:
            return value
        if self.is_main:
            self.complete([Sending(self, value, self.others(), OBJECT)])
            return value
        receiving = Receiving(self, [0], OBJECT, 1)
        self.complete([receiving])
        return receiving.values[0]

    def barrier(self) -> None:
        """Waits until all ranks are here."""
        self.gather(None)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, only rank 0 runs: what needs all ranks raises RuntimeError."""
        self.is_alone = True
        try:
            yield
        finally:
            self.is_alone = False

    def together(self, who: str) -> None:
        """Before something that all ranks must do."""
        if self.is_alone:
            raise RuntimeError(
                f"{who}: called in a callback that runs on rank 0 alone, while the others wait for its end; give the "
                "callback the attribute every_rank = True"
            )
        if self.comm is not None:
            self.faults.over()

    def send(self, value: Any, rank: int) -> None:
        """Sends a value, for `receive`."""
        sending = Sending(self, value, [self._checked("send", rank)], VALUE)
        self.complete([sending])

    def receive(self, rank: int | None = None, timeout: float | None = None) -> tuple[int, Any]:
        """Waits for a value that was sent to this rank.

        Args:
            rank: whose; None takes the first that comes.
            timeout: in place of the world's; `math.inf` waits for ever.

        Returns:
            The rank that sent it, and the value.

        Raises:
            ValueError: there is no other rank.
        """
        if self.size == 1:
            raise ValueError("World.receive: there is one rank only: nobody can send it a value")
        ranks = self.others() if rank is None else [self._checked("receive", rank)]
        receiving = Receiving(self, ranks, VALUE, 1)
        self.complete([receiving], timeout)
        return next(iter(receiving.values.items()))

    def _checked(self, who: str, rank: Any) -> int:
        rank = check.integer(f"World.{who}", "rank", rank, 0)
        if rank >= self.size or rank == self.rank:
            raise ValueError(
                f"World.{who}: expected another rank below {self.size}, got {rank}, on rank {self.rank}"
            )
        return rank

    def abort(self, message: str) -> None:
        """Shows a message and ends all ranks, with exit code 1."""
        say(f"minidl, rank {self.rank} of {self.size}: {message}\n")
        if self.size == 1:
            raise SystemExit(1)
        self.faults.tell(f"ended the job: {message}")
        self.faults.end()

    # ── Waiting ───────────────────────────────────────────────────────────────────────────────────

    def complete(self, jobs: Iterable[Any], timeout: float | None = None) -> None:
        """Polls the jobs until all are done.

        Raises:
            RankError: another rank reports a fault, or does not answer in time; it is named.
        """
        jobs = list(jobs)
        try:
            self._complete(jobs, self.timeout if timeout is None else timeout)
        except BaseException:
            self.unfinished += jobs
            raise

    def _complete(self, jobs: Sequence[Any], limit: float) -> None:
        left = [job for job in jobs if not self.poll(job)]
        if not left:
            return
        begun = looked = time.monotonic()
        while left:
            now = time.monotonic()
            if now - looked > LOOK:
                looked = now
                self._look(left, now - begun, limit)
            waited = now - begun
            time.sleep(0 if waited < SPIN else min(max(2e-4, waited / 1000), 5e-3))
            left = [job for job in left if not self.poll(job)]

    def poll(self, job: Any) -> bool:
        """Whether a job is done; RankError if MPI says that a connection is lost."""
        try:
            return job.poll()
        except Exception as error:
            if self.mpi is None or not isinstance(error, self.mpi.Exception):
                raise
            lost = named(job.missing())
            raise RankError(
                f"{lost}: the connection was lost ({error})", job.missing(), True
            ) from error

    def _look(self, left: Sequence[Any], waited: float, limit: float) -> None:
        if self.comm is not None:
            self.faults.look()
        for job in left:
            gone = [rank for rank in job.missing() if rank in self.faults.ended]
            if gone and time.monotonic() - self.faults.ended[gone[0]] > GRACE:
                raise RankError(
                    f"{named(gone)} ended its program, but {job.doing()} is awaited", gone, True
                )
            if waited > limit * (INDIRECT if job.indirect else 1):
                missing = job.missing()
                raise RankError(
                    f"{named(missing)} did not answer within {limit:g} s: {job.doing()} is awaited",
                    missing,
                    silent=True,
                )

    def all_done(self, requests: list[Any]) -> bool:
        """Whether these messages have been sent or received."""
        return not requests or self.mpi.Request.Testall(requests)


def named(ranks: Sequence[int]) -> str:
    """Ranks, in a message."""
    some = ", ".join(map(str, ranks[:8])) + (" ..." if len(ranks) > 8 else "")
    return f"rank {some}" if len(ranks) == 1 else f"ranks {some}" if ranks else "another rank"


def check_levels(levels: Sequence[str]) -> None:
    """Raises RankError if ranks have kernels of several CPU levels: their results, and so the parameters of a training,
    differ in their last bits.
    """
    found = {level: [rank for rank, its in enumerate(levels) if its == level] for level in levels}
    if len(found) == 1:
        return
    usual = max(found, key=lambda level: len(found[level]))
    others = [rank for rank, its in enumerate(levels) if its != usual]
    verb, whose = ("differs", "its") if len(others) == 1 else ("differ", "their")
    where = " and ".join(f"{level} on {named(ranks)}" for level, ranks in found.items())
    lowest = min(found, key=("reference", *LEVELS).index)
    raise RankError(
        f"{named(others)} {verb} from the others in the CPU level of {whose} kernels ({where}), whose results "
        f"differ in their last bits. Set the environment variable MINIDL_KERNELS={lowest} for all ranks",
        others,
    )


# ── The only one ──────────────────────────────────────────────────────────────────────────────────

_world: World | None = None


def world(timeout: float | None = None) -> World:
    """The ranks of this job: those that ``mpiexec -n 4 python ...`` (or mpirun, srun) has started. Always the same one.

    Without such a launcher it is one rank, and mpi4py is not needed. Where several ranks share a machine, each takes
    its part of the processors: `minidl.set_num_threads` is called, unless MINIDL_NUM_THREADS is set.

    From the first call on, an exception that ends one rank ends all: its traceback is shown once, the others say which
    rank it was.

    Args:
        timeout: seconds after which a rank that does not answer ends the job (`World.timeout`, 300 at first).

    Raises:
        ModuleNotFoundError: several ranks were started, and mpi4py is missing; says how to install it.

    >>> world()
    World(one rank; start more with: mpiexec -n 4 python ..., for which: pip install "minidl[mpi]")
    """
    global _world
    if _world is None:
        _world = World(_mpi())
        if _world.size > 1:
            ends_together(_world.faults)
            _share_processors(_world)
    if timeout is not None:
        _world.timeout = check.number("world", "timeout", timeout, 0.0)
    return _world


def _mpi() -> Any:
    """mpi4py's MPI, if a launcher has started this process, or the user has imported it."""
    launched = any(name.startswith(LAUNCHERS) for name in os.environ)
    if not launched and "mpi4py.MPI" not in sys.modules:
        return None
    try:
        from mpi4py import MPI  # an optional extra
    except (ImportError, RuntimeError) as error:  # the latter: there is no MPI library
        several = {os.environ.get(name, "1") for name in SIZES} != {"1"}
        if not several:
            return None
        raise ModuleNotFoundError(
            "minidl.distributed: several ranks were started, but mpi4py is missing, or the MPI library for it; "
            f'install both with: pip install "minidl[mpi]" ({error})'
        ) from error
    return MPI


def _share_processors(world: World) -> None:
    if not os.environ.get("MINIDL_NUM_THREADS"):
        affinity = getattr(os, "sched_getaffinity", lambda _: None)(0)
        mine = (world.mpi.Get_processor_name(), affinity)
        set_num_threads(max(1, get_num_threads() // world.gather(mine).count(mine)))
