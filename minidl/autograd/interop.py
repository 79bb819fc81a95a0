"""Between Tensors and other libraries: what a Tensor may be made of, what NumPy's functions do when they are given
one, and when DLPack may hand its memory out.
"""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from minidl import check

_USUAL = frozenset(map(np.dtype, "fd?bBhHiIlLqQ"))  # what an array may be without a conversion

# array + tensor asks NumPy first: its operators by the names that they have in minidl.ops.
OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "power": "pow", "matmul": "matmul",
    "equal": "equal", "not_equal": "not_equal", "less": "less", "less_equal": "less_equal",
    "greater": "greater", "greater_equal": "greater_equal", "floor_divide": "floor_divide", "remainder": "remainder",
    "bitwise_and": "logical_and", "bitwise_or": "logical_or", "invert": "logical_not",
}  # fmt: skip


# What these tell (shapes, dtypes, truth, text, places) has no gradient that could get lost.
_WITHOUT_SLOPE = frozenset({
    np.shape, np.ndim, np.size, np.result_type, np.iscomplexobj, np.isrealobj, np.shares_memory, np.may_share_memory,
    np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.allclose, np.isclose, np.array_equal,
    np.array_equiv, np.array_repr, np.array_str, np.array2string, np.argmax, np.argmin, np.argsort,
})  # fmt: skip


def array_from(data: Any, dtype: Any = None) -> np.ndarray:
    """The array for a tensor of data, which is none itself: Python numbers and sequences become float32, arrays keep
    their kind.
    """
    dtype = None if dtype is None else check.dtype("Tensor", dtype)
    if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array__"):
        array = np.asarray(data)
    elif hasattr(data, "__dlpack__"):
        array = np.from_dlpack(data)
    elif isinstance(data, int | float):
        array = np.asarray(data, dtype=np.float32 if dtype is None else dtype)
    else:
        array = check.array("Tensor", "data", data)
        dtype = np.float32 if dtype is None and array.dtype.kind in "fiub" else dtype
    if dtype is None and array.dtype in _USUAL:
        return array
    wanted = array.dtype if dtype is None else np.dtype(dtype)
    wanted = np.dtype(np.float32) if wanted == np.float16 else wanted
    for kind in (array.dtype, wanted):
        if kind.kind not in "fiub" or kind.itemsize > 8:
            raise TypeError(
                f"Tensor: dtype {kind} is not supported; use float32, float64, an integer or bool"
            )
    # (newbyteorder makes a new object; usual dtypes are recognised by theirs)
    return array.astype(wanted if wanted.isnative else wanted.newbyteorder("="), copy=False)


def reals(value: Any) -> Any:
    """The right side of ``x[index] = value``, as it is. TypeError unless it is real numbers: NumPy would take None for
    NaN, text for the number it spells, and of complex numbers the real part.
    """
    if not isinstance(value, int | float):
        array = check.array("Tensor", "x[index] = value", value)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"Tensor: x[index] = value: expected numbers, got {reprlib.repr(value)} (dtype {array.dtype})"
            )
    return value


def shareable(array: np.ndarray) -> bool:
    """Whether a Tensor can have this array as it is."""
    return array.dtype in _USUAL


def check_export(array: np.ndarray, requires_grad: bool, copy: bool | None) -> None:
    """BufferError if another library must not be given this memory: it would neither see the graph, nor (as PyTorch)
    respect that an array is read-only.
    """
    if requires_grad:
        raise BufferError(
            "__dlpack__: a tensor that requires a gradient cannot be shared, as the other library would not "
            "continue its graph: use tensor.detach()"
        )
    if not array.flags.writeable and not copy:
        raise BufferError(
            f"__dlpack__: this tensor's array (shape {array.shape}) is read-only, which not every library "
            "respects: share a copy, Tensor(tensor.data.copy())"
        )


def apply_operator(ops: dict, ufunc: Any, method: str, inputs: tuple, options: dict) -> Any:
    """NumPy's operators between an array and a Tensor are minidl's. Its other functions know nothing of gradients."""
    name = ufunc.__name__
    if method == "__call__" and name in OPERATORS and not options:
        y = ops[OPERATORS[name]](*inputs)
        return name == "not_equal" if y is NotImplemented else y  # (text is not equal to numbers)
    if "out" in options:
        raise TypeError(
            f"np.{name}: an array cannot be changed in place by a Tensor: use tensor.data, or array = array ... tensor"
        )
    raise TypeError(_advice(ops, name, method))


def call_function(ops: dict, function: Any, args: tuple, options: dict) -> Any:
    """A function of NumPy, on the arrays of Tensors; not if a gradient would get lost by that."""
    if function not in _WITHOUT_SLOPE and any(
        getattr(x, "requires_grad", False) for x in _leaves([args, options])
    ):
        raise TypeError(_advice(ops, function.__name__))
    return function(*_as_arrays(args), **_as_arrays(options))


def _advice(ops: dict, name: str, method: str = "__call__") -> str:
    ours = OPERATORS.get(name, name)
    known = callable(ops.get(ours)) and method == "__call__"  # (not a module, such as ops.shape)
    ours = f"md.{ours}(...) has one; " if known else ""
    return f"np.{name} has no gradient for Tensors: {ours}for values alone: np.{name}(x.data)"


def _leaves(value: Any) -> list:
    """All that lists, tuples and dicts hold."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _as_arrays(value: Any) -> Any:
    """The same with arrays in place of Tensors."""
    if isinstance(value, dict):
        return {key: _as_arrays(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_as_arrays(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return np.asarray(value) if hasattr(value, "requires_grad") else value
