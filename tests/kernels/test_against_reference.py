"""Every compiled kernel against the NumPy reference, at every CPU level: values, errors, threads."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.reference.activations import ACTIVATIONS
from minidl._kernels.reference.losses import VALUES
from minidl.ops.activations.table import ROWS

from . import reference_cases
from .reference_cases import FEW, LENGTHS, MATRICES, normal, with_zeros

LEVELS = {level: K.load(level) for level in K.available}
REFERENCE = K.load("reference")
every_level = pytest.mark.parametrize("level", LEVELS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

# Kernels that are compared with the reference in another file.
ELSEWHERE = {
    "batch_norm_moments": "test_images.py",
    "batch_norm_forward": "test_images.py",
    "batch_norm_backward": "test_images.py",
    "batch_norm_track": "test_images.py",
    "max_pool_forward": "test_images.py",
    "max_pool_places": "test_images.py",
    "max_pool_backward": "test_images.py",
    "max_pool_scatter": "test_images.py",
    "max_pool_gather": "test_images.py",
    "avg_pool_forward": "test_images.py",
    "avg_pool_backward": "test_images.py",
    **dict.fromkeys(("sgd_step", "adam_step", "nadam_step"), "test_optim.py"),
    **dict.fromkeys(("rmsprop_step", "adagrad_step", "adadelta_step", "ema_step"), "test_optim.py"),
    "first_misfit": "test_optim.py",
    "clip_norm": "test_optim.py",
    "affine_forward": "test_gemm.py",
    "affine_weight_grad": "test_gemm.py",
    "matmul": "test_gemm.py",
    **dict.fromkeys(("random_words", "standard_normal"), "test_noise.py"),
    "in_steps": "test_steps.py",
    **dict.fromkeys(("conv_forward", "conv_input_grad", "conv_weight_grad"), "test_conv.py"),
    "binary": "test_elementwise.py",
    "unary": "test_elementwise.py",
    "number": "test_elementwise.py",
    "broadcast_to": "test_elementwise.py",
    "sum_axes": "test_reduction.py",
    "extremum_axes": "test_reduction.py",
    "where": "test_selection.py",
    "where_same": "test_selection.py",
    "extremum_backward": "test_selection.py",
    "clip": "test_selection.py",
    "clip_backward": "test_selection.py",
    "sum_to": "test_reduction.py",
}


# ── What each kernel is given: sizes -> arguments ─────────────────────────────────────────────────

BLOCKS = [(2, 3, n) for n in (0, 1, 2, 15, 16, 17, 33, 16384, 16400)]  # (outer, channels, inner)
BLOCKS += [
    (0, 3, 1),
    (0, 3, 4),
    (7, 1, 1),
    (2000, 10, 1),
    (1, 1, 40_000),
    (2, 0, 3),
    (3, 0, 1),
    (3, 20_000, 1),
]


def activation_forward(name, a, b):
    return lambda rng, *shape: (name, 3 * with_zeros(rng, *shape), a, b)


def activation_backward(row, a, b, from_y):
    def arguments(rng, *shape):
        x = 3 * with_zeros(rng, *shape)
        y = np.asarray(row.value(x, *(a, b)[: len(row.params)]))
        xy = y if from_y or row.slope_from == "y" else x
        return row.name, xy, normal(rng, *shape), a, b, from_y

    return arguments


def rows(rng, *shape):
    return (3 * normal(rng, *shape),)


def probabilities(rng, n, classes):
    return REFERENCE.softmax_forward(normal(rng, n, classes)) if classes else np.zeros((n, 0))


def scores_and_targets(rng, n, classes):
    return 3 * normal(rng, n, classes), rng.integers(0, max(classes, 1), n)


def loss_forward(name, divisor=0.0):
    def arguments(rng, *shape):
        x, t = 3 * with_zeros(rng, *shape), rng.uniform(size=shape)
        x = rng.uniform(size=shape) if name == "probability" else x
        return name, np.asarray(x), np.asarray(t), 0.7, divisor

    return arguments


def loss_backward(name, divisor=1.0):
    def arguments(rng, *shape):
        _, x, t, a, _ = loss_forward(name)(rng, *shape)
        return name, x, t, normal(rng, *shape) if divisor == 1 else normal(rng), a, divisor

    return arguments


SCANS = [(2, n, inner) for n in (0, 1, 7, 300) for inner in (0, 1, 2, 130)] + [
    (70, 700, 1),
    (0, 2, 3),
]
LOSSES = tuple(VALUES)
WITH_CLASSES = [shape for shape in MATRICES if shape[1]]
# Layers: each matrix's rows. Groups: parts below, at and above a vector and what is kept of a row; rows beyond a task.
NORM_ROWS = [(rows, 1, n, 1) for rows, n in WITH_CLASSES] + [
    *[(2, 3, 4, inner) for inner in (2, 15, 16, 17, 255, 256, 257, 600)],
    *[(0, 2, 3, 4), (40, 2, 3, 1), (70, 1, 1, 5), (3, 4, 2, 9000)],
]
CASES: dict[str, list[tuple[str, Callable, list]]] = {
    "activation_forward": [],
    "activation_backward": [],
    "prelu_forward": [("", lambda rng, *s: (with_zeros(rng, *s), normal(rng, s[1])), BLOCKS)],
    "prelu_backward": [
        ("", lambda rng, *s: (with_zeros(rng, *s), normal(rng, s[1]), normal(rng, *s)), BLOCKS)
    ],
    "softmax_forward": [("", rows, MATRICES)],
    "softmax_backward": [("", lambda rng, *s: (probabilities(rng, *s), normal(rng, *s)), MATRICES)],
    "log_softmax_forward": [("", rows, MATRICES)],
    "running_sum": [
        (name, lambda rng, *s, reverse=reverse: (normal(rng, *s), reverse), SCANS)
        for name, reverse in (("", False), ("reverse", True))
    ],
    "logsumexp_forward": [("", rows, [shape for shape in MATRICES if shape[1]])],
    "log_softmax_backward": [
        ("", lambda rng, *s: (np.log(probabilities(rng, *s) + 1e-9), normal(rng, *s)), MATRICES)
    ],
    "cross_entropy_forward": [
        ("", scores_and_targets, WITH_CLASSES),
        ("scaled", lambda rng, *s: (*scores_and_targets(rng, *s), 0.3), WITH_CLASSES),
    ],
    "cross_entropy_backward": [
        (
            "",
            lambda rng, *s: (probabilities(rng, *s), normal(rng, s[0])),
            WITH_CLASSES,
        ),
        (
            "scaled",
            lambda rng, *s: (probabilities(rng, *s), normal(rng), 0.3),
            WITH_CLASSES,
        ),
    ],
    "loss_forward": [(name, loss_forward(name), LENGTHS + FEW) for name in LOSSES]
    + [(f"{name}, mean", loss_forward(name, 7.0), LENGTHS + FEW) for name in LOSSES],
    "loss_backward": [(name, loss_backward(name), LENGTHS + FEW) for name in LOSSES]
    + [(f"{name}, mean", loss_backward(name, 7.0), LENGTHS + FEW) for name in LOSSES],
    "add_rows": [
        ("", lambda rng, *s: (normal(rng, *s), rng.integers(0, 9, s[0]), 9), MATRICES),
    ],
    "row_norm_forward": [
        (
            "",
            lambda rng, *s: (
                normal(rng, *s),
                normal(rng, s[1] * s[2]),
                normal(rng, s[1] * s[2]),
                1e-3,
            ),
            NORM_ROWS,
        )
    ],
    "row_norm_backward": [
        (
            "",
            lambda rng, *s: (
                normal(rng, *s),
                normal(rng, s[1] * s[2]),
                normal(rng, *s),
                normal(rng, s[0] * s[1]),
                np.abs(normal(rng, s[0] * s[1])),
            ),
            NORM_ROWS,
        )
    ],
}
CASES |= reference_cases.NOISE_AND_GATES | reference_cases.OF_ROWS
for _name, _cases in reference_cases.OF_COLUMNS.items():
    CASES[_name] += _cases
for _row in ROWS:
    _a, _b = (*(1.25 * v if v else 0.25 for v in _row.params.values()), 0.0, 0.0)[:2]
    CASES["activation_forward"].append(
        (_row.name, activation_forward(_row.name, _a, _b), LENGTHS + FEW)
    )
    for _from_y in (False, True) if _row.has_slope_from_y else (False,):
        CASES["activation_backward"].append(
            (
                f"{_row.name}, from y" if _from_y else _row.name,
                activation_backward(_row, _a, _b, _from_y),
                LENGTHS + FEW,
            )
        )

FLAT = [(entry_point, *case) for entry_point, cases in CASES.items() for case in cases]
every_case = pytest.mark.parametrize(
    ("entry_point", "arguments", "shapes"),
    [(entry_point, arguments, shapes) for entry_point, _, arguments, shapes in FLAT],
    ids=[f"{entry_point}-{name}" if name else entry_point for entry_point, name, _, _ in FLAT],
)
each_face_once = pytest.mark.parametrize(
    ("entry_point", "arguments", "shapes"),
    [(entry_point, *cases[0][1:]) for entry_point, cases in CASES.items()],
    ids=CASES,
)


def small(shapes):
    """One of them with a few elements, as many axes as there are."""
    return min((s for s in shapes if len(s) == max(map(len, shapes)) and 0 not in s), key=np.prod)


def cast(arguments, dtype):
    return [
        np.asarray(x, dtype)
        if isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f"
        else x
        for x in arguments
    ]


def results(value):
    return value if isinstance(value, tuple) else (value,)


def test_every_kernel_has_a_reference_and_a_case():
    for level, kernels in LEVELS.items():
        names = set(vars(kernels))
        assert names <= set(vars(REFERENCE)), f"{level}: kernels without a NumPy reference"
        assert set(vars(REFERENCE)) - names == set(), f"{level}: references without a kernel"
        assert names - set(CASES) == set(ELSEWHERE) & names, (
            f"{level}: kernels that nothing compares"
        )
    assert set(CASES) - set(vars(REFERENCE)) == set()


def test_every_activation_of_the_kernel_has_a_row_and_back():
    from importlib import import_module

    for level in LEVELS:
        names = import_module(f"minidl._kernels.{level}.activations").NAMES
        assert set(names) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", sorted(set(CASES)))
def test_signatures_are_the_references(name):
    reference = list(inspect.signature(getattr(REFERENCE, name)).parameters)
    for kernels in LEVELS.values():
        assert list(inspect.signature(getattr(kernels, name)).parameters) == reference


@every_case
@every_level
@every_dtype
def test_equals_the_reference(entry_point, arguments, shapes, level, dtype):
    rng = np.random.default_rng(0)
    kernel, reference = getattr(LEVELS[level], entry_point), getattr(REFERENCE, entry_point)
    for shape in shapes:
        given = cast(arguments(rng, *shape), dtype)
        kept = [x.copy() if isinstance(x, np.ndarray) else x for x in given]
        got, expected = results(kernel(*given)), results(reference(*given))
        assert len(got) == len(expected)
        for y, z in zip(got, expected, strict=True):
            assert type(y) is np.ndarray and (y.dtype, y.shape) == (z.dtype, z.shape), shape
            rtol = 1e-5 if dtype == "float32" else 1e-12
            # Sums of many terms cancel: what counts is the size of the terms.
            scale = max(1.0, np.sqrt(max(shape, default=1)))
            np.testing.assert_allclose(y, z, rtol=rtol, atol=rtol * scale, err_msg=f"shape {shape}")
        for x, before in zip(given, kept, strict=True):
            if isinstance(x, np.ndarray):
                np.testing.assert_array_equal(x, before, err_msg="an input was changed")


@every_case
@every_level
def test_same_bits_with_any_number_of_threads(entry_point, arguments, shapes, level):
    kernel, before = getattr(LEVELS[level], entry_point), K.get_num_threads()
    shape = max(shapes, key=np.prod)
    if len(shape) == 2:
        shape = (3000, 67)
    given = cast(arguments(np.random.default_rng(0), *shape), "float32")
    try:
        bits = []
        for threads in (1, 2, 3, 4):
            K.set_num_threads(threads)
            bits.append([y.tobytes() for y in results(kernel(*given))])
    finally:
        K.set_num_threads(before)
    assert all(run == bits[0] for run in bits)


@each_face_once
@every_level
def test_memory_of_any_kind(entry_point, arguments, shapes, level):
    """Strided, read-only, Fortran-order inputs give what others give, or are refused by name."""
    kernel = getattr(LEVELS[level], entry_point)
    shape = [3 * n for n in small(shapes)]
    given = cast(arguments(np.random.default_rng(0), *shape), "float32")
    expected = results(kernel(*given))
    for change in (np.asfortranarray, strided, frozen):
        try:
            got = results(
                kernel(*[change(x) if isinstance(x, np.ndarray) and x.ndim else x for x in given])
            )
        except ValueError as error:
            assert entry_point.split("_")[0] in str(error)
            continue
        for y, z in zip(got, expected, strict=True):
            np.testing.assert_array_equal(y, z)


def strided(x):
    wide = np.zeros([2 * n for n in x.shape], x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@each_face_once
@every_level
@pytest.mark.parametrize("bad", ["float16", "int64", "complex128", "object"])
def test_other_dtypes_are_refused(entry_point, arguments, shapes, level, bad):
    given = cast(arguments(np.random.default_rng(0), *small(shapes)), "float32")
    kernel = getattr(LEVELS[level], entry_point)
    first = next(i for i, x in enumerate(given) if isinstance(x, np.ndarray))
    with pytest.raises(TypeError, match=bad):
        kernel(*given[:first], given[first].astype(bad), *given[first + 1 :])
    with pytest.raises(TypeError, match="ndarray"):
        kernel(*given[:first], given[first].tolist(), *given[first + 1 :])


@pytest.mark.parametrize(
    "entry_point",
    ["activation_backward", "softmax_backward", "log_softmax_backward", "prelu_backward"],
)
@every_level
def test_gradients_of_another_shape_or_dtype_are_refused(entry_point, level):
    _, arguments, _ = CASES[entry_point][0]
    shape = (2, 3, 4) if "prelu" in entry_point else (3, 5)
    given = cast(arguments(np.random.default_rng(0), *shape), "float32")
    kernel = getattr(LEVELS[level], entry_point)
    at = max(i for i, x in enumerate(given) if isinstance(x, np.ndarray))
    for wrong, error in ((given[at][:-1], ValueError), (given[at].astype("float64"), TypeError)):
        with pytest.raises(error, match="expected"):
            kernel(*given[:at], wrong, *given[at + 1 :])


@every_level
def test_rows_want_two_axes_and_targets_in_range(level):
    kernels, x = LEVELS[level], np.zeros((3, 4), "float32")
    for entry_point in ("softmax_forward", "log_softmax_forward"):
        with pytest.raises(ValueError, match="expected 2 axes"):
            getattr(kernels, entry_point)(x[0])
    for target in ([0, 1, 4], [0, 1, -1], [0, 1, 2**40]):
        with pytest.raises(ValueError, match="out of range for 4 classes"):
            kernels.cross_entropy_forward(x, np.array(target))
    with pytest.raises(ValueError, match="expected 3 targets, got 2"):
        kernels.cross_entropy_forward(x, np.array([0, 1]))
    with pytest.raises(ValueError, match="gradient of shape"):
        kernels.cross_entropy_backward(x, np.ones(2, "float32"))
    three, four = np.ones(3, "float32"), np.ones(4, "float32")
    for weight, bias in ((three, four), (four, three)):
        with pytest.raises(ValueError, match=r"row_norm: .*: expected 4 values"):
            kernels.row_norm_forward(x.reshape(3, 1, 4, 1), weight, bias, 1e-5)
    with pytest.raises(ValueError, match="slopes"):
        kernels.prelu_forward(x[None], four)
    with pytest.raises((KeyError, ValueError), match="no_such"):
        kernels.activation_forward("no_such", x)


@pytest.mark.parametrize("level", [*LEVELS, "reference"])
@every_dtype
def test_out(level, dtype):
    kernels = K.load(level)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    expected = kernels.activation_forward("tanh", x)
    out = np.empty_like(x)
    assert kernels.activation_forward("tanh", x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    gy = np.ones_like(x)
    slopes = kernels.activation_backward("tanh", expected, gy)
    assert kernels.activation_backward("tanh", expected, gy, out=gy) is gy
    np.testing.assert_array_equal(gy, slopes)
    inplace = x.copy()
    assert kernels.activation_forward("tanh", inplace, out=inplace) is inplace
    np.testing.assert_array_equal(inplace, expected)
    blocks = x.reshape(2, 2, 6).copy()
    slope = np.array([0.5, 2], dtype)
    expected = kernels.prelu_forward(blocks, slope)
    assert kernels.prelu_forward(blocks, slope, out=blocks) is blocks
    np.testing.assert_array_equal(blocks, expected)


@every_level
def test_out_that_does_not_fit(level):
    kernels, x = LEVELS[level], np.zeros((4, 6), "float32")
    wide = np.zeros((4, 12), "float32")
    for out, error, text in (
        (np.zeros((6, 4), "float32"), ValueError, "out must have shape"),
        (np.zeros((4, 6)), TypeError, "out must be float32"),
        (wide[:, ::2], ValueError, "strides"),
        (frozen(x), ValueError, "writable"),
        ([0.0], TypeError, "out must be an ndarray"),
    ):
        with pytest.raises(error, match=text):
            kernels.activation_forward("relu", x, out=out)
    assert not wide.any()


@every_level
def test_channels_last_images_keep_their_layout(level):
    kernels = LEVELS[level]
    x = (
        np.random.default_rng(0)
        .standard_normal((2, 4, 5, 3))
        .astype("float32")
        .transpose(0, 3, 1, 2)
    )
    y = kernels.activation_forward("sigmoid", x)
    assert y.strides == x.strides
    np.testing.assert_allclose(y, REFERENCE.activation_forward("sigmoid", x), rtol=1e-6)
    gx = kernels.activation_backward("sigmoid", y, np.ones_like(x, order="C"))
    assert gx.strides == x.strides
    np.testing.assert_allclose(
        gx, REFERENCE.activation_backward("sigmoid", y, np.ones_like(x)), rtol=1e-6
    )
