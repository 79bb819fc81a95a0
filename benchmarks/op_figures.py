"""The figures of the section `ops`, and what is slower than PyTorch, than one thread, or than a larger product."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from op_products import NEIGHBOURS
from results import OURS, Case, Section

PEER = "torch"
SLOWER = 0.95  # of one thread's time: two threads that lose more are listed
NOISE = 1.03  # a neighbour must be faster by more than this


@dataclass(frozen=True)
class Figure:
    """One time of a row: mode ("forward" or "both") and threads, in ns; `ratio` is PyTorch's time / minidl's."""

    name: str
    mode: str
    threads: int
    ns: float
    ratio: float | None

    @property
    def what(self) -> list[str]:
        return [self.name, "forward" if self.mode == "forward" else "with gradients"]


def figures(section: Section) -> list[Figure]:
    return [figure for case in section.cases for figure in figures_of(case)]


def figures_of(case: Case) -> Iterator[Figure]:
    """Medians over the rounds; a ratio is taken within each."""
    ours, theirs = case.rounds(OURS), case.rounds(PEER)
    for key in ours[0]["times"] if ours else ():
        mode, threads = key.split()
        ratio = None
        if len(theirs) == len(ours):
            pairs = zip(ours, theirs, strict=True)
            ratio = statistics.median(b["times"][key] / a["times"][key] for a, b in pairs)
        ns = statistics.median(entry["times"][key] for entry in ours)
        yield Figure(case.name, mode, int(threads), ns, ratio)


def ratios(section: Section) -> list[tuple[float, str]]:
    found = [f for f in figures(section) if f.ratio is not None]
    return [(f.ratio, f"{' '.join(f.what)}, threads: {f.threads}") for f in found if f.ratio]


def scaling(section: Section) -> list[tuple[float, Figure, Figure]]:
    """One thread's time over that of two, with both figures."""
    by_key = {(f.name, f.mode, f.threads): f for f in figures(section)}
    pairs = [
        (f, by_key[f.name, f.mode, 2])
        for f in by_key.values()
        if f.threads == 1 and (f.name, f.mode, 2) in by_key
    ]
    return [(one.ns / two.ns, one, two) for one, two in pairs]


def beaten_by_a_neighbour(section: Section) -> list[tuple[float, Figure, Figure]]:
    """Products that take longer than one a little larger: how many times as long, both."""
    by_key = {(f.name, f.mode, f.threads): f for f in figures(section)}
    found = []
    for (name, mode, threads), figure in by_key.items():
        others = [by_key.get((other, mode, threads)) for other in NEIGHBOURS.get(name, ())]
        best = min((o for o in others if o), key=lambda o: o.ns, default=None)
        if best and figure.ns > NOISE * best.ns:
            found.append((figure.ns / best.ns, figure, best))
    return sorted(found, key=lambda entry: -entry[0])
