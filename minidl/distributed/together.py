"""Shards that meet while they are computed: BatchNorm over the whole batch, `DataParallel(..., sync_batch_norm=True)`.

Where a layer needs the sum of something over all shards, each shard must come to this layer before any can go on. A
rank's shards therefore run in a thread each, but by turns: one goes on until it meets, then the next, in their order.
When all have met, on all ranks, each is given the sum. So no two of them run at once, and the result does not depend on
timing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import Semaphore, Thread
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import functional as F
from minidl import ops
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, as_tensor, wrap
from minidl.distributed.ranks import World
from minidl.distributed.states import Buffers, Draws
from minidl.distributed.tree import additions, leaves
from minidl.nn import BatchNorm, Module
from minidl.ops.args import check_channels

_turn: ContextVar[Turn | None] = ContextVar("minidl.distributed.turn", default=None)


class GivenUp(BaseException):
    """Ends the thread of a shard, as another has raised an exception."""


class Turn:
    """A shard that is computed by turns."""

    def __init__(self, work: Callable[[], Any], keep: Callable[[], Callable[[], None]]) -> None:
        self.work, self.keep = work, keep
        self.mine, self.others = Semaphore(0), Semaphore(0)  # whose turn it is
        self.value: Any = None  # what it brings to the meeting; in return, the sum
        self.place = ""  # the sum that it has come to
        self.result: Any = None
        self.error: BaseException | None = None
        self.given_up = self.done = False
        self.thread = Thread(target=copy_context().run, args=(self._run,), daemon=True)
        self.thread.start()

    def _run(self) -> None:
        _turn.set(self)
        self.mine.acquire()
        try:
            if not self.given_up:
                self.result = self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self.others.release()

    def go_on(self, total: Any = None) -> None:
        """The shard's turn, until it meets the others again, or is done; what it raises is raised here."""
        self.value = total
        self.mine.release()
        self.others.acquire()
        if self.error is not None:
            raise self.error

    def meet(self, place: str, value: np.ndarray) -> np.ndarray:
        """In the shard's thread: waits until all have met; returns the sum of their values."""
        self.place, self.value, back = place, value, self.keep()
        self.others.release()
        self.mine.acquire()
        if self.given_up:
            raise GivenUp
        back()
        return self.value

    def give_up(self) -> None:
        """Ends the thread."""
        self.given_up = True
        self.mine.release()
        self.thread.join()


def compute_together(
    world: World,
    shards: int,
    works: Mapping[int, Callable[[], Any]],
    keep: Callable[[], Callable[[], None]],
) -> dict[int, Any]:
    """The result of each work, by the number of its shard.

    Args:
        keep: remembers what belongs to the shard whose turn ends; returns the function that brings it back.

    Raises:
        RuntimeError: the shards have come to different sums, or some to none.
    """
    turns = {shard: Turn(work, keep) for shard, work in works.items()}
    totals: dict[int, np.ndarray | None] = dict.fromkeys(turns)
    try:
        while True:
            for shard, turn in turns.items():
                if not turn.done:
                    turn.go_on(totals[shard])
            places = {shard: "" if turn.done else turn.place for shard, turn in turns.items()}
            met = {shard: turn.value for shard, turn in turns.items() if not turn.done}
            reports = world.gather((places, met))
            _same_place({k: v for its, _ in reports for k, v in its.items()})
            everywhere = {k: v for _, its in reports for k, v in its.items()}
            if not everywhere:
                return {shard: turn.result for shard, turn in turns.items()}
            total = _total(shards, everywhere)
            totals = {shard: total.copy() for shard in turns}
    finally:
        for turn in turns.values():
            if not turn.done:
                turn.give_up()


def _same_place(places: dict[int, str]) -> None:
    """A sum that one shard leaves out would be wrong for all, and so would its gradient."""
    if len(set(places.values())) > 1:
        found = ", ".join(f"shard {k}: {places[k] or 'the end'}" for k in sorted(places))
        raise RuntimeError(
            "DataParallel: sync_batch_norm: every shard must use the same BatchNorm layers in the same order, and its "
            f"loss must depend on them; they came to {found}"
        )


def _total(shards: int, values: dict[int, np.ndarray]) -> np.ndarray:
    """The sum in the order of the tree; a shard without samples has nothing."""
    nothing = np.zeros_like(next(iter(values.values())))
    stack: list[np.ndarray] = []
    for shard, count in enumerate(additions(shards, leaves(range(shards)))[0]):
        stack.append(values.get(shard, nothing))
        for _ in range(count):
            top = stack.pop()
            stack[-1] = stack[-1] + top
    return stack[0]


def keeping(buffers: Buffers, draws: Draws) -> Callable[[], Callable[[], None]]:
    """For `compute_together`: each shard has its own buffers, and its own state of the layers' generators."""

    def keep() -> Callable[[], None]:
        arrays = [getattr(*place).copy() for place in buffers.places]
        states = [rng.bit_generator.state for rng in draws.generators]
        buffers.restore()

        def back() -> None:
            for place, array in zip(buffers.places, arrays, strict=True):
                getattr(*place)[...] = array
            for rng, state in zip(draws.generators, states, strict=True):
                rng.bit_generator.state = state

        return back

    return keep


# ── BatchNorm ─────────────────────────────────────────────────────────────────────────────────────


class ShardSum(Op):
    """y = the sum of x over all shards. Each shard's loss depends on y, so the gradient is again a sum over all."""

    saves = ()

    def __init__(self, place: str) -> None:
        self.place = place  # for errors, where shards come to different ones

    def forward(self, x: np.ndarray) -> np.ndarray:
        turn = _turn.get()
        return x.copy() if turn is None else turn.meet(self.place, x)

    def backward(self, gy: Tensor) -> Tensor:
        return ShardSum(f"gradient of {self.place}")(gy)


class Synchronised:
    """Stands in for a BatchNorm's forward: its mean and variance are those of the whole batch."""

    def __init__(self, layer: BatchNorm, number: int) -> None:
        self.layer, self.number = layer, number

    def __call__(self, x: Any, activation: Any = None) -> Tensor:
        layer = self.layer
        if not layer.training and layer.track_running_stats:
            return BatchNorm.forward(layer, x, activation)
        x, who = as_tensor(x), f"BatchNorm({layer.num_features})"
        if not 2 <= x.ndim <= 5:
            raise ValueError(
                f"{who}: expected x (N, C) with up to 3 more axes, got shape {x.shape}"
            )
        check_channels(who, x, layer.num_features)
        axes = (0, *range(2, x.ndim))
        each = (1, -1, *(1,) * (x.ndim - 2))  # one number a channel, against x
        own = x.size // max(x.shape[1], 1)
        sums = ShardSum(f"mean of BatchNorm {self.number}")(
            ops.concatenate([ops.sum(x, axes), wrap(np.array([own], x.dtype))])
        )
        n = round(sums._data[-1].item())
        if n == 1:
            raise ValueError(
                f"{who}: training needs more than one value per channel, got x of shape {x.shape} as the whole batch"
            )
        mean = sums[:-1] / n
        d = x - mean.reshape(each)
        var = ShardSum(f"variance of BatchNorm {self.number}")(ops.sum(d * d, axes)) / n
        y = d * ((var + layer.eps) ** -0.5).reshape(each)
        if layer.weight is not None:
            y = y * layer.weight.reshape(each)
        if layer.bias is not None:
            y = y + layer.bias.reshape(each)
        if layer.track_running_stats:
            statistics = [value._data.astype(np.float64) for value in (mean, var)]
            running = layer.running_mean, layer.running_var, layer.num_batches_tracked
            K.batch_norm_track(*running, *statistics, n, layer.momentum)
        activation = activation or layer.activation
        name, *parameters = (
            (activation,) if isinstance(activation, str) else activation or ("identity",)
        )
        return getattr(F, name)(y, *parameters)


@contextmanager
def synchronised(models: Sequence[Module]) -> Iterator[None]:
    """Inside, all BatchNorm layers look at the whole batch."""
    layers = [m for model in models for m in model.modules() if isinstance(m, BatchNorm)]
    for number, layer in enumerate(layers):
        vars(layer)["forward"] = Synchronised(layer, number)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
