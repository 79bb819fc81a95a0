"""Choosing element by element: where, clip, and how the gradients of extrema find their way, with broadcasting.

Design. As in elementwise.pyx, `row` is compiled once for each formula; here it has three operands and two numbers. Every
loop runs over dense memory: what is repeated or strided is first copied, a BLOCK at a time, into a buffer that stays in
the cache, so that one loop serves all layouts and vectorises.
"""

cimport numpy as cnp
from libc.math cimport INFINITY
from minidl._kernels.loops.strided cimport Walk, row_t, run_strided, strides_of
from minidl._kernels.arrays.layout cimport in_elements, is_double
from minidl._kernels.math.elementary cimport real

from minidl._kernels.reference import selection as _reference

cnp.import_array()

cdef enum:
    BLOCK = 512     # elements copied at a time

ctypedef unsigned char truth


# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────

cdef extern from *:  # tags
    ctypedef struct Clip "char"
    ctypedef struct Inside "char"
    ctypedef struct Greater "char"
    ctypedef struct Less "char"
    ctypedef struct Same "char"

ctypedef fused Rule:
    Clip
    Inside
    Greater
    Less
    Same


cdef inline real rule(Rule* tag, real x, real z, real g, real low, real high) noexcept nogil:
    cdef bint same = (x == z) | ((x != x) & (z != z))
    cdef real zero = 0, half = <real>0.5 * g if same else 0
    if Rule is Clip: # of x alone; a NaN in x or in a limit is kept
        x = low if (x < low) | (low != low) else x
        return high if (high < x) | (high != high) else x
    elif Rule is Inside: return g if (x >= low) & (x <= high) else zero
    # (Not <=: where x is NaN, and z a number, the extremum is x.)
    elif Rule is Greater: return g if (not x <= z) & (z == z) else half
    elif Rule is Less: return g if (not x >= z) & (z == z) else half
    elif Rule is Same: return g if same else zero


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

ctypedef fused item:
    float
    double
    truth


cdef inline const item* dense(
    const item* x, Py_ssize_t stride, Py_ssize_t first, Py_ssize_t n, item* buffer
) noexcept nogil:
    """Elements first ... first + n - 1 of a row, side by side. What is repeated is copied once."""
    cdef Py_ssize_t i
    if stride == 1:
        return x + first
    if stride != 0 or first == 0:
        for i in range(n):
            buffer[i] = x[(first + i) * stride]
    return buffer


cdef void row(
    Rule* tag, const Walk* w, const real* x0, const real* x1, const real* x2, real* y, Py_ssize_t n
) noexcept nogil:
    """y = rule(x0, x1, x2) for n elements of the innermost axis."""
    cdef real[BLOCK] b0
    cdef real[BLOCK] b1
    cdef real[BLOCK] b2
    cdef const Py_ssize_t* s = strides_of(w)
    cdef Py_ssize_t first = 0, i, m
    cdef real low = <real>w.low, high = <real>w.high
    cdef const real* x
    cdef const real* z
    cdef const real* g
    while first < n:
        m = min(n - first, <Py_ssize_t>BLOCK)
        x = dense(x0, s[0], first, m, &b0[0])
        z = g = x
        if not (Rule is Clip):
            g = dense(x2, s[2], first, m, &b2[0])
        if not (Rule is Clip or Rule is Inside):
            z = dense(x1, s[1], first, m, &b1[0])
        for i in range(m):
            y[first + i] = rule(tag, x[i], z[i], g[i], low, high)
        first += BLOCK


cdef void choose(
    void* _, const Walk* w, const truth* c0, const real* x0, const real* x1, real* y, Py_ssize_t n
) noexcept nogil:
    """y = x0 where c0 holds, else x1, for n elements of the innermost axis."""
    cdef truth[BLOCK] b0
    cdef real[BLOCK] b1
    cdef real[BLOCK] b2
    cdef const Py_ssize_t* s = strides_of(w)
    cdef Py_ssize_t first = 0, i, m
    cdef const truth* c
    cdef const real* x
    cdef const real* z
    while first < n:
        m = min(n - first, <Py_ssize_t>BLOCK)
        c = dense(c0, s[0], first, m, &b0[0])
        x = dense(x0, s[1], first, m, &b1[0])
        z = dense(x1, s[2], first, m, &b2[0])
        for i in range(m):
            y[first + i] = x[i] if c[i] else z[i]
        first += BLOCK


cdef struct Rows:
    row_t[2] of  # float32 and float64


cdef Rows rows_of(Rule* tag) noexcept:
    return Rows([<row_t>row[Rule, float], <row_t>row[Rule, double]])


cdef Rows CHOOSE = Rows([<row_t>choose[float], <row_t>choose[double]])
cdef Rows CLIP = rows_of[Clip](NULL)
cdef Rows INSIDE = rows_of[Inside](NULL)
cdef Rows GREATER = rows_of[Greater](NULL)
cdef Rows LESS = rows_of[Less](NULL)
cdef Rows SAME = rows_of[Same](NULL)


cdef cnp.ndarray choice(
    str name, Rows rows, cnp.ndarray x0, cnp.ndarray x1, cnp.ndarray x2, double low=0, double high=0
):
    """The operands are x0 (of any kind that the rule reads), x1 and x2 (of the result's)."""
    cdef Walk w
    w.row, w.low, w.high = rows.of[is_double(x1)], low, high
    return run_strided(&w, name, x0, x1, x2, None, 1)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef bint fits(object x) noexcept:
    return isinstance(x, cnp.ndarray) and in_elements(<cnp.ndarray>x)


cdef bint alike(object x, object z) noexcept:
    """Both are arrays that run here, of one kind."""
    return fits(x) and fits(z) and cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.PyArray_TYPE(<cnp.ndarray>z)


def where(condition, x0, x1):
    """x0 where the condition (an array; what is not 0 is true) holds, x1 elsewhere; all three broadcast.

    float32 and float64 of one kind run here, all else in NumPy. Raises ValueError for shapes that do not fit.
    """
    if not alike(x0, x1) or not isinstance(condition, cnp.ndarray):
        return _reference.where(condition, x0, x1)
    if cnp.PyArray_TYPE(<cnp.ndarray>condition) != cnp.NPY_BOOL:
        condition = condition.astype(bool)
    return choice("where", CHOOSE, <cnp.ndarray>condition, <cnp.ndarray>x0, <cnp.ndarray>x1)


def where_same(x, z, g):
    """g where x == z or both are NaN, 0 elsewhere; all three broadcast. Otherwise as `where`."""
    if not alike(x, z) or not alike(x, g):
        return _reference.where_same(x, z, g)
    return choice("where_same", SAME, <cnp.ndarray>x, <cnp.ndarray>z, <cnp.ndarray>g)


def extremum_backward(str name, x, z, gy):
    """gx of maximum(x, z) or minimum(x, z): gy where x was chosen, half of it where x and z are the same, be it NaN. Otherwise as `where`."""
    cdef Rows rows = GREATER if {"maximum": True, "minimum": False}[name] else LESS
    if not alike(x, z) or not alike(x, gy):
        return _reference.extremum_backward(name, x, z, gy)
    return choice(name, rows, <cnp.ndarray>x, <cnp.ndarray>z, <cnp.ndarray>gy)


def clip(x, low=None, high=None):
    """x limited to [low, high], each a number or None. float32 and float64 run here, all else in NumPy."""
    cdef cnp.ndarray a
    if not fits(x) or not is_limit(low) or not is_limit(high):
        return _reference.clip(x, low, high)
    a = x
    return choice("clip", CLIP, a, a, a, limit(low, -INFINITY), limit(high, INFINITY))


def clip_backward(x, gy, low=None, high=None):
    """gx of clip: gy where low <= x <= high, 0 elsewhere. x and gy have one shape."""
    if not alike(x, gy) or not is_limit(low) or not is_limit(high):
        return _reference.clip_backward(x, gy, low, high)
    return choice("clip", INSIDE, <cnp.ndarray>x, <cnp.ndarray>x, <cnp.ndarray>gy,
                  limit(low, -INFINITY), limit(high, INFINITY))


cdef bint is_limit(object value) noexcept:
    return value is None or isinstance(value, (int, float))


cdef double limit(object value, double default) except? -1:
    return default if value is None else value
