# What the faces of all kernels ask of their arrays. A loop runs over raw memory, so the arrays it
# walks side by side must be dense and lie in memory in one order; `name` is the face, for errors.

cimport numpy as cnp
from minidl._kernels cimport memory


cdef inline bint is_float(cnp.ndarray x) noexcept:
    """float32 or float64, in this machine's byte order and aligned."""
    cdef int kind = cnp.PyArray_TYPE(x)
    return (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) and cnp.PyArray_ISBEHAVED_RO(x)


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


cdef inline cnp.ndarray dense(object x, str name):
    """x itself if it is float32 or float64 in one dense block of any axis order, else a C copy."""
    cdef cnp.ndarray copy
    if not isinstance(x, cnp.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(x).__name__}")
    if is_plain(<cnp.ndarray> x):
        return <cnp.ndarray> x
    if cnp.PyArray_TYPE(<cnp.ndarray> x) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        raise TypeError(f"{name}: expected float32 or float64, got {x.dtype}")
    if is_float(<cnp.ndarray> x) and memory.is_dense(<cnp.ndarray> x):
        return <cnp.ndarray> x
    copy = memory.empty(cnp.PyArray_NDIM(<cnp.ndarray> x), cnp.PyArray_DIMS(<cnp.ndarray> x),
                        cnp.PyArray_TYPE(<cnp.ndarray> x))
    cnp.PyArray_CopyInto(copy, <cnp.ndarray> x)
    return copy


cdef inline cnp.ndarray c_order(object x, str name):
    """x itself if it is float32 or float64 in C order, else a copy that is."""
    cdef cnp.ndarray given = dense(x, name), copy
    if cnp.PyArray_IS_C_CONTIGUOUS(given):
        return given
    copy = memory.empty(cnp.PyArray_NDIM(given), cnp.PyArray_DIMS(given), cnp.PyArray_TYPE(given))
    cnp.PyArray_CopyInto(copy, given)
    return copy


cdef inline cnp.ndarray same_layout(object x, cnp.ndarray like, str name):
    """x if it lies in memory as `like` (dense) does, else a copy that does. The shape and the dtype
    must be equal: a kernel never converts."""
    cdef cnp.ndarray copy
    if not isinstance(x, cnp.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(x).__name__}")
    if not same_shape(<cnp.ndarray> x, like):
        raise ValueError(f"{name}: expected shape {(<object> like).shape}, got {x.shape}")
    if cnp.PyArray_TYPE(<cnp.ndarray> x) != cnp.PyArray_TYPE(like):
        raise TypeError(f"{name}: expected {(<object> like).dtype}, got {x.dtype}")
    if cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray> x) and same_strides(<cnp.ndarray> x, like):
        return <cnp.ndarray> x
    copy = memory.empty_like(like)
    cnp.PyArray_CopyInto(copy, <cnp.ndarray> x)
    return copy


cdef inline cnp.ndarray check_out(object out, cnp.ndarray like, str name):
    """out if a kernel may write a result like `like` (dense) into it; a new array if out is None.

    Any other array raises: a copy would leave the caller's own memory unwritten."""
    if out is None:
        return memory.empty_like(like)
    if not isinstance(out, cnp.ndarray):
        raise TypeError(f"{name}: out must be an ndarray, got {type(out).__name__}")
    if not same_shape(<cnp.ndarray> out, like):
        raise ValueError(f"{name}: out must have shape {(<object> like).shape}, got {out.shape}")
    if cnp.PyArray_TYPE(<cnp.ndarray> out) != cnp.PyArray_TYPE(like):
        raise TypeError(f"{name}: out must be {(<object> like).dtype}, got {out.dtype}")
    if not cnp.PyArray_ISBEHAVED(<cnp.ndarray> out):
        raise ValueError(f"{name}: out must be writable, aligned and in native byte order")
    if not same_strides(<cnp.ndarray> out, like):
        raise ValueError(
            f"{name}: out must have strides {(<object> like).strides}, got {out.strides}"
        )
    return <cnp.ndarray> out
