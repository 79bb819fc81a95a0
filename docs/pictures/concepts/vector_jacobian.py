"""The picture of docs/concepts/vector_jacobian.md."""

import numpy as np
import svg


def matrices() -> svg.Picture:
    """Repeating three times, slicing, and picking rows 0, 2, 0, as matrices, above their transposes."""
    repeat = np.ones((3, 1))
    taken = np.eye(5)[1:3]
    picked = np.eye(3)[[0, 2, 0]]
    names = ("repeat 3 times", "slice x[1:3]", "pick x[[0, 2, 0]]")
    adjoints = ("sum", "pad with zeros", "add at the ids")
    forward = [
        svg.heat(a, name, cell=34) for a, name in zip((repeat, taken, picked), names, strict=True)
    ]
    backward = [
        svg.heat(a.T, f"transposed: {name}", cell=34)
        for a, name in zip((repeat, taken, picked), adjoints, strict=True)
    ]
    for above, below in zip(forward, backward, strict=True):
        above.width = below.width = max(above.width, below.width)
    return svg.beside(*forward, *backward, columns=3, title="y = A x above, gx = Aᵀ gy below")


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/adjoints": matrices()}
