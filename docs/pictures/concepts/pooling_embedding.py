"""The picture of docs/concepts/pooling_embedding.md."""

import numpy as np
import svg


def routing() -> svg.Picture:
    """An image of 4 x 4, its four maxima, and where their gradients go."""
    x = np.array([[1, 3, 2, 0], [4, 2, 0, 5], [0, 1, 7, 7], [2, 1, 6, 3]], dtype=float)
    gy = np.array([[1, 2], [3, 4]], dtype=float)
    gx, winners, y = np.zeros_like(x), [], np.zeros_like(gy)
    for i, j in np.ndindex(2, 2):
        window = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        a, b = np.unravel_index(window.argmax(), (2, 2))
        winners.append((2 * i + int(a), 2 * j + int(b)))
        gx[winners[-1]], y[i, j] = gy[i, j], window.max()
    return svg.beside(
        svg.heat(x, "x", marked=winners), svg.heat(y, "y: the greatest"),
        svg.heat(gy, "gy"), svg.heat(gx, "gx: to the winners", marked=winners),
        title="Max pooling, 2 x 2. The two 7 are a tie: the first wins",
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/pooling": routing()}
