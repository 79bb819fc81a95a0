"""The plots: cost against batch and width with the FLOP limit, and the ratios of the steps of MLPs
and DCGANs.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from environments import PEERS
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter
from results import OURS, Section

COLOURS = {
    "minidl": "#c0392b", "minidl_captured": "#f1948a",
    "torch": "#2471a3", "torch_fused": "#5dade2", "torch_compile": "#1b4f72",
    "torch_channels_last": "#5499c7",
    "jax": "#1e8449", "jax_scan": "#58d68d", "tf": "#d68910", "numpy": "#7f8c8d",
    "nnabla": "#8e44ad",
}  # fmt: skip


def draw(sections: dict[str, Section], folder: Path) -> list[Path]:
    """Draws the plots whose sections were measured; returns the files."""
    paths = []
    for name, network in (("mlp", "MLP"), ("dcgan", "DCGAN")):
        if name in sections:
            paths.append(step_bars(sections[name], network, folder / f"{name}.png"))
    if "activations" in sections:
        paths.append(activation_dots(sections["activations"], folder / "activations.png"))
    sweeps = {
        "batches": ("batch", "784-256-256-10"),
        "widths": ("width", "784-w-w-10, batch 128"),
    }
    panels = [(sections[name], *text) for name, text in sweeps.items() if name in sections]
    if panels:
        paths.append(sweep_lines(panels, folder / "scaling.png"))
    if "small" in sections:
        section = sections["small"]
        texts = {"width": "16-w-w-4 tanh, batch 64", "batch": "4-32-16-4 tanh"}
        parts = [(section.part(name), name, text) for name, text in texts.items()]
        panels = [panel for panel in parts if panel[0].cases]  # (`--cases` may leave none)
        if panels:
            paths.append(sweep_lines(panels, folder / "small.png"))
    return paths


def save(figure, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def step_bars(section: Section, network: str, path: Path) -> Path:
    """Peer time / minidl time of each network's step, with the range over the rounds."""
    cases = section.cases
    figure, axes = plt.subplots(1, len(cases), figsize=(5 * len(cases), 4), squeeze=False)
    for axis, case in zip(axes[0], cases, strict=True):
        ratios = {p: spread for p in case.peers if (spread := case.ratio(p))}
        for place, (peer, spread) in enumerate(ratios.items()):
            low, high = spread.median - spread.low, spread.high - spread.median
            axis.barh(place, spread.median, xerr=[[low], [high]], color=COLOURS[peer], capsize=3)
            inside = spread.median > 0.15 * max(s.high for s in ratios.values())
            axis.annotate(
                f"{spread.median:.2f}",
                (0 if inside else spread.high, place),
                (5, 0),
                textcoords="offset points",
                va="center",
                color="white" if inside else "black",
            )
        axis.axvline(1, color="black", lw=1)
        axis.set_yticks(range(len(ratios)), [PEERS[peer].label for peer in ratios])
        axis.invert_yaxis()
        axis.set_title(f"{network} {case.name}", fontsize=10)
        axis.set_xlabel("time / minidl's time (longer is slower)")
    return save(figure, path)


def activation_dots(section: Section, path: Path) -> Path:
    """Time per element of every activation, forward + backward, one panel per size."""
    cases = [c for c in section.cases if c.measured["mode"] == "both" and c.measured["slopes"] == 1]
    sizes = sorted({case.measured["elements"] for case in cases})
    names = list(dict.fromkeys(case.measured["activation"] for case in cases))
    figure, axes = plt.subplots(
        1,
        len(sizes),
        figsize=(4.5 * len(sizes), 1.5 + 0.28 * len(names)),
        sharey=True,
        squeeze=False,
    )
    for axis, size in zip(axes[0], sizes, strict=True):
        for peer in section.peers:
            points = [
                (spread.median / size, names.index(case.measured["activation"]))
                for case in cases
                if case.measured["elements"] == size and (spread := case.ns(peer))
            ]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    "o",
                    color=COLOURS[peer],
                    label=PEERS[peer].label,
                    ms=5,
                )
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(f"{size:,} elements", fontsize=10)
        axis.set_xlabel("ns/element, forward + backward")
        axis.grid(alpha=0.3, which="both")
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].invert_yaxis()
    axes[0][-1].legend(fontsize=7)
    return save(figure, path)


def sweep_lines(panels: list[tuple[Section, str, str]], path: Path) -> Path:
    """Time of a training step against batch or width, log-log, with the limit that the FMA peak sets.

    A panel is a section, what its cases differ in, and the network.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(6 * len(panels), 4.5), squeeze=False)
    for axis, (section, name, network) in zip(axes[0], panels, strict=True):
        sizes = [int(case.name.split()[1]) for case in section.cases]
        for peer in section.peers:
            points = [
                (n, s.median / 1e3, s.low / 1e3, s.high / 1e3)
                for n, case in zip(sizes, section.cases, strict=True)
                if (s := case.ns(peer))
            ]
            if points:
                x, y, low, high = zip(*points, strict=True)
                axis.plot(
                    x,
                    y,
                    "o-",
                    color=COLOURS[peer],
                    label=PEERS[peer].label,
                    lw=2 if peer == OURS else 1,
                )
                axis.fill_between(x, low, high, color=COLOURS[peer], alpha=0.2)
        limit = [case.measured["flops"] / section.peak / 1e3 for case in section.cases]
        axis.plot(sizes, limit, "k--", label="FLOP limit")
        axis.set(
            xscale="log",
            yscale="log",
            ylabel="us/step",
            xlabel=name,
        )
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, sizes)
        axis.set_title(f"MLP {network}", fontsize=10)
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=8)
    return save(figure, path)
