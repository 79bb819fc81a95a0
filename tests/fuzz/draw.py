"""Random shapes, settings and operands: whatever values and whatever memory a user may hand in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from tests.kernels.guard import guarded

T = TypeVar("T")
# The values that break formulas: infinite, huge, tiny, zeros of both signs.
WILD = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    3.0,
    -3.0,
    6.0,
    np.inf,
    -np.inf,
    np.nan,
    88.7,
    -104.0,
    710.0,
    -746.0,
    1e30,
    -3e38,
    1e-30,
    1e-40,
    -1e-45,
    1e19,
)
LAYOUTS = ("plain",) * 6 + (
    "fortran",
    "permuted",
    "reversed",
    "strided",
    "unaligned",
    "readonly",
    "part",
    "swapped",
)


class Draw:
    """What a case is drawn from. With `guard` each operand lies against a page that must not be touched."""

    def __init__(self, rng: np.random.Generator, guard: bool) -> None:
        self.rng, self.guard = rng, guard
        self.dtype = np.dtype(self.choice(["float32", "float32", "float64"]))
        self.large = self.chance(0.02)  # enough elements for several threads

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choice(self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def number(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def shape(self, least: int = 0, most: int = 4, length: int = 6) -> tuple[int, ...]:
        """A shape of least to most axes; now and then one of them is empty, or long."""
        shape = [self.integer(1, length) for _ in range(self.integer(least, most))]
        if shape and self.chance(0.3):
            shape[self.integer(0, len(shape) - 1)] = self.choice([0, 1, 1, 15, 16, 17, 33, 70])
        if shape and self.large:
            shape[self.integer(0, len(shape) - 1)] = self.integer(1000, 9000)
        return tuple(shape)

    def some(self, items: Sequence[T]) -> list[T]:
        """Some of the items, in their order."""
        return [item for item in items if self.chance(0.5)]

    def axes(self, ndim: int) -> Any:
        """An `axis` as reductions take it: None, an int or a tuple, counted from either end."""
        if self.chance(0.25):
            return None
        chosen = [a - ndim * self.chance(0.3) for a in self.some(range(ndim))]
        if ndim and self.chance(0.5):
            return self.integer(-ndim, ndim - 1)
        return tuple(chosen)

    def array(self, shape: Sequence[int], values: str = "", wild: bool = False) -> np.ndarray:
        """An operand of the case's dtype.

        values: "normal", "ties" (whole numbers), "positive", "unit" (0 to 1) or "wild"; by default one of the first
            two, and with `wild` now and then the last.
        """
        shape = tuple(shape)
        values = values or self.choice(["normal"] * 5 + ["ties"] + ["wild"] * (2 * wild))
        kept = shape
        if shape and self.chance(0.04):  # stride 0
            kept = tuple(1 if self.chance(0.5) else n for n in shape)
        with np.errstate(all="ignore"):
            array = np.asarray(self._values(kept, values)).astype(self.dtype)
        if kept != shape:
            return np.broadcast_to(self.memory(array), shape)
        return self.laid(array)

    def _values(self, shape: tuple[int, ...], values: str) -> np.ndarray:
        rng = self.rng
        if values == "normal":
            return rng.standard_normal(shape) * 10 ** rng.uniform(-1, 1)
        if values == "ties":
            return rng.integers(-4, 5, shape)
        if values == "positive":
            return rng.uniform(0.1, 4, shape)
        if values == "unit":
            return rng.uniform(0, 1, shape)
        return np.where(
            rng.random(shape) < 0.5, rng.standard_normal(shape), rng.choice(WILD, shape)
        )

    def ids(self, shape: Sequence[int], low: int, high: int) -> np.ndarray:
        """Integers from low to high - 1 in some integer dtype."""
        dtype = self.choice(["int64", "int32", "int64", "int16"])
        return self.laid(self.rng.integers(low, high, tuple(shape)).astype(dtype))

    def laid(self, array: np.ndarray) -> np.ndarray:
        """The same values in memory of another layout."""
        layout = self.choice(LAYOUTS)
        if layout == "fortran":
            return self.memory(array.T).T
        if layout == "permuted":  # channels last is one of these
            order = self.rng.permutation(array.ndim)
            return self.memory(array.transpose(order)).transpose(np.argsort(order))
        if layout == "reversed":
            axes = tuple(self.some(range(array.ndim)))
            return np.flip(self.memory(np.flip(array, axes)), axes)
        if layout == "strided" and array.size:
            steps = tuple(slice(None, None, self.choice([1, 2, 3])) for _ in array.shape)
            wide = np.zeros(
                [(n - 1) * s.step + 1 for n, s in zip(array.shape, steps, strict=True)], array.dtype
            )
            wide[steps] = array
            return self.memory(wide)[steps]
        if layout == "part" and array.size:
            wide = np.zeros([n + 1 for n in array.shape], array.dtype)
            part = tuple(slice(1, None) for _ in array.shape)
            wide[(*part, ...)] = array
            return self.memory(wide)[(*part, ...)]
        if layout == "unaligned":
            raw = self.memory(np.zeros(array.nbytes + 1, np.uint8))
            odd = raw[1 - self.integer(0, 1) * (raw.ctypes.data % 2) :][: array.nbytes]
            odd = odd.view(array.dtype).reshape(array.shape)
            odd[...] = array
            return odd
        if layout == "swapped" and self.chance(0.3):
            return array.astype(array.dtype.newbyteorder())
        array = self.memory(array)
        array.flags.writeable = layout != "readonly"
        return array

    def memory(self, array: np.ndarray) -> np.ndarray:
        """A copy in C order; if guarded, against a page that must not be touched."""
        if not self.guard or not array.size:
            return np.array(array, order="C")
        return guarded(np.array(array, order="C"), at_end=not self.chance(0.2))
