"""The picture of a graph, as SVG and as text; `draw` is the entry point."""

from __future__ import annotations

import os
from itertools import count
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from minidl import check
from minidl._kernels.runtime.prepared import outside_of_steps
from minidl.autograd.tensor import Tensor
from minidl.drawing.graph import Arrow, Box, read
from minidl.drawing.layout import Place, arrange

MOST_BOXES = 250  # more could not be read


def draw(
    y: Tensor, names: Any = None, gradients: bool | None = None, depth: int | None = None
) -> Drawing:
    """The graph of a result as a picture: its ops, parameters and inputs, and the gradients that flow back.

    A notebook shows the picture, a terminal the same as text; ``draw(...).save("graph.svg")`` writes a file. Boxes have
    the names of the functions that were called; "affine + relu" are two calls that one op does. Below is the shape of
    the result, or its value if it is a number. On an arrow is d y / d value, what comes back by this arrow: the number,
    or the norm of the array, ‖g‖ = sqrt(Σ g²). An array that is no Tensor with a gradient (a target, the running
    statistics of a BatchNorm) is drawn only if an op took it as an operand.

    Args:
        y: what an op made; its graph must not have been freed by `backward`.
        names: what to call parameters and tensors: a Module (its parameters' names), or a dict of Tensors, arrays and
            Modules by name.
        gradients: whether to compute gradients: one backward pass for the picture, which leaves ``.grad`` and the graph
            as they are. Default: if y has one element.
        depth: only the last `depth` ops on each way to y; what comes before is drawn as "...".

    Returns:
        An object with ``svg`` and ``text`` (strings) and ``save(path)``.

    Raises:
        RuntimeError: y has no graph, or it was freed (draw before `backward`, or pass it ``retain_graph=True``).
        TypeError: y is no Tensor; `names` is neither a Module nor such a dict.
        ValueError: gradients of a result that has more than one element; a graph too large to be read: pass `depth`.

    >>> x, w = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=True)
    >>> print(draw((w * x).sum(), names={"x": x, "w": w}))
    w            (2,)  input  gradient ‖g‖ 2.24
    x            (2,)  data
    %1 = *(w, x) (2,)         gradient ‖g‖ 1.41
    %2 = sum(%1) = 11         gradient 1
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"draw: y: expected a Tensor, got {type(y).__name__}")
    outside_of_steps("draw")
    if gradients is None:
        gradients = y.size == 1
    elif check.flag("draw", "gradients", gradients) and y.size != 1:
        raise ValueError(
            f"draw: gradients: expected a result of one element, got shape {y.shape}: reduce it (sum, mean)"
        )
    depth = None if depth is None else check.integer("draw", "depth", depth, 1)
    boxes = read(y, names, gradients, depth)
    if len(boxes) > MOST_BOXES:
        raise ValueError(
            f"draw: the graph has {len(boxes)} boxes, more than {MOST_BOXES} cannot be read: pass a depth (10, say, "
            "for the last ten ops on each way to the result), or draw a part of the network"
        )
    return Drawing(boxes)


class Drawing:
    """What `draw` returns: ``svg`` and ``text`` are the picture in both forms; ``save(path)`` writes the SVG."""

    def __init__(self, boxes: list[Box]) -> None:
        self.boxes = boxes
        self.text = _text(boxes)
        self.svg = _Picture(boxes).svg()

    def save(self, path: str | os.PathLike) -> None:
        """Writes the picture to a file that ends in .svg."""
        if not isinstance(path, str | os.PathLike) or not os.fspath(path).endswith(".svg"):
            raise ValueError(f"draw: save: expected a path that ends in .svg, got {path!r}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg + "\n")

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.text


def told(gradient: np.ndarray) -> str:
    """A gradient in a few characters: the number, or the norm."""
    if gradient.size == 1:
        return f"{gradient.item():.3g}"
    return f"‖g‖ {np.linalg.norm(gradient.astype(np.float64)):.3g}"


# ── As text ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(boxes: list[Box]) -> str:
    """A line a box: results are numbered."""
    names: dict[Box, str] = {}
    numbers = count(1)
    rows: list[tuple[str, str, str]] = []
    for box in boxes:
        names[box], left, kind = box.name, box.title, box.kind
        if box.kind == "op":
            names[box] = box.name or f"%{next(numbers)}"
            operands = ", ".join([names[arrow.source] for arrow in box.inputs])
            left, kind = f"{names[box]} = {box.op}({operands})", ""
        elif box.kind == "cut":
            names[box], kind = box.title, ""
        elif box.name == "number" and box.value is not None:
            names[box] = f"{box.value:.4g}"
        rows.append((left, box.detail, kind))
    widths = [max([len(row[i]) for row in rows]) for i in range(3)]
    lines = []
    for box, row in zip(boxes, rows, strict=True):
        left, detail, kind = [cell.ljust(w) for cell, w in zip(row, widths, strict=True)]
        come = "" if box.gradient is None else f"gradient {told(box.gradient)}"
        lines.append("  ".join([f"{left} {detail}", *([kind] if widths[2] else []), come]).rstrip())
    return "\n".join(lines)


# ── As SVG ───────────────────────────────────────────────────────────────────────────────────────────────────────────

LETTER, SMALL_LETTER = 8.0, 7.4  # how wide a letter is, with a little room: all have one width
HEIGHT, BETWEEN, MARGIN = 42.0, 66.0, 16.0  # of a box, from layer to layer, around all
STEM = 26.0  # how far an arrow goes straight down, through its gradient, before it bends
LONGEST = 34  # letters in a box
COLOURS = {  # fill, border
    "op": ("#dbe9f9", "#3b6fb0"),
    "parameter": ("#dff2e1", "#2f8145"),
    "input": ("#fdf0d5", "#a8761d"),
    "data": ("#ededed", "#777777"),
    "cut": ("#ffffff", "#777777"),
}
KINDS = {
    "op": "operation",
    "parameter": "parameter",
    "input": "input with a gradient",
    "data": "data",
}
STYLE = (
    ".md-graph text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1c1c1c;"
    "text-anchor:middle}.md-graph .d{font-size:12px;fill:#444}.md-graph .g{font-size:12px;fill:#b3261e;"
    "stroke:#fcfcfa;stroke-width:4px;paint-order:stroke}.md-graph .l{font-size:12px;text-anchor:start}"
)


class _Picture:
    """Writes the SVG of a graph."""

    def __init__(self, boxes: list[Box]) -> None:
        self.last = boxes[-1]
        arrows = [(arrow.source, box, arrow) for box in boxes for arrow in box.inputs]
        self.leaving: dict[Box, list[Arrow]] = {box: [] for box in boxes}
        for source, _, arrow in arrows:
            self.leaving[source].append(arrow)
        widths = [_width(box, self.leaving[box]) for box in boxes]
        layout = arrange(boxes, arrows, widths)
        self.layers, self.placed = (
            layout.layers,
            [p for layer in layout.layers for p in layer if p.item],
        )
        self.routes = {arrow: route for (_, _, arrow), route in layout.routes.items()}
        self.width = max([place.x + place.width / 2 for place in self.placed])
        self.height = _top(len(self.layers) - 1) + HEIGHT

    def svg(self) -> str:
        """All of it: arrows first, then boxes over them, the gradients on top."""
        starts = self._starts()
        paths, labels = [], []
        for arrow, x in starts.items():
            route = self.routes[arrow]
            paths.append(f'<path d="{self._path(arrow, route, x)}" marker-end="url(#md-tip)"/>')
            if arrow.gradient is not None:
                y = _top(route[0].layer) + HEIGHT + 17
                labels.append(
                    f'<text class="g" x="{x:.1f}" y="{y:.1f}">{escape(told(arrow.gradient))}</text>'
                )
        legend, wide, high = self._legend(bool(labels))
        width = max(self.width, wide) + 2 * MARGIN
        height = self.height + high + 2 * MARGIN
        body = "\n".join(
            [
                f'<g transform="translate({(width - self.width) / 2:g} {MARGIN:g})">',
                '<g fill="none" stroke="#666" stroke-width="1.3">',
                *paths,
                "</g>",
                *[self._box(place) for place in self.placed],
                *labels,
                "</g>",
                *legend,
            ]
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="md-graph" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" style="max-width:100%;height:auto" role="img" '
            f"aria-label={quoteattr('The graph of ' + self.last.title)}>\n<style>{STYLE}</style>\n"
            '<defs><marker id="md-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>\n'
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#fcfcfa"/>\n{body}\n</svg>'
        )

    def _starts(self) -> dict[Arrow, float]:
        """Where each arrow leaves its box: in the order of where they lead, a gradient's width apart."""
        starts = {}
        for place in self.placed:
            arrows = sorted(self.leaving[place.item], key=lambda arrow: self._end(arrow, 1))
            x = place.x - sum([_room(arrow) for arrow in arrows]) / 2
            for arrow in arrows:
                starts[arrow] = x + _room(arrow) / 2
                x += _room(arrow)
        return starts

    def _end(self, arrow: Arrow, step: int) -> float:
        """Where an arrow enters the box, or the bend, that it has reached after so many layers."""
        route = self.routes[arrow]
        place = route[step]
        if place is not route[-1]:
            return place.x
        n = len(place.item.inputs)
        apart = min(18.0, (place.width - 20) / n)
        return place.x + (place.item.inputs.index(arrow) - (n - 1) / 2) * apart

    def _path(self, arrow: Arrow, route: list[Place], x: float) -> str:
        """Straight down through its gradient and through each layer, bent between them."""
        path = f"M{x:.1f} {_top(route[0].layer) + HEIGHT:.1f}"
        for step in range(1, len(route)):
            y0, y1 = _top(route[step - 1].layer) + HEIGHT + STEM, _top(route[step].layer)
            after, middle = self._end(arrow, step), (y0 + y1) / 2
            path += f"V{y0:.1f}C{x:.1f} {middle:.1f} {after:.1f} {middle:.1f} {after:.1f} {y1:.1f}"
            x = after
        return path

    def _box(self, place: Place) -> str:
        box, top = place.item, _top(place.layer)
        fill, border = COLOURS[box.kind]
        thick = 2.6 if box is self.last else 1.3
        dashes = ' stroke-dasharray="4 3"' if box.kind in ("data", "cut") else ""
        whole = f"{KINDS.get(box.kind, 'not shown')} {box.title} {box.detail}"
        return (
            f'<g class="box {box.kind}"><title>{escape(whole)}</title>'
            f'<rect x="{place.x - place.width / 2:.1f}" y="{top:.1f}" width="{place.width:.1f}" height="{HEIGHT:g}" '
            f'rx="{8 if box.kind == "op" else 2}" fill="{fill}" stroke="{border}" stroke-width="{thick}"{dashes}/>'
            f'<text x="{place.x:.1f}" y="{top + 17:.1f}">{escape(_short(box.title))}</text>'
            f'<text x="{place.x:.1f}" y="{top + 34:.1f}" class="d">{escape(_short(box.detail))}</text></g>'
        )

    def _legend(self, gradients: bool) -> tuple[list[str], float, float]:
        """What the colours mean; (its lines, how wide, how high)."""
        lines, y = [], self.height + MARGIN + 30
        kinds = {place.item.kind for place in self.placed}
        x = widest = MARGIN
        for kind, told_as in KINDS.items():
            if kind in kinds:
                fill, border = COLOURS[kind]
                lines.append(
                    f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="12" height="12" rx="{3 if kind == "op" else 0}" '
                    f'fill="{fill}" stroke="{border}"/><text class="l" x="{x + 18:.1f}" y="{y:.1f}">{told_as}</text>'
                )
                x += 34 + len(told_as) * SMALL_LETTER
        widest = x - MARGIN
        if gradients:
            y += 20
            text = "red: gradient of the result; ‖g‖: norm"
            lines.append(f'<text class="l" x="{MARGIN:g}" y="{y:.1f}">{text}</text>')
            widest = max(widest, len(text) * SMALL_LETTER)
        return lines, widest, y - self.height - MARGIN


def _top(layer: int) -> float:
    return layer * (HEIGHT + BETWEEN)


def _width(box: Box, leaving: list[Arrow]) -> float:
    text = max(len(_short(box.title)) * LETTER, len(_short(box.detail)) * SMALL_LETTER, 60.0)
    return max(text + 20.0, sum([_room(arrow) for arrow in leaving]))


def _room(arrow: Arrow) -> float:
    """How wide the gradient on an arrow is."""
    return 12.0 if arrow.gradient is None else len(told(arrow.gradient)) * SMALL_LETTER + 10.0


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
