"""Tensor: an array, its gradient, and the op that made it.

`engine` computes gradients, `minidl.ops` has the operators; `connect` brings both here, as nothing imports upward.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any

import numpy as np

from minidl import check
from minidl._kernels.runtime.prepared import capturing, note, recorder, refuse
from minidl._kernels.runtime.shared import hold, let_go
from minidl.autograd.changes import Changes, any_live
from minidl.autograd.interop import apply_operator, array_from, call_function, check_export, reals
from minidl.autograd.modes import recording
from minidl.porting import Count

ops: dict[str, Any] = {}  # the functions of minidl.ops by name: Tensor's operators and methods
walk: Any = None  # minidl.autograd.engine.walk


def connect(functions: dict[str, Any], engine_walk: Any) -> None:
    """Gives Tensor what is above this module: nothing imports upward, so `minidl/__init__.py` hands it in."""
    global walk
    ops.update(functions)
    walk = engine_walk


def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """The array of a tensor: Python numbers and sequences become float32, arrays keep their kind."""
    if isinstance(data, Tensor):
        return data._data if dtype is None else array_from(data._data, dtype)
    return array_from(data, dtype)


class Method:
    """A function of minidl.ops as a method: ``x.prod(axis=1)`` is ``prod(x, axis=1)``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, x: Any, kind: Any) -> Any:
        function = ops[self.name]
        return function if x is None else MethodType(function, x)


class Tensor:
    """An n-dimensional array that can be differentiated.

    Args:
        data: a number, a sequence, an ndarray, or anything with ``__array__`` or ``__dlpack__``. Python numbers and
            lists become float32; arrays keep float32, float64, integer or bool, and share their memory.
        requires_grad: whether `backward` should compute ``grad`` for it. Only float32 and float64 can.
        dtype: converts the data to this dtype.

    Attributes:
        grad: the gradient that `backward` added up (a Tensor), or None. Only leaves (tensors made by the user, not by
            an op) have one.

    Raises:
        TypeError: a dtype that tensors do not have, or a gradient asked for integers.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2. 4.])
    """

    __slots__ = ("__weakref__", "_changes", "_data", "_op", "_requires_grad", "_seen", "grad")

    _data: Any
    _op: Any
    _changes: Any
    grad: Any

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        self._data = as_array(data, dtype)
        self._op = self.grad = None
        shared = isinstance(data, Tensor) and self._data is data._data
        self._changes = data._shared_changes() if shared else None
        self._seen = data._seen if shared else 0
        self._requires_grad = False
        self.requires_grad = requires_grad

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = value if type(value) is bool else check.flag("Tensor", "requires_grad", value)
        if value and self._data.dtype.kind != "f":
            raise TypeError(
                f"only float32 and float64 tensors can require a gradient, this one is {self._data.dtype}"
            )
        if self._op is not None and not value:
            raise RuntimeError(
                "requires_grad can only be switched off on a leaf; use detach() on the result of an op"
            )
        self._requires_grad = value

    @property
    def data(self) -> np.ndarray:
        """The array, shared. Assigning one of the same shape (kept in this tensor's dtype) is an in-place change.

        So is a write into it (``x.data[0] = 5``), but it is noticed only if the array was fetched after the op that
        needs the old values; through an older reference, or the user's own NumPy array, only under `detect_anomaly`.
        """
        if any_live():
            self._shared_changes().hand_out(self._data)
        return self._read()

    @data.setter
    def data(self, value: Any) -> None:
        array = np.asarray(value._data if isinstance(value, Tensor) else value)
        if array.shape != self._data.shape:
            raise ValueError(f"data: expected shape {self._data.shape}, got {array.shape}")
        self._data = array.astype(self._data.dtype, copy=False)
        self._mark_changed()

    def _mark_changed(self) -> None:
        """Ops that saved this tensor will refuse to differentiate with its new values."""
        refuse("Python writes into a tensor, which would not be done again")
        self._shared_changes().mark()

    def _shared_changes(self) -> Changes:
        if self._changes is None:
            changes = Changes()
            hold(self)
            self._changes = self._changes or changes  # (of another thread, which was quicker)
            let_go(self)
        return self._changes

    def _read(self) -> np.ndarray:
        """The array, for Python to read: not in a step that is captured, where it would read it but once."""
        refuse("a value is read from a tensor, which would not be read again")
        return self._data

    def detach(self) -> Tensor:
        """The same memory, cut off from the graph."""
        return wrap(self._data, changes=self._shared_changes())

    def zero_grad(self) -> None:
        """Forgets the gradient."""
        zero_grads([self])

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return Count(self._data.size)

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype."""
        return self._data.dtype

    @property
    def T(self) -> Tensor:
        """The transpose: all axes reversed."""
        return self.transpose()

    def numpy(self) -> np.ndarray:
        """The array itself, shared, not copied: `data`."""
        return self.data

    def item(self) -> float:
        """The only element as a Python number; ValueError if there is not exactly one."""
        if self._data.size != 1:
            raise ValueError(f"item(): expected one element, this tensor has shape {self.shape}")
        return self._read().item()

    def backward(
        self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Adds d(self)/d(leaf), times `gradient`, to ``leaf.grad`` of every leaf that requires a gradient.

        Args:
            gradient: array or Tensor of this tensor's shape; may be left out for one element (then it is 1).
            retain_graph: keep the graph for another `backward`; otherwise its memory is freed on the way.
            create_graph: record the backward pass too, so that gradients can be differentiated again.

        Raises:
            RuntimeError: nothing here requires a gradient; `gradient` missing for a tensor that is not a scalar; the
                graph was freed by an earlier `backward`; a tensor that backward needs was changed in place.
            ValueError: `gradient` has another shape.
        """
        walk([self], [gradient], None, retain_graph or create_graph, create_graph)

    # The operators are functions of minidl.ops; see their docstrings.
    def __add__(self, other: Any) -> Tensor:
        return ops["add"](self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops["add"](other, self)

    def __sub__(self, other: Any) -> Tensor:
        return ops["sub"](self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops["sub"](other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops["mul"](self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return ops["mul"](other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return ops["div"](self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops["div"](other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops["pow"](self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops["pow"](other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops["matmul"](other, self)

    def __iadd__(self, other: Any) -> Tensor:
        return ops["inplace"](self, other, "+=")

    def __isub__(self, other: Any) -> Tensor:
        return ops["inplace"](self, other, "-=")

    def __imul__(self, other: Any) -> Tensor:
        return ops["inplace"](self, other, "*=")

    def __itruediv__(self, other: Any) -> Tensor:
        return ops["inplace"](self, other, "/=")

    def __ipow__(self, other: Any) -> Tensor:
        return ops["inplace"](self, other, "**=")

    def __imatmul__(self, other: Any) -> Tensor:
        return ops["inplace"](self, other, "@=")

    def __floordiv__(self, other: Any) -> Tensor:
        return ops["floor_divide"](self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return ops["floor_divide"](other, self)

    def __mod__(self, other: Any) -> Tensor:
        return ops["remainder"](self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return ops["remainder"](other, self)

    def __and__(self, other: Any) -> Tensor:
        return ops["logical_and"](self, other)

    def __rand__(self, other: Any) -> Tensor:
        return ops["logical_and"](other, self)

    def __or__(self, other: Any) -> Tensor:
        return ops["logical_or"](self, other)

    def __ror__(self, other: Any) -> Tensor:
        return ops["logical_or"](other, self)

    def __invert__(self) -> Tensor:
        return ops["logical_not"](self)

    def __neg__(self) -> Tensor:
        return ops["neg"](self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return ops["abs"](self)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops["equal"](self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return ops["not_equal"](self, other)

    def __lt__(self, other: Any) -> Tensor:
        return ops["less"](self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops["less_equal"](self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops["greater"](self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops["greater_equal"](self, other)

    def __hash__(self) -> int:
        return id(self) >> 4

    def __getitem__(self, index: Any) -> Tensor:
        return ops["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if recording() and (self._requires_grad or getattr(value, "_requires_grad", False)):
            raise RuntimeError(
                "assignment to or from a tensor that requires a gradient is not differentiated; "
                "do it inside no_grad(), or use where() or concatenate()"
            )
        self._data[plain(index)] = reals(plain(value))
        self._mark_changed()

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops["sum"](self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops["mean"](self, axis, keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        return ops["reshape"](self, *shape)

    max, min, argmax, argmin = Method("max"), Method("min"), Method("argmax"), Method("argmin")
    var, std, norm, logsumexp = Method("var"), Method("std"), Method("norm"), Method("logsumexp")
    prod, cumsum, sort, pad = Method("prod"), Method("cumsum"), Method("sort"), Method("pad")
    exp, log, expm1, log1p = Method("exp"), Method("log"), Method("expm1"), Method("log1p")
    sin, cos, tan, arctan = Method("sin"), Method("cos"), Method("tan"), Method("arctan")
    sinh, cosh, tanh, erf = Method("sinh"), Method("cosh"), Method("tanh"), Method("erf")
    sqrt, rsqrt, sign, floor = Method("sqrt"), Method("rsqrt"), Method("sign"), Method("floor")
    abs, clip, astype, log2 = Method("abs"), Method("clip"), Method("astype"), Method("log2")
    repeat, flatten, squeeze = Method("repeat"), Method("flatten"), Method("squeeze")
    argsort, expand_dims, transpose = Method("argsort"), Method("expand_dims"), Method("transpose")
    broadcast_to = Method("broadcast_to")

    # How Python and NumPy see a tensor.
    def __len__(self) -> int:
        if self._data.ndim == 0:
            raise TypeError("len() of a tensor with no axes")
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.data.__index__()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._read() if copy else self.data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return apply_operator(ops, ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: tuple, options: dict) -> Any:
        return call_function(ops, function, args, options)

    def __dlpack__(self, **options: Any) -> Any:
        check_export(self._data, self._requires_grad, options.get("copy"))
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    def __reduce__(self) -> tuple:
        if self._op is not None:
            raise RuntimeError("only leaves can be copied or pickled: detach() what an op made")
        return type(self), (self._data, self._requires_grad)

    def __repr__(self) -> str:
        prefix = f"{type(self).__name__}("
        text = np.array2string(self._read(), prefix=prefix, threshold=50, edgeitems=3, precision=4)
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        flag = ", requires_grad=True" if self._requires_grad and self._op is None else ""
        made = f", op={type(self._op).__name__}" if self._op is not None else ""
        return f"{prefix}{text}{kind}{flag}{made})"

    def _repr_html_(self) -> str:
        from minidl.notebook.views import tensor_html  # here, as only notebooks need it

        return tensor_html(self)


def wrap(
    array: np.ndarray, op: Any = None, changes: Changes | None = None, requires_grad: bool = False
) -> Tensor:
    """A Tensor around an array that is known to be right, without the constructor's questions."""
    tensor = Tensor.__new__(Tensor)
    tensor._data, tensor._op = array, op
    tensor._changes = changes
    tensor._seen = 0 if changes is None else changes.overwritten
    tensor._requires_grad, tensor.grad = requires_grad, None
    return tensor


def zero_grads(tensors: list) -> None:
    """Forgets the gradients of all of them. (Compiled, this is one step of Python: Ctrl-C does not part them.)"""
    for tensor in tensors:
        hold(tensor)
        before, tensor.grad = tensor.grad, None
        let_go(tensor)
        del before  # (it may have been the last that holds it: not while others wait)
    if recorder.on and capturing():
        note("cleared", tensors)


def mark_changed(tensors: list) -> None:
    """`_mark_changed` of all of them, in one step too."""
    for tensor in tensors:
        changes = tensor._changes or tensor._shared_changes()
        changes.mark()
    if recorder.on and capturing():
        note("changed", tensors)


def as_tensor(x: Any, dtype: Any = None) -> Tensor:
    """x itself if it is a Tensor, else ``Tensor(x, dtype=dtype)``."""
    return x if isinstance(x, Tensor) else wrap(as_array(x, dtype))


def plain(x: Any) -> Any:
    """x with ndarrays in place of Tensors, inside a tuple (an index) too."""
    if isinstance(x, tuple):
        return tuple(plain(item) for item in x)
    return x._data if isinstance(x, Tensor) else x
