# The two ways in which images (N, C, ...) lie in memory: in C order, or with the channels last.

cimport numpy as cnp
from minidl._kernels.arrays.checks cimport dense

import numpy as np


cdef inline bint channels_last(cnp.ndarray x) noexcept:
    """Whether x's memory is N, ..., C without gaps."""
    cdef Py_ssize_t stride = cnp.PyArray_ITEMSIZE(x), length
    cdef int i, axis, ndim = cnp.PyArray_NDIM(x)
    for i in range(ndim):
        axis = 1 if i == 0 else 0 if i == ndim - 1 else ndim - i
        length = cnp.PyArray_DIM(x, axis)
        if length != 1 and cnp.PyArray_STRIDE(x, axis) != stride:
            return False
        stride *= length
    return True


cdef inline cnp.ndarray images(object x, str name):
    """x if it lies in one of the two ways, else a C-ordered copy."""
    cdef cnp.ndarray xs = dense(x, name)
    if cnp.PyArray_NDIM(xs) < 2:
        raise ValueError(f"{name}: expected x (N, C, ...), got shape {x.shape}")
    if cnp.PyArray_IS_C_CONTIGUOUS(xs) or channels_last(xs):
        return xs
    return np.ascontiguousarray(xs)
