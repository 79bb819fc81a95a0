"""Pictures of docs/concepts/register_tile.md."""

import numpy as np
import svg

PEAK, BANDWIDTH = 64.0, 2.5  # operations, and bytes from memory, in a cycle


def intensity(m: int, k: int, n: int) -> float:
    """Operations of a product for each byte of the three matrices."""
    return 2 * m * n * k / (4 * (m * k + k * n + m * n))


def roofline() -> svg.Picture:
    """The most that a core can do, over the intensity, and where some computations are."""
    at = np.array([0.1, 1.0, PEAK / BANDWIDTH, 300.0])
    lines = {
        "at most": (at, np.minimum(PEAK, BANDWIDTH * at)),
    }
    for name, i in {
        "relu": 1 / 8,
        "(10000, 16) (16, 4)": intensity(10_000, 16, 4),
        "(64, 784) (784, 256)": intensity(64, 784, 256),
        "1024 x 1024": intensity(1024, 1024, 1024),
    }.items():
        lines[name] = (np.array([i]), np.array([min(PEAK, BANDWIDTH * i)]))
    return svg.plot(
        lines, "operations per byte of memory", "operations per cycle",
        "Below 26, memory is the limit", logx=True, logy=True, markers=True, size=(640, 360),
    )  # fmt: skip


def rectangle(x: float, y: float, w: float, h: float, fill: str, border: str = "#8a93a3") -> str:
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{fill}" stroke="{border}"/>'


def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def tile() -> svg.Picture:
    """The strip of a, the panel of b, the tile of y, and what one step reads."""
    pale, strong = "#dbeaf7", "#1f6fb4"
    title = "One step p: 8 numbers of a, 3 vectors of b, 24 FMA"
    out = [f'<text x="330" y="24" text-anchor="middle" font-weight="bold">{title}</text>']
    out += [rectangle(30, 210, 220, 200, "#ffffff"), label(140, 434, "a (M, K)")]
    out += [rectangle(300, 50, 330, 130, "#ffffff"), label(465, 44, "b (K, N)")]
    out += [rectangle(300, 210, 330, 200, "#ffffff"), label(465, 434, "y (M, N)")]
    out.append(rectangle(30, 258, 220, 64, pale))  # the strip
    out.append(rectangle(372, 50, 144, 130, pale))  # the panel
    out.append(label(36, 250, "strip: 8 rows", "start"))
    out.append(label(522, 74, "panel: 3 vectors", "start"))
    out += [rectangle(150, 258 + 8 * i, 8, 8, strong, "#ffffff") for i in range(8)]
    out += [rectangle(372 + 48 * j, 116, 48, 8, strong, "#ffffff") for j in range(3)]
    out += [label(154, 342, "column p"), label(294, 124, "row p", "end")]
    out += [
        rectangle(372 + 48 * j, 258 + 8 * i, 48, 8, "#dcefe3", "#2e8b57")
        for i in range(8)
        for j in range(3)
    ]
    out.append(label(444, 342, "24 vectors of sums, in registers"))
    return svg.Picture(680, 450, out, title)


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/roofline": roofline(), "concepts/register_tile": tile()}
