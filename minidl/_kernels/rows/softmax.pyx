"""Softmax over rows, its logarithm, the logarithm of the sum, and softmax with cross-entropy in one pass.

Arrays are (rows, n) in C order, or (outer, n, inner): then softmax goes along the middle axis (softmax_columns.pxd).
Every row is shifted by its greatest element before the exponential, so that nothing overflows. A block is as many rows
as stay in the first-level cache from one pass over them to the next. exponentials.pxd says how a row is walked.
"""

cimport numpy as cnp
from libc.math cimport isfinite, isinf
from libc.stdint cimport int64_t
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport c_axes, dense, same_layout
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.arrays.scalars cimport store
from minidl._kernels.rows.folding cimport Sum, row_fold
from minidl._kernels.arrays.targets cimport targets_of
from minidl._kernels.rows.exponentials cimport BLOCK, LANES, log_of_sum, room, row_dots, shifted_exp
from minidl._kernels.rows.softmax_columns cimport (
    APART, CLASSES, CROSS_ENTROPY, FEW, LOG_SOFTMAX, SOFTMAX, Columns, backward_strip, forward_strip, short_sums, to_columns,
)
from minidl._kernels.product.squares cimport turn
from minidl._kernels.math.elementary cimport real, exp_below_, lowered

cnp.import_array()

cdef enum:
    COST = 8  # of an element, in additions
    WIDE = 256  # columns of a block


cdef struct Work

ctypedef void (*block_t)(Work* w, void* kind, Py_ssize_t first, Py_ssize_t last) noexcept nogil

cdef struct Work:
    block_t loop
    const void* x
    const void* gy
    const int64_t* target
    void* y  # (not an argument of the loops: with that, gcc makes code that takes 1.06x the time)
    void* loss
    Py_ssize_t n, gy_step
    double scale
    int kind  # of rows shorter than LANES


# ── The loops: a block of rows, `first` to `last - 1` ────────────────────────────────────────────────────────────────

cdef void softmax_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t n = w.n, r, i
    cdef real[BLOCK] maxima, sums, beyond, scratch
    cdef real* y = <real*>w.y + first * n
    cdef real* e = room(scratch, y, n)
    cdef real inverse
    shifted_exp(<const real*>w.x + first * n, e, maxima, sums, beyond, last - first, n, y)
    for r in range(last - first):
        inverse = 1 / sums[r]
        for i in range(n):
            y[r * n + i] = e[r * n + i] * inverse


cdef void softmax_backward_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """gx = y (gy - Σ gy y)."""
    cdef Py_ssize_t n = w.n, r, i
    cdef real[BLOCK] dots
    cdef const real* y = <const real*>w.x + first * n
    cdef const real* gy = <const real*>w.gy + first * n
    cdef real* gx = <real*>w.y + first * n
    row_dots(gy, y, dots, last - first, n)
    for r in range(last - first):
        for i in range(n):
            gx[i] = y[i] * (gy[i] - dots[r])
        y, gy, gx = y + n, gy + n, gx + n


cdef void log_softmax_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t n = w.n, r, i
    cdef real[BLOCK] maxima, sums, beyond, scratch
    cdef const real* x = <const real*>w.x + first * n
    cdef real* y = <real*>w.y + first * n
    shifted_exp(x, room(scratch, y, n), maxima, sums, beyond, last - first, n, y)
    for r in range(last - first):
        sums[r] = log_of_sum(lowered(beyond[r]))
    for r in range(last - first):
        for i in range(n):
            y[r * n + i] = (x[r * n + i] - maxima[r]) - sums[r]


cdef void log_softmax_backward_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """gx = gy - exp(y) Σ gy."""
    cdef Py_ssize_t n = w.n, r, i, group, start
    cdef real[BLOCK] scratch, totals
    cdef real[LANES] g
    cdef real total
    cdef int j
    cdef const real* y = <const real*>w.x + first * n
    cdef const real* gy = <const real*>w.gy + first * n
    cdef real* gx = <real*>w.y + first * n
    row_dots(gy, <const real*>NULL, totals, last - first, n)
    if n < LANES:
        for i in range((last - first) * n):
            scratch[i] = exp_below_(y[i])
        for r in range(last - first):
            for i in range(n):
                gx[r * n + i] = gy[r * n + i] - scratch[r * n + i] * totals[r]
        return
    for r in range(last - first):
        total = totals[r]
        for group in range((n + LANES - 1) // LANES):
            start = min(group * LANES, n - LANES)
            for j in range(LANES):
                g[j] = gy[start + j] - exp_below_(y[start + j]) * total
            for j in range(LANES):
                gx[start + j] = g[j]
        y, gy, gx = y + n, gy + n, gx + n


cdef void logsumexp_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """loss = max + log Σ exp(x - max); an infinite maximum is the result, unless there is a NaN."""
    cdef Py_ssize_t n = w.n, r, i
    cdef real[BLOCK] maxima, sums, beyond, scratch
    cdef const real* x = <const real*>w.x + first * n
    cdef real* y = <real*>w.y + first * n
    cdef real* loss = <real*>w.loss + first
    if n < LANES:
        short_sums(x, maxima, sums, beyond, last - first, n)
    else:
        shifted_exp(x, room(scratch, y, n), maxima, sums, beyond, last - first, n, y)
    for r in range(last - first):
        loss[r] = maxima[r] + log_of_sum(lowered(beyond[r]))
    for r in range(last - first):
        if isinf(maxima[r]):  # (inf - inf is NaN)
            loss[r] = maxima[r]
            for i in range(n):
                loss[r] = x[r * n + i] if x[r * n + i] != x[r * n + i] else loss[r]


cdef void cross_entropy_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """y = softmax(x) - one_hot(target); loss = log Σ exp(x - max) - (x[target] - max)."""
    cdef Py_ssize_t n = w.n, r, i, t
    cdef real[BLOCK] maxima, sums, beyond
    cdef const real* x = <const real*>w.x + first * n
    cdef real* y = <real*>w.y + first * n
    cdef real* loss = <real*>w.loss + first
    cdef real inverse, one = 1
    shifted_exp(x, y, maxima, sums, beyond, last - first, n, y + BLOCK)
    for r in range(last - first):
        loss[r] = log_of_sum(lowered(beyond[r]))
    for r in range(last - first):
        t = w.target[first + r]
        loss[r] -= x[t] - maxima[r]
        inverse = 1 / sums[r]
        for i in range(n):
            y[i] *= inverse
        y[t] = -beyond[r] * inverse if x[t] == maxima[r] else y[t] - one
        x, y = x + n, y + n


cdef void cross_entropy_backward_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """gx = g (softmax - one_hot(target)), with one g a row, or one for all where the loss was reduced."""
    cdef Py_ssize_t n = w.n, rows = last - first, r, i
    cdef const real* d = <const real*>w.x + first * n
    cdef const real* gy = <const real*>w.gy + first * w.gy_step
    cdef real* gx = <real*>w.y + first * n
    cdef real g
    if w.gy_step == 0:
        rows, n = 1, rows * n
    for r in range(rows):
        g = gy[r * w.gy_step] * <real>w.scale
        for i in range(n):
            gx[i] = g * d[i]
        d, gx = d + n, gx + n


# ── Rows shorter than LANES: so many of them, side by side, are a strip of columns ───────────────────────────────────

cdef void short_rows(Work* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """What softmax_rows, log_softmax_rows or cross_entropy_rows compute."""
    cdef Columns strip
    cdef Py_ssize_t n = w.n, count
    cdef real[LANES * LANES] x, y
    cdef real[LANES] losses
    cdef int64_t[LANES] target
    cdef int j
    strip.n, strip.inner, strip.kind, strip.keep, strip.target, strip.loss = n, LANES, w.kind, True, target, losses
    while first < last:
        count = min(last - first, <Py_ssize_t>LANES)
        to_columns(<const real*>w.x + first * n, x, count, n)
        if w.kind == CROSS_ENTROPY:
            for j in range(LANES):
                target[j] = w.target[first + min(j, count - 1)]
        forward_strip(&strip, <const real*>x, y, 0)
        if w.kind == CROSS_ENTROPY:
            for j in range(count):
                (<real*>w.loss)[first + j] = losses[j]
        turn(<const real*>y, LANES, <real*>w.y + first * n, n, n, count)
        first += count


# ── The loops over columns ───────────────────────────────────────────────────────────────────────────────────────────

cdef void columns(void* tag, Columns* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Blocks of WIDE columns; what is left of an outer place belongs to its last block."""
    cdef Py_ssize_t unit, start, stop, outer, offset
    for unit in range(first, last):
        outer = unit // w.blocks
        start = unit % w.blocks * WIDE
        stop = w.inner if unit % w.blocks == w.blocks - 1 else start + WIDE
        while start < stop:
            start = min(start, stop - LANES)
            offset = outer * w.n * w.inner + start
            if w.gy == NULL:
                forward_strip(w, <const real*>w.x + offset, y + offset, outer * w.inner + start)
            else:
                backward_strip(w, <const real*>w.x + offset, <const real*>w.gy + offset, y + offset)
            start += LANES


cdef cnp.ndarray run_columns(Columns* w, int kind, str name, cnp.ndarray x, cnp.ndarray gy, bint keep=True):
    cdef cnp.ndarray y = memory.empty_like(x) if keep else None
    w.n, w.inner = cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 2)
    if not (0 < w.n <= CLASSES and w.inner >= LANES):
        raise ValueError(f"{name}: expected 1 to {CLASSES} classes and {LANES} columns or more, got shape {(<object>x).shape}")
    w.blocks = max(w.inner // WIDE, <Py_ssize_t>1)
    w.x, w.kind, w.keep = cnp.PyArray_DATA(x), kind, keep
    w.crowded = w.inner * cnp.PyArray_ITEMSIZE(x) % APART == 0 and w.n > FEW
    w.gy = NULL if gy is None else cnp.PyArray_DATA(gy)
    run(of_dtype(x, <loop_t>columns[float], <loop_t>columns[double]), w, sizeof(Columns), y,
        cnp.PyArray_DIM(x, 0) * w.blocks, w.n * min(w.inner, <Py_ssize_t>WIDE), COST, False)
    return y


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef bint has_columns(object x):
    return isinstance(x, cnp.ndarray) and cnp.PyArray_NDIM(<cnp.ndarray>x) == 3


cdef cnp.ndarray of_columns(object x, str name):
    return c_axes(x, 3, name, "outer, classes, columns")


cdef void rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil:
    """Block by block."""
    cdef Py_ssize_t count = max(BLOCK // w.n, <Py_ssize_t>1)
    if w.n < LANES:
        count -= count % LANES  # whole vectors of rows
    while first < last:
        w.loop(w, NULL, first, min(first + count, last))
        first += count


cdef cnp.ndarray run_rows(Work* w, cnp.ndarray x, block_t single, block_t wide, int short_kind=-1):
    """The loop over x's rows; short ones are of a kind of their own, if it is given."""
    cdef cnp.ndarray y = memory.empty_like(x)
    w.x, w.n, w.loop = cnp.PyArray_DATA(x), cnp.PyArray_DIM(x, 1), wide if is_double(x) else single
    w.y, w.kind = cnp.PyArray_DATA(y), short_kind
    if short_kind >= 0 and w.n < LANES:
        w.loop = <block_t>short_rows[double] if is_double(x) else <block_t>short_rows[float]
    if w.n:
        run(<loop_t>rows, w, sizeof(Work), y, cnp.PyArray_DIM(x, 0), w.n, COST, False)
    return y


cdef cnp.ndarray over_columns(int kind, str name, object x, object gy):
    cdef Columns w
    cdef cnp.ndarray xs = of_columns(x, name)
    return run_columns(&w, kind, name, xs, None if gy is None else same_layout(gy, xs, name))


def softmax_forward(x):
    """y = exp(x) / Σ exp(x) over each row of (rows, n), or over axis 1 of (outer, n, inner)."""
    if has_columns(x):
        return over_columns(SOFTMAX, "softmax", x, None)
    cdef cnp.ndarray xs = c_axes(x, 2, "softmax", "rows, classes")
    cdef Work w
    return run_rows(&w, xs, <block_t>softmax_rows[float], <block_t>softmax_rows[double], SOFTMAX)


def softmax_backward(y, gy):
    """gx = y (gy - Σ gy y)."""
    if has_columns(y):
        return over_columns(SOFTMAX, "softmax", y, gy)
    cdef cnp.ndarray ys = c_axes(y, 2, "softmax", "rows, classes"), gs = same_layout(gy, ys, "softmax")
    cdef Work w
    w.gy = cnp.PyArray_DATA(gs)
    return run_rows(&w, ys, <block_t>softmax_backward_rows[float], <block_t>softmax_backward_rows[double])


def log_softmax_forward(x):
    """y = x - log Σ exp(x) over each row of (rows, n), or over axis 1 of (outer, n, inner)."""
    if has_columns(x):
        return over_columns(LOG_SOFTMAX, "log_softmax", x, None)
    cdef cnp.ndarray xs = c_axes(x, 2, "log_softmax", "rows, classes")
    cdef Work w
    return run_rows(&w, xs, <block_t>log_softmax_rows[float], <block_t>log_softmax_rows[double], LOG_SOFTMAX)


def log_softmax_backward(y, gy):
    """gx = gy - exp(y) Σ gy."""
    if has_columns(y):
        return over_columns(LOG_SOFTMAX, "log_softmax", y, gy)
    cdef cnp.ndarray ys = c_axes(y, 2, "log_softmax", "rows, classes"), gs = same_layout(gy, ys, "log_softmax")
    cdef Work w
    w.gy = cnp.PyArray_DATA(gs)
    return run_rows(&w, ys, <block_t>log_softmax_backward_rows[float], <block_t>log_softmax_backward_rows[double])


def logsumexp_forward(x):
    """y = log Σ exp(x) over each row of (rows, n), n > 0: (rows,)."""
    cdef cnp.ndarray xs = c_axes(x, 2, "logsumexp", "rows, classes")
    cdef cnp.ndarray y = memory.empty(1, cnp.PyArray_DIMS(xs), cnp.PyArray_TYPE(xs))
    cdef Work w
    if cnp.PyArray_DIM(xs, 1) == 0:
        raise ValueError(f"logsumexp: no elements in a row of shape {x.shape}")
    w.loss = cnp.PyArray_DATA(y)
    run_rows(&w, xs, <block_t>logsumexp_rows[float], <block_t>logsumexp_rows[double])
    if prepared.capturing():
        prepared.fills(y)
    return y


cdef double sum_of(const real* losses, Py_ssize_t n, double scale) noexcept nogil:
    """scale Σ losses. A sum that is not finite is taken once more, in double and of what is scaled already."""
    cdef double result = scale * row_fold(<Sum*>NULL, losses, n, 1)
    cdef Py_ssize_t i
    if not isfinite(result):
        result = 0
        for i in range(n):
            result += scale * losses[i]
    return result


cdef struct Total:
    const void* losses
    Py_ssize_t count
    double scale
    void* y
    bint wide


cdef int take_total(void* total) except -1:
    cdef Total* w = <Total*>total
    store(w.y, w.wide, sum_of(<const double*>w.losses, w.count, w.scale) if w.wide
          else sum_of(<const float*>w.losses, w.count, w.scale))
    return 0


cdef cnp.ndarray total(cnp.ndarray losses, double scale):
    """scale Σ losses as an array without axes."""
    cdef cnp.ndarray y = memory.empty(0, NULL, cnp.PyArray_TYPE(losses))
    cdef Total w = Total(
        cnp.PyArray_DATA(losses), cnp.PyArray_SIZE(losses), scale, cnp.PyArray_DATA(y), is_double(losses)
    )
    prepared.do(take_total, &w, sizeof(w), y)
    return y


def cross_entropy_forward(x, target, double scale=0, bint keep=True):
    """(loss, d): loss[r] = -log softmax(x)[target[r]], and d = softmax(x) - one_hot(target), its gradient.

    With a scale, loss is scale Σ loss[r]: 1 for the sum, 1 / rows for the mean. Of (outer, n, inner) a row is an element of
    (outer, inner). Without `keep` d may be None.
    """
    cdef cnp.ndarray xs = of_columns(x, "cross_entropy") if has_columns(x) else c_axes(x, 2, "cross_entropy", "rows, classes")
    cdef cnp.npy_intp count = cnp.PyArray_DIM(xs, 0) * (cnp.PyArray_DIM(xs, 2) if has_columns(x) else 1)
    cdef cnp.ndarray ids = targets_of(target, xs, count, "cross_entropy")
    cdef cnp.ndarray loss = memory.empty(1, &count, cnp.PyArray_TYPE(xs))
    cdef Work w
    cdef Columns c
    c.target = w.target = <int64_t*>cnp.PyArray_DATA(ids)
    c.loss = w.loss = cnp.PyArray_DATA(loss)
    if has_columns(x):
        d = run_columns(&c, CROSS_ENTROPY, "cross_entropy", xs, None, keep)
    else:
        d = run_rows(&w, xs, <block_t>cross_entropy_rows[float], <block_t>cross_entropy_rows[double], CROSS_ENTROPY)
    if prepared.capturing():
        prepared.fills(loss)
    return (loss if scale == 0 else total(loss, scale)), d


def cross_entropy_backward(difference, gy, double scale=1):
    """gx = scale gy difference, with that from forward and gy of shape (rows,), or one number where the loss was reduced.

    Of (outer, n, inner) only the latter.
    """
    if has_columns(difference) and gy.size == 1:
        return cross_entropy_backward(difference.reshape(1, -1), gy, scale).reshape(difference.shape)
    cdef cnp.ndarray ds = c_axes(difference, 2, "cross_entropy", "rows, classes")
    cdef cnp.ndarray gs = dense(gy, "cross_entropy")
    cdef Work w
    if cnp.PyArray_TYPE(gs) != cnp.PyArray_TYPE(ds) or cnp.PyArray_SIZE(gs) not in (1, len(ds)):
        raise ValueError(f"cross_entropy: expected a gradient of shape () or ({len(ds)},), got {gy.shape}")
    w.gy, w.gy_step, w.scale = cnp.PyArray_DATA(gs), cnp.PyArray_SIZE(gs) > 1, scale
    return run_rows(&w, ds, <block_t>cross_entropy_backward_rows[float], <block_t>cross_entropy_backward_rows[double])
