"""Pictures of docs/concepts/gan.md."""

import numpy as np
import svg


def normal(x: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))


def best_and_losses() -> svg.Picture:
    """Two densities with the best discriminator; the two losses of the generator over the score."""
    x = np.linspace(-3, 7, 101)
    p, q = normal(x, 3, 1), normal(x, 1, 1)
    size = (440, 330)
    left = svg.plot(
        {"p, real": (x, p), "q, generated": (x, q), "D* = p/(p + q)": (x, p / (p + q))},
        "x", title="The best discriminator", size=size,
    )  # fmt: skip
    s = np.linspace(-6, 4, 81)
    right = svg.plot(
        {"minimax: log(1 − D)": (s, -np.logaddexp(0, s)), "non-saturating: −log D": (s, np.logaddexp(0, -s))},
        "score s of a generated sample", title="Two losses of G", size=size,
    )  # fmt: skip
    return svg.beside(left, right)


def detach() -> svg.Picture:
    """What D's and G's losses reach."""
    nodes = {
        "z": (0, 1, "noise z", "grey"),
        "G": (1, 1, "G", "green"),
        "fake": (2, 1, "fake = G(z)"),
        "cut": (2, 0, "detach()", "yellow"),
        "D1": (3, 0, "D", "blue"),
        "dl": (4, 0, "loss of D", "blue"),
        "D2": (3, 1, "D, after\nits step", "grey"),
        "gl": (4, 1, "loss of G", "green"),
    }
    arrows = [
        ("z", "G"), ("G", "fake", "", "grey"), ("fake", "G", "", "green"), ("fake", "cut"), ("cut", "D1"),
        ("D1", "dl"), ("dl", "D1", "", "blue"), ("fake", "D2"), ("D2", "fake", "", "green"),
        ("D2", "gl"), ("gl", "D2", "", "green"),
    ]  # fmt: skip
    return svg.boxes(nodes, arrows, "Grey: values. Blue and green: gradients", gap=(44, 44))


def steps() -> svg.Picture:
    """The game x y: simultaneous and alternating steps."""
    ways: dict[str, list[tuple[float, float]]] = {"simultaneous": [], "alternating": []}
    for name, way in ways.items():
        x, y = 1.0, 0.0
        for _ in range(50):
            way.append((x, y))
            y_new = y + 0.2 * x
            x = x - 0.2 * (y_new if name == "alternating" else y)
            y = y_new
    lines = {name: np.array(way) for name, way in ways.items()}
    return svg.plot(
        lines,
        "x",
        "y",
        "50 steps of 0.2 from (1, 0); the solution is (0, 0)",
        markers=True,
        size=(480, 440),
    )


def pictures() -> dict[str, svg.Picture]:
    return {
        "concepts/gan": best_and_losses(),
        "concepts/gan_detach": detach(),
        "concepts/gan_steps": steps(),
    }
