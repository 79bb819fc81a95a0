"""Losses as layers: they hold the settings of a loss, and are called with a result and its target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor, plain
from minidl.nn.module import Module


class Loss(Module):
    """What all have: the function whose layer it is, and how it is reduced.

    Args:
        reduction: "mean", "sum" or "none" (one value for each element, or sample).
    """

    function: ClassVar[Callable[..., Tensor]]
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check.choice(type(self).__name__, "reduction", reduction, self.reductions)

    def settings(self) -> dict[str, Any]:
        """The function's other settings."""
        return {}

    def forward(self, x: Any, target: Any) -> Tensor:
        return type(self).function(x, target, reduction=self.reduction, **self.settings())

    def extra_repr(self) -> str:
        settings = {name: value for name, value in self.settings().items() if value is not None}
        shown = [
            f"{name} {value.shape}" if isinstance(value, np.ndarray) else f"{name}={value:g}"
            for name, value in settings.items()
        ]
        return ", ".join([f"reduction={self.reduction!r}", *shown])

    def _weights(self, argument: str, value: Any) -> np.ndarray | None:
        """A buffer: weights, saved and converted with the layer, and not trained."""
        if value is None:
            return None
        weights = check.array(type(self).__name__, argument, plain(value))
        if weights.dtype.kind not in "fiu":
            raise TypeError(
                f"{type(self).__name__}: {argument}: expected numbers, got dtype {weights.dtype}"
            )
        return weights.astype(np.float64 if weights.dtype == np.float64 else np.float32)


class NLLLoss(Loss):
    """-x[target] for log-probabilities x and class ids (see `F.nll_loss`).

    Args:
        weight: a factor for each class, or None; a buffer.
        ignore_index: the target that does not count.
        reduction: "mean", "sum" or "none".

    >>> NLLLoss()([[-0.25, -2.0]], [0]).item()
    0.25
    """

    function: ClassVar[Callable[..., Tensor]] = staticmethod(F.nll_loss)

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.ignore_index = check.integer(type(self).__name__, "ignore_index", ignore_index)
        self.weight = self._weights("weight", weight)

    def settings(self) -> dict[str, Any]:
        return {"weight": self.weight, "ignore_index": self.ignore_index}


class CrossEntropyLoss(NLLLoss):
    """-log softmax(x)[target] for scores x and class ids or probabilities (see `F.cross_entropy`).

    Args:
        weight, ignore_index, reduction: as for `NLLLoss`.
        label_smoothing: the share of the target's probability that is spread over all classes.

    >>> round(CrossEntropyLoss()([[1.0, 1.0]], [0]).item(), 4)
    0.6931
    """

    function = staticmethod(F.cross_entropy)

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = check.number(
            "CrossEntropyLoss", "label_smoothing", label_smoothing, 0.0, 1.0
        )

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"label_smoothing": self.label_smoothing}


class BCELoss(Loss):
    """-(t log x + (1 - t) log(1 - x)) for probabilities x (see `F.binary_cross_entropy`).

    Args:
        weight: a factor on each loss, which broadcasts, or None; a buffer.
        reduction: "mean", "sum" or "none".

    >>> round(BCELoss()([0.5], [1.0]).item(), 4)
    0.6931
    """

    function: ClassVar[Callable[..., Tensor]] = staticmethod(F.binary_cross_entropy)

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = self._weights("weight", weight)

    def settings(self) -> dict[str, Any]:
        return {"weight": self.weight}


class BCEWithLogitsLoss(BCELoss):
    """`BCELoss` of sigmoid(x), for any scores x (see `F.binary_cross_entropy_with_logits`).

    Args:
        weight, reduction: as for `BCELoss`.
        pos_weight: a factor on what positive targets cost, which broadcasts, or None; a buffer.

    >>> round(BCEWithLogitsLoss(pos_weight=[2.0])([0.0], [1.0]).item(), 4)
    1.3863
    """

    function = staticmethod(F.binary_cross_entropy_with_logits)

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(weight, reduction)
        self.pos_weight = self._weights("pos_weight", pos_weight)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"pos_weight": self.pos_weight}


class MSELoss(Loss):
    """(x - target)², reduced: the mean squared error. Both have one shape (see `F.mse_loss`).

    >>> MSELoss()([1.0, 5.0], [0.0, 2.0]).item()
    5.0
    """

    function = staticmethod(F.mse_loss)


class L1Loss(Loss):
    """|x - target|, reduced: the mean absolute error. Both have one shape (see `F.l1_loss`).

    >>> L1Loss()([1.0, 5.0], [0.0, 2.0]).item()
    2.0
    """

    function = staticmethod(F.l1_loss)


class HuberLoss(Loss):
    """d²/2 for |d| <= delta, delta (|d| - delta/2) beyond, with d = x - target (see `F.huber_loss`).

    >>> HuberLoss()([1.0, 5.0], [0.0, 2.0]).item()
    1.5
    """

    function = staticmethod(F.huber_loss)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = check.number("HuberLoss", "delta", delta)
        if self.delta <= 0:
            raise ValueError(f"HuberLoss: delta must be greater than 0, got {delta}")

    def settings(self) -> dict[str, Any]:
        return {"delta": self.delta}


class KLDivLoss(Loss):
    """t (log t - x) for log-probabilities x and probabilities t (see `F.kl_div`).

    Args:
        reduction: also "batchmean", the divergence of a sample; "mean" is over all elements.
        log_target: targets are logarithms, too.

    >>> KLDivLoss("batchmean")([[-0.5, -1.0]], [[1.0, 0.0]]).item()
    0.5
    """

    function = staticmethod(F.kl_div)
    reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = check.flag("KLDivLoss", "log_target", log_target)

    def settings(self) -> dict[str, Any]:
        return {"log_target": self.log_target}


class HingeLoss(Loss):
    """max(0, margin - t x) for scores x and targets t of -1 or 1 (see `F.hinge_loss`).

    >>> HingeLoss()([0.5, 2.0], [1.0, 1.0]).item()
    0.25
    """

    function = staticmethod(F.hinge_loss)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = check.number("HingeLoss", "margin", margin)

    def settings(self) -> dict[str, Any]:
        return {"margin": self.margin}


class CosineEmbeddingLoss(Loss):
    """1 - cos(x0, x1) for a target of 1, max(0, cos(x0, x1) - margin) for -1 (see `F.cosine_embedding_loss`).

    >>> CosineEmbeddingLoss()([[1.0, 0.0]], [[0.0, 1.0]], [1]).item()
    1.0
    """

    function = staticmethod(F.cosine_embedding_loss)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = check.number("CosineEmbeddingLoss", "margin", margin, -1.0, 1.0)

    def settings(self) -> dict[str, Any]:
        return {"margin": self.margin}

    def forward(self, x0: Any, x1: Any, target: Any) -> Tensor:  # type: ignore[override]
        return F.cosine_embedding_loss(x0, x1, target, self.margin, self.reduction)
