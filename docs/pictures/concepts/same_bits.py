"""The picture of docs/concepts/same_bits.md."""

import svg


def tree() -> svg.Picture:
    """What `join_chunks` in reduction.pyx does with four pieces."""
    caller, worker = "blue", "red"
    tones = (caller, caller, caller, worker)
    nodes: dict[str, tuple] = {
        f"p{i}": (i, 0, f"piece {i}\n16384 numbers", tone) for i, tone in enumerate(tones)
    }
    nodes |= {"a": (0.5, 1, "0 + 2"), "b": (2.5, 1, "1 + 3"), "s": (1.5, 2, "(0 + 2) + (1 + 3)")}
    arrows = [("p0", "a"), ("p2", "a"), ("p1", "b"), ("p3", "b"), ("a", "s"), ("b", "s")]
    return svg.boxes(
        nodes, arrows, "Blue: the caller took it this time, red: a worker. The tree is always this one.",
        gap=(20, 44),
    )  # fmt: skip


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/same_bits": tree()}
