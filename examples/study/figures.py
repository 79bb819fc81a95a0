"""The pictures of the study. Needs matplotlib; no window is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study import plan
from study.results import Results, at_end, curves, gradient_norms, of_cure

# Colours that stay apart for colour-blind eyes too (Okabe & Ito), each with a mark of its own.
STYLE = {
    "sigmoid": {"color": "#000000", "marker": "s", "ms": 4},
    "tanh": {"color": "#E69F00", "marker": "^", "ms": 5},
    "ReLU": {"color": "#0072B2", "marker": "o", "ms": 9, "mfc": "none"},  # others may lie on it
    "LeakyReLU": {"color": "#009E73", "marker": "v", "ms": 5, "ls": "--"},
    "PReLU": {"color": "#CC79A7", "marker": "D", "ms": 4},
}
TRAIN, VALID = "#E69F00", "#0072B2"
TITLES = {
    "none": "no cure: PyTorch's default initializer",
    "initializer": "cure: fitting initializer",
    "LayerNorm": "cure: LayerNorm",
    "BatchNorm": "cure: BatchNorm",
}


def new(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100)


def mean_and_spread(axes: Axes, x: np.ndarray, rows: np.ndarray, **style) -> None:
    """A line for the mean over seeds, a band of one standard deviation."""
    mean = np.nanmean(rows, axis=0)
    axes.plot(x, mean, **style)
    if len(rows) > 1:
        spread = np.nanstd(rows, axis=0, ddof=1)
        axes.fill_between(x, mean - spread, mean + spread, color=style["color"], alpha=0.2, lw=0)


# ── One hidden layer ──────────────────────────────────────────────────────────────────────────────


def learning_curves(path: Path, layer: Results) -> None:
    """A panel per activation; the others' validation curves are behind it in grey."""
    names = layer.values("activation")
    columns = 5
    figure = new(13, 2.6 * -(-len(names) // columns) + 0.4)
    panels = figure.subplots(-(-len(names) // columns), columns, squeeze=False, sharey=True)
    valid = {name: 100 * curves(layer.find(activation=name), "val_accuracy") for name in names}
    train = {name: 100 * curves(layer.find(activation=name), "accuracy") for name in names}
    # First epochs may lie far below; the ends of all curves must be seen, and be more than one line.
    later = [
        rows[:, min(1, rows.shape[1] - 1) :] for name, rows in valid.items() if name != "linear"
    ]
    lowest = min(np.nanmin(rows) for rows in [*later, *(rows[:, -1:] for rows in valid.values())])
    for axes, name in zip(panels.flat, names, strict=False):
        x = np.arange(1, valid[name].shape[1] + 1)
        for other in names:
            axes.plot(x, np.nanmean(valid[other], axis=0), color="#d0d0d0", lw=0.8, zorder=0)
        mean_and_spread(axes, x, train[name], color=TRAIN, ls="--", label="training, in the epoch")
        mean_and_spread(axes, x, valid[name], color=VALID, label="validation")
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    top = max(np.nanmax(rows) for rows in train.values())
    panels.flat[0].set_ylim(lowest - 1, max(top, max(map(np.nanmax, valid.values()))) + 0.7)
    for axes in panels.flat[len(names) :]:
        axes.axis("off")
    figure.supxlabel("epoch")
    figure.supylabel("accuracy (%)")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    save(figure, path)


def ranking(path: Path, results: Results, title: str) -> None:
    """Accuracy after training, best on top: a dot per seed, the mean and one standard deviation."""
    names = results.values("activation")
    valid = {name: 100 * at_end(results.find(activation=name)) for name in names}
    train = {name: 100 * at_end(results.find(activation=name), "train") for name in names}
    names.sort(key=lambda name: valid[name].mean())
    figure = new(9.5, 0.36 * len(names) + 1.6)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, colour in ((left, valid, VALID), (right, train, TRAIN)):
        for row, name in enumerate(names):
            spread = values[name].std(ddof=1) if len(values[name]) > 1 else 0
            axes.plot(values[name], [row] * len(values[name]), "o", color=colour, alpha=0.35, ms=5)
            axes.errorbar(values[name].mean(), row, xerr=spread, color="black", marker="|", ms=11,
                          capsize=3, lw=1.2)  # fmt: skip
        axes.grid(alpha=0.3)
    left.set_yticks(range(len(names)), names)
    left.set(xlabel="validation accuracy (%)")
    right.set(xlabel="training accuracy, same images again (%)")
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def slope_sweep(path: Path, slopes: Results) -> None:
    values = sorted(slopes.values("slope"))
    figure = new(9.5, 3.8)
    for axes, part, colour in zip(
        figure.subplots(1, 2), ("validation", "train"), (VALID, TRAIN), strict=True
    ):
        rows = 100 * np.array([at_end(slopes.find(slope=slope), part) for slope in values]).T
        mean_and_spread(axes, np.array(values), rows, color=colour, marker="o", ms=4)
        axes.axvline(0.01, color="grey", ls=":", lw=1)
        axes.annotate("0.01", (0.01, 0.03), xycoords=("data", "axes fraction"), fontsize=8,
                      xytext=(3, 0), textcoords="offset points")  # fmt: skip
        name = "validation" if part == "validation" else "training"
        axes.set(xlabel="LeakyReLU's slope (0: ReLU, 1: linear)", ylabel=f"{name} accuracy (%)")
        axes.grid(alpha=0.3)
    save(figure, path)


# ── Depth ─────────────────────────────────────────────────────────────────────────────────────────


def depth_accuracy(path: Path, depth: Results) -> None:
    depths = sorted(depth.values("depth"))
    figure = new(3.4 * len(plan.CURES), 3.9)
    panels = figure.subplots(1, len(plan.CURES), sharey=True, squeeze=False)[0]
    for axes, cure in zip(panels, plan.CURES, strict=True):
        for name in plan.INITIALIZERS:
            rows = [at_end(of_cure(depth, cure, depth=d, activation=name)) for d in depths]
            mean_and_spread(axes, np.array(depths), 100 * np.array(rows).T, label=name,
                            **STYLE[name])  # fmt: skip
        axes.set(xlabel="hidden layers", title=TITLES[cure[0]], xticks=depths)
        axes.set_xticks(depths, [str(d) if d != 2 else "" for d in depths])
        axes.title.set_fontsize(10)
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("validation accuracy (%)")
    _legend_above(figure, panels[0])
    save(figure, path)


def gradients_at_start(path: Path, depth: Results) -> None:
    """The norm of each hidden layer's weight gradient in the first step of the deepest network."""
    deepest = max(depth.values("depth"))
    figure = new(3.4 * len(plan.CURES), 3.9)
    panels = figure.subplots(1, len(plan.CURES), sharey=True, squeeze=False)[0]
    for axes, cure in zip(panels, plan.CURES, strict=True):
        for name in plan.INITIALIZERS:
            norms = gradient_norms(of_cure(depth, cure, depth=deepest, activation=name))[:, 0]
            axes.plot(range(1, len(norms) + 1), norms, label=name, **STYLE[name])
        _layers_axis(axes, deepest)
        axes.set_title(TITLES[cure[0]], fontsize=10)
    panels[0].set_ylabel("gradient norm in the first step")
    _legend_above(figure, panels[0])
    save(figure, path)


def gradients_during(path: Path, depth: Results) -> None:
    """The same during training: a row of panels per cure, a column per activation, a line per step."""
    deepest = max(depth.values("depth"))
    names = list(plan.INITIALIZERS)
    figure = new(13, 2.5 * len(plan.CURES) + 0.6)
    panels = figure.subplots(len(plan.CURES), len(names), sharex=True, sharey=True, squeeze=False)
    for row, cure in zip(panels, plan.CURES, strict=True):
        for axes, name in zip(row, names, strict=True):
            runs = of_cure(depth, cure, depth=deepest, activation=name)
            norms, steps = gradient_norms(runs), runs[0]["gradients"]["at"]
            for i in range(norms.shape[1]):
                colour = colormaps["viridis"](0.9 * i / max(norms.shape[1] - 1, 1))
                axes.plot(range(1, len(norms) + 1), norms[:, i], color=colour, label=f"{steps[i]}")
            _layers_axis(axes, deepest)
            axes.set_xlabel("")
        row[0].set_ylabel(cure[0] if cure[0] != "none" else "no cure")
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name, fontsize=10)
    figure.supxlabel("hidden layer (1: next to the pixels)")
    figure.supylabel("gradient norm")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), title="step")
    save(figure, path)


def _layers_axis(axes: Axes, deepest: int) -> None:
    axes.set(xlabel="hidden layer (1: next to the pixels)", yscale="log")
    axes.set_xticks([1, *range(5, deepest + 1, 5)] if deepest > 5 else range(1, deepest + 1))
    axes.grid(alpha=0.3)


def _legend_above(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


# ── Inside ────────────────────────────────────────────────────────────────────────────────────────


def dead_units(path: Path, layer: Results, depth: Results | None) -> None:
    """Left: one hidden layer, share of units that never fire by epoch. Then: by depth, per cure."""
    columns = 1 + (len(plan.CURES) if depth else 0)
    figure = new(3.6 * columns + (1.5 if not depth else 0), 3.9)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    silent = []
    for name in layer.values("activation"):
        rows = 100 * np.array([run["dead"][0] for run in layer.find(activation=name)])
        if not rows.any():
            silent.append(name)
            continue
        known = STYLE.get(
            name, {"color": OTHERS.get(name, "grey"), "ls": "--", "marker": "x", "ms": 4}
        )
        mean_and_spread(panels[0], np.arange(rows.shape[1]), rows, label=name, **known)
    panels[0].set(xlabel="epoch (0: before training)", ylabel="units that never fire (%)")
    panels[0].set_title("one hidden layer", fontsize=10)
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    top = panels[0].get_ylim()[1]
    panels[0].set_ylim(-0.03 * top, 1.35 * top)  # room for the legend
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(fontsize=7, ncols=2)
    for axes, cure in zip(panels[1:], plan.CURES, strict=False):
        depths = sorted(depth.values("depth"))
        for name in plan.INITIALIZERS:
            rows = np.array(
                [
                    [np.mean([shares[-1] for shares in run["dead"]]) for run in runs]
                    for runs in (of_cure(depth, cure, depth=d, activation=name) for d in depths)
                ]
            )
            mean_and_spread(axes, np.array(depths), 100 * rows.T, label=name, **STYLE[name])
        axes.set(xlabel="hidden layers", ylim=(-3, 103), xticks=depths)
        axes.set_xticks(depths, [str(d) if d != 2 else "" for d in depths])
        axes.set_title(f"after training, {TITLES[cure[0]].split(':')[-1].strip()}", fontsize=9)
    for axes in panels:
        axes.grid(alpha=0.3)
    if depth:
        panels[1].legend(fontsize=7)
    save(figure, path)


OTHERS = {"ELU": "#D55E00", "GELU": "#56B4E9", "SiLU": "#8c6d1f", "Mish": "#882255",
          "RReLU": "#44AA99", "linear": "#999999", "Maxout": "#332288"}  # fmt: skip


def zeros(path: Path, layer: Results, depth: Results | None) -> None:
    """Left: the share of zeros in ReLU's output by epoch; then layer by layer in a deep network."""
    columns = 1 + (len(plan.CURES) if depth else 0)
    figure = new(3.4 * columns + (1.5 if not depth else 0), 3.6)
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    rows = 100 * np.array([run["zeros"] for run in layer.find(activation="ReLU")])[:, :, 0]
    mean_and_spread(panels[0], np.arange(rows.shape[1]), rows, **STYLE["ReLU"])
    panels[0].set(xlabel="epoch (0: before training)", ylabel="zeros in ReLU's output (%)")
    panels[0].set_title("one hidden layer", fontsize=10)
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    for axes, cure in zip(panels[1:], plan.CURES, strict=False):
        deepest = max(depth.values("depth"))
        runs = of_cure(depth, cure, depth=deepest, activation="ReLU")
        for moment, label, colour in ((0, "before training", TRAIN), (-1, "after training", VALID)):
            shares = 100 * np.array([run["zeros"][moment] for run in runs])
            x = np.arange(1, shares.shape[1] + 1)
            mean_and_spread(axes, x, shares, label=label, color=colour, marker="o", ms=4)
        _layers_axis(axes, deepest)
        axes.set_yscale("linear")
        axes.set_title(f"{deepest} layers, {TITLES[cure[0]].split(':')[-1].strip()}", fontsize=9)
    panels[0].set_ylim(0, 103)
    for axes in panels:
        axes.grid(alpha=0.3)
    if depth:
        panels[1].legend(fontsize=8)
    save(figure, path)


def prelu_slopes(path: Path, depth: Results, shown: int) -> None:
    """PReLU's mean slope in each layer over the epochs, one panel per cure."""
    figure = new(3.4 * len(plan.CURES) + 0.8, 3.8)
    panels = figure.subplots(1, len(plan.CURES), sharey=True, squeeze=False)[0]
    for axes, cure in zip(panels, plan.CURES, strict=True):
        runs = of_cure(depth, cure, depth=shown, activation="PReLU")
        means = np.mean([run["slopes"] for run in runs], axis=0)
        for i in range(means.shape[1]):
            colour = colormaps["viridis"](0.92 * i / max(means.shape[1] - 1, 1))
            axes.plot(means[:, i], ".-", color=colour, label=f"{i + 1}")
        axes.set(xlabel="epoch (0: before training)")
        axes.set_title(TITLES[cure[0]], fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean slope of the layer's units")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title="layer", fontsize=8)
    save(figure, path)
