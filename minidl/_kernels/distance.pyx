"""Losses of one number and its target: the squared error, the binary cross-entropies and others, each in one pass.

Design. A `Loss` is a tag; its value and its slope stand below each other. Forward either writes one loss an element, or
computes a BLOCK of losses at a time and adds them up while they are in the cache: nothing the size of x is written.
The sums of CHUNK elements are added in pairs, in one order for any number of threads (see _fold.pxd for the accuracy).
"""

cimport numpy as cnp
from minidl._kernels cimport memory, pool
from minidl._kernels._array cimport dense, same_layout
from minidl._kernels._fold cimport Pairs, Sum, push, row_fold, total
from minidl._kernels._math cimport (
    real, abs_, log1p_, log_, max_, min_, sigmoid_, softplus_,
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
    elif Loss is Logit: return softplus_(x) - x * t


cdef inline real slope(Loss* tag, real x, real t, real a) noexcept nogil:
    cdef real d = x - t, one = 1
    if Loss is Squared: return <real>2 * d
    elif Loss is Absolute: return one if d > 0 else (-one if d < 0 else d)
    elif Loss is Huber: return limited(d, a)
    elif Loss is Probability: return d / max_(x * (one - x), <real>1e-12)
    elif Loss is Logit: return sigmoid_(x) - t


cdef inline real limited(real d, real a) noexcept nogil:
    return min_(max_(d, -a), a)


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


cdef void slopes(
    Loss* tag, Work* w, real* _, Py_ssize_t first, Py_ssize_t last, Py_ssize_t chunk
) noexcept nogil:
    cdef const real* x = <const real*>w.x
    cdef const real* t = <const real*>w.t
    cdef const real* gy = <const real*>w.gy
    cdef real* gx = <real*>w.y
    cdef real a = <real>w.a, divisor = <real>w.divisor, g = gy[0] / divisor
    cdef Py_ssize_t i
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
    loop_t[2] slopes
    Py_ssize_t alone

cdef Loops[8] LOOPS
CODES = {}  # name -> place in LOOPS


cdef Loops loops_of(Loss* tag, Py_ssize_t cost) noexcept:
    cdef Loops loops
    loops.values[0], loops.values[1] = <loop_t>values[Loss, float], <loop_t>values[Loss, double]
    loops.sums[0], loops.sums[1] = <loop_t>sums[Loss, float], <loop_t>sums[Loss, double]
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


cdef void run(Work* w, Py_ssize_t alone) noexcept:
    cdef Py_ssize_t chunks = (w.size + CHUNK - 1) // CHUNK, i
    if w.size <= alone:
        for i in range(chunks):
            run_chunk(w, i)
    else:
        with nogil:
            pool.parallel(run_chunk, w, chunks)


# ── The faces ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef cnp.ndarray total_of(Work* w, cnp.ndarray like, Py_ssize_t alone):
    """The sum of all losses over the divisor, as an array without axes."""
    cdef Py_ssize_t chunks = (w.size + CHUNK - 1) // CHUNK, i
    cdef cnp.ndarray y = memory.empty(0, NULL, cnp.PyArray_TYPE(like))
    cdef Pairs pairs
    cdef double result
    w.partial = <double*>memory.take(<size_t>(chunks + 1) * sizeof(double))
    if w.partial == NULL:
        raise MemoryError(f"loss: no memory for the sums of {chunks} chunks")
    run(w, alone)
    pairs.count = 0
    for i in range(chunks):
        push(<Sum*>NULL, &pairs, w.partial[i])
    memory.give(w.partial)
    result = total(<Sum*>NULL, &pairs) / w.divisor
    if cnp.PyArray_TYPE(like) == cnp.NPY_DOUBLE:
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
        w.loop = loops.sums[wide]
        return total_of(&w, xs, loops.alone)
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
