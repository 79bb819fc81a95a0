"""Points in the plane to learn from: two classes for the activations, one distribution for the GAN."""

import numpy as np

LIMIT = 3.0  # both axes are shown from -LIMIT to LIMIT
Points = tuple[np.ndarray, np.ndarray]  # (n, 2) float32, and a class each, 0 or 1: (n, 1) float32

# ── Two classes ───────────────────────────────────────────────────────────────────────────────────


def moons(n: int, rng: np.random.Generator) -> Points:
    """Two half circles, one inside the arms of the other."""
    label = np.arange(n) % 2
    angle = rng.uniform(0, np.pi, n)
    x = np.where(label, 1 - np.cos(angle), np.cos(angle)) - 0.5
    y = np.where(label, 0.5 - np.sin(angle), np.sin(angle)) - 0.25
    return _noisy(1.5 * x, 1.5 * y, label, 0.15, rng)


def circles(n: int, rng: np.random.Generator) -> Points:
    """A disc, and a ring around it."""
    label = np.arange(n) % 2
    radius = np.where(label, 2.2, 1.0 * np.sqrt(rng.uniform(0, 1, n)))
    angle = rng.uniform(0, 2 * np.pi, n)
    return _noisy(radius * np.cos(angle), radius * np.sin(angle), label, 0.15, rng)


def spirals(n: int, rng: np.random.Generator) -> Points:
    """Two arms that wind around each other once and a half."""
    label = np.arange(n) % 2
    t = np.sqrt(rng.uniform(0.02, 1, n))
    angle = 3 * np.pi * t + np.pi * label
    return _noisy(2.5 * t * np.cos(angle), 2.5 * t * np.sin(angle), label, 0.07, rng)


def _noisy(x: np.ndarray, y: np.ndarray, label: np.ndarray, noise: float, rng) -> Points:
    xy = np.stack([x, y], axis=1) + noise * rng.standard_normal((len(x), 2))
    return xy.astype(np.float32), label[:, None].astype(np.float32)


TWO_CLASSES = {"moons": moons, "circles": circles, "spirals": spirals}

# ── One distribution ──────────────────────────────────────────────────────────────────────────────
# Each is a few centres with noise around them; how many of the centres a generator reaches can be counted.


def gaussians() -> np.ndarray:
    """Eight centres on a circle."""
    angle = np.arange(8) * np.pi / 4
    return 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ring() -> np.ndarray:
    """A circle without gaps: 48 centres."""
    angle = np.arange(48) * np.pi / 24
    return 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def spiral() -> np.ndarray:
    """One arm that winds around once and a quarter: 48 centres, evenly spaced."""
    t = np.sqrt(np.linspace(0.06, 1, 48))
    angle = 2.5 * np.pi * t
    return 2.4 * t[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


CENTRES = {"gaussians": gaussians, "ring": ring, "spiral": spiral}
NOISE = 0.1  # standard deviation around a centre


def draw(centres: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n points of the distribution, (n, 2)."""
    chosen = centres[rng.integers(len(centres), size=n)]
    return (chosen + NOISE * rng.standard_normal((n, 2))).astype(np.float32)


def grid(n: int) -> np.ndarray:
    """The centres of n x n cells that cover the plane as it is shown, row by row from the top left: (n * n, 2)."""
    side = (np.arange(n, dtype=np.float32) + 0.5) * (2 * LIMIT / n) - LIMIT
    x, y = np.meshgrid(side, -side)
    return np.stack([x.ravel(), y.ravel()], axis=1)
