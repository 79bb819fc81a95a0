"""Pictures of docs/concepts/reverse_mode.md."""

import numpy as np
import svg


def graph() -> svg.Picture:
    """L = (x w + x)² at x = 2, w = 3: values forward in grey, gradients backward in red."""
    nodes = {
        "x": (0, 0, "x = 2", "blue"),
        "w": (0, 2, "w = 3", "blue"),
        "mul": (1, 1.5, "op 1: mul"),
        "add": (2, 0, "op 2: add"),
        "square": (3, 0, "op 3: square"),
        "L": (4, 0, "L = 64", "green"),
    }
    forward = [
        ("x", "mul", "2"), ("w", "mul", "3"), ("x", "add", "2"), ("mul", "add", "a = 6"),
        ("add", "square", "s = 8"), ("square", "L", "64"),
    ]  # fmt: skip
    backward = [
        ("L", "square", "1"), ("square", "add", "16"), ("add", "mul", "16"), ("add", "x", "16"),
        ("mul", "x", "16·3 = 48"), ("mul", "w", "16·2 = 32"),
    ]  # fmt: skip
    arrows = [*forward, *((*arrow, "red") for arrow in backward)]
    return svg.boxes(nodes, arrows, "Forward: values (grey). Backward: dL/d· (red)", gap=(60, 64))


def passes() -> svg.Picture:
    """How many multiplications a gradient takes in both modes."""
    n = np.logspace(0, 6, 25)
    return svg.plot(
        {"forward mode: a pass for each parameter": (n, 2 * n), "reverse mode: one pass": (n, 0 * n + 3)},
        "number of parameters n", "cost, in evaluations of L", "The cost of all n derivatives of one loss",
        logx=True, logy=True,
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/reverse_mode": graph(), "concepts/reverse_mode_cost": passes()}
