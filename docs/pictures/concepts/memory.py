"""Pictures of docs/concepts/memory.md."""

import numpy as np
import svg

LAYERS = 10


def class_units(units: int) -> int:
    """The units of 64 bytes of the size class that serves a request (`class_of` and `bytes_of` in memory.pyx)."""
    shift, last = 0, units - 1
    while last >= 16:
        last, shift = last >> 1, shift + 1
    return (last + 1) << shift


def classes() -> svg.Picture:
    """The wasted part of a piece, by the size that was asked for."""
    units = np.arange(1, 257)
    wasted = [100 * (1 - n / class_units(int(n))) for n in units]
    return svg.plot(
        [(64 * units, wasted)], "bytes asked for, in units of 64", "percent wasted",
        "What rounding up to a size class wastes",
    )  # fmt: skip


def step() -> svg.Picture:
    """Results and gradients of a chain of layers that are held after each layer, forward and then backward."""
    k = np.arange(LAYERS + 1)
    both = np.arange(2 * LAYERS + 1)
    kept = np.concatenate([k, LAYERS - k[1:] + 1.0])  # one gradient, and what is not yet freed
    held = np.concatenate([k, np.full(LAYERS, LAYERS + 1.0)])
    lines = {
        "freed at the end": (both, held),
        "each op freed after its turn": (both, kept),
        "no_grad": (k, np.minimum(k, 2)),
    }
    return svg.plot(
        lines, "layers done: 10 forward, then 10 backward", "arrays held",
        "What a chain of 10 layers holds, counted in arrays of a layer's size", markers=True, ylim=(0, 12),
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/memory_classes": classes(), "concepts/memory_step": step()}
