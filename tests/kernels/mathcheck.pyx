"""One entry point for the functions of elementary.pxd, compensated.pxd and normal.pxd: tests and docs/accuracy.md reach each at every level.

Formula: y[i] = name(x[i]). Nothing in minidl calls this; the kernels inline the functions.
"""

cimport numpy as cnp

import numpy as np

from minidl._kernels.math.compensated cimport cosh_, expm1_, sigmoid_, sinh_, softplus_, tanh_
from minidl._kernels.math.elementary cimport exp_, log1p_, log2_, log_, real
from minidl._kernels.math.normal cimport erf_, gelu_, normal_cdf_
from minidl._kernels.math.trigonometric cimport any_cos_, any_sin_, any_tan_, arctan_

cnp.import_array()

FUNCTIONS = (
    "exp", "expm1", "log", "log1p", "sigmoid", "tanh", "softplus", "erf", "normal_cdf", "gelu",
    "sin", "cos", "tan", "arctan", "sinh", "cosh", "log2",
)


cdef void _loop(int function, const real* x, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if function == 0:
        for i in range(n): y[i] = exp_(x[i])
    elif function == 1:
        for i in range(n): y[i] = expm1_(x[i])
    elif function == 2:
        for i in range(n): y[i] = log_(x[i])
    elif function == 3:
        for i in range(n): y[i] = log1p_(x[i])
    elif function == 4:
        for i in range(n): y[i] = sigmoid_(x[i])
    elif function == 5:
        for i in range(n): y[i] = tanh_(x[i])
    elif function == 6:
        for i in range(n): y[i] = softplus_(x[i])
    elif function == 7:
        for i in range(n): y[i] = erf_(x[i])
    elif function == 8:
        for i in range(n): y[i] = normal_cdf_(x[i])
    elif function == 9:
        for i in range(n): y[i] = gelu_(x[i])
    elif function == 10:
        for i in range(n): y[i] = any_sin_(x[i])
    elif function == 11:
        for i in range(n): y[i] = any_cos_(x[i])
    elif function == 12:
        for i in range(n): y[i] = any_tan_(x[i])
    elif function == 13:
        for i in range(n): y[i] = arctan_(x[i])
    elif function == 14:
        for i in range(n): y[i] = sinh_(x[i])
    elif function == 15:
        for i in range(n): y[i] = cosh_(x[i])
    else:
        for i in range(n): y[i] = log2_(x[i])


def math_apply(str name, x, out=None):
    """y = name(x), element by element; name is one of FUNCTIONS.

    x: a C-contiguous float32 or float64 array; out: such an array of x's shape and dtype, or None.
    """
    if name not in FUNCTIONS:
        raise ValueError(f"math_apply: expected one of {', '.join(FUNCTIONS)}, got {name!r}")
    for label, array in (("x", x), ("out", x if out is None else out)):
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"math_apply: {label}: expected a float32 or float64 array, got {kind}")
        if not array.flags.c_contiguous:
            raise ValueError(f"math_apply: {label}: expected a C-contiguous array")
    if out is None:
        out = np.empty_like(x)
    if out.shape != x.shape or out.dtype != x.dtype or not out.flags.writeable:
        raise ValueError(f"math_apply: out: expected a writable {x.dtype} array of shape {x.shape}")
    cdef int function = FUNCTIONS.index(name)
    cdef Py_ssize_t n = x.size
    cdef const void* source = cnp.PyArray_DATA(x)
    cdef void* target = cnp.PyArray_DATA(out)
    if x.dtype == np.float32:
        with nogil:
            _loop(function, <const float*>source, <float*>target, n)
    else:
        with nogil:
            _loop(function, <const double*>source, <double*>target, n)
    return out
