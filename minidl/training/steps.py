"""What `fit` does with a batch: its gradients, alone, in a captured step, or divided among ranks; and the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minidl.autograd.engine import grad
from minidl.autograd.modes import no_grad
from minidl.autograd.tensor import Tensor
from minidl.data.shards import Shards
from minidl.distributed import DataParallel
from minidl.nn import Module
from minidl.replay.capture import capture
from minidl.training.metrics import Means
from minidl.training.state import Training


class Steps:
    """Forward and loss, then backward. Several batches may give gradients to one step of the optimizer."""

    def __init__(self, model: Module, optimizer: Any = None, loss: Any = None) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss

    def batches(self, loader: Iterable[Any]) -> Iterable[Any]:
        """The batches of a loader, as `batch` takes them."""
        return loader

    def batch(self, training: Training, batch: Any, number: int, share: float) -> None:
        """The gradients of a batch, and what is measured of it.

        Args:
            number: of the batch in this step; the first one's gradients replace what is there.
            share: how many of the step's samples are in this batch.
        """
        x, target = pair(batch)
        y, loss = self.forward(x, target, number == 0, share)
        value = finite(number_of(loss), training, number)
        training.x, training.target, training.y, training.loss = x, target, y, value
        training.means.add(value, y, target)
        self.backward(loss, share)

    def forward(self, x: Any, target: Any, first: bool, share: float) -> tuple[Tensor, Tensor]:
        """The model's output, and the loss."""
        if first:
            self.optimizer.zero_grad()
        y = self.model(x)
        return y, self.loss(y, target)

    def backward(self, loss: Tensor, share: float) -> None:
        """The gradients of the batch, in proportion to its share."""
        (loss if share == 1 else loss * share).backward()

    def hear(self, training: Training) -> None:
        """Whether Ctrl-C was pressed outside of a step, on any rank."""

    def measure(
        self, means: Means, loader: Iterable[Any], loss: Any, stopping: Callable[[], bool]
    ) -> None:
        """Adds all batches of a loader to the means, without gradients."""
        with no_grad():
            for batch in loader:
                x, target = pair(batch)
                y = self.model(x)
                means.add(None if loss is None else number_of(loss(y, target)), y, target)
                if stopping():
                    break


class CapturedSteps(Steps):
    """The same in one captured step: the gradients are there after `forward`."""

    def __init__(self, model: Module, optimizer: Any, loss: Callable[..., Tensor]) -> None:
        super().__init__(model, optimizer, loss)
        plain = Steps(model, optimizer, loss)

        # Not a method: this object would refer to itself, and the records' memory would wait for the cycle collector.
        def gradients(x: Any, target: Any, first: bool, share: float) -> tuple[Tensor, Tensor]:
            y, of_batch = plain.forward(x, target, first, share)
            plain.backward(of_batch, share)
            return y, of_batch

        self.captured = capture(gradients)

    def forward(self, x: Any, target: Any, first: bool, share: float) -> tuple[Tensor, Tensor]:
        return self.captured(x, target, first, share)

    def backward(self, loss: Tensor, share: float) -> None:
        pass


class ParallelSteps(Steps):
    """The same for batches in shards, each of which has its own forward and backward, on some rank. What is measured
    is added in the order of shards, on every rank.
    """

    def __init__(
        self, model: Module, parallel: DataParallel, loss: Callable[..., Tensor], captured: bool
    ) -> None:
        super().__init__(model, parallel.optimizer, loss)
        self.parallel = parallel

        def gradients(weight: Tensor, x: Any, target: Any) -> tuple[Tensor, Tensor, dict]:
            y = model(x)
            of_shard = loss(y, target)
            wanted = [p for p in parallel.parameters if p.requires_grad]
            seed = weight.astype(of_shard.dtype).reshape(of_shard.shape)
            found = grad(of_shard, wanted, seed, allow_unused=True)
            pairs = zip(wanted, found, strict=True)
            return y, of_shard, {id(p): g for p, g in pairs if g is not None}

        self.captured = capture(gradients) if captured else None

    def batches(self, loader: Iterable[Any]) -> Iterable[Any]:
        return self.parallel.batches(loader)

    def batch(self, training: Training, batch: Shards, number: int, share: float) -> None:
        means = training.means

        def measured(x: Any, target: Any, y: Tensor, loss: Tensor) -> tuple:
            value = number_of(loss)
            training.x, training.target, training.y = x, target, y
            return value, len(target), means.totals_of(y, target)

        def of_shard(*parts: Any) -> tuple[Tensor, tuple]:
            x, target = pair(parts)
            y = self.model(x)
            loss = self.loss(y, target)
            return loss, measured(x, target, y, loss)

        def in_a_captured_step(weight: float, *parts: Any) -> tuple[list, tuple]:
            x, target = pair(parts)
            y, loss, found = self.captured(Tensor(np.array(weight)), x, target)  # type: ignore[misc]
            grads = [found.get(id(p)) for p in self.parallel.parameters]
            return grads, measured(x, target, y, loss)

        def check(shards: list) -> None:
            training.loss = finite(sum(part * its[0] for part, its in shards), training, number)

        shards, asked = self.parallel.run(
            of_shard if self.captured is None else in_a_captured_step,
            batch,
            share,
            weighted=self.captured is not None,
            add=number > 0,
            check=check,
            note=training.asked,
        )
        for _, totals in shards:
            means.add_totals(*totals)
        if any(asked):  # Ctrl-C on any rank: all stop after this step
            training.interrupted = training.stopping = True

    def hear(self, training: Training) -> None:
        if any(self.parallel.world.gather(training.asked)):
            training.interrupted = training.stopping = True

    def measure(
        self, means: Means, loader: Iterable[Any], loss: Any, stopping: Callable[[], bool]
    ) -> None:
        measured: dict[tuple[int, int], tuple] = {}
        sizes: list[int] = []
        with no_grad():
            for number, batch in enumerate(self.parallel.batches(loader)):
                sizes.append(batch.samples)
                for shard, parts in batch.parts.items():
                    x, target = pair(parts)
                    y = self.model(x)
                    value = None if loss is None else number_of(loss(y, target))
                    measured[number, shard] = value, len(target), means.totals_of(y, target)
                if stopping():  # (with several ranks it is true on all, or on none)
                    break
        everywhere = self.parallel.merged(measured, sizes)
        for key in sorted(everywhere):
            means.add_totals(*everywhere[key])


def steps_of(
    model: Module, optimizer: Any, parallel: DataParallel | None, loss: Any, captured: bool
) -> Steps:
    """How `fit` is to step."""
    if parallel is None:
        return (CapturedSteps if captured else Steps)(model, optimizer, loss)
    if captured and parallel.sync_batch_norm:
        raise ValueError(
            "fit: capture: shards that meet at each BatchNorm (sync_batch_norm=True) cannot be captured"
        )
    if not any(model is its for its in parallel.models):
        raise ValueError("fit: optimizer: it is a DataParallel of another model")
    return ParallelSteps(model, parallel, loss, captured)


def pair(batch: Any) -> tuple[Any, Any]:
    """(x, target) of a batch."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        given = f"{len(batch)} items" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ValueError(f"fit, evaluate: loader: expected batches (x, target), got {given}")
    return batch[0], batch[1]


def samples_in(batch: Any) -> int:
    """How many samples a batch has."""
    return batch.samples if isinstance(batch, Shards) else len(pair(batch)[1])


def number_of(loss: Any) -> float:
    """The loss as a number."""
    if not hasattr(loss, "item"):
        raise TypeError(f"fit, evaluate: loss: expected a Tensor, got {type(loss).__name__}")
    if loss.size != 1:
        raise ValueError(
            f"fit, evaluate: loss: expected one number for the batch, got shape {loss.shape} (reduction 'none'?)"
        )
    return loss.item()


def finite(value: float, training: Training, number: int) -> float:
    """The loss of a batch, if it is a number."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"fit: the loss is {value} in epoch {training.epoch}, batch "
            f"{training.batch + number + 1}; parameters and buffers are as the step "
            "before left them. Is the learning rate too high, or a NaN in the data?"
        )
    return value


def count_of_steps(optimizer: Any) -> tuple[Any, int]:
    """What `has_stepped` compares: the slot of a parameter that the next step changes, and its count of steps.

    The slot is None for an optimizer of another kind than minidl's: nobody knows whether it has stepped.
    """
    for group in getattr(optimizer, "groups", ()):
        for slot in getattr(group, "slots", ()):
            if slot.parameter.grad is not None:
                return slot, slot.step
    return None, 0


def has_stepped(before: tuple[Any, int]) -> bool:
    """Whether the optimizer has stepped since `count_of_steps`, or may have."""
    slot, count = before
    return slot is None or slot.step != count
