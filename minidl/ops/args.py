"""What several ops ask of their arguments: users' errors are checked here, once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.arrays.buffers import within
from minidl._kernels.runtime.memory import same_dtype
from minidl._kernels.runtime.prepared import by_numpy, checks, recorder
from minidl.autograd.tensor import Tensor, as_tensor, plain, wrap

Number = (int, float)  # bool and numpy.float64 are subclasses of these


def pair(x0: Any, x1: Any) -> tuple[Tensor, Tensor]:
    """Two arguments as tensors that can be combined. The common cases are quick: of one dtype, or one a number."""
    try:
        if isinstance(x0, Tensor):
            if isinstance(x1, Tensor):
                if _alike(x0, x1):
                    return x0, x1
            elif type(x1) in Number and x0._data.dtype.kind == "f":
                return x0, wrap(K.number(x1, x0._data))
        elif isinstance(x1, Tensor) and type(x0) in Number and x1._data.dtype.kind == "f":
            return wrap(K.number(x0, x1._data)), x1
        return _converted((x0, x1))
    except OverflowError as error:
        raise OverflowError(f"a Tensor and a number: {error}") from None


def _alike(x0: Tensor, x1: Tensor) -> bool:
    return same_dtype(x0._data, x1._data)


def operands(*xs: Any) -> tuple[Tensor, ...]:
    """The arguments as tensors that NumPy can combine without surprises in the dtype."""
    if len(xs) == 2:
        return pair(*xs)
    return xs if _one_dtype(xs) else _converted(xs)


def one_float_dtype(*xs: Any) -> tuple[Tensor, ...]:
    """The arguments as tensors of one float dtype, the widest among theirs: kernels never convert."""
    fits = _one_dtype(xs) and xs[0]._data.dtype.kind == "f"
    return xs if fits else _in_one_float_dtype(xs)


def input_and_weights(*xs: Any) -> tuple[Tensor, ...]:
    """The same of what a layer gets and its parameters. Says so where the input makes it slow."""
    if type(xs[0]) is np.ndarray:  # (what follows takes longer with arrays)
        xs = (as_tensor(xs[0]), *xs[1:])
    if _one_dtype(xs) and xs[0]._data.dtype.kind == "f":
        return xs
    x, weight = as_tensor(xs[0]), xs[1]
    trained = isinstance(weight, Tensor) and weight._requires_grad and weight._op is None
    if trained and x.dtype == np.float64 and weight.dtype == np.float32:
        warnings.warn(
            "a float64 input makes float32 parameters compute in float64, which takes twice as long or more: "
            'convert the data once, x.astype("float32") (images / 255 is float64, images / numpy.float32(255) '
            "is not)",
            stacklevel=2,
        )
    return _in_one_float_dtype(xs)


def _in_one_float_dtype(xs: tuple) -> tuple[Tensor, ...]:
    xs = operands(*xs)
    floats = [x.dtype for x in xs if x.dtype.kind == "f"]
    common = np.result_type(*(floats or [np.dtype(np.float32)]))
    return tuple([x if x.dtype == common else x.astype(common) for x in xs])


def _one_dtype(xs: tuple) -> bool:
    """Whether all are Tensors of one dtype."""
    if not isinstance(xs[0], Tensor):
        return False
    first = xs[0]
    for x in xs:  # noqa: SIM110 (a generator takes longer)
        if not (isinstance(x, Tensor) and same_dtype(x._data, first._data)):
            return False
    return True


def _converted(xs: tuple) -> Any:
    kinds = [
        x.dtype
        for x in xs
        if isinstance(x, Tensor | np.ndarray | np.generic) and not isinstance(x, Number)
    ]
    floats = [kind for kind in kinds if kind.kind == "f"]
    common = np.result_type(*floats) if floats else None
    if common is None and any(isinstance(x, float) for x in xs):
        common = np.dtype(np.float32)
    return tuple([_operand(x, common, kinds) for x in xs])


def _operand(x: Any, common: np.dtype | None, kinds: list[np.dtype]) -> Tensor:
    if isinstance(x, Number):
        if common is None:  # nothing but integers and bools
            common = np.result_type(*kinds) if kinds else np.dtype(np.float32)
            if common.kind == "b":
                common = np.dtype(np.int64)
        if common.kind == "f":  # (one that a captured step may hold)
            return wrap(K.number(x, np.empty((), common)))
        return Tensor(x, dtype=common)
    x = as_tensor(x, dtype=common if isinstance(x, list | tuple) else None)
    return x if common is None or x.dtype.kind == "f" else _as_dtype(x, common)


def _as_dtype(x: Tensor, dtype: Any) -> Tensor:
    """Integers or bools, which have no gradient, as floats."""
    return wrap(by_numpy(np.ndarray.astype, x._data, dtype))


def as_float(x: Any) -> Tensor:
    """x as a tensor that has a logarithm: integers become float32."""
    given = x if isinstance(x, Tensor) else as_tensor(x)
    return given if given._data.dtype.kind == "f" else _as_dtype(given, np.float32)


def as_float_in_place(name: str, x: Any) -> Tensor:
    """x as a tensor whose own memory an op will overwrite: a converted copy would leave x as it was."""
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: inplace needs float32 or float64, got {dtype}")
    return as_float(x)


def filled(shape: tuple[int, ...], value: float, dtype: Any) -> Tensor:
    """A tensor of equal numbers, by a kernel: a captured step fills it again."""
    array = K.empty(shape, dtype)
    K.set_all(array, value)
    return wrap(array)


def check_channels(owner: str, x: Tensor, channels: int) -> None:
    """ValueError unless x (N, C, ...) has so many channels. (An axis that is not there is missed elsewhere.)"""
    if x.ndim > 1 and x.shape[1] != channels:
        raise ValueError(f"{owner}: axis 1 of x: expected {channels} channels, got shape {x.shape}")


def scale_and_shift(
    name: str, x: Tensor, axes: str, shape: tuple[int, ...], weight: Any, bias: Any
) -> list[Tensor | None]:
    """The weight and the bias of a normalisation of x, in x's dtype; None where it is not given.

    axes: those of x that they belong to, for the error; shape: their lengths.
    """
    found: list[Tensor | None] = []
    for which, given in (("weight", weight), ("bias", bias)):
        v = None
        if given is not None:
            v = as_tensor(given, dtype=x.dtype if isinstance(given, list | tuple) else None)
            check_shape_of(f"{name}: {which}", v, x, axes, shape)
            v = v if v.dtype == x.dtype else v.astype(x.dtype)
        found.append(v)
    return found


def check_shape_of(what: str, v: Any, x: Tensor, axes: str, shape: tuple[int, ...]) -> None:
    """ValueError unless v has this shape: that of these axes of x."""
    if v.shape != shape:
        raise ValueError(
            f"{what}: expected shape {shape}, that of {axes} of x {x.shape}, got {v.shape}"
        )


def class_ids(name: str, ids: Any, n: int) -> np.ndarray:
    """ids as an integer array, each checked to lie in 0 ... n - 1 (in each replay of a captured step, too)."""
    array = check.array(name, "ids", plain(ids))
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name}: expected integer ids, got {array.dtype}")
    if not recorder.on:
        _check_range(name, array, n)
        return array.astype(np.int64, copy=False)
    array = np.asarray(array)
    checks(_check_range, name, array, n)
    return array if array.dtype == np.int64 else by_numpy(np.ndarray.astype, array, np.int64)


def _check_range(name: str, array: np.ndarray, n: int) -> None:
    if not within(array, n):
        wrong = array[(array < 0) | (array >= n)].flat[0]
        raise ValueError(f"{name}: id {wrong} is out of range for {n} classes (0 to {n - 1})")


def normalize_axis(name: str, axis: Any, ndim: int) -> int:
    """An axis counted from the front; ValueError naming the function if there is no such, TypeError if it is not
    an integer.
    """
    number = axis if type(axis) is int else check.integer(name, "axis", axis)
    if not -ndim <= number < ndim:
        raise ValueError(f"{name}: axis {number} is out of range for {ndim} axes")
    return number if number >= 0 else number + ndim


def normalize_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """The same of one axis or of a tuple of them; None stands for all."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is not tuple:
        return (normalize_axis(name, axis, ndim),)
    return tuple([normalize_axis(name, a, ndim) for a in axis])
