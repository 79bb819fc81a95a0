"""In which order a loader takes the rows of its dataset, and how often.

A sampler has ``len(sampler)``, the number of samples in an epoch, and ``order(rng)``, their row numbers
as an array; what is random in it is drawn from `rng`, so that a run can be repeated and resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import check


class WeightedSampler:
    """Draws rows at random, a row with twice the weight twice as often: for classes of unequal size.

    Args:
        weights: one number >= 0 for each row of the dataset; they need not sum to 1.
        num_samples: rows in an epoch.
        replacement: False draws each row at most once per epoch.

    Raises:
        TypeError: weights or num_samples are not numbers.
        ValueError: weights that are negative, not finite or all 0; more samples without replacement
            than rows with a weight.

    >>> labels = np.array([0] * 90 + [1] * 10)
    >>> weights = 1 / np.bincount(labels)[labels]  # each class as often as the other
    >>> rows = WeightedSampler(weights, 1000).order(np.random.default_rng(0))
    >>> labels[rows].mean().round(1)  # half of them are of the rare class
    np.float64(0.5)
    """

    random = True

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True) -> None:
        given = check.array("WeightedSampler", "weights", weights)
        if given.ndim != 1 or given.dtype.kind not in "biuf":
            raise TypeError(
                "WeightedSampler: weights: expected a sequence of numbers, one per row, given "
                f"{given.dtype} of shape {given.shape}"
            )
        self.weights = given.astype(np.float64)
        wrong = self.weights[~(np.isfinite(self.weights) & (self.weights >= 0))]
        if len(wrong):
            raise ValueError(
                f"WeightedSampler: weights must be finite and not negative, got {wrong[0]:g}"
            )
        if not self.weights.any():
            raise ValueError(f"WeightedSampler: none of the {len(given)} weights is greater than 0")
        self.num_samples = check.integer("WeightedSampler", "num_samples", num_samples, least=1)
        self.replacement = check.flag("WeightedSampler", "replacement", replacement)
        most = np.count_nonzero(self.weights)
        if not self.replacement and self.num_samples > most:
            raise ValueError(
                f"WeightedSampler: num_samples is {self.num_samples}, but only {most} rows have a "
                "weight; with replacement=True rows are drawn more than once"
            )

    def __len__(self) -> int:
        return self.num_samples

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """The row numbers of an epoch."""
        p = self.weights / self.weights.sum()
        return rng.choice(len(p), self.num_samples, self.replacement, p)

    def __repr__(self) -> str:
        return f"WeightedSampler({len(self.weights)} weights, {self.num_samples} samples)"


class GivenOrder:
    """The same rows in the same order, in each epoch."""

    random = False

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """The row numbers of an epoch."""
        return self.rows

    def __repr__(self) -> str:
        return f"GivenOrder({len(self.rows)} rows)"


def as_sampler(sampler: Any, rows: int) -> Any:
    """A sampler for a dataset of `rows` rows: `sampler` itself, or one that gives these row numbers."""
    if isinstance(sampler, WeightedSampler) and len(sampler.weights) != rows:
        raise ValueError(
            f"DataLoader: sampler has {len(sampler.weights)} weights, the dataset has {rows} rows"
        )
    if hasattr(sampler, "order") and hasattr(sampler, "__len__") and not isinstance(sampler, type):
        return sampler
    if isinstance(sampler, str | bytes) or not isinstance(sampler, Sequence | np.ndarray):
        raise TypeError(
            "DataLoader: sampler: expected row numbers, a WeightedSampler, or an object with __len__ "
            f"and order(rng), given {sampler!r}"
        )
    return GivenOrder(row_numbers(sampler, rows))


def row_numbers(order: Any, rows: int) -> np.ndarray:
    """An order of rows as an int64 array; raises if a dataset of `rows` rows does not have one of them."""
    numbers = check.array("DataLoader", "sampler", order)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise TypeError(
            "DataLoader: sampler: expected integers, the row numbers in their order, given "
            f"{numbers.dtype} of shape {numbers.shape}"
        )
    wrong = numbers[(numbers < 0) | (numbers >= rows)]
    if len(wrong):
        raise ValueError(
            f"DataLoader: sampler: row {wrong[0]} is not one of the dataset's {rows} rows, 0 to {rows - 1}"
        )
    return numbers.astype(np.int64)
