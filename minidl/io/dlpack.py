"""Tensors around the memory of other libraries' arrays. (`Tensor.__dlpack__` is the way back.)"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd.interop import shareable
from minidl.autograd.tensor import Tensor, wrap


def from_dlpack(x: Any) -> Tensor:
    """A Tensor in the memory of x, an array of PyTorch, JAX, NumPy or any other library with ``__dlpack__``.

    Nothing is copied: a write on one side is seen on the other. x's memory lives as long as the Tensor does. The other
    way is that library's own function: ``torch.from_dlpack(tensor)``, ``jax.numpy.from_dlpack(tensor)``. The Tensor
    does not require a gradient, and is read-only if x is, as JAX's arrays are.

    Raises:
        TypeError: x has no ``__dlpack__``, or a dtype that tensors do not have (float16, bfloat16, complex numbers).
        BufferError: x requires a gradient in its library (detach it there), or is not in the CPU's memory.

    >>> import numpy as np
    >>> array = np.zeros(2, np.float32)
    >>> x = from_dlpack(array)
    >>> array[0] = 3
    >>> x
    Tensor([3. 0.])
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise TypeError(
            f"from_dlpack: expected an array with __dlpack__ and __dlpack_device__, got {x!r}"
        )
    try:
        # (NumPy 2.0 hands out no read-only arrays, not even to itself.)
        array = x if isinstance(x, np.ndarray) else np.from_dlpack(x)
    except BufferError as error:
        raise BufferError(f"from_dlpack: {error}") from error
    except RuntimeError as error:  # NumPy's, of a device or a dtype that it does not know
        kind = BufferError if "device" in str(error) else TypeError
        raise kind(f"from_dlpack: {error} (of a {type(x).__name__})") from error
    if not shareable(array):
        raise TypeError(
            f"from_dlpack: dtype {array.dtype} is not supported; use float32, float64, an integer or bool"
        )
    return wrap(array)
