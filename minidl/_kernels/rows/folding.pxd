# Folding numbers into one: their sum, the greatest, the smallest. `join` is what makes the three differ; all else is
# the order in which it is applied, the same for any number of threads.
#
# Accuracy of a sum: a chain of additions in the array's own precision is at most 40 long; all else is added in double,
# in pairs. The error of a float32 sum does not grow with the number of elements.

from libc.math cimport INFINITY, NAN
from minidl._kernels.math.elementary cimport real

cdef enum:
    LANES = 16       # partial results of a row, which the compiler keeps in vectors
    BLOCK = 1024
    ROWS = 32         # whose partial results are joined together,
    HALVES = 256      # 8 of each, as the first two halves are joined at once
    LEVELS = 64

cdef extern from *:  # tags
    ctypedef struct Sum "char"
    ctypedef struct Max "char"
    ctypedef struct Min "char"

cdef extern from "<math.h>":
    bint isunordered(double a, double b) noexcept nogil  # a macro: for floats, too

ctypedef fused Fold:
    Sum
    Max
    Min


cdef inline real join(Fold* tag, real a, real b) noexcept nogil:
    """A NaN in either is kept: one in b by adding it (adding -0 changes nothing; compilers vectorise this)."""
    if Fold is Sum:
        return a + b
    return pick(tag, a, b) + (<real>-0.0 if b == b else b)


cdef inline real pick(Fold* tag, real a, real b) noexcept nogil:
    """The greater or the smaller; where one is NaN, it may be lost."""
    if Fold is Max:
        return b if a < b else a
    else:
        return b if b < a else a


cdef inline double start(Fold* tag) noexcept nogil:
    """What changes nothing that it is joined with."""
    if Fold is Sum: return 0
    elif Fold is Max: return -INFINITY
    elif Fold is Min: return INFINITY


cdef struct Pairs:
    # Results of 1, 2, 4... terms, as the bits of `count` say: a fold in pairs of terms that come one by one.
    double[LEVELS] results
    Py_ssize_t count


cdef inline void push(Fold* tag, Pairs* p, double term) noexcept nogil:
    cdef Py_ssize_t count = p.count
    cdef int level = 0
    while count & 1:
        term = join(tag, term, p.results[level])
        level += 1
        count >>= 1
    p.results[level] = term
    p.count += 1


cdef inline double total(Fold* tag, Pairs* p) noexcept nogil:
    cdef double s = start(tag)
    cdef Py_ssize_t count = p.count
    cdef int level = 0
    while count:
        if count & 1:
            s = join(tag, s, p.results[level])
        level += 1
        count >>= 1
    return s


cdef inline real eight(
    Fold* tag, real a, real b, real c, real d, real e, real f, real g, real h
) noexcept nogil:
    """In pairs: a running sum then waits for one addition in eight, and rounds as rarely.

    Extrema look for NaN once for two elements, which is most of their work.
    """
    cdef bint lost
    cdef real chosen
    if not (Fold is Sum):
        lost = isunordered(a, b) | isunordered(c, d) | isunordered(e, f) | isunordered(g, h)
        chosen = pick(tag, pick(tag, pick(tag, a, b), pick(tag, c, d)), pick(tag, pick(tag, e, f), pick(tag, g, h)))
        return chosen + (<real>NAN if lost else <real>-0.0)
    return join(tag, join(tag, join(tag, a, b), join(tag, c, d)), join(tag, join(tag, e, f), join(tag, g, h)))


cdef inline real four_apart(Fold* tag, const real* x, Py_ssize_t gap) noexcept nogil:
    cdef real chosen
    cdef bint lost
    if not (Fold is Sum):
        lost = isunordered(x[0], x[gap]) | isunordered(x[2 * gap], x[3 * gap])
        chosen = pick(tag, pick(tag, x[0], x[gap]), pick(tag, x[2 * gap], x[3 * gap]))
        return chosen + (<real>NAN if lost else <real>-0.0)
    return join(tag, join(tag, x[0], x[gap]), join(tag, x[2 * gap], x[3 * gap]))


cdef inline real eight_apart(Fold* tag, const real* x, Py_ssize_t gap) noexcept nogil:
    return eight(
        tag, x[0], x[gap], x[2 * gap], x[3 * gap], x[4 * gap], x[5 * gap], x[6 * gap], x[7 * gap]
    )


cdef inline double lanes(Fold* tag, real* s) noexcept nogil:
    """The LANES partial results, as one: halves onto halves, which are vectors as well."""
    cdef Py_ssize_t j
    for j in range(LANES // 2):
        s[j] = join(tag, s[j], s[j + LANES // 2])
    return of_halves(tag, s)


cdef inline double of_halves(Fold* tag, real* s) noexcept nogil:
    """The same of the first half, onto which the other one was joined."""
    cdef Py_ssize_t j
    for j in range(LANES // 4):
        s[j] = join(tag, s[j], s[j + LANES // 4])
    for j in range(LANES // 8):
        s[j] = join(tag, s[j], s[j + LANES // 8])
    return join(tag, <double>s[0], <double>s[1])


cdef inline void fold_halves(Fold* tag, const real* x, Py_ssize_t n, real* results) noexcept nogil:
    """The partial results of LANES to BLOCK elements, halves joined. Until then they are this function's own, which nothing
    else can point at: where they are not, gcc asks in each step whether they overlap x, and keeps them in memory.
    """
    cdef real[LANES] s
    cdef Py_ssize_t j, left = n, old
    cdef real zero = 0
    for j in range(LANES):
        s[j] = zero if Fold is Sum else x[n - LANES + j]  # (to choose twice changes nothing)
    while left >= 8 * LANES:
        for j in range(LANES):
            s[j] = join(tag, s[j], eight_apart(tag, x + j, LANES))
        x, left = x + 8 * LANES, left - 8 * LANES
    if left >= 4 * LANES:
        for j in range(LANES):
            s[j] = join(tag, s[j], four_apart(tag, x + j, LANES))
        x, left = x + 4 * LANES, left - 4 * LANES
    while left >= LANES:
        for j in range(LANES):
            s[j] = join(tag, s[j], x[j])
        x, left = x + LANES, left - LANES
    if Fold is Sum and left > 0:  # the last ones are read together with some before them
        old = LANES - left
        x -= old
        for j in range(LANES):
            s[j] += zero if j < old else x[j]
    for j in range(LANES // 2):
        results[j] = join(tag, s[j], s[j + LANES // 2])


cdef inline double block_fold(Fold* tag, const real* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Of at most BLOCK elements."""
    cdef real[LANES] s
    cdef Py_ssize_t j
    if stride == 1 and n >= LANES:
        fold_halves(tag, x, n, &s[0])
        return of_halves(tag, &s[0])
    if n < 8 * LANES:
        return short_fold(tag, x, n, stride)
    for j in range(LANES):
        s[j] = <real>start(tag)
    while n >= 8 * LANES:
        for j in range(LANES):
            s[j] = join(tag, s[j], eight_apart(tag, x + j * stride, LANES * stride))
        x += 8 * LANES * stride
        n -= 8 * LANES
    return join(tag, short_fold(tag, x, n, stride), lanes(tag, &s[0]))


cdef inline void rows_fold(
    Fold* tag, const real* x, Py_ssize_t step, Py_ssize_t rows, Py_ssize_t n, real* results
) noexcept nogil:
    """Of each of at most ROWS rows, `step` apart, of LANES to BLOCK elements. The partial results of all rows are joined at
    once, neighbours first: that of a single row would fill no vector.
    """
    cdef real[HALVES] partial, other
    cdef real* source = partial
    cdef real* target = other
    cdef Py_ssize_t r, i, left = LANES // 2
    for r in range(rows):
        fold_halves(tag, x + r * step, n, partial + r * (LANES // 2))
    while left > 1:
        left //= 2
        target = results if left == 1 else target
        for i in range(rows * left):
            target[i] = join(tag, source[2 * i], source[2 * i + 1])
        source, target = target, source


cdef inline double short_fold(Fold* tag, const real* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Of fewer elements than make a step of a block."""
    cdef Py_ssize_t i = 0
    cdef double a = start(tag), b = a, c = a, d = a
    while i + 4 <= n:  # four side by side, as long as the processor waits for one
        a = join(tag, a, <double>x[i * stride])
        b = join(tag, b, <double>x[(i + 1) * stride])
        c = join(tag, c, <double>x[(i + 2) * stride])
        d = join(tag, d, <double>x[(i + 3) * stride])
        i += 4
    while i < n:
        a = join(tag, a, <double>x[i * stride])
        i += 1
    return join(tag, join(tag, a, b), join(tag, c, d))


cdef inline double row_fold(Fold* tag, const real* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    cdef Pairs pairs
    cdef Py_ssize_t i = 0
    if n <= BLOCK:
        return block_fold(tag, x, n, stride)
    pairs.count = 0
    while i < n:
        push(tag, &pairs, block_fold(tag, x + i * stride, min(n - i, <Py_ssize_t>BLOCK), stride))
        i += BLOCK
    return total(tag, &pairs)
