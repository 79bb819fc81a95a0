"""Matrix products: matmul, einsum, affine."""

from __future__ import annotations

from case import Case, family, torch
from draw import Draw

import minidl as md
from minidl import functional as F

FUSED = ["relu", "tanh", "sigmoid", "elu", "hardtanh", "relu6", "softplus", "selu"]
EQUATIONS = [
    "ij,jk->ik",
    "ij,kj->ik",
    "ij,jk",
    "ii->i",
    "ii",
    "ij->ji",
    "ij->",
    "ij->j",
    "bij,bjk->bik",
    "i,j->ij",
    "i,i",
    "ij,ij->",
    "bi,bj->bij",
    "ijk,k->ij",
    "...i,ij->...j",
    "ij,jk,kl->il",
    "ijj->i",
    "ab,bc,ca->",
    "i->",
    "bhqd,bhkd->bhqk",
    "ij,ij->ij",
    "ijk->kji",
    "iij,j->i",
]


def length(draw: Draw, most: int = 9) -> int:
    """The length of an axis of a product: short, at the edges of a vector or a tile, or empty."""
    if draw.large and draw.chance(0.5):
        return draw.integer(100, 300)
    return draw.choice(
        [draw.integer(1, most), draw.choice([0, 1, 7, 8, 15, 16, 17, 24, 31, 33, 48, 65])]
    )


@family("matmul", 2)
def matmul(draw: Draw) -> Case:
    m, k, n = length(draw), length(draw), length(draw)
    batch = draw.shape(0, 2, 3) if draw.chance(0.4) and not draw.large else ()
    first = tuple(1 if draw.chance(0.3) else b for b in batch)
    second = tuple(1 if draw.chance(0.3) else b for b in batch)[draw.integer(0, len(batch)) :]
    a, b = (*first, m, k), (*second, k, n)
    if draw.chance(0.15):
        a = (k,)
    if draw.chance(0.15):
        b = (k,)
    return Case(
        "matmul",
        md.matmul,
        [draw.array(a), draw.array(b)],
        sums=True,
        eps=64,
        free=("operand",),
        reference=lambda a, b: torch.matmul(a, b),
    )


@family("einsum")
def einsum(draw: Draw) -> Case:
    equation = draw.choice(EQUATIONS)
    sizes = {c: draw.choice([draw.integer(1, 5), draw.integer(1, 5), 9]) for c in "abcdhijklq"}
    if draw.chance(0.05):
        sizes[draw.choice("ijk")] = 0
    batch = draw.shape(0, 2, 3) if "..." in equation else ()
    operands = []
    for letters in equation.split("->")[0].split(","):
        shape = tuple(sizes[c] for c in letters.replace("...", ""))
        operands.append(draw.array((*batch, *shape) if "..." in letters else shape))
    return Case(
        "einsum",
        lambda *xs, equation: md.einsum(equation, *xs),
        operands,
        {"equation": equation},
        sums=True,
        eps=64,
        reference=lambda *xs, equation: torch.einsum(equation, *xs),
        free=("operand",),
    )


@family("affine", 2)
def affine(draw: Draw) -> Case:
    lead = draw.choice([(length(draw),), (length(draw),), draw.shape(0, 3, 4)])
    inputs, outputs = length(draw), length(draw)
    operands = [draw.array((*lead, inputs)), draw.array((outputs, inputs))]
    if draw.chance(0.6):
        operands.append(draw.array((outputs,)))
    settings = {"activation": draw.choice(FUSED)} if draw.chance(0.4) else {}

    def ours(*xs, **settings):
        return F.affine(*xs, **settings)

    def reference(x, w, b=None, activation=None):
        y = torch.nn.functional.linear(x, w, b)
        if (
            activation == "softplus"
        ):  # PyTorch's becomes a line beyond 20; without, its gradient is NaN beyond 709
            return torch.logaddexp(y, torch.zeros_like(y))
        return getattr(torch.nn.functional, activation)(y) if activation else y

    return Case(
        "affine",
        ours,
        operands,
        settings,
        reference=reference,
        sums=True,
        eps=64,
        floor=1 if settings else 0,
        free=("x", "weight", "bias"),
    )
