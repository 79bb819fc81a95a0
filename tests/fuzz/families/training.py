"""Optimizers against PyTorch's, and the clipping of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Case, family, torch
from draw import Draw

import minidl as md
from minidl import nn, optim

SETTINGS: dict[str, Any] = {
    "SGD": lambda d: {"momentum": d.choice([0.0, 0.9, 0.5]), "weight_decay": d.choice([0.0, 0.1])},
    "Adam": lambda d: {
        "betas": d.choice([(0.9, 0.999), (0.5, 0.9), (0.0, 0.5)]),
        "weight_decay": d.choice([0.0, 0.1]),
        "amsgrad": d.chance(0.3),
    },
    "AdamW": lambda d: {"eps": d.choice([1e-8, 1e-3]), "weight_decay": d.choice([0.0, 0.1])},
    "NAdam": lambda d: {
        "betas": d.choice([(0.9, 0.999), (0.5, 0.9)]),
        "weight_decay": d.choice([0.0, 0.1]),
        "decoupled_weight_decay": d.chance(0.5),
    },
    "RMSprop": lambda d: {"eps": 1e-2, "momentum": d.choice([0.0, 0.9]), "centered": d.chance(0.5)},
    "Adagrad": lambda d: {"lr_decay": d.choice([0.0, 0.1]), "weight_decay": d.choice([0.0, 0.1])},
    "Adadelta": lambda d: {"rho": d.choice([0.9, 0.5]), "weight_decay": d.choice([0.0, 0.1])},
}


@family("optimizer", 1.5)
def optimizer(draw: Draw) -> Case:
    name = draw.choice(sorted(SETTINGS))
    settings = {"lr": draw.choice([0.1, 0.01, 0.0]), **SETTINGS[name](draw)}
    if name == "SGD" and settings["momentum"]:
        settings |= draw.choice([{}, {"nesterov": True}, {"dampening": 0.5}])
    steps = draw.integer(1, 4)
    shapes = [draw.shape(0, 3) for _ in range(draw.integer(1, 4))]
    starts = [draw.array(s, "normal") for s in shapes]
    grads = [draw.array((steps, *s), "normal") for s in shapes]
    n = len(shapes)

    def ours(*operands, **settings):
        params = [nn.Parameter(np.array(x)) for x in operands[:n]]
        optimizer = getattr(optim, name)(params, **settings)
        for step in range(steps):
            for p, g in zip(params, operands[n:], strict=True):
                p.grad = g.detach()[step]
            optimizer.step()
        return [p.numpy() for p in params]

    def reference(*operands, **settings):
        params = [torch.nn.Parameter(x.detach().clone()) for x in operands[:n]]
        optimizer = getattr(torch.optim, name)(params, **settings)
        before = torch.get_default_dtype()  # in which NAdam keeps a product
        torch.set_default_dtype(params[0].dtype)
        for step in range(steps):
            for p, g in zip(params, operands[n:], strict=True):
                p.grad = g.detach()[step].clone()
            optimizer.step()
        torch.set_default_dtype(before)
        return [p.detach() for p in params]

    return Case(
        name,
        ours,
        starts + grads,
        settings,
        reference=reference,
        sums=True,
        eps=64,
        gradient=False,
        own=False,
        free=("Parameter", "params", "parameter", "gradient", "grad"),
    )


@family("clip_grad_norm", 0.5)
def clip_grad_norm(draw: Draw) -> Case:
    operands = [draw.array(draw.shape(0, 3), "normal") for _ in range(draw.integer(1, 4))]
    settings = {"max_norm": draw.choice([1.0, 0.1, 100.0, 0.0])}

    def ours(*operands, max_norm):
        params = [nn.Parameter(np.zeros(x.shape, draw.dtype)) for x in operands]
        for p, g in zip(params, operands, strict=True):
            p.grad = md.Tensor(draw.laid(np.array(g)))
        norm = optim.clip_grad_norm(params, max_norm)
        return [np.asarray(norm, np.float64), *(p.grad.numpy() for p in params)]

    def reference(*operands, max_norm):
        params = [torch.nn.Parameter(torch.zeros_like(x)) for x in operands]
        for p, g in zip(params, operands, strict=True):
            p.grad = g.detach().clone()
        norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
        return [norm, *(p.grad for p in params)]

    return Case(
        "clip_grad_norm",
        ours,
        operands,
        settings,
        reference=reference,
        sums=True,
        eps=64,
        gradient=False,
        own=False,
        free=("Parameter", "params", "gradient"),
    )
