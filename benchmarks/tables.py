"""A table of RESULTS.md for each section."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from environments import PEERS
from results import CAPTURED, OURS, Case, Section, Spread, contention_ratio, duration
from rounds import IN_MEMORY
from targets import bandwidth_share, peak_share


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def label(peer: str) -> str:
    return PEERS[peer].label


def ratio_cell(case: Case, peer: str) -> str:
    spread = case.ratio(peer)
    return spread.text() if spread else case.problem(peer).split(":")[0]


def step_rows(section: Section) -> list[str]:
    """Whole training steps: minidl's time, the others' ratios, and the limit."""
    others = [peer for peer in section.peers if peer != OURS]
    rows = []
    for case in section.cases:
        ours = case.ns(OURS)
        best = case.best_peer()
        limit = case.measured["flops"] / section.peak
        rows.append(
            [
                case.name,
                spread_duration(ours),
                *(ratio_cell(case, peer) for peer in others),
                label(best) if best else "-",
                duration(limit),
            ]
        )
    return table(["work", "minidl, per step", *map(label, others), "best peer", "limit"], rows)


def mlp_rows(section: Section) -> list[str]:
    text = (
        "The limit is the products' floating-point operations at the FMA peak, not counting Adam "
        "or anything else. The losses of the first 20 steps agree with NumPy's to 1e-4, or the entry is "
        "marked invalid. NNabla adds Adam's eps before the bias correction: its losses are "
        "compared with NumPy's in that form."
    )
    return [*step_rows(section), "", text]


def dcgan_rows(section: Section) -> list[str]:
    steps = section.cases[0].measured["steps_checked"] if section.cases else 0
    text = (
        "A step is one of the discriminator, on real and on generated images, then one of the "
        "generator. The limit is the floating-point operations of the convolutions that a step "
        "needs at least, at the FMA peak. The losses of both networks agree with those of "
        "PyTorch's defaults, in the first step to 1e-4 and in the first "
        f"{steps} to 1e-2, or the entry is marked invalid (NumPy does not have convolutions to "
        "compare with; rounding errors grow fast here). NNabla is measured where it is fast enough."
    )
    return [*step_rows(section), "", text]


def spread_duration(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{duration(spread.median)} ({duration(spread.low)}-{duration(spread.high)})"


def tiny_rows(section: Section) -> list[str]:
    text = (
        "Time of one operation, forward and backward. JAX compiles the chain to one kernel, "
        "TensorFlow and NNabla run a graph built in advance; minidl, PyTorch and NumPy run "
        "operation by operation."
    )
    return [*duration_rows(section, "minidl, per op"), "", text]


def array_rows(section: Section) -> list[str]:
    text = (
        "Functions of rows of 100 elements; `parts` adds up all parts of a tensor, `stack` and `concatenate` join "
        "tensors. Both: forward and backward."
    )
    return [*duration_rows(section, "minidl"), "", text]


def duration_rows(section: Section, ours: str) -> list[str]:
    """The time of each case, and the ratios to it."""
    others = [peer for peer in section.peers if peer != OURS]
    rows = [
        [case.name, spread_duration(case.ns(OURS)), *(ratio_cell(case, peer) for peer in others)]
        for case in section.cases
    ]
    return table(["work", ours, *map(label, others)], rows)


def activation_rows(section: Section) -> list[str]:
    others = [peer for peer in section.peers if peer != OURS]
    lines = []
    groups: dict[tuple, list[Case]] = {}
    for case in section.cases:
        groups.setdefault((tuple(case.measured["shape"]), case.measured["mode"]), []).append(case)
    modes = {"forward": "forward", "both": "forward + backward", "backward": "backward"}
    for (shape, mode), cases in groups.items():
        rows = []
        in_memory = cases[0].measured["elements"] >= IN_MEMORY
        for case in cases:
            ours, share = case.ns(OURS), bandwidth_share(case)
            elements = case.measured["elements"]
            rows.append(
                [
                    case.measured["activation"]
                    + (" per channel" if case.measured["slopes"] > 1 else ""),
                    f"{ours.median / elements:.3f}" if ours else case.problem(OURS),
                    *([f"{share:.0%}" if share else "-"] if in_memory else []),
                    *(ratio_cell(case, peer) for peer in others),
                ]
            )
        share_head = ["of a copy's bandwidth"] if in_memory else []
        head = ["activation", "minidl, ns/element", *share_head, *map(label, others)]
        lines += [f"### {modes[mode]}, shape {shape}", "", *table(head, rows), ""]
    return lines


def speed_rows(section: Section, work: str) -> list[str]:
    """GFLOP/s and share of the FMA peak of all, and the others' ratios."""
    others = [peer for peer in section.peers if peer != OURS]
    rows = []
    for case in section.cases:
        speeds = []
        for peer in section.peers:
            spread = case.ns(peer)
            share = peak_share(case, section, peer)
            speeds.append(
                f"{case.measured['flops'] / spread.median:.0f} ({share:.0%})"
                if spread and share
                else "-"
            )
        rows.append([case.name, *speeds, *(ratio_cell(case, peer) for peer in others)])
    speed_heads = [f"{label(peer)}, GFLOP/s" for peer in section.peers]
    head = [work, *speed_heads, *(f"time of {label(p)} / minidl" for p in others)]
    return table(head, rows)


def gemm_rows(section: Section) -> list[str]:
    text = "Shares are of the FMA peak of two threads. Layouts: n is stored as is, t transposed."
    return [*speed_rows(section, "product m x k x n"), "", text]


def layer_rows(section: Section) -> list[str]:
    text = (
        "Forward, gradient of the input and gradient of the weight, batch 64. Shares are of the "
        "FMA peak of two threads; the operations counted are those of the direct sum. Images have "
        "the memory layout that each framework uses between layers: channels last in minidl, "
        "TensorFlow and JAX, NCHW in PyTorch by default."
    )
    return [*speed_rows(section, "layer"), "", text]


def small_rows(section: Section) -> list[str]:
    steps, kernels = section.part(""), section.part("kernels")
    text = (
        "A step is everything from batch to updated weights, or to the gradient where the name says "
        'so. "Captured" is the same function through `md.capture`. The limit is the products\' '
        "floating-point operations at the FMA peak; one in float64 counts as two."
    )
    lines = [*small_steps(steps), "", text, "", "### Kernels", "", *small_kernels(kernels)]
    for table in ("width", "batch"):
        if (part := section.part(table)).cases:
            network = "16-w-w-4 tanh, batch 64" if table == "width" else "4-32-16-4 tanh"
            lines += ["", f"### Step against {table}: {network}", "", *sweep_rows(part)]
    return lines


def small_steps(section: Section) -> list[str]:
    """The time of each, and how many times a captured step's the fastest of the others takes."""
    rows = []
    for case in section.cases:
        best = case.best_peer()
        ratio = case.ratio(best, CAPTURED) if best else None
        rows.append(
            [
                case.name,
                *(spread_duration(case.ns(peer)) for peer in section.peers),
                f"{ratio.text()} {label(best)}" if ratio and best else "-",
                duration(case.measured["flops"] / section.peak),
            ]
        )
    heads = [label(peer) for peer in section.peers]
    return table(["step", *heads, "best peer / captured", "limit"], rows)


def small_kernels(section: Section) -> list[str]:
    rows = []
    for case in section.cases:
        cells = []
        for peer in section.peers:
            spread, speed = case.ns(peer), None
            if "flops" in case.measured:
                speed = case.speed(peer)
            cells.append(
                f"{speed / 2:.0f}" if speed else duration(spread.median) if spread else "-"
            )
        unit = {"max_pool": "time of an output", "tiny": "time of an op"}
        rows.append([case.name, unit.get(case.measured["kind"], "GFLOP/s a core"), *cells])
    return table(["kernel", "", *map(label, section.peers)], rows)


def contention_rows(section: Section) -> list[str]:
    rows = []
    for case in section.cases:
        for peer in case.peers:
            entries = case.rounds(peer)
            if not entries:
                rows.append([case.name, label(peer), case.problem(peer), "", "", "", ""])
                continue
            ours = statistics.median(e["ours"]["ns"] for e in entries)
            theirs = statistics.median(e["theirs"]["ns"] for e in entries)
            own = Spread.of([e["alternating"]["ours_ns"] / e["ours"]["ns"] for e in entries])
            numpys = Spread.of([e["alternating"]["theirs_ns"] / e["theirs"]["ns"] for e in entries])
            whole = Spread.of([contention_ratio(e) for e in entries])
            rows.append(
                [
                    case.name,
                    label(peer),
                    duration(ours),
                    duration(theirs),
                    *(s.text() for s in (own, numpys, whole)),
                ]
            )
    head = [
        "work",
        "op of",
        "op alone",
        "matmul alone",
        "op alternating / alone",
        "matmul alternating / alone",
    ]
    return table([*head, "both / sum of each alone"], rows)


def startup_rows(section: Section) -> list[str]:
    base = section.medians("numpy")
    rows = []
    for peer, entry in section.raw["peers"].items():
        medians = section.medians(peer)
        if medians is None or base is None:
            rows.append([label(peer), entry.get("error", "not measured"), "", "", ""])
            continue
        imports = Spread.of([r["import_ms"] for r in entry["rounds"]])
        rows.append(
            [
                label(peer),
                imports.text("{:.0f}"),
                f"{medians['import_ms'] - base['import_ms']:.0f}",
                f"{medians['memory_mb']:.0f} ({medians['memory_mb'] - base['memory_mb']:+.0f})",
                f"{entry['installed_mb']:.0f}",
                f"{medians['first_step_ms']:.0f}",
            ]
        )
    head = [
        "",
        "import, ms",
        "above NumPy's",
        "memory after import, MB (above NumPy's)",
        "installed, MB",
    ]
    wheel = section.raw["peers"].get(OURS, {}).get("wheel_mb")
    text = f"minidl's own wheel: {wheel:.2f} MB." if wheel else ""
    return [*table([*head, "process start to first training step, ms"], rows), "", text]


def memory_rows(section: Section) -> list[str]:
    base = section.medians(OURS)
    rows = []
    for peer, entry in section.raw["peers"].items():
        if base is None or not entry["rounds"]:
            rows.append([label(peer), entry.get("error", "not measured"), ""])
            continue
        peaks = Spread.of([r["peak_mb"] for r in entry["rounds"]])
        rows.append([label(peer), peaks.text("{:.0f}"), f"{peaks.median / base['peak_mb']:.2f}"])
    text = (
        "The peak resident memory of a separate process that imports the framework and makes 20 "
        "DCGAN steps on 1x32x32, batch 64."
    )
    return [*table(["", "peak, MB", "of minidl's"], rows), "", text]


def sweep_rows(section: Section) -> list[str]:
    others = [peer for peer in section.peers if peer != OURS]
    rows = [
        [
            case.name,
            spread_duration(case.ns(OURS)),
            *(ratio_cell(case, peer) for peer in others),
            duration(case.measured["flops"] / section.peak),
        ]
        for case in section.cases
    ]
    return table(["", "minidl, per step", *map(label, others), "FLOP limit"], rows)


WRITERS = {
    "mlp": mlp_rows,
    "tiny": tiny_rows,
    "activations": activation_rows,
    "arrays": array_rows,
    "gemm": gemm_rows,
    "contention": contention_rows,
    "dcgan": dcgan_rows,
    "layers": layer_rows,
    "small": small_rows,
    "memory": memory_rows,
    "startup": startup_rows,
    "batches": sweep_rows,
    "widths": sweep_rows,
}
