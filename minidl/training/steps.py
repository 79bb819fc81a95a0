"""What `fit` does with a batch until its gradients are there; captured, if it is asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.autograd.tensor import Tensor
from minidl.nn import Module
from minidl.replay.capture import capture


class Steps:
    """Forward and loss, then backward."""

    def __init__(self, model: Module, optimizer: Any, loss: Callable[..., Tensor]) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss

    def forward(self, x: Any, target: Any) -> tuple[Tensor, Tensor]:
        """The model's output, and the loss."""
        self.optimizer.zero_grad()
        y = self.model(x)
        return y, self.loss(y, target)

    def backward(self, loss: Tensor) -> None:
        """The gradients."""
        loss.backward()


class CapturedSteps(Steps):
    """The same in one captured step: the gradients are there after `forward`."""

    def __init__(self, model: Module, optimizer: Any, loss: Callable[..., Tensor]) -> None:
        super().__init__(model, optimizer, loss)
        self.captured = capture(self._gradients)

    def _gradients(self, x: Any, target: Any) -> tuple[Tensor, Tensor]:
        y, loss = Steps.forward(self, x, target)
        loss.backward()
        return y, loss

    def forward(self, x: Any, target: Any) -> tuple[Tensor, Tensor]:
        return self.captured(x, target)

    def backward(self, loss: Tensor) -> None:
        pass
