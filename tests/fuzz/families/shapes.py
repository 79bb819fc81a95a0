"""Shapes, joining, indexing, embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Case, family, torch
from draw import Draw

import minidl as md
from minidl import functional as F
from minidl import ops


@family("reshape")
def reshape(draw: Draw) -> Case:
    x = draw.array(draw.shape(), wild=True)
    factors = list(x.shape)
    draw.rng.shuffle(factors)
    while len(factors) > 1 and draw.chance(0.5):
        factors = [factors[0] * factors[1], *factors[2:]]
    if factors and x.size and draw.chance(0.3):
        factors[draw.integer(0, len(factors) - 1)] = -1
    shape = tuple(int(n) for n in factors)
    return Case(
        "reshape",
        lambda x, shape: md.reshape(x, shape),
        [x],
        {"shape": shape},
        reference=lambda x, shape: x.reshape(shape),
    )


@family("transpose")
def transpose(draw: Draw) -> Case:
    x = draw.array(draw.shape(), wild=True)
    axes = tuple(int(a) - x.ndim * draw.chance(0.3) for a in draw.rng.permutation(x.ndim))
    return Case(
        "transpose",
        lambda x, axes: md.transpose(x, axes),
        [x],
        {"axes": axes},
        reference=lambda x, axes: x.permute(axes),
    )


@family("axes")
def change_axes(draw: Draw) -> Case:
    name = draw.choice(["flatten", "squeeze", "expand_dims"])
    shape = draw.shape(1)
    if name == "flatten":
        x, settings = draw.array(shape, wild=True), {"start_axis": draw.integer(0, len(shape) - 1)}
        return Case(
            name, md.flatten, [x], settings, reference=lambda x, start_axis: x.flatten(start_axis)
        )
    if name == "squeeze":
        axis = draw.integer(-len(shape), len(shape) - 1)
        shape = tuple(
            1 if a == axis % len(shape) or draw.chance(0.3) else n for a, n in enumerate(shape)
        )
        settings = {"axis": draw.choice([axis, None, (axis,)])}
        return Case(
            name,
            md.squeeze,
            [draw.array(shape)],
            settings,
            reference=lambda x, axis: x.squeeze() if axis is None else x.squeeze(axis),
        )
    settings = {"axis": draw.integer(-len(shape) - 1, len(shape))}
    return Case(
        name,
        md.expand_dims,
        [draw.array(shape)],
        settings,
        reference=lambda x, axis: x.unsqueeze(axis),
    )


@family("broadcast_to")
def broadcast_to(draw: Draw) -> Case:
    full = draw.shape()
    part = tuple(1 if draw.chance(0.4) else n for n in full)[draw.integer(0, len(full)) :]
    return Case(
        "broadcast_to",
        md.broadcast_to,
        [draw.array(part, wild=True)],
        {"shape": full},
        reference=lambda x, shape: x.broadcast_to(shape),
        sums=True,
        eps=32,
    )


@family("pad")
def pad(draw: Draw) -> Case:
    x = draw.array(draw.shape(1), wild=True)
    widths = tuple((draw.integer(0, 3), draw.integer(0, 3)) for _ in range(x.ndim))
    settings = {
        "pad_width": draw.choice([widths, widths, widths[0], 1]),
        "value": draw.choice([0.0, -1.5]),
    }

    def reference(x, pad_width, value):
        pairs = np.broadcast_to(pad_width, (x.ndim, 2))[::-1]
        return torch.nn.functional.pad(x, [int(n) for n in pairs.ravel()], value=value)

    return Case("pad", md.pad, [x], settings, reference=reference)


@family("join")
def join(draw: Draw) -> Case:
    name = draw.choice(["concatenate", "stack"])
    shape = draw.shape(1)
    axis = draw.integer(-len(shape), len(shape) - 1)
    xs = []
    for _ in range(draw.integer(1, 4)):
        other = list(shape)
        if name == "concatenate":
            other[axis] = draw.integer(0, 5)
        xs.append(draw.array(other, wild=True))
    function, theirs = getattr(md, name), "concatenate" if name == "concatenate" else "stack"
    return Case(
        name,
        lambda *xs, axis: function(xs, axis),
        xs,
        {"axis": axis},
        reference=lambda *xs, axis: getattr(torch, theirs)(xs, axis),
        free=("tensor", "tensors"),
    )


# ── Indexing: the reference takes the same places from the flat array ────────────────────────────────────────────────


def any_index(draw: Draw, shape: tuple[int, ...]) -> Any:
    kind = draw.choice(["basic", "basic", "integers", "mask", "mixed"])
    if kind == "mask" and shape:
        return draw.rng.random(shape[: draw.integer(1, len(shape))]) < 0.5
    if kind == "integers" and shape and all(shape):
        axes = draw.integer(1, len(shape))
        common = draw.shape(0, 2, 4)
        arrays = tuple(draw.ids(common, -n, n) for n in shape[:axes])
        return arrays if axes > 1 or draw.chance(0.5) else arrays[0]
    items: list = []
    for n in shape[: draw.integer(0, len(shape))]:
        if n and kind == "mixed" and draw.chance(0.4):
            items.append(
                draw.choice([draw.ids((3,), -n, n), [0, n - 1, 0], draw.rng.random(n) < 0.5])
            )
        elif n and draw.chance(0.4):
            items.append(draw.integer(-n, n - 1))
        else:
            ends = [draw.choice([None, draw.integer(-n - 2, n + 2)]) for _ in range(2)]
            items.append(slice(*ends, draw.choice([None, 1, 2, -1, -3])))
    if draw.chance(0.2):
        items.insert(draw.integer(0, len(items)), None)
    if draw.chance(0.2):
        items.append(Ellipsis)
    try:
        np.empty(shape)[tuple(items)]
    except IndexError:  # masks and arrays of lengths that do not fit
        return ...
    return items[0] if len(items) == 1 and draw.chance(0.5) else tuple(items)


@family("getitem", 2)
def getitem(draw: Draw) -> Case:
    x = draw.array(draw.shape(), wild=True)
    index = any_index(draw, x.shape)

    def reference(x, index):
        places = np.arange(x.numel()).reshape(x.shape)[index]
        return x.reshape(-1)[torch.from_numpy(np.array(places))]

    return Case(
        "getitem",
        lambda x, index: x[index],
        [x],
        {"index": index},
        reference=reference,
        sums=True,
        eps=16,
        own=False,
        free=("index", "indices", "boolean"),
    )


@family("setitem")
def setitem(draw: Draw) -> Case:
    shape = draw.shape()
    index = any_index(draw, shape)
    x = draw.array(shape, wild=True)
    value = draw.array(np.empty(shape)[index].shape, "normal")
    if any(
        isinstance(i, np.ndarray | list) for i in (index if isinstance(index, tuple) else [index])
    ):
        value = np.full_like(value, 2.5)  # an element may be set twice

    def ours(x, value, index):
        y = md.Tensor(np.array(x))
        y[index] = value
        return y

    def reference(x, value, index):
        y = x.detach().numpy().copy()
        y[index] = value.detach().numpy()
        return torch.from_numpy(y)

    return Case(
        "setitem",
        ours,
        [x, value],
        {"index": index},
        reference=reference,
        gradient=False,
        free=("index", "indices", "boolean", "value", "shape"),
    )


@family("embedding")
def embedding(draw: Draw) -> Case:
    n = draw.integer(1, 9)
    ids = draw.ids(draw.shape(0, 3), 0, n)
    weight = draw.array((n, draw.integer(1, 20)), wild=True)
    return Case(
        "embedding",
        F.embedding,
        [ids, weight],
        sums=True,
        eps=32,
        free=("ids", "id"),
        reference=lambda ids, w: torch.nn.functional.embedding(ids.long(), w),
    )


@family("one_hot", 0.5)
def one_hot(draw: Draw) -> Case:
    n = draw.integer(1, 9)
    return Case(
        "one_hot",
        F.one_hot,
        [draw.ids(draw.shape(0, 3), 0, n)],
        {"n": n},
        gradient=False,
        reference=lambda ids, n: torch.nn.functional.one_hot(ids.long(), n).double(),
    )


@family("neighbours")
def methods(draw: Draw) -> Case:
    """A chain of views and copies: what one leaves, the next must be able to read."""
    x = draw.array(draw.shape(2, 3), "normal")

    def chain(x):
        y = ops.expand_dims(ops.transpose(x), 0)
        return (y * 2)[..., ::-1] + ops.neg(y)

    return Case(
        "transpose",
        chain,
        [x],
        reference=lambda x: (
            2 * x.permute(*range(x.ndim - 1, -1, -1))[None].flip(-1)
            - x.permute(*range(x.ndim - 1, -1, -1))[None]
        ),
        sums=True,
    )
