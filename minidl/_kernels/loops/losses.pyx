"""Losses of one number and its target: the squared error, the binary cross-entropies and others, each in one pass.

Design. A `Loss` is a tag; its value and its slope stand below each other. Forward either writes one loss an element, or
computes a BLOCK of losses at a time and adds them up while they are in the cache: nothing the size of x is written.
The sums of CHUNK elements are added in pairs, in one order for any number of threads (see folding.pxd for the accuracy).
A sum that is not finite is taken once more, of losses computed in double and divided first: a mean of numbers that are
finite is finite, too.
"""

cimport numpy as cnp
from libc.math cimport isfinite
from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.arrays.checks cimport dense, same_layout
from minidl._kernels.rows.folding cimport Pairs, Sum, push, row_fold, total
from minidl._kernels.math.elementary cimport (
    real, abs_, exp_below_, log1p_, log1p_exp_minus_, log_, max_, min_,
)

cnp.import_array()

cdef enum:
    BLOCK = 512
    CHUNK = 16384   # elements a task; fixed, so that the bits do not depend on the number of threads
    ALONE = 131072  # elements that one thread is done with before another would be awake


# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────

ctypedef struct Squared:
    char _
ctypedef struct Absolute:
    char _
ctypedef struct Huber:
    char _
ctypedef struct Probability:
    char _
ctypedef struct Logit:
    char _

ctypedef fused Loss:
    Squared
    Absolute
    Huber
    Probability
    Logit


cdef inline real value(Loss* tag, real x, real t, real a) noexcept nogil:
    """The loss of x with the target t; a is Huber's delta."""
    cdef real d = x - t, one = 1, floor = -100
    if Loss is Squared: return d * d
    elif Loss is Absolute: return abs_(d)
    elif Loss is Huber: return limited(d, a) * (d - <real>0.5 * limited(d, a))
    elif Loss is Probability: return -(t * max_(log_(x), floor) + (one - t) * max_(log1p_(-x), floor))
    elif Loss is Logit: return weighed(one - t if x > 0 else t, abs_(x)) + log1p_exp_minus_(abs_(x))


cdef inline real slope(Loss* tag, real x, real t, real a) noexcept nogil:
    """Its derivative by x; of the squared error half of that, as 2 d alone could overflow."""
    cdef real d = x - t, one = 1
    if Loss is Squared: return d
    elif Loss is Absolute: return one if d > 0 else (-one if d < 0 else d)
    elif Loss is Huber: return limited(d, a)
    elif Loss is Probability: return d / max_(x * (one - x), <real>1e-12)
    elif Loss is Logit: return (one - t) - rare(x) if x > 0 else rare(x) - t


cdef inline real limited(real d, real a) noexcept nogil:
    return min_(max_(d, -a), a)


cdef inline real weighed(real weight, real x) noexcept nogil:
    """weight x, and 0 for a weight of 0 and an infinite x."""
    return <real>0 if weight == 0 else weight * x


cdef inline real rare(real x) noexcept nogil:
    """sigmoid(-|x|), the less likely of the two classes: what is left of 1 would have lost its digits."""
    cdef real e = exp_below_(-abs_(x))
    return e / (<real>1 + e)


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Work:
    const char* x
    const char* t
    const char* gy
    char* y              # the losses, or gx; NULL where only their sum is wanted
    double* partial      # the sum of each chunk
    Py_ssize_t size
    bint gy_moves        # one gradient an element, not one for all
    double a, divisor
    void (*loop)(void*, void*, void*, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil


cdef void values(
    Loss* tag, Work* w, real* _, Py_ssize_t first, Py_ssize_t last, Py_ssize_t chunk
) noexcept nogil:
    cdef const real* x = <const real*>w.x
    cdef const real* t = <const real*>w.t
    cdef real* y = <real*>w.y
    cdef real a = <real>w.a
    cdef Py_ssize_t i
    for i in range(first, last):
        y[i] = value(tag, x[i], t[i], a)


cdef void sums(
    Loss* tag, Work* w, real* _, Py_ssize_t first, Py_ssize_t last, Py_ssize_t chunk
) noexcept nogil:
    cdef real[BLOCK] y
    cdef const real* x
    cdef const real* t
    cdef real a = <real>w.a
    cdef Py_ssize_t i, n
    cdef Pairs pairs
    pairs.count = 0
    while first < last:
        n = min(last - first, <Py_ssize_t>BLOCK)
        x, t = <const real*>w.x + first, <const real*>w.t + first
        for i in range(n):
            y[i] = value(tag, x[i], t[i], a)
        push(<Sum*>NULL, &pairs, row_fold(<Sum*>NULL, <const real*>&y[0], n, 1))
        first += n
    w.partial[chunk] = total(<Sum*>NULL, &pairs)


cdef void wide_sums(
    Loss* tag, Work* w, real* _, Py_ssize_t first, Py_ssize_t last, Py_ssize_t chunk
) noexcept nogil:
    """The sum of each chunk over the divisor, all in double."""
    cdef double[BLOCK] y
    cdef const real* x = <const real*>w.x
    cdef const real* t = <const real*>w.t
    cdef Py_ssize_t i, n
    cdef Pairs pairs
    pairs.count = 0
    while first < last:
        n = min(last - first, <Py_ssize_t>BLOCK)
        for i in range(n):
            y[i] = value[Loss, double](tag, x[first + i], t[first + i], w.a) / w.divisor
        push(<Sum*>NULL, &pairs, row_fold(<Sum*>NULL, <const double*>&y[0], n, 1))
        first += n
    w.partial[chunk] = total(<Sum*>NULL, &pairs)


cdef void slopes(
    Loss* tag, Work* w, real* _, Py_ssize_t first, Py_ssize_t last, Py_ssize_t chunk
) noexcept nogil:
    cdef const real* x = <const real*>w.x
    cdef const real* t = <const real*>w.t
    cdef const real* gy = <const real*>w.gy
    cdef real* gx = <real*>w.y
    cdef real a = <real>w.a, divisor = <real>w.divisor, g
    cdef Py_ssize_t i
    if Loss is Squared:
        divisor = <real>0.5 * divisor
    g = gy[0] / divisor
    if w.gy_moves:
        for i in range(first, last):
            gx[i] = gy[i] / divisor * slope(tag, x[i], t[i], a)
    else:
        for i in range(first, last):
            gx[i] = g * slope(tag, x[i], t[i], a)


ctypedef void (*loop_t)(void*, void*, void*, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef struct Loops:
    loop_t[2] values  # for float32 and float64
    loop_t[2] sums
    loop_t[2] wide_sums
    loop_t[2] slopes
    Py_ssize_t alone

cdef Loops[8] LOOPS
CODES = {}  # name -> place in LOOPS


cdef Loops loops_of(Loss* tag, Py_ssize_t cost) noexcept:
    cdef Loops loops
    loops.values[0], loops.values[1] = <loop_t>values[Loss, float], <loop_t>values[Loss, double]
    loops.sums[0], loops.sums[1] = <loop_t>sums[Loss, float], <loop_t>sums[Loss, double]
    loops.wide_sums[0], loops.wide_sums[1] = <loop_t>wide_sums[Loss, float], <loop_t>wide_sums[Loss, double]
    loops.slopes[0], loops.slopes[1] = <loop_t>slopes[Loss, float], <loop_t>slopes[Loss, double]
    loops.alone = ALONE // cost
    return loops


cdef void declare(str name, Loops loops):
    LOOPS[len(CODES)] = loops
    CODES[name] = len(CODES)


declare("squared", loops_of[Squared](NULL, 1))
declare("absolute", loops_of[Absolute](NULL, 1))
declare("huber", loops_of[Huber](NULL, 1))
declare("probability", loops_of[Probability](NULL, 8))
declare("logit", loops_of[Logit](NULL, 8))


cdef void run_chunk(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* w = <Work*>context
    w.loop(NULL, w, NULL, index * CHUNK, min((index + 1) * CHUNK, w.size), index)


cdef int run(Work* w, Py_ssize_t alone) except -1:
    cdef Py_ssize_t chunks = (w.size + CHUNK - 1) // CHUNK, i
    if w.size <= alone:
        for i in range(chunks):
            run_chunk(w, i)
    else:
        with nogil:
            pool.parallel(run_chunk, w, chunks)
    return 0


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef double sum_of(Work* w, loop_t loop, Py_ssize_t alone) except *:
    """The sum of all chunks."""
    cdef Py_ssize_t i
    cdef Pairs pairs
    w.loop, pairs.count = loop, 0
    run(w, alone)
    for i in range((w.size + CHUNK - 1) // CHUNK):
        push(<Sum*>NULL, &pairs, w.partial[i])
    return total(<Sum*>NULL, &pairs)


cdef cnp.ndarray total_of(Work* w, cnp.ndarray like, Loops* loops):
    """The sum of all losses over the divisor, as an array without axes."""
    cdef Py_ssize_t chunks = (w.size + CHUNK - 1) // CHUNK
    cdef cnp.ndarray y = memory.empty(0, NULL, cnp.PyArray_TYPE(like))
    cdef bint wide = cnp.PyArray_TYPE(like) == cnp.NPY_DOUBLE
    cdef double result
    w.partial = <double*>memory.take(<size_t>(chunks + 1) * sizeof(double))
    if w.partial == NULL:
        raise MemoryError(f"loss: no memory for the sums of {chunks} chunks")
    try:
        result = sum_of(w, loops.sums[wide], loops.alone) / w.divisor
        if not isfinite(result):
            result = sum_of(w, loops.wide_sums[wide], loops.alone)
    finally:
        memory.give(w.partial)
    if wide:
        (<double*>cnp.PyArray_DATA(y))[0] = result
    else:
        (<float*>cnp.PyArray_DATA(y))[0] = <float>result
    return y


def loss_forward(str name, x, t, double a=0, double divisor=0):
    """The loss of each element of x with its target in t: squared, absolute, huber (a: its delta), probability (binary
    cross-entropy) or logit (that of sigmoid(x)). With a divisor, their sum divided by it: 1, or their number.
    """
    cdef Loops* loops = &LOOPS[<int>CODES[name]]
    cdef cnp.ndarray xs = dense(x, "loss"), ts = same_layout(t, xs, "loss"), y
    cdef bint wide = cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE
    cdef Work w
    w.x, w.t, w.size = <char*>cnp.PyArray_DATA(xs), <char*>cnp.PyArray_DATA(ts), cnp.PyArray_SIZE(xs)
    w.a, w.divisor = a, divisor
    if divisor != 0:
        return total_of(&w, xs, loops)
    y = memory.empty_like(xs)
    w.y, w.loop = <char*>cnp.PyArray_DATA(y), loops.values[wide]
    run(&w, loops.alone)
    return y


def loss_backward(str name, x, t, gy, double a=0, double divisor=1):
    """gx = gy / divisor * slope, with one gy an element, or one number where the loss was reduced."""
    cdef Loops* loops = &LOOPS[<int>CODES[name]]
    cdef cnp.ndarray xs = dense(x, "loss"), ts = same_layout(t, xs, "loss"), gs, gx = memory.empty_like(xs)
    cdef Work w
    w.gy_moves = not isinstance(gy, cnp.ndarray) or cnp.PyArray_NDIM(<cnp.ndarray>gy) != 0 or cnp.PyArray_NDIM(xs) == 0
    gs = same_layout(gy, xs, "loss") if w.gy_moves else dense(gy, "loss")
    if cnp.PyArray_TYPE(gs) != cnp.PyArray_TYPE(xs):
        raise TypeError(f"loss: expected a gradient of {(<object>xs).dtype}, got {gy.dtype}")
    w.x, w.t, w.size = <char*>cnp.PyArray_DATA(xs), <char*>cnp.PyArray_DATA(ts), cnp.PyArray_SIZE(xs)
    w.gy, w.y, w.a, w.divisor = <char*>cnp.PyArray_DATA(gs), <char*>cnp.PyArray_DATA(gx), a, divisor
    w.loop = loops.slopes[cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE]
    run(&w, loops.alone)
    return gx
