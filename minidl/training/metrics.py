"""What is measured while a model learns: metrics, from totals over an epoch, and the mean of the loss.

A loss says what the model's output means, and so what is right: scores of classes along axis 1 (cross_entropy,
nll_loss, kl_div), probabilities of yes (binary_cross_entropy, above 0.5), or logits of it
(binary_cross_entropy_with_logits, above 0). Of other functions the shapes tell, as `accuracy` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from operator import add
from time import perf_counter
from typing import Any

import numpy as np

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor, plain
from minidl.nn.losses import Loss

CLASSES, PROBABILITIES, LOGITS = "classes", "probabilities", "logits"
THRESHOLDS = {PROBABILITIES: 0.5, LOGITS: 0.0}
OUTPUTS: dict[Any, str] = {
    F.cross_entropy: CLASSES,
    F.nll_loss: CLASSES,
    F.kl_div: CLASSES,
    F.binary_cross_entropy: PROBABILITIES,
    F.binary_cross_entropy_with_logits: LOGITS,
}
OURS = [getattr(F, name) for name in F.LOSSES]
IGNORED = -100  # the target that cross_entropy and nll_loss leave out
SCORES = "accuracy, top5 (or another number), precision, recall, f1"
GREATER_IS_BETTER = re.compile(r".*accuracy|(val_)?(top\d+|precision|recall|f1)")


class Output:
    """What a model's output means to its loss: the kind, and the target that does not count."""

    def __init__(self, loss: Any) -> None:
        settings: Mapping[str, Any] = {}
        if isinstance(loss, Loss):
            loss, settings = type(loss).function, loss.settings()
        while isinstance(loss, partial):
            loss, settings = loss.func, {**loss.keywords, **settings}
        kinds = [kind for function, kind in OUTPUTS.items() if function is loss]
        self.kind = kinds[0] if kinds else None  # None: the shapes tell
        self.is_real = not kinds and any(loss is function for function in OURS)
        self.loss = getattr(loss, "__name__", type(loss).__name__)
        self.ignored = settings.get("ignore_index", IGNORED)

    def decided(self, name: str, y: Any, target: Any) -> tuple[np.ndarray, np.ndarray, int]:
        """What the model chose, what is right, and how many classes or labels there are.

        Of classes both are ids, without those that are ignored. Of labels both are bool, of shape (samples, labels).
        """
        scores, labels = np.asarray(plain(y)), np.asarray(plain(target))
        kind = self._kind(scores)
        if kind == CLASSES:
            axis = min(scores.ndim - 1, 1)
            found = scores.argmax(axis=axis)
            right = self._ids(name, scores, labels, axis, found.shape)
            kept = right != self.ignored
            if np.count_nonzero(kept) < kept.size:
                found, right = found[kept], right[kept]
            return found, right, scores.shape[axis]
        if self.kind is None:  # one logit per sample
            scores, labels = scores.reshape(-1), labels.reshape(-1)
        if labels.shape != scores.shape or not np.isin(labels, (0, 1)).all():
            raise _misfit(name, scores, labels)
        found = scores > THRESHOLDS[kind]
        count = found.shape[1] if found.ndim > 1 else 1
        if found.ndim > 2:
            found, labels = np.moveaxis(found, 1, -1), np.moveaxis(labels, 1, -1)
        return found.reshape(-1, count), labels.reshape(-1, count) == 1, count

    def ranked(self, name: str, y: Any, target: Any) -> tuple[np.ndarray, int]:
        """How many classes have a greater score than the right one, for each target that counts; and how many there
        are.
        """
        scores, labels = np.asarray(plain(y)), np.asarray(plain(target))
        if self._kind(scores) != CLASSES or scores.ndim < 2:
            raise ValueError(f"{name}: expected scores (N, C, ...), got shape {scores.shape}")
        right = self._ids(name, scores, labels, 1, scores.shape[:1] + scores.shape[2:])
        kept = right != self.ignored
        own = np.where(kept, right, 0)
        with np.errstate(invalid="ignore"):  # NaN is last
            better = ~(scores <= np.take_along_axis(scores, np.expand_dims(own, 1), 1))
        return better.sum(axis=1)[kept], scores.shape[1]

    def _kind(self, scores: np.ndarray) -> str:
        if self.kind is None:
            return LOGITS if scores.ndim < 2 or scores.shape[1] == 1 else CLASSES
        return self.kind

    def _ids(
        self, name: str, scores: np.ndarray, labels: np.ndarray, axis: int, shape: tuple[int, ...]
    ) -> np.ndarray:
        """The class ids of targets that may be probabilities along the axis of classes."""
        if labels.shape == scores.shape and np.allclose(labels.sum(axis=axis), 1, atol=1e-3):
            return labels.argmax(axis=axis)
        if labels.shape != shape or labels.dtype.kind not in "iub":
            raise _misfit(name, scores, labels)
        ids = labels.astype(np.int64, copy=False)
        if self.kind is None:  # (minidl's losses have looked at them already)
            classes = scores.shape[axis]
            wrong = (ids != self.ignored) & ((ids < 0) | (ids >= classes))
            if wrong.any():
                raise ValueError(
                    f"{name}: targets are ids from 0 to {classes - 1}, got {ids[wrong][0]}"
                )
        return ids


def _misfit(name: str, scores: np.ndarray, labels: np.ndarray) -> ValueError:
    return ValueError(
        f"{name}: targets of shape {labels.shape}, {labels.dtype}, are not classes for scores of "
        f"shape {scores.shape} (for several labels a sample, name the loss: binary_cross_entropy or "
        "binary_cross_entropy_with_logits); for targets that are real numbers pass metrics=()"
    )


# ── The metrics ──────────────────────────────────────────────────────────────────────────────────


class Metric:
    """A metric: totals of a batch, which are added up over an epoch, and its value for the totals of all."""

    def totals(self, y: Any, target: Any) -> tuple:
        """What the batch adds: numbers or arrays."""
        raise NotImplementedError

    def value(self, totals: tuple) -> float:
        """The metric of all that was added."""
        return float(totals[0] / max(totals[1], 1))


class Mean(Metric):
    """The mean over samples of a function that gives a batch's mean."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def totals(self, y: Any, target: Any) -> tuple:
        n = len(target)
        y = y.detach() if isinstance(y, Tensor) else y  # a metric records no graph
        return float(self.function(y, target)) * n, n


class Accuracy(Metric):
    """The share of targets that are predicted correctly; with several labels per sample each of them counts."""

    def __init__(self, output: Output) -> None:
        self.output = output

    def totals(self, y: Any, target: Any) -> tuple:
        found, right, _ = self.output.decided("accuracy", y, target)
        return int(np.count_nonzero(found == right)), right.size


class Top(Metric):
    """The share of targets that are among the k classes with the greatest scores (equal scores count for it)."""

    def __init__(self, output: Output, k: int) -> None:
        self.output, self.k = output, k

    def totals(self, y: Any, target: Any) -> tuple:
        before, classes = self.output.ranked(f"top{self.k}", y, target)
        if classes <= self.k:
            raise ValueError(f"top{self.k}: there are {classes} classes: it would always be 1")
        return int(np.count_nonzero(before < self.k)), before.size


class Detection(Metric):
    """Precision, recall or F1 of one label; of several labels or classes, the mean of theirs ("macro").

    Classes that occur neither in predictions nor in targets are left out. 0 / 0 is 0.
    """

    def __init__(self, output: Output, name: str) -> None:
        self.output, self.name = output, name

    def totals(self, y: Any, target: Any) -> tuple:
        """Of each class: how often it was found and right, how often found, how often right; and whether it is one."""
        found, right, count = self.output.decided(self.name, y, target)
        if found.dtype == bool:
            sums = [rows.sum(axis=0) for rows in (found & right, found, right)]
            return *sums, np.ones(count, int)
        right_ones = right[found == right]
        counts = [np.bincount(ids.ravel(), minlength=count) for ids in (right_ones, found, right)]
        return *counts, counts[1] + counts[2]

    def value(self, totals: tuple) -> float:
        both, found, right, counts = np.stack(totals)[:, totals[3] > 0]
        below = {"precision": found, "recall": right, "f1": (found + right) / 2}[self.name]
        shares = np.divide(both, below, out=np.zeros(len(both)), where=below > 0)
        return float(shares.mean()) if counts.size else 0.0


def named(who: str, name: Any, output: Output) -> Metric | None:
    """The metric with this name, for a model with this output. None for the accuracy of real numbers.

    Raises:
        ValueError: there is no such metric, or not for this loss.
    """
    top = re.fullmatch(r"top([1-9]\d*)", name) if isinstance(name, str) else None
    if not top and name not in ("accuracy", "precision", "recall", "f1"):
        raise ValueError(f"{who}: metrics: {name!r} is neither a function nor one of {SCORES}")
    if name == "accuracy":
        return None if output.is_real else Accuracy(output)
    if output.is_real or (top and output.kind in THRESHOLDS):
        right = "class scores" if top else "classes or labels"
        raise ValueError(
            f"{who}: metrics: {name!r} needs {right}, which {output.loss} does not have"
        )
    return Top(output, int(top[1])) if top else Detection(output, name)


def accuracy(y: Any, target: Any) -> float:
    """The share of samples whose class is found.

    Args:
        y: scores (N, C) or (N, C, ...), the class is the greatest one; or (N,) or (N, 1), the
            logits of one yes or no.
        target: class ids of shape (N,) or (N, ...); probabilities in y's shape, which add up to 1;
            0 or 1 for each logit. -100 does not count.

    Raises:
        ValueError: targets that are not classes.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    metric = Accuracy(Output(None))
    return metric.value(metric.totals(y, target))


def confusion_matrix(
    y: Any, target: Any, classes: int | None = None, ignore_index: int = IGNORED
) -> np.ndarray:
    """How often each class was taken for each other: row = target, column = what the model chose. int64.

    Args:
        y: scores (N, C, ...), of which the greatest names the class; or the ids themselves, in target's shape (for a
            yes or no: ``y > 0``, or ``y > 0.5`` of probabilities).
        target: class ids.
        classes: how many there are; by default C, or the greatest id + 1.
        ignore_index: the target that does not count.

    Raises:
        ValueError: shapes that do not fit; ids that are negative, or not less than `classes`.
        TypeError: ids that are not integers or bool.

    >>> confusion_matrix([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
    array([[1, 0],
           [1, 1]])
    """
    who = "confusion_matrix"
    found, right = check.array(who, "y", plain(y)), check.array(who, "target", plain(target))
    if found.ndim == right.ndim + 1 and found.ndim > 1 and found.dtype.kind in "fiub":
        classes = found.shape[1] if classes is None else classes
        found = found.argmax(axis=1)
    for argument, ids in (("y", found), ("target", right)):
        if ids.dtype.kind not in "iub":
            raise TypeError(
                f"{who}: {argument}: expected class ids, got dtype {ids.dtype}, shape {ids.shape}"
            )
    if found.shape != right.shape:
        raise ValueError(f"{who}: y gives {found.shape} ids, target has {right.shape}")
    right = right.astype(np.int64)
    kept = right != check.integer(who, "ignore_index", ignore_index)
    pairs = np.stack([right[kept], found[kept].astype(np.int64)])
    if classes is None:
        classes = int(pairs.max(initial=-1)) + 1
    count = check.integer(who, "classes", classes, 0)
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < count):
        raise ValueError(
            f"{who}: ids must be from 0 to {count - 1}, got {pairs.min()} to {pairs.max()}"
        )
    return np.bincount(pairs[0] * count + pairs[1], minlength=count**2).reshape(count, count)


class Means:
    """The mean of the loss over samples, and the metrics: the numbers of an epoch, from its totals."""

    def __init__(self, loss: Callable[..., Tensor] | None, metrics: Mapping[str, Metric]) -> None:
        self.has_loss = loss is not None
        self.names = [*(["loss"] if self.has_loss else []), *metrics]
        self.metrics = tuple(metrics.values())
        self.totals: list[tuple] = []
        self.loss = 0.0
        self.samples = 0
        self.begun = perf_counter()

    def add(self, loss: float | None, y: Any, target: Any) -> None:
        """Adds a batch."""
        self.add_totals(loss, len(target), self.totals_of(y, target))

    def totals_of(self, y: Any, target: Any) -> list[tuple]:
        """What a batch adds to the totals of the metrics."""
        return [metric.totals(y, target) for metric in self.metrics]

    def add_totals(self, loss: float | None, samples: int, totals: list[tuple]) -> None:
        """Adds a batch of so many samples, with these totals."""
        self.samples += samples
        if loss is not None:
            self.loss += loss * samples
        if not self.totals:
            self.totals = totals
            return
        for i, its in enumerate(totals):
            self.totals[i] = tuple(map(add, self.totals[i], its))

    def seconds(self) -> float:
        """Since the beginning."""
        return perf_counter() - self.begun

    def rate(self) -> float:
        """Samples per second since the beginning."""
        return self.samples / self.seconds()

    def values(self) -> dict[str, float]:
        """The means by name."""
        values = [self.loss / max(self.samples, 1)] if self.has_loss else []
        # Not strict: before the first batch there are no totals.
        pairs = zip(self.metrics, self.totals, strict=False)
        values += [metric.value(totals) for metric, totals in pairs]
        return dict(zip(self.names, values, strict=False))

    def state_dict(self) -> dict[str, Any]:
        """The totals up to now."""
        return {
            "names": list(self.names),
            "loss": self.loss,
            "samples": self.samples,
            "totals": list(self.totals),
            "seconds": self.seconds(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from these totals.

        Raises:
            ValueError: they are of other metrics.
        """
        if list(state["names"]) != self.names:
            raise ValueError(f"metrics are {self.names}, in the state {list(state['names'])}")
        self.loss, self.samples = float(state["loss"]), int(state["samples"])
        self.totals = list(state["totals"])
        self.begun = perf_counter() - state["seconds"]
