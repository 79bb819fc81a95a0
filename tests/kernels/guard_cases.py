"""What test_guard_pages.py gives each kernel: rng -> (arguments, keywords), of random shapes around vectors' widths.

Kernels that test_against_reference.py has cases of get these, of other shapes, too.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl._kernels.reference import elementwise as arithmetic
from minidl._kernels.reference import pooling
from minidl.ops.activations.table import ROWS

from .reference_cases import OF_COLUMNS
from .test_against_reference import CASES
from .test_conv import arguments as conv_arguments
from .test_images import channels_last, windows

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 25, 31, 32, 33, 48, 49, 63, 64, 65, 67)
DEPTHS = (*LENGTHS, 128, 130, 257, 600, 1025)
Sample = tuple[tuple, dict[str, Any]]
Sampler = Callable[[np.random.Generator], Sample]


def lengths(rng, count, most=4000):
    """So many of them, with no more than `most` elements in all."""
    while True:
        shape = tuple(int(n) for n in rng.choice(LENGTHS, count))
        if np.prod(shape) <= most:
            return shape


def array(rng, *shape):
    return np.asarray(rng.standard_normal(shape))


def halves(rng, *shape):
    """Numbers of which some are equal."""
    return np.asarray(np.round(2 * array(rng, *shape)) / 2)


def positive(rng, *shape):
    return np.asarray(np.abs(array(rng, *shape)) + 0.1)


def like_a_part(rng, shape):
    """A shape that broadcasts to this one."""
    part = tuple(1 if rng.random() < 0.25 else n for n in shape)
    return part[int(rng.integers(0, len(shape) + 1)) :] if rng.random() < 0.3 else part


# ── The kernels of test_against_reference.py ──────────────────────────────────────────────────────────────────


def of_comparisons(entry_point: str) -> Sampler:
    """One of its cases: of the shapes there, or of another with as many axes."""
    takes_out = "out" in inspect.signature(getattr(K.load("reference"), entry_point)).parameters

    def sample(rng):
        _, arguments, shapes = CASES[entry_point][rng.integers(len(CASES[entry_point]))]
        shape = shapes[rng.integers(len(shapes))]
        if np.prod(shape) > 4000 or rng.random() < 0.7:
            shape = lengths(rng, max(map(len, shapes)))
        if entry_point in OF_COLUMNS and len(shape) == 3:  # which take no fewer columns
            shape = (*shape[:2], max(shape[2], 16))
        given, keywords = arguments(rng, *shape), {}
        given = [np.asarray(x) if isinstance(x, np.generic) else x for x in given]
        first = next(x for x in given if isinstance(x, np.ndarray))
        if takes_out and rng.random() < 0.5:
            keywords["out"] = first if rng.random() < 0.5 else array(rng, *first.shape)
        return given, keywords

    return sample


def fused(rng) -> dict[str, Any]:
    """The keywords for an activation that a kernel applies to its own results, or for none."""
    if rng.random() < 0.5:
        return {}
    row = ROWS[rng.integers(len(ROWS))]
    a, b = (*(1.25 * v if v else 0.25 for v in row.params.values()), 0.0, 0.0)[:2]
    return {"activation": row.name, "a": a, "b": b}


# ── Convolutions and pooling ──────────────────────────────────────────────────────────────────────


def conv_case(rng):
    """(N, C, O, size, kernel, stride, padding, dilation, groups)"""
    while True:
        axes = int(rng.choice([1, 2, 2, 2, 3]))
        groups = int(rng.choice([1, 1, 1, 2, 3, 4]))
        n, c, o = int(rng.integers(1, 4)), *(groups * int(m) for m in rng.choice(LENGTHS, 2))
        if groups in (2, 4) and rng.random() < 0.3:
            o = int(rng.choice([4, 8, 16]))  # of all groups: a vector
        size = [int(m) for m in rng.integers(1, 10, axes)]
        kernel = [int(m) for m in rng.integers(1, 5, axes)]
        stride, padding, dilation = (
            [int(m) for m in rng.integers(low, high, axes)]
            for low, high in ((1, 4), (0, 3), (1, 3))
        )
        if rng.random() < 0.3:  # few products: Winograd's tiles
            k = int(rng.choice([3, 4]))
            axes, groups, size = 2, 1, [int(m) for m in rng.integers(4, 10, 2)]
            kernel, stride, dilation = [k, k], [k - 2, k - 2], [1, 1]
            n, padding = 80 // (size[0] * size[1]) + n, padding[:1] * 2
        elif rng.random() < 0.3:  # few outputs, enough pixels: runs of them
            size = [int(m) for m in rng.integers(9, 24, axes)]
            c, o = (groups * int(m) for m in rng.integers(1, 5, 2))
        elif rng.random() < 0.15:  # a single tap
            kernel, stride, padding, dilation = ([k] * axes for k in (1, 1, 0, 1))
        elif rng.random() < 0.15:  # each channel by itself
            groups = c = o = int(rng.choice([4, 8, 16, 19]))
        rows = zip(size, kernel, stride, padding, dilation, strict=True)
        out = [(m + 2 * p - d * (k - 1) - 1) // s + 1 for m, k, s, p, d in rows]
        if min(out) >= 1 and n * c * o // groups * np.prod(kernel) * np.prod(out) <= 300_000:
            moves = (size, kernel, stride, padding, dilation)
            return (n, c, o, *map(tuple, moves), groups)


def conv(entry_point: str) -> Sampler:
    def sample(rng):
        given = conv_arguments(entry_point, conv_case(rng), "float64", int(rng.integers(1 << 30)))
        if entry_point == "conv_forward" and rng.random() < 0.3:
            given = (*given[:2], None, *given[3:])
        return given, {} if entry_point == "conv_weight_grad" else fused(rng)

    return sample


def groups_of_a_vector(groups: int, outputs: int) -> Sample:
    """All groups together have as many outputs as a vector has lanes."""
    case = (1, groups, outputs, (4, 4), (1, 1), (1, 1), (0, 0), (1, 1), groups)
    x, gy, *rest = conv_arguments("conv_weight_grad", case, "float64")
    return (x, channels_last(gy), *rest), {}


def pooled(entry_point: str) -> Sampler:
    def sample(rng):
        axes = int(rng.integers(1, 4))
        (_, _, *size), *window = next(windows(axes, int(rng.integers(1 << 30)), 1))
        x = array(rng, int(rng.integers(1, 3)), int(rng.choice(LENGTHS)), *size)
        if entry_point.endswith(("forward", "places")):
            return (x, *window), {}
        y, index = pooling.max_pool_places(x, *window)
        if entry_point == "max_pool_backward":
            return (x, y, *window), {}
        if entry_point == "max_pool_gather":
            return (x, index), {}
        if entry_point == "max_pool_scatter":
            return (y, index, tuple(size)), {}
        return (y, tuple(size), *window), {}

    return sample


# ── Normalisation ─────────────────────────────────────────────────────────────────────────────────


def batch(rng, axes=None):
    x = array(rng, *lengths(rng, int(rng.integers(2, 5))))
    mean, var, weight, bias = array(rng, 4, x.shape[1])
    return x, mean, np.abs(var), 0.1, weight, bias


def batch_norm_forward(rng) -> Sample:
    *given, weight, bias = batch(rng)
    return (*given, *((weight, bias) if rng.random() < 0.7 else ())), fused(rng)


def batch_norm_backward(rng) -> Sample:
    x, *rest = batch(rng)
    moving, name = bool(rng.random() < 0.5), str(rng.choice(["", "tanh", "relu", "by sign"]))
    return (x, array(rng, *x.shape), *rest, moving, np.tanh(x), name), {}


def batch_norm_track(rng) -> Sample:
    mean, var, *running = array(rng, 4, int(rng.choice(LENGTHS)))
    count, momentum = np.array(3), 0.1 if rng.random() < 0.5 else None
    return (*running, count, mean, np.abs(var), 7, momentum), {}


# ── Products ──────────────────────────────────────────────────────────────────────────────────────


def sides(rng):
    while True:
        m, n, k = (int(rng.choice(choice)) for choice in (LENGTHS, LENGTHS, DEPTHS))
        if m * n * k <= 300_000:
            return m, n, k


def matmul(rng) -> Sample:
    m, n, k = sides(rng)
    many = (int(rng.integers(1, 4)),) if rng.random() < 0.3 else ()
    a, b = array(rng, *many, m, k), array(rng, *(many if rng.random() < 0.5 else ()), k, n)
    if rng.random() < 0.5:
        out = array(rng, *many, m, n)
        return (a, b), {"out": out, "accumulate": bool(rng.random() < 0.5)}
    return (a, b), {}


def affine_forward(rng) -> Sample:
    m, n, k = sides(rng)
    bias = array(rng, n) if rng.random() < 0.7 else None
    return (array(rng, m, k), array(rng, n, k), bias), fused(rng)


def affine_weight_grad(rng) -> Sample:
    m, n, k = sides(rng)
    keywords = {"gw_out": array(rng, m, n)} if rng.random() < 0.5 else {}
    return (array(rng, k, n), array(rng, k, m)), keywords


# ── Elements ──────────────────────────────────────────────────────────────────────────────────────


def binary(rng) -> Sample:
    name = str(rng.choice(list(arithmetic.BINARY)))
    shape = lengths(rng, int(rng.integers(1, 4)))
    x0, x1 = (positive(rng, *like_a_part(rng, shape)) for _ in range(2))
    out = array(rng, *np.broadcast_shapes(x0.shape, x1.shape))
    if rng.random() < 0.3 and x0.shape == out.shape:
        out = x0
    return (name, x0, x1), {"out": out} if rng.random() < 0.5 else {}


def unary(rng) -> Sample:
    x = positive(rng, *lengths(rng, int(rng.integers(1, 4))))
    out = x if rng.random() < 0.5 else array(rng, *x.shape)
    name = str(rng.choice(list(arithmetic.UNARY)))
    return (name, x), {"out": out} if rng.random() < 0.5 else {}


def three(*before: str, condition: bool = False) -> Sampler:
    def sample(rng):
        shape = lengths(rng, int(rng.integers(1, 4)))
        x, z, g = (halves(rng, *like_a_part(rng, shape)) for _ in range(3))
        x = np.asarray(x > 0) if condition and rng.random() < 0.5 else x
        return (*map(str, rng.choice(before, 1) if before else ()), x, z, g), {}

    return sample


def clip(count: int) -> Sampler:
    def sample(rng):
        shape = lengths(rng, int(rng.integers(1, 4)))
        limits = [(-0.5, 0.5), (None, 0.1), (0.1, None)][rng.integers(3)]
        return (*(array(rng, *shape) for _ in range(count)), *limits), {}

    return sample


def folded(*before: str) -> Sampler:
    def sample(rng):
        x = array(rng, *lengths(rng, int(rng.integers(1, 5))))
        axes = tuple(axis for axis in range(x.ndim) if rng.random() < 0.5)
        return (*map(str, rng.choice(before, 1) if before else ()), x, axes), {}

    return sample


def sum_to(rng) -> Sample:
    x = array(rng, *lengths(rng, int(rng.integers(1, 4))))
    return (x, like_a_part(rng, x.shape)), {}


def broadcast_to(rng) -> Sample:
    shape = lengths(rng, int(rng.integers(1, 4)))
    return (array(rng, *like_a_part(rng, shape)), shape), {}


def number(rng) -> Sample:
    return (0.1, array(rng, *lengths(rng, 1))), {}


def assign(rng) -> Sample:
    x = array(rng, *lengths(rng, int(rng.integers(1, 5))))
    return (array(rng, *x.shape), x), {}


def join(rng) -> Sample:
    shape, count = lengths(rng, int(rng.integers(1, 4))), int(rng.integers(1, 4))
    axis = int(rng.integers(len(shape)))
    xs = tuple(array(rng, *shape) for _ in range(count))
    joined = np.stack if rng.random() < 0.5 else np.concatenate
    return (array(rng, *joined(xs, axis).shape), xs, axis), {}


def one(rng) -> Sample:
    return (array(rng, *lengths(rng, int(rng.integers(2, 5)))),), {}


def reshape(rng) -> Sample:
    x = array(rng, *lengths(rng, 3))
    return (x, (x.shape[0], -1) if rng.random() < 0.5 else (-1,)), {}


# ── Steps of optimizers ───────────────────────────────────────────────────────────────────────────


def parameters(rng, count):
    shapes = [lengths(rng, int(rng.integers(1, 3))) for _ in range(3)]
    return [[array(rng, *shape) for shape in shapes] for _ in range(count)]


# How many moments a parameter has, which of them the settings may not need, and the settings.
STEPS: dict[str, tuple[int, tuple[int, ...], Callable[[np.random.Generator], tuple]]] = {
    "sgd_step": (
        1,
        (0,),
        lambda rng: (0.9, False, 0.5) if rng.random() < 0.5 else (0.9, True, 0.0),
    ),
    "adam_step": (3, (2,), lambda rng: (0.9, 0.99, 1e-3, bool(rng.random() < 0.5))),
    "nadam_step": (2, (), lambda rng: (0.9, 0.99, 1e-3, bool(rng.random() < 0.5), 0.1)),
    "rmsprop_step": (3, (1, 2), lambda rng: (0.9, 1e-3, 0.9)),
    "adagrad_step": (1, (), lambda rng: (0.1, 0.1, 1e-3)),
    "adadelta_step": (2, (), lambda rng: (0.9, 1e-3)),
    "ema_step": (0, (), lambda rng: ()),
}


def step_of(entry_point: str) -> Sampler:
    """Two groups of parameters, gradients and moments; then counts, rates and decays."""
    count, optional, settings_of = STEPS[entry_point]

    def sample(rng) -> Sample:
        groups, settings = [], settings_of(rng)
        left_out = [k for k in optional if rng.random() < 0.4]
        left_out = [k for k in optional if left_out and k >= min(left_out)]  # the first ones stay
        for _ in range(2):
            params, grads, *moments = parameters(rng, 2 + count)
            # Squares come first, and are greater than the square of the mean.
            moments = [[np.abs(x) + 16 * (k == 0) for x in m] for k, m in enumerate(moments)]
            moments = [None if k in left_out else values for k, values in enumerate(moments)]
            counts = [np.array(k) for k in range(3)]
            groups.append((params, grads, *moments, counts, [0.1] * 3, [0.1] * 3, *settings))
        return (groups,), {}

    return sample


SAMPLERS: dict[str, Sampler] = {
    **{entry_point: of_comparisons(entry_point) for entry_point in CASES},
    **{
        entry_point: conv(entry_point)
        for entry_point in ("conv_forward", "conv_input_grad", "conv_weight_grad")
    },
    **{
        entry_point: pooled(entry_point)
        for entry_point in (
            *("max_pool_forward", "max_pool_places", "max_pool_backward"),
            *("max_pool_scatter", "max_pool_gather"),
            *("avg_pool_forward", "avg_pool_backward"),
        )
    },
    "batch_norm_moments": one,
    "batch_norm_forward": batch_norm_forward,
    "batch_norm_backward": batch_norm_backward,
    "batch_norm_track": batch_norm_track,
    "matmul": matmul,
    "affine_forward": affine_forward,
    "affine_weight_grad": affine_weight_grad,
    "binary": binary,
    "unary": unary,
    "where": three(condition=True),
    "where_same": three(),
    "extremum_backward": three("maximum", "minimum"),
    "clip": clip(1),
    "clip_backward": clip(2),
    "sum_axes": folded(),
    "extremum_axes": folded("max", "min"),
    "sum_to": sum_to,
    "broadcast_to": broadcast_to,
    "number": number,
    **{entry_point: step_of(entry_point) for entry_point in STEPS},
    "first_misfit": lambda rng: (tuple(parameters(rng, 2)), {}),
    "clip_norm": lambda rng: ((*parameters(rng, 1), 0.5), {}),
    "assign": assign,
    "copy": one,
    "join": join,
    "set_all": lambda rng: ((*one(rng)[0], 0.5), {}),
    "standard_normal": lambda rng: ((*one(rng)[0], 7), {}),
    "reshape": reshape,
}
NO_ARRAYS = {"random_words"}  # (and `evenly`, of what is compiled once)
# What once read beyond its operands.
KNOWN = {"conv_weight_grad": [groups_of_a_vector(*sizes) for sizes in ((2, 4), (2, 8), (4, 16))]}
# What is written must lie in one piece, or (in the second line) anywhere, if only each element has a place of its own.
DENSE = {*STEPS, "clip_norm", "fold_padding", "in_steps"}
DENSE |= {"prelu_forward", "prelu_backward", "standard_normal"}  # these want C order
APART = {"matmul", "affine_weight_grad", "binary", "unary", "assign", "join", "set_all"}
APART |= {"batch_norm_track", "permute_rows"}


def layouts(entry_point: str, given: Sample) -> list[str]:
    """The memory layouts that its operands may have."""
    if entry_point in DENSE or (entry_point in CASES and "out" in given[1]):
        return ["C"]
    if (
        entry_point.startswith(("conv", "batch", "max_pool", "avg_pool"))
        and entry_point not in APART
    ):
        return ["C", "channels last", "channels last", "order", "gaps", "backwards", "repeated"]
    return [
        "C",
        "C",
        "order",
        "gaps",
        "backwards",
        *(["repeated"] if entry_point not in APART else []),
    ]


# ── Where a kernel is not called with what its sampler gives ──────────────────────────────────────


def call_batch_norm_backward(kernels, x, gy, mean, var, eps, weight, bias, moving, y, name):
    given = (mean, var, eps, weight, bias, moving)
    if name == "":
        return kernels.batch_norm_backward(x, gy, *given)
    if name == "by sign":
        return kernels.batch_norm_backward(x, gy, *given, "leaky_relu", 0.2)
    return kernels.batch_norm_backward(x, gy, *given, name, y=y)


CALLS = {"batch_norm_backward": call_batch_norm_backward}
