"""Softmax over rows, its logarithm, and softmax with cross-entropy in one pass.

Arrays are (rows, n) in C order. Every row is shifted by its greatest element before the exponential, so that nothing
overflows. A block is as many rows as stay in the first-level cache from one pass over them to the next.

A row is walked LANES elements at a time, the last of which overlap those before, so that no rest is left that would not
vectorise. Its maximum or sum is kept as LANES partial ones, side by side; `fold` brings those of all rows of a block
down to one per row, neighbours first. (Rows shorter than LANES are summed one element after the other, and their
exponentials are taken in one flat loop over many rows, which vectorises even for ten classes.) So the bits depend on
the row alone.

The greatest element's exponential is 1. A sum next to 1 has lost the digits of all others, which its logarithm and
1 - p need: `beyond` is the sum without this 1.
"""

cimport numpy as cnp
from libc.math cimport isfinite
from libc.stdint cimport int64_t
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport c_axes, dense, same_layout
from minidl._kernels.arrays.scalars cimport store
from minidl._kernels.rows.folding cimport Sum, row_fold
from minidl._kernels.rows.targets cimport targets_of
from minidl._kernels.math.elementary cimport real, exp_below_, lift_, lifted_exp_below_, log_, lowered, max_

cnp.import_array()

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
      #define fetch(p) __builtin_prefetch(p)
    #else
      #define fetch(p) ((void)0)
    #endif
    """
    void fetch(const void* p) noexcept nogil

cdef enum:
    LANES = 16    # more than setup.py lets gcc unroll: a loop that it unrolls it does not vectorise
    BLOCK = 1024  # elements of a block, if it has more than one row
    COST = 8      # of an element, in additions


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


# ── What the loops are made of ─────────────────────────────────────────────────────────────────────────────────────────

cdef inline void fold(real* lanes, real* result, Py_ssize_t rows, bint greatest) noexcept nogil:
    """The greatest, or the sum, of LANES lanes for each row; the lanes are overwritten."""
    cdef real[BLOCK] other
    cdef real* source = lanes
    cdef real* target = other
    cdef Py_ssize_t i, left = LANES
    while left > 1:
        left //= 2
        if left == 1:
            target = result
        if greatest:
            for i in range(rows * left):
                target[i] = max_(source[2 * i], source[2 * i + 1])
        else:
            for i in range(rows * left):
                target[i] = source[2 * i] + source[2 * i + 1]
        source, target = target, source


cdef inline void row_maxima(const real* x, real* maxima, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    cdef real[BLOCK] lanes
    cdef real[LANES] m
    cdef real top
    cdef Py_ssize_t r, i, j
    for r in range(rows):
        if n < LANES:
            top = x[0]
            for i in range(1, n):
                top = max_(top, x[i])
            maxima[r] = top
        else:
            for j in range(LANES):
                m[j] = x[n - LANES + j]
            for i in range(n // LANES):
                for j in range(LANES):
                    m[j] = max_(m[j], x[i * LANES + j])
            for j in range(LANES):
                lanes[r * LANES + j] = m[j]
        x += n
    if n >= LANES:
        fold(lanes, maxima, rows, True)


cdef inline void row_dots(
    const real* x, const real* z, real* dots, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    """Σ x z of each row, or Σ x where z is NULL."""
    cdef real[BLOCK] lanes
    cdef real[LANES] s
    cdef real total, zero = 0
    cdef Py_ssize_t r, i, start
    cdef int j, old = <int>(LANES - n % LANES)  # of the last elements, so many are among those before, too
    for r in range(rows):
        if n < LANES:
            total = 0
            for i in range(n):
                total += x[i] if z == NULL else x[i] * z[i]
            dots[r] = total
        else:
            start = n - LANES
            for j in range(LANES):
                s[j] = zero if j < old else (x[start + j] if z == NULL else x[start + j] * z[start + j])
            for i in range(n // LANES):
                for j in range(LANES):
                    s[j] += x[i * LANES + j] if z == NULL else x[i * LANES + j] * z[i * LANES + j]
            for j in range(LANES):
                lanes[r * LANES + j] = s[j]
        x += n
        if z != NULL:
            z += n
    if n >= LANES:
        fold(lanes, dots, rows, False)


cdef inline void row_exps(
    const real* x, real* y, const real* maxima, real* sums, Py_ssize_t rows, Py_ssize_t n, const real* ahead
) noexcept nogil:
    """y = lift * exp(x - maximum), and the sum of it, for rows of LANES elements or more.

    Memory would be idle meanwhile, so it fetches the next block, and `ahead`, which will be written next.
    """
    cdef real[BLOCK] lanes
    cdef real[LANES] e, s
    cdef real top, zero = 0
    cdef Py_ssize_t r, group, start
    cdef int j, old
    for r in range(rows):
        top = maxima[r]
        for j in range(LANES):
            s[j] = 0
        for group in range((n + LANES - 1) // LANES):
            start = min(group * LANES, n - LANES)
            old = <int>(group * LANES - start)
            for j in range(LANES):
                e[j] = lifted_exp_below_(x[start + j] - top)
                s[j] += zero if j < old else e[j]
            for j in range(LANES):
                y[start + j] = e[j]
            fetch(x + start + BLOCK)
            fetch(ahead + start)
        for j in range(LANES):
            lanes[r * LANES + j] = s[j]
        x, y, ahead = x + n, y + n, ahead + n
    fold(lanes, sums, rows, False)


cdef inline real row_beyond(const real* e, Py_ssize_t n) noexcept nogil:
    """Σ e of a row of LANES elements or more, without what is lift."""
    cdef real[LANES] s
    cdef real zero = 0, one = lift_(zero)
    cdef Py_ssize_t i, j, left = LANES, start = n - LANES, old = LANES - n % LANES
    for j in range(LANES):
        s[j] = zero if (j < old) | (e[start + j] >= one) else e[start + j]
    for i in range(n // LANES):
        for j in range(LANES):
            s[j] += zero if e[i * LANES + j] >= one else e[i * LANES + j]
    while left > 1:
        left //= 2
        for i in range(left):
            s[i] += s[i + left]
    return s[0]


cdef inline void short_row_sums(const real* e, real* sums, real* beyond, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    """Σ e and Σ e - lift of rows shorter than LANES, whose greatest is lift."""
    cdef real[BLOCK] small
    cdef real zero = 0, one = lift_(zero), total, rest
    cdef Py_ssize_t r, i
    for i in range(rows * n):
        small[i] = zero if e[i] >= one else e[i]
    for r in range(rows):
        total = rest = 0
        for i in range(r * n, r * n + n):
            total += e[i]
            rest += small[i]
        sums[r], beyond[r] = total, rest
    for r in range(rows):
        beyond[r] = beyond[r] if sums[r] < 2 * one else sums[r] - one


cdef inline void shifted_exp(
    const real* x, real* y, real* maxima, real* sums, real* beyond, Py_ssize_t rows, Py_ssize_t n, const real* ahead
) noexcept nogil:
    """y = lift * exp(x - the row's maximum); each row's sum of it, and sum - lift. `ahead` is what will be written next."""
    cdef real zero = 0, one = lift_(zero)
    cdef Py_ssize_t r, i
    row_maxima(x, maxima, rows, n)
    if n >= LANES:
        row_exps(x, y, maxima, sums, rows, n, ahead)
        for r in range(rows):
            beyond[r] = row_beyond(<const real*>y + r * n, n) if sums[r] < 2 * one else sums[r] - one
        return
    for r in range(rows):
        for i in range(n):
            y[r * n + i] = x[r * n + i] - maxima[r]
    for i in range(rows * n):
        y[i] = lifted_exp_below_(y[i])
    short_row_sums(<const real*>y, sums, beyond, rows, n)


cdef inline real log_of_sum(real beyond) noexcept nogil:
    """log(1 + beyond), beyond >= 0; quicker here than log1p_: what 1 + beyond has lost is made up for to first order."""
    cdef real one = 1, total = one + beyond
    return log_(total) + (beyond - (total - one)) / total


cdef inline real* room(real* scratch, real* y, Py_ssize_t n) noexcept nogil:
    """Where the exponentials of a block are put: scratch of BLOCK elements, or y if a single row is longer."""
    return scratch if n <= BLOCK else y


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
    cdef Py_ssize_t n = w.n, r, i
    cdef const real* d
    cdef real* gx
    cdef real g
    for r in range(first, last):
        d, gx = <const real*>w.x + r * n, <real*>w.y + r * n
        g = (<const real*>w.gy)[r * w.gy_step] * <real>w.scale
        for i in range(n):
            gx[i] = g * d[i]


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef void rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil:
    """Block by block."""
    cdef Py_ssize_t count = max(BLOCK // w.n, <Py_ssize_t>1)
    while first < last:
        w.loop(w, NULL, first, min(first + count, last))
        first += count


cdef cnp.ndarray run_rows(Work* w, cnp.ndarray x, block_t single, block_t wide):
    cdef cnp.ndarray y = memory.empty_like(x)
    w.x, w.n, w.loop = cnp.PyArray_DATA(x), cnp.PyArray_DIM(x, 1), wide if cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE else single
    w.y = cnp.PyArray_DATA(y)
    if w.n:
        run(<loop_t>rows, w, sizeof(Work), y, cnp.PyArray_DIM(x, 0), w.n, COST, False)
    return y


def softmax_forward(x):
    """y = exp(x) / Σ exp(x) over each row of (rows, n)."""
    cdef cnp.ndarray xs = c_axes(x, 2, "softmax", "rows, classes")
    cdef Work w
    return run_rows(&w, xs, <block_t>softmax_rows[float], <block_t>softmax_rows[double])


def softmax_backward(y, gy):
    """gx = y (gy - Σ gy y)."""
    cdef cnp.ndarray ys = c_axes(y, 2, "softmax", "rows, classes"), gs = same_layout(gy, ys, "softmax")
    cdef Work w
    w.gy = cnp.PyArray_DATA(gs)
    return run_rows(&w, ys, <block_t>softmax_backward_rows[float], <block_t>softmax_backward_rows[double])


def log_softmax_forward(x):
    """y = x - log Σ exp(x) over each row of (rows, n)."""
    cdef cnp.ndarray xs = c_axes(x, 2, "log_softmax", "rows, classes")
    cdef Work w
    return run_rows(&w, xs, <block_t>log_softmax_rows[float], <block_t>log_softmax_rows[double])


def log_softmax_backward(y, gy):
    """gx = gy - exp(y) Σ gy."""
    cdef cnp.ndarray ys = c_axes(y, 2, "log_softmax", "rows, classes"), gs = same_layout(gy, ys, "log_softmax")
    cdef Work w
    w.gy = cnp.PyArray_DATA(gs)
    return run_rows(&w, ys, <block_t>log_softmax_backward_rows[float], <block_t>log_softmax_backward_rows[double])


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
        cnp.PyArray_DATA(losses), cnp.PyArray_SIZE(losses), scale, cnp.PyArray_DATA(y),
        cnp.PyArray_TYPE(losses) == cnp.NPY_DOUBLE,
    )
    prepared.do(take_total, &w, sizeof(w), y)
    return y


def cross_entropy_forward(x, target, double scale=0):
    """(loss, d): loss[r] = -log softmax(x)[target[r]], and d = softmax(x) - one_hot(target), its gradient.

    With a scale, loss is scale Σ loss[r]: 1 for the sum, 1 / rows for the mean.
    """
    cdef cnp.ndarray xs = c_axes(x, 2, "cross_entropy", "rows, classes"), ids = targets_of(target, xs)
    cdef cnp.ndarray loss = memory.empty(1, cnp.PyArray_DIMS(xs), cnp.PyArray_TYPE(xs))
    cdef Work w
    w.target, w.loss = <int64_t*>cnp.PyArray_DATA(ids), cnp.PyArray_DATA(loss)
    d = run_rows(&w, xs, <block_t>cross_entropy_rows[float], <block_t>cross_entropy_rows[double])
    if prepared.capturing():
        prepared.fills(loss)
    return (loss if scale == 0 else total(loss, scale)), d


def cross_entropy_backward(difference, gy, double scale=1):
    """gx = scale gy difference, with that from forward and gy of shape (rows,), or one number where the loss was reduced."""
    cdef cnp.ndarray ds = c_axes(difference, 2, "cross_entropy", "rows, classes")
    cdef cnp.ndarray gs = dense(gy, "cross_entropy")
    cdef Work w
    if cnp.PyArray_TYPE(gs) != cnp.PyArray_TYPE(ds) or cnp.PyArray_SIZE(gs) not in (1, len(ds)):
        raise ValueError(f"cross_entropy: expected a gradient of shape () or ({len(ds)},), got {gy.shape}")
    w.gy, w.gy_step, w.scale = cnp.PyArray_DATA(gs), cnp.PyArray_SIZE(gs) > 1, scale
    return run_rows(&w, ds, <block_t>cross_entropy_backward_rows[float], <block_t>cross_entropy_backward_rows[double])
