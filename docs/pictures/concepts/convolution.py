"""The picture of docs/concepts/convolution.md."""

import numpy as np
import svg


def matrices() -> svg.Picture:
    """A convolution of 3 taps, stride 2, padding 1 of 7 pixels as a matrix, and its transpose."""
    a = np.full((4, 7), np.nan)
    texts = [[""] * 7 for _ in range(4)]
    for o in range(4):
        for k in range(3):
            i = 2 * o + k - 1
            if 0 <= i < 7:
                a[o, i], texts[o][i] = (1.0, 0.6, -0.6)[k], f"w{k}"
    pixels, outputs = [f"x{i}" for i in range(7)], [f"y{o}" for o in range(4)]
    forward = svg.heat(a, "Conv: y = A x", texts=texts, rows=outputs, columns=pixels, cell=38)
    turned = [list(column) for column in zip(*texts, strict=True)]
    backward = svg.heat(
        a.T, "ConvTranspose: x = Aᵀ y", texts=turned, rows=pixels, columns=outputs, cell=38
    )
    return svg.beside(forward, backward, title="3 taps, stride 2, padding 1: i = 2 o + k − 1")


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/convolution": matrices()}
