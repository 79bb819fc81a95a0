# The two ways in which images (N, C, ...) lie in memory: in C order, or with the channels last.

cimport numpy as cnp
from minidl._kernels.arrays.checks cimport dense
from minidl._kernels.arrays.copying cimport c_copy
from minidl._kernels.runtime cimport memory


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
    return c_copy(xs)


cdef inline cnp.ndarray new_images(
    int axes, Py_ssize_t samples, Py_ssize_t channels, const Py_ssize_t* size, int kind, bint in_c_order
):
    """A new array (samples, channels, *size) with so many spatial axes, in one of the two ways."""
    cdef cnp.npy_intp[cnp.NPY_MAXDIMS] shape, order
    cdef cnp.PyArray_Dims permutation
    cdef int axis, first = 2 if in_c_order else 1, c = 1 if in_c_order else axes + 1
    for axis in range(axes):
        shape[axis + first], order[axis + 2] = size[axis], axis + first
    shape[0], shape[c], order[0], order[1] = samples, channels, 0, c
    y = memory.empty(axes + 2, shape, kind)
    permutation.ptr, permutation.len = order, axes + 2
    return y if in_c_order else cnp.PyArray_Transpose(y, &permutation)
