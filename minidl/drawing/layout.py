"""Where the boxes of a graph go: in layers, from the top down, the result at the bottom.

The steps are those of Sugiyama, Tagawa & Toda, Methods for visual understanding of hierarchical system structures
(1981): every box gets a layer; an arrow that skips layers gets a bend in each; the boxes of a layer are ordered so that
few arrows cross; then each is placed as near to its neighbours as the others in its layer let it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

GAP = 20.0  # between the boxes of a layer
SWEEPS = 12


@dataclass(eq=False)
class Place:
    """A box, or a bend of a long arrow (item None), and where it is."""

    item: Any
    width: float
    layer: int
    x: float = 0.0  # of its centre
    above: list[Place] = field(default_factory=list)
    below: list[Place] = field(default_factory=list)


@dataclass(eq=False)
class Layout:
    """layers: from the top, each from the left. routes: the places that an arrow passes, by (source, target, input)."""

    layers: list[list[Place]]
    routes: dict[tuple, list[Place]]


def arrange(items: list, arrows: Iterable[tuple], widths: list[float]) -> Layout:
    """Places items, of which each comes after those that its arrows come from.

    arrows: (source, target, any key that tells apart those between the same two).
    """
    arrows = list(arrows)
    layer_of = _layers(items, arrows)
    places = {
        item: Place(item, width, layer_of[item]) for item, width in zip(items, widths, strict=True)
    }
    layers: list[list[Place]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for place in places.values():
        layers[place.layer].append(place)
    routes = {}
    for source, target, key in arrows:
        route = [places[source]]
        for layer in range(layer_of[source] + 1, layer_of[target]):
            route.append(Place(None, GAP, layer))
            layers[layer].append(route[-1])
        route.append(places[target])
        routes[source, target, key] = route
        for upper, lower in pairwise(route):
            upper.below.append(lower)
            lower.above.append(upper)
    _order(layers)
    _place(layers)
    return Layout(layers, routes)


def _layers(items: list, arrows: list[tuple]) -> dict[Any, int]:
    """The layer of each item, as low as its arrows let it: its longest way to the bottom decides."""
    targets: dict[Any, list] = {item: [] for item in items}
    for source, target, _ in arrows:
        targets[source].append(target)
    height: dict[Any, int] = {}
    for item in reversed(items):
        height[item] = 1 + max([height[target] for target in targets[item]], default=-1)
    top = max(height.values())
    return {item: top - h for item, h in height.items()}


# ── The order in a layer ─────────────────────────────────────────────────────────────────────────────────────────────


def _order(layers: list[list[Place]]) -> None:
    """Sorts each layer by the mean position of its neighbours, downward and upward; keeps the best order met."""
    _start(layers)
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            at = _positions(layers)
            means = {}
            for place in layer:
                near = place.above if down else place.below
                means[place] = float(np.mean([at[other] for other in near or [place]]))
            layer.sort(key=means.__getitem__)
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    for layer, order in zip(layers, best, strict=True):
        layer[:] = order


def _start(layers: list[list[Place]]) -> None:
    """From the bottom up: what leads into a box is in the order of its inputs."""
    for lower, upper in zip(reversed(layers), list(reversed(layers))[1:], strict=False):
        wanted = list(dict.fromkeys([above for place in lower for above in place.above]))
        upper.sort(key=wanted.index)


def _positions(layers: list[list[Place]]) -> dict[Place, int]:
    return {place: i for layer in layers for i, place in enumerate(layer)}


def _crossings(layers: list[list[Place]]) -> int:
    """How often arrows cross between neighbouring layers."""
    at, crossings = _positions(layers), 0
    for layer in layers:
        lines = sorted((i, at[below]) for i, place in enumerate(layer) for below in place.below)
        ends = np.array([end for _, end in lines])
        crossings += sum([int((ends[:i] > end).sum()) for i, end in enumerate(ends)])
    return crossings


# ── The place in a layer ─────────────────────────────────────────────────────────────────────────────────────────────


def _place(layers: list[list[Place]]) -> None:
    """Moves every layer to where its neighbours are, as far as its own order allows; then x starts at 0."""
    for layer in layers:
        _spread(layer, [0.0] * len(layer), [1.0] * len(layer))
    for sweep in range(4 * SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted, weights = [], []
            for place in layer:
                near = [(_pull(place, other), other.x) for other in (*place.above, *place.below)]
                weight = sum([pull for pull, _ in near])
                wanted.append(sum([pull * x for pull, x in near]) / weight if weight else place.x)
                weights.append(weight or 1.0)
            _spread(layer, wanted, weights)
    left = min([place.x - place.width / 2 for layer in layers for place in layer])
    for layer in layers:
        for place in layer:
            place.x -= left


def _pull(place: Place, other: Place) -> float:
    """How straight an arrow should be: most of all between bends, hardly if it comes from a leaf."""
    if place.item is None and other.item is None:
        return 2.0
    return (
        1.0 if (place.above or place.item is None) and (other.above or other.item is None) else 0.01
    )


def _spread(layer: list[Place], wanted: list[float], weights: list[float]) -> None:
    """The places nearest to the wanted ones, in least squares, of which none overlap.

    Measured from how far right the boxes before it would push it, each place must not be left of the one before: this
    is isotonic regression, solved by pooling neighbours that are in the wrong order.
    """
    offset, offsets = 0.0, []
    for before, place in zip([None, *layer], layer, strict=False):
        offset += 0.0 if before is None else (before.width + place.width) / 2 + GAP
        offsets.append(offset)
    pools: list[list[float]] = []  # (mean, weight, how many)
    for want, weight, shift in zip(wanted, weights, offsets, strict=True):
        pools.append([want - shift, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, w, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * w) / (last[1] + w)
            last[1] += w
            last[2] += count
    means = [mean for mean, _, count in pools for _ in range(int(count))]
    for place, mean, shift in zip(layer, means, offsets, strict=True):
        place.x = mean + shift
