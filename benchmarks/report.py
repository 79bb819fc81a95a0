"""RESULTS.md and the plots, made from the raw figures under results/.

python benchmarks/report.py        makes them again without measuring
"""

from __future__ import annotations

import sys
from pathlib import Path

from op_tables import op_rows
from results import Section, load
from tables import WRITERS, label, table
from targets import all_targets

TITLES = {
    "mlp": "Training step of an MLP",
    "tiny": "A chain of 100 tiny operations",
    "activations": "Activations",
    "arrays": "Functions on arrays",
    "ops": "Every operation, on one thread and two",
    "gemm": "Matrix products",
    "contention": "Alternating with NumPy",
    "dcgan": "Training step of a DCGAN",
    "layers": "Single layers",
    "small": "Small networks",
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
    sections, writers = load(out / "results"), WRITERS | {"ops": op_rows}
    lines = [INTRODUCTION, *warnings(sections), *target_table(sections), *machine_lines(sections)]
    for name, title in TITLES.items():
        if name in sections:
            lines += [
                "",
                f"## {title}",
                "",
                *writers[name](sections[name]),
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


def plots(sections: dict[str, Section], out: Path) -> list[str]:
    try:
        import figures
    except ImportError as missing:
        return ["", f"No plots: {missing}."]
    paths = figures.draw(sections, out / "results")
    return ["", "## Plots", "", *(f"![{p.stem}](results/{p.name})\n" for p in paths)]


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
