"""What `fit` does with a batch until its gradients are there; captured, if it is asked to."""

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
        self.captured = capture(self._gradients)

    def _gradients(self, x: Any, target: Any, first: bool, share: float) -> tuple[Tensor, Tensor]:
        y, loss = Steps.forward(self, x, target, first, share)
        Steps.backward(self, loss, share)
        return y, loss

    def forward(self, x: Any, target: Any, first: bool, share: float) -> tuple[Tensor, Tensor]:
        return self.captured(x, target, first, share)

    def backward(self, loss: Tensor, share: float) -> None:
        pass
