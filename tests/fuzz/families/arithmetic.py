"""Elementwise operations with broadcasting, comparisons, and reductions."""

from __future__ import annotations

import numpy as np
from case import Case, family, torch
from draw import Draw

import minidl as md
from minidl import ops

UNARY = {
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "abs": "abs",
    "neg": "neg",
}
BINARY = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "div": "div",
    "maximum": "maximum",
    "minimum": "minimum",
}
COMPARED = {
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
}


def broadcast_pair(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast."""
    shape = draw.shape()
    first = tuple(1 if draw.chance(0.2) else n for n in shape)
    second = tuple(1 if draw.chance(0.2) else n for n in shape)
    if draw.chance(0.3):
        second = second[draw.integer(0, len(second)) :]
    return (first, second) if draw.chance(0.5) else (second, first)


@family("unary")
def unary(draw: Draw) -> Case:
    name = draw.choice(sorted(UNARY))
    # (At 0 PyTorch's gradient of sqrt and log times a zero is NaN, as ours: any values will do.)
    x = draw.array(draw.shape(), wild=True)
    if name == "abs":  # (the sign of NaN is 0 for PyTorch)
        x = np.nan_to_num(x, nan=1.0, posinf=np.inf, neginf=-np.inf)
    return Case(name, getattr(ops, name), [x], reference=lambda x: getattr(torch, UNARY[name])(x))


@family("binary", 2)
def binary(draw: Draw) -> Case:
    name = draw.choice(sorted(BINARY))
    first, second = broadcast_pair(draw)
    wild = name != "div"  # (its gradient may overflow on the way)
    operands = [draw.array(first, wild=wild), draw.array(second, wild=wild)]
    if name in ("maximum", "minimum"):  # (who takes the gradient of NaN is a matter of taste)
        operands = [np.nan_to_num(x, nan=1.0, posinf=np.inf, neginf=-np.inf) for x in operands]
    return Case(
        name,
        getattr(ops, name),
        operands,
        reference=lambda a, b: getattr(torch, BINARY[name])(a, b),
        sums=first != second,
        eps=64 if first != second else 8,
    )


@family("pow")
def power(draw: Draw) -> Case:
    first, second = broadcast_pair(draw)
    if draw.chance(0.5):
        exponent = draw.choice([2, 3, 0.5, -1, 1, 0, 2.0, -0.5, 1.7])
        x = draw.array(first, "positive")
        return Case(
            "pow",
            lambda x, exponent: ops.pow(x, exponent),
            [x],
            {"exponent": exponent},
            reference=lambda x, exponent: x**exponent,
        )
    operands = [draw.array(first, "positive"), draw.array(second, "normal")]
    return Case("pow", ops.pow, operands, reference=lambda a, b: a**b, sums=True, eps=64)


@family("number")
def with_number(draw: Draw) -> Case:
    """A Tensor and a Python number, or an integer array: the dtype stays."""
    name = draw.choice(["add", "sub", "mul", "div"])
    k = draw.choice([0.5, 2, -3, 1e10, -0.1])
    left = draw.chance(0.5)
    x = draw.array(draw.shape(), wild=True)

    def call(x, k):
        function = getattr(ops, name)
        return function(k, x) if left else function(x, k)

    def reference(x, k):
        operator = {
            "add": lambda a, b: a + b,
            "sub": lambda a, b: a - b,
            "mul": lambda a, b: a * b,
            "div": lambda a, b: a / b,
        }[name]
        k = _as(draw, k)
        return operator(k, x) if left else operator(x, k)

    return Case(name, call, [x], {"k": k}, reference=reference, eps=16)


@family("compare")
def compare(draw: Draw) -> Case:
    name = draw.choice(sorted(COMPARED))
    first, second = broadcast_pair(draw)
    operands = [draw.array(first, "ties"), draw.array(second, wild=True)]
    return Case(
        name,
        getattr(ops, name),
        operands,
        gradient=False,
        reference=lambda a, b: getattr(torch, COMPARED[name])(a, b),
    )


@family("where")
def where(draw: Draw) -> Case:
    first, second = broadcast_pair(draw)
    condition = draw.laid(draw.rng.random(draw.choice([first, second])) < 0.5)
    operands = [condition, draw.array(first, wild=True), draw.array(second, wild=True)]
    return Case(
        "where",
        md.where,
        operands,
        reference=lambda c, a, b: torch.where(c, a, b),
        sums=True,
        eps=32,
    )


@family("clip")
def clip(draw: Draw) -> Case:
    low, high = sorted([draw.number(-3, 3), draw.number(-3, 3)])
    settings = {"min": draw.choice([low, None]), "max": high}
    x = draw.array(draw.shape(), wild=True)
    return Case(
        "clip",
        md.clip,
        [x],
        settings,
        reference=lambda x, min, max: torch.clamp(
            x, None if min is None else _as(draw, min), _as(draw, max)
        ),
    )


def _as(draw: Draw, value: float) -> float:
    """The number that our dtype makes of it."""
    return float(np.asarray(value, draw.dtype))


@family("astype")
def astype(draw: Draw) -> Case:
    dtype = draw.choice(["float32", "float64"])
    x = draw.array(draw.shape(), wild=True)
    return Case(
        "astype",
        md.astype,
        [x],
        {"dtype": dtype},
        reference=lambda x, dtype: x.to(torch.float32).to(x.dtype) if dtype == "float32" else x,
    )


@family("reduce", 2.5)
def reduce(draw: Draw) -> Case:
    name = draw.choice(["sum", "mean", "max", "min", "var", "std"])
    shape = draw.shape()
    axis = draw.axes(len(shape))
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = [a % len(shape) for a in axes]
    if name != "sum":
        shape = tuple(max(n, 1) if a in axes else n for a, n in enumerate(shape))
    elements = int(np.prod([shape[a] for a in axes]))
    settings = {"axis": axis, "keepdims": draw.chance(0.5)}
    if name in ("var", "std"):
        if elements < 3:
            name = "mean"
        else:
            settings["ddof"] = draw.choice([0, 0, 1, 2])
    values = "normal" if name in ("var", "std") else ""
    x = draw.array(shape, values, wild=name in ("max", "min"))
    if name in ("max", "min") and np.isnan(x).any():
        x = np.nan_to_num(x)  # (which of several NaN takes the gradient is nobody's business)
    return Case(
        name,
        getattr(md, name),
        [x],
        settings,
        reference=_reduction(name, sorted(axes)),
        sums=True,
        eps=64,
    )


def _reduction(name: str, axes: list[int]):
    def reference(x, axis, keepdims, **ddof):
        if not axes:  # PyTorch takes an empty tuple for all axes
            x, dims = x[None], [0]
            keep = False
        else:
            dims, keep = axes, keepdims
        if name in ("max", "min"):
            return getattr(torch, "a" + name)(x, dims, keep)
        if name in ("var", "std"):
            return getattr(torch, name)(x, dims, correction=ddof["ddof"], keepdim=keep)
        return getattr(torch, name)(x, dims, keep)

    return reference
