"""How one case is measured: interleaved rounds between probes, results compared, all other processes
stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from probe import Probe
from processes import Idle, WorkerFailed, WorkerProcess

TOLERANCE = 1e-4  # of the peers' results, relative, unless the case says otherwise
IN_MEMORY = 1_000_000  # elements that fit into no cache: their time is compared with a copy's
ATTEMPTS = 8  # to measure a round, before it is kept and marked as unfit
REFERENCES = ("numpy", "torch", "jax", "tf", "minidl")  # whose results the others are compared with


def measure_case(
    case: dict,
    workers: dict[str, WorkerProcess],
    probe: Probe,
    rounds: int,
    seconds: float,
    attempts: int,
    log: Callable[[str], None],
) -> dict:
    """All rounds of one case.

    Returns {"peers": {peer: {"rounds": [measurement or None], "check", "error", "invalid"}},
    "rounds": [{"fit", ...}]}.
    """
    peers: dict[str, dict] = {peer: {"rounds": []} for peer in workers}
    for peer, worker in workers.items():
        if peer not in case.get("peers_asked", peers):
            peers[peer].update(error="not asked", absent=True)
            continue
        try:
            peers[peer]["check"] = worker.ask({"do": "prepare", "case": case}, timeout=600)["check"]
        except WorkerFailed as failure:
            peers[peer].update(error=str(failure), absent=failure.absent)
    compare(peers, case.get("tolerances", [(None, TOLERANCE)]))
    running = {peer: worker for peer, worker in workers.items() if "error" not in peers[peer]}
    kept = []
    for number in range(rounds):
        results, facts = fit_round(running, peers, probe, seconds, attempts, log)
        if case.get("elements", 0) >= IN_MEMORY:
            facts["copy_gb_s"] = probe.copy_bandwidth()
        for peer in peers:
            peers[peer]["rounds"].append(results.get(peer))
        kept.append({"number": number, **facts})
    return {"peers": peers, "rounds": kept}


def fit_round(
    workers: dict[str, WorkerProcess],
    peers: dict[str, dict],
    probe: Probe,
    seconds: float,
    attempts: int,
    log: Callable[[str], None],
) -> tuple[dict[str, dict], dict]:
    """A round between two probes that passed; after `attempts` it is kept anyway, and marked."""
    for attempt in range(1, attempts + 1):
        last = attempt == attempts
        before = probe.check()
        if before["passed"] or last:
            results, idle = one_round(workers, peers, seconds)
            after = probe.check()
            fit = before["passed"] and after["passed"] and idle
            if fit or last:
                probes = (before, after)
                return results, {"fit": fit, "idle": idle, "probes": probes, "attempts": attempt}
        log(f"  attempt {attempt}: the probe failed ({before['ratio']:.2f} before): again")
        time.sleep(0.5 * attempt)
    raise AssertionError("the last attempt returns")


def one_round(
    workers: dict[str, WorkerProcess], peers: dict[str, dict], seconds: float
) -> tuple[dict[str, dict], bool]:
    """A measurement of each worker in turn; and whether all others were stopped each time."""
    results, proved = {}, True
    for peer, worker in list(workers.items()):
        with Idle([other for other in workers.values() if other is not worker]) as idle:
            try:
                results[peer] = worker.ask({"do": "measure", "seconds": seconds})
            except WorkerFailed as failure:
                peers[peer]["error"] = str(failure)
                del workers[peer]
        proved = proved and idle.proved
    return results, proved


def compare(peers: dict[str, dict], tolerances: list) -> None:
    """Marks every peer whose results differ from the reference, the first of REFERENCES that has any.

    `tolerances` are pairs (n, tolerance): the first n values (None: all) must agree to this. A worker's
    check is a list, or several by the condition under which they are valid; those with the same
    condition are compared.
    """
    checks = {peer: entry.pop("check", None) for peer, entry in peers.items()}
    checks = {peer: c if isinstance(c, dict) else {"": c} for peer, c in checks.items() if c}
    reference = next((peer for peer in REFERENCES if peer in checks), None)
    if reference is None:
        return  # the results are random (RReLU), or there is nothing to compare
    for peer, check in checks.items():
        for first, tolerance in tolerances:
            apart = max(
                distance(values[:first], checks[reference].get(name, [])[:first])
                for name, values in check.items()
            )
            peers[peer].setdefault("distance", []).append(apart)
            if not apart <= tolerance:  # NaN is not
                peers[peer]["invalid"] = f"results differ from {reference}'s by {apart:.1e}"
        peers[peer]["condition"] = "; ".join(check) if "" not in check else ""


def distance(values: list[float], expected: list[float]) -> float:
    """The largest difference, relative to the largest expected value; inf if the lengths differ."""
    if len(values) != len(expected) or not all(map(math.isfinite, values)):
        return float("inf")
    scale = max(abs(v) for v in expected) or 1.0
    return max(abs(a - b) for a, b in zip(values, expected, strict=True)) / scale
