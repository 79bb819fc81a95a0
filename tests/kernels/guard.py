"""Arrays at the edge of memory, and a child process that may die of touching what lies beyond it."""

import ctypes
import faulthandler
import json
import mmap
import os
import signal
import sys
from collections.abc import Callable

import numpy as np

CAN_GUARD = sys.platform in ("linux", "darwin")
NO_ACCESS = 0  # PROT_NONE
LIBC = ctypes.CDLL(None) if CAN_GUARD else None


def bounds(x: np.ndarray) -> tuple[int, int]:
    """Where x's memory begins and ends, in bytes from its first element."""
    if x.size == 0:
        return 0, 0
    steps = [(n - 1) * step for n, step in zip(x.shape, x.strides, strict=True)]
    return sum(min(s, 0) for s in steps), sum(max(s, 0) for s in steps) + x.itemsize


def guarded(x: np.ndarray, at_end: bool = True) -> np.ndarray:
    """A copy of x with its strides. The page behind its last element (or before its first) is not to be touched."""
    low, high = bounds(x)
    page = mmap.PAGESIZE
    room = -(-(high - low) // page) * page
    memory = mmap.mmap(-1, room + page, mmap.MAP_PRIVATE | mmap.MAP_ANON)
    fence = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + (room if at_end else 0)
    if LIBC.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), NO_ACCESS):
        raise OSError("mprotect failed")
    start = room - high if at_end else page - low
    y = np.ndarray(x.shape, x.dtype, memory, start, x.strides)  # keeps the mapping alive
    y[...] = x
    return y


def map_arrays(function: Callable[[np.ndarray], np.ndarray], value, seen: dict | None = None):
    """value with function(x) for each array x in it, in its lists, tuples and dicts; the same array stays the same."""
    seen = {} if seen is None else seen
    assert not isinstance(value, np.generic), "a NumPy scalar is not an array"
    if isinstance(value, np.ndarray):
        if id(value) not in seen:
            seen[id(value)] = function(value)
        return seen[id(value)]
    if isinstance(value, list | tuple):
        return type(value)(map_arrays(function, v, seen) for v in value)
    if isinstance(value, dict):
        return {k: map_arrays(function, v, seen) for k, v in value.items()}
    return value


def faults(count: int, attempt: Callable, most: int = 5, seconds: int = 60) -> list[str]:
    """What goes wrong in attempt(index, note) for all indices below count, each in a child process.

    An attempt calls note(text) before it may crash. After a crash another child goes on with the next index. No more
    than `most` faults are looked for.
    """
    found: list[str] = []
    first = 0
    while first < count and len(found) < most:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(seconds)  # one that hangs must fail
                faulthandler.disable()
                run(first, count, attempt, writer)
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        with open(reader) as pipe:
            lines = [json.loads(line) for line in pipe if line.endswith("\n")]
        status = os.waitpid(child, 0)[1]
        found += [text for _, kind, text in lines if kind == "fault"]
        index, _, text = lines[-1] if lines else (count, "", "before the first attempt")
        first = index + 1 if status else count
        if os.WIFSIGNALED(status):
            found.append(f"{signal.Signals(os.WTERMSIG(status)).name}: {text}")
        elif status:
            found.append(f"the child gave up: {text}")
    return found


def run(first: int, count: int, attempt: Callable, writer: int) -> None:
    """In the child: all attempts, and a line for each note and each fault."""

    def say(index, kind, text):
        os.write(writer, (json.dumps([index, kind, text]) + "\n").encode())

    for index in range(first, count):
        given = [""]

        def note(text, index=index, given=given):
            given[0] = text
            say(index, "note", text)

        try:
            attempt(index, note)
        except Exception as error:
            say(index, "fault", f"{type(error).__name__}: {given[0]}: {error}")
