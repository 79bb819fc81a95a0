"""Pictures of docs/concepts/simd.md."""

import numpy as np
import svg


def select() -> svg.Picture:
    """relu of eight lanes: compare, then a bitwise and."""
    x = np.array([1.5, -0.5, 2.0, -3.0, 0.5, 4.0, -1.0, -2.5])
    mask = x > 0
    y = np.where(mask, x, 0.0)
    texts = [
        [svg.number(v) for v in x],
        ["1...1" if on else "0...0" for on in mask],
        [svg.number(v) for v in y],
    ]
    return svg.heat(
        np.stack([x, 4.0 * mask, y]), "relu of 8 lanes: two instructions, no branch", texts=texts,
        rows=("x", "x > 0", "x and mask"), columns=[f"lane {i}" for i in range(8)], cell=56,
    )  # fmt: skip


def share(rows: int, vectors: int, loads: int) -> float:
    """Percent of the peak: two products and so many loads in a cycle, and a latency of 4."""
    products = rows * vectors
    return 100 * products / 2 / max(4, products / 2, (rows + vectors) / loads)


def tiles() -> svg.Picture:
    """By the size of the tile, if all loads arrive in time and if half of them are late."""
    sizes = ((1, 1), (2, 2), (4, 2), (4, 3), (8, 3))
    return svg.bars(
        {
            f"{r} x {v}: {r * v}": {
                "two loads per cycle": share(r, v, 2),
                "one load per cycle": share(r, v, 1),
            }
            for r, v in sizes
        },
        ylabel="percent of the peak", title="Tiles of rows x vectors, and their number of sums",
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/simd_select": select(), "concepts/simd_tiles": tiles()}
