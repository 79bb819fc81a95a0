"""The activations, PReLU, those that join or split channels, and the random ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Case, family, torch
from draw import Draw

import minidl as md
from minidl import functional as F
from minidl import ops

# Name -> a generator of its settings, and the same with PyTorch's names for them.
SETTINGS: dict[str, Any] = {
    "leaky_relu": lambda d: {"negative_slope": d.choice([0.01, 0.2, 1.5, 0.0, -0.5])},
    "elu": lambda d: {"alpha": d.choice([1.0, 0.5, 2.0])},
    "celu": lambda d: {"alpha": d.choice([1.0, 0.5, 2.0])},
    "hardtanh": lambda d: {"min_val": d.choice([-1.0, -2.0, 0.0]), "max_val": d.choice([1.0, 6.0])},
    "softplus": lambda d: {"beta": d.choice([1.0, 0.5, 3.0])},
    "gelu": lambda d: {"approximate": d.choice(["none", "tanh"])},
    "softshrink": lambda d: {"lambd": d.choice([0.5, 0.0, 2.0])},
    "hardshrink": lambda d: {"lambd": d.choice([0.5, 0.0, 2.0])},
    "threshold": lambda d: {"threshold": d.choice([0.5, -1.0]), "value": d.choice([0.0, -2.5])},
}
NAMES = [
    *SETTINGS,
    "relu",
    "selu",
    "silu",
    "mish",
    "softsign",
    "sigmoid",
    "logsigmoid",
    "hardsigmoid",
    "hardswish",
    "relu6",
    "tanh",
    "tanhshrink",
    "gelu_tanh",
    "identity",
]
INPLACE = ["relu", "leaky_relu", "elu", "hardtanh", "relu6", "threshold"]


def theirs(name: str, x: Any, settings: dict) -> Any:
    if (
        name == "softplus"
    ):  # PyTorch's becomes a line beyond 20; without, its gradient is NaN beyond 709
        beta = settings.get("beta", 1.0)
        return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta
    if (
        name == "gelu_tanh" or settings.get("approximate") == "tanh"
    ):  # PyTorch's 1 + tanh loses the tail
        return x * torch.sigmoid(2 * (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))
    if name == "gelu":  # and so does its 1 + erf
        return x * torch.special.erfc(-x / 2**0.5) / 2
    if name == "hardsigmoid":  # PyTorch's gradient has 1/6 in float32
        return torch.where(x.abs() >= 3, (x.sign() + 1) / 2, (x + 3) / 6)
    return x + 0 if name == "identity" else getattr(torch.nn.functional, name)(x, **settings)


@family("activation", 3)
def activation(draw: Draw) -> Case:
    name = draw.choice(NAMES)
    settings = SETTINGS[name](draw) if name in SETTINGS else {}
    x = draw.array(draw.shape(), "normal")
    function = getattr(F, name)
    return Case(
        name,
        function,
        [x],
        settings,
        reference=lambda x, **s: theirs(name, x, s),
        eps=32 if "gelu" in name else 16,  # the gradient is a difference
        floor=1,
    )


@family("activation_wild")
def activation_wild(draw: Draw) -> Case:
    """Values at infinity and near it; the gradients there have a test of their own."""
    name = draw.choice(
        [
            n
            for n in NAMES
            if n not in ("hardswish", "gelu", "gelu_tanh", "mish", "softsign", "silu")
        ]
    )
    settings = SETTINGS[name](draw) if name in SETTINGS else {}
    x = draw.array(draw.shape(), "wild")
    return Case(
        name,
        getattr(F, name),
        [x],
        settings,
        reference=lambda x, **s: theirs(name, x, s),
        eps=16,
        floor=1,
        gradient=False,
    )


@family("inplace")
def inplace(draw: Draw) -> Case:
    name = draw.choice(INPLACE)
    settings = SETTINGS[name](draw) if name in SETTINGS else {}
    if settings.get("negative_slope", 0) < 0:
        settings["negative_slope"] = 0.3
    if "threshold" in settings:
        settings["value"] = -3.0
    x = draw.array(draw.shape(), "normal")

    def ours(x, **settings):
        return getattr(F, name)(ops.mul(x, 1), **settings, inplace=True)

    return Case(
        name, ours, [x], settings, reference=lambda x, **s: theirs(name, x, s), eps=16, floor=1
    )


@family("prelu", 1.5)
def prelu(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    base_axis = draw.choice(
        [None, *range(-len(shape), len(shape)), tuple(draw.some(range(len(shape)))) or (0,)]
    )
    axes = (
        range(1, len(shape))
        if base_axis is None
        else base_axis
        if isinstance(base_axis, tuple)
        else (base_axis,)
    )
    axes = [a % len(shape) for a in axes]
    one = draw.chance(0.2)
    slope = draw.array(draw.choice([(), (1,)]) if one else [shape[a] for a in axes], "normal")
    settings = {"base_axis": base_axis}
    if draw.chance(0.2):
        settings["inplace"] = True
        slope = np.abs(slope) + np.asarray(0.1, slope.dtype)

    def ours(x, slope, **settings):
        return F.prelu(ops.mul(x, 1) if settings.get("inplace") is True else x, slope, **settings)

    def reference(x, slope, **settings):
        if slope.numel() != 1:
            order = np.argsort(axes).tolist()
            slope = slope.permute(order).reshape(
                [n if a in axes else 1 for a, n in enumerate(shape)]
            )
        else:
            slope = slope.reshape(())
        return torch.where(x <= 0, x * slope, x)

    return Case(
        "prelu",
        ours,
        [draw.array(shape), slope],
        settings,
        reference=reference,
        sums=True,
        eps=64,
        free=("slope",),
    )


@family("gates")
def gates(draw: Draw) -> Case:
    name = draw.choice(["crelu", "maxout", "glu"])
    shape = list(draw.shape(1, 4))
    axis = draw.integer(-len(shape), len(shape) - 1)
    settings: dict[str, Any] = {"axis": axis}
    if name == "maxout":
        settings["pieces"] = draw.integer(1, 4)
        shape[axis] *= settings["pieces"]
    if name == "glu":
        shape[axis] *= 2

    def reference(x, axis, pieces=0):
        if name == "crelu":
            return torch.cat([torch.relu(x), torch.relu(-x)], axis)
        if name == "glu":
            a, b = x.chunk(2, axis)
            return a * torch.sigmoid(b)
        at = axis % x.ndim
        return x.unflatten(at, (x.shape[at] // pieces, pieces)).max(at + 1).values

    return Case(
        name,
        getattr(F, name),
        [draw.array(shape)],
        settings,
        reference=reference,
        sums=True,
        eps=32,
        floor=1,
    )


@family("random")
def random(draw: Draw) -> Case:
    """Dropout and RReLU: every element is dropped, scaled or left alone, and the gradient has the same factors."""
    name = draw.choice(["dropout", "rrelu"])
    x = draw.array(draw.shape(), "normal")
    settings: dict[str, Any] = {"training": draw.chance(0.7)}
    settings |= (
        {"p": draw.choice([0.0, 0.5, 0.3, 1.0])}
        if name == "dropout"
        else {"lower": 0.1, "upper": draw.choice([0.1, 0.5])}
    )
    seed = draw.integer(0, 1000)

    def ours(x, **settings):
        return getattr(F, name)(x, **settings, rng=seed)

    def reference(x, **settings):
        plain = md.Tensor(x.detach().numpy().astype(draw.dtype))
        factor = np.asarray(
            ours(md.Tensor(np.ones_like(plain.numpy())), **settings)
            if name == "dropout"
            else ours(md.Tensor(-np.ones_like(plain.numpy())), **settings)
        ).astype(np.float64)
        if name == "rrelu":
            factor = np.where(plain.numpy() <= 0, -factor, 1)
        return x * torch.from_numpy(np.array(factor)).to(x.dtype)

    return Case(name, ours, [x], settings, reference=reference, eps=16)
