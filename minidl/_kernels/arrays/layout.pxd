# How an array lies in memory, and whether two do so alike.

cimport numpy as cnp


cdef inline bint is_float(cnp.ndarray x) noexcept:
    """float32 or float64, in this machine's byte order and aligned."""
    cdef int kind = cnp.PyArray_TYPE(x)
    return (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) and cnp.PyArray_ISBEHAVED_RO(x)


cdef inline bint is_double(cnp.ndarray x) noexcept:
    """float64; as an index, which of two loops, for float32 and float64, suits x."""
    return cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE


cdef inline bint is_plain(cnp.ndarray x) noexcept:
    """The common case, told by flags alone: C order and ready to be walked."""
    cdef int kind = cnp.PyArray_TYPE(x)
    return (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) and cnp.PyArray_ISCARRAY_RO(x)


cdef inline bint same_shape(cnp.ndarray x, cnp.ndarray like) noexcept:
    cdef int axis, ndim = cnp.PyArray_NDIM(x)
    if ndim != cnp.PyArray_NDIM(like):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIMS(x)[axis] != cnp.PyArray_DIMS(like)[axis]:
            return False
    return True


cdef inline bint same_strides(cnp.ndarray x, cnp.ndarray like) noexcept:
    """Equal where it matters: the stride of an axis of length 1 is never used. Shapes are equal."""
    cdef int axis
    if cnp.PyArray_SIZE(x) == 0:
        return True
    for axis in range(cnp.PyArray_NDIM(x)):
        if (cnp.PyArray_DIMS(x)[axis] != 1
                and cnp.PyArray_STRIDES(x)[axis] != cnp.PyArray_STRIDES(like)[axis]):
            return False
    return True


cdef inline bint in_elements(cnp.ndarray x) noexcept:
    """float32 or float64 whose strides are whole elements (a field of a structured array's are not)."""
    cdef int axis
    if not is_float(x):
        return False
    for axis in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_STRIDES(x)[axis] % <Py_ssize_t>cnp.PyArray_ITEMSIZE(x):
            return False
    return True


cdef inline bint in_pieces(
    cnp.ndarray x, cnp.ndarray y, int axis, Py_ssize_t outer, Py_ssize_t* nbytes, Py_ssize_t* step
) noexcept:
    """Whether x, from this axis on, is `outer` pieces of memory at equal distances, and each can be a piece of y (dense)."""
    cdef Py_ssize_t next_step = 0
    cdef int i
    cdef bint single = True
    if cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(y) or not cnp.PyArray_ISBEHAVED_RO(x):
        return False
    if cnp.PyArray_IS_C_CONTIGUOUS(x):
        nbytes[0] = step[0] = cnp.PyArray_NBYTES(x) // outer
        return cnp.PyArray_NBYTES(x) == outer * nbytes[0]
    nbytes[0], step[0] = cnp.PyArray_ITEMSIZE(x), 0
    for i in range(cnp.PyArray_NDIM(x) - 1, -1, -1):
        if cnp.PyArray_DIM(x, i) == 1:
            continue
        if i >= axis:
            if cnp.PyArray_STRIDE(x, i) != nbytes[0]:
                return False
            nbytes[0] *= cnp.PyArray_DIM(x, i)
        else:
            if single:
                step[0] = next_step = cnp.PyArray_STRIDE(x, i)
                single = False
            if cnp.PyArray_STRIDE(x, i) != next_step:
                return False
            next_step *= cnp.PyArray_DIM(x, i)
    return cnp.PyArray_NBYTES(x) == outer * nbytes[0]
