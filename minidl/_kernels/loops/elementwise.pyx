"""Arithmetic, element by element, with broadcasting: each formula is a tag and a line, with plain loops around them.

Design. `row` is compiled once for each formula (driver.pxd explains how). A row is part of the innermost axis: it has a
loop of its own for two dense operands and for one that is repeated, so that these vectorise; all other strides share the
last loop. A long formula has a loop over blocks, which are dense, in place of these others. strided.pxd finds the rows.

Two dense arrays of one shape need none of that, and go straight to their loop. What is not float32 or float64 of one
kind goes to NumPy, which is the reference in reference/elementwise.py: one `return` in `binary`, one in `unary`.
"""

cimport numpy as cnp
from libc.math cimport sqrt, sqrtf
from minidl._kernels.loops.driver cimport ALONE, loop_t, run
from minidl._kernels.loops.strided cimport Walk, can_write, row_t, run_strided, set_array, set_operand, strides_of, walk
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.prepared cimport capturing
from minidl._kernels.arrays.axes cimport MAX_AXES
from minidl._kernels.arrays.scalars cimport scalar
from minidl._kernels.arrays.layout cimport in_elements, is_double, is_float, is_plain, same_shape
from minidl._kernels.math.compensated cimport cosh_, expm1_, sinh_
from minidl._kernels.math.elementary cimport real, abs_, exp_, log1p_, log2_, log_
from minidl._kernels.math.normal cimport erf_
from minidl._kernels.math.power cimport pow_, pow_block
from minidl._kernels.math.rounding cimport floor_, floored_, is_steep, steep_floored_
from minidl._kernels.math.trigonometric cimport any_sin_, any_cos_, any_tan_, arctan_, cos_, is_far, sin_, tan_

from minidl._kernels.reference.elementwise import binary as _numpy_binary, broadcast_to as _numpy_broadcast_to
from minidl._kernels.reference.elementwise import unary as _numpy_unary
from minidl._kernels.runtime.prepared import by_numpy as _by_numpy

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    void* NDARRAY "&PyArray_Type"
    object PyArray_New(void* subtype, int ndim, cnp.npy_intp* shape, int typenum,
                       cnp.npy_intp* strides, void* data, int itemsize, int flags, void* base)

cdef enum: BLOCK = 512

# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────
# The gradients of operations with one operand are here as operations with two: what was saved, and gy.
cdef extern from *:  # tags
    ctypedef struct Add "char"
    ctypedef struct Sub "char"
    ctypedef struct Mul "char"
    ctypedef struct Weigh "char"
    ctypedef struct Div "char"
    ctypedef struct Maximum "char"
    ctypedef struct Minimum "char"
    ctypedef struct Pow "char"
    ctypedef struct FloorDivide "char"
    ctypedef struct Remainder "char"
    ctypedef struct Same "char"
    ctypedef struct Neg "char"
    ctypedef struct Abs "char"
    ctypedef struct Sign "char"
    ctypedef struct Square "char"
    ctypedef struct Cube "char"
    ctypedef struct Reciprocal "char"
    ctypedef struct Sqrt "char"
    ctypedef struct Exp "char"
    ctypedef struct Expm1 "char"
    ctypedef struct Log "char"
    ctypedef struct Log1p "char"
    ctypedef struct Log2 "char"
    ctypedef struct Sin "char"
    ctypedef struct Cos "char"
    ctypedef struct Tan "char"
    ctypedef struct Arctan "char"
    ctypedef struct Sinh "char"
    ctypedef struct Cosh "char"
    ctypedef struct Erf "char"
    ctypedef struct Rsqrt "char"
    ctypedef struct Floor "char"
    ctypedef struct AbsBackward "char"
    ctypedef struct SquareBackward "char"
    ctypedef struct CubeBackward "char"
    ctypedef struct ReciprocalBackward "char"
    ctypedef struct SqrtBackward "char"

ctypedef fused Rule:
    Add
    Sub
    Mul
    Weigh
    Div
    Maximum
    Minimum
    Pow
    FloorDivide
    Remainder
    Same
    Neg
    Abs
    Sign
    Square
    Cube
    Reciprocal
    Sqrt
    Exp
    Expm1
    Log
    Log1p
    Log2
    Sin
    Cos
    Tan
    Arctan
    Sinh
    Cosh
    Erf
    Rsqrt
    Floor
    AbsBackward
    SquareBackward
    CubeBackward
    ReciprocalBackward
    SqrtBackward

ctypedef fused Long:  # rules of many instructions
    Pow
    Exp
    Expm1
    Log
    Log1p
    Sin
    Cos
    Erf

ctypedef fused Rare:  # and those of which one loop will do
    FloorDivide
    Remainder
    Log2
    Tan
    Arctan
    Sinh
    Cosh
    Rsqrt
    ReciprocalBackward
    SqrtBackward
    Floor


cdef inline real rule(Rule* tag, real x, real z) noexcept nogil:
    """The result for the operands x and z; the operations of one operand leave z alone."""
    cdef real one = 1
    if Rule is Add: return x + z
    elif Rule is Sub: return x - z
    elif Rule is Mul: return x * z
    elif Rule is Weigh: return <real>0 if x == 0 else x * z  # 0 for a weight of 0, whatever it meets
    elif Rule is Div: return x / z
    elif Rule is Maximum: return z if (x < z) | (z != z) else x  # NaN in either is kept
    elif Rule is Minimum: return z if (z < x) | (z != z) else x
    elif Rule is Pow: return pow_(x, z)
    elif Rule is FloorDivide: return floored_(x, z, True)
    elif Rule is Remainder: return floored_(x, z, False)
    elif Rule is Same: return one if (x == z) | ((x != x) & (z != z)) else 0
    elif Rule is Neg: return -x
    elif Rule is Abs: return abs_(x)
    elif Rule is AbsBackward: return z if x > 0 else (-z if x < 0 else x * z)
    elif Rule is Sign: return one if x > 0 else (-one if x < 0 else x)
    elif Rule is Square: return x * x
    elif Rule is SquareBackward: return z * (<real>2 * x)
    elif Rule is Cube: return x * x * x
    elif Rule is CubeBackward: return z * (<real>3 * x * x)
    elif Rule is Reciprocal: return one / x
    elif Rule is ReciprocalBackward: return -z / (x * x)
    elif Rule is Sqrt: return sqrtf(x) if real is float else sqrt(x)
    elif Rule is SqrtBackward: return z / (<real>2 * x)  # x is the root
    elif Rule is Exp: return exp_(x)
    elif Rule is Expm1: return expm1_(x)
    elif Rule is Log: return log_(x)
    elif Rule is Log1p: return log1p_(x)
    elif Rule is Log2: return log2_(x)
    elif Rule is Sin: return sin_(x)
    elif Rule is Cos: return cos_(x)
    elif Rule is Tan: return tan_(x)
    elif Rule is Arctan: return arctan_(x)
    elif Rule is Sinh: return sinh_(x)
    elif Rule is Cosh: return cosh_(x)
    elif Rule is Erf: return erf_(x)
    elif Rule is Rsqrt: return one / (sqrtf(x) if real is float else sqrt(x))
    elif Rule is Floor: return floor_(x)


cdef inline bint some_far(const real* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Whether sin, cos and tan have to ask the C library for some of these numbers."""
    cdef Py_ssize_t i
    cdef bint found = False
    if stride == 1:
        for i in range(n):
            found |= is_far(x[i])
    else:
        for i in range(n):
            found |= is_far(x[i * stride])
    return found


cdef inline bint some_steep(const real* x, Py_ssize_t sx, const real* z, Py_ssize_t sz, Py_ssize_t n) noexcept nogil:
    """Whether // and % have to ask the C library for some of these pairs."""
    cdef Py_ssize_t i
    cdef bint found = False
    for i in range(n):
        found |= is_steep(x[i * sx], z[i * sz])
    return found


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void row(
    Rule* tag, const Walk* w, const real* _, const real* x, const real* z, real* y, Py_ssize_t n
) noexcept nogil:
    """y = rule(x, z) for n elements, with a stride for each of the three."""
    cdef const Py_ssize_t* stride = strides_of(w)
    cdef Py_ssize_t i, sx = stride[1], sz = stride[2], sy = stride[3]
    cdef real only
    if Rule is Sin or Rule is Cos or Rule is Tan:
        if some_far(x, n, sx):
            for i in range(n):
                if Rule is Sin: y[i * sy] = any_sin_(x[i * sx])
                elif Rule is Cos: y[i * sy] = any_cos_(x[i * sx])
                else: y[i * sy] = any_tan_(x[i * sx])
            return
    if Rule is FloorDivide or Rule is Remainder:
        if some_steep(x, sx, z, sz, n):
            for i in range(n):
                y[i * sy] = steep_floored_(x[i * sx], z[i * sz], Rule is FloorDivide)
            return
    if sx == 1 and sz == 1 and sy == 1 and x != y and not Rule in Rare:
        for i in range(n):
            y[i] = rule(tag, x[i], z[i])
    elif Rule in Long or Rule in Rare:
        row_by_blocks(tag, x, z, y, sx, sz, sy, n)
    elif sx == 1 and sz == 1 and sy == 1:  # in place: one pointer, so that the compiler sees that nothing overlaps
        for i in range(n):
            y[i] = rule(tag, y[i], z[i])
    elif sx == 1 and sz == 0 and sy == 1:
        only = z[0]
        if x == y:
            for i in range(n):
                y[i] = rule(tag, y[i], only)
        else:
            for i in range(n):
                y[i] = rule(tag, x[i], only)
    elif sx == 0 and sz == 1 and sy == 1:
        only = x[0]
        for i in range(n):
            y[i] = rule(tag, only, z[i])
    else:
        for i in range(n):
            y[i * sy] = rule(tag, x[i * sx], z[i * sz])


cdef inline void row_by_blocks(
    Rule* tag, const real* x, const real* z, real* y, Py_ssize_t sx, Py_ssize_t sz, Py_ssize_t sy, Py_ssize_t n
) noexcept nogil:
    """The same for long formulas, of which there is one copy for all strides: operands that are not dense are copied. (A
    repeated one, too: what depends on it alone would become branches.)
    """
    cdef real[BLOCK] xs, zs, ys
    cdef Py_ssize_t i, count
    cdef bint same = z == x and sz == sx
    while n > 0:
        count = min(n, <Py_ssize_t>BLOCK)
        if sx != 1:
            for i in range(count):
                xs[i] = x[i * sx]
        if sz != 1 and not same:
            for i in range(count):
                zs[i] = z[i * sz]
        block(tag, x if sx == 1 else <const real*>xs,
              z if sz == 1 else (<const real*>xs if same else <const real*>zs), ys, count)
        if sy == 1:
            for i in range(count):
                y[i] = ys[i]
        else:
            for i in range(count):
                y[i * sy] = ys[i]
        x, z, y, n = x + count * sx, z + count * sz, y + count * sy, n - count


cdef inline void block(Rule* tag, const real* x, const real* z, real* ys, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if Rule is Pow: pow_block(x, z, ys, n)
    else:
        for i in range(n):
            ys[i] = rule(tag, x[i], z[i])


cdef class Loops:
    cdef row_t[2] row  # for float32 and float64
    cdef Py_ssize_t cost  # of an element, in additions


cdef Loops loops_of(Rule* tag, Py_ssize_t cost):
    cdef Loops loops = Loops()
    loops.row, loops.cost = [<row_t>row[Rule, float], <row_t>row[Rule, double]], cost
    return loops


cdef dict LOOPS = {}
LOOPS["add"] = loops_of[Add](NULL, 1)
LOOPS["sub"] = loops_of[Sub](NULL, 1)
LOOPS["mul"] = loops_of[Mul](NULL, 1)
LOOPS["weigh"] = loops_of[Weigh](NULL, 1)
LOOPS["div"] = loops_of[Div](NULL, 1)
LOOPS["maximum"] = loops_of[Maximum](NULL, 1)
LOOPS["minimum"] = loops_of[Minimum](NULL, 1)
LOOPS["pow"] = loops_of[Pow](NULL, 20)
LOOPS["floor_divide"] = loops_of[FloorDivide](NULL, 6)
LOOPS["remainder"] = loops_of[Remainder](NULL, 6)
LOOPS["same"] = loops_of[Same](NULL, 1)
LOOPS["neg"] = loops_of[Neg](NULL, 1)
LOOPS["abs"] = loops_of[Abs](NULL, 1)
LOOPS["abs_backward"] = loops_of[AbsBackward](NULL, 1)
LOOPS["sign"] = loops_of[Sign](NULL, 1)
LOOPS["square"] = loops_of[Square](NULL, 1)
LOOPS["square_backward"] = loops_of[SquareBackward](NULL, 1)
LOOPS["cube"] = loops_of[Cube](NULL, 1)
LOOPS["cube_backward"] = loops_of[CubeBackward](NULL, 1)
LOOPS["reciprocal"] = loops_of[Reciprocal](NULL, 1)
LOOPS["reciprocal_backward"] = loops_of[ReciprocalBackward](NULL, 1)
LOOPS["sqrt"] = loops_of[Sqrt](NULL, 2)
LOOPS["sqrt_backward"] = loops_of[SqrtBackward](NULL, 1)
LOOPS["exp"] = loops_of[Exp](NULL, 4)
LOOPS["expm1"] = loops_of[Expm1](NULL, 5)
LOOPS["log"] = loops_of[Log](NULL, 4)
LOOPS["log1p"] = loops_of[Log1p](NULL, 5)
LOOPS["log2"] = loops_of[Log2](NULL, 4)
LOOPS["sin"] = loops_of[Sin](NULL, 6)
LOOPS["cos"] = loops_of[Cos](NULL, 6)
LOOPS["tan"] = loops_of[Tan](NULL, 9)
LOOPS["arctan"] = loops_of[Arctan](NULL, 5)
LOOPS["sinh"] = loops_of[Sinh](NULL, 6)
LOOPS["cosh"] = loops_of[Cosh](NULL, 6)
LOOPS["erf"] = loops_of[Erf](NULL, 8)
LOOPS["rsqrt"] = loops_of[Rsqrt](NULL, 3)
LOOPS["floor"] = loops_of[Floor](NULL, 1)


cdef cnp.ndarray run_flat(Loops loops, cnp.ndarray x, cnp.ndarray z, Py_ssize_t sx, Py_ssize_t sz):
    """Dense arrays that lie in memory in one order; an operand of stride 0 has one element."""
    cdef Walk w
    cdef cnp.ndarray y = memory.empty_like(x)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(y)
    w.row = loops.row[is_double(y)]
    w.axes.count, w.axes.length[0] = 1, n
    w.axes.stride[0][0] = 0
    w.axes.stride[0][1], w.axes.stride[0][2], w.axes.stride[0][3] = sx, sz, 1
    if n * loops.cost <= ALONE and not capturing():
        w.row(NULL, &w, NULL, cnp.PyArray_DATA(x), cnp.PyArray_DATA(z), cnp.PyArray_DATA(y), n)
        return y
    set_array(&w, 0, x)
    set_operand(&w, 1, x)
    set_operand(&w, 2, z)
    set_array(&w, 3, y)
    run(<loop_t>walk, &w, sizeof(w), y, n, 1, loops.cost, False)
    return y


cdef cnp.ndarray run_any(Loops loops, cnp.ndarray x, cnp.ndarray z, object out, str name):
    """Any shapes and strides."""
    cdef Walk w
    w.row = loops.row[is_double(x)]
    return run_strided(&w, name, x, x, z, out, loops.cost)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef object as_operand(object x, object other):
    """A Python number as an array of the other operand's kind; anything else as it is."""
    if (type(x) is float or type(x) is int) and isinstance(other, cnp.ndarray):
        if cnp.PyArray_TYPE(<cnp.ndarray>other) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
            return number(x, <cnp.ndarray>other)
    return x


cpdef cnp.ndarray number(double value, cnp.ndarray like):
    """The number as a 0-d array of like's dtype, float32 or float64."""
    if cnp.PyArray_TYPE(like) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):  # (unaligned is fine)
        raise TypeError(f"number: expected a float32 or float64 array, got {(<object>like).dtype}")
    return scalar(value, like)


def broadcast_to(x, tuple shape):
    """x repeated along new axes and axes of length 1: a read-only view. Raises ValueError where x does not fit."""
    cdef cnp.npy_intp[MAX_AXES] lengths, strides
    cdef int axis, own, ndim = len(shape)
    cdef cnp.ndarray a, y
    if not isinstance(x, cnp.ndarray) or not is_float(<cnp.ndarray>x) or ndim > MAX_AXES:
        return _numpy_broadcast_to(x, shape)
    a = x
    for axis in range(ndim):
        own = axis - ndim + cnp.PyArray_NDIM(a)
        lengths[axis] = shape[axis]
        strides[axis] = cnp.PyArray_STRIDES(a)[own] if own >= 0 and cnp.PyArray_DIMS(a)[own] != 1 else 0
        if lengths[axis] < 0 or (own >= 0 and cnp.PyArray_DIMS(a)[own] not in (1, lengths[axis])):
            ndim = -1
            break
    if ndim < cnp.PyArray_NDIM(a):
        raise ValueError(f"broadcast_to: shape {x.shape} does not broadcast to {shape}")
    y = <cnp.ndarray>PyArray_New(
        NDARRAY, ndim, lengths, cnp.PyArray_TYPE(a), strides, cnp.PyArray_DATA(a), 0,
        cnp.NPY_ARRAY_ALIGNED, NULL,
    )
    cnp.set_array_base(y, a)
    return y


def binary(str name, x0, x1, out=None):
    """One of these of x0 and x1: add, sub, mul, weigh (x0 x1, and 0 where x0 is 0), div, maximum, minimum, pow, floor_divide,
    remainder, same (1 where they are equal or both NaN, else 0); or a backward rule of what was saved and gy. x0 and x1 are
    arrays that broadcast, or one of them is a Python number.

    float32 and float64 run here, all else in NumPy. `out` may be x0 or x1. Raises ValueError for shapes that do not fit.
    """
    cdef cnp.ndarray x, z
    cdef Loops loops = LOOPS[name]
    if not isinstance(x1, cnp.ndarray):
        x1 = as_operand(x1, x0)
    if not isinstance(x0, cnp.ndarray):
        x0 = as_operand(x0, x1)
    if isinstance(x0, cnp.ndarray) and isinstance(x1, cnp.ndarray):
        x, z = x0, x1
        if cnp.PyArray_TYPE(x) == cnp.PyArray_TYPE(z):
            if out is None and is_plain(x) and is_plain(z):
                if same_shape(x, z):
                    return run_flat(loops, x, z, 1, 1)
                if cnp.PyArray_NDIM(z) == 0:
                    return run_flat(loops, x, z, 1, 0)
            if in_elements(x) and in_elements(z) and (out is None or can_write(out, x, z)):
                return run_any(loops, x, z, out, name)
    return _numpy_binary(name, x0, x1) if out is None else _by_numpy(_numpy_binary, name, x0, x1, out=out)


def unary(str name, x, out=None):
    """A function of x that UNARY in reference/elementwise.py lists, without warnings: NaN and inf are results.

    float32 and float64 run here if there is a loop for the name, all else in NumPy. `out` may be x. Raises ValueError
    for an `out` of another shape.
    """
    cdef Loops loops = LOOPS.get(name)
    if loops is None:
        return _by_numpy(_numpy_unary, name, x, out=out)
    if isinstance(x, cnp.ndarray):
        if out is None and is_plain(<cnp.ndarray>x):
            return run_flat(loops, <cnp.ndarray>x, <cnp.ndarray>x, 1, 1)
        if in_elements(<cnp.ndarray>x) and (out is None or can_write(out, <cnp.ndarray>x, <cnp.ndarray>x)):
            return run_any(loops, <cnp.ndarray>x, <cnp.ndarray>x, out, name)
    return _numpy_unary(name, x) if out is None else _by_numpy(_numpy_unary, name, x, out=out)
