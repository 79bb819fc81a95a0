"""Pictures of docs/concepts/gan_measures.md."""

import numpy as np
import svg

SHIFT = np.array([20, 40])


def generators() -> svg.Picture:
    """Real points in eight clusters, and three generators."""
    rng = np.random.default_rng(0)

    def clusters(which: list[int]) -> np.ndarray:
        angle = np.pi / 4 * rng.choice(which, 70)
        return np.stack([np.cos(angle), np.sin(angle)], 1) + 0.05 * rng.standard_normal((70, 2))

    real = clusters(list(range(8)))
    fakes = {
        "good": clusters(list(range(8))),
        "collapse: recall is low": clusters([0, 1, 4]),
        "blur: precision is low": real.std(axis=0) * rng.standard_normal((70, 2)),
    }
    limits = (-2.2, 2.2)
    panels = [
        svg.scatter(
            {"real": real, "samples": fake}, title=title, xlim=limits, ylim=limits, radius=2.5, size=(300, 300)
        )
        for title, fake in fakes.items()
    ]  # fmt: skip
    return svg.beside(*panels)


def balls() -> svg.Picture:
    """Balls to the second neighbour around few real points, and samples inside and outside."""
    real = (
        np.array([(90, 120), (120, 95), (130, 140), (160, 110), (320, 170), (380, 140), (370, 215)])
        + SHIFT
    )
    samples = np.array([(110, 118), (350, 145), (240, 225), (145, 225)]) + SHIFT
    distances = np.sqrt(((real[:, None] - real) ** 2).sum(axis=2))
    radii = np.sort(distances, axis=1)[:, 2]
    inside = (np.sqrt(((samples[:, None] - real) ** 2).sum(axis=2)) <= radii).any(axis=1)
    title = f"Balls to the second neighbour (k = 2): precision {inside.sum()} of {len(samples)}"
    out = [f'<text x="260" y="24" text-anchor="middle" font-weight="bold">{title}</text>']
    for (x, y), r in zip(real, radii, strict=True):
        out.append(
            f'<circle cx="{x}" cy="{y}" r="{r:.1f}" fill="#1f6fb4" fill-opacity="0.1" stroke="#1f6fb4"/>'
        )
    out += [f'<circle cx="{x}" cy="{y}" r="4" fill="#1f6fb4"/>' for x, y in real]
    for (x, y), hit in zip(samples, inside, strict=True):
        out.append(f'<rect x="{x - 5}" y="{y - 5}" width="10" height="10" fill="#d1495b"/>')
        word = "inside" if hit else "outside"
        out.append(f'<text x="{x}" y="{y + 22}" text-anchor="middle">{word}</text>')
    out.append('<circle cx="30" cy="352" r="4" fill="#1f6fb4"/><text x="42" y="357">real</text>')
    out.append('<rect x="95" y="347" width="10" height="10" fill="#d1495b"/>')
    out.append('<text x="112" y="357">sample</text>')
    return svg.Picture(520, 372, out, title)


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/gan_measures": generators(), "concepts/gan_balls": balls()}
