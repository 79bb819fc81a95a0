"""What loops over rows of exponentials are made of: maxima, dot products, exp(x - maximum) and its sum.

A row is walked LANES elements at a time, the last of which overlap those before, so that no rest is left that would not
vectorise. Its maximum or sum is kept as LANES partial ones, side by side; `fold` brings those of all rows of a block
down to one per row, neighbours first. (Of rows shorter than LANES, LANES side by side are a strip of softmax_columns.pxd:
loops go across them, and fill vectors even with two classes.) So the bits depend on the row alone.

The greatest element's exponential is 1. A sum next to 1 has lost the digits of all others, which its logarithm and
1 - p need: `beyond` is the sum without this 1.
"""

from minidl._kernels.math.elementary cimport real, exp_below_, lift_, lifted_exp_below_, log_, lowered, max_

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
    """For rows of LANES elements or more."""
    cdef real[BLOCK] lanes
    cdef real[LANES] m
    cdef Py_ssize_t r, i, j
    for r in range(rows):
        for j in range(LANES):
            m[j] = x[n - LANES + j]
        for i in range(n // LANES):
            for j in range(LANES):
                m[j] = max_(m[j], x[i * LANES + j])
        for j in range(LANES):
            lanes[r * LANES + j] = m[j]
        x += n
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


cdef inline void shifted_exp(
    const real* x, real* y, real* maxima, real* sums, real* beyond, Py_ssize_t rows, Py_ssize_t n, const real* ahead
) noexcept nogil:
    """y = lift * exp(x - the row's maximum), for rows of LANES elements or more; each row's sum of it, and sum - lift.
    `ahead` is what will be written next.
    """
    cdef real zero = 0, one = lift_(zero)
    cdef Py_ssize_t r
    row_maxima(x, maxima, rows, n)
    row_exps(x, y, maxima, sums, rows, n, ahead)
    for r in range(rows):
        beyond[r] = row_beyond(<const real*>y + r * n, n) if sums[r] < 2 * one else sums[r] - one


cdef inline real log_of_sum(real beyond) noexcept nogil:
    """log(1 + beyond), beyond >= 0; quicker here than log1p_: what 1 + beyond has lost is made up for to first order."""
    cdef real one = 1, total = one + beyond
    return log_(total) + (beyond - (total - one)) / total


cdef inline real* room(real* scratch, real* y, Py_ssize_t n) noexcept nogil:
    """Where the exponentials of a block are put: scratch of BLOCK elements, or y if a single row is longer."""
    return scratch if n <= BLOCK else y
