"""Which numbers the functions are tried on: float32 in blocks of its 2^32, float64 drawn at random."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from accuracy import truth

BLOCK = 1 << 17
CURVED = (
    2.0**-14,
    192.0,
)  # the sizes of x where no function has come to a limit, linear or constant


class Sample(NamedTuple):
    every: int  # float32: each such block of all numbers,
    curved: int  # each such block of those with numbers of these sizes (0: none),
    doubles: int  # and so many of float64

    def starts(self) -> list[int]:
        """The first float32 number of each block."""
        return [
            first
            for i, first in enumerate(range(0, truth.FLOATS, BLOCK))
            if i % self.every == 0
            or (self.curved and i % self.curved == 0 and self._is_curved(first))
        ]

    def _is_curved(self, first: int) -> bool:
        ends = np.abs(truth.floats(first, BLOCK)[[0, -1]])
        return bool(ends.max() >= CURVED[0] and ends.min() <= CURVED[1])

    def blocks(self, dtype: str) -> int:
        if dtype == "float32":
            return len(self.starts())
        return max(1, math.ceil(self.doubles / BLOCK))

    def floats(self) -> str:
        everywhere, curved = (
            "every number" if n == 1 else f"one block of {BLOCK:,} numbers in {n}"
            for n in (self.every, self.curved or 1)
        )
        if not self.curved or self.every == 1:
            return everywhere
        return f"{curved} of those whose size is 2^-14 to 192, and {everywhere} of the others"


def blocks(dtype: str, sample: Sample) -> Iterator[tuple[np.ndarray, bool]]:
    """(numbers, ascending; whether they go on where the last block ended)"""
    if dtype == "float32":
        end = -1
        for first in sample.starts():
            yield truth.floats(first, BLOCK), first == end
            end = first + BLOCK
        return
    left = sample.doubles
    for seed in range(sample.blocks(dtype)):
        yield doubles(min(left, BLOCK), seed), False
        left -= BLOCK


def doubles(count: int, seed: int) -> np.ndarray:
    """A quarter are drawn from all bit patterns, a quarter evenly from -750 to 750, half from 0.001 to 40, either sign.

    Half of each are the numbers next to the others, so that a step down is seen.
    """
    rng, n = np.random.default_rng(seed), (count + 1) // 2
    bits = rng.integers(0, 2**64, n // 4, dtype=np.uint64).view(np.float64)
    bits = np.where(np.isfinite(bits), bits, 1)
    wide = rng.uniform(-750, 750, n // 4)
    x = np.exp(rng.uniform(math.log(1e-3), math.log(40), n)) * rng.choice([-1, 1], n)
    x[: len(bits)], x[len(bits) : len(bits) + len(wide)] = bits, wide
    special = [-math.inf, -0.0, 0.0, np.finfo(float).max]  # and what is next to them
    x[-len(special) :] = special[: len(x)]
    with np.errstate(over="ignore"):
        return np.sort(np.concatenate([x, np.nextafter(x, math.inf)]))[:count]
