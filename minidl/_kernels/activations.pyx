"""Activation functions: each one a line for its value and a line for its slope, and plain loops around them.

Design. A `Rule` is a tag: an empty struct type per activation. `rule()` is one generic function in which
``if Rule is Elu`` is decided when Cython specialises it, so that every loop below is compiled once per activation with
the formula inlined, and the C compiler vectorises it. To add an activation: its tag, its three lines in `rule`, its
line in the table; then its row in `minidl/ops/activation.py`.

Backward gets either x or y, whichever the formula reads (the row in ops/activation.py says which): both names are bound
to it. At a kink the slope is that of the negative side. NaN falls on the side that keeps it.
"""

cimport numpy as cnp
from minidl._kernels cimport memory, pool
from minidl._kernels._array cimport check_out, dense, same_layout
from minidl._kernels._math cimport real, exp_, expm1_, sigmoid_, softplus_, tanh_

cnp.import_array()

cdef enum:
    CHUNK = 16384  # elements a task; fixed, so that the bits do not depend on the number of threads
    RULES = 64


# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────

ctypedef struct Relu:
    char _
ctypedef struct LeakyRelu:
    char _
ctypedef struct Elu:
    char _
ctypedef struct EluFromY:
    char _
ctypedef struct Sigmoid:
    char _
ctypedef struct Tanh:
    char _
ctypedef struct Softplus:
    char _

ctypedef fused Rule:
    Relu
    LeakyRelu
    Elu
    EluFromY
    Sigmoid
    Tanh
    Softplus


cdef inline real rule(Rule* tag, bint value, real x, real y, real a, real b) noexcept nogil:
    """The value of the activation at x if `value`, else its slope at x (or at the point where it is y)."""
    cdef real zero = 0, one = 1
    if Rule is Relu:
        if value: return zero if x <= 0 else x
        return zero if x <= 0 else one

    elif Rule is LeakyRelu:  # a: slope of the negative side
        if value: return a * x if x <= 0 else x
        return a if x <= 0 else one

    elif Rule is Elu:  # a: alpha
        if value: return a * expm1_(x) if x <= 0 else x
        return a * exp_(x) if x <= 0 else one

    elif Rule is EluFromY:  # for use in place, where x is gone
        if value: return a * expm1_(x) if x <= 0 else x
        return y + a if y <= 0 else one

    elif Rule is Sigmoid:
        if value: return sigmoid_(x)
        return y * (one - y)

    elif Rule is Tanh:
        if value: return tanh_(x)
        return (one - y) * (one + y)

    elif Rule is Softplus:  # a: beta
        if value: return softplus_(a * x) / a
        return sigmoid_(a * x)


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void forward(Rule* tag, const real* x, real* y, Py_ssize_t n, double a, double b) noexcept nogil:
    cdef Py_ssize_t i
    cdef real p = <real>a, q = <real>b
    if x == y:  # in place: one pointer, so that the compiler sees that nothing overlaps
        for i in range(n):
            y[i] = rule(tag, True, y[i], y[i], p, q)
    else:
        for i in range(n):
            y[i] = rule(tag, True, x[i], x[i], p, q)


cdef void backward(
    Rule* tag, const real* xy, const real* gy, real* gx, Py_ssize_t n, double a, double b
) noexcept nogil:
    cdef Py_ssize_t i
    cdef real slope, p = <real>a, q = <real>b
    for i in range(n):
        slope = rule(tag, False, xy[i], xy[i], p, q)
        gx[i] = gy[i] * slope if slope != 0 else slope  # a dead unit passes nothing on, inf neither


ctypedef void (*forward_t)(void*, const void*, void*, Py_ssize_t, double, double) noexcept nogil
ctypedef void (*backward_t)(
    void*, const void*, const void*, void*, Py_ssize_t, double, double
) noexcept nogil

cdef struct Loops:
    forward_t[2] forward  # for float32 and float64
    backward_t[2] backward


cdef Loops loops_of(Rule* tag) noexcept:
    cdef Loops loops
    loops.forward[0] = <forward_t>forward[Rule, float]
    loops.forward[1] = <forward_t>forward[Rule, double]
    loops.backward[0] = <backward_t>backward[Rule, float]
    loops.backward[1] = <backward_t>backward[Rule, double]
    return loops


cdef Loops[RULES] LOOPS
CODES = {}  # name -> place in LOOPS


cdef void declare(str name, Loops loops):
    LOOPS[len(CODES)] = loops
    CODES[name] = len(CODES)


declare("relu", loops_of[Relu](NULL))
declare("leaky_relu", loops_of[LeakyRelu](NULL))
declare("elu", loops_of[Elu](NULL))
declare("elu_from_y", loops_of[EluFromY](NULL))
declare("sigmoid", loops_of[Sigmoid](NULL))
declare("tanh", loops_of[Tanh](NULL))
declare("softplus", loops_of[Softplus](NULL))


# ── The faces ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Work:
    forward_t forward
    backward_t backward
    const char* xy
    const char* gy
    char* out
    Py_ssize_t n, itemsize
    double a, b


cdef void run_chunk(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* work = <Work*>context
    cdef Py_ssize_t start = index * CHUNK, n = min(work.n - start, <Py_ssize_t>CHUNK)
    cdef Py_ssize_t offset = start * work.itemsize
    if work.forward != NULL:
        work.forward(NULL, work.xy + offset, work.out + offset, n, work.a, work.b)
    else:
        work.backward(NULL, work.xy + offset, work.gy + offset, work.out + offset, n, work.a, work.b)


cdef void run(Work* work) noexcept:
    if work.n <= CHUNK:
        run_chunk(work, 0)
    else:
        with nogil:
            pool.parallel(run_chunk, work, (work.n + CHUNK - 1) // CHUNK)


def activation_forward(str name, x, double a=0, double b=0, out=None):
    """y = the activation `name` of x, with parameters a and b; `out` may be x itself (in place)."""
    cdef cnp.ndarray xs = dense(x, name)
    cdef cnp.ndarray ys = check_out(out, xs, name)
    cdef bint wide = cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE
    cdef Loops* loops = &LOOPS[<int>CODES[name]]
    cdef Work work = Work(
        forward=loops.forward[wide], backward=NULL,
        xy=<char*>cnp.PyArray_DATA(xs), gy=NULL, out=<char*>cnp.PyArray_DATA(ys),
        n=cnp.PyArray_SIZE(xs), itemsize=cnp.PyArray_ITEMSIZE(xs), a=a, b=b,
    )
    run(&work)
    return ys


def activation_backward(str name, xy, gy, double a=0, double b=0, out=None):
    """gx = gy * slope, where `xy` is x or y, whichever the activation's slope is written in."""
    cdef cnp.ndarray xs = dense(xy, name)
    cdef cnp.ndarray gs = same_layout(gy, xs, name)
    cdef cnp.ndarray gx = check_out(out, xs, name)
    cdef bint wide = cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE
    cdef Loops* loops = &LOOPS[<int>CODES[name]]
    cdef Work work = Work(
        forward=NULL, backward=loops.backward[wide],
        xy=<char*>cnp.PyArray_DATA(xs), gy=<char*>cnp.PyArray_DATA(gs),
        out=<char*>cnp.PyArray_DATA(gx), n=cnp.PyArray_SIZE(xs),
        itemsize=cnp.PyArray_ITEMSIZE(xs), a=a, b=b,
    )
    run(&work)
    return gx


def activation_address(str name, bint wide) -> int:
    """The address of the forward loop for float64 (wide) or float32, for a kernel that calls it on its own results."""
    return <size_t><void*>LOOPS[<int>CODES[name]].forward[wide]
