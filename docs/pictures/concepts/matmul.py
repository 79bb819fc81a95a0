"""The picture of docs/concepts/matmul.md."""

import svg


def products() -> svg.Picture:
    """Three matrices multiplied in three ways: shapes, and the axis that disappears."""
    nodes = {
        "x": (0, 0, "x\n(N, K)", "blue"),
        "w": (0, 1, "w\n(K, M)", "blue"),
        "y": (1, 0.5, "y = x w\nsum over k", "green"),
        "gy": (2, 0.5, "gy\n(N, M)", "red"),
        "gx": (3, 0, "gx = gy wᵀ\nsum over m", "red"),
        "gw": (3, 1, "gw = xᵀ gy\nsum over n", "red"),
    }
    arrows = [("x", "y"), ("w", "y"), ("y", "gy", "rest of the net"), ("gy", "gx", "with w", "red"),
              ("gy", "gw", "with x", "red")]  # fmt: skip
    return svg.boxes(nodes, arrows, "Each product sums over the axis that its result does not have")


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/matmul": products()}
