"""Activation functions: one row each. From it follow ``F.name``, ``nn.Name``, the tests, the benchmark and the docs.

The compiled loops, value beside slope, stand in `minidl/_kernels/activations.pyx`. Adding an activation touches these
two files. `PReLU`, which learns its slope, and the softmax family, which mixes elements, are ops of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl._kernels import reference
from minidl.modes import recording
from minidl.op import Op, apply_inplace
from minidl.ops.arithmetic import as_float, exp, minimum, where
from minidl.ops.reduction import sum
from minidl.ops.shape import broadcast_to, normalize_axis, reshape, transpose
from minidl.tensor import Tensor, as_tensor, wrap


@dataclass(frozen=True, slots=True)
class Row:
    """All that is known of an elementwise activation.

    Attributes:
        name, class_name: its names in `functional` and in `nn`.
        formula, paper: for the docs; `formula` says the value, the docstring adds the slope at kinks.
        residual: "x" or "y": what the slope is written in, and what is kept for backward.
        value, slope: the NumPy twin of the two compiled formulas; slope takes the residual.
        curvature: d slope / d residual in Tensor ops (None where it is 0), which gives all higher derivatives.
        params: its parameters, at most two, with their defaults.
        kinks: where the slope jumps, as a function of the parameters; it is that of the negative side there.
        limits: {x: value} at special points, with default parameters.
        inplace: False, or the row to use where x is overwritten: one whose slope is found from y (True: this one).
        check: (condition, message) that the parameters must fulfil.
    """

    name: str
    class_name: str
    formula: str
    paper: str
    residual: str
    value: Callable[..., np.ndarray]
    slope: Callable[..., np.ndarray]
    curvature: Callable[..., Tensor] | None = None
    params: dict[str, float] = field(default_factory=dict)
    kinks: Callable[..., tuple[float, ...]] = lambda *params: ()
    limits: dict[float, float] = field(default_factory=dict)
    inplace: bool | Row = False
    check: tuple[Callable[..., bool], str] | None = None


INF = float("inf")

LEAKY_RELU_FROM_Y = Row(
    "leaky_relu",
    "",
    formula="leaky ReLU with its slope written in y, which has the sign of x, for use in place",
    paper="",
    residual="y",
    value=lambda x, a: np.where(x <= 0, a * x, x),
    slope=lambda y, a: np.where(y <= 0, a, 1),
    params={"negative_slope": 0.01},
)
ELU_FROM_Y = Row(
    "elu_from_y",
    "",
    formula="ELU with its slope written in y, for use in place",
    paper="",
    residual="y",
    value=lambda x, a: np.where(x <= 0, a * np.expm1(np.minimum(x, 0)), x),
    slope=lambda y, a: np.where(y <= 0, y + a, 1),
    curvature=lambda y, a: Tensor((y.data <= 0).astype(y.dtype)),
    params={"alpha": 1.0},
)

ROWS = [
    Row(
        "relu",
        "ReLU",
        formula="max(0, x)",
        paper="Nair & Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010",
        residual="y",
        value=lambda x: np.where(x <= 0, 0, x),
        slope=lambda y: np.where(y <= 0, 0, 1),
        kinks=lambda: (0.0,),
        limits={-INF: 0.0, INF: INF, 0.0: 0.0},
        inplace=True,
    ),
    Row(
        "leaky_relu",
        "LeakyReLU",
        formula="x for x > 0, negative_slope * x otherwise",
        paper="Maas, Hannun & Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013",
        residual="x",
        value=lambda x, a: np.where(x <= 0, a * x, x),
        slope=lambda x, a: np.where(x <= 0, a, 1),
        params={"negative_slope": 0.01},
        kinks=lambda a: (0.0,) if a != 1 else (),
        limits={-INF: -INF, INF: INF, 0.0: 0.0},
        inplace=LEAKY_RELU_FROM_Y,
    ),
    Row(
        "elu",
        "ELU",
        formula="x for x > 0, alpha * (exp(x) - 1) otherwise",
        paper="Clevert, Unterthiner & Hochreiter, Fast and Accurate Deep Network Learning by ELUs, ICLR 2016",
        residual="x",
        value=lambda x, a: np.where(x <= 0, a * np.expm1(np.minimum(x, 0)), x),
        slope=lambda x, a: np.where(x <= 0, a * np.exp(np.minimum(x, 0)), 1),
        curvature=lambda x, a: where(x <= 0, a * exp(minimum(x, 0.0)), 0.0),
        params={"alpha": 1.0},
        kinks=lambda a: (0.0,),
        limits={-INF: -1.0, INF: INF, 0.0: 0.0},
        inplace=ELU_FROM_Y,
    ),
    Row(
        "sigmoid",
        "Sigmoid",
        formula="1 / (1 + exp(-x))",
        paper="Verhulst, Notice sur la loi que la population suit dans son accroissement, 1838",
        residual="y",
        value=lambda x: reference.sigmoid(x),
        slope=lambda y: y * (1 - y),
        curvature=lambda y: 1 - 2 * y,
        limits={-INF: 0.0, INF: 1.0, 0.0: 0.5},
    ),
    Row(
        "tanh",
        "Tanh",
        formula="(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
        paper="LeCun, Bottou, Orr & Müller, Efficient BackProp, 1998",
        residual="y",
        value=lambda x: np.tanh(x),
        slope=lambda y: (1 - y) * (1 + y),
        curvature=lambda y: -2 * y,
        limits={-INF: -1.0, INF: 1.0, 0.0: 0.0},
    ),
    Row(
        "softplus",
        "Softplus",
        formula="log(1 + exp(beta * x)) / beta",
        paper="Dugas, Bengio, Bélisle, Nadeau & Garcia, Incorporating Second-Order Functional Knowledge, NIPS 2000",
        residual="x",
        value=lambda x, b: np.logaddexp(0, b * x) / b,
        slope=lambda x, b: reference.sigmoid(b * x),
        curvature=lambda x, b: _softplus_curvature(x, b),
        params={"beta": 1.0},
        limits={-INF: 0.0, INF: INF},
        check=(lambda beta: beta > 0, "beta must be greater than 0"),
    ),
]
ACTIVATIONS = {row.name: row for row in ROWS}
reference.ACTIVATIONS.update({row.name: (row.value, row.slope) for row in [*ROWS, ELU_FROM_Y]})


class Activation(Op):
    """y = f(x), element by element; a and b are the parameters of the row, as far as it has them."""

    def __init__(self, row: Row, a: float, b: float) -> None:
        self.row, self.name, self.a, self.b = row, row.name, a, b

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.activation_forward(self.name, x, self.a, self.b)

    def backward(self, gy: Tensor) -> Tensor:
        return activation_gradient(self.row, self.a, self.b, self.input(0), gy)


class ActivationFromY(Activation):
    """The same for rows whose slope is found from y: x need not be kept."""

    saves = ()
    saves_output = True

    def backward(self, gy: Tensor) -> Tensor:
        return activation_gradient(self.row, self.a, self.b, self.output(), gy)


class ActivationInPlace(ActivationFromY):
    """The same in x's own memory."""

    shares = "inplace"

    def forward(self, x: np.ndarray) -> np.ndarray:
        if x.flags.forc:
            return K.activation_forward(self.name, x, self.a, self.b, x)
        x[...] = K.activation_forward(
            self.name, x, self.a, self.b
        )  # a kernel writes dense memory only
        return x


def activation_gradient(row: Row, a: float, b: float, residual: Tensor, gy: Tensor) -> Tensor:
    """gx = gy * f'(residual)."""
    if recording():  # this gradient must have a gradient of its own
        return ActivationGrad(row, a, b)(residual, gy)
    return wrap(K.activation_backward(row.name, residual._data, gy._data, a, b))


class ActivationGrad(Op):
    """gx = gy * f'(residual): the backward kernel as an op, so that gradients have gradients."""

    def __init__(self, row: Row, a: float, b: float) -> None:
        self.row, self.name, self.a, self.b = row, row.name, a, b

    def forward(self, residual: np.ndarray, gy: np.ndarray) -> np.ndarray:
        return K.activation_backward(self.name, residual, gy, self.a, self.b)

    def backward(self, ggx: Tensor) -> tuple:
        residual, row, g_residual = self.input(0), self.row, None
        if row.curvature is not None and self.needs(0):
            params = (self.a, self.b)[: len(row.params)]
            g_residual = ggx * self.input(1) * row.curvature(residual, *params)
        return g_residual, ActivationGrad(row, self.a, self.b)(residual, ggx)


def activation(row: Row, x: Any, a: float = 0.0, b: float = 0.0, inplace: bool = False) -> Tensor:
    """Applies the activation of a row; `F.relu` and its relatives are this function with the row filled in."""
    if row.check is not None and not row.check[0](*(a, b)[: len(row.params)]):
        raise ValueError(f"{row.name}: {row.check[1]}, got {a}")
    x = as_float(x)
    if not inplace:
        return (ActivationFromY if row.residual == "y" else Activation)(row, a, b)(x)
    if a < 0:
        raise ValueError(
            f"{row.name}: inplace needs {next(iter(row.params))} >= 0, got {a}: "
            "the sign of x could not be told from the result"
        )
    return apply_inplace(ActivationInPlace(_from_y(row), a, b), x)


def _from_y(row: Row) -> Row:
    return row.inplace if isinstance(row.inplace, Row) else row


def fused_row(name: str) -> tuple[Row, float]:
    """The row, and its parameter, of an activation that another op may apply to its result: its slope is found from y.

    Raises:
        ValueError: there is no such activation, or its slope is not found from y.
    """
    fits = [row.name for row in ROWS if _from_y(row).residual == "y"]
    if name not in fits:
        raise ValueError(f"affine: activation: expected one of {', '.join(fits)}, got {name!r}")
    row = ACTIVATIONS[name]
    return _from_y(row), next(iter(row.params.values()), 0.0)


def _function(row: Row) -> Callable[..., Tensor]:
    """The public function of a row, with the row's parameters as real arguments."""
    params = "".join(f", {name}={value!r}" for name, value in row.params.items())
    names = "".join(f", {name}" for name in row.params)
    flag, passed = (", inplace=False", ", inplace=inplace") if row.inplace else ("", "")
    source = f"def {row.name}(x{params}{flag}): return activation(row, x{names}{passed})"
    scope: dict[str, Any] = {"row": row, "activation": activation}
    exec(
        source, scope
    )  # as collections.namedtuple does: the signature is then exact, and a call is direct
    function = scope[row.name]
    function.__doc__ = _docstring(row)
    function.__module__ = __name__
    return function


def _docstring(row: Row) -> str:
    kinks = row.kinks(*row.params.values())
    kink = "".join(f" At {k:g} the slope is that of the negative side." for k in kinks)
    place = " With ``inplace=True`` x's own memory is overwritten." if row.inplace else ""
    return (
        f"{row.name}(x) = {row.formula}, element by element.{kink}{place}\n\n"
        f"x: Tensor, array or number; integers become float32. Source: {row.paper}."
    )


def _softplus_curvature(x: Tensor, beta: float) -> Tensor:
    s = FUNCTIONS["sigmoid"](beta * x)
    return beta * s * (1 - s)


FUNCTIONS = {row.name: _function(row) for row in ROWS}
softplus = FUNCTIONS["softplus"]


def identity(x: Any) -> Tensor:
    """identity(x) = x."""
    return as_tensor(x)


# ── PReLU ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class PReLU(Op):
    """y = max(0, x) + slope min(0, x) for x (outer, channels, inner), slope (channels,)."""

    def forward(self, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return K.prelu_forward(np.ascontiguousarray(x), np.ascontiguousarray(slope))

    def backward(self, gy: Tensor) -> tuple:
        x, slope = self.input(0), self.input(1)
        if recording():
            negative = x <= 0
            gslope = sum(where(negative, gy * x, 0.0), axis=(0, 2))
            return where(negative, gy * reshape(slope, (-1, 1)), gy), gslope
        gx, gslope = K.prelu_backward(
            np.ascontiguousarray(x.data), np.ascontiguousarray(slope.data), gy.data
        )
        return wrap(gx), wrap(gslope)


def prelu(x: Any, slope: Any, base_axis: int | tuple[int, ...] | None = 1) -> Tensor:
    """max(0, x) + slope * min(0, x), with a slope that is learned. At 0 the slope is that of the negative side.

    Args:
        x: Tensor, array or number.
        slope: one element, which serves all; or one per channel, of shape ``x.shape[base_axis]`` (for a tuple of axes:
            the shape of these axes; for None: ``x.shape[1:]``, one slope an element).
        base_axis: the axis of x that the slopes belong to, counted over all axes (1 = channels).

    Raises:
        ValueError: a slope of another shape; names what was expected and what was given.

    Source: He, Zhang, Ren & Sun, Delving Deep into Rectifiers, ICCV 2015.
    """
    x = as_float(x)
    slope = as_tensor(slope, dtype=x.dtype)
    if slope.dtype != x.dtype:
        slope = slope.astype(x.dtype)
    shape = x.shape
    if slope.size == 1:
        seen, slope = (1, 1, x.size), reshape(slope, (1,))
    else:
        axes = _slope_axes(base_axis, x.ndim)
        expected = tuple(shape[a] for a in axes)
        if slope.shape != expected:
            raise ValueError(
                f"prelu: slope: expected shape {expected} (axes {axes} of x, shape {shape}) or one "
                f"element, got {slope.shape}"
            )
        if axes == tuple(range(axes[0], axes[-1] + 1)):
            seen = (
                int(np.prod(shape[: axes[0]])),
                slope.size,
                int(np.prod(shape[axes[-1] + 1 :])),
            )
            slope = reshape(slope, (-1,)) if slope.ndim > 1 else slope
        else:  # axes that do not lie side by side: every element gets its slope, the engine sums them back
            kept = tuple(n if a in axes else 1 for a, n in enumerate(shape))
            order = tuple(np.argsort(axes).tolist())
            full = broadcast_to(reshape(transpose(slope, order), kept), shape)
            seen, slope = (1, x.size, 1), reshape(full, (-1,))
    return reshape(PReLU()(reshape(x, seen), slope), shape)


def _slope_axes(base_axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    if base_axis is None:
        return tuple(range(1, ndim))
    axes = base_axis if isinstance(base_axis, tuple) else (base_axis,)
    places = tuple(normalize_axis("prelu: base_axis", a, ndim) for a in axes)
    if len(set(places)) != len(places):
        raise ValueError(f"prelu: base_axis: {base_axis} names an axis twice")
    return places


# ── Softmax ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Softmax(Op):
    """y = exp(x) / Σ exp(x) over the rows of (rows, n)."""

    saves = ()
    saves_output = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.softmax_forward(x)

    def backward(self, gy: Tensor) -> Tensor:
        y = self.output()
        if recording():
            return y * (gy - sum(gy * y, axis=1, keepdims=True))
        return wrap(K.softmax_backward(y.data, gy.data))


class LogSoftmax(Op):
    """y = x - log Σ exp(x) over the rows of (rows, n)."""

    saves = ()
    saves_output = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.log_softmax_forward(x)

    def backward(self, gy: Tensor) -> Tensor:
        y = self.output()
        if recording():
            return gy - exp(y) * sum(gy, axis=1, keepdims=True)
        return wrap(K.log_softmax_backward(y.data, gy.data))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / Σ exp(x) along `axis`, shifted by the maximum so that nothing overflows.

    Source: Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990.
    """
    return along_rows(Softmax(), x, axis)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """x - log Σ exp(x) along `axis`: the logarithm of softmax without its rounding to 0."""
    return along_rows(LogSoftmax(), x, axis)


def along_rows(op: Op, x: Any, axis: int) -> Tensor:
    """Applies an op that works on (rows, n) along any axis of x."""
    x = as_float(x)
    name = type(op).__name__
    axis = normalize_axis(name, axis, x.ndim)
    if axis == x.ndim - 1:
        if x.ndim == 2:
            return op(x)
        return reshape(op(reshape(x, (_rows(x), x.shape[-1]))), x.shape)
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    back = tuple(np.argsort(order).tolist())
    moved = transpose(x, order)
    return transpose(
        reshape(op(reshape(moved, (_rows(moved), moved.shape[-1]))), moved.shape), back
    )


def _rows(x: Tensor) -> int:
    return int(np.prod(x.shape[:-1]))
