"""What test_guard_pages.py gives the kernels that put elements elsewhere: padding, triangles, sorted rows."""

import numpy as np

from .guard_cases import LENGTHS, Sample, Sampler, array, halves, lengths


def padded(rng, mode=None):
    """Widths that fit a shape, and a mode."""
    mode = mode or str(rng.choice(["constant", "reflect", "replicate"]))
    shape = lengths(rng, int(rng.integers(1, 5)))
    most = [n - 1 if mode == "reflect" else 5 for n in shape]
    pairs = [tuple(int(w) for w in rng.integers(0, min(m, 5) + 1, 2)) for m in most]
    return shape, [pair if rng.random() < 0.6 else (0, 0) for pair in pairs], mode


def pad(rng) -> Sample:
    shape, widths, mode = padded(rng)
    return (array(rng, *shape), widths, mode, 0.5), {}


def fold_padding(rng) -> Sample:
    shape, widths, mode = padded(rng, str(rng.choice(["reflect", "replicate"])))
    full = [n + a + b for n, (a, b) in zip(shape, widths, strict=True)]
    return (array(rng, *full), widths, mode), {}


def triangle(rng) -> Sample:
    x = array(rng, *lengths(rng, int(rng.integers(2, 4))))
    return (x, int(rng.integers(-9, 10)), bool(rng.random() < 0.5)), {}


def short_rows(rng):
    return halves(rng, int(rng.choice(LENGTHS)), int(rng.integers(1, 17)))


def permute_rows(rng) -> Sample:
    x = array(rng, *lengths(rng, 2))
    return (x, np.argsort(array(rng, *x.shape), 1), bool(rng.random() < 0.5)), {}


OF_PLACES: dict[str, Sampler] = {
    "pad": pad,
    "fold_padding": fold_padding,
    "triangle": triangle,
    "sort_rows": lambda rng: ((short_rows(rng),), {}),
    "extremum_places": lambda rng: ((short_rows(rng), bool(rng.random() < 0.5)), {}),
    "permute_rows": permute_rows,
}
