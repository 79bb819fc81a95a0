# The class ids that the losses of classes are given.

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport seen


cdef struct Targets:
    const int64_t* ids
    Py_ssize_t count, classes
    const char* name  # of the loss, for errors


cdef inline int check_range(void* targets) except -1:
    cdef Targets* w = <Targets*>targets
    cdef bint outside = False
    cdef Py_ssize_t i
    for i in range(w.count):  # (to the end: so the loop vectorises)
        outside |= (w.ids[i] < 0) | (w.ids[i] >= w.classes)
    if not outside:
        return 0
    for i in range(w.count):
        if not 0 <= w.ids[i] < w.classes:
            raise ValueError(f"{w.name.decode()}: target {w.ids[i]} of row {i} is out of range for {w.classes} classes")
    return 0


cdef struct Widening:
    const int32_t* x
    int64_t* y
    Py_ssize_t count


cdef inline int widen(void* widening) except -1:
    cdef Widening* w = <Widening*>widening
    cdef Py_ssize_t i
    for i in range(w.count):
        w.y[i] = w.x[i]
    return 0


cdef inline cnp.ndarray as_ids(object target):
    """Integers of any kind as int64."""
    cdef cnp.ndarray ids
    cdef Widening w
    if isinstance(target, cnp.ndarray) and cnp.PyArray_ISINTEGER(<cnp.ndarray>target) and (<cnp.ndarray>target).ndim == 1:
        if cnp.PyArray_TYPE(<cnp.ndarray>target) != cnp.NPY_INT64:
            ids = memory.empty(1, cnp.PyArray_DIMS(<cnp.ndarray>target), cnp.NPY_INT64)
            if cnp.PyArray_TYPE(<cnp.ndarray>target) == cnp.NPY_INT32 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>target):
                w = Widening(<int32_t*>cnp.PyArray_DATA(seen(<cnp.ndarray>target)), <int64_t*>cnp.PyArray_DATA(ids), len(ids))
                prepared.do(widen, &w, sizeof(w), ids)
            else:
                prepared.assign(ids, <cnp.ndarray>target)
            return ids
    return seen(cnp.PyArray_FROMANY(target, cnp.NPY_INT64, 1, 1, cnp.NPY_ARRAY_IN_ARRAY))


cdef inline cnp.ndarray targets_of(object target, cnp.ndarray x, Py_ssize_t count, const char* name):
    """So many targets of a loss as int64, with the classes on axis 1 of x; ValueError for one that is no class."""
    cdef cnp.ndarray ids = as_ids(target)
    cdef Targets w = Targets(<int64_t*>cnp.PyArray_DATA(ids), cnp.PyArray_DIM(ids, 0), cnp.PyArray_DIM(x, 1), name)
    if w.count != count:
        raise ValueError(f"{name.decode()}: expected {count} targets, got {len(ids)}")
    prepared.do(check_range, &w, sizeof(w), None)
    return ids
