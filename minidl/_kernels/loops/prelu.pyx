"""PReLU: y = max(0, x) + slope min(0, x), one slope a channel.

x is seen as (outer, channels, inner) in C order: inner is what lies behind the channel axis (1 when channels are last).
A chunk is some rows of channels, or part of one channel's inner elements. The gradient of the slopes is a sum over outer
and inner: each chunk has partial sums of its own, and these are added in order. The size of a chunk depends on that of
the array alone, so that the bits do not depend on the number of threads.

Backward goes through a chunk in blocks of LANES, computing one and then storing it: whether gx overlaps x or gy need
not be asked (1.8 times as fast).
"""

cimport numpy as cnp
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport c_axes, check_out, dense, same_layout
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.math.elementary cimport real
from minidl._kernels.loops.driver cimport (
    LARGE, LONG_TASK, STREAM_BLOCK, STREAM_DOUBLES, TASK, is_streamed, loop_t, of_dtype, run, stream, stream_arrived,
)

cnp.import_array()

cdef enum:
    COST = 8  # of an element, in additions
    LANES = 16  # partial sums side by side, so that a sum vectorises


cdef struct Work:
    const void* x
    const void* slope
    const void* gy
    void* partial
    Py_ssize_t outer, channels, inner
    Py_ssize_t length  # of a chunk, at most: rows, or elements of one channel
    Py_ssize_t per_row  # chunks of a channel's inner elements
    bint streamed  # gx, from chunks of STREAM_BLOCK bytes


# ── Channels last (inner = 1): a chunk is some rows, the loop runs over channels ─────────────────────────────────────

cdef void forward_rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef const real* slope = <const real*>w.slope
    cdef const real* x
    cdef real* y
    cdef Py_ssize_t r, c
    for r in range(first * w.length, min(last * w.length, w.outer)):
        x, y = <const real*>w.x + r * w.channels, out + r * w.channels
        for c in range(w.channels):
            y[c] = slope[c] * x[c] if x[c] <= 0 else x[c]


cdef void backward_rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef const real* slope = <const real*>w.slope
    cdef const real* x
    cdef const real* gy
    cdef real* gx
    cdef real* sums
    cdef real g
    cdef Py_ssize_t chunk, r, c
    for chunk in range(first, last):
        sums = <real*>w.partial + chunk * w.channels
        for c in range(w.channels):
            sums[c] = 0
        for r in range(chunk * w.length, min((chunk + 1) * w.length, w.outer)):
            x, gy = <const real*>w.x + r * w.channels, <const real*>w.gy + r * w.channels
            gx = out + r * w.channels
            for c in range(w.channels):
                g = slope[c] * gy[c] if x[c] <= 0 else gy[c]
                gx[c] = g if x[c] == x[c] else x[c]  # the slope at NaN is NaN, as in activations.pyx
                sums[c] += 0 if x[c] > 0 else x[c] * gy[c]


# ── Channels before other axes: a chunk belongs to one channel ───────────────────────────────────────────────────────

cdef struct Place:
    Py_ssize_t row, channel, part  # of the chunk that comes next


cdef inline Place place_of(Work* w, Py_ssize_t chunk) noexcept nogil:
    cdef Py_ssize_t row = chunk // w.per_row
    return Place(row, row % w.channels, chunk % w.per_row)


cdef inline Py_ssize_t find(Work* w, Place* at, Py_ssize_t* start, real* slope) noexcept nogil:
    """How long the next chunk is, where it starts, and its channel's slope. (Counted: divisions would take as long as it.)"""
    cdef Py_ssize_t first = at.part * w.length
    start[0] = at.row * w.inner + first
    slope[0] = (<const real*>w.slope)[at.channel]
    at.part += 1
    if at.part == w.per_row:
        at.row, at.channel, at.part = at.row + 1, at.channel + 1, 0
        at.channel = 0 if at.channel == w.channels else at.channel
    return min(w.inner - first, w.length)


cdef void forward_planes(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t chunk, start = 0, n, i
    cdef const real* x
    cdef real* y
    cdef real slope = 0
    cdef Place at = place_of(w, first)
    for chunk in range(first, last):
        n = find(w, &at, &start, &slope)
        x, y = <const real*>w.x + start, out + start
        for i in range(n):
            y[i] = slope * x[i] if x[i] <= 0 else x[i]


cdef void backward_planes(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t chunk, start = 0, n, i, j
    cdef double[STREAM_DOUBLES] block
    cdef const real* x
    cdef const real* gy
    cdef real* gx
    cdef real slope = 0, g
    cdef real[LANES] sums, result
    cdef Place at = place_of(w, first)
    for chunk in range(first, last):
        n = find(w, &at, &start, &slope)
        x, gy = <const real*>w.x + start, <const real*>w.gy + start
        gx = <real*>&block[0] if w.streamed else out + start
        for j in range(LANES):
            sums[j] = 0
        for i in range(n // LANES):
            for j in range(LANES):
                g = slope * gy[j] if x[j] <= 0 else gy[j]
                result[j] = g if x[j] == x[j] else x[j]
                sums[j] += 0 if x[j] > 0 else x[j] * gy[j]
            for j in range(LANES):
                gx[j] = result[j]
            x, gy, gx = x + LANES, gy + LANES, gx + LANES
        for j in range(n % LANES):
            g = slope * gy[j] if x[j] <= 0 else gy[j]
            gx[j] = g if x[j] == x[j] else x[j]
            sums[j] += 0 if x[j] > 0 else x[j] * gy[j]
        for j in range(LANES // 2):
            sums[j] += sums[j + LANES // 2]
        for j in range(LANES // 4):
            sums[j] += sums[j + LANES // 4]
        for j in range(1, LANES // 4):
            sums[0] += sums[j]
        (<real*>w.partial)[chunk] = sums[0]
        if w.streamed:
            stream(out + start, block, n * sizeof(real))
    stream_arrived()


# ── The slopes' gradient ─────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Total:
    const void* partial  # (outer, channels, chunks)
    double* sums         # of each channel
    void* gslope
    Py_ssize_t outer, channels, chunks
    bint wide


cdef int add_up(void* total) except -1:
    cdef Total* t = <Total*>total
    if t.wide:
        add_partial(t, <double*>t.gslope)
    else:
        add_partial(t, <float*>t.gslope)
    return 0


cdef void add_partial(Total* t, real* gslope) noexcept nogil:
    """gslope (channels,) = Σ partial, added in double."""
    cdef const real* partial = <const real*>t.partial
    cdef Py_ssize_t o, c, i
    for c in range(t.channels):
        t.sums[c] = 0
    for o in range(t.outer):
        for c in range(t.channels):
            for i in range(t.chunks):
                t.sums[c] += partial[i]
            partial += t.chunks
    for c in range(t.channels):
        gslope[c] = <real>t.sums[c]


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef Py_ssize_t set_sizes(Work* w, cnp.ndarray x, cnp.ndarray slope, bint streamed) except -1:
    """Returns the number of chunks."""
    if cnp.PyArray_NDIM(x) != 3 or not cnp.PyArray_IS_C_CONTIGUOUS(x):
        raise ValueError("prelu: expected x as (outer, channels, inner) in C order")
    if cnp.PyArray_DIM(slope, 0) != cnp.PyArray_DIM(x, 1) or cnp.PyArray_TYPE(slope) != cnp.PyArray_TYPE(x):
        shape, dtype = (<object> slope).shape, (<object> slope).dtype
        raise ValueError(
            f"prelu: expected {(<object> x).shape[1]} slopes of {(<object> x).dtype}, got {shape} of {dtype}"
        )
    w.outer, w.channels, w.inner = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 2)
    w.x, w.slope, w.per_row = cnp.PyArray_DATA(x), cnp.PyArray_DATA(slope), 1
    w.streamed = streamed and w.inner > 1
    if w.inner == 1:
        w.length = max((LONG_TASK if cnp.PyArray_SIZE(x) >= LARGE else TASK) // max(w.channels, <Py_ssize_t>1), <Py_ssize_t>1)
        return (w.outer + w.length - 1) // w.length
    w.length = STREAM_BLOCK // cnp.PyArray_ITEMSIZE(x) if w.streamed else TASK
    w.per_row = (w.inner + w.length - 1) // w.length
    return w.outer * w.channels * w.per_row


cdef int run_chunks(loop_t rows, loop_t planes, Work* w, cnp.ndarray y, Py_ssize_t chunks, bint whole) except -1:
    cdef Py_ssize_t width = w.length * w.channels if w.inner == 1 else min(w.inner, w.length)
    return run(rows if w.inner == 1 else planes, w, sizeof(Work), y, chunks, width, COST, whole)


def prelu_forward(x, slope, out=None):
    """y for x of shape (outer, channels, inner) and slope of shape (channels,); `out` may be x."""
    cdef cnp.ndarray xs = dense(x, "prelu"), y = check_out(out, xs, "prelu")
    cdef cnp.ndarray slopes = c_axes(slope, 1, "prelu", "slopes")
    cdef Work w
    cdef Py_ssize_t chunks = set_sizes(&w, xs, slopes, False)
    run_chunks(
        of_dtype(xs, <loop_t>forward_rows[float], <loop_t>forward_rows[double]),
        of_dtype(xs, <loop_t>forward_planes[float], <loop_t>forward_planes[double]), &w, y, chunks, out is not None,
    )
    return y


def prelu_backward(x, slope, gy):
    """(gx, gslope): gx = gy (1 or slope), gslope = Σ gy min(0, x) over outer and inner."""
    cdef cnp.ndarray xs = dense(x, "prelu"), gs = same_layout(gy, xs, "prelu")
    cdef cnp.ndarray slopes = c_axes(slope, 1, "prelu", "slopes"), gx = memory.empty_like(xs)
    cdef Work w
    cdef cnp.npy_intp chunks = set_sizes(&w, xs, slopes, is_streamed(3 * cnp.PyArray_NBYTES(xs))), channels = w.channels
    cdef bint last = w.inner == 1
    cdef cnp.npy_intp outer = chunks if last else w.outer, count = outer * channels * w.per_row
    cdef cnp.ndarray partial = memory.empty(1, &count, cnp.PyArray_TYPE(xs))
    cdef cnp.ndarray gslope = memory.empty(1, &channels, cnp.PyArray_TYPE(xs))
    cdef cnp.ndarray sums = memory.empty(1, &channels, cnp.NPY_DOUBLE)
    cdef Total total = Total(
        cnp.PyArray_DATA(partial), <double*>cnp.PyArray_DATA(sums), cnp.PyArray_DATA(gslope), outer, channels, w.per_row,
        is_double(xs),
    )
    w.gy, w.partial = cnp.PyArray_DATA(gs), cnp.PyArray_DATA(partial)
    run_chunks(
        of_dtype(xs, <loop_t>backward_rows[float], <loop_t>backward_rows[double]),
        of_dtype(xs, <loop_t>backward_planes[float], <loop_t>backward_planes[double]), &w, gx, chunks, False,
    )
    prepared.do(add_up, &total, sizeof(total), gslope)
    return gx, gslope
