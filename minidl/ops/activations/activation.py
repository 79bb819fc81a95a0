"""Elementwise activation functions: what is declared of each, and the op that runs any of them.

They are in `piecewise_linear`, `smooth` and `self_gated`, each a function below its declaration; the compiled loops,
value beside slope, are in `minidl/_kernels/loops/activations.pyx`. To add one see docs/adding_an_activation.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.reference.activations import ACTIVATIONS
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float, as_float_in_place

Function = TypeVar("Function", bound=Callable[..., Tensor])
FUNCTIONS: dict[str, Callable[..., Tensor]] = {}  # by name, as the rows are in ACTIVATIONS
OPS: dict[str, type[Activation]] = {}
SIGN_LOST = "(the sign of x is found from the result)"


class FromY(NamedTuple):
    """The slope of an activation, which a row writes in x, written in y: for use in place, where x is overwritten,
    and inside of `affine` and its relatives, where x is not kept.

    slope, curvature: as in `Row`, but of y. slope None: the formula in x holds for y, too.
    check: (condition, message) that the parameters must fulfil for it.
    """

    slope: Callable[..., np.ndarray] | None = None
    curvature: Callable[..., Tensor] | None = None
    check: tuple[Callable[..., bool], str] | None = None


class Row(NamedTuple):
    """All that is known of an elementwise activation.

    From the function's signature and docstring:
        name, params: its name; its parameters, at most two, with their defaults.
        inplace: whether it has an argument `inplace`. The slope must then be found from y.
        formula, kink_note, paper: for the docs.
    From the declaration above it:
        class_name: its layer in `nn` ("": none).
        value, slope: the two compiled formulas in NumPy, with which the tests compare them.
        slope_from: "x" or "y": what the slope is written in, and what is kept for backward.
        curvature: d slope / d x (or y) in Tensor ops (None where it is 0), which gives all higher derivatives. It must
            be finite at +-inf: no inf * 0.
        from_y: where `slope_from` is "x", but the slope can be found from y, too.
        sign_only: the slope depends on the sign of x alone: 1 where x > 0, elsewhere the first parameter, or 0.
        required: {parameter: its value in tests and benchmarks} for parameters that have no defaults.
        check: (condition, message) that the parameters must fulfil.
        kinks: {where the slope jumps: the slope there}, as a function of the parameters.
        limits: {x: value} at special points, with the parameters in `params`.
        approximate: {what the argument `approximate` selects: the name of that row}, beside "none", this one.
    """

    name: str
    class_name: str
    params: dict[str, float]
    inplace: bool
    formula: str
    kink_note: str
    paper: str
    value: Callable[..., np.ndarray]
    slope: Callable[..., np.ndarray]
    slope_from: str
    curvature: Callable[..., Tensor] | None = None
    from_y: FromY | None = None
    sign_only: bool = False
    required: dict[str, float] = {}
    check: tuple[Callable[..., bool], str] | None = None
    kinks: Callable[..., dict[float, float]] = lambda *params: {}
    limits: dict[float, float] = {}
    approximate: dict[str, str] = {}

    @property
    def has_slope_from_y(self) -> bool:
        """Whether the slope can be found from y."""
        return self.slope_from == "y" or self.from_y is not None

    def check_params(self, *values: float, owner: str = "", from_y: bool = False) -> None:
        """ValueError, in the name of `owner`, if the parameters do not fulfil the row's condition, or the one for
        finding the slope from y.
        """
        condition = self.from_y.check if from_y and self.from_y is not None else self.check
        if condition is not None and not condition[0](*values[: len(self.params)]):
            pairs = zip(self.params, values, strict=False)
            given = ", ".join([f"{name}={value:g}" for name, value in pairs])
            given = given if len(self.params) > 1 else given.partition("=")[2]
            raise ValueError(f"{owner or self.name}: {condition[1]}, got {given}")

    def as_floats(self, *values: Any, owner: str = "") -> list[float]:
        """The parameters as floats; TypeError, with the parameter's name, for what is not a number."""
        for name, value in zip(self.params, values, strict=False):
            if (
                not hasattr(value, "__float__")
                or isinstance(value, type)
                or getattr(value, "shape", ()) != ()
                or getattr(getattr(value, "dtype", None), "kind", "f") not in "fiub"
            ):
                raise TypeError(f"{owner or self.name}: {name} must be a number, got {value!r}")
        return [float(value) for value in values]


def activation(class_name: str = "", **entries: Any) -> Callable[[Function], Function]:
    """Declares the function below it an activation: its row is made, and its docstring is completed.

    entries: those of `Row` that do not follow from its signature and docstring.
    """

    def declared(function: Function) -> Function:
        name, required = function.__name__, entries.get("required", {})
        arguments = list(inspect.signature(function).parameters.values())[1:]
        params = {
            argument.name: required.get(argument.name, argument.default)
            for argument in arguments
            if argument.name not in ("approximate", "inplace")
        }
        first, *others = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        formula, _, kink_note = " ".join(first.split()).partition(", element by element.")
        row = Row(
            name,
            class_name,
            params,
            any(argument.name == "inplace" for argument in arguments),
            formula.partition(" = ")[2],
            kink_note.strip(),
            " ".join(others[0].split()).removeprefix("Source: ").removesuffix(".")
            if others
            else "",
            **entries,
        )
        function.__doc__ = "\n\n".join([first, *_common_docs(row), *others])
        function.__module__ = "minidl.functional"  # where pickle finds it
        ACTIVATIONS[name], FUNCTIONS[name] = row, function
        OPS[name] = ActivationFromY if row.slope_from == "y" else Activation
        return function

    return declared


def _common_docs(row: Row) -> list[str]:
    """What the docstrings of all activations say."""
    text = [
        "x: Tensor, array or number; integers become float32. The result has x's shape and dtype."
    ]
    if row.approximate:
        others = ", ".join(f'"{mode}" gives `{name}`' for mode, name in row.approximate.items())
        text.append(f"approximate: {others}.")
    if row.inplace:
        text.append(
            "inplace=True overwrites x's own memory; an op that still needs the old values raises in backward."
        )
    conditions = [row.check, row.from_y.check if row.inplace and row.from_y else None]
    raises = [condition[1] for condition in conditions if condition is not None]
    if raises:
        text.append(f"Raises ValueError unless: {'; '.join(raises)}.")
    return text


# ── The op ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Activation(Op):
    """y = f(x), element by element, by the row of that name; a and b are its parameters, as far as it has them."""

    def __init__(self, name: str, a: float, b: float) -> None:
        self.name, self.a, self.b = name, a, b

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.activation_forward(self.name, x, self.a, self.b)

    def backward(self, gy: Tensor) -> Tensor:
        return ActivationGrad(ACTIVATIONS[self.name], self.a, self.b, False)(self.input(0), gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.activation_backward(self.name, self.input(0)._data, gy, self.a, self.b)


class ActivationFromY(Activation):
    """The same where the slope is found from y: x need not be kept."""

    saves = ()
    saves_output = True

    def backward(self, gy: Tensor) -> Tensor:
        return ActivationGrad(ACTIVATIONS[self.name], self.a, self.b, True)(self.output(), gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.activation_backward(self.name, self.output()._data, gy, self.a, self.b, True)


class ActivationInPlace(ActivationFromY):
    """The same in x's own memory."""

    shares = "inplace"

    def forward(self, x: np.ndarray) -> np.ndarray:
        if x.flags.forc and x.flags.behaved:
            return K.activation_forward(self.name, x, self.a, self.b, x)
        K.assign(x, super().forward(x))  # a kernel writes dense, aligned memory only
        return x


class ActivationGrad(Op):
    """gx = gy * slope, found from x or y: the backward kernel as an op, so that gradients have gradients."""

    def __init__(self, row: Row, a: float, b: float, from_y: bool) -> None:
        self.row, self.name, self.a, self.b, self.from_y = row, row.name, a, b, from_y

    def forward(self, xy: np.ndarray, gy: np.ndarray) -> np.ndarray:
        return K.activation_backward(self.name, xy, gy, self.a, self.b, self.from_y)

    def backward(self, ggx: Tensor) -> tuple:
        xy, row, g_xy = self.input(0), self.row, None
        curvature = row.from_y.curvature if self.from_y and row.from_y else row.curvature
        if curvature is not None and self.needs(0):
            g_xy = ggx * self.input(1) * curvature(xy, *(self.a, self.b)[: len(row.params)])
        return g_xy, ActivationGrad(row, self.a, self.b, self.from_y)(xy, ggx)


def op_for(
    name: str, x: Any, inplace: bool = False, a: float = 0.0, b: float = 0.0
) -> tuple[Activation, tuple[Tensor]]:
    """The op of that name, with parameters a and b, and its input, checked: `F.relu` applies the one to the other."""
    row = ACTIVATIONS[name]
    if type(a) is not float or type(b) is not float:
        a, b = row.as_floats(a, b)
    if row.check is not None:
        row.check_params(a, b)
    if inplace is not False and inplace is not True:
        inplace = check.flag(name, "inplace", inplace)
    if not inplace:
        return OPS[name](name, a, b), (as_float(x),)
    row.check_params(a, b, from_y=True)
    return ActivationInPlace(name, a, b), (as_float_in_place(name, x),)


def selected(name: str, approximate: Any, owner: str = "") -> str:
    """The name of the row that the argument `approximate` of an activation selects."""
    if isinstance(approximate, str):
        if approximate == "none":
            return name
        if approximate in ACTIVATIONS[name].approximate:
            return ACTIVATIONS[name].approximate[approximate]
    modes = ", ".join(map(repr, ("none", *ACTIVATIONS[name].approximate)))
    raise ValueError(f"{owner or name}: approximate: expected {modes}, got {approximate!r}")


# ── Inside of another op ─────────────────────────────────────────────────────────────────────────────────────────────


def fused_row(activation: str | tuple, owner: str = "affine") -> tuple[Row, float, float]:
    """The row and the parameters of an activation that another op applies to its result: the slope is found from y.

    `activation`: a name, which means its default parameters, or (name, *parameters). ValueError: there is no such
    activation, its slope cannot be found from y, or its parameters do not fit.
    """
    is_one = isinstance(activation, str) or (isinstance(activation, tuple) and activation)
    try:
        return _fused_row(activation if is_one else (repr(activation),), owner)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        raise TypeError(
            f"{owner}: activation: expected a name or (name, numbers), got {activation!r}"
        ) from None


@cache
def _fused_row(activation: str | tuple, owner: str) -> tuple[Row, float, float]:
    name, *values = (activation,) if isinstance(activation, str) else activation
    row = ACTIVATIONS.get(name)
    if row is None or not row.has_slope_from_y or (row.required and isinstance(activation, str)):
        names = [r.name for r in ACTIVATIONS.values() if r.has_slope_from_y and not r.required]
        raise ValueError(f"{owner}: activation: expected one of {', '.join(names)}, got {name!r}")
    if isinstance(activation, str):
        values = list(row.params.values())
    if len(values) != len(row.params):
        expected = ", ".join(("name", *row.params))
        raise ValueError(f"{owner}: activation: expected ({expected}), got {activation!r}")
    values = row.as_floats(*values, owner=f"{owner}: activation: {name}")
    for from_y in (False, True):
        row.check_params(*values, owner=f"{owner}: activation: {name}", from_y=from_y)
    return row, values[0] if values else 0.0, values[1] if len(values) > 1 else 0.0
