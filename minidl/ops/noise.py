"""Operations that draw random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.ops.arithmetic import as_float
from minidl.random import generator
from minidl.tensor import Tensor


def dropout(x: Any, p: float = 0.5, training: bool = True, rng: Any = None) -> Tensor:
    """While training, each element is 0 with probability p and x / (1 - p) otherwise; else x itself.

    Args:
        rng: numpy Generator or int seed; None takes the library's (`minidl.manual_seed`).

    Raises:
        ValueError: p outside [0, 1].

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, Dropout, JMLR 2014.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must lie in [0, 1], got {p}")
    x = as_float(x)
    if not training or p == 0:
        return x
    keep = generator(rng).random(x.shape, dtype=np.float32) >= p
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x * Tensor(np.multiply(keep, scale, dtype=x.dtype))
