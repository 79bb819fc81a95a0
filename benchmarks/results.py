"""The raw figures as medians, ranges and ratios of a case."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

OURS, CAPTURED = "minidl", "minidl_captured"


@dataclass(frozen=True)
class Spread:
    """A median, and the range of the values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def text(self, form: str = "{:.2f}") -> str:
        return f"{form.format(self.median)} ({form.format(self.low)}-{form.format(self.high)})"


class Case:
    """One measured case. Rounds in which the probe failed are used only if there are no others, and
    reported.
    """

    def __init__(self, measured: dict) -> None:
        self.measured = measured
        self.name: str = measured["name"]
        asked = measured.get("peers_asked", measured["peers"])
        self.peers: list[str] = [peer for peer in measured["peers"] if peer in asked]
        rounds = measured["rounds"]
        fit = [i for i, entry in enumerate(rounds) if entry["fit"]]
        self.noisy = len(fit) < len(rounds)
        self.used = fit or list(range(len(rounds)))

    def problem(self, peer: str) -> str:
        """Why a peer does not have a valid figure; "" if it has one."""
        entry = self.measured["peers"].get(peer)
        if entry is None:
            return "not measured"
        if "error" in entry:
            return "-" if entry.get("absent") else f"failed: {entry['error']}"
        if "invalid" in entry:
            return f"invalid: {entry['invalid']}"
        return "" if any(entry["rounds"][i] for i in self.used) else "not measured"

    def rounds(self, peer: str) -> list[dict]:
        if self.problem(peer):
            return []
        entries = self.measured["peers"][peer]["rounds"]
        return [entries[i] for i in self.used if entries[i]]

    def copies(self) -> list[float]:
        """The bandwidth of a copy in each of these rounds, in GB/s; empty if it was not measured."""
        rounds = [self.measured["rounds"][i] for i in self.used]
        return [entry["copy_gb_s"] for entry in rounds if "copy_gb_s" in entry]

    def ns(self, peer: str) -> Spread | None:
        """Median and range of the rounds' medians."""
        values = [entry["ns"] for entry in self.rounds(peer) if "ns" in entry]
        return Spread.of(values) if values else None

    def ratio(self, peer: str, ours: str = OURS) -> Spread | None:
        """Peer's time / minidl's time, round by round: above 1 minidl is faster."""
        own, theirs = self.rounds(ours), self.rounds(peer)
        if len(own) != len(theirs) or not own or "ns" not in own[0]:
            return None
        return Spread.of([b["ns"] / a["ns"] for a, b in zip(own, theirs, strict=True)])

    def speed(self, peer: str) -> float | None:
        """GFLOP/s."""
        spread = self.ns(peer)
        return self.measured["flops"] / spread.median if spread else None

    def best_peer(self) -> str | None:
        """The fastest of the others: the one with the lowest ratio, which the targets are compared with.
        (The medians of their own times could name a slower one, if some rounds were slow for all.)
        """
        others = [peer for peer in self.peers if peer not in (OURS, CAPTURED)]
        ratios = {p: s.median for p in others if (s := self.ratio(p))}
        return min(ratios, key=ratios.__getitem__) if ratios else None

    def brief(self, peer: str) -> str:
        if problem := self.problem(peer):
            return f"{peer} {problem}"
        if spread := (self.ns(peer) if peer == OURS else self.ratio(peer)):
            return (
                f"{peer} {duration(spread.median)}"
                if peer == OURS
                else f"{peer} {spread.median:.2f}x"
            )
        last = self.rounds(peer)[-1]
        if "alternating" in last:
            return f"{peer} {contention_ratio(last):.2f}"
        return peer


def contention_ratio(entry: dict) -> float:
    """The time of both, alternating, over the sum of each alone."""
    return entry["alternating"]["ns"] / (entry["ours"]["ns"] + entry["theirs"]["ns"])


def duration(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns:.3g} ns"


class Section:
    """One section's file of results."""

    def __init__(self, raw: dict) -> None:
        self.raw = raw
        self.cases = [Case(case) for case in raw.get("cases", [])]
        self.peak: float = raw["fma_peak_gflops"]["two"]
        self.copy: float = raw["copy_gb_s"]

    def case(self, name: str) -> Case | None:
        return next((case for case in self.cases if case.name == name), None)

    def part(self, table: str) -> Section:
        """The cases that are shown in one table."""
        cases = [case for case in self.raw["cases"] if case.get("table", "") == table]
        return Section({**self.raw, "cases": cases})

    def medians(self, peer: str) -> dict[str, float] | None:
        """Median of each figure of a peer, in the sections that measure whole processes."""
        rounds = self.raw["peers"].get(peer, {}).get("rounds")
        return (
            {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
            if rounds
            else None
        )

    @property
    def peers(self) -> list[str]:
        return list(dict.fromkeys(peer for case in self.cases for peer in case.peers))


def load(folder: Path) -> dict[str, Section]:
    """All sections measured so far, by name."""
    return {
        path.stem: Section(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))
    }
