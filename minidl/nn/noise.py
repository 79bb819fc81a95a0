"""Layers that draw random numbers while training: Dropout, Dropout2d, RReLU."""

from __future__ import annotations

from typing import Any

from minidl import check, random
from minidl import functional as F
from minidl.autograd.tensor import Tensor
from minidl.nn.module import Module


class Dropout(Module):
    """Training: each element is 0 with probability p, else x / (1 - p). Evaluation: y = x.

    Args:
        p: probability, from 0 to 1.
        rng: a `numpy.random.Generator`, an int seed, or None for the library's own.

    Source: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting,
    JMLR 2014.

    >>> Dropout(0.5).eval()([1.0, 2.0])
    Tensor([1. 2.])
    """

    def __init__(self, p: float = 0.5, rng: Any = None) -> None:
        name = type(self).__name__
        self.p = check.number(name, "p", p, 0.0, 1.0)
        # A seed starts one stream for the layer's whole life, not the same mask at every call.
        self.rng = None if rng is None else random.generator(rng, name)

    def forward(self, x: Any) -> Tensor:
        return F.dropout(x, self.p, self.training, self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class Dropout2d(Dropout):
    """Training: each channel of each sample is 0 with probability p, else x / (1 - p). Evaluation: y = x.

    Neighbours in an image are alike, so that dropping single pixels drops little. x is (N, C, ...).

    Args:
        p, rng: as for `Dropout`.

    Source: Tompson, Goroshin, Jain, LeCun & Bregler, Efficient Object Localization Using Convolutional Networks,
    CVPR 2015.

    >>> Dropout2d(0.5).eval()([[[1.0, 2.0]]])
    Tensor([[[1. 2.]]])
    """

    def forward(self, x: Any) -> Tensor:
        return F.dropout2d(x, self.p, self.training, self.rng)


class RReLU(Module):
    """y = x for x > 0, slope * x otherwise. Training: each element's slope is drawn from U(lower,
    upper). Evaluation: all slopes are the mean.

    Args:
        lower, upper: the bounds of the slopes; defaults as in PyTorch. `F.rrelu` says how the
            original paper's form, x / a with a from U(3, 8), differs.
        inplace: overwrite x's own memory; needs lower >= 0.
        rng: a `numpy.random.Generator`, an int seed, or None for the library's own.

    Raises:
        ValueError: lower > upper, or in place with lower < 0.

    Source: Xu, Wang, Chen & Li, Empirical Evaluation of Rectified Activations in Convolutional
    Network, 2015.

    >>> RReLU(0.25, 0.5).eval()([-16.0, 2.0]).numpy()
    array([-6.,  2.], dtype=float32)
    """

    def __init__(
        self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False, rng: Any = None
    ) -> None:
        self.lower = check.number("RReLU", "lower", lower)
        self.upper = check.number("RReLU", "upper", upper, self.lower)
        self.inplace = check.flag("RReLU", "inplace", inplace)
        if self.inplace and self.lower < 0:
            raise ValueError(f"RReLU: inplace needs lower >= 0, got {lower}")
        self.rng = None if rng is None else random.generator(rng, "RReLU")

    def forward(self, x: Any) -> Tensor:
        return F.rrelu(x, self.lower, self.upper, self.training, self.rng, self.inplace)

    def extra_repr(self) -> str:
        place = ", inplace=True" if self.inplace else ""
        return f"lower={self.lower:g}, upper={self.upper:g}{place}"
