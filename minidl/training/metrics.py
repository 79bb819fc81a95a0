"""What is measured while a model learns: accuracy, and means over samples."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from minidl.autograd.tensor import Tensor, plain


def accuracy(y: Any, target: Any) -> float:
    """The share of samples whose class is found.

    Args:
        y: scores (N, C) or (N, C, ...), the class is the greatest one; or (N,) or (N, 1), the
            logits of one yes or no.
        target: class ids of shape (N,) or (N, ...); probabilities in y's shape, which add up to 1;
            0 or 1 for each logit.

    Raises:
        ValueError: targets that are not classes.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    scores, labels = np.asarray(plain(y)), np.asarray(plain(target))
    if scores.ndim < 2 or scores.shape[1] == 1:
        return label_accuracy(scores.reshape(-1), labels.reshape(-1))
    return class_accuracy(scores, labels)


def class_accuracy(y: Any, target: Any) -> float:
    """Of scores (N, C, ...): the greatest one names the class. Targets as for `accuracy`."""
    scores, labels = np.asarray(plain(y)), np.asarray(plain(target))
    axis = min(scores.ndim - 1, 1)
    found = scores.argmax(axis=axis)
    if labels.shape == scores.shape and np.allclose(labels.sum(axis=axis), 1, atol=1e-3):
        labels = labels.argmax(axis=axis)
    if labels.shape != found.shape or labels.dtype.kind not in "iub":
        raise _misfit(scores, np.asarray(plain(target)))
    return _share(found == labels)


def label_accuracy(y: Any, target: Any, threshold: float = 0.0) -> float:
    """Of y in any shape, with a target of 0 or 1 for each: the share that is rightly above or not
    above the threshold, 0 for logits, 0.5 for probabilities. Several labels a sample count one each.
    """
    scores, labels = np.asarray(plain(y)), np.asarray(plain(target))
    if labels.shape != scores.shape or not np.isin(labels, (0, 1)).all():
        raise _misfit(scores, labels)
    return _share((scores > threshold) == labels)


def probability_accuracy(y: Any, target: Any) -> float:
    """`label_accuracy` of probabilities."""
    return label_accuracy(y, target, 0.5)


def _share(right: np.ndarray) -> float:
    return int(np.count_nonzero(right)) / max(right.size, 1)


def _misfit(scores: np.ndarray, labels: np.ndarray) -> ValueError:
    return ValueError(
        f"accuracy: targets of shape {labels.shape}, {labels.dtype}, are not classes for scores of "
        f"shape {scores.shape} (for several labels a sample, name the loss: binary_cross_entropy or "
        "binary_cross_entropy_with_logits); for targets that are real numbers pass metrics=()"
    )


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
