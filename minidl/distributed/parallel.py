"""DataParallel: a step whose batch is divided into shards, and these among ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.engine import walk
from minidl.autograd.tensor import Tensor, wrap
from minidl.data.loader import DataLoader
from minidl.data.shards import Shards, cut
from minidl.distributed.faults import RankError, said
from minidl.distributed.flat import Flat
from minidl.distributed.messages import Gathering
from minidl.distributed.ranks import check_levels, named, world
from minidl.distributed.states import Buffers, Draws, own_generators
from minidl.distributed.together import compute_together, keeping, synchronised
from minidl.distributed.tree import own_shards
from minidl.nn import Module
from minidl.random import generator
from minidl.replay.watch import outside_of_steps

Put = Callable[[int, np.ndarray], None]
# What ranks must agree in, before the first step: what their messages depend on, and the data;
FORM = (
    "in the arguments of DataParallel",
    "in {} data: other samples in the DataLoader",
    "in the shapes or dtypes of {} model",
)
# and in each step. The last two are compared now and then.
NAMES = (
    "in {} step number",
    "in the size of its batch",
    "in {} random numbers",
    "in {} batch: another order of the samples, or other samples",
    "in {} parameters",
)


class Report(NamedTuple):
    """What a rank tells the others in each step, besides its gradients."""

    agreed: tuple  # must be the same on all ranks: as in NAMES
    values: dict[int, Any]  # of each shard, what its function returned
    present: list[bool]  # whether each parameter has a gradient
    taken: list[np.ndarray] | None  # buffers that are not averaged, of the first shard
    note: Any  # of the caller


@dataclass
class Work:
    """A step of this rank: what is to be done (see `DataParallel.run`), and what a `Report` will say of it."""

    fn: Callable[..., Any]
    weighted: bool
    batch: Shards
    share: float
    draws: Draws
    present: list[bool]
    values: dict[int, Any] = field(default_factory=dict)
    taken: list[np.ndarray] | None = None


class DataParallel:
    """Trains with batches that are divided into shards: on many ranks, or one after another on one, with the same bits.

    Each of a step's shards has its own slice of the batch, its own random numbers and its own BatchNorm statistics.
    Their gradients, weighted by samples, are added in a fixed binary tree, so that the parameters do not depend on the
    number of ranks. On every rank build the same model, with the same seed; every rank steps its own copy.

    Args:
        model: the model, or a list of them: all whose running statistics a step changes.
        optimizer: whose parameters the gradients are for. A GAN has two optimizers, and a `DataParallel` for each:
            ``DataParallel([G, D], D_optimizer)``.
        shards: how many; at most so many ranks can take part. Another number of shards gives other bits.
        reproducible: False adds gradients with MPI's allreduce, which is faster, but not reproducible: the bits depend
            on the number of ranks.
        check_every: the parameters of all ranks are compared at the first step, and once in so many steps.
        bucket_mb: gradients are summed in portions of so many MiB, while backward goes on. The bits are the same for
            any number.
        sync_batch_norm: True normalises with the statistics of the whole batch instead of each shard's: for shards of
            few samples. Slower: all shards wait for each other at each BatchNorm, forward and backward.

    Attributes:
        world: the ranks. own: the shards of this one, a range.

    Raises:
        ValueError: more ranks than shards; parameters whose shape is inferred from the first batch.

    Source: Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017 (the mean over the whole
    batch, BatchNorm's statistics for each part).

    >>> import minidl as md
    >>> from minidl import functional as F, nn, optim
    >>> md.manual_seed(0)
    >>> model = nn.Affine(2, 2)
    >>> parallel = DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=2)
    >>> x, target = np.eye(4, 2, dtype="float32"), np.array([0, 1, 0, 1])
    >>> first = parallel.step(lambda x, target: F.cross_entropy(model(x), target), x, target)
    >>> parallel.step(lambda x, target: F.cross_entropy(model(x), target), x, target) < first
    True
    """

    def __init__(
        self,
        model: Module | Sequence[Module],
        optimizer: Any,
        shards: int = 8,
        reproducible: bool = True,
        check_every: int = 100,
        bucket_mb: float = 1.0,
        sync_batch_norm: bool = False,
    ) -> None:
        who = "DataParallel"
        self.models = (
            [model] if isinstance(model, Module) else check.items(who, "model", model, "Modules")
        )
        if not self.models:
            raise ValueError(f"{who}: model: expected at least one Module, got {model!r}")
        for part in self.models:
            if not isinstance(part, Module):
                raise TypeError(f"{who}: model: expected an nn.Module, got {type(part).__name__}")
        if not hasattr(optimizer, "groups"):
            raise TypeError(
                f"{who}: optimizer: expected one of minidl.optim, got {type(optimizer).__name__}"
            )
        self.optimizer, self.world = optimizer, world()
        self.shards = check.integer(who, "shards", shards, 1)
        if self.world.size > self.shards:
            raise ValueError(
                f"{who}: {self.world.size} ranks for {self.shards} shards: each rank needs one"
            )
        self.own = own_shards(self.shards, self.world.size, self.world.rank)
        self.check_every = check.integer(who, "check_every", check_every, 1)
        self.parameters = [p for group in optimizer.groups for p in group["params"]]
        for i, p in enumerate(self.parameters):
            if getattr(p, "waits_for_shape", False):
                raise ValueError(
                    f"{who}: parameter {i} ({p.name}): its shape is not known yet; call the model once before"
                )
        self.modules = list({id(m): m for part in self.models for m in part.modules()}.values())
        self.buffers = Buffers(self.models)
        reproducible = check.flag(who, "reproducible", reproducible)
        size = int(check.number(who, "bucket_mb", bucket_mb, 0.0) * 2**20)
        like = [self.buffers.arrays[i] for i in self.buffers.averaged]
        like += [p._data for p in reversed(self.parameters)]  # (as backward comes to them)
        self.numbers = {id(p): i for i, p in enumerate(self.parameters)}
        self.places = {key: len(like) - 1 - i for key, i in self.numbers.items()}
        self.flat = Flat(self.world, self.shards, like, reproducible, size)
        self.sync_batch_norm = check.flag(who, "sync_batch_norm", sync_batch_norm)
        # Ranks that differ in one of these would wait for messages that nobody sends.
        options = self.shards, reproducible, self.check_every, size, self.sync_batch_norm
        self.form = options, tuple((array.shape, array.dtype.str) for array in like)
        self.steps = 0

    # ── Steps ─────────────────────────────────────────────────────────────────────────────────────

    def step(self, fn: Callable[..., Any], *batch: Any) -> Any:
        """`gradients`, and a step of the optimizer."""
        means = self.gradients(fn, *batch)
        self.optimizer.step()
        return means

    def gradients(self, fn: Callable[..., Any], *batch: Any) -> Any:
        """Computes the gradients of the mean loss over the batch: they replace those that the parameters have.

        Args:
            fn: called as ``fn(*slices)`` for each shard; returns the mean loss of its samples, or a tuple of it and
                other numbers. What it draws must come from minidl, without `rng`: those numbers are the shard's.
            batch: arrays whose first axis counts the samples: the whole batch, on every rank. Or one thing that
                `batches` gives.

        Returns:
            The mean over the batch of what fn returned: a float, or a tuple of them.
        """
        numbers, _ = self.run(lambda *slices: _numbers(fn(*slices)), self.cut(batch))
        means = [sum(share * n[k] for share, n in numbers) for k in range(len(numbers[0][1]))]
        return tuple(means) if len(means) > 1 else means[0]

    def cut(self, batch: tuple[Any, ...]) -> Shards:
        """The shards of this rank of a whole batch."""
        if len(batch) == 1 and isinstance(batch[0], Shards):
            return batch[0]
        return self._cut(batch)

    def batches(self, loader: Iterable[Any]) -> Iterator[Shards]:
        """The batches of a loader, for `step`. Of a `minidl.data.DataLoader` each rank makes its own slices alone."""
        if isinstance(loader, DataLoader):
            self.begin(loader.sample_key)
            yield from loader.shards(self.shards, self.own)
        else:
            self.begin()
            for batch in loader:
                yield self._cut(batch if isinstance(batch, tuple | list) else (batch,))

    def _cut(self, arrays: Sequence[Any]) -> Shards:
        return cut(tuple(arrays), self.shards, self.own, self._compares())

    def run(
        self,
        fn: Callable[..., tuple[Any, Any]],
        batch: Shards,
        share: float = 1.0,
        weighted: bool = False,
        add: bool = False,
        check: Callable[[list], Any] = list,
        note: Any = None,
    ) -> tuple[list[tuple[float, Any]], list[Any]]:
        """The gradients of the batch: fn returns the loss of a shard, and a value that pickle can write.

        Args:
            share: what the loss is multiplied by.
            weighted: fn is called as ``fn(weight, *slices)``, and returns in place of the loss its gradients for all
                `parameters`, a list of Tensors or None, times the weight.
            add: the gradients are added to those that are there.
            check: called with what is returned; what it raises leaves gradients and buffers as they were.
            note: for the other ranks.

        Returns:
            For each shard that is not empty its share of the batch, and the value; and the notes of all ranks.
        """
        outside_of_steps("DataParallel")
        self.world.together("DataParallel")
        self.begin()
        if not batch.samples:
            raise ValueError("DataParallel: a batch without samples")
        hashed = (batch.key, self.digest()) if self._compares() else ("", "")
        work = Work(fn, weighted, batch, share, Draws(self.models), [False] * len(self.parameters))
        self.flat.begin()
        self.buffers.keep()
        try:
            self._own_shards(work)
        except BaseException as error:
            self.world.faults.tell(said(error))
            if self.world.size > 1:
                self.world.unfinished += self.flat.sums
            raise
        finally:
            self.buffers.restore()
        draws = (work.draws.key, *work.draws.keys)
        agreed = (self.steps, batch.samples, draws, *hashed)
        reports = self._exchange(Report(agreed, work.values, work.present, work.taken, note))
        self._agree([its.agreed for its in reports])
        every = {shard: value for its in reports for shard, value in its.values.items()}
        results = [(batch.share(shard), every[shard]) for shard in sorted(every)]
        check(results)
        self._take(reports, add)
        self.steps += 1
        return results, [its.note for its in reports]

    def _own_shards(self, work: Work) -> None:
        """Forward and backward of this rank's shards."""
        parts = work.batch.parts
        if not self.sync_batch_norm:
            for shard in self.own:
                if shard in parts:
                    self._shard(work, shard, self.flat.put)
                self.flat.end_shard()
            return
        waiting: dict[int, list[tuple]] = {shard: [] for shard in parts}
        works = {shard: partial(self._shard, work, shard, _into(waiting[shard])) for shard in parts}
        with synchronised(self.models):
            keep = keeping(self.buffers, work.draws)
            compute_together(self.world, self.shards, works, keep)
        for shard in self.own:
            for i, array in waiting.get(shard, ()):
                self.flat.put(i, array)
            self.flat.end_shard()

    def _shard(self, work: Work, shard: int, put: Put) -> None:
        """One of them: gradients, and what was added to the buffers, are put into the flat arrays."""
        weight = work.batch.share(shard)

        def arrived(p: Tensor, g: Tensor | None) -> None:
            if g is not None:
                put(self.places[id(p)], g._data)
                work.present[self.numbers[id(p)]] = True

        with work.draws.of(shard):
            if work.weighted:
                grads, value = work.fn(weight * work.share, *work.batch.parts[shard])
            else:
                loss, value = work.fn(*work.batch.parts[shard])
            for i, change in enumerate(self.buffers.changes(weight)):
                put(i, change)
            if work.weighted:
                for p, g in zip(self.parameters, grads, strict=True):
                    arrived(p, g)
            else:
                self._backward(loss, weight * work.share, arrived)
        work.values[shard] = value
        if work.taken is None and shard == work.batch.first:
            work.taken = self.buffers.values()
        self.buffers.restore()

    def _backward(self, loss: Tensor, share: float, arrived: Callable) -> None:
        """Calls ``arrived(p, g)`` with the gradient of share * loss for each parameter, as soon as it is there."""
        wanted = {p for p in self.parameters if p.requires_grad}
        seed = Tensor(np.full(loss.shape, share, loss.dtype))
        walk([loss], [seed], wanted, False, False, arrived)

    def _exchange(self, report: Report) -> list[Report]:
        """Waits for the sums, and the reports of all ranks."""
        if self.world.size == 1:
            self.world.complete(self.flat.sums)
            return [report]
        gathering = Gathering(self.world, report)
        self.world.complete([gathering, *self.flat.sums])  # (the first one knows who is missing)
        return gathering.values

    def _take(self, reports: list[Report], add: bool) -> None:
        """The sums become the gradients and buffers."""
        sums = self.flat.results()
        taken = next(its.taken for its in reports if its.taken is not None)
        self.buffers.restore(sums[: len(self.buffers.averaged)], taken)
        for i, p in enumerate(self.parameters):
            if any(its.present[i] for its in reports):
                g = sums[self.places[id(p)]]
                p.grad = wrap(g + p.grad._data if add and p.grad is not None else g)
            elif not add:
                p.grad = None

    def merged(self, measured: dict, sizes: Sequence[int]) -> dict:
        """What all ranks have measured of their shards of some batches of these sizes."""
        every = self.world.gather((measured, tuple(sizes)))
        self._agree([(its,) for _, its in every], ("in the batches of {} validation data",))
        return {key: value for its, _ in every for key, value in its.items()}

    # ── Agreement ─────────────────────────────────────────────────────────────────────────────────

    def begin(self, data_key: Callable[[], Any] | None = None) -> None:
        """Before the first step: compares what the messages depend on, and what is told of the data; all ranks draw as
        rank 0 does from now on.
        """
        if self.steps == 0 and self.world.size > 1:
            generators = [generator(), *own_generators(self.models)]
            options, shapes = self.form
            key = None if data_key is None else data_key()
            form = options, key, (*shapes, len(generators))
            every = self.world.gather((K.active, form))
            check_levels([level for level, _ in every])
            self._agree([form for _, form in every], FORM)
            states = self.world.from_main([rng.bit_generator.state for rng in generators])
            for rng, state in zip(generators, states, strict=True):
                rng.bit_generator.state = state

    def _compares(self) -> bool:
        """Whether batches and parameters are compared in this step."""
        return self.world.size > 1 and self.steps % self.check_every == 0

    def check(self) -> None:
        """Compares the parameters and buffers of all ranks.

        Raises:
            RankError: they differ; names the ranks.
        """
        self._agree([(digest,) for digest in self.world.gather(self.digest())], NAMES[-1:])

    def digest(self) -> str:
        """A hash of all parameters and buffers."""
        import hashlib  # slow to import, and not needed by one rank

        found = hashlib.blake2b(digest_size=16)
        for model in self.models:
            for _, value in model._all():
                found.update(
                    np.ascontiguousarray(value._data if isinstance(value, Tensor) else value).data
                )
        return found.hexdigest()

    def _agree(self, agreed: list[tuple], names: Sequence[str] = NAMES) -> None:
        usual = Counter(agreed).most_common(1)[0][0]
        if agreed.count(usual) == agreed.count(agreed[0]):
            usual = agreed[0]
        others = [rank for rank, its in enumerate(agreed) if its != usual]
        if others:
            its = agreed[others[0]]
            what = next(name for name, a, b in zip(names, its, usual, strict=True) if a != b)
            verb, whose = ("differs", "its") if len(others) == 1 else ("differ", "their")
            raise RankError(
                f"{named(others)} {verb} from the others {what.format(whose)}. Every rank must build the same model "
                "(md.manual_seed with one seed before it), have the same data, take the same steps, and change the "
                "model in the same way",
                others,
            )


def _numbers(result: Any) -> tuple[Tensor, tuple[float, ...]]:
    parts = result if isinstance(result, tuple | list) else (result,)
    if not parts or not isinstance(parts[0], Tensor) or parts[0].size != 1:
        raise TypeError(
            "DataParallel: the function must return the loss, a Tensor of one element, first"
        )
    return parts[0], tuple(float(part) for part in parts)


def _into(waiting: list[tuple]) -> Put:
    """Keeps a copy of what is put."""
    return lambda i, array: waiting.append((i, np.array(array)))
