# What the entry points of all kernels ask of their arrays. A loop runs over raw memory, so the arrays it
# walks side by side must be dense and lie in memory in one order; `name` is the entry point, for errors.

cimport numpy as cnp
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.prepared cimport capturing, reads
from minidl._kernels.arrays.layout cimport is_plain, same_shape, same_strides
from minidl._kernels.arrays.copying cimport c_copy, copy_into


cdef inline cnp.ndarray seen(cnp.ndarray x):
    """x, which a kernel will read or overwrite: a plan that is being recorded takes note of it."""
    if capturing():
        reads(x)
    return x


cdef inline cnp.ndarray behaved(object x, str name):
    """x itself if it is float32 or float64, aligned and in native byte order, at whatever strides; else a C copy."""
    if not isinstance(x, cnp.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(x).__name__}")
    if cnp.PyArray_TYPE(<cnp.ndarray> x) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        raise TypeError(f"{name}: expected float32 or float64, got {x.dtype}")
    return seen(<cnp.ndarray> x) if cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray> x) else c_copy(<cnp.ndarray> x)


cdef inline cnp.ndarray dense(object x, str name):
    """x itself if it is float32 or float64 in one dense block of any axis order, else a C copy."""
    if isinstance(x, cnp.ndarray) and is_plain(<cnp.ndarray> x):  # the common case
        return seen(<cnp.ndarray> x)
    cdef cnp.ndarray given = behaved(x, name)
    return given if memory.is_dense(given) else c_copy(given)


cdef inline cnp.ndarray c_order(object x, str name):
    """x itself if it is float32 or float64 in C order, else a copy that is."""
    cdef cnp.ndarray given = dense(x, name)
    return given if cnp.PyArray_IS_C_CONTIGUOUS(given) else c_copy(given)


cdef inline cnp.ndarray c_axes(object x, int ndim, str name, str axes):
    """The same of an array that has so many axes, which `axes` names for the error."""
    cdef cnp.ndarray given = c_order(x, name)
    if cnp.PyArray_NDIM(given) != ndim:
        raise ValueError(f"{name}: expected {ndim} axes ({axes}), got shape {x.shape}")
    return given


cdef inline cnp.ndarray vector(object x, Py_ssize_t length, str name, str which):
    """The same of one axis of this length; `which` of the entry point's arguments it is."""
    cdef cnp.ndarray given = c_order(x, name)
    if cnp.PyArray_NDIM(given) != 1 or cnp.PyArray_DIM(given, 0) != length:
        raise ValueError(f"{name}: {which}: expected {length} values, got shape {x.shape}")
    return given


cdef inline cnp.int64_t* counter(object count, str name) except NULL:
    """Where the number of an int64 array of one element is, which will be counted up."""
    if not (
        isinstance(count, cnp.ndarray)
        and cnp.PyArray_TYPE(<cnp.ndarray>count) == cnp.NPY_INT64
        and cnp.PyArray_SIZE(<cnp.ndarray>count) == 1
        and cnp.PyArray_ISBEHAVED(<cnp.ndarray>count)
    ):
        raise TypeError(f"{name}: a count must be an int64 array of one element, got {count!r}")
    return <cnp.int64_t*>cnp.PyArray_DATA(seen(<cnp.ndarray>count))


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
        return seen(<cnp.ndarray> x)
    copy = memory.empty_like(like)
    copy_into(copy, <cnp.ndarray> x)
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
    return seen(<cnp.ndarray> out)
