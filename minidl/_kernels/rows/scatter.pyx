"""Rows added up at chosen places: the gradient of an embedding.

A task owns a range of the result's rows and walks all ids, taking those that are its own. Each row so gets its terms in
the order of the ids, whatever the ranges and the number of threads.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.prepared cimport do
from minidl._kernels.arrays.checks cimport c_axes
from minidl._kernels.arrays.targets cimport as_ids
from minidl._kernels.math.elementary cimport real

cnp.import_array()

cdef enum:
    RANGES = 16
    COST = 2  # of an element that is read or written, in additions


cdef struct Work:
    const void* x
    const int64_t* ids
    Py_ssize_t count, width, rows
    Py_ssize_t per_range  # rows of the result


cdef void add_ranges(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t i, j, n = w.width, start = first * w.per_range, end = min(last * w.per_range, w.rows)
    cdef int64_t row
    cdef const real* x
    cdef real* y
    memset(out + start * n, 0, (end - start) * n * sizeof(real))
    for i in range(w.count):
        row = w.ids[i]
        if start <= row < end:
            x, y = <const real*>w.x + i * n, out + row * n
            for j in range(n):
                y[j] += x[j]


cdef int check_rows(void* work) except -1:
    cdef Work* w = <Work*>work
    cdef Py_ssize_t i
    for i in range(w.count):
        if not 0 <= w.ids[i] < w.rows:
            raise IndexError(f"add_rows: id {w.ids[i]} is out of range for {w.rows} rows")
    return 0


def add_rows(x, ids, Py_ssize_t rows):
    """y of shape (rows, n): zeros, and each row of x (count, n) added at its id. Raises IndexError for an id out of range."""
    cdef cnp.ndarray xs = c_axes(x, 2, "add_rows", "rows, features"), places, y
    cdef cnp.npy_intp[2] shape
    cdef Py_ssize_t ranges
    cdef Work w
    places = as_ids(ids)
    w.count, w.width, w.rows = cnp.PyArray_DIM(xs, 0), cnp.PyArray_DIM(xs, 1), rows
    if cnp.PyArray_DIM(places, 0) != w.count:
        raise ValueError(f"add_rows: expected {w.count} ids, got {len(places)}")
    w.ids = <int64_t*>cnp.PyArray_DATA(places)
    do(check_rows, &w, sizeof(w), None)
    shape[0], shape[1] = rows, w.width
    y = memory.empty(2, shape, cnp.PyArray_TYPE(xs))
    w.x, w.per_range = cnp.PyArray_DATA(xs), max((rows + RANGES - 1) // RANGES, <Py_ssize_t>1)
    ranges = (rows + w.per_range - 1) // w.per_range
    run(of_dtype(xs, <loop_t>add_ranges[float], <loop_t>add_ranges[double]), &w, sizeof(w), y, ranges,
        (w.per_range + 2 * w.count // RANGES) * w.width, COST, False)
    return y
