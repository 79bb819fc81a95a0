"""A picture of an activation as SVG: value and slope, with the same scale on both axes.

Written by hand, so that the same curves always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

UNIT = 26  # pixels
MARGIN = 12
HEADER = 24
BLUE, ORANGE, GREEN = "#1b5e9e", "#d55e00", "#00795a"  # dashes tell them apart as well


@dataclass
class Curve:
    """A line of the picture, in pieces: it is broken where it jumps.

    Attributes:
        pieces: (x, y) arrays.
        ends: (x, y, filled) at the jumps: the filled dot is the value, the hollow one is approached.
    """

    label: str
    colour: str
    dashed: bool
    pieces: list[tuple[np.ndarray, np.ndarray]]
    ends: list[tuple[float, float, bool]]


def curve(
    label: str,
    f: Callable[[np.ndarray], np.ndarray],
    kinks: Iterable[float],
    low: float,
    high: float,
    colour: str = BLUE,
    dashed: bool = False,
) -> Curve:
    """f from low to high, broken at the kinks at which it jumps."""
    breaks, ends = [], []
    for kink in sorted(kinks):
        left, at, right = f(np.array([np.nextafter(kink, -9), kink, np.nextafter(kink, 9)]))
        if max(abs(left - at), abs(right - at)) > 1e-6:
            breaks.append(kink)
            ends += [(kink, y, False) for y in (left, right) if abs(y - at) > 1e-6]
            ends.append((kink, at, True))
    pieces = []
    edges = [low, *breaks, high]
    for start, stop in pairwise(edges):
        inside = [kink for kink in kinks if start < kink < stop]
        x = np.union1d(np.linspace(start, stop, int((stop - start) * 40) + 1), inside)
        x[0], x[-1] = np.nextafter(start, stop), np.nextafter(stop, start)
        pieces.append((x, np.round(f(x), 9)))  # the last bits differ from processor to processor
    return Curve(label, colour, dashed, pieces, ends)


def thinned(x: np.ndarray, y: np.ndarray, tolerance: float) -> list[int]:
    """The points to keep, so that the line through them is nowhere farther off than tolerance."""
    keep, waiting = {0, len(x) - 1}, [(0, len(x) - 1)]
    while waiting:
        a, b = waiting.pop()
        between = slice(a + 1, b)
        if b - a < 2:
            continue
        straight = y[a] + (x[between] - x[a]) * (y[b] - y[a]) / (x[b] - x[a])
        distance = np.abs(y[between] - straight)
        worst = a + 1 + int(distance.argmax())
        if distance[worst - a - 1] > tolerance:
            keep.add(worst)
            waiting += [(a, worst), (worst, b)]
    return sorted(keep)


def svg(title: str, curves: list[Curve], low: float, high: float) -> str:
    """The picture as text; both axes go from low to high at most."""
    reached = np.concatenate([y for c in curves for _, y in c.pieces])
    top = float(np.clip(np.ceil(reached.max() - 1e-3), 1, high)) + 0.3
    bottom = float(np.clip(np.floor(reached.min() + 1e-3), low, 0)) - 0.5
    width = (high - low) * UNIT + 2 * MARGIN
    height = (top - bottom) * UNIT + HEADER + MARGIN

    def px(x: float) -> str:
        return _number(MARGIN + (x - low) * UNIT)

    def py(y: float) -> str:
        return _number(HEADER + (top - y) * UNIT)

    right, left, upper, lower = px(high), px(low), py(top), py(bottom)
    columns = [n for n in range(int(np.ceil(low)), int(high) + 1)]
    rows = [n for n in range(int(np.ceil(bottom)), int(np.floor(top)) + 1)]
    grid = "".join(f"M{px(n)} {upper}V{lower}" for n in columns if n)
    grid += "".join(f"M{left} {py(n)}H{right}" for n in rows if n)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(width)} {_number(height)}" '
        f'width="{_number(width)}" height="{_number(height)}" font-family="sans-serif" '
        'font-size="9" fill="none">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<path d="{grid}" stroke="#e4e4e4"/>',
        f'<path d="M{px(0)} {upper}V{lower}M{left} {py(0)}H{right}" stroke="#888"/>',
        '<g fill="#666" text-anchor="middle">',
        *(f'<text x="{px(n)}" y="{py(0)}" dy="10">{n}</text>' for n in columns if n % 2 == 0 and n),
        "</g>",
        '<g fill="#666" text-anchor="end">',
        *(f'<text x="{px(0)}" y="{py(n)}" dx="-3" dy="3">{n}</text>' for n in rows if n),
        "</g>",
        f'<text x="{left}" y="15" fill="#222" font-size="12" font-weight="bold">{escape(title)}</text>',
    ]
    at = width - MARGIN
    for c in reversed(curves):
        parts.append(
            f'<text x="{_number(at)}" y="15" fill="{c.colour}" text-anchor="end">{escape(c.label)}</text>'
        )
        at -= 5.2 * len(c.label) + 8
    for c in curves:
        style = ' stroke-dasharray="5 3"' if c.dashed else ""
        for x, y in c.pieces:
            for line in _inside(x, y, bottom, top):
                kept = thinned(x[line], y[line], 0.15 / UNIT)
                points = " ".join(f"{px(x[line][i])},{py(y[line][i])}" for i in kept)
                parts.append(
                    f'<polyline points="{points}" stroke="{c.colour}" stroke-width="2"{style}/>'
                )
        for x0, y0, filled in c.ends:
            fill = c.colour if filled else "#fff"
            parts.append(
                f'<circle cx="{px(x0)}" cy="{py(y0)}" r="2.8" fill="{fill}" stroke="{c.colour}"/>'
            )
    return "\n".join([*parts, "</svg>", ""])


def _inside(x: np.ndarray, y: np.ndarray, bottom: float, top: float) -> list[slice]:
    """The parts of a line that are inside the picture."""
    seen = np.concatenate([[False], (y >= bottom) & (y <= top), [False]])
    starts = np.flatnonzero(seen[1:] & ~seen[:-1])
    stops = np.flatnonzero(~seen[1:] & seen[:-1])
    return [slice(a, b) for a, b in zip(starts, stops, strict=True) if b - a > 1]


def _number(value: float) -> str:
    """One decimal at most."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
