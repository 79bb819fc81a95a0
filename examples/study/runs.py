"""The runs of the study, trained in several processes, and the files that keep their results."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import minidl as md
from minidl import distributed
from minidl.training.progress import clock
from study import plan, ranks
from study.plan import Settings
from study.run import Result, run

CODE = ("plan.py", "run.py")


def train(wanted: list[Settings], folder: Path, jobs: int, root: str | None) -> None:
    """Trains the runs that have no result in the folder yet, and says how far it is."""
    unique = {file_of(folder, settings): settings for settings in wanted}
    todo = [settings for path, settings in unique.items() if not path.is_file()]
    if not todo:
        return
    if len(todo) < len(unique):
        print(f"{len(unique) - len(todo)} of {len(unique)} runs are there already")
    progress = Progress(todo)
    try:
        run_all(todo, folder, jobs, root, progress.done)
    finally:
        progress.close()


def results(wanted: list[Settings], folder: Path) -> list[Result]:
    return [result for settings in wanted if (result := kept(folder, settings)) is not None]


# ── Files ─────────────────────────────────────────────────────────────────────────────────────────


def file_of(folder: Path, settings: Settings) -> Path:
    """Where the result of these settings is kept. The name has a hash of the settings, of minidl's
    version and of the code that trains: after a change in any of them the run is trained again.
    """
    code = "".join((Path(__file__).parent / name).read_text("utf-8") for name in CODE)
    known = json.dumps([settings, md.__version__, code], sort_keys=True)
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    words = [settings["activation"], settings.get("slope", ""), settings["depth"]]
    words += [settings["initializer"], settings["normalisation"], settings["seed"]]
    return folder / ("-".join(str(word) for word in words if word != "") + f"-{digest}.json")


def kept(folder: Path, settings: Settings) -> Result | None:
    """The result of an earlier run with these settings."""
    path = file_of(folder, settings)
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def keep(folder: Path, result: Result) -> None:
    """Writes the result to its file, all of it or nothing."""
    path = file_of(folder, result["settings"])
    new = path.with_suffix(f".{os.getpid()}.tmp")
    new.write_text(json.dumps(result), "utf-8")
    os.replace(new, path)


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────


def run_all(
    todo: list[Settings], folder: Path, jobs: int, root: str | None, done: Callable[[Result], None]
) -> None:
    """Trains these runs in `jobs` processes of one thread each; keeps each result in the folder and
    calls done(result). For small networks two processes get more done than two threads in one. Where MPI has
    started several ranks, they are the processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for result in _results(todo, jobs, root):
        keep(folder, result)
        done(result)


def _results(todo: list[Settings], jobs: int, root: str | None) -> Iterator[Result]:
    if distributed.world().size > 1:
        yield from ranks.results(todo)
        return
    if jobs == 1:
        threads = md.get_num_threads()
        md.set_num_threads(1)
        try:
            for settings in todo:
                yield run(settings, root)
        finally:
            md.set_num_threads(threads)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(todo) or 1), spawn, _begin, (list(sys.path),))
    try:
        # The children inherit this: from their first moment on, Ctrl-C is the parent's alone.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            futures = [pool.submit(run, settings, root) for settings in todo]
        finally:
            signal.signal(signal.SIGINT, before)
        for future in as_completed(futures):
            yield future.result()
    except BaseException:  # Ctrl-C: what is under way is dropped, what is finished stays
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def _begin(path: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows it is not inherited
    sys.path[:] = path
    md.set_num_threads(1)


# ── Progress ──────────────────────────────────────────────────────────────────────────────────────


class Progress:
    """One line in a terminal that says how far it is and how long it will take; in a log file, a line
    every few seconds.
    """

    def __init__(self, todo: list[Settings]) -> None:
        self.count, self.runs = 0, len(todo)
        self.paid, self.costs = 0.0, sum(map(plan.cost, todo))
        self.begun = self.shown = time.perf_counter()
        self.terminal = sys.stdout.isatty()
        if self.terminal:
            print(f"0 of {self.runs} runs ...", end="", flush=True)

    def done(self, result: Result) -> None:
        self.count += 1
        self.paid += plan.cost(result["settings"])
        now = time.perf_counter()
        if not self.terminal and now - self.shown < 5 and self.count < self.runs:
            return
        self.shown = now
        spent = now - self.begun
        left = clock(spent * (self.costs / self.paid - 1))
        latest = f"{plan.title(result['settings'])}: {result['final']['validation']:.1%}"
        text = f"{self.count} of {self.runs} runs, {clock(spent)}, {left} left; {latest}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print("\r\x1b[K" + text[:width], end="", flush=True)
        else:
            print(text, flush=True)

    def close(self) -> None:
        if self.terminal:
            print(flush=True)
