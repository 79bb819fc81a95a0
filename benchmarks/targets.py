"""The speed targets, each computed from the raw figures; only the goals are written by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from dcgans import DCGANS
from mlps import MLPS
from op_figures import ratios, scaling
from results import CAPTURED, OURS, Case, Section, contention_ratio
from small import CONV, LENET, PASSES, POOL, STEPS, TINY

# Activations that are a few multiplications and comparisons; all others evaluate an exponential or a
# similar function.
ARITHMETIC = {
    "relu", "leaky_relu", "prelu", "crelu", "relu6", "hardtanh", "hardsigmoid", "hardswish",
    "softsign", "softshrink", "hardshrink", "threshold", "maxout", "identity",
}  # fmt: skip
OUTPUTS = {"crelu": 2, "glu": 0.5, "maxout": 0.5}  # per element of x; 1 if not listed


@dataclass(frozen=True)
class Target:
    """A goal and the value reached; `must` or `aim` is None if only the other is set. `worst` names the
    case that decides.
    """

    work: str
    measure: str
    value: float | None
    must: float | None
    aim: float | None = None
    worst: str = ""
    at_most: bool = False
    form: str = "{:.2f}x"

    def reached(self, goal: float | None) -> str:
        if goal is None:
            return ""
        if self.value is None or math.isnan(self.value):
            return "not measured"
        met = self.value <= goal if self.at_most else self.value >= goal
        return "met" if met else "**missed**"


def all_targets(sections: dict[str, Section]) -> list[Target]:
    found: list[Target] = []
    for name, make in MAKERS.items():
        if name in sections:
            found += make(sections[name])
    return found


def worst(
    pairs: Iterable[tuple[float | None, str]], at_most: bool = False
) -> tuple[float | None, str]:
    known = [(value, name) for value, name in pairs if value is not None]
    if not known:
        return None, ""
    return max(known) if at_most else min(known)


def ratio_to(case: Case | None, peer: str | None, ours: str = OURS) -> float | None:
    spread = case.ratio(peer, ours) if case and peer else None
    return spread.median if spread else None


def mlp(section: Section) -> list[Target]:
    goals = dict(zip(MLPS, [(4.0, 1.2, 2.0), (2.0, 1.15, 1.4), (1.3, 1.0, 1.15)], strict=True))
    targets = []
    for name, (default, must, aim) in goals.items():
        if case := section.case(name):
            best = case.best_peer()
            targets.append(
                Target(f"MLP {name}", "PyTorch default", ratio_to(case, "torch"), default)
            )
            targets.append(
                Target(f"MLP {name}", "the best peer", ratio_to(case, best), must, aim, best or "")
            )
    for name, goal in zip(list(MLPS)[1:], [(1.3, 1.4), (1.05, 1.15)], strict=True):
        targets += captured_step(section.case(name), f"MLP {name}, captured", goal)
    return targets


def captured_step(case: Case | None, work: str, goal: tuple[float, float | None]) -> list[Target]:
    """A captured step against the best peer, if one was measured."""
    if case is None or CAPTURED not in case.peers:
        return []
    best = case.best_peer()
    return [Target(work, "the best peer", ratio_to(case, best, CAPTURED), *goal, best or "")]


# name: microseconds of a captured step at most, and of one that is not; its ratio to the best peer
GRADIENT, SMALLEST, MANY_ROWS, DIGITS = STEPS
SMALL_GOALS: dict[str, dict[str, tuple[float, float | None]]] = {
    GRADIENT: {CAPTURED: (10, 5), "ratio": (8.0, None)},
    SMALLEST: {CAPTURED: (9, 4.5), OURS: (30, 20), "ratio": (2.5, None)},
    MANY_ROWS: {"ratio": (1.6, 2.5)},
    LENET: {"ratio": (2.5, 4.0)},
    DIGITS: {"ratio": (1.5, 2.0)},
}
CONV_GOALS = dict(zip(PASSES, (90, 60, 90), strict=True))  # GFLOP/s a core


def small(section: Section) -> list[Target]:
    targets: list[Target] = []
    for name, goals in SMALL_GOALS.items():
        case = section.case(name)
        for peer, suffix in ((CAPTURED, ", captured"), (OURS, "")):
            if peer in goals:
                targets.append(time_target(case, peer, name + suffix, goals[peer], 1e3, "us"))
        targets += captured_step(case, f"{name}, captured", goals["ratio"])
    case = section.case(POOL)
    targets.append(time_target(case, OURS, POOL, (2, 1), 1, "ns an output"))
    for what, must in CONV_GOALS.items():
        name = f"{CONV}, {what}"
        case = section.case(name)
        speed = case.speed(OURS) if case else None
        form = "{:.0f} GFLOP/s"
        targets.append(Target(name, "speed a core", speed and speed / 2, must, 120, form=form))
    name = f"{TINY}, captured"
    return [*targets, time_target(section.case(TINY), CAPTURED, name, (150, 62), 1, "ns an op")]


def time_target(
    case: Case | None,
    peer: str,
    work: str,
    goal: tuple[float, float | None],
    unit: float,
    form: str,
) -> Target:
    spread = case.ns(peer) if case else None
    value = spread.median / unit if spread else None
    return Target(work, "time", value, *goal, at_most=True, form="{:.3g} " + form)


def gemm(section: Section) -> list[Target]:
    cube = next((case for case in section.cases if case.name.startswith("1024^3")), None)
    share = peak_share(cube, section) if cube else None
    slowest = worst((ratio_to(case, "numpy"), case.name) for case in section.cases)
    return [
        Target("GEMM 1024^3", "share of FMA peak", share, 0.85, 0.92, form="{:.0%}"),
        Target("GEMM, every shape", "NumPy's BLAS", slowest[0], 1.0, None, slowest[1]),
    ]


def peak_share(case: Case, section: Section, peer: str = OURS) -> float | None:
    spread = case.ns(peer)
    return case.measured["flops"] / spread.median / section.peak if spread else None


def bytes_moved(case: Case) -> float:
    """What any implementation must move, in float32: x -> y; then (x or y), gy -> gx."""
    outputs = OUTPUTS.get(case.measured["activation"], 1)
    saved = case.measured["activation"] != "maxout"  # whose backward needs no x, only indices
    forward, backward = 1 + outputs, saved + outputs + 1
    arrays = {"forward": forward, "backward": backward, "both": forward + backward}
    return 4 * case.measured["elements"] * arrays[case.measured["mode"]]


def bandwidth_share(case: Case) -> float | None:
    """Bytes that must move per time, divided by the bandwidth of a copy in the same round: the median
    of the rounds.
    """
    shares = [
        bytes_moved(case) / measured["ns"] / copied
        for measured, copied in zip(case.rounds(OURS), case.copies(), strict=False)
    ]
    return statistics.median(shares) if shares else None


def ops(section: Section) -> list[Target]:
    compared = ratios(section)
    value, name = worst(compared)
    median = statistics.median(ratio for ratio, _ in compared) if compared else None
    gain, where = worst((gain, " ".join(one.what)) for gain, one, _ in scaling(section))
    return [
        Target("every operation, the worst", "PyTorch", value, 1.0, None, name),
        Target("every operation, the median", "PyTorch", median, 1.5),
        Target("every operation on two threads, the worst", "one thread", gain, 0.95, None, where),
    ]


def activations(section: Section) -> list[Target]:
    by_size = {
        (size, mode): [
            case
            for case in section.cases
            if case.measured["elements"] == size
            and case.measured["mode"] == mode
            and case.measured["slopes"] == 1
            and case.measured["activation"] != "rrelu"
        ]
        for size in (100_000, 10_000_000)
        for mode in ("forward", "both")
    }
    large = by_size[10_000_000, "forward"] + by_size[10_000_000, "both"]
    targets = []
    for peer, label in (("torch", "PyTorch"), ("jax", "JAX")):
        value, name = worst((ratio_to(case, peer), case.name) for case in large)
        targets.append(
            Target("activations 1e7, fwd and fwd+bwd, the worst", label, value, 4.0, None, name)
        )
    for plain, what, must in ((True, "arithmetic", 0.75), (False, "exp-based", 0.60)):
        chosen = [case for case in large if (case.measured["activation"] in ARITHMETIC) == plain]
        value, name = worst((bandwidth_share(case), case.name) for case in chosen)
        measure = f"share of a copy's bandwidth, {what}"
        targets.append(
            Target("activations 1e7, the worst", measure, value, must, 0.90, name, form="{:.0%}")
        )
    value, name = worst(
        (ratio_to(case, case.best_peer()), f"{case.name} ({case.best_peer()})")
        for case in by_size[100_000, "both"]
    )
    targets.append(
        Target("activations 1e5, fwd+bwd, the worst", "the best peer", value, 2.0, 3.0, name)
    )
    return [*targets, *special_activations(section)]


def special_activations(section: Section) -> list[Target]:
    targets = []
    if case := section.case("prelu per channel backward"):
        best = case.best_peer()
        targets.append(
            Target(
                "PReLU per channel, backward",
                "the best peer",
                ratio_to(case, best),
                6.0,
                8.0,
                best or "",
            )
        )
    if case := section.case("rrelu both 1e+05"):
        best = case.best_peer()
        targets.append(
            Target(
                "RReLU 1e5, fwd+bwd", "the best peer", ratio_to(case, best), 15.0, 20.0, best or ""
            )
        )
    return targets


def tiny(section: Section) -> list[Target]:
    case = section.cases[0] if section.cases else None
    return [Target("tiny op on shape (4,), fwd+bwd", "PyTorch", ratio_to(case, "torch"), 6.0, 20.0)]


def contention(section: Section) -> list[Target]:
    pairs = []
    for case in section.cases:
        values = sorted(contention_ratio(entry) for entry in case.rounds(OURS))
        if values:
            pairs.append((values[len(values) // 2], case.name))
    value, name = worst(pairs, at_most=True)
    return [
        Target(
            "our ops alternating with np.matmul",
            "sum of the parts",
            value,
            1.5,
            1.1,
            name,
            at_most=True,
        )
    ]


def startup(section: Section) -> list[Target]:
    ours, base = section.medians(OURS), section.medians("numpy")
    if ours is None or base is None:
        return []
    wheel = section.raw["peers"][OURS].get("wheel_mb")
    extra = {key: ours[key] - base[key] for key in ("import_ms", "memory_mb")}

    def at_most(work: str, measure: str, value: float, must: float, aim: float | None, unit: str):
        return Target(work, measure, value, must, aim, at_most=True, form="{:.1f} " + unit)

    return [
        at_most("import", "ms above NumPy's", extra["import_ms"], 40, 15, "ms"),
        at_most("wheel", "size", wheel, 5, 2, "MB"),
        at_most("memory after import", "MB above NumPy's", extra["memory_mb"], 12, None, "MB"),
    ]


def dcgan(section: Section) -> list[Target]:
    goals = dict(zip(DCGANS, [(1.3, 1.05, 1.5), (1.15, None, 1.15)], strict=True))
    targets = []
    for name, (default, must, aim) in goals.items():
        if case := section.case(name):
            work, best = f"DCGAN {name}", case.best_peer()
            targets.append(Target(work, "PyTorch default", ratio_to(case, "torch"), default))
            value = ratio_to(case, best)
            targets.append(Target(work, "the best peer", value, must, aim, best or ""))
    return targets


def layers(section: Section) -> list[Target]:
    cases, work = section.cases, "single layers, the worst"
    default = worst((ratio_to(case, "torch"), case.name) for case in cases)
    last = worst((ratio_to(case, "torch_channels_last"), case.name) for case in cases)
    share, slowest = worst((peak_share(case, section), case.name) for case in cases)
    return [
        Target(work, "PyTorch default", default[0], 1.0, None, default[1]),
        Target(work, "PyTorch channels_last", last[0], None, 1.0, last[1]),
        Target(work, "share of FMA peak", share, 0.85, 1.0, slowest, form="{:.0%}"),
    ]


def memory(section: Section) -> list[Target]:
    ours, torchs = section.medians(OURS), section.medians("torch")
    if ours is None:
        return []
    work, measure, value = "peak memory, DCGAN 1x32x32", "a third of PyTorch's", ours["peak_mb"]
    must = torchs["peak_mb"] / 3 if torchs else None
    return [Target(work, measure, value, must, 100, at_most=True, form="{:.0f} MB")]


MAKERS = {
    "mlp": mlp,
    "gemm": gemm,
    "ops": ops,
    "activations": activations,
    "tiny": tiny,
    "contention": contention,
    "startup": startup,
    "dcgan": dcgan,
    "layers": layers,
    "memory": memory,
    "small": small,
}
