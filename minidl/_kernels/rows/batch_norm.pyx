"""Batch normalisation: y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var of each channel of (N, C, ...).

Two layouts are walked as they lie in memory. "Rows": channels are last (a logical (N, C, H, W) whose memory is
N, H, W, C; or (N, C) itself), the loops run over channels side by side. "Planes": C order, the loops run over the
elements of H, W that belong to one channel. Anything else is copied. Few channels in the first layout are widened:
several rows make one, so that a vector is full.

Forward is a pass for the statistics and a pass that normalises and applies an activation; backward a pass for
Σ g and Σ g (x - mean), and a pass for gx. The slope of the activation is applied to gy in both, in cache, and never
stored. Sums are cut into chunks of fixed size, which are added in order: same bits for any number of threads.

Accuracy: a chunk sums x - k and (x - k)², with k the mean of its first elements, so that a large mean costs nothing;
chunks are joined in double by the rule of Chan, Golub & LeVeque (1979). The mean is handed on as a number of x's
precision, `near`, and what is left of it goes into the offset.
"""

cimport numpy as cnp
from libc.string cimport memset
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport epilogues, memory
from minidl._kernels.runtime.prepared cimport capturing, refuse
from minidl._kernels.arrays.checks cimport same_layout
from minidl._kernels.rows.batch_norm_loops cimport (
    CHUNK, DEEP, FEW, RUN, WIDE, Work, sum_t,
    backward_planes, backward_rows, forward_planes, forward_rows,
    moments_of_planes, moments_of_rows, sums_of_planes, sums_of_rows,
)
from minidl._kernels.arrays.image_layout cimport images

import numpy as np

cnp.import_array()

cdef dict ACTIVATIONS = epilogues.activations_of(__name__)

cdef enum:
    COST = 8  # of an element, in additions


cdef void plan(Work* w, cnp.ndarray x) noexcept:
    """The layout, and the chunks that sums are cut into. x has elements."""
    cdef Py_ssize_t samples = cnp.PyArray_DIM(x, 0), channels = cnp.PyArray_DIM(x, 1)
    cdef Py_ssize_t inner = cnp.PyArray_SIZE(x) // (samples * channels)
    memset(w, 0, sizeof(Work))
    w.x = cnp.PyArray_DATA(x)
    w.rows_layout = inner == 1 or not cnp.PyArray_IS_C_CONTIGUOUS(x)
    if w.rows_layout:
        w.count, w.columns, w.inner, w.runs, w.length = samples * inner, channels, 1, 1, 1
        while 2 * w.columns <= FEW and w.count % 2 == 0:  # two rows make one
            w.columns, w.count = 2 * w.columns, w.count // 2
        w.per_chunk = max(CHUNK // w.columns, <Py_ssize_t>DEEP)
        w.chunks = (w.count + w.per_chunk - 1) // w.per_chunk
    else:
        w.count, w.columns, w.inner, w.length = samples, channels, inner, min(inner, <Py_ssize_t>RUN)
        w.runs = (inner + w.length - 1) // w.length
        w.per_chunk = max(CHUNK // w.length, <Py_ssize_t>1)
        w.chunks = (samples + w.per_chunk - 1) // w.per_chunk * w.runs


cdef bint wide(cnp.ndarray x) noexcept:
    return cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE


cdef void chunk_sums(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(first, last):
        w.sum(w, index, NULL)


cdef tuple run_sums(Work* w, cnp.ndarray x, sum_t[4] sums):
    """Runs the sum for the layout and dtype over all chunks: what it leaves in `first` and `second`."""
    cdef Py_ssize_t across = (w.columns + WIDE - 1) // WIDE if w.rows_layout else w.columns
    cdef cnp.npy_intp[2] shape = [w.chunks, w.columns]
    cdef cnp.ndarray first = memory.empty(2, shape, cnp.NPY_DOUBLE), second = memory.empty(2, shape, cnp.NPY_DOUBLE)
    w.first, w.second = <double*>cnp.PyArray_DATA(first), <double*>cnp.PyArray_DATA(second)
    w.sum = sums[2 * w.rows_layout + wide(x)]
    run(<loop_t>chunk_sums, w, sizeof(Work), None, w.chunks * across, cnp.PyArray_SIZE(x) // (w.chunks * across), COST, False)
    return first, second


cdef int run_elements(Work* w, cnp.ndarray y, loop_t[4] loops) except -1:
    """Runs the loop for the layout and dtype over all rows, or over all runs of planes."""
    if capturing():
        refuse("what is between its two passes cannot be recorded yet")
    cdef Py_ssize_t count = w.count if w.rows_layout else w.count * w.columns * w.runs
    cdef Py_ssize_t width = w.columns if w.rows_layout else w.length
    return run(loops[2 * w.rows_layout + wide(y)], w, sizeof(Work), y, count, width, COST, False)


cdef void join(Work* w, Py_ssize_t channels, double* mean, double* squares) noexcept nogil:
    """The moments of all chunks, one after the other, in the first line."""
    cdef Py_ssize_t lines = w.columns // channels, chunk, line, c
    cdef const double* m
    cdef const double* q
    cdef double n = 0, added, share, d
    for c in range(channels):
        mean[c] = squares[c] = 0
    for chunk in range(w.chunks):
        added = min(w.per_chunk, w.count - chunk // w.runs * w.per_chunk)
        added *= min(w.length, w.inner - chunk % w.runs * w.length)
        for line in range(lines):
            m = w.first + chunk * w.columns + line * channels
            q = w.second + chunk * w.columns + line * channels
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
    cdef Work w
    if cnp.PyArray_SIZE(xs) == 0:
        return np.zeros(channels), np.zeros(channels)
    plan(&w, xs)
    kept = run_sums(&w, xs, [
        <sum_t>moments_of_planes[float], <sum_t>moments_of_planes[double],
        <sum_t>moments_of_rows[float], <sum_t>moments_of_rows[double],
    ])
    join(&w, channels, <double*>cnp.PyArray_DATA(mean), <double*>cnp.PyArray_DATA(var))
    del kept
    var /= cnp.PyArray_SIZE(xs) // channels
    return mean, var


def batch_norm_forward(x, mean, rstd, weight=None, bias=None, str activation=None, double a=0, double b=0):
    """y = (x - mean) rstd weight + bias for x (N, C, ...) and one number a channel of all others.

    `activation`: the name of one, with parameters a and b, that is applied to y while it is in the cache.
    """
    cdef cnp.ndarray xs = images(x, "batch_norm"), y = memory.empty_like(xs)
    cdef epilogues.Loops epilogue
    cdef Work w
    if cnp.PyArray_SIZE(xs) == 0:
        return y
    plan(&w, xs)
    kept = coefficients(&w, xs, mean, rstd, weight, bias)
    if activation is not None:
        epilogue = epilogues.find(ACTIVATIONS, activation)
        w.activation = epilogue.forward[wide(xs)]
        w.a, w.b = a, b
    run_elements(&w, y, [
        <loop_t>forward_planes[float], <loop_t>forward_planes[double],
        <loop_t>forward_rows[float], <loop_t>forward_rows[double],
    ])
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
    cdef Work w
    dtype = x.dtype
    if cnp.PyArray_SIZE(xs) == 0:
        return gx, np.zeros(channels, dtype), np.zeros(channels, dtype)
    plan(&w, xs)
    near, scales, offset, scale, rest, rstd = coefficients(&w, xs, mean, rstd, weight, bias)
    w.gy, w.a, w.b, w.linear = cnp.PyArray_DATA(gs), a, b, not moving
    if activation is not None:
        epilogue = epilogues.find(ACTIVATIONS, activation)
        w.by_sign = y is None
        if y is not None:
            ys = same_layout(y, xs, "batch_norm")
            w.y, w.slope = cnp.PyArray_DATA(ys), epilogue.backward_from_y[wide(xs)]
    first, second = run_sums(&w, xs, [
        <sum_t>sums_of_planes[float], <sum_t>sums_of_planes[double],
        <sum_t>sums_of_rows[float], <sum_t>sums_of_rows[double],
    ])
    cdef cnp.ndarray gx_x, gx_1
    with np.errstate(all="ignore"):
        gb = first.reshape(-1, channels).sum(axis=0)
        gw = rstd * (second.reshape(-1, channels).sum(axis=0) - rest * gb)
        slant = -scale * rstd * gw / n
        gx_x = widened(slant, w.columns, dtype)
        gx_1 = widened(-scale * gb / n - slant * rest, w.columns, dtype)
        sums_of_all = gw.astype(dtype), gb.astype(dtype)
    w.gx_x, w.gx_1 = cnp.PyArray_DATA(gx_x), cnp.PyArray_DATA(gx_1)
    run_elements(&w, gx, [
        <loop_t>backward_planes[float], <loop_t>backward_planes[double],
        <loop_t>backward_rows[float], <loop_t>backward_rows[double],
    ])
    return gx, *sums_of_all
