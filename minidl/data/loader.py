"""The loader that cuts a dataset into batches, in some order, perhaps ahead of time in threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import call
from typing import Any

import numpy as np

from minidl import check
from minidl.atomic import at_once, starmap
from minidl.data.samplers import as_sampler, row_numbers
from minidl.data.shards import Shards, checksum, edges_of
from minidl.data.sources import (
    Batch,
    Subset,
    TensorDataset,
    as_dataset,
    as_tuple,
    batch_of,
    may_draw,
)
from minidl.random import drawing_from, generator


class DataLoader:
    """Batches of a dataset, as tuples of ndarrays; each ``for`` over it is one epoch.

    The same `rng` gives the same batches, whatever is random in them and whether or not they are
    prefetched: the order is drawn once per epoch, and dataset and transform draw from a generator that
    belongs to their batch (`minidl.data.transforms` do, and all functions of minidl called without `rng`).

    Args:
        dataset: an array, a tuple of arrays or a `TensorDataset`; or samples to be stacked: a list of
            (x, y), or any object with ``__len__`` and ``__getitem__``, called with an int. A class
            with ``batched = True`` is called with an array of row numbers, once per batch. Batches are
            copies: changing one in place leaves the dataset as it is.
        batch_size: samples per batch; the last one may be smaller.
        shuffle: a new random order every epoch.
        drop_last: leaves out the last batch if it is smaller.
        rng: a numpy Generator or an int seed; None takes the library's generator
            (`minidl.manual_seed`).
        transform: called once per batch as ``transform(*arrays)``; returns an array or a tuple of
            arrays. See `minidl.data.transforms`.
        prefetch: how many batches are made ahead, in as many threads, while the caller works on one.
            Dataset and transform are then called from several threads at once (with 1: from one
            other thread). It helps where they release Python's lock: reading files, decoding and
            resizing images, NumPy on large arrays.
        sampler: which rows an epoch has and in which order, in place of `shuffle`: row numbers, a
            `WeightedSampler`, or an object with ``__len__`` and ``order(rng)``, which gives row
            numbers.

    Raises:
        TypeError, ValueError: an argument of another type, or a batch_size below 1; while batches are
            made, samples of different shapes. What a dataset or a transform raises, also in another
            thread, reaches the caller as it is.

    >>> loader = DataLoader((np.arange(5.0), np.arange(5)), batch_size=2)
    >>> [y.tolist() for x, y in loader]
    [[0, 1], [2, 3], [4]]
    >>> pairs = [(np.zeros(3), 7), (np.ones(3), 8)]
    >>> [(x.shape, y.tolist()) for x, y in DataLoader(pairs, batch_size=2, sampler=[1, 0, 1])]
    [((2, 3), [8, 7]), ((1, 3), [8])]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        rng: np.random.Generator | int | None = None,
        transform: Callable[..., Any] | None = None,
        prefetch: int = 0,
        sampler: Any = None,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
            raise TypeError(f"DataLoader: batch_size must be an int, given {batch_size!r}")
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, given {batch_size}")
        self.dataset = as_dataset(dataset, "DataLoader")
        self.batch_size = int(batch_size)
        self.shuffle = check.flag("DataLoader", "shuffle", shuffle)
        self.drop_last = check.flag("DataLoader", "drop_last", drop_last)
        self.transform = (
            None if transform is None else check.function("DataLoader", "transform", transform)
        )
        self.prefetch = check.integer("DataLoader", "prefetch", prefetch, least=0)
        self.sampler = None if sampler is None else as_sampler(sampler, len(self.dataset))
        if self.shuffle and sampler is not None:
            raise ValueError(
                "DataLoader: shuffle=True and a sampler: both set the order; leave one of them out"
            )
        # The library's generator is looked up at each epoch: manual_seed may come after the loader.
        self._rng = None if rng is None else generator(rng, "DataLoader")
        self._epoch_seed: int | None = None  # None: no epoch is under way
        self._batches_done = 0
        self._resume = False

    def __len__(self) -> int:
        rounded = math.floor if self.drop_last else math.ceil
        return rounded(self._samples() / self.batch_size)

    def _samples(self) -> int:
        """The number of samples in an epoch."""
        return len(self.dataset if self.sampler is None else self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        return self._epoch(self._batch)

    def shards(self, count: int, own: Sequence[int]) -> Iterator[Shards]:
        """The same as iterating, with each batch cut into `count` parts, of which only those in `own` are made: for
        `minidl.distributed`. What is random in a part depends on its number, not on who makes it.
        """
        return self._epoch(partial(self._shards, count, own))

    def sample_key(self) -> tuple:
        """A checksum of some rows, to see whether two loaders have the same data; only their number, if the dataset is
        not one of arrays.
        """
        rows, whole = len(self.dataset), self.dataset
        while isinstance(whole, Subset):
            whole = whole.dataset
        if rows == 0 or not isinstance(whole, TensorDataset):
            return (rows, self.batch_size)
        some = batch_of(self.dataset, np.linspace(0, rows - 1, min(rows, 64)).astype(int))
        return (rows, self.batch_size, *((a.shape, checksum(a)) for a in some))

    def _epoch(self, make: Callable[..., Any]) -> Iterator[Any]:
        # One number drawn from the generator determines the whole epoch: that is all a checkpoint
        # has to remember, even if others draw from the same generator in between.
        if not self._resume or self._epoch_seed is None:
            rng = generator() if self._rng is None else self._rng
            self._epoch_seed = int(rng.integers(2**63)) if self._draws() else 0
            self._batches_done = 0
        self._resume = False
        order = self._order(self._epoch_seed)
        return self._batches(partial(make, order), self._epoch_seed, self._batches_done)

    def _draws(self) -> bool:
        """Whether an epoch depends on random numbers."""
        if self.shuffle or (self.sampler is not None and may_draw(self.sampler)):
            return True
        return self._batches_draw()

    def _batches_draw(self) -> bool:
        """Whether the content of a batch may depend on random numbers."""
        return may_draw(self.dataset) or (self.transform is not None and may_draw(self.transform))

    def _order(self, seed: int) -> np.ndarray:
        """The row numbers of an epoch."""
        rows = len(self.dataset)
        if self.sampler is not None:
            order = row_numbers(self.sampler.order(np.random.default_rng(seed)), rows)
            if len(order) != len(self.sampler):
                raise ValueError(
                    f"DataLoader: sampler: order(rng) gave {len(order)} rows, its length is {len(self.sampler)}"
                )
            return order
        return np.random.default_rng(seed).permutation(rows) if self.shuffle else np.arange(rows)

    def _batches(self, make: Callable[..., Any], seed: int, first: int) -> Iterator[Any]:
        make = partial(make, seed if self._batches_draw() else None)
        numbers = range(first, len(self))
        batches = _ahead(make, numbers, self.prefetch) if self.prefetch else map(make, numbers)
        for self._batches_done, batch in enumerate(batches, first + 1):
            yield batch
        self._epoch_seed = None

    def _batch(self, order: np.ndarray, seed: int | None, number: int) -> Batch:
        """The batch with this number, of an epoch with this order."""
        return self._drawn(self._rows(order, number), seed, (number,))

    def _shards(
        self, count: int, own: Sequence[int], order: np.ndarray, seed: int | None, number: int
    ) -> Shards:
        """Parts of this batch."""
        rows = self._rows(order, number)
        edges = edges_of(len(rows), count)
        parts = {
            shard: self._drawn(rows[edges[shard] : edges[shard + 1]], seed, (number, shard))
            for shard in own
            if edges[shard] < edges[shard + 1]
        }
        return Shards(edges, parts, (self._epoch_seed, number))

    def _rows(self, order: np.ndarray, number: int) -> np.ndarray:
        return order[number * self.batch_size : (number + 1) * self.batch_size]

    def _drawn(self, rows: np.ndarray, seed: int | None, key: tuple[int, ...]) -> Batch:
        """These rows. With a seed, they have a generator of their own: what it draws does not depend on which are made
        before.
        """
        if seed is None:
            return self._made(rows)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
        with drawing_from(rng):
            return self._made(rows)

    def _made(self, rows: np.ndarray) -> Batch:
        batch = batch_of(self.dataset, rows)
        return batch if self.transform is None else as_tuple(self.transform(*batch))

    def state_dict(self) -> dict[str, Any]:
        """The loader's position, mid-epoch too; `minidl.save` can write it.

        A loader of the same dataset that loads it continues with the batches that this one would give
        next: batches that were prefetched, but not returned yet, are made again. (The library's
        generator is not the loader's: without ``rng``, later epochs depend on it too.)
        """
        return {
            "rows": len(self.dataset),
            "samples": self._samples(),
            "batch_size": self.batch_size,
            "epoch_seed": self._epoch_seed,
            "batches_done": self._batches_done,
            "rng": None if self._rng is None else self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`: the next ``for`` gives the rest of that epoch, or, if its last batch
        was given, the next epoch. See `state_dict`.

        Raises:
            ValueError: the state of a loader with another number of rows or samples, or another batch
                size; a name is missing. Nothing has changed.
        """
        names = ("rows", "batch_size", "epoch_seed", "batches_done", "rng")
        check.state("DataLoader.load_state_dict", state, *names)
        state = {
            "samples": state["rows"],
            **state,
        }  # (older states lack it: there were no samplers)
        for name, own in (
            ("rows", len(self.dataset)),
            ("samples", self._samples()),
            ("batch_size", self.batch_size),
        ):
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
        more = f", prefetch={self.prefetch}" if self.prefetch else ""
        more += f", sampler={self.sampler!r}" if self.sampler is not None else ""
        return (
            f"DataLoader({_short(self.dataset)}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"drop_last={self.drop_last}{more})"
        )


def _short(dataset: Any) -> str:
    return f"{len(dataset)} samples" if isinstance(dataset, list) else repr(dataset)


def _ahead(make: Callable[[int], Any], numbers: Iterable[int], prefetch: int) -> Iterator[Any]:
    """make(number) for each number, in order; up to `prefetch` of them ahead, each in a thread."""
    from concurrent.futures import Future, ThreadPoolExecutor  # slow to import: it brings logging

    threads = ThreadPoolExecutor(prefetch, "minidl-prefetch")
    waiting: deque[Future[Any]] = deque()
    try:
        for number in numbers:
            waiting.append(threads.submit(make, number))
            if len(waiting) > prefetch:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also where the loop was left early, or a batch raised: what is being made is finished first.
        threads.shutdown(cancel_futures=True)
