"""What batches are made of: arrays, samples one by one, and parts of either.

A dataset has ``len(dataset)`` and ``dataset[i]``, which gives a sample: an array, a number, or a tuple
of them, such as (x, y). Samples are stacked into batches. Where ``dataset.batched`` is true,
``dataset[index]`` takes an array of row numbers instead and gives their arrays: one call fetches a
whole batch, and no Python runs per sample.

A dataset or a transform with ``random = False`` promises not to use random numbers: for others the
loader prepares a generator per batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl import check
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

    batched = True
    random = False  # its rows are always the same

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
    """The rows `index` of another dataset, fetched on demand: ``subset[i]`` is ``dataset[index[i]]``.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__``.
        index: row numbers, in any order; their number is the length of the subset.

    Raises:
        TypeError: `index` is not a sequence of integers.
        IndexError: when a row is asked for that the subset or the dataset does not have.
    """

    def __init__(self, dataset: Any, index: Sequence[int] | np.ndarray) -> None:
        rows = check.array("Subset", "index", index)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise TypeError(
                f"Subset: index: expected row numbers, given {rows.dtype} of shape {rows.shape}"
            )
        self.dataset = dataset
        self.index = rows.astype(np.int64, copy=False)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any) -> Any:
        rows = self.index[index]
        return self.dataset[rows if isinstance(rows, np.ndarray) else int(rows)]


def as_dataset(data: Any, who: str) -> Any:
    """data itself if it is a dataset, such as a list of (x, y); an array, or several, as a TensorDataset."""
    if isinstance(data, list) and data and all(isinstance(item, tuple) for item in data):
        return data
    if isinstance(data, tuple | list):
        return TensorDataset(*data)
    if isinstance(data, np.ndarray) or hasattr(data, "__array__"):
        return TensorDataset(data)
    indexable = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if indexable and not isinstance(data, Mapping | str | type):
        return data
    given = f"the class {data.__name__}" if isinstance(data, type) else type(data).__name__
    raise TypeError(
        f"{who}: expected a dataset: arrays, a list of (x, y), or an object with __len__ and "
        f"__getitem__; given {given}"
    )


def may_draw(thing: Any) -> bool:
    """Whether a dataset or a transform may use random numbers: yes, unless it says ``random = False``."""
    while isinstance(thing, Subset):
        thing = thing.dataset
    return not isinstance(thing, list) and bool(getattr(thing, "random", True))


# ── Batches ───────────────────────────────────────────────────────────────────────────────────────


def batch_of(dataset: Any, index: np.ndarray) -> Batch:
    """The arrays of the rows `index`, in this order."""
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, dataset.index[index]
    if getattr(dataset, "batched", False):
        return as_tuple(dataset[index])
    rows = index.tolist()
    samples = [_sample(dataset, row) for row in rows]
    for row, sample in zip(rows, samples, strict=True):
        if len(sample) != len(samples[0]):
            raise ValueError(
                f"DataLoader: {_name(dataset, rows[0])} has {len(samples[0])} parts, "
                f"{_name(dataset, row)} has {len(sample)}: they cannot be one batch"
            )
    return tuple(_stack(dataset, rows, part) for part in zip(*samples, strict=True))


def as_tuple(parts: Any) -> tuple:
    """The parts of a batch, or of a sample: one that is not a tuple or list is its only part."""
    return tuple(parts) if isinstance(parts, tuple | list) else (parts,)


def _sample(dataset: Any, row: int) -> tuple[np.ndarray, ...]:
    try:
        return tuple(_array(part) for part in as_tuple(dataset[row]))
    except Exception as error:
        error.add_note(f"DataLoader: raised by {_name(dataset, row)} of {type(dataset).__name__}")
        raise


def _array(part: Any) -> np.ndarray:
    """A part of a sample as an array. Python's floats become float32, as in `md.Tensor`."""
    array = check.array("DataLoader: a sample", "its part", part)
    if array.dtype == object:
        raise TypeError(
            "DataLoader: a sample must be an array, a number, or a tuple of them, given "
            f"{type(part).__name__}"
        )
    if array.dtype == np.float64 and not hasattr(part, "__array__"):
        return array.astype(np.float32)
    return array


def _stack(dataset: Any, rows: Sequence[int], arrays: Sequence[np.ndarray]) -> np.ndarray:
    for row, array in zip(rows, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"DataLoader: {_name(dataset, rows[0])} has shape {arrays[0].shape}, "
                f"{_name(dataset, row)} {array.shape}: they cannot be one batch. Let the dataset make "
                "all of one shape (images: ImageFolder(root, size=...), or a transform that resizes)"
            )
    return np.stack(arrays)


def _name(dataset: Any, row: int) -> str:
    """What errors call a sample: what the dataset's `describe` says, such as the path of its file."""
    describe = getattr(dataset, "describe", None)
    return f"sample {row}" if describe is None else str(describe(row))


# ── Parts ─────────────────────────────────────────────────────────────────────────────────────────


def split(
    dataset: Any,
    parts: Sequence[float] | Sequence[int],
    rng: np.random.Generator | int | None = None,
    shuffle: bool = True,
) -> tuple[Any, ...]:
    """Cuts a dataset into disjoint parts that cover it, such as training and validation.

    Args:
        dataset: an array, a tuple of arrays, or a dataset as `DataLoader` takes it. The parts are
            of the same kind; those of a dataset of your own are of the class `Subset`.
        parts: fractions with the sum 1, or numbers of rows with the sum ``len(dataset)``.
        rng: a numpy Generator or an int seed; None takes the library's generator.
        shuffle: False keeps the order: the first part has the first rows.

    Raises:
        ValueError: parts that are negative or have another sum; a fraction above 0 that is rounded to
            no rows.

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
    if isinstance(source, list):
        return tuple([source[i] for i in index] for index in indices)
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
