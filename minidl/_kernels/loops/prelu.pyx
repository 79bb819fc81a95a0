"""PReLU: y = max(0, x) + slope min(0, x), one slope a channel.

x is seen as (outer, channels, inner) in C order: inner is what lies behind the channel axis (1 when channels are last).
The gradient of the slopes is a sum over outer and inner. Each piece has partial sums of its own and these are added in
order; their size hangs on the array's alone, so that the bits do not depend on the number of threads.

Backward goes through a piece in blocks of LANES, computing one and then storing it: whether gx overlaps x or gy need
not be asked (1.8 times as fast).
"""

cimport numpy as cnp
from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.arrays.checks cimport c_axes, check_out, dense, same_layout
from minidl._kernels.math.elementary cimport real
from minidl._kernels.loops.streaming cimport STREAM_BLOCK, STREAM_DOUBLES, is_streamed, stream, stream_arrived
from minidl._kernels.loops.tasks cimport elements_a_task

cnp.import_array()

cdef enum:
    CHUNK = 16384  # elements a task, about
    LANES = 16  # partial sums side by side, so that a sum vectorises


cdef struct Work:
    const void* x
    const void* slope
    const void* gy
    void* out
    void* partial
    Py_ssize_t channels, inner, rows, pieces, per_task
    Py_ssize_t length  # of a piece, at most
    bint streamed  # gx, from pieces of STREAM_BLOCK bytes


# ── Channels last (inner = 1): a task is a block of rows, the loop runs over channels ────────────────────────────────

cdef void forward_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef const real* slope = <const real*>w.slope
    cdef const real* x
    cdef real* y
    cdef Py_ssize_t r, c
    for r in range(first, last):
        x, y = <const real*>w.x + r * w.channels, <real*>w.out + r * w.channels
        for c in range(w.channels):
            y[c] = slope[c] * x[c] if x[c] <= 0 else x[c]


cdef void backward_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef const real* slope = <const real*>w.slope
    cdef const real* x
    cdef const real* gy
    cdef real* gx
    cdef real* sums = <real*>w.partial + first // w.per_task * w.channels
    cdef Py_ssize_t r, c
    for c in range(w.channels):
        sums[c] = 0
    for r in range(first, last):
        x, gy = <const real*>w.x + r * w.channels, <const real*>w.gy + r * w.channels
        gx = <real*>w.out + r * w.channels
        for c in range(w.channels):
            gx[c] = slope[c] * gy[c] if x[c] <= 0 else gy[c]
            sums[c] += x[c] * gy[c] if x[c] <= 0 else 0


# ── Channels before other axes: a task is a run of pieces, each of one channel ───────────────────────────────────────

cdef inline Py_ssize_t find(Work* w, Py_ssize_t piece, Py_ssize_t* start, real* slope) noexcept nogil:
    """How long the piece is, where it starts, and its channel's slope."""
    cdef Py_ssize_t row = piece // w.pieces, first = piece % w.pieces * w.length
    start[0] = row * w.inner + first
    slope[0] = (<const real*>w.slope)[row % w.channels]
    return min(w.inner - first, w.length)


cdef void forward_pieces(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t piece, start = 0, n, i
    cdef const real* x
    cdef real* y
    cdef real slope = 0
    for piece in range(first, last):
        n = find(w, piece, &start, &slope)
        x, y = <const real*>w.x + start, <real*>w.out + start
        for i in range(n):
            y[i] = slope * x[i] if x[i] <= 0 else x[i]


cdef void backward_pieces(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t piece, start = 0, n, i, j
    cdef double[STREAM_DOUBLES] block
    cdef const real* x
    cdef const real* gy
    cdef real* gx
    cdef real slope = 0
    cdef real[LANES] sums, result
    for piece in range(first, last):
        n = find(w, piece, &start, &slope)
        x, gy = <const real*>w.x + start, <const real*>w.gy + start
        gx = <real*>&block[0] if w.streamed else <real*>w.out + start
        for j in range(LANES):
            sums[j] = 0
        for i in range(n // LANES):
            for j in range(LANES):
                result[j] = slope * gy[j] if x[j] <= 0 else gy[j]
                sums[j] += x[j] * gy[j] if x[j] <= 0 else 0
            for j in range(LANES):
                gx[j] = result[j]
            x, gy, gx = x + LANES, gy + LANES, gx + LANES
        for j in range(n % LANES):
            gx[j] = slope * gy[j] if x[j] <= 0 else gy[j]
            sums[j] += x[j] * gy[j] if x[j] <= 0 else 0
        for j in range(LANES // 2):
            sums[j] += sums[j + LANES // 2]
        for j in range(LANES // 4):
            sums[j] += sums[j + LANES // 4]
        for j in range(1, LANES // 4):
            sums[0] += sums[j]
        (<real*>w.partial)[piece] = sums[0]
        if w.streamed:
            stream(<real*>w.out + start, block, n * sizeof(real))
    stream_arrived()


# ── The slopes' gradient ─────────────────────────────────────────────────────────────────────────────────────────────

cdef void add_up(Work* w, real* gslope, double* sums, Py_ssize_t outer, Py_ssize_t pieces) noexcept nogil:
    """gslope (channels,) = Σ partial (outer, channels, pieces), added in double."""
    cdef const real* partial = <const real*>w.partial
    cdef Py_ssize_t o, c, p
    for c in range(w.channels):
        sums[c] = 0
    for o in range(outer):
        for c in range(w.channels):
            for p in range(pieces):
                sums[c] += partial[p]
            partial += pieces
    for c in range(w.channels):
        gslope[c] = <real>sums[c]


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

ctypedef void (*loop_t)(Work*, void*, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef struct Job:
    Work work
    loop_t loop


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Py_ssize_t first = index * job.work.per_task
    job.loop(&job.work, NULL, first, min(first + job.work.per_task, job.work.rows))


cdef int prepare(Job* job, cnp.ndarray x, cnp.ndarray slope, bint streamed, loop_t[4] loops) except -1:
    """Fills in sizes and picks the loop: over rows or pieces, float32 or float64. Returns the number of tasks."""
    if cnp.PyArray_NDIM(x) != 3 or not cnp.PyArray_IS_C_CONTIGUOUS(x):
        raise ValueError("prelu: expected x as (outer, channels, inner) in C order")
    if cnp.PyArray_DIM(slope, 0) != cnp.PyArray_DIM(x, 1) or cnp.PyArray_TYPE(slope) != cnp.PyArray_TYPE(x):
        shape, dtype = (<object> slope).shape, (<object> slope).dtype
        raise ValueError(
            f"prelu: expected {(<object> x).shape[1]} slopes of {(<object> x).dtype}, got {shape} of {dtype}"
        )
    cdef Work* w = &job.work
    cdef Py_ssize_t outer = cnp.PyArray_DIM(x, 0), row
    w.channels, w.inner = cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 2)
    w.x, w.slope = cnp.PyArray_DATA(x), cnp.PyArray_DATA(slope)
    w.streamed = streamed and w.inner > 1
    w.length = STREAM_BLOCK // cnp.PyArray_ITEMSIZE(x) if w.streamed else CHUNK
    w.pieces = (w.inner + w.length - 1) // w.length
    if w.inner == 1:
        w.rows, row = outer, w.channels
    else:
        w.rows, row = outer * w.channels * w.pieces, min(w.inner, w.length)
    w.per_task = max(elements_a_task(cnp.PyArray_SIZE(x), CHUNK) // max(row, <Py_ssize_t>1), <Py_ssize_t>1)
    job.loop = loops[2 * (w.inner == 1) + (cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE)]
    return (w.rows + w.per_task - 1) // w.per_task


def prelu_forward(x, slope, out=None):
    """y for x of shape (outer, channels, inner) and slope of shape (channels,); `out` may be x."""
    cdef cnp.ndarray xs = dense(x, "prelu"), y = check_out(out, xs, "prelu")
    cdef cnp.ndarray slopes = c_axes(slope, 1, "prelu", "slopes")
    cdef Job job
    cdef Py_ssize_t tasks = prepare(&job, xs, slopes, False, [
        <loop_t>forward_pieces[float], <loop_t>forward_pieces[double],
        <loop_t>forward_rows[float], <loop_t>forward_rows[double],
    ])
    job.work.out = cnp.PyArray_DATA(y)
    cdef bint whole = out is not None
    with nogil:
        pool.parallel(run_task, &job, tasks, whole)
    return y


def prelu_backward(x, slope, gy):
    """(gx, gslope): gx = gy (1 or slope), gslope = Σ gy min(0, x) over outer and inner."""
    cdef cnp.ndarray xs = dense(x, "prelu"), gs = same_layout(gy, xs, "prelu")
    cdef cnp.ndarray slopes = c_axes(slope, 1, "prelu", "slopes")
    cdef cnp.ndarray gx = memory.empty_like(xs)
    cdef Job job
    cdef Py_ssize_t tasks = prepare(&job, xs, slopes, is_streamed(3 * cnp.PyArray_NBYTES(xs)), [
        <loop_t>backward_pieces[float], <loop_t>backward_pieces[double],
        <loop_t>backward_rows[float], <loop_t>backward_rows[double],
    ])
    cdef bint last = job.work.inner == 1
    cdef cnp.npy_intp outer = tasks if last else cnp.PyArray_DIM(xs, 0), pieces = 1 if last else job.work.pieces
    cdef cnp.npy_intp count = outer * job.work.channels * pieces, channels = job.work.channels
    cdef cnp.ndarray partial = memory.empty(1, &count, cnp.PyArray_TYPE(xs))
    cdef cnp.ndarray gslope = memory.empty(1, &channels, cnp.PyArray_TYPE(xs))
    cdef cnp.ndarray sums = memory.empty(1, &channels, cnp.NPY_DOUBLE)
    cdef void* target = cnp.PyArray_DATA(gslope)
    cdef double* room = <double*>cnp.PyArray_DATA(sums)
    cdef bint wide = cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE
    job.work.gy, job.work.out = cnp.PyArray_DATA(gs), cnp.PyArray_DATA(gx)
    job.work.partial = cnp.PyArray_DATA(partial)
    with nogil:
        pool.parallel(run_task, &job, tasks)
        if wide:
            add_up[double](&job.work, <double*>target, room, outer, pieces)
        else:
            add_up[float](&job.work, <float*>target, room, outer, pieces)
    return gx, gslope
