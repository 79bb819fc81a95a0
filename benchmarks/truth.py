"""ulp.c, compiled for this machine: true values in a wider type, and comparisons with them, for 10^8 numbers a second.

float32 is compared with double, float64 with long double (64 bits of mantissa on x86). `against_mpmath` checks both.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import compiler
import mpmath as mp
import numpy as np

FLOATS = 2 * 0x7F800001  # float32 numbers from -inf to inf, both zeros among them
REFERENCE = {"float32": np.dtype(np.float64), "float64": np.dtype(np.longdouble)}
_FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"]
_VECTORS = ["-DVECTOR_LIBRARY", "-mprefer-vector-width=512", "-lmvec"]  # where glibc has them


class Findings(ctypes.Structure):
    """What `judge` found so far: see ulp.c."""

    _fields_ = [
        *((name, ctypes.c_double) for name in ("error", "at", "near_1", "near_1_at")),
        *((name, ctypes.c_double) for name in ("fall_at", "zero_at", "infinity_at", "last")),
        *((name, ctypes.c_int64) for name in ("falls", "zeros", "infinities")),
    ]

    def __init__(self) -> None:
        super().__init__(last=-np.inf)


@cache
def library() -> ctypes.CDLL:
    source = Path(__file__).with_name("ulp.c")
    try:
        return compiler.compiled(source, [*_FLAGS, *_VECTORS, "-lm"])
    except OSError:
        pass
    try:
        return compiler.compiled(source, [*_FLAGS, "-lm"])
    except OSError as error:
        raise SystemExit(f"ulp.py: a C compiler is needed: {error}") from error


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def floats(first: int, count: int) -> np.ndarray:
    """Floats number first to first + count - 1, in the order of size."""
    x = np.empty(min(count, FLOATS - first), np.float32)
    library().floats(ctypes.c_int64(first), ctypes.c_ssize_t(len(x)), _address(x))
    return x


def true(
    name: str, x: np.ndarray, a: float = 0.0, b: float = 0.0, slope: bool = False
) -> np.ndarray:
    """The value, or the slope, of the function with parameters a and b at each x."""
    t = np.empty(len(x), REFERENCE[x.dtype.name])
    find = getattr(library(), f"truth_{x.dtype.name}")
    size, numbers = ctypes.c_ssize_t(len(x)), (ctypes.c_double(a), ctypes.c_double(b))
    if find(name.encode(), int(slope), _address(x), _address(t), size, *numbers):
        raise ValueError(f"truth.h has no {name!r}")
    return t


def judge(x: np.ndarray, y: np.ndarray, t: np.ndarray, findings: Findings) -> None:
    """Compares y with the true t, and each y with the one before: x ascends, also from call to call."""
    compare = getattr(library(), f"judge_{x.dtype.name}")
    compare(_address(x), _address(y), _address(t), ctypes.c_ssize_t(len(x)), ctypes.byref(findings))


def exactly(number: np.floating) -> mp.mpf:
    """A long double as an mpf: in two doubles."""
    high = float(number)
    return (
        mp.mpf(high) + mp.mpf(float(number - type(number)(high)))
        if np.isfinite(high)
        else mp.mpf(high)
    )


def against_mpmath(name: str, exact: Callable, x: np.ndarray, *params: float) -> float:
    """The largest error of `true`, in ulp of x's own dtype."""
    worst, info = 0.0, np.finfo(x.dtype)
    for at, found in zip(x, true(name, x, *params), strict=True):
        want = mp.mpf(exact(mp.mpf(float(at))))
        if abs(want) <= mp.mpf(float(info.max)):
            size = max(abs(want), mp.mpf(float(info.tiny)))
            ulp = mp.mpf(2) ** (int(mp.floor(mp.log(size, 2))) - info.nmant)
            worst = max(worst, float(abs(exactly(found) - want) / ulp))
    return worst
