"""Pictures of curves, points, numbers in cells, bars, and boxes with arrows, as SVG. Needs NumPy only.

Each function returns a `Picture`, which notebooks and the site's live pages show and `save` writes to a file:

    import svg
    svg.plot({"x²": (x, x**2)}, xlabel="x", title="A parabola").save("parabola.svg")

The background is a light panel and the text is dark, whatever the page behind it looks like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#b8741a", "#7a5ab5", "#3a8f9e", "#8a6d5b")
TONES = {  # fill and border of boxes
    "plain": ("#ffffff", "#8a93a3"),
    "blue": ("#dbeaf7", "#1f6fb4"),
    "red": ("#f9dfe2", "#d1495b"),
    "green": ("#dcefe3", "#2e8b57"),
    "grey": ("#e6e9ee", "#8a93a3"),
    "yellow": ("#fbeecd", "#b8741a"),
}
PANEL, TEXT, GRID, FRAME = "#fbfcfe", "#1c2330", "#e1e5ec", "#8a93a3"
SIZE = 13  # of letters, in pixels
LINE = 18  # from one line of text to the next


class Picture:
    """The elements of a drawing, and its size in pixels."""

    def __init__(
        self, width: float, height: float, elements: Sequence[str], title: str = ""
    ) -> None:
        self.width, self.height = math.ceil(width), math.ceil(height)
        self.elements, self.title = list(elements), title

    def _repr_svg_(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" font-family="sans-serif" '
                f'font-size="{SIZE}" fill="{TEXT}" role="img">',
                *([f"<title>{escape(self.title)}</title>"] if self.title else []),
                f'<rect class="panel" width="{self.width}" height="{self.height}" rx="8" fill="{PANEL}"/>',
                *self.elements,
                "</svg>\n",
            ]
        )

    def save(self, path: str | Path) -> None:
        """Writes the file."""
        Path(path).write_text(self._repr_svg_(), encoding="utf-8", newline="\n")


def text_width(text: str, size: int = SIZE) -> float:
    """About how many pixels a line of text takes. (Fonts differ; this is on the wide side.)"""
    return 0.6 * size * len(text)


def number(value: float) -> str:
    """A number as people write it: at most four digits."""
    return f"{value:.4g}".replace("-", "−").replace("e+0", "e").replace("e−0", "e−")


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{_px(x)}" y="{_px(y)}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _heading(title: str, width: float) -> list[str]:
    return [_text(width / 2, 24, title, more=' font-weight="bold"')] if title else []


def _upright(label: str, y: float) -> list[str]:
    """The label of a vertical axis, at the left border."""
    turn = f' transform="rotate(-90 18 {_px(y)})"'
    return [_text(18, y, label, more=turn)] if label else []


# ── Axes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Axis:
    """Maps values to pixels, linearly or by their logarithm, and knows where its ticks are."""

    def __init__(self, values: Sequence[np.ndarray], limits: Any, log: bool, room: float) -> None:
        self.log = log
        every = np.concatenate([np.ravel(v) for v in values]) if len(values) else np.zeros(1)
        every = every[np.isfinite(every) & ((every > 0) | (not log))]
        low, high = limits if limits else (every.min(initial=np.inf), every.max(initial=-np.inf))
        if not low <= high:  # there is nothing to show
            low, high = (0.1, 1.0) if log else (0.0, 1.0)
        low, high = (math.log10(low), math.log10(high)) if log else (float(low), float(high))
        if low == high:
            low, high = low - 0.5, high + 0.5
        margin = 0 if limits else room * (high - low)
        self.low, self.high = low - margin, high + margin
        self.begin = self.end = 0.0  # in pixels; set when the size of the frame is known

    def scale(self, values: Any) -> np.ndarray:
        """The pixels of values; NaN for those outside of the axis."""
        values = np.asarray(values, dtype=np.float64)
        if self.log:
            values = np.log10(np.where(values > 0, values, np.nan))
        part = (values - self.low) / (self.high - self.low)
        part[(part < -1e-9) | (part > 1 + 1e-9)] = np.nan
        return self.begin + part * (self.end - self.begin)

    def ticks(self, most: int) -> list[float]:
        """Round values, at most so many."""
        if self.log:
            first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
            step = max(1, -(-(last - first + 1) // most))
            if last > first:
                return [10.0**k for k in range(first, last + 1, step)]
            return [float(f"{10**v:.1g}") for v in (self.low, self.high)]
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [float(f"{(first + k) * step:.12g}") for k in range(count)]


def _legend(names: Sequence[str], left: float, right: float, top: float) -> tuple[list[str], float]:
    """The names of the series, above the frame, where they cannot hide data; and where they end."""
    out, at, line = [], left, top + 4
    for i, name in enumerate(names):
        if at > left and at + text_width(name) + 24 > right:
            at, line = left, line + LINE
        colour = COLOURS[i % len(COLOURS)]
        out.append(f'<rect x="{_px(at)}" y="{line - 2}" width="18" height="4" fill="{colour}"/>')
        out.append(_text(at + 24, line + 5, name, "start"))
        at += text_width(name) + 38
    return out, line + LINE if names else top


def _axes(
    x: _Axis, y: _Axis, names: Sequence[str], xlabel: str, ylabel: str, title: str, size: tuple[int, int],
    labels: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Frame, grid, ticks, labels and legend; sets the axes' pixels. `labels` replace the ticks of x."""
    width, height = size
    yticks = y.ticks(6)
    left = 16 + max(text_width(number(t)) for t in yticks) + (LINE if ylabel else 0)
    right, bottom = width - 22, height - 16 - LINE - (LINE if xlabel else 0)
    legend, top = _legend(names, left, right, 14 + (24 if title else 0))
    x.begin, x.end, y.begin, y.end = left, right, bottom, top
    frame = (
        f'<rect class="frame" x="{_px(left)}" y="{_px(top)}" width="{_px(right - left)}" '
        f'height="{_px(bottom - top)}" fill="#ffffff" stroke="{FRAME}"/>'
    )
    out = [*_heading(title, width), *legend, frame]
    for t, at in zip(yticks, y.scale(yticks), strict=True):
        out.append(f'<path d="M{_px(left)} {_px(at)}H{_px(right)}" stroke="{GRID}"/>')
        out.append(_text(left - 8, at + 4, number(t), "end"))
    if labels:
        for i, label in enumerate(labels):
            out.append(_text(left + (i + 0.5) * (right - left) / len(labels), bottom + LINE, label))
    else:
        xticks = x.ticks(8)
        for t, at in zip(xticks, x.scale(xticks), strict=True):
            out.append(f'<path d="M{_px(at)} {_px(top)}V{_px(bottom)}" stroke="{GRID}"/>')
            out.append(_text(at, bottom + LINE, number(t)))
    if xlabel:
        out.append(_text((left + right) / 2, bottom + 2 * LINE, xlabel))
    return out + _upright(ylabel, (top + bottom) / 2)


def _series(given: Any) -> tuple[list[str], list[tuple[np.ndarray, np.ndarray]]]:
    """Names (none for a list) and the x and y of each: (x, y), an array (N, 2), or y alone, counted from 0."""
    named = isinstance(given, Mapping)
    pairs = []
    for item in given.values() if named else given:
        if not isinstance(item, tuple):
            a = np.asarray(item, dtype=np.float64)
            item = (a[:, 0], a[:, 1]) if a.ndim == 2 else (np.arange(a.size), a)
        xs, ys = (np.asarray(v, dtype=np.float64).ravel() for v in item)
        if len(xs) != len(ys):
            raise ValueError(f"a line has {len(xs)} values of x and {len(ys)} of y")
        pairs.append((xs, ys))
    return list(given) if named else [], pairs


def plot(
    lines: Any, xlabel: str = "", ylabel: str = "", title: str = "", *, xlim: Any = None, ylim: Any = None,
    logx: bool = False, logy: bool = False, markers: bool = False, size: tuple[int, int] = (560, 340),
) -> Picture:  # fmt: skip
    """Curves. `lines`: {name: (x, y)}, {name: y} or a list of either; what is outside the limits is left out."""
    names, pairs = _series(lines)
    x = _Axis([p[0] for p in pairs], xlim, logx, 0.03 if markers else 0.0)
    y = _Axis([p[1] for p in pairs], ylim, logy, 0.06)
    out = _axes(x, y, names, xlabel, ylabel, title, size)
    for i, (xs, ys) in enumerate(pairs):
        colour = COLOURS[i % len(COLOURS)]
        px, py = x.scale(xs), y.scale(ys)
        seen = np.isfinite(px) & np.isfinite(py)
        breaks = np.flatnonzero(np.diff(np.concatenate([[0], seen, [0]]).astype(int)))
        for a, b in breaks.reshape(-1, 2):
            points = " ".join(f"{_px(u)},{_px(v)}" for u, v in zip(px[a:b], py[a:b], strict=True))
            out.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
        if markers:
            out += _dots(px[seen], py[seen], colour, 3.5)
    return Picture(*size, out, title)


def scatter(
    points: Any, xlabel: str = "", ylabel: str = "", title: str = "", *, xlim: Any = None, ylim: Any = None,
    radius: float = 3.0, size: tuple[int, int] = (440, 400),
) -> Picture:  # fmt: skip
    """Points. `points`: {name: (x, y)}, {name: array (N, 2)} or a list of either."""
    names, pairs = _series(points)
    x = _Axis([p[0] for p in pairs], xlim, False, 0.06)
    y = _Axis([p[1] for p in pairs], ylim, False, 0.06)
    out = _axes(x, y, names, xlabel, ylabel, title, size)
    for i, (xs, ys) in enumerate(pairs):
        px, py = x.scale(xs), y.scale(ys)
        seen = np.isfinite(px) & np.isfinite(py)
        out += _dots(px[seen], py[seen], COLOURS[i % len(COLOURS)], radius)
    return Picture(*size, out, title)


def _dots(px: np.ndarray, py: np.ndarray, colour: str, radius: float) -> list[str]:
    return [
        f'<circle cx="{_px(u)}" cy="{_px(v)}" r="{radius}" fill="{colour}" fill-opacity="0.8"/>'
        for u, v in zip(px, py, strict=True)
    ]


def bars(
    values: Any, xlabel: str = "", ylabel: str = "", title: str = "", *, logy: bool = False,
    size: tuple[int, int] = (560, 340),
) -> Picture:  # fmt: skip
    """Bars. `values`: {label: value}, or {label: {series: value}} for several bars at each label."""
    groups = {k: v if isinstance(v, Mapping) else {"": v} for k, v in values.items()}
    names = list(dict.fromkeys([name for group in groups.values() for name in group]))
    heights = np.array([v for group in groups.values() for v in group.values()], dtype=np.float64)
    x = _Axis([np.array([0.0, len(groups)])], (0, len(groups)), False, 0.0)
    ends = heights if logy else np.append(heights, 0.0)
    y = _Axis([ends], None, logy, 0.1)
    if logy:
        y.low -= 0.5  # so that the least of them can be seen
    elif heights.min(initial=0.0) >= 0:
        y.low = 0.0
    out = _axes(x, y, names if names != [""] else [], xlabel, ylabel, title, size, list(groups))
    foot = y.begin if logy else float(y.scale([0.0])[0])
    for i, group in enumerate(groups.values()):
        for k, (name, value) in enumerate(group.items()):
            left, right = x.scale(
                [i + 0.15 + 0.7 * k / len(group), i + 0.15 + 0.7 * (k + 1) / len(group)]
            )
            top = float(y.scale([value])[0])
            out.append(
                f'<rect class="bar" x="{_px(left)}" y="{_px(min(top, foot))}" width="{_px(right - left - 2)}" '
                f'height="{_px(abs(foot - top))}" fill="{COLOURS[names.index(name) % len(COLOURS)]}"/>'
            )
    return Picture(*size, out, title)


# ── Cells, and boxes with arrows ─────────────────────────────────────────────────────────────────────────────────────


def heat(
    values: Any, title: str = "", *, xlabel: str = "", ylabel: str = "", texts: Any = None,
    rows: Sequence[str] = (), columns: Sequence[str] = (), limits: Any = None, cell: int = 44,
    marked: Sequence[tuple[int, int]] = (),
) -> Picture:  # fmt: skip
    """A 2-D array as coloured cells: blue above 0, red below, white at 0, grey where it is NaN.

    Args:
        texts: what is written into the cells, or False for nothing; default: the numbers.
        rows, columns: labels.
        limits: the values (low, high) with the strongest colours; default: those of the array.
        marked: (row, column) of cells with a bold border.
    """
    a = np.atleast_2d(np.asarray(values, dtype=np.float64))
    strongest = np.nanmax(np.abs(limits if limits else a), initial=0.0) or 1.0
    left = 16 + (LINE if ylabel else 0) + max([text_width(str(r)) + 8 for r in rows], default=0)
    top = 16 + (24 if title else 0) + (LINE if columns else 0)
    wide = a.shape[1] * cell
    width = max(left + wide + 16, text_width(title) + 24)
    left += max(0, (width - left - wide - 16) / 2)
    out = _heading(title, width)
    at = {}
    for i, j in np.ndindex(a.shape):
        x, y = left + j * cell, top + i * cell
        text = number(a[i, j]) if texts is None else str(texts[i][j]) if texts is not False else ""
        at[i, j] = f'x="{_px(x)}" y="{_px(y)}" width="{cell}" height="{cell}"'
        out.append(
            f'<rect class="cell" {at[i, j]} fill="{_shade(a[i, j] / strongest)}" stroke="{FRAME}"/>'
        )
        if text and text != "nan":
            size = min(SIZE, max(12, int(1.6 * cell / max(len(text), 1))))
            out.append(_text(x + cell / 2, y + cell / 2 + 5, text, more=f' font-size="{size}"'))
    out += [f'<rect {at[i, j]} fill="none" stroke="{TEXT}" stroke-width="3"/>' for i, j in marked]
    out += [_text(left - 8, top + (i + 0.5) * cell + 4, str(r), "end") for i, r in enumerate(rows)]
    out += [_text(left + (j + 0.5) * cell, top - 6, str(c)) for j, c in enumerate(columns)]
    bottom = top + a.shape[0] * cell
    if xlabel:
        out.append(_text(left + wide / 2, bottom + LINE, xlabel))
    out += _upright(ylabel, (top + bottom) / 2)
    return Picture(width, bottom + 16 + (LINE if xlabel else 0), out, title)


def _shade(part: float) -> str:
    """From red (-1) through white to blue (1)."""
    if not math.isfinite(part):
        return "#d5d9e0"
    strong = (0x5B, 0x9B, 0xD5) if part > 0 else (0xE0, 0x7A, 0x86)
    amount = min(abs(part), 1.0)
    return "#" + "".join(f"{round(255 + (c - 255) * amount):02x}" for c in strong)


def boxes(
    nodes: Mapping[str, tuple], arrows: Sequence[tuple], title: str = "", *, gap: tuple[int, int] = (64, 44)
) -> Picture:  # fmt: skip
    """Boxes on a grid, and arrows between them.

    Args:
        nodes: {key: (column, row, text)} or (column, row, text, tone); the tones are those of `TONES`, columns and
            rows may be fractions, text may have several lines.
        arrows: (from, to), (from, to, label) or (from, to, label, tone); opposite ones are drawn side by side.
        gap: pixels between columns and between rows.
    """
    texts = {key: str(node[2]).split("\n") for key, node in nodes.items()}
    wide = max(max(text_width(line) for line in lines) + 22 for lines in texts.values())
    tall = max(len(lines) for lines in texts.values()) * LINE + 14
    labels = [arrow[2] for arrow in arrows if len(arrow) > 2 and arrow[2]]
    across = max(gap[0], max([text_width(label) + 34 for label in labels], default=0))
    left, top = 20 + wide / 2, 20 + tall / 2 + (24 if title else 0)
    at = {
        key: (left + node[0] * (wide + across), top + node[1] * (tall + gap[1]))
        for key, node in nodes.items()
    }
    right, bottom = (max(p[axis] for p in at.values()) for axis in (0, 1))
    width = max(right + left, text_width(title) + 24)
    out = _heading(title, width)
    pairs = {(arrow[0], arrow[1]) for arrow in arrows}
    for arrow in arrows:
        label, tone = (*arrow[2:], *("", "grey")[len(arrow) - 2 :])
        out += _arrow(at[arrow[0]], at[arrow[1]], label, TONES[tone][1], (arrow[1], arrow[0]) in pairs,
                      (wide / 2, tall / 2))  # fmt: skip
    for key, lines in texts.items():
        x, y = at[key]
        fill, border = TONES[nodes[key][3] if len(nodes[key]) > 3 else "plain"]
        out.append(
            f'<rect class="box" x="{_px(x - wide / 2)}" y="{_px(y - tall / 2)}" width="{_px(wide)}" '
            f'height="{_px(tall)}" rx="6" fill="{fill}" stroke="{border}" stroke-width="1.5"/>'
        )
        for i, line in enumerate(lines):
            out.append(_text(x, y + 5 + (i - (len(lines) - 1) / 2) * LINE, line))
    return Picture(width, bottom + tall / 2 + 20, out, title)


def _arrow(
    a: Any, b: Any, label: str, colour: str, aside: bool, half: tuple[float, float]
) -> list[str]:
    """From the border of the box around a to that of the box around b."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.hypot(dx, dy)
    ux, uy = dx / length, dy / length
    off = (-8 * uy, 8 * ux) if aside else (0, 0)  # to its own right hand
    sides = [(u, o, h) for u, o, h in zip((ux, uy), off, half, strict=True) if u]
    leave, arrive = (
        min((h - way * math.copysign(o, o * u)) / abs(u) for u, o, h in sides) for way in (1, -1)
    )
    x0, y0 = a[0] + ux * leave + off[0], a[1] + uy * leave + off[1]
    x1, y1 = b[0] - ux * (arrive + 2) + off[0], b[1] - uy * (arrive + 2) + off[1]
    head = " ".join(
        f"{_px(x1 - 9 * ux + side * 4.5 * uy)},{_px(y1 - 9 * uy - side * 4.5 * ux)}"
        for side in (-1, 1)
    )
    out = [
        f'<path class="arrow" d="M{_px(x0)} {_px(y0)}L{_px(x1 - 6 * ux)} {_px(y1 - 6 * uy)}" '
        f'stroke="{colour}" stroke-width="1.8"/>',
        f'<polygon points="{_px(x1)},{_px(y1)} {head}" fill="{colour}"/>',
    ]
    if label:
        away = text_width(label) / 2 * abs(uy) + 6 * abs(ux) + 4
        side = 1 if aside or abs(uy) > 0.5 else -1
        x = (x0 + x1) / 2 - uy * away * side
        y = (y0 + y1) / 2 + ux * away * side + 4 + (4 * side * ux if abs(ux) > 0.5 else 0)
        halo = f' fill="{colour}" stroke="{PANEL}" stroke-width="4" paint-order="stroke"'
        out.append(_text(x, y, label, more=halo))
    return out


def beside(*pictures: Picture, title: str = "", columns: int = 0) -> Picture:
    """Several pictures as one, in rows of so many columns (default: one row)."""
    columns = columns or len(pictures)
    y, width, out = (28.0 if title else 0.0), 0.0, []
    for i in range(0, len(pictures), columns):
        row, x = pictures[i : i + columns], 0.0
        for picture in row:
            out.append(f'<g transform="translate({_px(x)} {_px(y)})">')
            out += [*picture.elements, "</g>"]
            x += picture.width
        y, width = y + max(p.height for p in row), max(width, x)
    width = max(width, text_width(title) + 24)
    return Picture(width, y, [*_heading(title, width), *out], title)
