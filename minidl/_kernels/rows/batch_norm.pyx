"""Batch normalisation: y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var of each channel of (N, C, ...).

Two layouts are walked as they lie in memory. "Rows": channels are last (a logical (N, C, H, W) whose memory is
N, H, W, C; or (N, C) itself), the loops run over channels side by side. "Planes": C order, the loops run over the
elements of H, W that belong to one channel. Anything else is copied. Few channels in the first layout are widened:
several rows make one, so that a vector is full.

Forward is a pass for the statistics and a pass that normalises and applies an activation; backward a pass for
Σ g and Σ g (x - mean), and a pass for gx. The slope of the activation is applied to gy in both, in cache, and never
stored. Sums are cut into chunks of fixed size, which are added in order: same bits for any number of threads.
In between, the sums of the chunks become the numbers that each channel is computed with (batch_norm_channels.pxd).

Accuracy: a chunk sums x - k and (x - k)², with k the mean of its first elements, so that a large mean costs nothing;
chunks are joined in double by the rule of Chan, Golub & LeVeque (1979). The mean is handed on as a number of x's
precision, `near`, and what is left of it goes into the offset.
"""

cimport numpy as cnp
from libc.string cimport memset
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport epilogues, memory, prepared
from minidl._kernels.arrays.checks cimport counter, images, same_layout, seen, vector
from minidl._kernels.rows.batch_norm_loops cimport (
    CHUNK, DEEP, FEW, RUN, WIDE, Work, sum_t,
    backward_planes, backward_rows, forward_planes, forward_rows,
    moments_of_planes, moments_of_rows, sums_of_planes, sums_of_rows,
)
from minidl._kernels.rows.batch_norm_channels cimport (
    Norm, Running, Tracking, Vector, join, set_coefficients, set_gradients, track,
)
from minidl._kernels.arrays.layout cimport is_double

cnp.import_array()

cdef dict ACTIVATIONS = epilogues.activations_of(__name__)

cdef enum:
    COST = 8  # of an element, in additions


cdef void plan(Work* w, cnp.ndarray x) noexcept:
    """The layout, and the chunks that sums are cut into. No elements: no rows."""
    cdef Py_ssize_t samples = cnp.PyArray_DIM(x, 0), channels = cnp.PyArray_DIM(x, 1), inner
    memset(w, 0, sizeof(Work))
    if cnp.PyArray_SIZE(x) == 0:
        return
    inner = cnp.PyArray_SIZE(x) // (samples * channels)
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


cdef cnp.ndarray point(Vector* to, object v, Py_ssize_t channels, str which):
    """Lets `to` see v, one number a channel or None. Returns the array, which must live as long."""
    cdef cnp.ndarray given = None
    to.data, to.wide = NULL, False
    if v is not None:
        given = vector(v, channels, "batch_norm", which)
        to.data, to.wide = cnp.PyArray_DATA(given), is_double(given)
    return given


# ── The passes ───────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void chunk_sums(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(first, last):
        w.sum(w, index, NULL)


cdef int run_sums(Work* w) except -1:
    """Runs the sum over all chunks: what it leaves in `first` and `second`, which are to be given back."""
    cdef Py_ssize_t across = (w.columns + WIDE - 1) // WIDE if w.rows_layout else w.columns
    cdef Py_ssize_t size = w.count * w.columns * w.inner, tasks = w.chunks * across
    w.first = <double*>memory.take(2 * <size_t>(w.chunks * w.columns) * sizeof(double))
    if w.first == NULL:
        raise MemoryError(f"batch_norm: no memory for the sums of {w.chunks} chunks")
    w.second = w.first + w.chunks * w.columns
    return run(<loop_t>chunk_sums, w, sizeof(Work), None, tasks, size // tasks, COST, False)


cdef void elements(void* tag, Norm* n, Py_ssize_t first, Py_ssize_t last, void* _) noexcept nogil:
    n.loop(NULL, &n.w, first, last, n.y)


cdef int run_elements(Norm* n) except -1:
    """Runs the loop over all rows, or over all runs of planes."""
    cdef Work* w = &n.w
    cdef Py_ssize_t count = w.count if w.rows_layout else w.count * w.columns * w.runs
    cdef Py_ssize_t width = w.columns if w.rows_layout else w.length
    return run(<loop_t>elements, n, sizeof(Norm), None, count, width, COST, False)


# ── What the entry points leave in a captured step ───────────────────────────────────────────────────────────────────

cdef struct Moments:
    Work w
    Py_ssize_t channels
    double* mean
    double* var


cdef int find_moments(void* work) except -1:
    cdef Moments m = (<Moments*>work)[0]
    cdef Py_ssize_t c
    for c in range(m.channels):
        m.mean[c] = m.var[c] = 0
    if m.w.count == 0:
        return 0
    try:
        run_sums(&m.w)
        join(&m.w, m.channels, m.mean, m.var)
    finally:
        memory.give(m.w.first)
    for c in range(m.channels):
        m.var[c] /= m.w.count * m.w.columns * m.w.inner // m.channels
    return 0


cdef void* room_for(Norm* n, int count) except NULL:
    """So many numbers a column."""
    cdef void* room = memory.take(<size_t>(count * n.w.columns) * sizeof(double))
    if room == NULL:
        raise MemoryError(f"batch_norm: no memory for the coefficients of {n.channels} channels")
    return room


cdef int normalise(void* work) except -1:
    cdef Norm n = (<Norm*>work)[0]
    cdef void* room
    if n.w.count == 0:
        return 0
    room = room_for(&n, 3)
    try:
        if n.wide:
            set_coefficients(&n, <double*>room)
        else:
            set_coefficients(&n, <float*>room)
        run_elements(&n)
    finally:
        memory.give(room)
    return 0


cdef int differentiate(void* work) except -1:
    cdef Norm n = (<Norm*>work)[0]
    cdef void* room
    if n.w.count == 0:
        memset(n.gw, 0, n.channels * (sizeof(double) if n.wide else sizeof(float)))
        memset(n.gb, 0, n.channels * (sizeof(double) if n.wide else sizeof(float)))
        return 0
    room = room_for(&n, 5)
    try:
        if n.wide:
            set_coefficients(&n, <double*>room)
            run_sums(&n.w)
            set_gradients(&n, <double*>room + 3 * n.w.columns)
        else:
            set_coefficients(&n, <float*>room)
            run_sums(&n.w)
            set_gradients(&n, <float*>room + 3 * n.w.columns)
        run_elements(&n)
    finally:
        memory.give(n.w.first)
        memory.give(room)
    return 0


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

def batch_norm_moments(x):
    """(mean, var) of each channel of x (N, C, ...), in float64; var is the mean square (biased). No elements: 0."""
    cdef cnp.ndarray xs = images(x, "batch_norm")
    cdef cnp.npy_intp channels = cnp.PyArray_DIM(xs, 1)
    cdef cnp.ndarray mean = memory.empty(1, &channels, cnp.NPY_DOUBLE), var = memory.empty_like(mean)
    cdef Moments m
    cdef sum_t[4] sums = [
        <sum_t>moments_of_planes[float], <sum_t>moments_of_planes[double],
        <sum_t>moments_of_rows[float], <sum_t>moments_of_rows[double],
    ]
    plan(&m.w, xs)
    m.w.sum = sums[2 * m.w.rows_layout + is_double(xs)]
    m.channels, m.mean, m.var = channels, <double*>cnp.PyArray_DATA(mean), <double*>cnp.PyArray_DATA(var)
    prepared.do(find_moments, &m, sizeof(m), mean)
    if prepared.capturing():
        prepared.fills(var)
    return mean, var


cdef tuple set_norm(Norm* n, cnp.ndarray x, mean, var, double eps, weight, bias, double a, double b):
    """All but the loops and the results. Returns the arrays, which must live as long as n."""
    plan(&n.w, x)
    n.channels, n.wide, n.eps, n.w.a, n.w.b = cnp.PyArray_DIM(x, 1), is_double(x), eps, a, b
    return (
        point(&n.mean, mean, n.channels, "mean"), point(&n.var, var, n.channels, "var"),
        point(&n.weight, weight, n.channels, "weight"), point(&n.bias, bias, n.channels, "bias"),
    )


def batch_norm_forward(
    x, mean not None, var not None, double eps, weight=None, bias=None, str activation=None, double a=0, double b=0
):
    """y = (x - mean) / sqrt(var + eps) weight + bias for x (N, C, ...) and one number a channel of the others.

    `activation`: the name of one, with parameters a and b, that is applied to y while it is in the cache.
    """
    cdef cnp.ndarray xs = images(x, "batch_norm"), y = memory.empty_like(xs)
    cdef epilogues.Loops epilogue
    cdef Norm n
    cdef loop_t[4] loops = [
        <loop_t>forward_planes[float], <loop_t>forward_planes[double],
        <loop_t>forward_rows[float], <loop_t>forward_rows[double],
    ]
    kept = set_norm(&n, xs, mean, var, eps, weight, bias, a, b)
    if activation is not None:
        epilogue = epilogues.find(ACTIVATIONS, activation)
        n.w.activation = epilogue.forward[n.wide]
    n.loop, n.y = loops[2 * n.w.rows_layout + n.wide], cnp.PyArray_DATA(y)
    prepared.do(normalise, &n, sizeof(n), y)
    del kept
    return y


def batch_norm_backward(
    x, gy, mean not None, var not None, double eps, weight=None, bias=None, bint moving=True, str activation=None,
    double a=0, double b=0, y=None
):
    """(gx, gw, gb); with g = gy times the slope of the activation: gb = Σ g, gw = Σ g (x - mean) / sqrt(var + eps).

    `moving`: mean and var are x's own and move with it; else they are given, and gx = g weight / sqrt(var + eps).
    `activation`: the name of the one that was applied, with parameters a and b, and `y`, the result, which its slope is
    written in. Without y the slope is that of relu or leaky_relu: `a` for what is <= 0 and 1 elsewhere, found from x.
    """
    cdef cnp.ndarray xs = images(x, "batch_norm"), gx = memory.empty_like(xs), gs = same_layout(gy, xs, "batch_norm"), ys
    cdef cnp.npy_intp channels = cnp.PyArray_DIM(xs, 1)
    cdef cnp.ndarray gw = memory.empty(1, &channels, cnp.PyArray_TYPE(xs)), gb = memory.empty_like(gw)
    cdef epilogues.Loops epilogue
    cdef Norm n
    cdef sum_t[4] sums = [
        <sum_t>sums_of_planes[float], <sum_t>sums_of_planes[double],
        <sum_t>sums_of_rows[float], <sum_t>sums_of_rows[double],
    ]
    cdef loop_t[4] loops = [
        <loop_t>backward_planes[float], <loop_t>backward_planes[double],
        <loop_t>backward_rows[float], <loop_t>backward_rows[double],
    ]
    kept = set_norm(&n, xs, mean, var, eps, weight, bias, a, b)
    n.w.gy, n.w.linear = cnp.PyArray_DATA(gs), not moving
    if activation is not None:
        epilogue = epilogues.find(ACTIVATIONS, activation)
        n.w.by_sign = y is None
        if y is not None:
            ys = same_layout(y, xs, "batch_norm")
            n.w.y, n.w.slope = cnp.PyArray_DATA(ys), epilogue.backward_from_y[n.wide]
    n.w.sum, n.loop = sums[2 * n.w.rows_layout + n.wide], loops[2 * n.w.rows_layout + n.wide]
    n.y, n.gw, n.gb = cnp.PyArray_DATA(gx), cnp.PyArray_DATA(gw), cnp.PyArray_DATA(gb)
    prepared.do(differentiate, &n, sizeof(n), gx)
    del kept
    if prepared.capturing():
        prepared.fills(gw)
        prepared.fills(gb)
    return gx, gw, gb


cdef Running running(object r, Py_ssize_t channels, str which) except *:
    """r, which will be overwritten."""
    cdef cnp.ndarray array
    if r is None:
        return Running(NULL, 0, False)
    if not (
        isinstance(r, cnp.ndarray)
        and cnp.PyArray_TYPE(<cnp.ndarray>r) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE)
        and cnp.PyArray_ISBEHAVED(<cnp.ndarray>r) and (<object>r).shape == (channels,)
    ):
        raise TypeError(f"batch_norm: {which}: expected {channels} floats that can be updated in place, got {r!r}")
    array = seen(<cnp.ndarray>r)
    if prepared.capturing() and not prepared.is_older(array):
        prepared.refuse(f"{which} is an argument, which would be updated in place")
    return Running(cnp.PyArray_BYTES(array), cnp.PyArray_STRIDE(array, 0), is_double(array))


def batch_norm_track(running_mean, running_var, count, mean not None, var not None, Py_ssize_t n, momentum=None):
    """r += momentum (new - r) for the mean and the unbiased variance of a batch of n elements a channel; count += 1.

    running_mean, running_var, count: what is updated, in place; any of them may be None. count is an int64 array of one
    element. `momentum` None: 1 / count, so that r is the plain average of all batches.
    """
    cdef Py_ssize_t channels = len(mean)
    cdef Tracking t
    kept = point(&t.new_mean, mean, channels, "mean"), point(&t.new_var, var, channels, "var")
    t.mean, t.var = running(running_mean, channels, "running_mean"), running(running_var, channels, "running_var")
    t.channels, t.momentum = channels, float("nan") if momentum is None else momentum
    t.unbiased = n / <double>max(n - 1, <Py_ssize_t>1)
    t.count = NULL if count is None else counter(count, "batch_norm")
    if t.count == NULL and momentum is None:
        raise ValueError("batch_norm: the plain average of all batches needs their count, got None")
    prepared.do(track, &t, sizeof(t), None)
    del kept
