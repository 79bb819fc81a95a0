"""The picture of docs/concepts/wgan_gp.md."""

import numpy as np
import svg


def normal(x: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))


def jsd(p: np.ndarray, q: np.ndarray, dx: float) -> float:
    p, q = p + 1e-300, q + 1e-300
    m = (p + q) / 2
    return float((p * np.log(p / m) + q * np.log(q / m)).sum() * dx / 2)


def distances() -> svg.Picture:
    """JSD and W of two normal distributions over the distance of their means."""
    x = np.linspace(-14, 14, 2801)
    gaps = np.linspace(-8, 8, 81)
    values = [jsd(normal(x, 0, 1), normal(x, gap, 1), 0.01) for gap in gaps]
    return svg.plot(
        {"W / 10": (gaps, abs(gaps) / 10), "JSD": (gaps, values)}, "distance of the means",
        title="Only W has a slope far away", size=(440, 340),
    )  # fmt: skip


def functions() -> svg.Picture:
    """The best discriminator and the best critic for two normal distributions that hardly overlap."""
    x = np.linspace(-4, 10, 141)
    p, q = normal(x, 6, 0.8), normal(x, 0, 0.8)
    best = 1 / (1 + np.exp(np.clip(((x - 6) ** 2 - x**2) / (2 * 0.8**2), -700, 700)))
    lines = {
        "p, real": (x, p),
        "q, generated": (x, q),
        "discriminator D*": (x, best),
        "critic / 6": (x, x / 6),
    }
    return svg.plot(
        lines, "x", title="What G sees at its samples", ylim=(-0.7, 1.7), size=(440, 340)
    )


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/wgan": svg.beside(distances(), functions())}
