"""Softmax over rows, its logarithm, and softmax with cross-entropy in one pass.

Arrays are (rows, n) in C order. Every row is shifted by its greatest element before the exponential, so that nothing
overflows. The exponentials of many short rows are taken in one flat loop, which vectorises even for ten classes. Sums
over a row keep LANES partial sums that are added in a fixed order: they vectorise, and the bits depend on the row alone.
"""

cimport numpy as cnp
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from minidl._kernels cimport memory, pool
from minidl._kernels._array cimport dense, same_layout
from minidl._kernels._math cimport real, exp_, log_

cnp.import_array()

cdef enum:
    LANES = 32    # more than the compiler unrolls: a loop that it unrolls it does not vectorise
    TASK = 16384  # elements a task, about: whole rows


cdef struct Rows:
    const void* x
    const void* gy
    const int64_t* target
    void* y
    void* loss
    Py_ssize_t count, n, per_task, gy_step
    double scale


# ── Pieces ───────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline real row_max(const real* x, Py_ssize_t n) noexcept nogil:
    cdef real[LANES] m
    cdef Py_ssize_t i, j
    for j in range(LANES):
        m[j] = <real>(-INFINITY)
    for i in range(n // LANES):
        for j in range(LANES):
            m[j] = x[i * LANES + j] if x[i * LANES + j] > m[j] else m[j]
    x += n - n % LANES
    for j in range(n % LANES):
        m[j] = x[j] if x[j] > m[j] else m[j]
    for j in range(16):  # by halves: one after the other, each would wait for the one before
        m[j] = m[j] if m[j] > m[j + 16] else m[j + 16]
    for j in range(8):
        m[j] = m[j] if m[j] > m[j + 8] else m[j + 8]
    for j in range(4):
        m[j] = m[j] if m[j] > m[j + 4] else m[j + 4]
    for j in range(2):
        m[j] = m[j] if m[j] > m[j + 2] else m[j + 2]
    return m[0] if m[0] > m[1] else m[1]


cdef inline real row_dot(const real* x, const real* z, Py_ssize_t n) noexcept nogil:
    """Σ x z, or Σ x where z is NULL."""
    cdef real[LANES] s
    cdef Py_ssize_t i, j
    for j in range(LANES):
        s[j] = 0
    if z == NULL:
        for i in range(n // LANES):
            for j in range(LANES):
                s[j] += x[i * LANES + j]
        for i in range(n - n % LANES, n):
            s[i % LANES] += x[i]
    else:
        for i in range(n // LANES):
            for j in range(LANES):
                s[j] += x[i * LANES + j] * z[i * LANES + j]
        for i in range(n - n % LANES, n):
            s[i % LANES] += x[i] * z[i]
    for j in range(16):
        s[j] += s[j + 16]
    for j in range(8):
        s[j] += s[j + 8]
    for j in range(4):
        s[j] += s[j + 4]
    return (s[0] + s[2]) + (s[1] + s[3])


cdef inline void shifted_exp(
    const real* x, real* y, real* maxima, real* sums, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    """y = exp(x - the row's maximum), and each row's sum of it."""
    cdef Py_ssize_t r, i
    for r in range(rows):
        maxima[r] = row_max(x + r * n, n)
        for i in range(n):
            y[r * n + i] = x[r * n + i] - maxima[r]
    for i in range(rows * n):
        y[i] = exp_(y[i])
    for r in range(rows):
        sums[r] = row_dot(<const real*>(y + r * n), <const real*>NULL, n)


# ── The loops: rows `first` to `last` ────────────────────────────────────────────────────────────────────────────────

cdef void softmax_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t n = w.n, r, i
    cdef real[TASK] maxima, sums
    cdef real* y = <real*>w.y + first * n
    cdef real inverse
    shifted_exp(<const real*>w.x + first * n, y, maxima, sums, last - first, n)
    for r in range(last - first):
        inverse = 1 / sums[r]
        for i in range(n):
            y[r * n + i] *= inverse


cdef void softmax_backward_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """gx = y (gy - Σ gy y)."""
    cdef Py_ssize_t n = w.n, r, i
    cdef const real* y
    cdef const real* gy
    cdef real* gx
    cdef real dot
    for r in range(first, last):
        y, gy, gx = <const real*>w.x + r * n, <const real*>w.gy + r * n, <real*>w.y + r * n
        dot = row_dot(gy, y, n)
        for i in range(n):
            gx[i] = y[i] * (gy[i] - dot)


cdef void log_softmax_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t n = w.n, r, i
    cdef real[TASK] maxima, sums
    cdef const real* x = <const real*>w.x + first * n
    cdef real* y = <real*>w.y + first * n
    shifted_exp(x, y, maxima, sums, last - first, n)
    for r in range(last - first):
        sums[r] = log_(sums[r])
    for r in range(last - first):
        for i in range(n):
            y[r * n + i] = (x[r * n + i] - maxima[r]) - sums[r]


cdef void log_softmax_backward_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """gx = gy - exp(y) Σ gy."""
    cdef Py_ssize_t n = w.n, r, i
    cdef const real* y
    cdef const real* gy
    cdef real* gx
    cdef real total
    for r in range(first, last):
        y, gy, gx = <const real*>w.x + r * n, <const real*>w.gy + r * n, <real*>w.y + r * n
        total = row_dot(gy, <const real*>NULL, n)
        for i in range(n):
            gx[i] = gy[i] - exp_(y[i]) * total


cdef void cross_entropy_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """y = softmax(x); loss = log Σ exp(x - max) - (x[target] - max)."""
    cdef Py_ssize_t n = w.n, r, i
    cdef real[TASK] maxima, sums
    cdef const real* x = <const real*>w.x + first * n
    cdef real* y = <real*>w.y + first * n
    cdef real* loss = <real*>w.loss + first
    cdef real inverse
    shifted_exp(x, y, maxima, sums, last - first, n)
    for r in range(last - first):
        loss[r] = log_(sums[r])
    for r in range(last - first):
        loss[r] -= x[r * n + w.target[first + r]] - maxima[r]
        inverse = 1 / sums[r]
        for i in range(n):
            y[r * n + i] *= inverse


cdef void cross_entropy_backward_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """gx = g (softmax - one_hot(target)), with one g a row, or one for all where the loss was reduced."""
    cdef Py_ssize_t n = w.n, r, i
    cdef const real* p
    cdef real* gx
    cdef real g
    for r in range(first, last):
        p, gx = <const real*>w.x + r * n, <real*>w.y + r * n
        g = (<const real*>w.gy)[r * w.gy_step] * <real>w.scale
        for i in range(n):
            gx[i] = g * p[i]
        gx[w.target[r]] -= g


# ── The faces ────────────────────────────────────────────────────────────────────────────────────────────────────────

ctypedef void (*rows_t)(Rows*, void*, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef struct Job:
    Rows rows
    rows_t work


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Py_ssize_t first = index * job.rows.per_task
    job.work(&job.rows, NULL, first, min(first + job.rows.per_task, job.rows.count))


cdef cnp.ndarray run(
    rows_t[2] work, cnp.ndarray x, cnp.ndarray gy, cnp.ndarray target, cnp.ndarray loss, double scale=1
):
    """Runs work[float32 or float64] over all rows of x; None stands for what it does not use."""
    cdef cnp.ndarray y = memory.empty_like(x)
    cdef Job job
    job.work = work[cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE]
    job.rows.x, job.rows.y = cnp.PyArray_DATA(x), cnp.PyArray_DATA(y)
    job.rows.gy = NULL if gy is None else cnp.PyArray_DATA(gy)
    job.rows.target = NULL if target is None else <int64_t*>cnp.PyArray_DATA(target)
    job.rows.loss = NULL if loss is None else cnp.PyArray_DATA(loss)
    job.rows.gy_step, job.rows.scale = gy is not None and cnp.PyArray_SIZE(gy) > 1, scale
    job.rows.count, job.rows.n = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    if job.rows.count and job.rows.n:
        job.rows.per_task = max(TASK // job.rows.n, <Py_ssize_t>1)
        with nogil:
            pool.parallel(
                run_task, &job, (job.rows.count + job.rows.per_task - 1) // job.rows.per_task
            )
    return y


cdef cnp.ndarray rows_of(object x, str name):
    cdef cnp.ndarray rows = dense(x, name)
    if cnp.PyArray_NDIM(rows) != 2:
        raise ValueError(f"{name}: expected 2 axes (rows, classes), got shape {x.shape}")
    return rows if cnp.PyArray_IS_C_CONTIGUOUS(rows) else rows.copy()


cdef cnp.ndarray targets_of(object target, cnp.ndarray x):
    cdef cnp.ndarray ids = cnp.PyArray_FROMANY(target, cnp.NPY_INT64, 1, 1, cnp.NPY_ARRAY_IN_ARRAY)
    cdef const int64_t* t = <int64_t*>cnp.PyArray_DATA(ids)
    cdef Py_ssize_t i, n = cnp.PyArray_DIM(x, 1)
    if cnp.PyArray_DIM(ids, 0) != cnp.PyArray_DIM(x, 0):
        raise ValueError(f"cross_entropy: expected {len(x)} targets, got {len(ids)}")
    for i in range(cnp.PyArray_DIM(ids, 0)):
        if not 0 <= t[i] < n:
            raise ValueError(f"cross_entropy: target {t[i]} of row {i} is out of range for {n} classes")
    return ids


def softmax_forward(x):
    """y = exp(x) / Σ exp(x) over each row of (rows, n)."""
    return run([<rows_t>softmax_rows[float], <rows_t>softmax_rows[double]],
               rows_of(x, "softmax"), None, None, None)


def softmax_backward(y, gy):
    """gx = y (gy - Σ gy y)."""
    cdef cnp.ndarray ys = rows_of(y, "softmax")
    return run([<rows_t>softmax_backward_rows[float], <rows_t>softmax_backward_rows[double]],
               ys, same_layout(gy, ys, "softmax"), None, None)


def log_softmax_forward(x):
    """y = x - log Σ exp(x) over each row of (rows, n)."""
    return run([<rows_t>log_softmax_rows[float], <rows_t>log_softmax_rows[double]],
               rows_of(x, "log_softmax"), None, None, None)


def log_softmax_backward(y, gy):
    """gx = gy - exp(y) Σ gy."""
    cdef cnp.ndarray ys = rows_of(y, "log_softmax")
    return run([<rows_t>log_softmax_backward_rows[float], <rows_t>log_softmax_backward_rows[double]],
               ys, same_layout(gy, ys, "log_softmax"), None, None)


cdef cnp.ndarray total(cnp.ndarray losses, double scale):
    """scale Σ losses as an array without axes."""
    cdef cnp.ndarray y = memory.empty(0, NULL, cnp.PyArray_TYPE(losses))
    cdef Py_ssize_t n = cnp.PyArray_SIZE(losses)
    if cnp.PyArray_TYPE(losses) == cnp.NPY_DOUBLE:
        (<double*>cnp.PyArray_DATA(y))[0] = scale * row_dot[double](<double*>cnp.PyArray_DATA(losses), NULL, n)
    else:
        (<float*>cnp.PyArray_DATA(y))[0] = <float>(
            scale * row_dot[float](<float*>cnp.PyArray_DATA(losses), NULL, n))
    return y


def cross_entropy_forward(x, target, double scale=0):
    """(loss, p): loss[r] = -log softmax(x[r])[target[r]], and p = softmax(x), which backward needs.

    With a scale, loss is scale Σ loss[r]: 1 for the sum, 1 / rows for the mean.
    """
    cdef cnp.ndarray xs = rows_of(x, "cross_entropy"), ids = targets_of(target, xs)
    cdef cnp.ndarray loss = memory.empty(1, cnp.PyArray_DIMS(xs), cnp.PyArray_TYPE(xs))
    p = run([<rows_t>cross_entropy_rows[float], <rows_t>cross_entropy_rows[double]],
            xs, None, ids, loss)
    return (loss if scale == 0 else total(loss, scale)), p


def cross_entropy_backward(p, target, gy, double scale=1):
    """gx = scale gy (p - one_hot(target)), with gy of shape (rows,), or one number where the loss was reduced."""
    cdef cnp.ndarray ps = rows_of(p, "cross_entropy"), ids = targets_of(target, ps)
    cdef cnp.ndarray gs = dense(gy, "cross_entropy")
    if cnp.PyArray_TYPE(gs) != cnp.PyArray_TYPE(ps) or cnp.PyArray_SIZE(gs) not in (1, len(ps)):
        raise ValueError(f"cross_entropy: expected a gradient of shape () or ({len(ps)},), got {gy.shape}")
    return run([<rows_t>cross_entropy_backward_rows[float], <rows_t>cross_entropy_backward_rows[double]],
               ps, gs, ids, None, scale)
