"""Parameter: a tensor that is trained; and where a layer's parameters come from."""

from __future__ import annotations

import io
import math
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from numbers import Real
from threading import RLock
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import numpy as np

from minidl import check
from minidl.autograd.tensor import Tensor
from minidl.init import Fan, Initializer
from minidl.replay.watch import outlives


class Parameter(Tensor):
    """A Tensor that requires a gradient and knows how it wants to be trained.

    Args:
        data: as for `Tensor`; an array is shared, or copied if it cannot be written in place.
        lr_mult: every optimizer steps this parameter with ``lr * lr_mult``; 0 freezes it and its
            optimizer state.
        decay: False exempts it from weight decay.
        name: a name for the reader; nothing depends on it.

    Raises:
        TypeError: integer data. ValueError: `lr_mult` is negative or not finite.

    >>> Parameter([1.0, 2.0], lr_mult=2.0).lr_mult
    2.0
    """

    __slots__ = ("_initializer", "_lr_mult", "decay", "name")

    def __init__(
        self, data: Any, lr_mult: float = 1.0, decay: bool = True, name: str | None = None
    ) -> None:
        super().__init__(data, requires_grad=True)
        if not (self._data.flags.behaved and self._data.flags.forc):
            self._data = self._data.copy()
        self.lr_mult = lr_mult
        self.decay = check.flag("Parameter", "decay", decay)
        self.name = name
        self._initializer: Callable | None = None

    @property
    def waits_for_shape(self) -> bool:
        """True until its shape is inferred from the first batch; it is empty, of shape (0,), until then."""
        return self._initializer is not None

    @property
    def lr_mult(self) -> float:
        """The factor on the learning rate."""
        return self._lr_mult

    @lr_mult.setter
    def lr_mult(self, value: float) -> None:
        self._lr_mult = check.number("Parameter", "lr_mult", value, least=0.0)

    def __reduce__(self) -> tuple:
        # The last item is what copy and pickle set on the new object: (nothing for __dict__,
        # slots).
        return (
            type(self),
            (self._data, self._lr_mult, self.decay, self.name),
            (None, {"requires_grad": self._requires_grad, "_initializer": self._initializer}),
        )


_making = RLock()  # held while a parameter that threads may share gets its values

# ── Where a parameter comes from ──────────────────────────────────────────────────────────────────


class ParameterScope:
    """Keeps scope names apart: ``scope="s"`` inside means another "s" than outside.

    Without a ParameterScope, a name holds for the whole program. In both cases it is forgotten when
    the last layer that uses it is gone: names do not keep parameters alive.

    >>> from minidl.nn import PReLU
    >>> with ParameterScope():
    ...     a, b = PReLU(4, scope="s"), PReLU(4, scope="s")
    >>> a.slope is b.slope
    True
    """

    def __init__(self) -> None:
        # (scope name, parameter name) -> the parameter, and the layer that made it.
        self._parameters: WeakValueDictionary[tuple[str, str], Parameter] = WeakValueDictionary()
        self._makers: dict[tuple[str, str], str] = {}
        self._tokens: list[Token] = []

    def __enter__(self) -> ParameterScope:
        self._tokens.append(_scope.set(self))
        return self

    def __exit__(self, *exception: object) -> None:
        _scope.reset(self._tokens.pop())


_scope: ContextVar[ParameterScope] = ContextVar("parameter scope", default=ParameterScope())  # noqa: B039


class ParameterMaker:
    """Makes the parameters of one layer, with all that layers have in common.

    Args:
        layer: the layer's name, for errors.
        names: all of its parameters.
        lr_mult: one number for all of them, or a dict by name.
        scope: layers with the same scope name share their parameters; the first one makes them.

    >>> from minidl.init import Constant
    >>> make = ParameterMaker("Affine", ("weight", "bias"), lr_mult={"bias": 2.0})
    >>> make("bias", [0.0, 1.0], Constant(0.0), (2,)).lr_mult
    2.0
    """

    def __init__(
        self,
        layer: str,
        names: Sequence[str],
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
    ) -> None:
        if scope is not None and not isinstance(scope, str):
            raise TypeError(f"{layer}: scope must be a string, got {scope!r}")
        names = check.items(layer, "names", names, "strings")
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"{layer}: names must be a sequence of strings, got {names!r}")
        multipliers = lr_mult if isinstance(lr_mult, Mapping) else dict.fromkeys(names, lr_mult)
        unknown = [name for name in multipliers if name not in names]
        if unknown:
            raise ValueError(f"{layer}: lr_mult names {unknown}, but its parameters are {names}")
        self.layer = layer
        self.scope = scope
        self.lr_mult = {
            name: check.number(f"{layer}.{name}", "lr_mult", value, least=0.0)
            for name, value in multipliers.items()
        }

    def __call__(
        self,
        name: str,
        source: Any,
        default: Initializer,
        shape: tuple[int, ...] | None,
        fan: Fan | None = None,
        decay: bool = True,
        optional: bool = False,
    ) -> Any:
        """The Parameter `name`, from whatever the user gave as its source (None if left out).

        Args:
            source: an initializer, array, file path, another Parameter (then shared), or None for
                `default`. An optional parameter is left out for False or None, and made from
                `default` for True.
            shape: what it must have; None if only the first batch will tell. An initializer then
                gives an empty parameter of shape (0,), which the layer fills: its optimizer may be
                built before.
            fan: (fan_in, fan_out) where the shape does not tell.
        """
        where = f"{self.layer}.{name}"
        if source is None or isinstance(source, bool | np.bool_):
            if optional and not source:
                return None
            if source is not None and not optional:
                raise TypeError(f"{where}: expected {_SOURCES}, got {source}")
            source = default
        lr_mult = self.lr_mult.get(name, 1.0)
        if self.scope is None:
            return _parameter(where, name, source, shape, fan, lr_mult, decay)

        scope, key = _scope.get(), (self.scope, name)
        with _making:
            parameter = scope._parameters.get(key)
            if parameter is None:
                parameter = _parameter(where, name, source, shape, fan, lr_mult, decay)
                scope._parameters[key] = parameter
                scope._makers[key] = self.layer
                return parameter
        if parameter.waits_for_shape:
            if shape is not None:
                fill(where, parameter, shape, fan)
        elif shape not in (None, parameter.shape):
            raise ValueError(
                f"{where}: scope {self.scope!r} holds the {name} of shape {parameter.shape} that "
                f"{scope._makers[key]} made; "
                f"this layer needs {shape}: give it another scope name, or use nn.ParameterScope()"
            )
        return _shared(where, parameter, lr_mult)


_SOURCES = "an initializer, an array, the path of a file or a Parameter"


def _parameter(
    where: str,
    name: str,
    source: Any,
    shape: tuple[int, ...] | None,
    fan: Fan | None,
    lr_mult: float,
    decay: bool,
) -> Parameter:
    if isinstance(source, Parameter):
        if shape is not None and source.waits_for_shape:
            fill(where, source, shape, fan)
        if shape not in (None, source.shape):
            raise ValueError(
                f"{where}: expected shape {shape}, the given Parameter has {source.shape}"
            )
        return _shared(where, source, lr_mult)
    data = initial_values(where, source, shape, fan, np.dtype(np.float32))
    parameter = Parameter(data, lr_mult=lr_mult, decay=decay, name=name)
    if shape is None and callable(source):
        parameter._initializer = source
    return parameter


def fill(where: str, parameter: Parameter, shape: tuple[int, ...], fan: Fan | None = None) -> None:
    """The first values of a parameter whose shape has become known, from the initializer that it was made with.

    Nothing, if another thread was quicker.
    """
    with _making:
        if parameter.waits_for_shape:
            values = initial_values(where, parameter._initializer, shape, fan, parameter.dtype)
            # Done once: a captured step may do it while it is recorded.
            parameter._data = outlives(np.array(values))
            parameter._shared_changes().mark()
            parameter._initializer = None


def _shared(where: str, parameter: Parameter, lr_mult: float) -> Parameter:
    if lr_mult not in (1.0, parameter.lr_mult):
        raise ValueError(
            f"{where}: lr_mult={lr_mult} was given, but the parameter is shared and has "
            f"lr_mult={parameter.lr_mult}: set it where the parameter is made"
        )
    return parameter


def initial_values(
    where: str, source: Any, shape: tuple[int, ...] | None, fan: Fan | None, dtype: np.dtype
) -> np.ndarray:
    """The first values: an array of its own, in `dtype`."""
    if isinstance(source, type) and issubclass(source, Initializer):
        source = source()
    if isinstance(source, str | os.PathLike):
        origin = f"the file {os.fspath(source)}"
        values = read_array(where, os.fspath(source), shape)
    elif isinstance(source, np.ndarray | list | tuple) or hasattr(source, "__array__"):
        origin = "the array"
        values = check.array(where, "values", source)
    elif callable(source):
        if shape is None:
            return np.empty(0, dtype)
        origin = f"the initializer {source!r}"
        values = np.asarray(_draw(where, source, shape, fan, dtype))
    else:
        raise TypeError(
            f"{where}: expected {_SOURCES}, got {source!r}"
            + (f" (for a constant: init.Constant({source}))" if isinstance(source, Real) else "")
        )
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{where}: expected numbers, {origin} has dtype {values.dtype}")
    if shape is not None and values.shape != shape:
        raise ValueError(f"{where}: expected shape {shape}, {origin} has {values.shape}")
    return np.array(values, dtype, order="C")


def _draw(where: str, source: Callable, shape: tuple[int, ...], fan: Fan | None, dtype: Any) -> Any:
    if not isinstance(source, Initializer):
        return source(shape, dtype=dtype)
    try:
        return source(shape, dtype=dtype, fan=fan)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


# ── Files ─────────────────────────────────────────────────────────────────────────────────────────


def read_array(where: str, path: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """The array in a file; of several in .npz or .safetensors, the one with the parameter's name.

    A .csv (commas) or .txt (commas or spaces) file is a table of one row per index of the first
    axis; later axes lie side by side in it. A vector may be a row or a column.

    Raises:
        FileNotFoundError: no such file. ValueError: any other reason why it cannot be read, `where`
            and path named.
    """
    from minidl.io import files, npz, safetensors  # (zipfile and json slow `import minidl` down)

    ending = os.path.splitext(path)[1].lower()
    if ending not in _ENDINGS:
        raise ValueError(f"{where}: {path} ends in none of {', '.join(_ENDINGS)}")
    with files.reading(where, path) as (file, limit):
        if ending in (".csv", ".txt"):
            return _from_table(_read_table(file), shape)
        if ending == ".npy":
            return npz.read_npy(file, files.size_of(file))
        reader = npz if ending == ".npz" else safetensors
        found, _ = reader.read(file, limit)
    name = where.rpartition(".")[2]
    if name not in found and len(found) != 1:
        raise ValueError(f"{where}: {path} has no array {name!r} but {sorted(found)}")
    return found[name] if name in found else next(iter(found.values()))


_ENDINGS = (".npy", ".npz", ".safetensors", ".csv", ".txt")
_LONGEST_LINE = 1 << 24


def _read_table(file: BinaryIO) -> np.ndarray:
    """The rows of numbers in a text; what follows a # is a comment."""
    numbers, width, rows = array("d"), 0, 0
    with io.TextIOWrapper(file, "utf-8-sig") as text:
        lines = iter(lambda: text.readline(_LONGEST_LINE + 1), "")
        for number, line in enumerate(lines, 1):
            if len(line) > _LONGEST_LINE:
                raise ValueError(f"line {number} has more than {_LONGEST_LINE:,} characters")
            try:
                row = _numbers(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            if row and rows and len(row) != width:
                raise ValueError(f"line {number} has {len(row)} numbers, expected {width}")
            if row:
                numbers.extend(row)
                width, rows = len(row), rows + 1
    return np.array(numbers).reshape(max(rows, 1), width)


def _numbers(line: str) -> list[float]:
    content = line.partition("#")[0].strip()
    cells = [cell.split() for cell in content.removesuffix(",").split(",")]
    if content and not all(cells):
        raise ValueError("a cell is empty")
    return [float(value) for cell in cells for value in cell]


def _from_table(table: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """The table in the parameter's shape if its rows and columns are right, else as it is."""
    if shape is None or len(shape) < 2:
        squeezed = table.reshape(-1) if 1 in table.shape else table
        return squeezed.reshape(()) if shape == () and squeezed.size == 1 else squeezed
    return table.reshape(shape) if table.shape == (shape[0], math.prod(shape[1:])) else table
