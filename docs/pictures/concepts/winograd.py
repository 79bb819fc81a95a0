"""The picture of docs/concepts/winograd.md."""

import svg


def patch() -> svg.Picture:
    """What happens to a patch of 4 x 4 pixels: transforms, 16 products, the way back."""
    nodes = {
        "d": (0, 0, "pixels d\n4 x 4", "blue"),
        "v": (1, 0, "Bᵀ d B\n4 x 4", "blue"),
        "g": (0, 1, "taps g\n3 x 3", "yellow"),
        "u": (1, 1, "G g Gᵀ\n4 x 4", "yellow"),
        "m": (2, 0.5, "16 products,\nsum over channels", "red"),
        "y": (3, 0.5, "outputs\n2 x 2", "green"),
    }
    arrows = [("d", "v", "sums"), ("g", "u", "sums"), ("v", "m"), ("u", "m"), ("m", "y", "Aᵀ m A")]
    return svg.boxes(nodes, arrows, "F(2x2, 3x3): four outputs with 16 products instead of 36")


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/winograd": patch()}
