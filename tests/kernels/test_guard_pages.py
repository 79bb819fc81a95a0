"""No kernel touches a byte beyond its operands: these end where memory ends, or begin where it begins.

A child process runs the kernels, so that a crash is a failure that names the operands. Every kernel gets operands of
random shapes and memory layouts (guard_cases.py), in both dtypes, at every CPU level; its results must be those of its
NumPy reference. MINIDL_GUARD=100 tries 100 times as many.
"""

import ctypes
import os
import zlib
from importlib import import_module
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels import uncompiled
from minidl._kernels.arrays import copying, padding, sorting

from .guard import CAN_GUARD, faults, guarded, map_arrays
from .guard_cases import CALLS, KNOWN, NO_ARRAYS, layouts
from .guard_cases import SAMPLERS as OF_MOST
from .guard_places import OF_PLACES
from .test_images import channels_last

SAMPLERS = OF_MOST | OF_PLACES
TIMES = float(os.environ.get("MINIDL_GUARD", 1))
EACH = 5  # attempts at a kernel, each with both dtypes and at both ends of memory
MORE = {"activation_forward": 4, "activation_backward": 4, "binary": 3, "unary": 2, "matmul": 5}
MORE |= dict.fromkeys(("conv_forward", "conv_input_grad", "conv_weight_grad"), 6)

REFERENCE = K.load("reference")
COPYING = {
    name: kernel
    for module in (copying, padding, sorting)
    for name, kernel in K._entry_points(module).items()
}
NUMPY_COPYING = SimpleNamespace(
    assign=np.copyto,
    copy=np.array,
    join=uncompiled.join,
    reshape=np.reshape,
    set_all=np.ndarray.fill,
    pad=uncompiled.pad,
    fold_padding=uncompiled.fold_padding,
    triangle=uncompiled.triangle,
    sort_rows=uncompiled.sort_rows,
    extremum_places=uncompiled.extremum_places,
    permute_rows=uncompiled.permute_rows,
)


def kernels_of(level: str) -> SimpleNamespace:
    """The products are the tile's, also where the level prefers BLAS."""
    tile = import_module(f"minidl._kernels.{level}.gemm")
    return SimpleNamespace(**(vars(K.load(level)) | K._entry_points(tile)))


LEVELS = {level: kernels_of(level) for level in K.available}
ANY_LEVEL = {"any level": SimpleNamespace(**COPYING)}

pytestmark = [
    pytest.mark.skipif(not CAN_GUARD, reason="no mmap and mprotect here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def cast(x: np.ndarray, dtype: str) -> np.ndarray:
    return x.astype(dtype) if x.dtype.kind == "f" else x.copy()


def lay_out(x: np.ndarray, ways: list[str], rng: np.random.Generator) -> np.ndarray:
    """x in one of these memory layouts; its values change where it is repeated."""
    if x.size == 0 or x.ndim == 0:
        return x
    axis, way = int(rng.integers(0, x.ndim)), rng.choice(ways)
    if way == "order":
        order = rng.permutation(x.ndim)
        return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
    if way == "gaps":
        return np.repeat(x, 2, axis=axis)[(slice(None),) * axis + (slice(None, None, 2),)]
    if way == "channels last" and x.ndim > 1:
        return channels_last(x)
    if way == "backwards":
        return np.flip(np.ascontiguousarray(np.flip(x, axis)), axis)
    if way == "repeated":
        return np.broadcast_to(x.take([0], axis), x.shape)
    return x


def describe(value) -> str:
    """Operands in a line: their shapes, dtypes and strides."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{'' if value.flags.c_contiguous else value.strides}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(describe, value))})"
    if isinstance(value, dict):
        return f"({', '.join(f'{k}={describe(v)}' for k, v in value.items())})"
    return repr(value)


def check_same(got, expected, rtol: float = 0) -> None:
    """Equal up to rounding, all arrays in lists and tuples."""
    if isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for y, z in zip(got, expected, strict=True):
            check_same(y, z, rtol)
    elif isinstance(expected, np.ndarray):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        if np.array_equal(got, expected):
            return
        finite = np.abs(expected[np.isfinite(expected)], dtype="float64")
        atol = rtol * max(1.0, finite.max(initial=0))
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=rtol)
    else:
        assert got == expected


@pytest.mark.parametrize("entry_point", SAMPLERS)
def test_nothing_beyond_the_operands_is_touched(entry_point):
    levels, references = (
        (ANY_LEVEL, NUMPY_COPYING) if entry_point in COPYING else (LEVELS, REFERENCE)
    )
    call = CALLS.get(entry_point) or (
        lambda kernels, *a, **k: getattr(kernels, entry_point)(*a, **k)
    )
    known = KNOWN.get(entry_point, [])

    def attempt(index, note):
        rng = np.random.default_rng((zlib.crc32(entry_point.encode()), index))
        arguments = known[index] if index < len(known) else SAMPLERS[entry_point](rng)
        ways = ["as given"] if index < len(known) else layouts(entry_point, arguments)
        for dtype, rtol in (("float32", 1e-4), ("float64", 1e-10)):
            given = map_arrays(lambda x: lay_out(cast(x, dtype), ways, rng), arguments)  # noqa: B023
            args, keywords = map_arrays(np.array, given)
            expected = call(references, *args, **keywords)
            for (level, kernels), at_end in product(levels.items(), (True, False)):
                note(
                    f"{entry_point}{describe(given)}, {'end' if at_end else 'start'} of memory, {level}"
                )
                mine = map_arrays(lambda x: guarded(x, at_end), given)  # noqa: B023
                check_same(call(kernels, *mine[0], **mine[1]), expected, rtol)
                check_same([*mine[0], *mine[1].values()], [*args, *keywords.values()], rtol)

    count = max(1, len(known) + round(EACH * MORE.get(entry_point, 1) * TIMES))
    found = faults(count, attempt, seconds=60 + round(60 * TIMES))
    assert not found, "\n".join(found)


def test_every_kernel_has_a_row():
    for level, kernels in LEVELS.items():
        assert set(vars(kernels)) - set(SAMPLERS) == NO_ARRAYS, level
    assert set(COPYING) - set(SAMPLERS) == {"evenly"}  # (it is given no arrays)
    assert set(SAMPLERS) <= set(COPYING) | {name for k in LEVELS.values() for name in vars(k)}


def test_a_touch_beyond_is_found():
    x = np.arange(6.0).reshape(2, 3)[:, ::-1]
    touches = [(True, 0), (True, 5), (True, 6), (False, 5), (False, 0), (False, -1), (True, None)]

    def attempt(index, note):
        at_end, element = touches[index]
        note(f"attempt {index}")
        y = guarded(x, at_end)
        check_same(y, x)
        if element is None:
            raise ValueError("wrong")
        start = y[0, 2:].ctypes.data  # of the memory: y's rows run backwards
        ctypes.c_double.from_address(start + element * y.itemsize).value  # noqa: B018

    found = faults(len(touches), attempt)
    assert [text[:3] for text in found] == ["SIG", "SIG", "Val"], found
    assert [text[-9:] for text in found[:2]] == ["attempt 2", "attempt 5"]
