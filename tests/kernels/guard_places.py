"""What test_guard_pages.py gives kernels that put elements elsewhere, such as padding and sorting, and recurrences."""

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


def in_steps(rng) -> Sample:
    """An instruction of each kind; what an operand is, none of them has computed."""
    steps, rows, n = (int(rng.integers(1, most)) for most in (4, 40, 20))

    def part(width):
        """What belongs to a step, or to all."""
        return array(rng, *((steps, rows, width) if rng.random() < 0.5 else (rows, width)))

    def before(width):
        return array(rng, steps, rows, width), array(rng, rows, width)

    program = [
        ("product", part(2 * n), before(n), array(rng, n, 2 * n)),
        ("add", part(2 * n), part(2 * n), array(rng, 2 * n)),
        ("sub", part(n), part(n), part(n)),
        ("mul", part(n), part(n), before(n)),
        ("sigmoid", part(n), part(n), None),
        ("tanh_slope", part(n), part(n), part(n)),
        ("more", part(n), part(2 * n), array(rng, 2 * n, n)),
    ]
    return (steps, bool(rng.random() < 0.5), program), {}


OF_PLACES: dict[str, Sampler] = {
    "pad": pad,
    "fold_padding": fold_padding,
    "triangle": triangle,
    "sort_rows": lambda rng: ((short_rows(rng),), {}),
    "extremum_places": lambda rng: ((short_rows(rng), bool(rng.random() < 0.5)), {}),
    "permute_rows": permute_rows,
    "in_steps": in_steps,
}
