"""How good generated images are, in numbers; plain NumPy.

Images are compared by their features, rows of numbers that describe the content: here those of a
classifier (`gan.classifier`). Figures from other features cannot be compared with these.
"""

import numpy as np

BLOCK = 256  # rows whose distances are computed at a time: memory stays small


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Fréchet distance of two sets of features, each taken for a normal distribution:

        |mean_a - mean_b|² + trace(cov_a + cov_b - 2 (cov_a cov_b)^½)

    Smaller is better; 0 means the same mean and covariance. With few samples it is estimated too large.

    Args:
        a, b: one row per image, at least two; the same number of columns.

    Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium, NeurIPS 2017.
    """
    a, b = _checked("frechet_distance", a, b, 2)
    gap = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # cov_a cov_b has the eigenvalues of root cov_b root, which is symmetric: they are real, >= 0.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_b @ root).clip(0)
    distance = gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(product).sum()
    return max(float(distance), 0.0)  # rounding may take it below


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """How much of the fake looks real, and how much of the real is covered by the fake.

    Around each image of a set there is a ball that reaches to its k-th nearest neighbour in the set.
    Precision is the share of fake images within a ball of the real ones, recall the share of real
    images within a ball of the fake ones.

    Args:
        real, fake: features, one row per image, more than k; the same number of columns.

    Source: Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models,
    NeurIPS 2019.
    """
    real, fake = _checked("precision_recall", real, fake, k + 1)
    return _covered(fake, real, k), _covered(real, fake, k)


def _covered(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    """The share of points that are inside a ball around one of the centres."""
    # An image is its own nearest neighbour (at distance 0), which does not count: hence k, not k-1.
    radius = [np.partition(d, k, axis=1)[:, k] for d in _squared_distances(centres, centres)]
    radii = np.concatenate(radius)
    inside = [(d <= radii).any(axis=1) for d in _squared_distances(points, centres)]
    return float(np.concatenate(inside).mean())


def nearest(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each point the row of the nearest of the others (the first, if several are), and its
    distance.
    """
    row, least = np.zeros(len(points), int), np.full(len(points), np.inf)
    for start in range(0, len(others), 4 * BLOCK):  # there may be 60,000 images of bytes
        some = _checked("nearest", points, others[start : start + 4 * BLOCK], 1)
        found = [(d.argmin(axis=1), d.min(axis=1)) for d in _squared_distances(*some)]
        index, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
        nearer = distance < least
        row[nearer], least[nearer] = start + index[nearer], distance[nearer]
    return row, np.sqrt(least)


def _squared_distances(points: np.ndarray, others: np.ndarray):
    """Blocks of rows of the table of |point - other|²."""
    lengths = (others * others).sum(axis=1)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        own = (block * block).sum(axis=1)[:, None]
        yield (own + lengths - 2 * block @ others.T).clip(0)


def class_shares(found: np.ndarray, classes: int = 10) -> np.ndarray:
    """The share of each class among those found."""
    return np.bincount(found, minlength=classes) / max(len(found), 1)


def spread(images: np.ndarray) -> float:
    """The standard deviation of the pixels from image to image: 0 if all are the same."""
    return float(np.sqrt(images.var(axis=0, dtype=np.float64).mean()))


def seen(shares: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Whether each class has a tenth of the share that it has among real images."""
    return shares >= 0.1 * real


def troubles(
    relative_spread: float, shares: np.ndarray | None = None, real: np.ndarray | None = None
) -> list[str]:
    """Signs that the generator draws too few kinds of pictures (mode collapse).

    Args:
        relative_spread: `spread` of the samples over that of real images.
        shares, real: of each class among the samples, and among real images, if there are classes.
    """
    found = []
    if shares is not None and real is not None:
        missing = int((~seen(shares, real)).sum())
        if missing > len(shares) // 4:
            found.append(f"{missing} of {len(shares)} classes are all but missing")
        most = int((shares - real).argmax())
        if shares[most] > real[most] + 0.3:
            found.append(
                f"{shares[most]:.0%} of the samples are of class {most}, "
                f"of the real images {real[most]:.0%}"
            )
    if relative_spread < 0.5:
        found.append(f"samples differ {relative_spread:.0%} as much as real images do")
    return found


def _checked(who: str, a: np.ndarray, b: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64; raises unless they have the same number of columns, and enough rows."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"{who}: expected two tables of equal width: {a.shape}, {b.shape}")
    if min(len(a), len(b)) < least:
        raise ValueError(f"{who}: expected at least {least} rows each, got {len(a)} and {len(b)}")
    return a, b
