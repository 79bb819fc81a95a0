"""The order of the elements of short rows, where the greatest is, and elements of rows in a given order.

The place of an element in the sorted row is the number of those that come before it. All pairs are compared, without a
branch, which for a few elements is less work than to sort them with branches that no processor foresees.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from minidl._kernels.arrays.checks cimport c_axes, seen
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.math.elementary cimport real
from minidl._kernels.runtime cimport memory, prepared

cnp.import_array()

cdef enum:
    MOST = 16  # elements of a row
    COST = 4   # of an element that is moved, in additions
    LANES = 32  # rows side by side
    FAR = 1 << 24  # places up to here are whole numbers of float


cdef struct Work:
    const void* x
    int64_t* order
    Py_ssize_t n
    bint undo, outside, greatest


cdef inline bint less(real a, real b) noexcept nogil:
    """NaN is the greatest."""
    return (a < b) | ((b != b) & (a == a))


cdef void sort_each(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t r, n = w.n
    cdef int[MOST] rank
    cdef int i, j, moved
    cdef const real* x
    for r in range(first, last):
        x = <const real*>w.x + r * n
        for i in range(n):
            rank[i] = 0
            for j in range(i):
                moved = less(x[i], x[j])  # equal ones keep their order
                rank[j] += moved
                rank[i] += 1 - moved
        for i in range(n):
            out[r * n + rank[i]] = x[i]
            w.order[r * n + rank[i]] = i


cdef void permute_each(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t r, i, n = w.n
    cdef int64_t place
    cdef const real* x
    cdef real* y
    for r in range(first, last):
        x, y = <const real*>w.x + r * n, out + r * n
        for i in range(n):
            place = w.order[r * n + i]
            if not 0 <= place < n:
                w.outside, place = True, 0
            if w.undo:
                y[place] = x[i]
            else:
                y[i] = x[place]


cdef void find_each(const real* _, Work* w, Py_ssize_t first, Py_ssize_t last, int64_t* y) noexcept nogil:
    """LANES rows at a time, side by side: no branch depends on which element is greater."""
    cdef real[LANES] best, place, v
    cdef real sign = 1 if w.greatest else -1
    cdef Py_ssize_t i, j, rows, n = w.n
    cdef const real* x = <const real*>w.x + first * n
    cdef bint better
    for j in range(LANES):
        v[j] = 0
    while first < last:
        rows = min(last - first, <Py_ssize_t>LANES)
        for i in range(n):
            for j in range(rows):
                v[j] = sign * x[j * n + i]
            if i == 0:
                for j in range(LANES):
                    best[j], place[j] = v[j], 0
            for j in range(LANES):
                better = (v[j] > best[j]) | ((v[j] != v[j]) & (best[j] == best[j]))
                best[j] = v[j] if better else best[j]
                place[j] = <real>i if better else place[j]
        for j in range(rows):
            y[first + j] = <int64_t>place[j]
        x, first = x + rows * n, first + rows


def extremum_places(x, bint greatest):
    """The place of the greatest element of each row of x (rows, n), or of the smallest: the first of equal ones, and a NaN
    before any number. NumPy is faster where rows are long.
    """
    cdef cnp.ndarray xs = c_axes(x, 2, "extremum_places", "rows, elements"), y
    cdef Work w
    w.x, w.n, w.greatest = cnp.PyArray_DATA(xs), cnp.PyArray_DIM(xs, 1), greatest
    if not 0 < w.n <= FAR:
        raise ValueError(f"extremum_places: expected rows of 1 to {FAR} elements, got shape {x.shape}")
    y = memory.empty(1, cnp.PyArray_DIMS(xs), cnp.NPY_INT64)
    run(of_dtype(xs, <loop_t>find_each[float], <loop_t>find_each[double]), &w, sizeof(w), y, cnp.PyArray_DIM(xs, 0),
        w.n, COST, False)
    return y


def sort_rows(x):
    """(y, order): each row of x (rows, n), with n <= 16, in ascending order, NaN last, and from where its elements come.
    Equal ones keep their order.
    """
    cdef cnp.ndarray xs = c_axes(x, 2, "sort_rows", "rows, elements"), y = memory.empty_like(xs)
    cdef cnp.ndarray order = memory.empty(2, cnp.PyArray_DIMS(xs), cnp.NPY_INT64)
    cdef Work w
    w.x, w.order, w.n = cnp.PyArray_DATA(xs), <int64_t*>cnp.PyArray_DATA(order), cnp.PyArray_DIM(xs, 1)
    if w.n > MOST:
        raise ValueError(f"sort_rows: expected rows of {MOST} elements or fewer, got shape {x.shape}")
    run(of_dtype(xs, <loop_t>sort_each[float], <loop_t>sort_each[double]), &w, sizeof(w), y, cnp.PyArray_DIM(xs, 0),
        w.n, COST * MOST, False)
    if prepared.capturing():
        prepared.fills(order)
    return y, order


def permute_rows(x, order, bint undo=False):
    """y[r, i] = x[r, order[r, i]]; undone, y[r, order[r, i]] = x[r, i]. ValueError for a place outside of the row."""
    cdef cnp.ndarray xs = c_axes(x, 2, "permute_rows", "rows, elements"), y = memory.empty_like(xs), places
    cdef Work w
    places = cnp.PyArray_FROMANY(order, cnp.NPY_INT64, 2, 2, cnp.NPY_ARRAY_IN_ARRAY)
    if (<object>places).shape != (<object>xs).shape:
        raise ValueError(f"permute_rows: expected an order of shape {x.shape}, got {order.shape}")
    w.x, w.order, w.n = cnp.PyArray_DATA(xs), <int64_t*>cnp.PyArray_DATA(seen(places)), cnp.PyArray_DIM(xs, 1)
    w.undo, w.outside = undo, False
    run(of_dtype(xs, <loop_t>permute_each[float], <loop_t>permute_each[double]), &w, sizeof(w), y, cnp.PyArray_DIM(xs, 0),
        w.n, COST, False)
    if w.outside:
        raise ValueError(f"permute_rows: a place outside of rows of {w.n} elements")
    return y
