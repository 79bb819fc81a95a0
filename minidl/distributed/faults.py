"""What ends a job: an exception on one rank, Ctrl-C, a rank that is silent. All others are told, and say whose it was.

A fault is a short message on a channel of its own, which every waiting rank looks at. The rank where it happened shows
its traceback; the others raise `RankError` at the place where they wait, so that their files are closed and what they
had begun is put back. When all have heard of it (or after `PATIENCE`), MPI ends the processes that are left.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minidl.distributed.ranks import World

FAULT, HEARD, ENDED = 1, 2, 3  # tags
TOGETHER = 1.0  # seconds that a rank at fault waits for ranks before it, which may raise the same: one shows it
LONGER = 10  # times the world's timeout: others that have ended wait so long for rank 0, which may have more to do
PATIENCE = 3.0  # seconds that a rank which ends the job waits for the others to say that they have heard of it
PASSED_ON = 0.1  # seconds for the launcher to pass on what ranks wrote, before one of them aborts


class RankError(RuntimeError):
    """Another rank has raised an exception, was interrupted, differs, or does not answer: the job ends.

    Attributes:
        ranks: which.
        silent: whether they do not answer.
    """

    def __init__(self, message: str, ranks: Sequence[int] = (), silent: bool = False) -> None:
        super().__init__(message)
        self.ranks, self.silent = list(ranks), silent


class Caught(RankError):
    """A program has caught an exception that had ended the job, and goes on."""


class Faults:
    """The faults of a world: telling the others, and hearing of theirs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.comm: Any = None if world.comm is None else world.comm.Dup()
        self.told = False  # the others know that this rank is at fault, or has failed for another's
        self.message = ""  # what they know
        self.heard: tuple[int, str] | None = None  # the rank that was at fault, and what it was
        # Ranks that have ended their program, and when this one heard of it.
        self.ended: dict[int, float] = {}
        self.sent: list[Any] = []
        self.silent: list[int] = []  # ranks that do not answer

    def tell(self, message: str, silent: Sequence[int] = ()) -> None:
        """Tells all others of a fault of this rank, unless another was first. `silent` need not say that they heard."""
        self.silent += silent
        if self.comm is None:
            return
        self._hear()
        if not self.told and self.heard is None:
            self.told, self.message = True, message
            for rank in self.world.others():
                self.sent.append(self.comm.isend(message, rank, FAULT))

    def look(self) -> None:
        """Raises RankError if another rank has told of a fault."""
        self._hear()
        if self.heard is not None:
            rank, message = self.heard
            raise RankError(f"rank {rank} {message}", [rank])

    def over(self) -> None:
        """Raises `Caught` if the others know of a fault of this rank, RankError if of another is known."""
        if self.told:
            raise Caught(self._caught(), [self.world.rank])
        if self.heard is not None:
            self.look()

    def _caught(self) -> str:
        return (
            f"this rank {self.message}, and the program caught it; but that ends the job: the ranks are no longer at "
            "the same place"
        )

    def _hear(self) -> None:
        """Takes what has come. Of several ranks at fault the first counts, on all ranks."""
        for rank in self.world.others():
            if self.comm.iprobe(rank, FAULT):
                message = self.comm.recv(source=rank, tag=FAULT)
                if self.heard is None or rank < self.heard[0]:
                    self.heard = rank, message
            if rank not in self.ended and self.comm.iprobe(rank, ENDED):
                self.comm.recv(source=rank, tag=ENDED)
                self.ended[rank] = time.monotonic()

    def wait_for_ranks_before(self) -> None:
        """Waits until each rank before this one has told of a fault of its own, or heard of this one's: of ranks that
        raise the same, only the first shows it. `TOGETHER` is the limit, as one of them may be computing for long.
        """
        begun, answered = time.monotonic(), False
        before = [rank for rank in self.world.others() if rank < self.world.rank]
        while self.leads() and not answered and time.monotonic() < begun + TOGETHER:
            waiting = [r for r in before if r not in self.ended and r not in self.silent]
            answered = all(self.comm.iprobe(rank, HEARD) for rank in waiting)
            self._hear()  # (afterwards: a rank says that it has heard after it has told of its own fault)
            time.sleep(1e-3)

    def leads(self) -> bool:
        """Whether this rank ends the job, when the others have shown their messages: the first that is at fault."""
        return self.told and (self.heard is None or self.world.rank < self.heard[0])

    def end(self) -> None:
        """Ends all ranks."""
        sys.stdout.flush()
        sys.stderr.flush()
        others = self.world.others()
        self.sent += [self.comm.isend(None, rank, HEARD) for rank in others]
        waiting = [rank for rank in others if rank not in self.silent]
        begun = time.monotonic()
        while (waiting or not self.leads()) and time.monotonic() < begun + PATIENCE * (
            1 if self.leads() else 2
        ):
            self._hear()
            waiting = [rank for rank in waiting if not self.comm.iprobe(rank, HEARD)]
            self.world.all_done(self.sent)  # (a message may need to be driven on)
            time.sleep(1e-3)
        time.sleep(PASSED_ON)
        self.world.mpi.COMM_WORLD.Abort(1)
        os._exit(1)  # (Abort may return, before the launcher has ended this process)

    def wait_for_the_end(self) -> None:
        """At the end of the program: waits for the others to end theirs, as MPI would do, but hears of faults, and
        not for ever.
        """
        if self.told or self.heard is not None:
            if self.told and self.message != said(SystemExit()):
                show(self.world, Caught(self._caught()))
            self.end()
        for rank in self.world.others():
            self.sent.append(self.comm.isend(None, rank, ENDED))
        begun = time.monotonic()
        try:
            while len(self.ended) < self.world.size - 1:
                self.look()
                self._end_in_time(time.monotonic() - begun)
                time.sleep(1e-3)
        except (RankError, KeyboardInterrupt) as error:
            self.tell(said(error), _silent(error))
            show(self.world, error)
            self.end()
        # What is left is MPI_Finalize, which waits for all ranks. One that hangs now can only be ended by a signal.
        if hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            signal.setitimer(signal.ITIMER_REAL, max(self.world.timeout, 1e-3))

    def _end_in_time(self, waited: float) -> None:
        for rank in self.world.others():
            limit = self.world.timeout * (LONGER if rank == 0 else 1)
            if rank not in self.ended and waited > limit:
                text = f"rank {rank} did not end its program within {limit:g} s"
                raise RankError(text, [rank], silent=True)


def _silent(error: BaseException) -> Sequence[int]:
    return error.ranks if isinstance(error, RankError) and error.silent else ()


def show(world: World, error: BaseException) -> None:
    """What a rank says at its end: one line if another was at fault."""
    while isinstance(error, Caught) and error.__context__ is not None:
        error = error.__context__  # it was raised in a `finally`, or the like
    who = f"minidl, rank {world.rank} of {world.size}"
    if isinstance(error, RankError):
        text = f"{who}: ended: {error}\n"
    elif isinstance(error, KeyboardInterrupt):
        text = f"{who}: interrupted (Ctrl-C)\n"
    else:
        text = f"{who}:\n" + "".join(traceback.format_exception(error))
    say(text)


def say(text: str) -> None:
    """Writes to the standard error, in one piece: other ranks write, too."""
    sys.stderr.flush()
    os.write(2, text.encode())


def said(error: BaseException) -> str:
    """What the others are told of an exception."""
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted (Ctrl-C)"
    if isinstance(error, RankError):
        return f"says: {error}"
    if isinstance(error, SystemExit):
        return "ended its program"
    text = str(error).partition("\n")[0]
    return f"raised {type(error).__name__}" + (f": {text}" if text else "")


def ends_together(faults: Faults) -> None:
    """From now on, what ends this rank ends all."""
    before = sys.excepthook

    def at_exception(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        faults.tell(said(error), _silent(error))
        faults.wait_for_ranks_before()
        if faults.heard is not None and faults.heard[1] == said(error) and not faults.leads():
            error = RankError(f"the same as on rank {faults.heard[0]}")
        show(faults.world, error)
        if before is not sys.__excepthook__:
            before(kind, error, trace)
        faults.end()

    sys.excepthook = at_exception
    atexit.register(faults.wait_for_the_end)
