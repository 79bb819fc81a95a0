"""Initializers: how a parameter's first values are drawn.

``init(shape, rng=None, dtype="float32")`` returns a new array. `rng` is a `numpy.random.Generator`,
an int seed, or None for the library's own (`minidl.manual_seed`). Values are drawn in float64 and
rounded once, so that a seed gives the same values in both dtypes.

The fans are the number of inputs of one output (fan_in) and of outputs that one input reaches
(fan_out). They are read from the shape of a weight, ``(out, in, *kernel)``: fan_in = in *
prod(kernel), fan_out = out * prod(kernel). A layer that knows better passes ``fan=(fan_in,
fan_out)``.

>>> HeNormal()((100, 784), rng=0).shape
(100, 784)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import check, random
from minidl.porting import missing as _missing

Shape = int | Sequence[int]
Fan = tuple[float, float]


class Initializer:
    """Base: a subclass writes ``draw(shape, rng, fan) -> array``; its attributes are settings.

    ``init(shape, rng=None, dtype="float32", fan=None)`` gives a new array of that shape, float32 or float64. What
    `draw` returns is broadcast to the shape, so that a number will do.

    Raises:
        ValueError: a negative length, or a negative seed.
        TypeError: another dtype, or an rng that is no Generator, int or None.
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator, fan: Fan | None) -> Any:
        """The values, in any float dtype; `fan` is (fan_in, fan_out), or None for those of the shape."""
        raise NotImplementedError(f"{type(self).__name__} has no draw()")

    def __call__(
        self, shape: Shape, rng: Any = None, dtype: Any = "float32", fan: Fan | None = None
    ) -> np.ndarray:
        dtype = check.dtype(type(self).__name__, dtype)
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"{type(self).__name__}: dtype must be float32 or float64, got {dtype}")
        sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
        sizes = tuple(check.integer(type(self).__name__, "shape", n, 0) for n in sizes)
        values = np.asarray(self.draw(sizes, random.generator(rng, type(self).__name__), fan))
        return np.array(np.broadcast_to(values, sizes), dtype, order="C")

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class Constant(Initializer):
    """w = value * multiplier, everywhere.

    Raises:
        ValueError, TypeError: an argument that is not finite, or not a number.
    """

    def __init__(self, value: float, multiplier: float = 1.0) -> None:
        self.value = _number(self, "value", value)
        self.multiplier = _number(self, "multiplier", multiplier)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator, fan: Fan | None) -> Any:
        return self.value * self.multiplier


class Uniform(Initializer):
    """w = multiplier * U(low, high), the uniform distribution on [low, high): variance multiplier² (high - low)² / 12.

    Raises:
        ValueError: low > high, or an argument that is not finite. TypeError: one that is not a number.
    """

    def __init__(self, low: float = -1.0, high: float = 1.0, multiplier: float = 1.0) -> None:
        self.low = _number(self, "low", low)
        self.high = _number(self, "high", high)
        self.multiplier = _number(self, "multiplier", multiplier)
        if self.low > self.high:
            raise ValueError(f"Uniform: low must not exceed high, got {low} and {high}")

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator, fan: Fan | None) -> Any:
        return self.multiplier * rng.uniform(self.low, self.high, shape)


class Normal(Initializer):
    """w = multiplier * N(mean, std^2), the normal distribution.

    Raises:
        ValueError: std < 0, or an argument that is not finite. TypeError: one that is not a number.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, multiplier: float = 1.0) -> None:
        self.mean = _number(self, "mean", mean)
        self.std = _number(self, "std", std, least=0.0)
        self.multiplier = _number(self, "multiplier", multiplier)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator, fan: Fan | None) -> Any:
        return self.multiplier * rng.normal(self.mean, self.std, shape)


class TruncatedNormal(Initializer):
    """multiplier * N(mean, std^2) without its tails.

    Values farther than ``bound * std`` from the mean are drawn again. (`bound` counts standard
    deviations, so that it holds for a small std too.)
    """

    def __init__(
        self, mean: float = 0.0, std: float = 1.0, bound: float = 2.0, multiplier: float = 1.0
    ) -> None:
        self.mean = _number(self, "mean", mean)
        self.std = _number(self, "std", std, least=0.0)
        self.bound = _number(self, "bound", bound, least=0.1)
        self.multiplier = _number(self, "multiplier", multiplier)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator, fan: Fan | None) -> Any:
        z = _truncated(rng, shape, self.bound)
        return self.multiplier * (self.mean + self.std * z)


class VarianceScaling(Initializer):
    """Zero mean and Var(w) = scale / fan, which keeps signals alive through many layers.

    Args:
        scale: the variance times the fan.
        mode: fan = "fan_in" (keeps the variance of activations), "fan_out" (that of gradients), or
            "fan_avg", the mean of both.
        distribution: "uniform" on +-sqrt(3 Var), "normal", or "truncated_normal", cut at two
            standard deviations of the uncut distribution and widened so that the variance is right
            after cutting.

    Raises:
        ValueError: called for a shape of fewer than two axes without ``fan``.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, AISTATS 2010.
    """

    MODES = ("fan_in", "fan_out", "fan_avg")
    DISTRIBUTIONS = ("uniform", "normal", "truncated_normal")

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
    ) -> None:
        check.choice("VarianceScaling", "mode", mode, self.MODES)
        check.choice("VarianceScaling", "distribution", distribution, self.DISTRIBUTIONS)
        self.scale = _number(self, "scale", scale, least=0.0)
        self.mode = mode
        self.distribution = distribution

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator, fan: Fan | None) -> Any:
        fan_in, fan_out = fan if fan is not None else fans(type(self).__name__, shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        std = math.sqrt(self.scale / max(n, 1.0))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * std
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "normal":
            return rng.normal(0.0, std, shape)
        return std / _STD_WITHIN_2 * _truncated(rng, shape, 2.0)


class GlorotUniform(VarianceScaling):
    """w from U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)): `GlorotNormal`'s uniform form. Errors as there.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010,
    eq. 16.
    """

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__(_number(self, "gain", gain) ** 2, "fan_avg", "uniform")


class GlorotNormal(VarianceScaling):
    """w from N(0, gain^2 * 2 / (fan_in + fan_out)): a compromise that suits activations and gradients; made for tanh.

    Raises:
        ValueError: a shape of fewer than two axes without ``fan``, a gain that is not finite.
        TypeError: a gain that is not a number.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010,
    eq. 12.
    """

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__(_number(self, "gain", gain) ** 2, "fan_avg", "normal")


class HeUniform(VarianceScaling):
    """w from U(-a, a), a = sqrt(6 / ((1 + negative_slope^2) fan_in)): `HeNormal`'s uniform form.

    The variance, a² / 3, is the same. Arguments, errors and source as there.
    """

    def __init__(self, negative_slope: float = 0.0) -> None:
        slope = _number(self, "negative_slope", negative_slope)
        super().__init__(2.0 / (1.0 + slope**2), "fan_in", "uniform")


class HeNormal(VarianceScaling):
    """w from N(0, 2 / ((1 + negative_slope^2) fan_in)), made for ReLU and PReLU.

    Args:
        negative_slope: that of the activation behind the layer, at first: 0 for ReLU, 0.25 for a fresh PReLU.

    Raises:
        ValueError: a shape of fewer than two axes without ``fan``, a slope that is not finite.
        TypeError: a slope that is not a number.

    Source: He, Zhang, Ren & Sun, Delving Deep into Rectifiers, ICCV 2015, eq. 10 and 15.
    """

    def __init__(self, negative_slope: float = 0.0) -> None:
        slope = _number(self, "negative_slope", negative_slope)
        super().__init__(2.0 / (1.0 + slope**2), "fan_in", "normal")


class LecunUniform(VarianceScaling):
    """w from U(-a, a), a = sqrt(3 / fan_in): `LecunNormal`'s uniform form.

    The variance, a² / 3, is the same. Errors and source as there.
    """

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "uniform")


class LecunNormal(VarianceScaling):
    """w from N(0, 1 / fan_in), also what SELU asks for. ValueError: a shape of fewer than two axes without ``fan``.

    Source: LeCun, Bottou, Orr & Müller, Efficient BackProp, 1998, eq. 16; Klambauer, Unterthiner, Mayr & Hochreiter,
    Self-Normalizing Neural Networks, NIPS 2017.
    """

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "normal")


class Orthogonal(Initializer):
    """gain * Q, a random matrix with orthonormal rows (columns, if there are fewer of them).

    Axes after the second count as columns.

    Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks, ICLR 2014.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _number(self, "gain", gain)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator, fan: Fan | None) -> Any:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: the shape needs at least two axes, got {shape}")
        rows, columns = shape[0], math.prod(shape[1:])
        q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
        # With these signs Q is uniform among all such matrices (Mezzadri 2007); QR alone prefers
        # some.
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


# The standard deviation of a standard normal cut at +-2: sqrt(1 - 4 phi(2) / (Phi(2) - Phi(-2))).
_STD_WITHIN_2 = 0.8796256610342398


def fans(name: str, shape: tuple[int, ...]) -> Fan:
    """(fan_in, fan_out) of a weight of shape (out, in, *kernel): (in * prod(kernel), out * prod(kernel)).

    `name` is who asks, for the error. ValueError: a shape of fewer than two axes, or a negative length.
    """
    shape = tuple(
        check.integer(name, "shape", n, 0) for n in check.items(name, "shape", shape, "integers")
    )
    if len(shape) < 2:
        raise ValueError(
            f"{name}: the fans are told by a weight (out, in, ...), shape {shape} has fewer than "
            "two axes: pass fan=(fan_in, fan_out)"
        )
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _truncated(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> np.ndarray:
    """Standard normal numbers with |z| <= bound."""
    z = np.asarray(rng.normal(size=shape))
    outside = np.abs(z) > bound
    while outside.any():
        z[outside] = rng.normal(size=int(outside.sum()))
        outside = np.abs(z) > bound
    return z


def _number(owner: Initializer, argument: str, value: float, least: float = -math.inf) -> float:
    return check.number(type(owner).__name__, argument, value, least)


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("init", name, globals())
