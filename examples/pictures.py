"""The pictures that the examples draw. Needs matplotlib; no window is opened."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def confusion_matrix(path: Path, labels: np.ndarray, found: np.ndarray, names: list[str]) -> None:
    """How often which class (row) was taken for which (column); wrong ones are red."""
    n = len(names)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, found), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = np.eye(n, dtype=bool)

    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.subplots()
    # Mistakes are rare: their colour depends on the square root, or most would be white.
    axes.imshow(np.where(right, np.nan, np.sqrt(shares)), cmap="Reds", vmin=0, vmax=0.6)
    axes.imshow(np.where(right, shares, np.nan), cmap="Greens", vmin=0, vmax=1.6)
    for row, column in np.argwhere(counts > 0):
        axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=9)
    long = max(map(len, names)) > 1
    axes.set_xticks(range(n), names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(n), names)
    accuracy = (labels == found).mean()
    axes.set(xlabel="found", ylabel="true", title=f"{accuracy:.2%} of {len(labels):,} test images")
    figure.savefig(path, dpi=110)


def predictions(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    found: np.ndarray,
    names: list[str],
    rows: int = 8,
    columns: int = 12,
) -> None:
    """A page of images with the predictions: right ones, then wrong ones in red with the true class."""
    wrong = np.flatnonzero(found != labels)[: rows * columns // 2]
    right = np.flatnonzero(found == labels)[: rows * columns - len(wrong)]
    shown = np.array([*right, *wrong])
    ink = images[shown] / 255
    red = np.ones((*ink.shape, 3)) - ink[..., None] * [0.1, 0.9, 0.9]
    colour = np.where((found == labels)[shown, None, None, None], 1 - ink[..., None], red)

    figure = Figure(figsize=(columns * 0.95, rows * 0.95 + 0.3), layout="constrained")
    axes = figure.subplots()
    corners = mosaic(axes, colour, columns, gap=9)
    size = 7 if max(map(len, names)) < 3 else 5  # long names must not run into each other
    for i, (x, y) in zip(shown, corners, strict=True):
        good = found[i] == labels[i]
        text = names[found[i]] if good else f"{names[found[i]]}, not {names[labels[i]]}"
        axes.text(x + 14, y - 1, text, ha="center", fontsize=size, color="black" if good else "red")
    mistakes = np.count_nonzero(found != labels)
    axes.set_title(f"{len(labels):,} test images, {mistakes} wrong; wrong ones in red")
    figure.savefig(path, dpi=100)


def first_layer(path: Path, weights: np.ndarray, rows: int = 6, columns: int = 12) -> None:
    """The weights of the first layer as images: ink on red activates a unit, ink on blue inhibits it."""
    strength = np.linalg.norm(weights.reshape(len(weights), -1), axis=1)
    # Those with the greatest weights: many others are still as noisy as at the start.
    chosen = weights[np.argsort(-strength)[: rows * columns]]
    chosen = chosen / np.abs(chosen).max(axis=(1, 2), keepdims=True)
    figure = Figure(figsize=(columns * 0.8, rows * 0.85), layout="constrained")
    axes = figure.subplots()
    mosaic(axes, chosen, columns, gap=2, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_title("first-layer weights: ink on red activates a unit, ink on blue inhibits it")
    figure.savefig(path, dpi=100)


def mosaic(axes: Axes, images: np.ndarray, columns: int, gap: int, **options) -> np.ndarray:
    """Images side by side in one picture; returns the upper left corner (x, y) of each."""
    n, height, width = images.shape[:3]
    rows = -(-n // columns)
    shape = (rows * (height + gap), columns * (width + gap), *images.shape[3:])
    page = np.full(shape, np.nan if images.ndim == 3 else 1.0)
    corners = [
        (gap // 2 + i % columns * (width + gap), gap + i // columns * (height + gap))
        for i in range(n)
    ]
    for image, (x, y) in zip(images, corners, strict=True):
        page[y : y + height, x : x + width] = image
    axes.imshow(page, interpolation="nearest", **options)
    axes.axis("off")
    return np.array(corners)
