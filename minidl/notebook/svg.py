"""Small pictures as SVG text: a histogram, and curves over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

BLUE, ORANGE, GREY = "#1f6fb2", "#d9730d", "#767676"
LABEL = 80  # pixels for the name of a curve
FAMILY = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
FONT = f"{FAMILY};font-size:11px"


def number(value: float) -> str:
    """A number in a few characters."""
    return f"{value:.4g}"


def histogram(values: np.ndarray, bins: int = 32) -> str:
    """How often values (finite, at least one) lie in each of `bins` equal parts of their range."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    width, height, step = 256.0, 56.0, 256.0 / bins
    # In units of the range: a difference of two floats may exceed the largest one.
    places = (values / 2 - low / 2) / (high / 2 - low / 2)
    counts = np.bincount(np.clip((places * bins).astype(np.int64), 0, bins - 1), minlength=bins)
    bars = []
    for i, n in enumerate(counts):
        if n:
            bar = max(height * n / counts.max(), 1.0)
            first, after = (low + (high - low) * j / bins for j in (i, i + 1))
            bars.append(
                f'<rect x="{i * step:g}" y="{height - bar:.1f}" width="{step - 1:g}" height="{bar:.1f}">'
                f"<title>{number(first)} to {number(after)}: {n:,}</title></rect>"
            )
    ends = (
        f'<text x="0" y="{height + 14:g}">{number(low)}</text>'
        f'<text x="{width:g}" y="{height + 14:g}" text-anchor="end">{number(high)}</text>'
    )
    return _svg(
        width, height + 18, f'<g fill="{BLUE}">{"".join(bars)}</g><g fill="{GREY}">{ends}</g>',
        f"Histogram of {values.size:,} values from {number(low)} to {number(high)}",
    )  # fmt: skip


def curves(title: str, series: Mapping[str, Sequence[float]]) -> str:
    """One line per name over epochs 1, 2, ...; where a value is not finite the line is broken."""
    width, height, left, top = 300.0, 150.0, 48.0, 22.0
    finite = [v for values in series.values() for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    epochs = max([len(values) for values in series.values()], default=1)

    def x(i: int) -> float:
        return left + width * (i + 0.5 if epochs == 1 else i / (epochs - 1))

    def y(value: float) -> float:
        return top + height * (high / 2 - value / 2) / (high / 2 - low / 2)

    parts = [
        f'<path d="M{left:g} {top:g}V{top + height:g}H{left + width:g}" fill="none" stroke="{GREY}"/>',
        f'<text x="{left:g}" y="13" font-weight="bold" fill="currentColor">{escape(title)}</text>',
        f'<g fill="{GREY}"><text x="{left - 5:g}" y="{top + 8:g}" text-anchor="end">{number(high)}</text>'
        f'<text x="{left - 5:g}" y="{top + height:g}" text-anchor="end">{number(low)}</text>'
        f'<text x="{x(0):g}" y="{top + height + 15:g}">1</text>'
        f'<text x="{left + width:g}" y="{top + height + 15:g}" text-anchor="end">epoch {epochs}</text></g>',
    ]
    for i, (name, values) in enumerate(series.items()):
        colour = (BLUE, ORANGE)[i % 2]
        points = [(x(j), y(v) if math.isfinite(v) else None) for j, v in enumerate(values)]
        path = ""
        for j, (px, py) in enumerate(points):
            if py is not None:
                joined = j > 0 and points[j - 1][1] is not None
                path += f"{'L' if joined else 'M'}{px:.1f} {py:.1f}" + ("" if joined else "h0")
        parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linecap="round">'
            f"<title>{escape(name)}</title></path>"
            f'<text x="{left + width - LABEL * (len(series) - 1 - i):g}" y="13" text-anchor="end" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return _svg(
        left + width + 6, top + height + 20, "".join(parts), f"{title} over {epochs} epochs"
    )


def _svg(width: float, height: float, body: str, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" style="{FONT};max-width:100%" role="img" aria-label="{escape(label)}">{body}</svg>'
    )
