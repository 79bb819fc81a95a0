"""Embedding: rows of a table, chosen by integer ids."""

from __future__ import annotations

from typing import Any

from minidl.autograd.tensor import Tensor, as_tensor
from minidl.ops.loss import class_ids
from minidl.ops.shape import getitem


def embedding(ids: Any, weight: Any) -> Tensor:
    """weight[ids]: one row of the table for each id; the gradient of a row adds up over its uses.

    Args:
        ids: integers of any shape.
        weight: (entries, features).

    Raises:
        TypeError: ids that are not integers.
        ValueError: an id outside 0 ... entries - 1, or a table that is not 2-D.
    """
    weight = as_tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight: expected 2 axes, got shape {weight.shape}")
    return getitem(weight, class_ids("embedding", ids, weight.shape[0]))
