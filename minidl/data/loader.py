"""Datasets held in arrays, and the loader that cuts them into batches.

A dataset is anything with ``len(dataset)`` and ``dataset[index]`` for an array of row numbers,
which gives one array or a tuple of arrays. One call fetches a whole batch, so no Python runs per
sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import call
from typing import Any

import numpy as np

from minidl import check
from minidl.atomic import at_once, starmap
from minidl.random import generator

Batch = tuple[np.ndarray, ...]


class TensorDataset:
    """Arrays whose first axis counts the samples: ``dataset[index]`` is the tuple of their rows.

    Args:
        arrays: ndarrays, Tensors or sequences with equal first axes.

    Raises:
        ValueError: no arrays, an array without axes, or first axes of different lengths.

    >>> dataset = TensorDataset(np.zeros((10, 28, 28)), np.arange(10))
    >>> len(dataset), dataset[np.array([7, 2])][1]
    (10, array([7, 2]))
    """

    def __init__(self, *arrays: Any) -> None:
        if not arrays:
            raise ValueError("TensorDataset: expected at least one array, given none")
        self.arrays: Batch = tuple(
            check.array("TensorDataset", "arrays", array) for array in arrays
        )
        for i, array in enumerate(self.arrays):
            if array.ndim == 0:
                raise ValueError(f"TensorDataset: array {i} has no axes: {array!r}")
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"TensorDataset: the first axes must have equal lengths, given {lengths} "
                f"(shapes {', '.join(str(array.shape) for array in self.arrays)})"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> Batch:
        if isinstance(index, np.ndarray) and index.dtype.kind in "iu":
            # Half the time of array[index].
            return tuple(array.take(index, axis=0) for array in self.arrays)
        return tuple(array[index] for array in self.arrays)

    def __repr__(self) -> str:
        return f"TensorDataset({', '.join(f'{a.dtype}{a.shape}' for a in self.arrays)})"


class Subset:
    """The rows `index` of another dataset, fetched when they are asked for: ``subset[i]`` is ``dataset[index[i]]``.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__`` for an array of row numbers, such as `TensorDataset`.
        index: an integer array of row numbers, in any order; its length is that of the subset.

    Raises:
        IndexError: when a row is asked for that the subset or the dataset does not have.
    """

    def __init__(self, dataset: Any, index: np.ndarray) -> None:
        self.dataset = dataset
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.index[index]]


def as_dataset(data: Any, who: str) -> Any:
    """data itself if it is a dataset; an array, or a tuple of them, as a TensorDataset."""
    if isinstance(data, tuple | list):
        return TensorDataset(*data)
    if isinstance(data, np.ndarray) or hasattr(data, "__array__"):
        return TensorDataset(data)
    indexable = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if indexable and not isinstance(data, Mapping | str):
        return data
    raise TypeError(
        f"{who}: expected a dataset: arrays, or an object with __len__ and __getitem__ for an "
        f"array of row numbers; given {type(data).__name__}"
    )


class DataLoader:
    """Batches of a dataset, as tuples of ndarrays; each ``for`` over it is one epoch.

    Args:
        dataset: a `TensorDataset`, an array, a tuple of arrays, or any object with ``__len__`` and
            ``__getitem__`` for an array of row numbers. Batches are copies: changing one in place
            leaves the dataset as it is.
        batch_size: samples a batch; the last one may be smaller.
        shuffle: a new random order every epoch.
        drop_last: leaves out the last batch if it is smaller.
        rng: a numpy Generator or an int seed; None takes the library's generator
            (`minidl.manual_seed`).
        transform: called once a batch as ``transform(*arrays)``; returns an array or a tuple of
            arrays.

    Raises:
        TypeError, ValueError: an argument of another kind, or a batch_size below 1.

    >>> loader = DataLoader((np.arange(5.0), np.arange(5)), batch_size=2)
    >>> [y.tolist() for x, y in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        rng: np.random.Generator | int | None = None,
        transform: Callable[..., Any] | None = None,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
            raise TypeError(f"DataLoader: batch_size must be an int, given {batch_size!r}")
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, given {batch_size}")
        if transform is not None and not callable(transform):
            raise TypeError(f"DataLoader: transform must be callable, given {transform!r}")
        self.dataset = as_dataset(dataset, "DataLoader")
        self.batch_size = int(batch_size)
        self.shuffle = check.flag("DataLoader", "shuffle", shuffle)
        self.drop_last = check.flag("DataLoader", "drop_last", drop_last)
        self.transform = transform
        # The library's generator is looked up at each epoch: manual_seed may come after the loader.
        self._rng = None if rng is None else generator(rng, "DataLoader")
        self._epoch_seed: int | None = None  # None: no epoch is under way
        self._batches_done = 0
        self._resume = False

    def __len__(self) -> int:
        rounded = math.floor if self.drop_last else math.ceil
        return rounded(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # One number drawn from the generator determines the whole order: that is all a checkpoint
        # has to remember, even if others draw from the same generator in between.
        if not self._resume or self._epoch_seed is None:
            rng = generator() if self._rng is None else self._rng
            self._epoch_seed = int(rng.integers(2**63)) if self.shuffle else 0
            self._batches_done = 0
        self._resume = False
        rows = len(self.dataset)
        if self.shuffle:
            order = np.random.default_rng(self._epoch_seed).permutation(rows)
        else:
            order = np.arange(rows)
        return self._batches(order, self._batches_done)

    def _batches(self, order: np.ndarray, first: int) -> Iterator[Batch]:
        for i in range(first, len(self)):
            batch = self.dataset[order[i * self.batch_size : (i + 1) * self.batch_size]]
            batch = batch if isinstance(batch, tuple | list) else (batch,)
            if self.transform is not None:
                batch = self.transform(*batch)
                batch = batch if isinstance(batch, tuple | list) else (batch,)
            self._batches_done = i + 1
            yield tuple(batch)
        self._epoch_seed = None

    def state_dict(self) -> dict[str, Any]:
        """The loader's position, mid-epoch too; `minidl.save` can write it.

        A loader of the same dataset that is given it goes on with the batches that this one would
        give next. (The library's generator is not the loader's: without ``rng``, later epochs
        depend on it too.)
        """
        return {
            "rows": len(self.dataset),
            "batch_size": self.batch_size,
            "epoch_seed": self._epoch_seed,
            "batches_done": self._batches_done,
            "rng": None if self._rng is None else self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`: the next ``for`` gives the rest of that epoch, or, if its last batch
        was given, the next epoch. See `state_dict`.
        """
        for name, own in (("rows", len(self.dataset)), ("batch_size", self.batch_size)):
            if state[name] != own:
                raise ValueError(f"DataLoader: {name} is {own}, in the state {state[name]}")
        seed, done = state["epoch_seed"], state["batches_done"]
        changes: list[tuple] = []
        if self._rng is not None and state["rng"] is not None:
            ours = self._rng.bit_generator
            type(ours)(0).state = state["rng"]  # a state that does not fit raises here
            changes.append((setattr, ours, "state", state["rng"]))
        changes.append((setattr, self, "_epoch_seed", seed if done < len(self) else None))
        changes.append((setattr, self, "_batches_done", done))
        changes.append((setattr, self, "_resume", True))
        at_once(starmap(call, changes))

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"drop_last={self.drop_last})"
        )


def split(
    dataset: Any,
    parts: Sequence[float] | Sequence[int],
    rng: np.random.Generator | int | None = None,
    shuffle: bool = True,
) -> tuple[Any, ...]:
    """Cuts a dataset into disjoint parts that cover it, such as training and validation.

    Args:
        dataset: an array, a tuple of arrays, or a dataset as `DataLoader` takes it. The parts are
            of the same kind.
        parts: fractions with the sum 1, or numbers of rows with the sum ``len(dataset)``.
        rng: a numpy Generator or an int seed; None takes the library's generator.
        shuffle: False keeps the order: the first part has the first rows.

    Raises:
        ValueError: parts that are negative, do not sum up, or leave a part empty that asked for
            rows.

    >>> train, valid = split((np.zeros((10, 3)), np.arange(10)), (0.8, 0.2), shuffle=False)
    >>> valid[1]
    array([8, 9])
    """
    source = as_dataset(dataset, "split")
    rows = len(source)
    edges = np.cumsum(_sizes(parts, rows))[:-1]
    shuffle = check.flag("split", "shuffle", shuffle)
    order = generator(rng, "split").permutation(rows) if shuffle else np.arange(rows)
    indices = np.split(order, edges)
    if not isinstance(source, TensorDataset):
        return tuple(Subset(source, index) for index in indices)
    pieces = [source[index] for index in indices]
    if isinstance(dataset, TensorDataset):
        return tuple(TensorDataset(*piece) for piece in pieces)
    if isinstance(dataset, tuple | list):
        return tuple(pieces)
    return tuple(piece[0] for piece in pieces)


def _sizes(parts: Sequence[float] | Sequence[int], rows: int) -> list[int]:
    """Numbers of rows for `parts`, which are such numbers already or fractions."""
    wanted = check.items("split", "parts", parts, "numbers")
    if not wanted or not all(
        isinstance(part, int | float | np.number) and part >= 0 for part in wanted
    ):
        raise ValueError(f"split: expected parts of at least 0, given {wanted}")
    if all(isinstance(part, int | np.integer) for part in wanted):
        if sum(wanted) != rows:
            raise ValueError(f"split: the sizes {wanted} sum to {sum(wanted)}, expected {rows}")
        return [int(part) for part in wanted]
    if abs(sum(wanted) - 1) > 1e-6:
        raise ValueError(f"split: the fractions {wanted} sum to {sum(wanted):g}, expected 1")
    # Edges are rounded, not sizes: the parts then cover every row exactly once.
    edges = np.rint(np.cumsum([0, *wanted]) * rows).astype(int)
    sizes = np.diff(edges).tolist()
    for i, (part, size) in enumerate(zip(wanted, sizes, strict=True)):
        if part > 0 and size == 0:
            raise ValueError(f"split: part {i} ({part:g} of {rows} rows) would be empty")
    return sizes
