"""Operations that draw random numbers: RReLU and dropout. Each gives every element a factor, 1 if left alone."""

from __future__ import annotations

import math
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import capturing, note, recorder
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor
from minidl.ops.activations.piecewise_linear import leaky_relu
from minidl.ops.args import as_float, as_float_in_place, filled
from minidl.ops.losses.loss import Weigh
from minidl.random import generator


class RReLU(Op):
    """y = factor x, where the factor is drawn from U(lower, upper) for x <= 0 and 1 for the others."""

    saves = ()

    def __init__(self, lower: float, upper: float, key: int, keep: bool) -> None:
        self.lower, self.upper, self.key, self.keep = lower, upper, key, keep

    def forward(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        y, self.kept = K.rrelu_forward(x, self.lower, self.upper, self.key, self.keep, out)
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return Scale(self.kept)(gy)


class RReLUInPlace(RReLU):
    """The same in x's own memory."""

    shares = "inplace"

    def forward(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        if x.flags.carray:
            return super().forward(x, x)
        K.assign(x, super().forward(x))  # a kernel writes dense, aligned memory only
        return x


class Dropout(Op):
    """y = factor x, where the factor is 0 with probability p, and 1 / (1 - p) otherwise."""

    saves = ()

    def __init__(self, p: float, key: int, keep: bool) -> None:
        self.p, self.key, self.keep = p, key, keep

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, self.kept = K.dropout_forward(x, self.p, self.key, self.keep)
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return Scale(self.kept)(gy)


class Scale(Op):
    """y = factor x, 0 where the factor is 0: the gradient of both, and its own."""

    saves = ()

    def __init__(self, factor: np.ndarray) -> None:
        self.factor = factor

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.noise_backward(self.factor, x)

    def backward(self, gy: Tensor) -> Tensor:
        return Scale(self.factor)(gy)


def rrelu(
    x: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    rng: np.random.Generator | int | None = None,
    inplace: bool = False,
) -> Tensor:
    """rrelu(x) = x for x > 0, slope * x otherwise; each element has a random slope of its own while training.

    While training the slopes are drawn from U(lower, upper); otherwise all are the mean, (lower + upper) / 2. Defaults
    and both forms are PyTorch's. The slope at 0 is that of the negative side. With ``inplace=True`` x's own memory is
    overwritten.

    The paper divides instead: x / a with a from U(3, 8), and x / 5.5 when evaluating. Its slopes 1 / a lie in the same
    range, [1/8, 1/3], but are not spread evenly: their mean is ln(8/3) / 5 = 0.196, here it is 0.229; and the paper
    evaluates with 1 / 5.5 = 0.182. To have exactly that form:

        a = md.where(x > 0, 1.0, rng.uniform(3, 8, x.shape).astype(x.dtype))
        y = x / a if training else F.leaky_relu(x, 1 / 5.5)

    Args:
        x: Tensor, array or number; integers become float32.
        lower, upper: the bounds of the slopes.
        training: draw slopes.
        rng: numpy Generator or int seed; None takes the library's (`minidl.manual_seed`). The same seed gives the same
            slopes for any number of threads and any layout of x in memory.

    Raises:
        ValueError: lower > upper, a bound that is not finite, or in place with lower < 0 (the sign of x would be lost).

    Source: Xu, Wang, Chen & Li, Empirical Evaluation of Rectified Activations in Convolutional Network, 2015.

    >>> rrelu([-16.0, 2.0], lower=0.25, upper=0.5).numpy()
    array([-6.,  2.], dtype=float32)
    """
    if not isinstance(lower, Real) or not isinstance(upper, Real):
        raise TypeError(f"rrelu: lower and upper must be numbers, got {lower!r} and {upper!r}")
    inplace = check.flag("rrelu", "inplace", inplace)
    training = check.flag("rrelu", "training", training)
    if not -math.inf < lower <= upper < math.inf:
        raise ValueError(f"rrelu: expected finite lower <= upper, got {lower} and {upper}")
    if inplace and lower < 0:
        raise ValueError(
            f"rrelu: inplace needs lower >= 0, got {lower}: the sign of x could not be told from the result"
        )
    if not training:
        mean = (lower + upper) / 2
        return leaky_relu(x, mean, inplace)
    x = as_float_in_place("rrelu", x) if inplace else as_float(x)
    settings = (lower, upper, draw_key(rng, "rrelu"), will_record(x))
    op = RReLUInPlace(*settings) if inplace else RReLU(*settings)
    return op(x)


def dropout(x: Any, p: float = 0.5, training: bool = True, rng: Any = None) -> Tensor:
    """While training, each element is 0 with probability p and x / (1 - p) otherwise; else x itself.

    What is dropped is 0 whatever it was, inf and NaN included, and so is its gradient.

    Args:
        rng: numpy Generator or int seed; None takes the library's (`minidl.manual_seed`). The same seed drops the same
            elements for any number of threads, dtype and layout of x in memory.

    Raises:
        ValueError: p outside [0, 1].

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, Dropout, JMLR 2014.
    """
    if (type(p) is not float and not isinstance(p, Real)) or not 0 <= p <= 1:
        raise ValueError(f"dropout: p must lie in [0, 1], got {p!r}")
    x = as_float(x)
    if not check.flag("dropout", "training", training) or p == 0:
        return x
    return Dropout(p, draw_key(rng, "dropout"), will_record(x))(x)


def dropout2d(x: Any, p: float = 0.5, training: bool = True, rng: Any = None) -> Tensor:
    """While training, each channel of each sample is 0 with probability p and x / (1 - p) otherwise; else x itself.

    The gradient of what is kept is gy / (1 - p), that of what is dropped 0.

    Args:
        x: (N, C, ...) with one or more spatial axes.
        rng: as for `dropout`.

    Raises:
        ValueError: p outside [0, 1], x without spatial axes.

    Source: Tompson, Goroshin, Jain, LeCun & Bregler, Efficient Object Localization Using Convolutional Networks,
    CVPR 2015.
    """
    x = as_float(x)
    if x.ndim < 3:
        raise ValueError(
            f"dropout2d: expected x (N, C, ...) with spatial axes, got shape {x.shape}"
        )
    if (type(p) is not float and not isinstance(p, Real)) or not 0 <= p <= 1:
        raise ValueError(f"dropout2d: p must lie in [0, 1], got {p!r}")
    if not check.flag("dropout2d", "training", training) or p == 0:
        return x
    ones = filled((*x.shape[:2], *(1,) * (x.ndim - 2)), 1.0, x.dtype)
    return Weigh()(Dropout(p, draw_key(rng, "dropout2d"), False)(ones), x)


def draw_key(rng: np.random.Generator | int | None, owner: str) -> int:
    """The key of one call: 53 bits, which cost the generator one draw."""
    if recorder.on and capturing():
        note("draw", partial(draw_key, rng, owner))
    return int(generator(rng, owner).random() * 2.0**53)
