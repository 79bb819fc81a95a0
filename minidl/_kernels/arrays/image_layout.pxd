# The two ways in which images (N, C, ...) lie in memory: in C order, or with the channels last. (checks.pxd has how
# a kernel gets such arrays.)

cimport numpy as cnp


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
