"""Rows added up at chosen places: the gradient of an embedding.

A task owns a range of the result's rows and walks all ids, taking those that are its own. Each row so gets its terms in
the order of the ids, whatever the ranges and the number of threads.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset
from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.arrays.checks cimport c_axes
from minidl._kernels.math.elementary cimport real

cnp.import_array()

cdef enum:
    TASKS = 16
    ALONE = 65536  # elements, read and written, that one thread is done with before another would be awake


cdef struct Work:
    const void* x
    const int64_t* ids
    void* y
    Py_ssize_t count, width, rows, per_task, itemsize


cdef void add_range(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t i, j, n = w.width
    cdef int64_t row
    cdef const real* x
    cdef real* y
    memset(<real*>w.y + first * n, 0, (last - first) * n * sizeof(real))
    for i in range(w.count):
        row = w.ids[i]
        if first <= row < last:
            x, y = <const real*>w.x + i * n, <real*>w.y + row * n
            for j in range(n):
                y[j] += x[j]


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* w = <Work*>context
    cdef Py_ssize_t first = index * w.per_task, last = min(first + w.per_task, w.rows)
    if w.itemsize == sizeof(double):
        add_range(w, <double*>NULL, first, last)
    else:
        add_range(w, <float*>NULL, first, last)


def add_rows(x, ids, Py_ssize_t rows):
    """y of shape (rows, n): zeros, and each row of x (count, n) added at its id. Raises IndexError for an id out of range."""
    cdef cnp.ndarray xs = c_axes(x, 2, "add_rows", "rows, features"), places, y
    cdef cnp.npy_intp[2] shape
    cdef Py_ssize_t i, tasks = 1
    cdef Work w
    places = cnp.PyArray_FROMANY(ids, cnp.NPY_INT64, 1, 1, cnp.NPY_ARRAY_CARRAY_RO)
    w.count, w.width, w.rows = cnp.PyArray_DIM(xs, 0), cnp.PyArray_DIM(xs, 1), rows
    if cnp.PyArray_DIM(places, 0) != w.count:
        raise ValueError(f"add_rows: expected {w.count} ids, got {len(places)}")
    w.ids = <int64_t*>cnp.PyArray_DATA(places)
    for i in range(w.count):
        if not 0 <= w.ids[i] < rows:
            raise IndexError(f"add_rows: id {w.ids[i]} is out of range for {rows} rows")
    shape[0], shape[1] = rows, w.width
    y = memory.empty(2, shape, cnp.PyArray_TYPE(xs))
    w.x, w.y, w.itemsize = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(y), cnp.PyArray_ITEMSIZE(xs)
    if (rows + 2 * w.count) * w.width > ALONE:
        tasks = TASKS
    w.per_task = max((rows + tasks - 1) // tasks, <Py_ssize_t>1)
    with nogil:
        pool.parallel(run_task, &w, (rows + w.per_task - 1) // w.per_task)
    return y
