"""The pictures of the study. Needs matplotlib; no window is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study import plan
from study.plan import Cure
from study.results import (
    Results,
    at_end,
    curves,
    dead_share,
    deepest,
    gradient_norms,
    groups,
    of_cure,
)

# Colours that colour-blind readers can tell apart (Okabe & Ito), and a marker for each.
STYLE = {
    "sigmoid": {"color": "#000000", "marker": "s", "ms": 4},
    "tanh": {"color": "#E69F00", "marker": "^", "ms": 5},
    "ReLU": {"color": "#0072B2", "marker": "o", "ms": 9, "mfc": "none"},  # others may cover it
    "LeakyReLU": {"color": "#009E73", "marker": "v", "ms": 5, "ls": "--"},
    "PReLU": {"color": "#CC79A7", "marker": "D", "ms": 4},
}
OTHERS = {"ELU": "#D55E00", "GELU": "#56B4E9", "SiLU": "#8c6d1f", "Mish": "#882255",
          "RReLU": "#44AA99", "linear": "#999999", "Maxout": "#332288"}  # fmt: skip
STYLE |= {name: {"color": c, "ls": "--", "marker": "x", "ms": 4} for name, c in OTHERS.items()}
TRAIN, VALID = "#E69F00", "#0072B2"


def new(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def cure_panels(height: float, extra: float = 0.0) -> tuple[Figure, list[tuple[Axes, Cure]]]:
    """A figure with a panel for each cure."""
    figure = new(3.4 * len(plan.CURES) + extra, height)
    panels = figure.subplots(1, len(plan.CURES), sharey=True, squeeze=False)[0]
    for axes, cure in zip(panels, plan.CURES, strict=True):
        axes.set_title(f"{'no cure' if cure is plan.NONE else 'cure'}: {_what(cure)}", fontsize=10)
    return figure, list(zip(panels, plan.CURES, strict=True))


def _what(cure: Cure) -> str:
    return "PyTorch's default initializer" if cure is plan.NONE else cure.name


def save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def mean_and_spread(axes: Axes, x: np.ndarray, rows: np.ndarray, **style) -> None:
    """A line for the mean over seeds, a band of one standard deviation."""
    mean = np.nanmean(rows, axis=0)
    axes.plot(x, mean, **style)
    if len(rows) > 1:
        spread = np.nanstd(rows, axis=0, ddof=1)
        axes.fill_between(x, mean - spread, mean + spread, color=style["color"], alpha=0.2, lw=0)


def epochs_axis(axes: Axes) -> None:
    axes.set(xlabel="epoch (0: before training)")
    axes.xaxis.get_major_locator().set_params(integer=True)


def depths_axis(axes: Axes, depths: list[int]) -> None:
    axes.set(xlabel="hidden layers")
    axes.set_xticks(depths, [str(d) if d != 2 else "" for d in depths])  # 2 is too close to 1


def layers_axis(axes: Axes, last: int) -> None:
    axes.set(xlabel="hidden layer (1: next to the pixels)")
    axes.set_xticks([1, *range(5, last + 1, 5)] if last > 5 else range(1, last + 1))


def legend_outside(figure: Figure, axes: Axes, **options) -> None:
    handles, labels = axes.get_legend_handles_labels()
    options = {"loc": "outside upper center", "ncols": len(labels)} | options
    figure.legend(handles, labels, **options)


# ── One hidden layer ──────────────────────────────────────────────────────────────────────────────


def learning_curves(path: Path, layer: Results) -> None:
    """A panel per activation; the others' validation curves are behind it in grey."""
    runs, columns = groups(layer), 5
    rows = -(-len(runs) // columns)
    figure = new(13, 2.6 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    valid = {name: 100 * curves(group, "val_accuracy") for name, group in runs.items()}
    train = {name: 100 * curves(group, "accuracy") for name, group in runs.items()}
    # First epochs may be far below. The ends of all curves must be seen, and more than a line of most.
    later = [
        curve[:, min(1, curve.shape[1] - 1) :] for name, curve in valid.items() if name != "linear"
    ]
    lowest = min(np.nanmin(part) for part in [*later, *(curve[:, -1:] for curve in valid.values())])
    highest = max(np.nanmax(curve) for curve in [*train.values(), *valid.values()])
    for axes, name in zip(panels.flat, runs, strict=False):
        x = np.arange(1, valid[name].shape[1] + 1)
        for other in runs:
            axes.plot(x, np.nanmean(valid[other], axis=0), color="#d0d0d0", lw=0.8, zorder=0)
        mean_and_spread(axes, x, train[name], color=TRAIN, ls="--", label="training, in the epoch")
        mean_and_spread(axes, x, valid[name], color=VALID, label="validation")
        axes.set_title(name, fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels.flat[0].set_ylim(lowest - 1, highest + 0.7)
    for axes in panels.flat[len(runs) :]:
        axes.axis("off")
    figure.supxlabel("epoch")
    figure.supylabel("accuracy (%)")
    legend_outside(figure, panels.flat[0])
    save(figure, path)


def ranking(path: Path, results: Results, title: str) -> None:
    """Accuracy after training, the best at the top: a dot per seed, mean and one standard deviation."""
    runs = groups(results)
    names = sorted(runs, key=lambda name: at_end(runs[name]).mean())
    figure = new(9.5, 0.36 * len(names) + 1.6)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, part, colour in ((left, "validation", VALID), (right, "train", TRAIN)):
        for row, name in enumerate(names):
            values = 100 * at_end(runs[name], part)
            spread = values.std(ddof=1) if len(values) > 1 else 0
            axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.35, ms=5)
            axes.errorbar(values.mean(), row, xerr=spread, color="black", marker="|", ms=11,
                          capsize=3, lw=1.2)  # fmt: skip
    left.set_yticks(range(len(names)), names)
    left.set(xlabel="validation accuracy (%)")
    right.set(xlabel="training accuracy, same images again (%)")
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def slope_sweep(path: Path, slopes: Results) -> None:
    values = sorted(slopes.values("slope"))
    figure = new(9.5, 3.8)
    parts = (("validation", "validation", VALID), ("train", "training", TRAIN))
    for axes, (part, name, colour) in zip(figure.subplots(1, 2), parts, strict=True):
        rows = 100 * np.array([at_end(slopes.find(slope=slope), part) for slope in values]).T
        mean_and_spread(axes, np.array(values), rows, color=colour, marker="o", ms=4)
        axes.axvline(0.01, color="grey", ls=":", lw=1)
        axes.annotate("0.01", (0.01, 0.03), xycoords=("data", "axes fraction"), fontsize=8,
                      xytext=(3, 0), textcoords="offset points")  # fmt: skip
        axes.set(xlabel="LeakyReLU's slope (0: ReLU, 1: linear)", ylabel=f"{name} accuracy (%)")
    save(figure, path)


# ── Depth ─────────────────────────────────────────────────────────────────────────────────────────


def depth_accuracy(path: Path, depth: Results) -> None:
    figure, panels = cure_panels(3.9)
    for axes, cure in panels:
        _by_depth(axes, depth, cure, at_end)
        axes.set_ylim(0, 102)
    panels[0][0].set_ylabel("validation accuracy (%)")
    legend_outside(figure, panels[0][0])
    save(figure, path)


def _by_depth(axes: Axes, depth: Results, cure: Cure, value: Callable) -> None:
    """A line per activation: a value of the runs, one number per seed, against the depth."""
    depths = sorted(depth.values("depth"))
    for name in plan.INITIALIZERS:
        rows = np.array([value(of_cure(depth, cure, name, d)) for d in depths])
        mean_and_spread(axes, np.array(depths), 100 * rows.T, label=name, **STYLE[name])
    depths_axis(axes, depths)


def gradients_at_start(path: Path, depth: Results) -> None:
    """The norm of each hidden layer's weight gradient in the first step of the deepest network."""
    last = deepest(depth)
    figure, panels = cure_panels(3.9)
    for axes, cure in panels:
        for name in plan.INITIALIZERS:
            norms = gradient_norms(of_cure(depth, cure, name, last))[:, 0]
            axes.plot(range(1, len(norms) + 1), norms, label=name, **STYLE[name])
        axes.set_yscale("log")
        layers_axis(axes, last)
    panels[0][0].set_ylabel("gradient norm in the first step")
    legend_outside(figure, panels[0][0])
    save(figure, path)


def gradients_during(path: Path, depth: Results) -> None:
    """The same during training: a row of panels per cure, a column per activation, a line per step."""
    last, names = deepest(depth), list(plan.INITIALIZERS)
    figure = new(13, 2.5 * len(plan.CURES) + 0.6)
    panels = figure.subplots(len(plan.CURES), len(names), sharex=True, sharey=True, squeeze=False)
    for row, cure in zip(panels, plan.CURES, strict=True):
        for axes, name in zip(row, names, strict=True):
            runs = of_cure(depth, cure, name, last)
            _lines(axes, gradient_norms(runs), runs[0]["gradients"]["at"], 0.9)
            axes.set_yscale("log")
            layers_axis(axes, last)
            axes.set_xlabel("")
        row[0].set_ylabel(cure.name.removeprefix("fitting "))
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name, fontsize=10)
    figure.supxlabel("hidden layer (1: next to the pixels)")
    figure.supylabel("gradient norm")
    legend_outside(figure, panels[0, 0], title="step")
    save(figure, path)


def _lines(
    axes: Axes, columns: np.ndarray, labels: list, top: float, first: int = 1, **style
) -> None:
    """A line per column, from dark to light."""
    n = columns.shape[1]
    for i in range(n):
        colour = colormaps["viridis"](top * i / max(n - 1, 1))
        x = range(first, first + len(columns))
        axes.plot(x, columns[:, i], color=colour, label=f"{labels[i]}", **style)


# ── Inside ────────────────────────────────────────────────────────────────────────────────────────


def layer_and_cures(width: float, height: float, depth: Results | None, **options):
    """A figure with a panel for one hidden layer, and one for each cure if there is a depth study."""
    columns = 1 + (len(plan.CURES) if depth else 0)
    figure = new(width * columns + (0 if depth else 1.5), height)
    first, *others = figure.subplots(1, columns, squeeze=False, **options)[0]
    first.set_title("one hidden layer", fontsize=10)
    return figure, first, list(zip(others, plan.CURES, strict=False))


def dead_units(path: Path, layer: Results, depth: Results | None) -> None:
    """Left: one hidden layer, share of units that never fire by epoch. Then: by depth, per cure."""
    figure, first, panels = layer_and_cures(3.6, 3.9, depth)
    for name, runs in groups(layer).items():
        rows = 100 * np.array([run["dead"][0] for run in runs])
        if rows.any():
            style = STYLE.get(name, STYLE["linear"])
            mean_and_spread(first, np.arange(rows.shape[1]), rows, label=name, **style)
    first.set_ylabel("units that never fire (%)")
    epochs_axis(first)
    top = first.get_ylim()[1]
    first.set_ylim(-0.03 * top, 1.35 * top)  # room for the legend
    if first.get_legend_handles_labels()[0]:
        first.legend(fontsize=7, ncols=2)
    for axes, cure in panels:
        _by_depth(axes, depth, cure, dead_share)
        axes.set_ylim(-3, 103)
        axes.set_title(f"after training, {_what(cure)}", fontsize=9)
    if panels:
        panels[0][0].legend(fontsize=7)
    save(figure, path)


def zeros(path: Path, layer: Results, depth: Results | None) -> None:
    """Left: the share of zeros in ReLU's output by epoch; then layer by layer in a deep network."""
    figure, first, panels = layer_and_cures(3.4, 3.6, depth, sharey=True)
    rows = 100 * np.array([run["zeros"] for run in layer.find(activation="ReLU")])[:, :, 0]
    mean_and_spread(first, np.arange(rows.shape[1]), rows, **STYLE["ReLU"])
    first.set(ylabel="zeros in ReLU's output (%)", ylim=(0, 103))
    epochs_axis(first)
    for axes, cure in panels:
        last = deepest(depth)
        runs = of_cure(depth, cure, "ReLU", last)
        for moment, label, colour in ((0, "before training", TRAIN), (-1, "after training", VALID)):
            shares = 100 * np.array([run["zeros"][moment] for run in runs])
            x = np.arange(1, shares.shape[1] + 1)
            mean_and_spread(axes, x, shares, label=label, color=colour, marker="o", ms=4)
        layers_axis(axes, last)
        axes.set_title(f"{last} layers, {_what(cure)}", fontsize=9)
    if panels:
        panels[0][0].legend(fontsize=8)
    save(figure, path)


def prelu_slopes(path: Path, depth: Results, shown: int) -> None:
    """PReLU's mean slope in each layer over the epochs, one panel per cure."""
    figure, panels = cure_panels(3.8, extra=0.8)
    for axes, cure in panels:
        means = np.mean([run["slopes"] for run in of_cure(depth, cure, "PReLU", shown)], axis=0)
        _lines(axes, means, range(1, shown + 1), 0.92, 0, marker=".")
        epochs_axis(axes)
    panels[0][0].set_ylabel("mean slope of the layer's units")
    legend_outside(
        figure, panels[0][0], loc="outside right upper", ncols=1, title="layer", fontsize=8
    )
    save(figure, path)
