"""The table of the activations: a row for each, from which `F.name`, `nn.Name`, tests, benchmark and docs follow.

A row is made from a function and the declaration above it (see `activation`). PReLU and the softmax family are more
than a formula of one element: they have files of their own.
"""

from __future__ import annotations

from typing import Any

from minidl.autograd.tensor import Tensor, as_tensor
from minidl.ops.activations.activation import ACTIVATIONS, FUNCTIONS, Row

__all__ = ["ACTIVATIONS", "FUNCTIONS", "ROWS", "identity"]

ROWS: list[Row] = list(ACTIVATIONS.values())


def identity(x: Any) -> Tensor:
    """identity(x) = x, and its gradient gy. A Tensor is returned itself, an array as a Tensor of its dtype."""
    return as_tensor(x)
