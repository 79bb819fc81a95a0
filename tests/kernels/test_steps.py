"""Programs of recurrences (product/steps.pyx): against the definition in NumPy, and with any number of threads."""

import numpy as np
import pytest

import minidl as md
from minidl import _kernels as K

REFERENCE = K.load("reference")
every_level = pytest.mark.parametrize("level", K.available)
STEPS, N = 5, 7


def draw(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


def outcome(kernels, dtype, rows, reverse, special=False):
    """A cell with a product, all kinds of instructions, parts of rows, and what the step before left."""
    rng = np.random.default_rng(3)
    x, b = draw(rng, dtype, STEPS, rows, 2 * N), draw(rng, dtype, 2 * N)
    first, w, back = (
        draw(rng, dtype, rows, N),
        draw(rng, dtype, N, 2 * N),
        draw(rng, dtype, 2 * N, N),
    )
    if special:
        x[1, 0, 0], x[2, 1, N] = np.nan, np.inf
    y, slopes = np.zeros((STEPS + 1, rows, N), dtype), np.zeros((STEPS, rows, 2 * N), dtype)
    u, s, t, total = (np.zeros((rows, n), dtype) for n in (2 * N, N, N, N))
    program = [
        ("product", u, (y[:STEPS], first), w),
        ("add", u, u, b),
        ("mul", u, u, x),
        ("sigmoid", s, u[:, :N], None),
        ("tanh", t, u[:, N:], None),
        ("sub", s, s, t),
        ("mul", y, s, (y[:STEPS], first)),
        ("tanh_slope", slopes[:, :, :N], t, s),
        ("sigmoid_slope", slopes[:, :, N:], s, x[:, :, N:]),
        ("more", total, slopes, back.T.copy().T),
    ]
    kernels.in_steps(STEPS, reverse, program)
    return y, slopes, total


@every_level
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 3, 16, 40])
def test_a_program_does_what_its_definition_says(level, dtype, reverse, rows):
    found = outcome(K.load(level), dtype, rows, reverse)
    expected = outcome(REFERENCE, dtype, rows, reverse)
    for y, z in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, z, *((1e-4, 1e-5) if dtype == "float32" else (1e-11, 1e-12)))


@every_level
def test_nan_and_infinity_stay_in_their_rows(level):
    y, slopes, _ = outcome(K.load(level), "float32", 40, False, special=True)
    assert (
        np.isnan(y[1, 0]).any() and np.isfinite(y[:, 2:]).all() and np.isfinite(slopes[:, 2:]).all()
    )


@every_level
def test_a_program_has_the_same_bits_with_any_number_of_threads(level):
    before, found = md.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            md.set_num_threads(n)
            found.append([y.tobytes() for y in outcome(K.load(level), "float32", 100, False)])
    finally:
        md.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@every_level
def test_operands_that_do_not_fit_are_refused(level):
    kernels, x = K.load(level), np.zeros((3, 4), "float32")
    for z in (
        np.zeros((3, 5), "float32"),
        np.zeros((3, 4)),
        np.zeros((2, 4), "float32"),
        x.T.copy().T,
    ):
        with pytest.raises(ValueError, match="in_steps"):
            kernels.in_steps(1, False, [("add", x, x, z)])
    for program in (
        [],
        [("add", x, x, x)] * 17,
        [("product", x, x, x)],
        [("add", x[:, ::2], x, x)],
    ):
        with pytest.raises(ValueError, match="in_steps"):
            kernels.in_steps(1, False, program)
    with pytest.raises(ValueError, match="no_such"):
        kernels.in_steps(1, False, [("no_such", x, x, None)])
    with pytest.raises(ValueError, match="in_steps"):
        kernels.in_steps(2, False, [("add", np.zeros((1, 3, 4), "float32"), x, x)])
    x.flags.writeable = False
    with pytest.raises(ValueError, match="in_steps"):
        kernels.in_steps(1, False, [("add", x, x, x)])
