"""Batch normalisation: y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var of each channel of (N, C, ...).

Two layouts are walked as they lie in memory. "Rows": channels are last (a logical (N, C, H, W) whose memory is
N, H, W, C; or (N, C) itself), the loops run over channels side by side. "Planes": C order, the loops run over the
stretch of H, W that belongs to one channel. Anything else is copied. Few channels in the first layout are widened:
several rows make one, so that a vector is full.

Forward is a pass for the statistics and a pass that normalises and applies an activation; backward a pass for
Σ g and Σ g (x - mean), and a pass for gx. The slope of the activation is applied to gy in both, in cache, and never
stored. Work is cut into blocks of fixed size and their sums are added in order: same bits for any number of threads.

Accuracy: a block sums x - k and (x - k)², with k the mean of its first elements, so that a large mean costs nothing;
blocks are joined in double by the rule of Chan, Golub & LeVeque (1979). The mean is handed on as a number of x's
precision, `near`, and what is left of it goes into the offset.
"""

cimport numpy as cnp
from libc.string cimport memset
from minidl._kernels.runtime cimport epilogues, memory, pool
from minidl._kernels.arrays.checks cimport same_layout
from minidl._kernels.rows.batch_norm_loops cimport (
    CHUNK, DEEP, FEW, RUN, WIDE, Work,
    backward_planes, backward_rows, forward_planes, forward_rows,
    moments_of_planes, moments_of_rows, sums_of_planes, sums_of_rows,
)
from minidl._kernels.arrays.image_layout cimport images

import numpy as np

cnp.import_array()

cdef dict ACTIVATIONS = epilogues.activations_of(__name__)

ctypedef void (*loop_t)(Work*, void*, Py_ssize_t) noexcept nogil

cdef struct Job:
    Work work
    loop_t loop


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    (<Job*>context).loop(&(<Job*>context).work, NULL, index)


cdef void plan(Work* w, cnp.ndarray x) noexcept:
    """The layout, and the blocks and tasks that the work is cut into. x has elements."""
    cdef Py_ssize_t samples = cnp.PyArray_DIM(x, 0), channels = cnp.PyArray_DIM(x, 1)
    cdef Py_ssize_t inner = cnp.PyArray_SIZE(x) // (samples * channels)
    memset(w, 0, sizeof(Work))
    w.x = cnp.PyArray_DATA(x)
    w.rows_layout = inner == 1 or not cnp.PyArray_IS_C_CONTIGUOUS(x)
    if w.rows_layout:
        w.count, w.columns, w.inner, w.pieces, w.piece = samples * inner, channels, 1, 1, 1
        while 2 * w.columns <= FEW and w.count % 2 == 0:  # two rows make one
            w.columns, w.count = 2 * w.columns, w.count // 2
        w.per_block = max(CHUNK // w.columns, <Py_ssize_t>DEEP)
        w.blocks = (w.count + w.per_block - 1) // w.per_block
        w.per_task = max(CHUNK // w.columns, <Py_ssize_t>1)
        w.tasks = (w.count + w.per_task - 1) // w.per_task
    else:
        w.count, w.columns, w.inner, w.piece = samples, channels, inner, min(inner, <Py_ssize_t>RUN)
        w.pieces = (inner + w.piece - 1) // w.piece
        w.per_block = max(CHUNK // w.piece, <Py_ssize_t>1)
        w.blocks = (samples + w.per_block - 1) // w.per_block * w.pieces
        w.per_task = max(CHUNK // w.piece, <Py_ssize_t>1)
        w.tasks = (samples * channels * w.pieces + w.per_task - 1) // w.per_task


cdef tuple block_sums(Job* job):
    """Runs a loop over all blocks: what it leaves in `first` and `second`, one line of channels a block."""
    cdef Work* w = &job.work
    cdef Py_ssize_t tasks = w.blocks * ((w.columns + WIDE - 1) // WIDE if w.rows_layout else w.columns)
    cdef cnp.npy_intp[2] shape = [w.blocks, w.columns]
    cdef cnp.ndarray first = memory.empty(2, shape, cnp.NPY_DOUBLE), second = memory.empty(2, shape, cnp.NPY_DOUBLE)
    w.first, w.second = <double*>cnp.PyArray_DATA(first), <double*>cnp.PyArray_DATA(second)
    with nogil:
        pool.parallel(run_task, job, tasks)
    return first, second


cdef void join(Work* w, Py_ssize_t channels, double* mean, double* squares) noexcept nogil:
    """The moments of all blocks, one after the other, in the first line."""
    cdef Py_ssize_t lines = w.columns // channels, block, line, c
    cdef const double* m
    cdef const double* q
    cdef double n = 0, added, share, d
    for c in range(channels):
        mean[c] = squares[c] = 0
    for block in range(w.blocks):
        added = min(w.per_block, w.count - block // w.pieces * w.per_block)
        added *= min(w.piece, w.inner - block % w.pieces * w.piece)
        for line in range(lines):
            m = w.first + block * w.columns + line * channels
            q = w.second + block * w.columns + line * channels
            n += added
            share = added / n
            for c in range(channels):
                d = m[c] - mean[c]
                mean[c] += share * d
                squares[c] += q[c] + d * d * (added - share * added)


cdef object widened(object values, Py_ssize_t columns, object dtype):
    """One value a channel as one a column, in x's precision."""
    values = np.asarray(values, dtype)
    return values if len(values) == columns else np.tile(values, columns // len(values))


cdef object per_channel(object v, cnp.ndarray x, str name):
    if v is None:
        return None
    v = np.asarray(v)
    if v.shape != (cnp.PyArray_DIM(x, 1),):
        raise ValueError(f"batch_norm: {name}: expected {cnp.PyArray_DIM(x, 1)} values, got shape {v.shape}")
    return v.astype(np.float64)


cdef tuple coefficients(Work* w, cnp.ndarray x, object mean, object rstd, object weight, object bias):
    """(near, scale, offset) a column, which must be kept as long as w; and scale and the rest of the mean a channel."""
    mean, rstd = per_channel(mean, x, "mean"), per_channel(rstd, x, "rstd")
    weight, bias = per_channel(weight, x, "weight"), per_channel(bias, x, "bias")
    dtype = (<object>x).dtype
    cdef cnp.ndarray a, b, c
    with np.errstate(all="ignore"):  # as after any other kernel: inf and nan in a channel are no warning
        near = mean.astype(dtype)
        rest = np.where(np.isfinite(near), mean - near, 0)
        scale = rstd if weight is None else rstd * weight
        offset = -rest * scale if bias is None else bias - rest * scale
        a, b, c = [widened(v, w.columns, dtype) for v in (near, scale, offset)]
    w.near, w.scale, w.offset = cnp.PyArray_DATA(a), cnp.PyArray_DATA(b), cnp.PyArray_DATA(c)
    return a, b, c, scale, rest, rstd


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

def batch_norm_moments(x):
    """(mean, var) of each channel of x (N, C, ...), in float64; var is the mean square (biased). No elements: 0."""
    cdef cnp.ndarray xs = images(x, "batch_norm")
    cdef cnp.npy_intp channels = cnp.PyArray_DIM(xs, 1)
    cdef cnp.ndarray mean = memory.empty(1, &channels, cnp.NPY_DOUBLE), var = memory.empty_like(mean)
    cdef Job job
    if cnp.PyArray_SIZE(xs) == 0:
        return np.zeros(channels), np.zeros(channels)
    plan(&job.work, xs)
    cdef loop_t[4] loops = [
        <loop_t>moments_of_planes[float], <loop_t>moments_of_planes[double],
        <loop_t>moments_of_rows[float], <loop_t>moments_of_rows[double],
    ]
    job.loop = loops[2 * job.work.rows_layout + (cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE)]
    kept = block_sums(&job)
    join(&job.work, channels, <double*>cnp.PyArray_DATA(mean), <double*>cnp.PyArray_DATA(var))
    del kept
    var /= cnp.PyArray_SIZE(xs) // channels
    return mean, var


def batch_norm_forward(x, mean, rstd, weight=None, bias=None, str activation=None, double a=0, double b=0):
    """y = (x - mean) rstd weight + bias for x (N, C, ...) and one number a channel of all others.

    `activation`: the name of one, with parameters a and b, that is applied to y while it is in the cache.
    """
    cdef cnp.ndarray xs = images(x, "batch_norm"), y = memory.empty_like(xs)
    cdef epilogues.Loops epilogue
    cdef Job job
    if cnp.PyArray_SIZE(xs) == 0:
        return y
    plan(&job.work, xs)
    kept = coefficients(&job.work, xs, mean, rstd, weight, bias)
    job.work.out = cnp.PyArray_DATA(y)
    if activation is not None:
        epilogue = epilogues.find(ACTIVATIONS, activation)
        job.work.activation = epilogue.forward[cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE]
        job.work.a, job.work.b = a, b
    cdef loop_t[4] loops = [
        <loop_t>forward_planes[float], <loop_t>forward_planes[double],
        <loop_t>forward_rows[float], <loop_t>forward_rows[double],
    ]
    job.loop = loops[2 * job.work.rows_layout + (cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE)]
    with nogil:
        pool.parallel(run_task, &job, job.work.tasks)
    del kept
    return y


def batch_norm_backward(
    x, gy, mean, rstd, weight=None, bias=None, bint moving=True, str activation=None, double a=0, double b=0, y=None
):
    """(gx, gw, gb); with g = gy times the slope of the activation: gb = Σ g, gw = Σ g (x - mean) rstd.

    `moving`: mean and rstd are x's own and move with it; else they are given, and gx = g rstd weight.
    `activation`: the name of the one that was applied, with parameters a and b, and `y`, the result, which its slope is
    written in. Without y the slope is that of relu or leaky_relu: `a` for what is <= 0 and 1 elsewhere, found from x.
    """
    cdef cnp.ndarray xs = images(x, "batch_norm"), gx = memory.empty_like(xs), gs = same_layout(gy, xs, "batch_norm"), ys
    cdef cnp.npy_intp channels = cnp.PyArray_DIM(xs, 1)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(xs) // max(channels, 1)
    cdef epilogues.Loops epilogue
    cdef Job job
    dtype = x.dtype
    if cnp.PyArray_SIZE(xs) == 0:
        return gx, np.zeros(channels, dtype), np.zeros(channels, dtype)
    plan(&job.work, xs)
    near, scales, offset, scale, rest, rstd = coefficients(&job.work, xs, mean, rstd, weight, bias)
    job.work.gy, job.work.out = cnp.PyArray_DATA(gs), cnp.PyArray_DATA(gx)
    job.work.a, job.work.b, job.work.linear = a, b, not moving
    if activation is not None:
        epilogue = epilogues.find(ACTIVATIONS, activation)
        job.work.by_sign = y is None
        if y is not None:
            ys = same_layout(y, xs, "batch_norm")
            job.work.y, job.work.slope = cnp.PyArray_DATA(ys), epilogue.backward[1][cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE]
    cdef loop_t[4] sums = [
        <loop_t>sums_of_planes[float], <loop_t>sums_of_planes[double],
        <loop_t>sums_of_rows[float], <loop_t>sums_of_rows[double],
    ]
    cdef loop_t[4] backward = [
        <loop_t>backward_planes[float], <loop_t>backward_planes[double],
        <loop_t>backward_rows[float], <loop_t>backward_rows[double],
    ]
    cdef int which = 2 * job.work.rows_layout + (cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE)
    job.loop = sums[which]
    first, second = block_sums(&job)
    cdef cnp.ndarray gx_x, gx_1
    with np.errstate(all="ignore"):
        gb = first.reshape(-1, channels).sum(axis=0)
        gw = rstd * (second.reshape(-1, channels).sum(axis=0) - rest * gb)
        slant = -scale * rstd * gw / n
        gx_x = widened(slant, job.work.columns, dtype)
        gx_1 = widened(-scale * gb / n - slant * rest, job.work.columns, dtype)
        sums_of_all = gw.astype(dtype), gb.astype(dtype)
    job.work.gx_x, job.work.gx_1 = cnp.PyArray_DATA(gx_x), cnp.PyArray_DATA(gx_1)
    job.loop = backward[which]
    with nogil:
        pool.parallel(run_task, &job, job.work.tasks)
    return gx, *sums_of_all
