"""Buffers of a captured step: arguments are copied into them, results out of them."""

cimport numpy as cnp
from libc.string cimport memcpy

from minidl._kernels.arrays.layout cimport same_shape, same_strides
from minidl._kernels.runtime.memory cimport empty_like, is_dense, owner

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object x)


cpdef bint fits(cnp.ndarray buffer, object x):
    return isinstance(x, cnp.ndarray) and (
        cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.PyArray_TYPE(buffer) and same_shape(<cnp.ndarray>x, buffer)
        and same_strides(<cnp.ndarray>x, buffer) and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)
    )


cpdef int put(cnp.ndarray y, cnp.ndarray x) except -1:
    if fits(y, x) and is_dense(y):
        memcpy(cnp.PyArray_DATA(y), cnp.PyArray_DATA(x), cnp.PyArray_NBYTES(y))
        return 0
    return cnp.PyArray_CopyInto(y, x)


cpdef cnp.ndarray taken_out(cnp.ndarray x):
    cdef cnp.ndarray y = empty_like(x)
    put(y, x)
    return y


cpdef bint within(cnp.ndarray ids, Py_ssize_t n) except -1:
    cdef const cnp.int64_t* data = <const cnp.int64_t*>cnp.PyArray_DATA(ids)
    cdef Py_ssize_t i
    if cnp.PyArray_TYPE(ids) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(ids):
        return cnp.PyArray_SIZE(ids) == 0 or (ids.min() >= 0 and ids.max() < n)
    for i in range(cnp.PyArray_SIZE(ids)):
        if not 0 <= data[i] < n:
            return False
    return True


cpdef Py_ssize_t references(object holder, cnp.ndarray x):
    return Py_REFCNT(holder) + Py_REFCNT(x) + Py_REFCNT(owner(x))
