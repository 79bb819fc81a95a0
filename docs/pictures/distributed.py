"""The pictures of docs/distributed.md, from docs/distributed.json (benchmarks/distributed.py)."""

import json
from pathlib import Path
from typing import Any

import svg

FIGURES = Path(__file__).resolve().parent.parent / "distributed.json"
SIZE = (470, 330)


def sums(figures: dict[str, Any]) -> svg.Picture:
    """The tree and MPI's allreduce against the number of floats, measured."""
    panels = []
    for ranks in ("2", "4", "8"):
        table = figures["sums"][ranks]
        floats = [int(n) for n in table]
        lines = {
            name: (floats, [1e3 * table[n][key]["least"] for n in table])
            for name, key in (("tree", "tree"), ("MPI_Allreduce", "mpi"))
        }
        panels.append(
            svg.plot(lines, "floats", "ms", f"{ranks} ranks", logx=True, logy=True, markers=True, size=(330, 300))
        )  # fmt: skip
    return svg.beside(*panels, title="Sums over ranks of one machine with 2 cores")


def algorithms(figures: dict[str, Any]) -> svg.Picture:
    """Sums of a million floats against ranks, simulated."""
    sums, ranks = figures["simulated"]["sums"], figures["simulated"]["ranks"][1:]
    panels = [
        svg.plot(
            {kind: (ranks, [1e3 * t for t in times[1:]]) for kind, times in sums[network].items()},
            "ranks", "ms", f"1 M floats, {network}", logx=True, logy=True, markers=True, size=SIZE,
        )
        for network in ("10 GbE, TCP", "InfiniBand HDR")
    ]  # fmt: skip
    return svg.beside(*panels, columns=2)


def scaling(figures: dict[str, Any], kind: str) -> svg.Picture:
    """A step's share of computing (weak) or its speed-up (strong), simulated."""
    simulated, panels = figures["simulated"], []
    ranks = simulated["ranks"]
    for network in ("10 GbE, TCP", "InfiniBand HDR"):
        for when in ("after", "overlapped"):
            lines = {}
            for case, table in simulated[kind].items():
                times = table[f"{network}, {when}"]
                scale = 100 if kind == "weak" else 1
                lines[case] = (ranks, [scale * times[0] / t for t in times])
            panels.append(
                svg.plot(
                    lines, "ranks", "efficiency (%)" if kind == "weak" else "times as fast as one rank",
                    f"{network}, {'sums after backward' if when == 'after' else 'sums overlapped'}",
                    logx=True, logy=kind == "strong", ylim=(0, 105) if kind == "weak" else None, size=SIZE,
                )
            )  # fmt: skip
    return svg.beside(*panels, columns=2)


def pictures() -> dict[str, svg.Picture]:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    return {
        "distributed/sums": sums(figures),
        "distributed/algorithms": algorithms(figures),
        "distributed/weak": scaling(figures, "weak"),
        "distributed/strong": scaling(figures, "strong"),
    }
