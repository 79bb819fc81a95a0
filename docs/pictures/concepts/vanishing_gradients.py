"""The picture of docs/concepts/vanishing_gradients.md."""

from typing import Any

import numpy as np
import svg

import minidl as md
from minidl import functional as F
from minidl import init, nn

WIDTH, DEPTH, BATCH = 100, 20, 32


def sizes(activation: Any, weight: Any = None, norm: Any = None) -> list[float]:
    """The typical size of the gradient of each layer's output, that of the last one being 1."""
    md.manual_seed(0)
    rng = np.random.default_rng(0)
    x = [md.Tensor(rng.standard_normal((BATCH, WIDTH)).astype("float32"), requires_grad=True)]
    for _ in range(DEPTH):
        z = nn.Affine(WIDTH, WIDTH, weight=weight)(x[-1])
        x.append(activation(norm(WIDTH)(z) if norm else z))
    gy = rng.standard_normal((BATCH, WIDTH)).astype("float32")
    gradients = [g.data for g in md.grad(x[-1], x[1:-1], gy)]
    return [float(np.sqrt((g**2).mean())) for g in [*gradients, gy]]


def by_layer() -> svg.Picture:
    """A straight line, because each layer divides by the same factor."""
    layer = np.arange(1, DEPTH + 1)
    lines = {
        "sigmoid": sizes(F.sigmoid),
        "sigmoid, He": sizes(F.sigmoid, init.HeNormal()),
        "sigmoid, LayerNorm": sizes(F.sigmoid, None, nn.LayerNorm),
        "sigmoid, BatchNorm": sizes(F.sigmoid, None, nn.BatchNorm),
        "ReLU": sizes(F.relu),
        "ReLU, He": sizes(F.relu, init.HeNormal()),
    }
    return svg.plot(
        {name: (layer, size) for name, size in lines.items()}, "layer", "size of the gradient",
        "Gradients on their way down from layer 20", logy=True,
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/vanishing_gradients": by_layer()}
