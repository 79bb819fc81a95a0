"""Normalisations and softmax."""

from __future__ import annotations

import numpy as np
from case import Case, family, torch
from draw import Draw

from minidl import functional as F


def given(draw: Draw, shape: tuple[int, ...]) -> list[np.ndarray | None]:
    """Weight and bias, or None."""
    return [draw.array(shape, "normal") if draw.chance(0.6) else None for _ in range(2)]


def case(name: str, x: np.ndarray, parameters: list, settings: dict, function, reference) -> Case:
    """Operands that are None are left out, and the functions see them as None."""
    present = [v is not None for v in parameters]

    def spread(call):
        def spread_call(x, *values, **settings):
            rest = iter(values)
            return call(x, *[next(rest) if here else None for here in present], **settings)

        return spread_call

    operands = [x, *(v for v in parameters if v is not None)]
    return Case(
        name,
        spread(function),
        operands,
        settings,
        reference=spread(reference) if x.size else None,
        sums=True,
        eps=4096
        if x.size > 5000
        else 256,  # PyTorch adds the terms of a gradient one after another
        floor=30,  # two values, nearly equal: what is left of their gradients is rounding
        free=(
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "normalized_shape",
            "momentum",
            "eps",
        ),
    )


@family("layer_norm")
def layer_norm(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    normalized = shape[draw.integer(0, len(shape) - 1) :]
    settings = {"normalized_shape": normalized, "eps": draw.choice([1e-5, 1e-3])}
    x = draw.array(shape, "normal")
    return case(
        "layer_norm",
        x,
        given(draw, normalized),
        settings,
        lambda x, w, b, normalized_shape, eps: F.layer_norm(x, normalized_shape, w, b, eps),
        lambda x, w, b, normalized_shape, eps: torch.nn.functional.layer_norm(
            x, normalized_shape, w, b, eps
        ),
    )


@family("group_norm")
def group_norm(draw: Draw) -> Case:
    groups = draw.integer(1, 4)
    channels = groups * draw.integer(1, 5)
    space = draw.shape(0, 3, 5)
    if channels // groups * int(np.prod(space)) == 1:
        space = (*space, 2)
    x = draw.array((draw.integer(1, 3), channels, *space), "normal")
    name = "instance_norm" if space and np.prod(space) != 1 and draw.chance(0.4) else "group_norm"
    settings = {"num_groups": groups, "eps": 1e-5}
    if name == "instance_norm":
        settings.pop("num_groups")

    def ours(x, w, b, eps, num_groups=None):
        if name == "instance_norm":
            return F.instance_norm(x, w, b, eps)
        return F.group_norm(x, num_groups, w, b, eps)

    def reference(x, w, b, eps, num_groups=None):
        return torch.nn.functional.group_norm(
            x, channels if num_groups is None else num_groups, w, b, eps
        )

    return case(name, x, given(draw, (channels,)), settings, ours, reference)


@family("batch_norm", 2)
def batch_norm(draw: Draw) -> Case:
    channels = draw.choice([1, 2, 3, 5, 8, 16, 17, 33])
    shape = [draw.integer(1, 5), channels, *draw.shape(0, 3, 5)]
    training = draw.chance(0.6)
    if training and int(np.prod(shape)) == channels:
        shape[0] = 2
    kept = draw.chance(0.7) or not training
    mean = draw.rng.standard_normal(channels).astype(draw.dtype)
    var = draw.rng.uniform(0.5, 2, channels).astype(draw.dtype)
    settings = {
        "training": training,
        "momentum": draw.choice([0.1, 0.0, 1.0]),
        "eps": draw.choice([1e-5, 1e-2]),
    }

    def ours(x, w, b, **settings):
        statistics = [mean.copy(), var.copy()] if kept else [None, None]
        return [F.batch_norm(x, *statistics, w, b, **settings), *(statistics if kept else [])]

    def reference(x, w, b, **settings):
        statistics = (
            [torch.from_numpy(v).to(x.dtype, copy=True) for v in (mean, var)]
            if kept
            else [None, None]
        )
        if x.numel() == 0:
            return [x * 1, *(statistics if kept else [])]
        return [
            torch.nn.functional.batch_norm(x, *statistics, w, b, **settings),
            *(statistics if kept else []),
        ]

    return case(
        "batch_norm",
        draw.array(shape, "normal"),
        given(draw, (channels,)),
        settings,
        ours,
        reference,
    )


@family("softmax")
def softmax(draw: Draw) -> Case:
    name = draw.choice(["softmax", "log_softmax"])
    shape = draw.shape(1, 4)
    x = draw.array(shape)
    if draw.chance(0.2):
        x = np.where(draw.rng.random(shape) < 0.2, draw.choice([-np.inf, 1e4, -1e4]), x).astype(
            draw.dtype
        )
    return Case(
        name,
        getattr(F, name),
        [x],
        {"axis": draw.integer(-len(shape), len(shape) - 1)},
        sums=True,
        eps=32,
        floor=1,
        gradient=not np.isinf(x).any(),
        reference=lambda x, axis: getattr(torch, name)(x, axis),
    )
