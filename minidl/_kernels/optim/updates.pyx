"""The optimizer steps: SGD and Adam over all parameters of all groups in one call.

Each parameter is walked once, in place: parameter, gradient and moments are read and written in one
pass. Large arrays are cut into pieces of fixed size, and the pieces of all parameters go to the
pool together. Elements do not depend on one another, so the bits do not depend on the number of
threads.

An entry point takes groups, each a tuple of lists with one item per parameter, and the group's settings. It
checks and allocates everything before it changes anything, and it counts the step itself: whatever is
raised, no group has been stepped without another, nor a parameter without its count.
"""

cimport numpy as cnp
from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport pow, sqrt, sqrtf
from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.arrays.checks cimport check_out, dense, same_layout
from minidl._kernels.arrays.layout cimport same_shape
from minidl._kernels.math.elementary cimport real

cnp.import_array()

cdef enum:
    PIECE = 4096  # elements a task: few, so that the threads have equal shares of a small network too


cdef struct Part:  # one parameter: its arrays, and the numbers of this step
    void* p
    const void* g
    void* m  # momentum, or Adam's mean of gradients
    void* v  # Adam's mean of squares
    Py_ssize_t n
    bint wide
    bint nesterov
    double lr, decay, keep, momentum, beta1, beta2, unbias, eps
    double factor, total
    cnp.int64_t* count  # steps of this parameter


ctypedef void (*step_t)(Part* w, Py_ssize_t start, Py_ssize_t n) noexcept nogil

cdef struct Piece:
    Part* part
    Py_ssize_t start


cdef struct Work:
    step_t step
    Piece* pieces


# ── The formulas ───────────────────────────────────────────────────────────────────────────────
# The new moments are also kept in locals: reading back a vector that was just stored across two
# cache lines, as it is wherever NumPy made the array, took more than twice the time of all else.

cdef inline real sqrt_(real x) noexcept nogil:
    return sqrtf(x) if real is float else sqrt(x)


cdef inline real settled(real m) noexcept nogil:
    """m, or 0 if it is subnormal: a moment that only decays would stay there, where some CPUs are
    100 times slower.
    """
    cdef real smallest = FLT_MIN if real is float else DBL_MIN
    return 0 if -smallest < m < smallest else m


cdef inline void sgd(real* _, Part* w, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """d = g + decay p;  m = momentum m + d;  p -= lr m  (Nesterov: lr (d + momentum m))."""
    cdef real* p = <real*>w.p + start
    cdef const real* g = <const real*>w.g + start
    cdef real* m = <real*>w.m + start
    cdef real lr = <real>w.lr, decay = <real>w.decay, momentum = <real>w.momentum, d, mi
    cdef Py_ssize_t i
    if w.m == NULL:
        for i in range(n):
            p[i] -= lr * (g[i] + decay * p[i])
    elif w.nesterov:
        for i in range(n):
            d = g[i] + decay * p[i]
            m[i] = mi = settled(momentum * m[i] + d)
            p[i] -= lr * (d + momentum * mi)
    else:
        for i in range(n):
            m[i] = mi = settled(momentum * m[i] + (g[i] + decay * p[i]))
            p[i] -= lr * mi


cdef inline void adam(real* _, Part* w, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """m += (1 - beta1) (d - m);  v = beta2 v + (1 - beta2) d^2;  p = keep p - lr' m / (sqrt(v)
    unbias + eps).

    lr' = lr / (1 - beta1^t) and unbias = 1 / sqrt(1 - beta2^t) remove the bias of the zero start;
    weight decay is in d = g + decay p (Adam) or in keep = 1 - lr decay (AdamW).
    """
    cdef real* p = <real*>w.p + start
    cdef const real* g = <const real*>w.g + start
    cdef real* m = <real*>w.m + start
    cdef real* v = <real*>w.v + start
    cdef real lr = <real>w.lr, decay = <real>w.decay, keep = <real>w.keep, unbias = <real>w.unbias
    cdef real to_m = <real>(1 - w.beta1), beta2 = <real>w.beta2, to_v = <real>(1 - w.beta2)
    cdef real eps = <real>w.eps, d, mi, vi
    cdef Py_ssize_t i
    for i in range(n):
        d = g[i] + decay * p[i]
        m[i] = mi = settled(m[i] + to_m * (d - m[i]))
        v[i] = vi = beta2 * v[i] + to_v * d * d
        p[i] = keep * p[i] - lr * mi / (sqrt_(vi) * unbias + eps)


cdef void sgd_piece(Part* w, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    if w.wide:
        sgd(<double*>NULL, w, start, n)
    else:
        sgd(<float*>NULL, w, start, n)


cdef void adam_piece(Part* w, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    if w.wide:
        adam(<double*>NULL, w, start, n)
    else:
        adam(<float*>NULL, w, start, n)


# ── The entry points ───────────────────────────────────────────────────────────────────────────

cdef void run_piece(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* work = <Work*>context
    cdef Piece* piece = work.pieces + index
    work.step(piece.part, piece.start, min(piece.part.n - piece.start, <Py_ssize_t>PIECE))


cdef int run(step_t step, Part* parts, Py_ssize_t count) except -1:
    """All pieces of all parts, through the pool if there is enough to do."""
    cdef Py_ssize_t k, start, total = 0, pieces = 0
    cdef Work work
    for k in range(count):
        total += parts[k].n
        pieces += (parts[k].n + PIECE - 1) // PIECE
    if total <= PIECE:
        for k in range(count):
            if parts[k].n:
                step(&parts[k], 0, parts[k].n)
        return 0
    work.step = step
    work.pieces = <Piece*>memory.take(pieces * sizeof(Piece))
    if work.pieces == NULL:
        raise MemoryError()
    pieces = 0
    for k in range(count):
        for start in range(0, parts[k].n, PIECE):
            work.pieces[pieces].part = &parts[k]
            work.pieces[pieces].start = start
            pieces += 1
    with nogil:
        pool.parallel(run_piece, &work, pieces, True)
    memory.give(work.pieces)
    return 0


cdef Part* take_parts(Py_ssize_t count) except NULL:
    cdef Part* parts = <Part*>memory.take((count + 1) * sizeof(Part))
    if parts == NULL:
        raise MemoryError()
    return parts


cdef cnp.ndarray fill(Part* part, object p, object g, double lr, double decay, str name):
    """Checks a parameter and its gradient and notes them; returns the gradient, laid out as p is,
    to keep it alive.
    """
    cdef cnp.ndarray ps = dense(p, name)
    if ps is not p:
        raise ValueError(f"{name}: a parameter must be one dense, aligned block of memory")
    check_out(ps, ps, name)
    cdef cnp.ndarray gs = same_layout(g, ps, name)
    part.p, part.g, part.m, part.v = cnp.PyArray_DATA(ps), cnp.PyArray_DATA(gs), NULL, NULL
    part.n = cnp.PyArray_SIZE(ps)
    part.wide = cnp.PyArray_TYPE(ps) == cnp.NPY_DOUBLE
    part.lr, part.decay = lr, decay
    return gs


cdef void* moment(object m, object p, str name) except NULL:
    return cnp.PyArray_DATA(check_out(m, p, name))


cdef cnp.int64_t* counter(object count, str name) except NULL:
    if not (
        isinstance(count, cnp.ndarray)
        and cnp.PyArray_TYPE(<cnp.ndarray>count) == cnp.NPY_INT64
        and cnp.PyArray_SIZE(<cnp.ndarray>count) == 1
        and cnp.PyArray_ISBEHAVED(<cnp.ndarray>count)
    ):
        raise TypeError(f"{name}: a count must be an int64 array of one element, got {count!r}")
    return <cnp.int64_t*>cnp.PyArray_DATA(<cnp.ndarray>count)


cdef Py_ssize_t parameters_of(list groups) except -1:
    cdef Py_ssize_t total = 0
    for group in groups:
        total += len(<list?>(<tuple?>group)[0])
    return total


cdef int run_and_count(step_t step, Part* parts, Py_ssize_t count) except -1:
    cdef Py_ssize_t k
    run(step, parts, count)  # what it may raise comes before its first change
    for k in range(count):
        parts[k].count[0] += 1
    return 0


def sgd_step(list groups):
    """One SGD step, in place on the params, moments and counts of all groups.

    Each group is (params, grads, moments, counts, lrs, decays, momentum, nesterov): lists with one
    item per parameter, and two settings. Moments are arrays like params, or the list is None (no
    momentum); counts are int64 arrays of one element.

    d = g + decay p;  m = momentum m + d;  p -= lr m,  with Nesterov p -= lr (d + momentum m).
    """
    cdef Py_ssize_t i, k = 0, total = parameters_of(groups)
    cdef Part* parts = take_parts(total)
    cdef Part* part
    cdef list kept = [], params, grads, moments, counts, lrs, decays
    cdef double momentum
    cdef bint nesterov
    try:
        for group in groups:
            params, grads, moments, counts, lrs, decays, momentum, nesterov = group
            for i in range(len(params)):
                part = &parts[k]
                kept.append(fill(part, params[i], grads[i], lrs[i], decays[i], "sgd_step"))
                part.count = counter(counts[i], "sgd_step")
                part.momentum, part.nesterov = momentum, nesterov
                if moments is not None:
                    part.m = moment(moments[i], params[i], "sgd_step")
                k += 1
        run_and_count(sgd_piece, parts, total)
    finally:
        memory.give(parts)


def adam_step(list groups):
    """One Adam step, in place on the params, means, squares and counts of all groups.

    Each group is (params, grads, means, squares, counts, lrs, decays, beta1, beta2, eps, decoupled):
    lists with one item per parameter, and four settings. Counts are int64 arrays of one element, the
    steps before this one.

    Decays are added to the gradient (L2), or, if `decoupled` (AdamW), shrink p by the factor 1 - lr
    decay.
    """
    cdef Py_ssize_t i, k = 0, total = parameters_of(groups)
    cdef Part* parts = take_parts(total)
    cdef Part* part
    cdef list kept = [], params, grads, means, squares, counts, lrs, decays
    cdef double beta1, beta2, eps, bias1, bias2
    cdef cnp.int64_t t
    cdef bint decoupled
    try:
        for group in groups:
            params, grads, means, squares, counts, lrs, decays, beta1, beta2, eps, decoupled = group
            t = -1
            bias1 = bias2 = 1
            for i in range(len(params)):
                part = &parts[k]
                kept.append(fill(part, params[i], grads[i], lrs[i], decays[i], "adam_step"))
                part.m = moment(means[i], params[i], "adam_step")
                part.v = moment(squares[i], params[i], "adam_step")
                part.count = counter(counts[i], "adam_step")
                if t != part.count[0] + 1:  # as a rule once for all parameters
                    t = part.count[0] + 1
                    bias1, bias2 = 1 - pow(beta1, t), 1 - pow(beta2, t)
                part.keep = 1
                if decoupled:
                    part.keep, part.decay = 1 - part.lr * part.decay, 0
                part.beta1, part.beta2, part.eps = beta1, beta2, eps
                part.lr = part.lr / bias1
                part.unbias = 1 / sqrt(bias2)
                k += 1
        run_and_count(adam_piece, parts, total)
    finally:
        memory.give(parts)


def first_misfit(list params, list grads):
    """The place of the first gradient whose shape or dtype is not its parameter's; -1 if all fit.
    """
    cdef Py_ssize_t k
    for k in range(len(params)):
        p, g = params[k], grads[k]
        if not (
            isinstance(g, cnp.ndarray)
            and same_shape(<cnp.ndarray>g, <cnp.ndarray>p)
            and cnp.PyArray_TYPE(<cnp.ndarray>g) == cnp.PyArray_TYPE(<cnp.ndarray>p)
        ):
            return k
    return -1


# ── Clipping ───────────────────────────────────────────────────────────────────────────────────

cdef inline double sum_squares_of(const real* x, Py_ssize_t n) noexcept nogil:
    """In 8 partial sums that are added in a fixed order."""
    cdef double[8] sums
    cdef double total = 0
    cdef Py_ssize_t i, j
    for j in range(8):
        sums[j] = 0
    for i in range(0, n - 7, 8):
        for j in range(8):
            sums[j] += <double>x[i + j] * <double>x[i + j]
    for i in range(n - n % 8, n):
        sums[0] += <double>x[i] * <double>x[i]
    for j in range(8):
        total += sums[j]
    return total


cdef void square_piece(Part* w, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    cdef double* totals = <double*>w.m
    if w.wide:
        totals[start // PIECE] = sum_squares_of(<const double*>w.g + start, n)
    else:
        totals[start // PIECE] = sum_squares_of(<const float*>w.g + start, n)


cdef inline void scale(real* x, Py_ssize_t n, real factor) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] *= factor


cdef void scale_piece(Part* w, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    if w.wide:
        scale(<double*>w.p + start, n, w.factor)
    else:
        scale(<float*>w.p + start, n, <float>w.factor)


def sum_of_squares(list arrays):
    """The sum of the squares of all elements of all arrays, added in float64."""
    cdef Py_ssize_t k, pieces = 0, count = len(arrays)
    cdef list kept = [dense(x, "sum_of_squares") for x in arrays]
    cdef Part* parts = take_parts(count)
    cdef double* totals = NULL
    cdef double total = 0
    try:
        for k in range(count):
            parts[k].n = cnp.PyArray_SIZE(<cnp.ndarray>kept[k])
            pieces += (parts[k].n + PIECE - 1) // PIECE
        totals = <double*>memory.take((pieces + 1) * sizeof(double))
        if totals == NULL:
            raise MemoryError()
        pieces = 0
        for k in range(count):
            parts[k].g = cnp.PyArray_DATA(<cnp.ndarray>kept[k])
            parts[k].wide = cnp.PyArray_TYPE(<cnp.ndarray>kept[k]) == cnp.NPY_DOUBLE
            parts[k].m = totals + pieces
            pieces += (parts[k].n + PIECE - 1) // PIECE
        run(square_piece, parts, count)
        for k in range(pieces):
            total += totals[k]
    finally:
        memory.give(totals)
        memory.give(parts)
    return total


def scale_all(list arrays, double factor):
    """Multiplies all arrays by `factor`, in place."""
    cdef Py_ssize_t k, count = len(arrays)
    cdef Part* parts = take_parts(count)
    cdef cnp.ndarray x
    try:
        for k in range(count):
            x = dense(arrays[k], "scale_all")
            if x is not arrays[k]:
                raise ValueError("scale_all: an array must be one dense, aligned block of memory")
            check_out(x, x, "scale_all")
            parts[k].p = cnp.PyArray_DATA(x)
            parts[k].n = cnp.PyArray_SIZE(x)
            parts[k].wide = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
            parts[k].factor = factor
        run(scale_piece, parts, count)
    finally:
        memory.give(parts)
