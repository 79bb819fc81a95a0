"""What the modules that must be compiled do (memory, threads, copies, captured calls), in plain Python.

Where minidl runs without any of them, this file takes the place of those in STANDS_FOR. NumPy allocates, one thread
computes, and nothing is captured.
"""

from __future__ import annotations

import sys
import warnings
from threading import Lock
from typing import Any, NoReturn

import numpy as np

from minidl._kernels.system.limits import MAX_THREADS

STANDS_FOR = (
    "arrays.copying",
    "arrays.padding",
    "arrays.sorting",
    "arrays.buffers",
    "runtime.fields",
    "runtime.memory",
    "runtime.pool",
    "runtime.prepared",
    "runtime.shared",
)

# ── arrays/copying, arrays/buffers ───────────────────────────────────────────────────────────────────────────────────


def copy(x: np.ndarray) -> np.ndarray:
    """x in C order, in new memory."""
    return x.copy()


def assign(y: np.ndarray, x: np.ndarray) -> None:
    """y = x; x broadcasts, and other dtypes convert."""
    np.copyto(y, x, casting="unsafe")


def join(y: np.ndarray, xs: tuple[np.ndarray, ...], axis: int) -> None:
    """y = the xs one after another along `axis`; those that lack this axis have one place each on it."""
    joined = np.stack if xs[0].ndim < y.ndim else np.concatenate
    joined(xs, axis=axis, out=y, casting="unsafe")


def set_all(y: np.ndarray, value: Any) -> None:
    """y = the number, everywhere."""
    y.fill(value)


def reshape(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A view where x's memory allows one, else a copy."""
    return x.reshape(shape)


def evenly(start: float, step: float, count: int, dtype: np.dtype) -> np.ndarray:
    """start, start + step, ...: so many numbers."""
    gap = step if dtype.kind == "i" else (start + step) - start
    return (start + np.arange(count) * gap).astype(dtype)


def pad(x: np.ndarray, widths: list, mode: str, value: Any = 0) -> np.ndarray:
    """x with so many elements (before, after) around it along each axis."""
    names: dict[str, Any] = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    more = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, widths, names[mode], **more) if widths else x.copy()


def fold_padding(g: np.ndarray, widths: list, mode: str) -> None:
    """In place: to each element that "reflect" or "replicate" has repeated, the repetitions are added."""
    for axis, (before, after) in enumerate(widths):
        rows = np.moveaxis(g, axis, 0)
        last = len(rows) - after - 1
        if mode == "replicate":
            rows[before] += rows[:before].sum(0)
            rows[last] += rows[last + 1 :].sum(0)
        else:
            for i in range(1, before + 1):
                rows[before + i] += rows[before - i]
            for i in range(1, after + 1):
                rows[last - i] += rows[last + i]


def triangle(x: np.ndarray, k: int, lower: bool) -> np.ndarray:
    """0 where column - row > k, or, if not `lower`, < k."""
    return np.tril(x, k) if lower else np.triu(x, k)


def sort_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row in ascending order, and from where its elements come."""
    order = np.argsort(x, 1, kind="stable")
    return np.take_along_axis(x, order, 1), order


def extremum_places(x: np.ndarray, greatest: bool) -> np.ndarray:
    """The place of the greatest element of each row, or of the smallest."""
    return np.asarray((np.argmax if greatest else np.argmin)(x, 1))


def permute_rows(x: np.ndarray, order: np.ndarray, undo: bool = False) -> np.ndarray:
    """y[r, i] = x[r, order[r, i]]; undone, y[r, order[r, i]] = x[r, i]."""
    if not undo:
        return np.take_along_axis(x, order, 1)
    y = np.empty_like(x)
    np.put_along_axis(y, order, x, 1)
    return y


def references(holder: object, x: np.ndarray, owner: object) -> int:
    """How many references there are to x, to the object that holds it, and to the owner of its memory."""
    return sys.getrefcount(holder) + sys.getrefcount(x) + sys.getrefcount(owner)


# ── runtime/memory ───────────────────────────────────────────────────────────────────────────────────────────────────

empty, empty_like = np.empty, np.empty_like


def same_dtype(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether x and y have the same dtype object, as all arrays of one native kind have."""
    return x.dtype is y.dtype


def same_floats(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether both are float32, or both float64."""
    return x.dtype.char == y.dtype.char and x.dtype.char in "fd"


def alike(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether x and y have the same shape and dtype."""
    return x.shape == y.shape and x.dtype is y.dtype


def owner(x: np.ndarray) -> Any:
    """The object that owns the memory: views of one array have the same."""
    found: Any = x
    while isinstance(found, np.ndarray) and found.base is not None:
        found = found.base
    return found


def steppable(x: np.ndarray) -> bool:
    """Whether x can be changed in place and lies in C or Fortran order."""
    return x.flags.behaved and x.dtype.isnative and x.flags.forc


def fingerprint(x: np.ndarray) -> int:
    """A number that the bytes of x decide."""
    return hash(x.tobytes())


def release_memory() -> None:
    """Gives all memory that is kept back to the system: without compiled modules none is kept.

    Arrays in use are not touched.
    """


def set_memory_limit(nbytes: int) -> None:
    """Keeps at most so many bytes of freed memory for reuse: without compiled modules none are kept in any case.

    Raises TypeError if nbytes is no int, ValueError if it is negative.
    """
    if _number("set_memory_limit: expected a number of bytes, an int", nbytes) < 0:
        raise ValueError(f"set_memory_limit: expected 0 bytes or more, got {nbytes}")


def memory_stats() -> dict[str, int]:
    """dict: bytes kept for reuse and so on; without compiled modules NumPy has all memory, and all are 0.

    Its keys: kept, used (bytes), hits, misses (requests served from kept memory, or not), limit (on kept bytes).
    """
    return dict.fromkeys(("kept", "used", "hits", "misses", "limit"), 0)


# ── runtime/pool ─────────────────────────────────────────────────────────────────────────────────────────────────────


def get_num_threads() -> int:
    """The number of threads minidl uses, the calling one included: without compiled modules 1.

    `set_num_threads` sets it. NumPy's BLAS may have threads of its own.
    """
    return 1


def set_num_threads(n: int) -> None:
    """Without compiled modules there is one thread, whatever n: a warning says so. (NumPy's BLAS may have its own.)

    Raises TypeError if n is not an int, ValueError if it is not in 1..1024.
    """
    if not 1 <= _number("set_num_threads: n must be an int", n) <= MAX_THREADS:
        raise ValueError(f"set_num_threads: n must be in 1..{MAX_THREADS}, got {n}")
    if n > 1:
        warn(f"set_num_threads({n}) leaves it at 1 thread")


def warn(what: str) -> None:
    """A warning at the line that called the caller; Python shows each once."""
    warnings.warn(f"minidl runs without compiled modules: {what}", stacklevel=3)


def _number(what: str, n: Any) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__") or getattr(n, "shape", ()) != ():
        raise TypeError(f"{what}, got {n!r}")
    return n.__index__()


# ── runtime/shared ───────────────────────────────────────────────────────────────────────────────────────────────────


class Count:
    """A number that several threads change."""

    def __init__(self) -> None:
        self.value, self.lock = 0, Lock()


# CPython gives the GIL to another thread at calls and at jumps back only, of which an addition has none.
_has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()


def add(count: Count, n: int) -> int:
    """Adds n, and returns the sum."""
    if _has_gil:  # without the lock, which an exception that comes from outside could leave locked
        count.value += n
        return count.value
    with count.lock:
        count.value += n
        return count.value


def value_of(count: Count) -> int:
    """The number."""
    return count.value


def hold(x: object) -> None:
    """In plain Python nothing: other threads may come in before `let_go`."""


let_go = hold

# ── runtime/fields, runtime/prepared ─────────────────────────────────────────────────────────────────────────────────


class CaptureError(RuntimeError):
    """A step that cannot be captured: op, what cannot be recorded; line, the user's ("file.py:12"); why, the reason.

    Not raised where nothing is compiled: the step runs uncaptured.
    """

    def __init__(self, op: str, line: str, why: str) -> None:
        super().__init__(f"{op}: {why} ({line})")
        self.op, self.line, self.why = op, line, why


CaptureError.__module__ = "minidl"


class Recorder:
    """Says whether a step is being recorded."""

    on = False


recorder = Recorder()


class Plan:
    """The calls of a step, which only compiled kernels leave."""

    failure = "minidl runs without compiled modules, whose calls could be done again"

    def __init__(self, strict: bool = True) -> None:
        pass

    def start(self) -> bool:
        """False: nothing is recorded."""
        return False


def capturing() -> bool:
    """Whether this thread records a plan."""
    return False


def by_numpy(function: Any, *arguments: Any, **options: Any) -> Any:
    """function(*arguments, **options)."""
    return function(*arguments, **options)


def checks(function: Any, *arguments: Any) -> None:
    """A check, which raises or does nothing."""
    function(*arguments)


def within(ids: np.ndarray, n: int) -> bool:
    """Whether all of these integers are in 0 ... n - 1."""
    return ids.size == 0 or bool(ids.min() >= 0 and ids.max() < n)


def are_signs(x: np.ndarray) -> bool:
    """Whether all elements are -1 or 1."""
    return bool((np.abs(x) == 1).all())


def outlives(x: np.ndarray) -> np.ndarray:
    """x, an array that is made once and kept."""
    return x


def outside_of_steps(what: str) -> None:
    """CaptureError in a step that is captured."""


def refuse(why: str) -> None:
    """CaptureError in a step that is captured."""


def _only_in_a_recording(*_: Any) -> NoReturn:
    raise AssertionError("nothing is recorded without compiled modules")


argument_for = begins = buffer_for = do_again = fits = is_older = note = put = reads = taken_out = (
    _only_in_a_recording
)
Fields = _only_in_a_recording


class Effect:
    """What must hold before a captured step is replayed."""
