"""Elementwise activation functions: what a `Row` of the table says, and the op that runs any of them.

The rows stand in `minidl/ops/activations/table.py`, the compiled loops, value beside slope, in
`minidl/_kernels/loops/activations.pyx`. Adding an activation touches these two files (docs/adding_an_activation.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op, apply_inplace
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float, as_float_in_place


class Row(NamedTuple):
    """All that is known of an elementwise activation.

    Attributes:
        name, class_name: its names in `functional` and in `nn` ("": no class of its own).
        formula, paper: for the docs.
        residual: "x" or "y": what the slope is written in, and what is kept for backward.
        value, slope: the NumPy twin of the two compiled formulas; slope takes the residual.
        curvature: d slope / d residual in Tensor ops (None where it is 0), which gives all higher derivatives. It must
            be finite at +-inf: no inf * 0.
        params: its parameters, at most two, with their defaults.
        required: the parameters have no defaults; `params` holds those of tests and benchmarks.
        check: (condition, message) that the parameters must fulfil.
        kinks: {where the slope jumps: the slope there}, as a function of the parameters.
        kink_note: the same in words.
        limits: {x: value} at special points, with the parameters in `params`.
        inplace: the function has an argument `inplace`. The slope must then be found from y: x is overwritten.
        from_y: where `residual` is "x", but the slope can be found from y, too: the entries that then differ (see
            `in_y`). For use in place and inside of `affine`.
        approximate: {what the argument `approximate` selects: the name of that row}, beside "none", this one.
        example: (inputs, what their printed values read), for the docstring.
    """

    name: str
    class_name: str
    formula: str
    paper: str
    residual: str
    value: Callable[..., np.ndarray]
    slope: Callable[..., np.ndarray]
    curvature: Callable[..., Tensor] | None = None
    params: dict[str, float] = {}
    required: bool = False
    check: tuple[Callable[..., bool], str] | None = None
    kinks: Callable[..., dict[float, float]] = lambda *params: {}
    kink_note: str = ""
    limits: dict[float, float] = {}
    inplace: bool = False
    from_y: dict[str, Any] = {}
    approximate: dict[str, str] = {}
    example: tuple[str, str] | None = None

    def check_params(self, *values: float, owner: str = "") -> None:
        """ValueError, in the name of `owner`, if the parameters do not fulfil the row's condition."""
        if self.check is not None and not self.check[0](*values[: len(self.params)]):
            pairs = zip(self.params, values, strict=False)
            given = ", ".join([f"{name}={value:g}" for name, value in pairs])
            given = given if len(self.params) > 1 else given.partition("=")[2]
            raise ValueError(f"{owner or self.name}: {self.check[1]}, got {given}")

    def as_floats(self, *values: Any, owner: str = "") -> list[float]:
        """The parameters as floats; TypeError, with the parameter's name, for what is no number."""
        for name, value in zip(self.params, values, strict=False):
            if not hasattr(value, "__float__") or getattr(value, "shape", ()) != ():
                raise TypeError(f"{owner or self.name}: {name} must be a number, got {value!r}")
        return [float(value) for value in values]


_in_y: dict[str, tuple[Row, Row]] = {}  # by name: a row, and what in_y makes of it


def in_y(row: Row) -> Row:
    """The row with its slope written in y."""
    if row.residual == "y":
        return row
    known = _in_y.get(row.name)
    if known is None or known[0] is not row:
        changed = {"residual": "y", "curvature": None, "check": None} | row.from_y
        _in_y[row.name] = known = row, row._replace(**changed)
    return known[1]


class Activation(Op):
    """y = f(x), element by element; a and b are the parameters of the row, as far as it has them."""

    def __init__(self, row: Row, a: float, b: float) -> None:
        self.row, self.name, self.a, self.b = row, row.name, a, b

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.activation_forward(self.name, x, self.a, self.b)

    def backward(self, gy: Tensor) -> Tensor:
        return ActivationGrad(self.row, self.a, self.b)(self.input(0), gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.activation_backward(self.name, self.input(0)._data, gy, self.a, self.b)


class ActivationFromY(Activation):
    """The same for rows whose slope is found from y: x need not be kept."""

    saves = ()
    saves_output = True

    def backward(self, gy: Tensor) -> Tensor:
        return ActivationGrad(self.row, self.a, self.b)(self.output(), gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.activation_backward(self.name, self.output()._data, gy, self.a, self.b)


class ActivationInPlace(ActivationFromY):
    """The same in x's own memory."""

    shares = "inplace"

    def forward(self, x: np.ndarray) -> np.ndarray:
        if x.flags.forc and x.flags.behaved:
            return K.activation_forward(self.name, x, self.a, self.b, x)
        x[...] = super().forward(x)  # a kernel writes dense, aligned memory only
        return x


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
    if type(a) is not float or type(b) is not float:
        a, b = row.as_floats(a, b)
    if row.check is not None:
        row.check_params(a, b)
    if inplace is not False and inplace is not True:
        inplace = check.flag(row.name, "inplace", inplace)
    if not inplace:
        op = ActivationFromY if row.residual == "y" else Activation
        return op(row, a, b)(as_float(x))
    place = in_y(row)
    place.check_params(a, b, owner=row.name)
    return apply_inplace(ActivationInPlace(place, a, b), as_float_in_place(row.name, x))


def function_of(row: Row, rows: dict[str, Row]) -> Callable[..., Tensor]:
    """The public function of a row, with the row's parameters as real arguments; `rows` has those it may select."""
    params = "".join(f", {name}" + ("" if row.required else f"={value!r}")
                     for name, value in row.params.items())  # fmt: skip
    names = "".join(f", {name}" for name in row.params)
    flag, passed = (", inplace=False", ", inplace=inplace") if row.inplace else ("", "")
    chosen, mode = (
        ("choose(approximate)", ", approximate='none'") if row.approximate else ("row", "")
    )
    source = f"def {row.name}(x{params}{mode}{flag}): return activation({chosen}, x{names}{passed})"

    def choose(approximate: str) -> Row:
        if isinstance(approximate, str) and approximate == "none":
            return row
        if not isinstance(approximate, str) or approximate not in row.approximate:
            modes = ", ".join(map(repr, ("none", *row.approximate)))
            raise ValueError(f"{row.name}: approximate: expected {modes}, got {approximate!r}")
        return rows[row.approximate[approximate]]

    scope: dict[str, Any] = {"row": row, "activation": activation, "choose": choose}
    exec(
        source, scope
    )  # as collections.namedtuple does: the signature is exact, and a call is direct
    function = scope[row.name]
    function.__doc__ = _docstring(row)
    function.__module__ = "minidl.functional"  # where pickle finds it
    return function


def _docstring(row: Row) -> str:
    text = [f"{row.name}(x) = {row.formula}, element by element."]
    if row.kink_note:
        text[0] += f" {row.kink_note}"
    if row.approximate:
        others = ", ".join(f'"{mode}" gives `{name}`' for mode, name in row.approximate.items())
        text.append(f"approximate: {others}.")
    if row.inplace:
        text.append(
            "inplace=True overwrites x's own memory; whoever needed the old values raises at backward."
        )
    text.append(
        "x: Tensor, array or number; integers become float32. The result has x's shape and dtype."
    )
    raises = [row.check[1]] if row.check else []
    raises += [row.from_y["check"][1]] if row.inplace and row.from_y else []
    if raises:
        text.append(f"Raises ValueError unless: {'; '.join(raises)}.")
    text.append(f"Source: {row.paper}.")
    if row.example:
        given = "".join(f", {value:g}" for value in row.params.values()) if row.required else ""
        text.append(
            f">>> print(*F.{row.name}([{row.example[0]}]{given}).numpy().round(4))\n{row.example[1]}"
        )
    return "\n\n".join(text)
