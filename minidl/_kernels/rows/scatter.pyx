"""What is read or written at chosen places: the gradient of an embedding, and one score a row, that of its class.

Rows that are added up: a task owns a range of the result's rows and walks all ids, taking those that are its own. Each row so gets its terms in
the order of the ids, whatever the ranges and the number of threads.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.prepared cimport do
from minidl._kernels.arrays.checks cimport c_axes, c_order, dense
from minidl._kernels.arrays.moving cimport offer
from minidl._kernels.arrays.targets cimport as_ids, targets_of
from minidl._kernels.math.elementary cimport real

cnp.import_array()
offer()  # (copying.pyx is compiled once; each level has this module, which hands it the level's loops)

cdef enum:
    RANGES = 16
    COST = 2  # of an element that is read or written, in additions
    PICK_COST = 4  # of one anywhere in memory


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


# ── One score a row ──────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Picks:
    const void* x
    const void* gy
    const int64_t* target
    Py_ssize_t n, inner, gy_step
    double divisor


cdef void pick_scores(void* tag, Picks* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    cdef Py_ssize_t r = first, stop, outer = first // w.inner
    cdef const real* x
    while r < last:
        # Score t of row r is element (outer, t, r - outer * inner).
        x, stop = <const real*>w.x + outer * (w.n - 1) * w.inner, min((outer + 1) * w.inner, last)
        for r in range(r, stop):
            y[r] = x[w.target[r] * w.inner + r]
        r, outer = stop, outer + 1


cdef void put_back(void* tag, Picks* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    """For the outer places `first` to `last - 1`."""
    cdef Py_ssize_t outer, r, size = w.n * w.inner
    cdef const real* gy = <const real*>w.gy
    cdef real divisor = <real>w.divisor
    cdef real* row
    memset(gx + first * size, 0, (last - first) * size * sizeof(real))
    for outer in range(first, last):
        row = gx + outer * (w.n - 1) * w.inner
        for r in range(outer * w.inner, (outer + 1) * w.inner):
            row[w.target[r] * w.inner + r] = -gy[r * w.gy_step] / divisor


def nll_forward(x, target):
    """y[r] = x[r, target[r]] for x (rows, n). Of (outer, n, inner) a row is an element of (outer, inner)."""
    cdef cnp.ndarray xs = c_order(x, "nll_loss")
    cdef bint columns = cnp.PyArray_NDIM(xs) == 3
    cdef Picks w
    if cnp.PyArray_NDIM(xs) not in (2, 3):
        raise ValueError(f"nll_loss: expected 2 axes (rows, classes) or 3 (outer, classes, inner), got shape {x.shape}")
    w.n, w.inner = cnp.PyArray_DIM(xs, 1), cnp.PyArray_DIM(xs, 2) if columns else 1
    cdef cnp.npy_intp count = cnp.PyArray_DIM(xs, 0) * w.inner
    cdef cnp.ndarray ids = targets_of(target, xs, count, "nll_loss")
    cdef cnp.ndarray y = memory.empty(1, &count, cnp.PyArray_TYPE(xs))
    w.x, w.target = cnp.PyArray_DATA(xs), <int64_t*>cnp.PyArray_DATA(ids)
    run(of_dtype(xs, <loop_t>pick_scores[float], <loop_t>pick_scores[double]), &w, sizeof(w), y, count, 1, PICK_COST, False)
    return y


def nll_backward(gy, target, tuple shape, double divisor=1):
    """gx of this shape, (rows, n) or (outer, n, inner): -gy[r] / divisor at the target of each row, 0 elsewhere.

    gy has a number for each row, or one for all.
    """
    cdef cnp.ndarray gs = dense(gy, "nll_loss"), gx, ids
    cdef cnp.npy_intp[3] lengths
    cdef Py_ssize_t axis, outer, count
    cdef Picks w
    if len(shape) not in (2, 3):
        raise ValueError(f"nll_loss: expected a shape (rows, classes) or (outer, classes, inner), got {shape}")
    for axis in range(len(shape)):
        lengths[axis] = shape[axis]
    gx = memory.empty(<int>len(shape), lengths, cnp.PyArray_TYPE(gs))
    outer, w.n, w.inner = lengths[0], lengths[1], lengths[2] if len(shape) == 3 else 1
    count = outer * w.inner
    if cnp.PyArray_SIZE(gs) not in (1, count):
        raise ValueError(f"nll_loss: expected a gradient of shape () or ({count},), got {gy.shape}")
    ids = targets_of(target, gx, count, "nll_loss")
    w.gy, w.gy_step, w.divisor = cnp.PyArray_DATA(gs), cnp.PyArray_SIZE(gs) > 1, divisor
    w.target = <int64_t*>cnp.PyArray_DATA(ids)
    run(of_dtype(gx, <loop_t>put_back[float], <loop_t>put_back[double]), &w, sizeof(w), gx, outer, w.n * w.inner, COST, False)
    return gx
