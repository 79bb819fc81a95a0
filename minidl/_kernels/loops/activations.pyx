"""Activation functions: each one a line for its value and a line for its slope, and plain loops around them.

Design. Each activation has a tag, by which `rule` and the loops around it are specialised (driver.pxd explains how). To
add one: its tag, its three lines in `rule`, its line in the table; then its function in `minidl/ops/activations`.

The value of a long formula is computed in two halves, `begun` and `ended`, instead of in `rule`. Each half has a loop of
its own over some hundred elements, and passes on up to three numbers for each. A loop spends its time waiting for results:
the longer the way from x to y, the fewer elements fit into the processor at once. Two halves take 0.75 to 0.96 of the time
of one loop (0.68 to 0.94 at the baseline). Not those of gelu: its polynomial and its exponential do not wait for each other, and
one loop lets them overlap.

Backward gets either x or y, whichever the formula reads (`slope_from` in ops/activations says which): both names are
bound to it. At a kink a formula says itself which side's slope it has. Comparisons are written so that NaN takes the branch that
returns NaN. Where x is NaN, the slope of every activation is: `backward` sees to it, so the lines for slopes need not.
"""

cimport numpy as cnp
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime.epilogues cimport Activation, Loops, activation_t, activations_of, find
from minidl._kernels.arrays.checks cimport check_out, dense, same_layout
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.math.composed cimport (
    gelu_tanh_begun, gelu_tanh_ended, gelu_tanh_slope_, mish_begun, mish_ended, mish_slope_, selu_ended, silu_begun, silu_ended,
    silu_slope_, softsign_, tanhshrink_,
)
from minidl._kernels.math.compensated cimport (
    expm1_below_, expm1_below_begun, expm1_below_ended, sigmoid_begun, sigmoid_ended, softplus_begun, softplus_ended, tanh_,
    tanh_begun, tanh_ended,
)
from minidl._kernels.math.elementary cimport abs_, exp_below_, real
from minidl._kernels.math.normal cimport gelu_, gelu_slope_

cnp.import_array()

cdef enum:
    COST = 8  # of an element, in additions
    BLOCK = 512  # elements, whose halves stay in the first-level cache

cdef extern from *:
    """
    #define SCALE 1.0507009873554805  /* of SELU */
    #define SELU 1.7580993408473768   /* its scale times its alpha */
    """
    const double SCALE, SELU


# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────

cdef extern from *:  # tags
    ctypedef struct Relu "char"
    ctypedef struct LeakyRelu "char"
    ctypedef struct Elu "char"
    ctypedef struct EluFromY "char"
    ctypedef struct Selu "char"
    ctypedef struct SeluFromY "char"
    ctypedef struct Celu "char"
    ctypedef struct CeluFromY "char"
    ctypedef struct Sigmoid "char"
    ctypedef struct LogSigmoid "char"
    ctypedef struct HardSigmoid "char"
    ctypedef struct Tanh "char"
    ctypedef struct HardTanh "char"
    ctypedef struct Relu6 "char"
    ctypedef struct SoftSign "char"
    ctypedef struct SoftPlus "char"
    ctypedef struct SoftPlusOf1 "char"
    ctypedef struct Silu "char"
    ctypedef struct HardSwish "char"
    ctypedef struct Mish "char"
    ctypedef struct Gelu "char"
    ctypedef struct GeluTanh "char"
    ctypedef struct TanhShrink "char"
    ctypedef struct SoftShrink "char"
    ctypedef struct HardShrink "char"
    ctypedef struct Threshold "char"

ctypedef fused Rule:
    Relu
    LeakyRelu
    Elu
    EluFromY
    Selu
    SeluFromY
    Celu
    CeluFromY
    Sigmoid
    LogSigmoid
    HardSigmoid
    Tanh
    HardTanh
    Relu6
    SoftSign
    SoftPlus
    Silu
    HardSwish
    Mish
    Gelu
    GeluTanh
    TanhShrink
    SoftShrink
    HardShrink
    Threshold


cdef inline real rule(Rule* tag, bint value, real x, real y, real a, real b) noexcept nogil:
    """The value of the activation at x if `value`, else its slope at x (or at the point where it is y)."""
    cdef real zero = 0, one = 1
    if Rule is Relu:
        if value: return zero if x <= 0 else x
        return zero if x <= 0 else one

    elif Rule is LeakyRelu:  # a: slope of the negative side
        if value: return a * x if x <= 0 else x
        # Not `a if x <= 0 else one`: gcc would make a loop each for a = 0 and the rest, and vectorise one.
        y = one if x <= 0 else zero
        return a * y + (one - y)

    elif Rule is Elu:  # a: alpha
        return a * exp_below_(x) if x <= 0 else one
    elif Rule is EluFromY: return y + a if y <= 0 else one  # the slope for use in place, where x is gone

    elif Rule is Selu:
        return <real>SELU * exp_below_(x) if x <= 0 else <real>SCALE
    elif Rule is SeluFromY: return y + <real>SELU if y <= 0 else <real>SCALE

    elif Rule is Celu:  # a: alpha
        return exp_below_(x / a) if x <= 0 else one
    elif Rule is CeluFromY: return y / a + one if y <= 0 else one

    elif Rule is Sigmoid:
        return y * (one - y)

    elif Rule is LogSigmoid:
        return -expm1_below_(y)

    elif Rule is HardSigmoid:
        if value: return zero if x <= -3 else (one if x >= 3 else (x + <real>3) / <real>6)
        return zero if x <= -3 else (zero if x >= 3 else one / <real>6)

    elif Rule is Tanh:
        return (one - y) * (one + y)

    elif Rule is HardTanh:  # a, b: the limits
        if value: return a if x <= a else (b if x >= b else x)
        return zero if y <= a else (zero if y >= b else one)

    elif Rule is Relu6:
        if value: return zero if x <= 0 else (<real>6 if x >= 6 else x)
        return zero if y <= 0 else (zero if y >= 6 else one)

    elif Rule is SoftSign:
        if value: return softsign_(x)
        return one / (one + abs_(x)) / (one + abs_(x))

    elif Rule is SoftPlus:  # a: beta
        return -expm1_below_(-a * y)

    elif Rule is Silu:
        return silu_slope_(x)

    elif Rule is HardSwish:
        if value: return zero if x <= -3 else (x if x >= 3 else x * (x + <real>3) / <real>6)
        return zero if x <= -3 else (one if x >= 3 else x * <real>(1 / 3.0) + <real>0.5)

    elif Rule is Mish:
        return mish_slope_(x)

    elif Rule is Gelu:
        if value: return gelu_(x)
        return gelu_slope_(x)

    elif Rule is GeluTanh:
        return gelu_tanh_slope_(x)

    elif Rule is TanhShrink:
        if value: return tanhshrink_(x)
        return tanh_(x) * tanh_(x)

    elif Rule is SoftShrink:  # a: lambd; NaN - a is NaN
        if value: return x + a if x < -a else (zero if x <= a else x - a)
        return zero if y == 0 else one

    elif Rule is HardShrink:  # a: lambd
        if value: return zero if abs_(x) <= a else x
        return zero if y == 0 else one

    elif Rule is Threshold:  # a: threshold, b: value
        if value: return b if x <= a else x
        return zero if x <= a else one


ctypedef fused Halved:
    Elu
    Selu
    Celu
    Sigmoid
    LogSigmoid
    Tanh
    SoftPlus
    SoftPlusOf1
    Silu
    Mish
    GeluTanh


cdef inline void begun(Halved* tag, real x, real a, real* p, real* q, real* r) noexcept nogil:
    """The first half of a long formula: p, q and r, some of them, on the way from x to the value."""
    if Halved is Elu or Halved is Selu: expm1_below_begun(x, p, q, r)
    elif Halved is Celu: expm1_below_begun(x / a, p, q, r)
    elif Halved is Sigmoid: sigmoid_begun(x, p, q)
    elif Halved is LogSigmoid: softplus_begun[real](-x, 1, p, q, r)
    elif Halved is SoftPlus: softplus_begun(x, a, p, q, r)
    elif Halved is SoftPlusOf1: softplus_begun[real](x, 1, p, q, r)
    elif Halved is Tanh: p[0] = tanh_begun(x)
    elif Halved is Silu: silu_begun(x, p, q)
    elif Halved is Mish: mish_begun(x, p, q)
    elif Halved is GeluTanh: gelu_tanh_begun(x, p, q, r)


cdef inline real ended(Halved* tag, real x, real a, real p, real q, real r) noexcept nogil:
    """The second half: the value."""
    if Halved is Elu: return a * expm1_below_ended(x, p, q, r) if x <= 0 else x
    elif Halved is Selu: return selu_ended(x, p, q, r)
    elif Halved is Celu: return a * expm1_below_ended(x / a, p, q, r) if x <= 0 else x
    elif Halved is Sigmoid: return sigmoid_ended(x, p, q)
    elif Halved is LogSigmoid: return -softplus_ended[real](-x, 1, 1, p, q, r)
    elif Halved is SoftPlus: return softplus_ended[real](x, a, <real>1 / a, p, q, r)
    elif Halved is SoftPlusOf1: return softplus_ended[real](x, 1, 1, p, q, r)
    elif Halved is Tanh: return tanh_ended(x, p)
    elif Halved is Silu: return silu_ended(x, p, q)
    elif Halved is Mish: return mish_ended(x, p, q)
    elif Halved is GeluTanh: return gelu_tanh_ended(x, p, q, r)


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void forward(Rule* tag, const Activation* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    cdef const real* x = <const real*>w.x
    cdef real a = <real>w.a, b = <real>w.b
    cdef Py_ssize_t i
    if x == y:  # in place: one pointer, so that the compiler sees that nothing overlaps
        for i in range(first, last):
            y[i] = rule(tag, True, y[i], y[i], a, b)
    else:
        for i in range(first, last):
            y[i] = rule(tag, True, x[i], x[i], a, b)


cdef void in_halves(Halved* tag, const Activation* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Forward in two loops for some elements at a time."""
    cdef const real* x = <const real*>w.x
    cdef real a = <real>w.a
    cdef real[BLOCK] kept, p, q, r  # x is kept, because y may be where it was
    cdef Py_ssize_t i, n
    if Halved is SoftPlus:
        if a == 1:  # as by default: three products less
            in_halves(<SoftPlusOf1*>NULL, w, first, last, y)
            return
    while first < last:
        n = min(last - first, <Py_ssize_t>BLOCK)
        for i in range(n):
            kept[i] = x[first + i]
            begun(tag, kept[i], a, &p[i], &q[i], &r[i])
        for i in range(n):
            y[first + i] = ended(tag, kept[i], a, p[i], q[i], r[i])
        first += n


cdef void backward(Rule* tag, const Activation* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    cdef const real* x = <const real*>w.x
    cdef const real* gy = <const real*>w.gy
    cdef real a = <real>w.a, b = <real>w.b, g, slope
    cdef Py_ssize_t i
    for i in range(first, last):
        g = gy[i]
        slope = rule(tag, False, x[i], x[i], a, b)
        slope = g * slope if slope != 0 else slope  # a dead unit passes nothing on, inf neither
        gx[i] = slope if x[i] == x[i] else x[i]


cdef Loops loops_of(Rule* tag):
    cdef Loops loops = Loops()
    if Rule in Halved:
        loops.forward = [<activation_t>in_halves[Rule, float], <activation_t>in_halves[Rule, double]]
    else:
        loops.forward = [<activation_t>forward[Rule, float], <activation_t>forward[Rule, double]]
    loops.backward = [<activation_t>backward[Rule, float], <activation_t>backward[Rule, double]]
    loops.backward_from_y = loops.backward
    return loops


cdef Loops with_slope(Loops loops, Loops from_y):
    """The loops, where the slope in y is a rule of its own."""
    loops.backward_from_y = from_y.backward
    return loops


cdef dict ACTIVATIONS = activations_of(__name__)
ACTIVATIONS["relu"] = loops_of[Relu](NULL)
ACTIVATIONS["leaky_relu"] = loops_of[LeakyRelu](NULL)
ACTIVATIONS["elu"] = with_slope(loops_of[Elu](NULL), loops_of[EluFromY](NULL))
ACTIVATIONS["selu"] = with_slope(loops_of[Selu](NULL), loops_of[SeluFromY](NULL))
ACTIVATIONS["celu"] = with_slope(loops_of[Celu](NULL), loops_of[CeluFromY](NULL))
ACTIVATIONS["sigmoid"] = loops_of[Sigmoid](NULL)
ACTIVATIONS["logsigmoid"] = loops_of[LogSigmoid](NULL)
ACTIVATIONS["hardsigmoid"] = loops_of[HardSigmoid](NULL)
ACTIVATIONS["tanh"] = loops_of[Tanh](NULL)
ACTIVATIONS["hardtanh"] = loops_of[HardTanh](NULL)
ACTIVATIONS["relu6"] = loops_of[Relu6](NULL)
ACTIVATIONS["softsign"] = loops_of[SoftSign](NULL)
ACTIVATIONS["softplus"] = loops_of[SoftPlus](NULL)
ACTIVATIONS["silu"] = loops_of[Silu](NULL)
ACTIVATIONS["hardswish"] = loops_of[HardSwish](NULL)
ACTIVATIONS["mish"] = loops_of[Mish](NULL)
ACTIVATIONS["gelu"] = loops_of[Gelu](NULL)
ACTIVATIONS["gelu_tanh"] = loops_of[GeluTanh](NULL)
ACTIVATIONS["tanhshrink"] = loops_of[TanhShrink](NULL)
ACTIVATIONS["softshrink"] = loops_of[SoftShrink](NULL)
ACTIVATIONS["hardshrink"] = loops_of[HardShrink](NULL)
ACTIVATIONS["threshold"] = loops_of[Threshold](NULL)
NAMES = tuple(ACTIVATIONS)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

def activation_forward(str name, x, double a=0, double b=0, out=None):
    """y = the activation `name` of x, with parameters a and b; `out` may be x itself (in place)."""
    cdef cnp.ndarray xs = dense(x, name), y = check_out(out, xs, name)
    cdef Loops loops = find(ACTIVATIONS, name)
    cdef Activation w = Activation(cnp.PyArray_DATA(xs), NULL, a, b)
    run(<loop_t>loops.forward[is_double(xs)], &w, sizeof(w), y, cnp.PyArray_SIZE(y), 1, COST, out is not None, 2)
    return y


def activation_backward(str name, xy, gy, double a=0, double b=0, bint from_y=False, out=None):
    """gx = gy * slope, where `xy` is x or y, whichever the activation's slope is written in; `from_y`: it is y."""
    cdef cnp.ndarray xs = dense(xy, name), gs = same_layout(gy, xs, name), gx = check_out(out, xs, name)
    cdef Loops loops = find(ACTIVATIONS, name)
    cdef Activation w = Activation(cnp.PyArray_DATA(xs), cnp.PyArray_DATA(gs), a, b)
    cdef activation_t loop = loops.backward_from_y[is_double(xs)] if from_y else loops.backward[is_double(xs)]
    run(<loop_t>loop, &w, sizeof(w), gx, cnp.PyArray_SIZE(gx), 1, COST, out is not None, 3)
    return gx
