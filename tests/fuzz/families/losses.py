"""The losses with their reductions."""

from __future__ import annotations

import numpy as np
from case import Case, family, torch
from draw import Draw

from minidl import functional as F

REDUCTIONS = ["mean", "sum", "none"]


@family("class_loss", 1.5)
def class_loss(draw: Draw) -> Case:
    name = draw.choice(["cross_entropy", "nll_loss"])
    classes = draw.choice([1, 2, 3, 10, 17])
    shape = draw.choice(
        [
            (classes,),
            (draw.integer(1, 9), classes),
            (draw.integer(1, 3), classes, *draw.shape(1, 2, 4)),
        ]
    )
    x = draw.array(shape, "normal")
    settings = {"reduction": draw.choice(REDUCTIONS)}
    if name == "cross_entropy" and draw.chance(0.3):
        target = draw.array(shape, "unit")
    else:
        target = draw.ids(shape[:1] + shape[2:] if len(shape) > 1 else (), 0, classes)

    def reference(x, target, reduction):
        target = target if target.is_floating_point() else target.long()
        return getattr(torch.nn.functional, name)(x, target, reduction=reduction)

    return Case(
        name,
        getattr(F, name),
        [x, target],
        settings,
        reference=reference if x.size else None,
        sums=True,
        eps=64,
        floor=1,
        free=("class ids", "integer ids"),
    )


@family("element_loss", 2)
def element_loss(draw: Draw) -> Case:
    name = draw.choice(
        [
            "mse_loss",
            "l1_loss",
            "huber_loss",
            "binary_cross_entropy",
            "binary_cross_entropy_with_logits",
        ]
    )
    shape = draw.shape(0, 3)
    unit = "unit" if name.startswith("binary") else "normal"
    x = draw.array(shape, "unit" if name == "binary_cross_entropy" else "")
    if name == "binary_cross_entropy":
        x = np.clip(x, 0.01, 0.99).astype(x.dtype)
    settings = {"reduction": draw.choice(REDUCTIONS)}
    if name == "huber_loss":
        settings["delta"] = draw.choice([1.0, 0.3, 2.5])
    wanted = [i for i in range(2) if name != "binary_cross_entropy" or i == 0]
    return Case(
        name,
        getattr(F, name),
        [x, draw.array(shape, unit)],
        settings,
        sums=True,
        eps=64,
        floor=1,
        gradient=bool(wanted),
        reference=lambda x, t, **s: getattr(torch.nn.functional, name)(x, t, **s),
    )
