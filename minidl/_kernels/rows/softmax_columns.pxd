"""Softmax along the middle axis of (outer, n, inner), such as the channels of images: nothing is transposed.

LANES neighbouring columns are a strip, which goes through a scratch of its own: each element is read once and written
once, however far apart the rows lie in memory. (So far that no processor foresees what will be read: it is fetched two
strips ahead.) A strip begins anywhere: the last of a task overlaps the one before.

The sums of a column are as accurate as those of a row: no chain is longer than 2 CHAIN, as there are at most CLASSES rows.
"""

from libc.stdint cimport int64_t
from minidl._kernels.math.elementary cimport exp_below_, lift_, lifted_exp_below_, lowered, max_, real
from minidl._kernels.product.squares cimport turn
from minidl._kernels.rows.exponentials cimport LANES, fetch, log_of_sum

cdef enum:
    CLASSES = 256
    CHAIN = 16
    APART = 2048  # bytes: rows a multiple of it apart share few places of a first-level cache, each of which holds
    FEW = 8       # so many lines
    SOFTMAX, LOG_SOFTMAX, CROSS_ENTROPY


cdef struct Columns:
    const void* x
    const void* gy
    const int64_t* target
    void* y
    void* loss
    Py_ssize_t n, inner, blocks  # of columns, in each outer place
    int kind
    bint crowded  # more rows than a cache keeps are at the same places of it
    bint keep  # y is wanted; of CROSS_ENTROPY it need not be


cdef inline void shifted_strip(
    const real* x, Py_ssize_t n, Py_ssize_t step, real* d, real* top
) noexcept nogil:
    """d = x - the column's maximum."""
    cdef Py_ssize_t i
    cdef int j
    for j in range(LANES):
        top[j] = x[j]
    for i in range(n):
        for j in range(LANES):
            top[j] = max_(top[j], x[i * step + j])
            d[i * LANES + j] = x[i * step + j]
        fetch(x + i * step + 2 * LANES)
    for i in range(n):
        for j in range(LANES):
            d[i * LANES + j] -= top[j]


cdef inline void strip_sums(real* d, Py_ssize_t n, real* sums, real* beyond, bint kept) noexcept nogil:
    """The sums of lift * exp(d), which take the place of d if `kept`; and without the greatest, which is lift."""
    cdef real[LANES] e, s, b
    cdef real zero = 0, one = lift_(zero)
    cdef Py_ssize_t i, first = 0
    cdef int j
    for j in range(LANES):
        sums[j] = beyond[j] = 0
    while first < n:
        for j in range(LANES):
            s[j] = b[j] = 0
        for i in range(first, min(first + CHAIN, n)):
            for j in range(LANES):
                e[j] = lifted_exp_below_(d[i * LANES + j])
                s[j] += e[j]
                b[j] += zero if e[j] >= one else e[j]
            if kept:
                for j in range(LANES):
                    d[i * LANES + j] = e[j]
        for j in range(LANES):
            sums[j] += s[j]
            beyond[j] += b[j]
        first += CHAIN
    for j in range(LANES):
        beyond[j] = beyond[j] if sums[j] < 2 * one else sums[j] - one


cdef inline void strip_dots(
    const real* x, const real* z, Py_ssize_t n, Py_ssize_t step, real* dots, bint weighted
) noexcept nogil:
    """Σ x of each column, or Σ x z."""
    cdef real[LANES] s
    cdef Py_ssize_t i, first = 0
    cdef int j
    for j in range(LANES):
        dots[j] = 0
    while first < n:
        for j in range(LANES):
            s[j] = 0
        for i in range(first, min(first + CHAIN, n)):
            if weighted:
                for j in range(LANES):
                    s[j] += x[i * step + j] * z[i * step + j]
            else:
                for j in range(LANES):
                    s[j] += x[i * step + j]
        for j in range(LANES):
            dots[j] += s[j]
        first += CHAIN


cdef inline void forward_strip(Columns* w, const real* x, real* y, Py_ssize_t place) noexcept nogil:
    """softmax, its logarithm, or the former less one_hot(target) with the loss; `place` is that of the first loss."""
    cdef real[CLASSES * LANES] d
    cdef real[LANES] top, sums, beyond, logs, chosen, below, hit, part
    cdef real* loss = <real*>w.loss + place
    cdef real one = 1, zero = 0, p, q
    cdef Py_ssize_t i
    cdef int j
    cdef bint few = w.kind == CROSS_ENTROPY and w.n < 2 * LANES  # the target's element is found by its number: no scalars
    shifted_strip(x, w.n, w.inner, d, top)
    if few:
        for j in range(LANES):
            chosen[j], below[j] = <real><int>w.target[place + j], 0
        for i in range(w.n):
            for j in range(LANES):
                below[j] -= d[i * LANES + j] if chosen[j] == <real>i else zero
    elif w.kind == CROSS_ENTROPY:
        for j in range(LANES):
            below[j] = -d[w.target[place + j] * LANES + j]
    strip_sums(<real*>d, w.n, sums, beyond, w.kind != LOG_SOFTMAX and w.keep)
    if w.kind == LOG_SOFTMAX:
        for j in range(LANES):
            sums[j] = log_of_sum(lowered(beyond[j]))
        for i in range(w.n):
            for j in range(LANES):
                y[i * w.inner + j] = d[i * LANES + j] - sums[j]
        return
    if w.keep:
        for j in range(LANES):
            sums[j] = one / sums[j]
            hit[j] = -beyond[j] * sums[j]  # p - 1 of the greatest
        for i in range(w.n):
            for j in range(LANES):
                p = d[i * LANES + j] * sums[j]
                q = hit[j] if few and below[j] == zero else p - one
                part[j] = q if few and chosen[j] == <real>i else p
            for j in range(LANES):
                y[i * w.inner + j] = part[j]
    if w.kind == CROSS_ENTROPY:  # as in cross_entropy_rows; logarithms in a loop of their own, which vectorises
        for j in range(LANES):
            logs[j] = log_of_sum(lowered(beyond[j]))
        for j in range(LANES):
            loss[j] = below[j] + logs[j]
        if few or not w.keep:
            return
        for j in range(LANES):  # (once more: to read what was written as a vector takes longer)
            p = lifted_exp_below_(-below[j]) * sums[j] - one
            part[j] = hit[j] if below[j] == zero else p
        for j in range(LANES):
            y[w.target[place + j] * w.inner + j] = part[j]


cdef inline void backward_strip(Columns* w, const real* y, const real* gy, real* gx) noexcept nogil:
    """y (gy - Σ gy y) of softmax, gy - exp(y) Σ gy of its logarithm."""
    cdef real[CLASSES * LANES] ys, gs
    cdef real[LANES] dots, g
    cdef Py_ssize_t i, step = w.inner
    cdef int j
    if w.crowded:  # both are read twice
        copy_strip(y, ys, w.n, step)
        copy_strip(gy, gs, w.n, step)
        y, gy, step = ys, gs, LANES
    strip_dots(gy, y, w.n, step, dots, w.kind == SOFTMAX)
    for i in range(w.n):
        if w.kind == SOFTMAX:
            for j in range(LANES):
                g[j] = y[j] * (gy[j] - dots[j])
        else:
            for j in range(LANES):
                g[j] = gy[j] - exp_below_(y[j]) * dots[j]
        for j in range(LANES):
            gx[j] = g[j]
        y, gy, gx = y + step, gy + step, gx + w.inner


cdef inline void copy_strip(const real* x, real* y, Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    cdef Py_ssize_t i
    cdef int j
    for i in range(n):
        for j in range(LANES):
            y[i * LANES + j] = x[i * step + j]
        fetch(x + i * step + 2 * LANES)


# ── Rows shorter than LANES: so many of them, column by column, are a strip ──────────────────────────────────────────

cdef inline void to_columns(const real* x, real* columns, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    """Up to LANES rows; where there are fewer, zeros stand for the others."""
    cdef Py_ssize_t i
    if rows < LANES:
        for i in range(n * LANES):
            columns[i] = 0
    turn(x, n, columns, LANES, rows, n)


cdef inline void short_sums(
    const real* x, real* maxima, real* sums, real* beyond, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    """What shifted_exp finds of each row. (LANES rows are written at a time: there is room for as many.)"""
    cdef real[LANES * LANES] columns, d
    cdef Py_ssize_t r = 0
    while r < rows:
        to_columns(x + r * n, columns, min(rows - r, <Py_ssize_t>LANES), n)
        shifted_strip(<const real*>columns, n, LANES, d, maxima + r)
        strip_sums(<real*>d, n, sums + r, beyond + r, False)
        r += LANES
