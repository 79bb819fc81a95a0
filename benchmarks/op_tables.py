"""The section `ops` in RESULTS.md."""

from __future__ import annotations

import statistics

from op_figures import SLOWER, beaten_by_a_neighbour, figures, figures_of, scaling
from results import OURS, Section, duration
from tables import table


def op_rows(section: Section) -> list[str]:
    known = [f for f in figures(section) if f.ratio is not None]
    lines = ["Ratios are PyTorch's time / minidl's.", ""]
    groups = [(m, n) for m in ("forward", "both") for n in (1, 2)]
    rows = []
    for mode, threads in groups:
        values = [f.ratio for f in known if (f.mode, f.threads) == (mode, threads) and f.ratio]
        if values:
            below = sum(v < 1 for v in values)
            rows.append(
                [
                    mode,
                    str(threads),
                    f"{statistics.median(values):.2f}",
                    f"{min(values):.2f}",
                    f"{below} of {len(values)}",
                ]
            )
    lines += table(["mode", "threads", "median", "worst", "below 1"], rows)
    slow = sorted((f for f in known if f.ratio and f.ratio < 1), key=lambda f: f.ratio or 0)
    lines += ["", "### Slower than PyTorch", ""]
    lines += table(
        ["call", "", "threads", "minidl", "ratio"],
        [[*f.what, str(f.threads), duration(f.ns), f"{f.ratio:.2f}"] for f in slow],
    )
    lines += ["", f"### Two threads below {SLOWER} of one", ""]
    lines += table(
        ["call", "", "one thread", "two", "one / two"],
        [
            [*one.what, duration(one.ns), duration(two.ns), f"{gain:.2f}"]
            for gain, one, two in sorted(scaling(section), key=lambda entry: entry[0])
            if gain < SLOWER
        ],
    )
    lines += ["", "### Slower than a product that is a little larger", ""]
    lines += table(
        ["product", "", "threads", "time", "the larger one", "its time", "ratio"],
        [
            [*f.what, str(f.threads), duration(f.ns), o.name, duration(o.ns), f"{ratio:.2f}"]
            for ratio, f, o in beaten_by_a_neighbour(section)
        ],
    )
    return [*lines, "", "### All", "", *all_rows(section)]


def all_rows(section: Section) -> list[str]:
    """Every row: minidl's time on two threads, and the ratios on one and two."""
    rows = []
    for case in section.cases:
        by_key = {(f.mode, f.threads): f for f in figures_of(case)}
        cells = [case.name]
        for mode in ("forward", "both"):
            one, two = by_key.get((mode, 1)), by_key.get((mode, 2))
            cells.append(duration(two.ns) if two else case.problem(OURS) or "-")
            cells += [f"{f.ratio:.2f}" if f and f.ratio else "-" for f in (one, two)]
        rows.append(cells)
    head = ["call", "forward", "1 thread", "2 threads", "with gradients", "1 thread", "2 threads"]
    return table(head, rows)
