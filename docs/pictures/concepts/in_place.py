"""The picture of docs/concepts/in_place.md."""

import svg


def counters() -> svg.Picture:
    """What happens to the counter of an array, from forward to backward."""
    nodes = {
        "x": (0, 0.5, "memory of x\ncount 0", "blue"),
        "op": (1, 0, "forward: y = x · x\nsaves x, notes 0", "plain"),
        "write": (1, 1, "x += 1\ncount 1", "yellow"),
        "back": (2, 0.5, "backward: 2 gy x\n1 ≠ 0: raises", "red"),
    }
    arrows = [("x", "op", "read"), ("x", "write", "write"), ("op", "back", "noted 0"),
              ("write", "back", "count 1", "yellow")]  # fmt: skip
    return svg.boxes(nodes, arrows, "The counter belongs to the memory; all views share it")


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/in_place": counters()}
