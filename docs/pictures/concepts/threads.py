"""The picture of docs/concepts/threads.md."""

import numpy as np
import svg

TASKS, TAKEN = 16, 6  # of them; and time slots in which another program has the worker's core


def halves() -> list[list[str]]:
    """The tasks that caller and worker compute, slot by slot: one half for each thread."""
    half = TASKS // 2
    caller = [str(i) for i in range(half)] + [""] * TAKEN
    return [caller, ["-"] * TAKEN + [str(TASKS - 1 - i) for i in range(half)]]


def taken() -> list[list[str]]:
    """The same, where each takes the next task when it is free: from the beginning, and from the end."""
    caller: list[str] = []
    worker: list[str] = []
    first, last = 0, TASKS - 1
    while first <= last:
        caller.append(str(first))
        first += 1
        if len(worker) < TAKEN:
            worker.append("-")
        elif first <= last:
            worker.append(str(last))
            last -= 1
    wide = TAKEN + TASKS // 2  # as long as the halves take
    return [row + [""] * (wide - len(row)) for row in (caller, worker)]


def schedule(title: str, texts: list[list[str]]) -> svg.Picture:
    values = np.array(
        [[{"": 0.0, "-": -1.0}.get(text, 0.7) for text in row] for row in texts], dtype=float
    )
    return svg.heat(
        values, title, texts=[[t.replace("-", "") for t in row] for row in texts], cell=34,
        rows=("caller", "worker"), xlabel="time", limits=(-1, 1),
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    both = svg.beside(
        schedule("A half for each thread", halves()),
        schedule("Each thread takes the next task", taken()),
        title="16 tasks (blue); red: another program has the worker's core",
        columns=1,
    )
    return {"concepts/threads": both}
