"""What a profile has found, as a table and as a trace for chrome://tracing and Perfetto."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from typing import Any, NamedTuple

from minidl import check
from minidl.inspection.text import aligned, in_bytes


class Event(NamedTuple):
    """One call that was timed.

    name: of the op, as `draw` calls it ("affine + relu" if one op does both), or of what else was called.
    phase: "forward", "backward", "optimizer", "data" or "captured".
    start, duration, own: in nanoseconds, `start` on the clock ``time.perf_counter_ns``; `own` is the duration without
        the calls inside that were timed, too.
    thread: its identifier. layer: the layer that it belongs to, "" if there is none or none was asked for.
    nbytes: the size of the arrays that it made, views left out.
    """

    name: str
    phase: str
    start: int
    duration: int
    own: int
    thread: int
    layer: str
    nbytes: int


class Plan(NamedTuple):
    """A captured step that was replayed.

    replays, time: how often, and how long that took in all, in seconds.
    calls: for each op of the plan (calls in a replay, seconds) as the plan timed it last: in its replays 1, 2, 4, 8 ...
    """

    name: str
    replays: int
    time: float
    calls: dict[str, tuple[int, float]]

    @classmethod
    def read(cls, name: str, replays: int, time: float, plan: str) -> Plan:
        """From a printed plan."""
        calls: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        for line in plan.splitlines()[:-1]:  # (the last one is the sum)
            took, _, rest = line.partition(" us  ")
            op = re.split(r"\s{2,}", rest)[0]  # what follows are the arrays that it fills
            calls[op] = calls[op][0] + 1, calls[op][1] + float(took) / 1e6
        return cls(name, replays, time, dict(calls))

    def lines(self) -> list[str]:
        """Its table."""
        total = sum(time for _, time in self.calls.values())
        table = [["op", "calls", "us", "share"]]
        for op, (calls, time) in sorted(self.calls.items(), key=lambda item: -item[1][1]):
            table.append([op, f"{calls}", f"{time * 1e6:.2f}", f"{time / (total or 1):.1%}"])
        count = sum(calls for calls, _ in self.calls.values())
        table.append(["all", f"{count}", f"{total * 1e6:.2f}", ""])
        mean = self.time / self.replays * 1e6
        head = f"captured {self.name}: {self.replays:,} replays, {mean:.1f} us each. One of them, as the plan timed it:"
        return ["", head, *aligned(table, 1)]


class Report:
    """What `profile` shows and saves."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.plans: list[Plan] = []
        self.wall = 0.0
        self.overhead = 0.0  # seconds that timing itself has taken
        self._thread = 0  # that entered the block

    def table(self, by: str = "op", most: int | None = 30) -> str:
        """The times as text, the longest first.

        Columns: calls; milliseconds in all; those of it that are its own (without calls inside that were timed, too);
        its own as a share of the time inside the block; the size of the arrays that were made. The table has only the
        total of a captured step; tables of the calls in it follow.

        Args:
            by: "op" or "layer" (if the profile was given a model): what a line is.
            most: the greatest number of lines; None means all.

        Raises:
            ValueError: another `by`, `most` below 1. TypeError: `most` is not an integer.
        """
        check.choice("profile.table", "by", by, ("op", "layer"))
        most = None if most is None else check.integer("profile.table", "most", most, 1)
        rows = self._sums(by)
        lines = [[by, "phase", "calls", "total ms", "own ms", "share", "made"]]
        for (name, phase), (calls, duration, own, nbytes) in rows[:most]:
            made = in_bytes(nbytes) if nbytes else ""
            lines.append([name, phase, f"{calls:,}", *self._times(own, duration), made])
        rest = [] if most is None else rows[most:]
        if rest:
            calls, own = (sum(row[1][i] for row in rest) for i in (0, 2))
            lines.append([f"({len(rest)} more)", "", f"{calls:,}", *self._times(own), ""])
        inside = sum(event.own for event in self.events if event.thread == self._thread) / 1e9
        outside = max(self.wall - inside - self.overhead, 0.0)
        for name, time in (("outside of ops", outside), ("profile itself", self.overhead)):
            lines.append([name, "", "", *self._times(time * 1e9), ""])
        lines.append(["all", "", "", *self._times(self.wall * 1e9), ""])
        return "\n".join(aligned(lines, 2) + [line for plan in self.plans for line in plan.lines()])

    def _sums(self, by: str) -> list[tuple[tuple[str, str], list[int]]]:
        """((name, phase), [calls, duration, own, bytes]), the greatest `own` first."""
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for event in self.events:
            row = sums[event.name if by == "op" else event.layer or "(no layer)", event.phase]
            for i, n in enumerate((1, event.duration, event.own, event.nbytes)):
                row[i] += n
        return sorted(sums.items(), key=lambda item: -item[1][2])

    def _times(self, own: float, total: float | None = None) -> list[str]:
        """Cells of nanoseconds."""
        share = own / 1e9 / self.wall if self.wall else 0.0
        return ["" if total is None else f"{total / 1e6:.3f}", f"{own / 1e6:.3f}", f"{share:.1%}"]

    def save(self, path: str | os.PathLike) -> None:
        """Writes a trace, a file that ends in .json, for https://ui.perfetto.dev or chrome://tracing.

        It is in the Trace Event Format: complete events (``"ph": "X"``) with ``ts`` and ``dur`` in microseconds.
        """
        if not isinstance(path, str | os.PathLike) or not os.fspath(path).endswith(".json"):
            raise ValueError(f"profile.save: expected a path that ends in .json, got {path!r}")
        import json  # here, as it is seldom needed

        with open(path, "w", encoding="utf-8") as file:
            json.dump(self._trace(), file)

    def _trace(self) -> dict[str, Any]:
        first = min((event.start for event in self.events), default=0)
        threads = dict.fromkeys([self._thread, *(event.thread for event in self.events)])
        places = {thread: i for i, thread in enumerate(threads)}
        process = os.getpid()
        found: list[dict[str, Any]] = [
            {"name": "thread_name", "ph": "M", "pid": process, "tid": i, "args": {"name": f"thread {i}"}}
            for i in places.values()
        ]  # fmt: skip
        for event in self.events:
            args: dict[str, Any] = {"own us": event.own / 1e3}
            if event.layer:
                args["layer"] = event.layer
            if event.nbytes:
                args["bytes"] = event.nbytes
            found.append({
                "name": event.name, "cat": event.phase, "ph": "X", "ts": (event.start - first) / 1e3,
                "dur": event.duration / 1e3, "pid": process, "tid": places[event.thread], "args": args,
            })  # fmt: skip
        return {"traceEvents": found, "displayTimeUnit": "ms"}

    def __repr__(self) -> str:
        return self.table()
