"""RESULTS.md and the plots, made from the raw figures under results/.

python benchmarks/report.py        makes them again without measuring
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from environments import PEERS
from results import OURS, Case, Section, Spread, contention_ratio, duration, load
from rounds import IN_MEMORY
from targets import all_targets, bandwidth_share, peak_share

TITLES = {
    "mlp": "Training step of an MLP",
    "tiny": "A chain of 100 tiny operations",
    "activations": "Activations",
    "gemm": "Matrix products",
    "contention": "Alternating with NumPy",
    "dcgan": "Training step of a DCGAN",
    "layers": "Single layers",
    "memory": "Peak memory of a DCGAN",
    "startup": "Before the first step",
    "batches": "Cost against batch",
    "widths": "Cost against width",
}
INTRODUCTION = """# Results

Made by `make bench` ([README.md](README.md) says what is measured and how); not edited by hand.
Ratios are peer time / minidl time, taken round by round: the median, and the range over the rounds
in brackets. Above 1 minidl is faster. Absolute figures are for this machine only.
"""


def write(out: Path) -> None:
    """Writes out/RESULTS.md and the plots under out/results/."""
    sections = load(out / "results")
    lines = [INTRODUCTION, *warnings(sections), *target_table(sections), *machine_lines(sections)]
    for name, title in TITLES.items():
        if name in sections:
            lines += [
                "",
                f"## {title}",
                "",
                *WRITERS[name](sections[name]),
                *footnotes(sections[name]),
            ]
    lines += plots(sections, out)
    (out / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")


def warnings(sections: dict[str, Section]) -> list[str]:
    """Reasons to doubt the figures, printed before any of them."""
    lines = []
    for name, section in sections.items():
        noisy = sum(1 for case in section.cases if case.noisy)
        if section.raw["rounds"] < 5:
            lines.append(f"**{name}: only {section.raw['rounds']} round(s): not to be quoted.**\n")
        if noisy:
            lines.append(
                f"**{name}: the probe failed in {noisy} of {len(section.cases)} cases.**\n"
            )
    return lines


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def label(peer: str) -> str:
    return PEERS[peer].label


def ratio_cell(case: Case, peer: str) -> str:
    spread = case.ratio(peer)
    return spread.text() if spread else case.problem(peer).split(":")[0]


def target_table(sections: dict[str, Section]) -> list[str]:
    rows = []
    for target in all_targets(sections):
        value = "-" if target.value is None else target.form.format(target.value)
        bound = "at most " if target.at_most else ""
        goals: list[str] = []
        for goal in (target.must, target.aim):
            goals += [bound + target.form.format(goal), target.reached(goal)] if goal else ["", ""]
        rows.append([target.work, target.measure, value, *goals, target.worst])
    head = ["work", "against", "reached", "must", "", "aim", "", "decided by"]
    return ["## Targets", "", *table(head, rows)]


def machine_lines(sections: dict[str, Section]) -> list[str]:
    """The machine, dates and versions; the sections may be from several runs."""
    lines = ["", "## Machine and versions", ""]
    runs: dict[str, list[str]] = {}
    for name, section in sections.items():
        facts = "; ".join(f"{key}: {value}" for key, value in section.raw["machine"].items())
        runs.setdefault(facts, []).append(name)
    for facts, names in runs.items():
        lines += [f"- {facts}" + (f" (sections {', '.join(names)})" if len(runs) > 1 else "")]
    peaks = [section.peak for section in sections.values()]
    copies = [section.copy for section in sections.values()]
    lines.append(
        f"- FMA peak of two threads {max(peaks):.0f} GFLOP/s; "
        f"copy, read plus written, {max(copies):.0f} GB/s"
    )
    rows = []
    for name, section in sections.items():
        raw = section.raw
        repeats = sum(
            entry["attempts"] - 1 for case in section.cases for entry in case.measured["rounds"]
        )
        row = [
            name,
            raw["date"],
            f"`{raw['commit']}`",
            raw["rounds"],
            repeats,
            f"{raw['minutes']:.1f}",
        ]
        rows.append(list(map(str, row)))
    lines += ["", *table(["section", "date", "commit", "rounds", "repeated", "minutes"], rows), ""]
    versions: dict[str, set[str]] = {}
    for section in sections.values():
        for environment, packages in section.raw["versions"].items():
            versions.setdefault(environment, set()).update(packages)
    keep = (
        "numpy",
        "torch",
        "jax",
        "jaxlib",
        "tensorflow",
        "tensorflow_cpu",
        "tensorflow-cpu",
        "nnabla",
        "minidl",
    )
    for environment, packages in versions.items():
        chosen = sorted(p for p in packages if p.split("==")[0].lower() in keep)
        lines.append(f"- environment {environment}: {', '.join(chosen)}")
    missing = {p: why for s in sections.values() for p, why in s.raw["missing"].items()}
    lines += [f"- **{label(peer)} was not measured**: {why}" for peer, why in missing.items()]
    return lines


def footnotes(section: Section) -> list[str]:
    """What failed or was marked invalid, and why."""
    notes = []
    for case in section.cases:
        for peer in case.peers:
            problem = case.problem(peer)
            if ":" in problem:
                notes.append(f"- {case.name}, {label(peer)}: {problem}")
    return ["", *notes] if notes else []


# ── One table for each section ───────────────────────────────────────────────────────────────────


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
    others = [peer for peer in section.peers if peer != OURS]
    rows = [
        [case.name, spread_duration(case.ns(OURS)), *(ratio_cell(case, peer) for peer in others)]
        for case in section.cases
    ]
    text = (
        "Time of one operation, forward and backward. JAX compiles the chain to one kernel, "
        "TensorFlow and NNabla run a graph built in advance; minidl, PyTorch and NumPy run "
        "operation by operation."
    )
    return [*table(["work", "minidl, per op", *map(label, others)], rows), "", text]


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
    "gemm": gemm_rows,
    "contention": contention_rows,
    "dcgan": dcgan_rows,
    "layers": layer_rows,
    "memory": memory_rows,
    "startup": startup_rows,
    "batches": sweep_rows,
    "widths": sweep_rows,
}


def plots(sections: dict[str, Section], out: Path) -> list[str]:
    try:
        import figures
    except ImportError as missing:
        return ["", f"No plots: {missing}."]
    paths = figures.draw(sections, out / "results")
    return ["", "## Plots", "", *(f"![{p.stem}](results/{p.name})\n" for p in paths)]


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
