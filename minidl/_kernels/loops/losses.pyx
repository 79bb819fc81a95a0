"""Losses of one number and its target: the squared error, the binary cross-entropies and others, each in one pass.

Design. Each loss has a tag (driver.pxd explains how it is used), a line for its value and one for its slope. Forward
either writes one loss per element, or computes a BLOCK of losses at a time and adds them up while they are in the cache:
nothing the size of x is written. The sums of CHUNK elements are added in pairs, in one order for any number of threads
(see folding.pxd for the accuracy). A sum that is not finite is taken once more, of losses computed in double and divided
first: a mean of numbers that are finite is finite, too.
"""

cimport numpy as cnp
from libc.math cimport isfinite
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport dense, same_layout
from minidl._kernels.arrays.scalars cimport store
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.rows.folding cimport Pairs, Sum, push, row_fold, total
from minidl._kernels.math.compensated cimport softplus_
from minidl._kernels.math.elementary cimport real, abs_, exp_below_, log1p_, log_, max_, min_

cnp.import_array()

cdef enum:
    BLOCK = 512    # losses that are kept until they are added up
    CHUNK = 16384  # elements that are summed by themselves; fixed, so that the bits do not depend on the number of threads


# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────

cdef extern from *:  # tags
    ctypedef struct Squared "char"
    ctypedef struct Absolute "char"
    ctypedef struct Huber "char"
    ctypedef struct Probability "char"
    ctypedef struct Logit "char"

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
    elif Loss is Logit: return weighed(one - t if x > 0 else t, abs_(x)) + softplus_(-abs_(x))


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

ctypedef fused number:  # what is summed: `real`, or double
    float
    double

cdef struct Work:
    const void* x
    const void* t
    const void* gy
    double* partial      # the sum of each chunk
    Py_ssize_t size
    bint gy_moves        # one gradient an element, not one for all
    bint wide            # the sums are taken in double
    double a, divisor


cdef void values(Loss* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    cdef const real* x = <const real*>w.x
    cdef const real* t = <const real*>w.t
    cdef real a = <real>w.a
    cdef Py_ssize_t i
    for i in range(first, last):
        y[i] = value(tag, x[i], t[i], a)


cdef double chunk_sum(
    Loss* tag, Work* w, Py_ssize_t start, Py_ssize_t end, const real* x, const real* t, number* kind
) noexcept nogil:
    """Of losses in x's precision; or, if `wide`, in double and divided first."""
    cdef number[BLOCK] y
    cdef number a = <number>w.a
    cdef Py_ssize_t i, n
    cdef Pairs pairs
    pairs.count = 0
    while start < end:
        n = min(end - start, <Py_ssize_t>BLOCK)
        for i in range(n):
            y[i] = value(tag, <number>x[start + i], <number>t[start + i], a)
        if w.wide:
            for i in range(n):
                y[i] /= w.divisor
        push(<Sum*>NULL, &pairs, row_fold(<Sum*>NULL, <const number*>&y[0], n, 1))
        start += n
    return total(<Sum*>NULL, &pairs)


cdef void sums(Loss* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* _) noexcept nogil:
    """Of chunks `first` to `last - 1`."""
    cdef const real* x = <const real*>w.x
    cdef const real* t = <const real*>w.t
    cdef Py_ssize_t chunk, start, end
    for chunk in range(first, last):
        start, end = chunk * CHUNK, min((chunk + 1) * CHUNK, w.size)
        if w.wide:
            w.partial[chunk] = chunk_sum(tag, w, start, end, x, t, <double*>NULL)
        else:
            w.partial[chunk] = chunk_sum(tag, w, start, end, x, t, <real*>NULL)


cdef void slopes(Loss* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    cdef const real* x = <const real*>w.x
    cdef const real* t = <const real*>w.t
    cdef const real* gy = <const real*>w.gy
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


cdef class Loops:
    cdef loop_t[2] values, sums, slopes  # for float32 and float64
    cdef Py_ssize_t cost  # of an element, in additions


cdef Loops loops_of(Loss* tag, Py_ssize_t cost):
    cdef Loops loops = Loops()
    loops.values = [<loop_t>values[Loss, float], <loop_t>values[Loss, double]]
    loops.sums = [<loop_t>sums[Loss, float], <loop_t>sums[Loss, double]]
    loops.slopes = [<loop_t>slopes[Loss, float], <loop_t>slopes[Loss, double]]
    loops.cost = cost
    return loops


cdef dict LOOPS = {}
LOOPS["squared"] = loops_of[Squared](NULL, 1)
LOOPS["absolute"] = loops_of[Absolute](NULL, 1)
LOOPS["huber"] = loops_of[Huber](NULL, 1)
LOOPS["probability"] = loops_of[Probability](NULL, 8)
LOOPS["logit"] = loops_of[Logit](NULL, 8)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef Work work_of(cnp.ndarray x, cnp.ndarray t, double a, double divisor) noexcept:
    return Work(cnp.PyArray_DATA(x), cnp.PyArray_DATA(t), NULL, NULL, cnp.PyArray_SIZE(x), False, False, a, divisor)


cdef struct Mean:
    Work work
    loop_t sums
    Py_ssize_t cost
    void* y
    bint is_double


cdef double sum_of(loop_t sums, Work* w, Py_ssize_t chunks, Py_ssize_t cost) except *:
    """The sum of all chunks."""
    cdef Py_ssize_t i
    cdef Pairs pairs
    run(sums, w, sizeof(Work), None, chunks, CHUNK, cost, False)
    pairs.count = 0
    for i in range(chunks):
        push(<Sum*>NULL, &pairs, w.partial[i])
    return total(<Sum*>NULL, &pairs)


cdef int take_mean(void* mean) except -1:
    """y = the sum of all losses over the divisor."""
    cdef Mean* m = <Mean*>mean
    cdef Work* w = &m.work
    cdef Py_ssize_t chunks = (w.size + CHUNK - 1) // CHUNK
    cdef double result
    w.wide = False
    w.partial = <double*>memory.take(<size_t>(chunks + 1) * sizeof(double))
    if w.partial == NULL:
        raise MemoryError(f"loss: no memory for the sums of {chunks} chunks")
    try:
        result = sum_of(m.sums, w, chunks, m.cost) / w.divisor
        if not isfinite(result):
            w.wide = True
            result = sum_of(m.sums, w, chunks, m.cost)
    finally:
        memory.give(w.partial)
    store(m.y, m.is_double, result)
    return 0


def loss_forward(str name, x, t, double a=0, double divisor=0):
    """The loss of each element of x with its target in t: squared, absolute, huber (a: its delta), probability (binary
    cross-entropy) or logit (that of sigmoid(x)). With a divisor, their sum divided by it: 1, or their number.
    """
    cdef Loops loops = LOOPS[name]
    cdef cnp.ndarray xs = dense(x, "loss"), ts = same_layout(t, xs, "loss"), y
    cdef Work w = work_of(xs, ts, a, divisor)
    cdef Mean mean
    if divisor != 0:
        y = memory.empty(0, NULL, cnp.PyArray_TYPE(xs))
        mean = Mean(w, loops.sums[is_double(xs)], loops.cost, cnp.PyArray_DATA(y), is_double(xs))
        prepared.do(take_mean, &mean, sizeof(mean), y)
        return y
    y = memory.empty_like(xs)
    run(loops.values[is_double(xs)], &w, sizeof(w), y, w.size, 1, loops.cost, False, 3)
    return y


def loss_backward(str name, x, t, gy, double a=0, double divisor=1):
    """gx = gy / divisor * slope, with one gy an element, or one number where the loss was reduced."""
    cdef Loops loops = LOOPS[name]
    cdef cnp.ndarray xs = dense(x, "loss"), ts = same_layout(t, xs, "loss"), gs, gx = memory.empty_like(xs)
    cdef Work w = work_of(xs, ts, a, divisor)
    w.gy_moves = not isinstance(gy, cnp.ndarray) or cnp.PyArray_NDIM(<cnp.ndarray>gy) != 0 or cnp.PyArray_NDIM(xs) == 0
    gs = same_layout(gy, xs, "loss") if w.gy_moves else dense(gy, "loss")
    if cnp.PyArray_TYPE(gs) != cnp.PyArray_TYPE(xs):
        raise TypeError(f"loss: expected a gradient of {(<object>xs).dtype}, got {gy.dtype}")
    w.gy = cnp.PyArray_DATA(gs)
    run(loops.slopes[is_double(xs)], &w, sizeof(w), gx, w.size, 1, loops.cost, False, 3 + w.gy_moves)
    return gx
