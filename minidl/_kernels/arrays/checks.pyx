"""What entry points do with arrays that are not as their loops need them: conversions and errors (see checks.pxd)."""

cimport numpy as cnp
from minidl._kernels.arrays.copying cimport c_copy, copy_into
from minidl._kernels.arrays.image_layout cimport channels_last
from minidl._kernels.arrays.layout cimport same_shape, same_strides
from minidl._kernels.runtime cimport memory

cnp.import_array()


cdef cnp.ndarray behaved(object x, str name):
    if not isinstance(x, cnp.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(x).__name__}")
    if cnp.PyArray_TYPE(<cnp.ndarray> x) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        raise TypeError(f"{name}: expected float32 or float64, got {x.dtype}")
    return seen(<cnp.ndarray> x) if cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray> x) else c_copy(<cnp.ndarray> x)


cdef cnp.ndarray made_dense(object x, str name):
    cdef cnp.ndarray given = behaved(x, name)
    return given if memory.is_dense(given) else c_copy(given)


cdef cnp.ndarray made_c_order(object x, str name):
    cdef cnp.ndarray given = made_dense(x, name)
    return given if cnp.PyArray_IS_C_CONTIGUOUS(given) else c_copy(given)


cdef cnp.ndarray c_axes(object x, int ndim, str name, str axes):
    cdef cnp.ndarray given = c_order(x, name)
    if cnp.PyArray_NDIM(given) != ndim:
        raise ValueError(f"{name}: expected {ndim} axes ({axes}), got shape {x.shape}")
    return given


cdef cnp.ndarray vector(object x, Py_ssize_t length, str name, str which):
    cdef cnp.ndarray given = c_order(x, name)
    if cnp.PyArray_NDIM(given) != 1 or cnp.PyArray_DIM(given, 0) != length:
        raise ValueError(f"{name}: {which}: expected {length} values, got shape {x.shape}")
    return given


cdef cnp.int64_t* counter(object count, str name) except NULL:
    if not (
        isinstance(count, cnp.ndarray)
        and cnp.PyArray_TYPE(<cnp.ndarray>count) == cnp.NPY_INT64
        and cnp.PyArray_SIZE(<cnp.ndarray>count) == 1
        and cnp.PyArray_ISBEHAVED(<cnp.ndarray>count)
    ):
        raise TypeError(f"{name}: a count must be an int64 array of one element, got {count!r}")
    return <cnp.int64_t*>cnp.PyArray_DATA(seen(<cnp.ndarray>count))


cdef cnp.ndarray same_layout(object x, cnp.ndarray like, str name):
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


cdef cnp.ndarray writable(object out, cnp.ndarray like, str name):
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


cdef cnp.ndarray images(object x, str name):
    cdef cnp.ndarray xs = dense(x, name)
    if cnp.PyArray_NDIM(xs) < 2:
        raise ValueError(f"{name}: expected x (N, C, ...), got shape {x.shape}")
    if cnp.PyArray_IS_C_CONTIGUOUS(xs) or channels_last(xs):
        return xs
    return c_copy(xs)


cdef cnp.ndarray new_images(
    int axes, Py_ssize_t samples, Py_ssize_t channels, const Py_ssize_t* size, int kind, bint in_c_order
):
    cdef cnp.npy_intp[cnp.NPY_MAXDIMS] shape, order
    cdef cnp.PyArray_Dims permutation
    cdef int axis, first = 2 if in_c_order else 1, c = 1 if in_c_order else axes + 1
    for axis in range(axes):
        shape[axis + first], order[axis + 2] = size[axis], axis + first
    shape[0], shape[c], order[0], order[1] = samples, channels, 0, c
    y = memory.empty(axes + 2, shape, kind)
    permutation.ptr, permutation.len = order, axes + 2
    return y if in_c_order else cnp.PyArray_Transpose(y, &permutation)
