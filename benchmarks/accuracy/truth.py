"""truth.c, compiled for this machine: true values in a wider type, and comparisons with them, 10^8 numbers in seconds.

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
    """What `judge` found so far: see truth.c."""

    _fields_ = [
        *((name, ctypes.c_double) for name in ("error", "at", "near_1", "near_1_at")),
        *((name, ctypes.c_double) for name in ("fall_at", "zero_at", "infinity_at", "last")),
        *((name, ctypes.c_int64) for name in ("falls", "zeros", "infinities")),
    ]

    def __init__(self) -> None:
        super().__init__(last=-np.inf)

    def to_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name, _ in self._fields_}


@cache
def library() -> ctypes.CDLL:
    source = Path(__file__).with_name("truth.c")
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


def classes_differ(x: np.ndarray, y: np.ndarray, other: np.ndarray) -> tuple[int, float]:
    """How often one is NaN, 0, -0 or an infinity where the other is not, and the first x of these: see truth.c."""
    at, find = ctypes.c_double(), getattr(library(), f"apart_{x.dtype.name}")
    find.restype = ctypes.c_int64
    arrays = (_address(x), _address(y), _address(other))
    return find(*arrays, ctypes.c_ssize_t(len(x)), ctypes.byref(at)), at.value


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


def slope_against_mpmath(name: str, exact: Callable, x: np.ndarray, *params: float) -> float:
    """The largest error of the true slope, in ulp of the slope or of 1, whichever is larger. No x is at a kink."""
    worst, info = 0.0, np.finfo(x.dtype)
    padded = (*params, 0.0, 0.0)[:2]
    for at, found in zip(x, true(name, x, *padded, slope=True), strict=True):
        with mp.workdps(100):
            h = mp.mpf(10) ** -30 * abs(mp.mpf(float(at)))
            want = (exact(mp.mpf(float(at)) + h) - exact(mp.mpf(float(at)) - h)) / (2 * h)
        ulp = mp.mpf(2) ** (int(mp.floor(mp.log(max(abs(want), 1), 2))) - info.nmant)
        worst = max(worst, float(abs(exactly(found) - want) / ulp))
    return worst
