"""What is measured while a model learns: accuracy, and means over samples."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from minidl.tensor import Tensor, plain


def accuracy(y: Any, target: Any) -> float:
    """The share of samples whose class is found.

    Args:
        y: scores (N, C) or (N, C, ...), the class is the greatest one; or (N,) or (N, 1), the
            logits of one yes or no.
        target: class ids of shape (N,) or (N, ...); probabilities in y's shape; 0 or 1 for each
            logit.

    Raises:
        ValueError: targets that are no classes.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    scores, labels = np.asarray(plain(y)), np.asarray(plain(target))
    if scores.ndim >= 2 and scores.shape[1] > 1:
        found = scores.argmax(axis=1)
        if labels.shape == scores.shape:
            labels = labels.argmax(axis=1)
        fits = labels.shape == found.shape and labels.dtype.kind in "iub"
    else:
        found = scores.reshape(-1) > 0
        labels = labels.reshape(-1)
        fits = labels.shape == found.shape and bool(np.isin(labels, (0, 1)).all())
    if not fits:
        raise ValueError(
            f"accuracy: targets of shape {np.shape(target)}, {labels.dtype}, are no classes for "
            f"scores of shape {scores.shape}; for targets that are real numbers pass metrics=()"
        )
    return int(np.count_nonzero(found == labels)) / max(labels.size, 1)


class Means:
    """Means of the loss and the metrics over samples, added up in plain floats."""

    def __init__(self, loss: Callable[..., Tensor] | None, metrics: dict[str, Callable]) -> None:
        self.names = [*(["loss"] if loss is not None else []), *metrics]
        self.metrics = tuple(metrics.values())
        self.sums = [0.0] * len(self.names)
        self.samples = 0
        self.begun = perf_counter()

    def add(self, loss: float | None, y: Any, target: Any) -> None:
        """Adds a batch."""
        n = len(target)
        self.samples += n
        at = 0
        if loss is not None:
            self.sums[0] += loss * n
            at = 1
        if self.metrics:
            y = y.detach() if isinstance(y, Tensor) else y  # a metric records no graph
        for i, metric in enumerate(self.metrics, at):
            self.sums[i] += float(metric(y, target)) * n

    def rate(self) -> float:
        """Samples per second since the beginning."""
        return self.samples / (perf_counter() - self.begun)

    def values(self) -> dict[str, float]:
        """The means by name."""
        samples = max(self.samples, 1)
        return {name: total / samples for name, total in zip(self.names, self.sums, strict=True)}
