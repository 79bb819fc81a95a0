"""What `fit` does with a batch: its gradients, captured if it is asked to; and the step of the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.autograd.tensor import Tensor
from minidl.nn import Module
from minidl.replay.capture import capture


class Steps:
    """Forward and loss, then backward. Several batches may give gradients to one step of the optimizer."""

    def __init__(self, model: Module, optimizer: Any, loss: Callable[..., Tensor]) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss

    def forward(self, x: Any, target: Any, first: bool, share: float) -> tuple[Tensor, Tensor]:
        """The model's output, and the loss.

        Args:
            first: whether it is the step's first batch, whose gradients replace what is there.
            share: how many of the step's samples are in this batch.
        """
        if first:
            self.optimizer.zero_grad()
        y = self.model(x)
        return y, self.loss(y, target)

    def backward(self, loss: Tensor, share: float) -> None:
        """The gradients of the batch, in proportion to its share."""
        (loss if share == 1 else loss * share).backward()


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
