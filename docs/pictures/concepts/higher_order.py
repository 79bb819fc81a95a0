"""Pictures of docs/concepts/higher_order.md."""

import numpy as np
import svg


def graphs() -> svg.Picture:
    """x³ and, in red, the ops of its backward pass when it is recorded: a graph again, with x as an input."""
    nodes = {
        "x": (0, 0.5, "x", "blue"),
        "cube": (1, 0, "cube"),
        "y": (2, 0, "y = x³", "green"),
        "square": (1, 1, "3 · square", "red"),
        "gy": (2, 1.9, "gy = 1", "blue"),
        "mul": (2, 1, "mul", "red"),
        "gx": (3, 1, "gx = gy · 3x²", "green"),
    }
    arrows = [
        ("x", "cube"), ("cube", "y"), ("x", "square", "", "red"), ("square", "mul", "", "red"),
        ("gy", "mul", "", "red"), ("mul", "gx", "", "red"),
    ]  # fmt: skip
    title = "create_graph=True: the backward pass (red) is a graph that x is an input of"
    return svg.boxes(nodes, arrows, title)


def lost_term() -> svg.Picture:
    """The second derivative of x sin x, and what is left of it if the slope was computed in NumPy."""
    x = np.linspace(-6, 6, 121)
    return svg.plot(
        {
            "f'' = 2 cos x − x sin x": (x, 2 * np.cos(x) - x * np.sin(x)),
            "backward through NumPy: 2 cos x": (x, 2 * np.cos(x)),
        },
        "x", title="The second derivative of x sin x",
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/higher_order": graphs(), "concepts/second_order": lost_term()}
