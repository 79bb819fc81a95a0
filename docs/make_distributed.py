"""Writes the tables of docs/distributed.md from docs/distributed.json: python docs/make_distributed.py

The file comes from benchmarks/distributed.py, the pictures from docs/pictures/make.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE, FIGURES = HERE / "distributed.md", HERE / "distributed.json"
ENOUGH = 0.8  # of the time that a rank computes


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def milliseconds(seconds: float) -> str:
    ms = 1e3 * seconds
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.2g}" if ms < 10 else f"{ms:.1f}"


def sums(figures: dict[str, Any]) -> str:
    """The measured time of the tree and of MPI's allreduce, and their ratio."""
    counts = [n for n in figures["sums"] if n != "1"]
    rows = []
    for floats in figures["sums"]["2"]:
        row = [f"{int(floats):,}"]
        for n in counts:
            tree, mpi = (figures["sums"][n][floats][key]["least"] for key in ("tree", "mpi"))
            row.append(f"{milliseconds(tree)} / {milliseconds(mpi)} = **{tree / mpi:.1f}**")
        rows.append(row)
    machine = figures["machine"]
    note = (
        f"Milliseconds of the tree / of `MPI_Allreduce` = their ratio; the least of 9 to 51 times by turns, "
        f"{machine['date']}, MPICH from PyPI, {machine['cpus']} cores of a "
        "shared Zen 4 machine, which 4 and 8 ranks oversubscribe."
    )
    return f"{table(['floats', *(f'{n} ranks' for n in counts)], rows)}\n\n{note}"


def cables(figures: dict[str, Any]) -> str:
    """Sums over ranks with cables of 1 Gbit/s: measured, and simulated."""
    counts = list(figures["cables"])
    rows = []
    for floats in figures["cables"]["2"]:
        if int(floats) < 1 << 18:
            continue  # less than what `tc` lets through at once
        row = [f"{int(floats):,}"]
        for n in counts:
            times = figures["cables"][n][floats]
            measured = [milliseconds(times[key]["least"]) for key in ("tree", "mpi")]
            row += [*measured, milliseconds(times["simulated"])]
        rows.append(row)
    head = [
        f"{n} ranks: {what}" for n in counts for what in ("tree", "`MPI_Allreduce`", "simulated")
    ]
    return table(["floats, ms", *head], rows)


def networks(figures: dict[str, Any]) -> str:
    """The simulated time of 1 M floats."""
    simulated = figures["simulated"]
    shown = [i for i, n in enumerate(simulated["ranks"]) if n in (8, 64, 1024)]
    head = ["1 M floats, ms"] + [f"{kind}" for kind in simulated["sums"]["10 GbE, TCP"]]
    rows = [
        [f"{network}, {simulated['ranks'][i]} ranks", *(milliseconds(times[i]) for times in kinds.values())]
        for network, kinds in simulated["sums"].items()
        for i in shown
    ]  # fmt: skip
    return table(head, rows)


def limits(figures: dict[str, Any], kind: str) -> str:
    """Up to how many ranks it pays, per case and network: sums after backward, and overlapped."""
    simulated = figures["simulated"]
    ranks = simulated["ranks"]
    names = list(simulated["sums"])
    rows = []
    for case, by_network in simulated[kind].items():
        row = [case]
        for network in names:
            cells = []
            for when in ("after", "overlapped"):
                times = by_network[f"{network}, {when}"]
                if kind == "weak":
                    good = [n for n, t in zip(ranks, times, strict=True) if times[0] / t >= ENOUGH]
                    cells.append("none" if good[-1] == 1 else str(good[-1]))
                else:
                    best = min(range(len(times)), key=times.__getitem__)
                    cells.append(f"{ranks[best]} ({times[0] / times[best]:.1f} x)")
            row.append(" / ".join(cells))
        rows.append(row)
    return table(["", *names], rows)


def steps(figures: dict[str, Any]) -> str:
    """What one rank computes: the largest shard's step, and the bytes that it sends."""
    rows = []
    for case, by_samples in figures["steps"].items():
        samples = max(by_samples, key=int)
        parts = by_samples[samples]
        spent = sum(p["forward"] + p["backward"] + p["update"] for p in parts)
        size = sum(p["size"] for p in parts)
        rows.append([case, samples, milliseconds(spent), f"{size / 1e6:.2f}"])
    return table(["", "samples", "ms per step, one core", "MB of gradients"], rows)


def rendered(page: str, figures: dict[str, Any]) -> str:
    """The page with these figures."""
    for mark, text in {
        "sums": sums(figures),
        "cables": cables(figures),
        "steps": steps(figures),
        "networks": networks(figures),
        "weak": limits(figures, "weak"),
        "strong": limits(figures, "strong"),
    }.items():
        page, count = re.subn(
            rf"<!-- {mark} -->\n.*?<!-- end -->",
            lambda _, text=text, mark=mark: f"<!-- {mark} -->\n{text}\n<!-- end -->",
            page,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"docs/distributed.md has {count} places for the table {mark!r}")
    return page


if __name__ == "__main__":
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
