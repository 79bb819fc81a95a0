"""Activation layers: one class for each row of the activation table, and those that are more than a
formula.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.init import Constant
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker, fill
from minidl.ops.activations.activation import FromY, Row, selected
from minidl.ops.activations.table import ROWS


class Activation(Module):
    """Base of the classes made from table rows: y = f(x), element by element."""

    row: ClassVar[Row]
    signature: ClassVar[inspect.Signature]
    # What has the condition under which the same slope follows from y: the row, or its from_y. None: it does not.
    _slope_in_y: ClassVar[Row | FromY | None] = None

    def __init__(self, *values: Any, **named: Any) -> None:
        name = type(self).__name__
        try:
            bound = self.signature.bind(*values, **named)
        except TypeError as error:
            raise TypeError(f"{name}{self.signature}: {error}") from None
        bound.apply_defaults()
        self.inplace = check.flag(name, "inplace", bound.arguments.pop("inplace", False))
        self.approximate = bound.arguments.pop("approximate", "none")
        selected(self.row.name, self.approximate, name)
        for param, value in bound.arguments.items():
            setattr(self, param, check.number(name, param, value))
        self.row.check_params(*self._params, owner=name)
        if self.inplace:
            self.row.check_params(*self._params, owner=name, from_y=True)

    @property
    def _params(self) -> tuple[float, ...]:
        """The row's parameters, as the attributes are now."""
        return tuple([getattr(self, param) for param in self.row.params])

    def forward(self, x: Any) -> Tensor:
        options: dict[str, Any] = {"inplace": True} if self.inplace else {}
        if self.approximate != "none":
            options["approximate"] = self.approximate
        return getattr(F, self.row.name)(x, *self._params, **options)

    def fusable(self) -> tuple | None:
        """(name, *parameters) if the layer before may apply it: its slope follows from y by the same formula."""
        slope, row = self._slope_in_y, self.row
        if slope is None or not self.runs(_FORWARD) or self.approximate != "none":
            return None
        params = self._params if row.params else ()
        return (row.name, *params) if slope.check is None or slope.check[0](*params) else None

    def extra_repr(self) -> str:
        parts = [f"{param}={getattr(self, param):g}" for param in self.row.params]
        parts += [f"approximate={self.approximate!r}"] if self.row.approximate else []
        return ", ".join(parts + (["inplace=True"] if self.inplace else []))


_FORWARD = Activation.forward


def _layer(row: Row) -> type[Activation]:
    """The class of a row: ``LeakyReLU(negative_slope=0.01, inplace=False)``."""
    no_default, either = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_OR_KEYWORD
    arguments: dict[str, Any] = {
        k: no_default if row.required else v for k, v in row.params.items()
    }
    arguments |= {"approximate": "none"} if row.approximate else {}
    arguments |= {"inplace": False} if row.inplace else {}
    signature = inspect.Signature(
        [inspect.Parameter(name, either, default=value) for name, value in arguments.items()]
    )
    same = row.slope_from == "y" or (row.from_y is not None and row.from_y.slope is None)
    members = {
        "__doc__": f"y = {row.formula}\n\n{row.kink_note}\n\nThe layer of `F.{row.name}`. Source: {row.paper}.",
        "__module__": __name__,
        "__signature__": signature,
        "row": row,
        "signature": signature,
        "_slope_in_y": (row.from_y or row) if same else None,
    }
    return type(row.class_name, (Activation,), members)


LAYERS = {row.class_name: _layer(row) for row in ROWS if row.class_name}
globals().update(LAYERS)  # nn.ReLU and its relatives, under the names by which pickle finds them


_QUARTER = Constant(1.0, multiplier=0.25)


class PReLU(Module):
    """y = max(0, x) + slope * min(0, x), where the slope is learned.

    Axes are counted without the batch axis, as Sony's Neural Network Console does: with x of shape
    (N, 4, 3, 5), ``base_axis`` 0, 1, 2 learn 4, 3, 5 slopes; ``base_axis=(0, 2)`` learns (4, 5) of
    them, ``base_axis=None`` one per element, (4, 3, 5), and ``shared=True`` a single one.

    Args:
        shape: the number of slopes, or the shape of x without the batch axis. None: inferred from the first
            batch. The slope is then a parameter from the start (an optimizer may be built before),
            and empty until that batch.
        base_axis: the axis, or axes, along which slopes differ.
        shared: one slope for all elements.
        slope: its source (see `ParameterMaker`), 0.25 by default. A file or an array also has
            its shape.
        lr_mult: learning-rate multiplier. Slopes are exempt from weight decay.
        scope: layers with the same scope name share their slopes.

    The gradient at x = 0 is the slope, that of the negative side. The gradient of a slope is the
    sum of min(0, x) gy over all elements that it serves.

    PyTorch calls the slope ``weight``; `load_state_dict` takes that name, too.

    Raises:
        ValueError: x does not fit the slopes. TypeError: an argument of another library's PReLU
            (the right one is named).

    Source: He, Zhang, Ren & Sun, Delving Deep into Rectifiers, ICCV 2015.

    >>> PReLU(4)
    PReLU(base_axis=0; slope (4,))
    >>> PReLU(shared=True)([[-4.0, 4.0]]).numpy()
    array([[-1.,  4.]], dtype=float32)
    """

    torch_names = {"slope": "weight"}

    def __init__(
        self,
        shape: int | tuple[int, ...] | None = None,
        base_axis: int | tuple[int, ...] | None = 0,
        shared: bool = False,
        slope: Any = _QUARTER,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError("; ".join(_wrong_argument(name) for name in unknown))
        self.shared = check.flag("PReLU", "shared", shared)
        self.base_axis = base_axis if base_axis is None else _base_axis(base_axis)
        self.scope = scope
        make = ParameterMaker("PReLU", ("slope",), lr_mult, scope)
        self.slope = make("slope", slope, _QUARTER, self._slope_shape(shape), decay=False)

    def _slope_shape(self, shape: int | Sequence[int] | None) -> tuple[int, ...] | None:
        """The slope's shape, from the number of slopes or x's shape without the batch axis."""
        sizes = None if shape is None else check.integers("PReLU", "shape", shape, 1)
        if self.shared:
            return (1,)
        if sizes is None:
            return None
        if not isinstance(shape, Sequence):
            if isinstance(self.base_axis, tuple) and len(self.base_axis) > 1:
                raise ValueError(
                    f"PReLU: base_axis={self.base_axis} needs a shape of several axes, got "
                    f"shape={shape}: give the shape of x without the batch axis"
                )
            return sizes
        return tuple(sizes[axis] for axis in self._axes(len(sizes)))

    def _axes(self, ndim: int) -> tuple[int, ...]:
        """base_axis as a tuple without negative numbers, for `ndim` axes without the batch."""
        axes = self.base_axis
        if axes is None:
            return tuple(range(ndim))
        axes = (axes,) if isinstance(axes, int) else axes
        if not all(-ndim <= axis < ndim for axis in axes):
            raise ValueError(
                f"PReLU: base_axis={self.base_axis} counts without the batch axis; x has "
                f"{max(ndim, 0)} such axes"
            )
        places = tuple(axis % ndim for axis in axes)
        if len(set(places)) != len(places):
            raise ValueError(f"PReLU: base_axis={self.base_axis} names an axis twice")
        return places

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if self.shared:
            return F.prelu(x, self.slope)
        axes = self._axes(x.ndim - 1)
        expected = tuple([x.shape[axis + 1] for axis in axes])
        if self.slope.waits_for_shape:
            shape = check.integers("PReLU", "the number of slopes", expected, 1)
            fill("PReLU.slope", self.slope, shape)
        if self.slope.shape not in (expected, (1,)):
            raise ValueError(
                f"PReLU({self.extra_repr()}): x of shape {x.shape} needs slopes of shape "
                f"{expected}, this layer has {self.slope.shape}"
            )
        return F.prelu(x, self.slope, tuple([axis + 1 for axis in axes]))

    def extra_repr(self) -> str:
        axes = "shared=True" if self.shared else f"base_axis={self.base_axis}"
        return axes if self.scope is None else f"{axes}, scope={self.scope!r}"


def _base_axis(base_axis: Any) -> int | tuple[int, ...]:
    if isinstance(base_axis, tuple | list):
        return check.integers("PReLU", "base_axis", base_axis)
    return check.integer("PReLU", "base_axis", base_axis)


def _wrong_argument(name: str) -> str:
    right = {
        "alpha": "slope=, an initializer, array, file or Parameter: slope=init.Constant(0.25)",
        "init": "slope=, which takes any initializer: slope=init.Constant(0.25)",
        "weight": "slope=",
        "negative_slope": "slope=init.Constant(...)",
        "num_parameters": "shape=: the number of slopes; for a single one shared=True",
        "axis": "base_axis=, counted without the batch axis",
    }.get(name, "one of shape, base_axis, shared, slope, lr_mult, scope")
    return f"PReLU: no argument {name!r}; use {right}"


class Softmax(Module):
    """y = exp(x) / Σ exp(x), the sum over `axis`: positive numbers that add up to 1. The layer of `F.softmax`.

    Args:
        axis: the axis of the classes; the last by default. TypeError if it is not an integer.
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = check.integer("Softmax", "axis", axis)

    def forward(self, x: Any) -> Tensor:
        return F.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """y = x - log Σ exp(x), the sum over `axis`: the logarithm of `Softmax`, without its rounding to 0.

    The layer of `F.log_softmax`; `F.nll_loss` takes its result. Arguments as for `Softmax`.
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = check.integer("LogSoftmax", "axis", axis)

    def forward(self, x: Any) -> Tensor:
        return F.log_softmax(x, self.axis)
