"""Choosing element by element: where, clip, and how the gradients of extrema find their way, with broadcasting.

Design. As in elementwise.pyx a rule is a tag, and `row` is compiled once for each; here it has three operands and two
numbers. Every loop runs over dense memory: what is repeated or strided is first copied, a BLOCK at a time, into a buffer
that stays in the cache, so that one loop serves all layouts and vectorises. Nothing that is broadcast is written out.
"""

cimport numpy as cnp
from libc.math cimport INFINITY
from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.arrays.axes cimport (
    MAX_AXES, Axes, Cursor, add_axis, go_to, has_shape, length_of, merge_axes,
    next_row, sort_axes, stride_of,
)
from minidl._kernels.arrays.layout cimport in_elements
from minidl._kernels.math.elementary cimport real

from minidl._kernels.reference import selection as _twins

cnp.import_array()

cdef enum:
    BLOCK = 512     # elements copied at a time
    CHUNK = 16384   # elements a task; fixed, so that the bits do not depend on the number of threads
    ALONE = 131072  # elements that one thread is done with before another would be awake

ctypedef unsigned char truth


# ── The formulas ─────────────────────────────────────────────────────────────────────────────────────────────────────

ctypedef struct Clip:
    char _
ctypedef struct Inside:
    char _
ctypedef struct Greater:
    char _
ctypedef struct Less:
    char _
ctypedef struct Equal:
    char _

ctypedef fused Rule:
    Clip
    Inside
    Greater
    Less
    Equal


cdef inline real rule(Rule* tag, real x, real z, real g, real low, real high) noexcept nogil:
    cdef real zero = 0, half = <real>0.5 * g if x == z else 0
    if Rule is Clip: # of x alone; a NaN in x or in a limit is kept
        x = low if (x < low) | (low != low) else x
        return high if (high < x) | (high != high) else x
    elif Rule is Inside: return g if (x >= low) & (x <= high) else zero
    elif Rule is Greater: return g if x > z else half
    elif Rule is Less: return g if x < z else half
    elif Rule is Equal: return g if x == z else zero


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

ctypedef void (*row_t)(
    void*, void*, const void*, const void*, const void*, void*, Py_ssize_t
) noexcept nogil

cdef struct Work:
    Axes axes  # strides of the three operands and of y
    row_t row
    char* x0
    char* x1
    char* x2
    char* y
    Py_ssize_t size
    Py_ssize_t[3] itemsize
    double low, high

ctypedef fused item:
    float
    double
    truth


cdef inline const item* dense(
    const item* x, Py_ssize_t stride, Py_ssize_t first, Py_ssize_t n, item* buffer
) noexcept nogil:
    """Elements first ... first + n - 1 of a row, side by side. What stands still is copied once."""
    cdef Py_ssize_t i
    if stride == 1:
        return x + first
    if stride != 0 or first == 0:
        for i in range(n):
            buffer[i] = x[(first + i) * stride]
    return buffer


cdef void row(
    Rule* tag, Work* w, const real* x0, const real* x1, const real* x2, real* y, Py_ssize_t n
) noexcept nogil:
    """y = rule(x0, x1, x2) for n elements of the innermost axis."""
    cdef real[BLOCK] b0
    cdef real[BLOCK] b1
    cdef real[BLOCK] b2
    cdef Py_ssize_t* s = w.axes.stride[w.axes.count - 1]
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
    real* _, Work* w, const truth* c0, const real* x0, const real* x1, real* y, Py_ssize_t n
) noexcept nogil:
    """y = x0 where c0 holds, else x1, for n elements of the innermost axis."""
    cdef truth[BLOCK] b0
    cdef real[BLOCK] b1
    cdef real[BLOCK] b2
    cdef Py_ssize_t* s = w.axes.stride[w.axes.count - 1]
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


cdef enum:
    CHOOSE, CLIP, INSIDE, GREATER, LESS, EQUAL

cdef row_t[12] ROWS


cdef void declare(Rule* tag, int code):
    ROWS[2 * code] = <row_t>row[Rule, float]
    ROWS[2 * code + 1] = <row_t>row[Rule, double]


ROWS[0], ROWS[1] = <row_t>choose[float], <row_t>choose[double]
declare[Clip](NULL, CLIP)
declare[Inside](NULL, INSIDE)
declare[Greater](NULL, GREATER)
declare[Less](NULL, LESS)
declare[Equal](NULL, EQUAL)


cdef void run_chunk(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* w = <Work*>context
    cdef Py_ssize_t left = min(w.size - index * CHUNK, <Py_ssize_t>CHUNK), n
    cdef int last = w.axes.count - 1
    cdef Cursor at
    go_to(&at, &w.axes, index * CHUNK)
    while True:
        n = min(w.axes.length[last] - at.place[last], left)
        w.row(
            NULL, w, w.x0 + at.offset[0] * w.itemsize[0], w.x1 + at.offset[1] * w.itemsize[1],
            w.x2 + at.offset[2] * w.itemsize[2], w.y + at.offset[3] * w.itemsize[2], n,
        )
        left -= n
        if left == 0:
            return
        next_row(&at, &w.axes)


# ── Any shapes and strides ───────────────────────────────────────────────────────────────────────────────────────────

cdef int widen(cnp.npy_intp* shape, int ndim, cnp.ndarray x, str name) except -1:
    """`shape`, broadcast with that of x; the new number of axes."""
    cdef int axis, wide = max(ndim, cnp.PyArray_NDIM(x))
    cdef Py_ssize_t n, m
    for axis in range(wide - 1, -1, -1):
        n = shape[axis - (wide - ndim)] if axis >= wide - ndim else 1
        m = length_of(x, axis, wide)
        if n != m and n != 1 and m != 1:
            raise ValueError(
                f"{name}: shapes {tuple([shape[i] for i in range(ndim)])} and {(<object>x).shape} do not fit together"
            )
        shape[axis] = m if n == 1 else n
    return wide


cdef cnp.ndarray new_result(cnp.ndarray x, cnp.ndarray z, int ndim, cnp.npy_intp* shape):
    """In the memory layout of the operand that has its shape: channels-last stays channels-last."""
    if has_shape(x, ndim, shape) and memory.is_dense(x):
        return memory.empty_like(x)
    if has_shape(z, ndim, shape) and memory.is_dense(z):
        return memory.empty_like(z)
    return memory.empty(ndim, shape, cnp.PyArray_TYPE(x))


cdef cnp.ndarray run(
    str name, int code, cnp.ndarray x0, cnp.ndarray x1, cnp.ndarray x2, double low=0, double high=0
):
    """The operands are x0 (of any kind that the rule reads), x1 and x2 (of the result's)."""
    cdef cnp.npy_intp[MAX_AXES] shape
    cdef int axis, ndim = 0
    cdef Py_ssize_t chunks, i
    cdef cnp.ndarray y
    cdef Work w
    ndim = widen(shape, ndim, x0, name)
    ndim = widen(shape, ndim, x1, name)
    ndim = widen(shape, ndim, x2, name)
    y = new_result(x1, x2, ndim, shape)
    w.size = cnp.PyArray_SIZE(y)
    if w.size == 0:
        return y
    w.axes.count = 0
    for axis in range(ndim):
        add_axis(&w.axes, shape[axis], stride_of(x0, axis, ndim), stride_of(x1, axis, ndim),
                 stride_of(x2, axis, ndim), stride_of(y, axis, ndim))
    sort_axes(&w.axes, 3)
    merge_axes(&w.axes)
    w.row = ROWS[2 * code + (cnp.PyArray_TYPE(y) == cnp.NPY_DOUBLE)]
    w.x0, w.itemsize[0] = <char*>cnp.PyArray_DATA(x0), cnp.PyArray_ITEMSIZE(x0)
    w.x1, w.itemsize[1] = <char*>cnp.PyArray_DATA(x1), cnp.PyArray_ITEMSIZE(x1)
    w.x2, w.itemsize[2] = <char*>cnp.PyArray_DATA(x2), cnp.PyArray_ITEMSIZE(x2)
    w.y, w.low, w.high = <char*>cnp.PyArray_DATA(y), low, high
    chunks = (w.size + CHUNK - 1) // CHUNK
    if w.size <= ALONE:
        for i in range(chunks):
            run_chunk(&w, i)
    else:
        with nogil:
            pool.parallel(run_chunk, &w, chunks)
    return y


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
        return _twins.where(condition, x0, x1)
    if cnp.PyArray_TYPE(<cnp.ndarray>condition) != cnp.NPY_BOOL:
        condition = condition.astype(bool)
    return run("where", CHOOSE, <cnp.ndarray>condition, <cnp.ndarray>x0, <cnp.ndarray>x1)


def where_equal(x, z, g):
    """g where x == z, 0 elsewhere; all three broadcast. Otherwise as `where`."""
    if not alike(x, z) or not alike(x, g):
        return _twins.where_equal(x, z, g)
    return run("where_equal", EQUAL, <cnp.ndarray>x, <cnp.ndarray>z, <cnp.ndarray>g)


def extremum_backward(str name, x, z, gy):
    """gx of maximum(x, z) or minimum(x, z): gy where x was chosen, half of it where x == z. Otherwise as `where`."""
    cdef int code = {"maximum": GREATER, "minimum": LESS}[name]
    if not alike(x, z) or not alike(x, gy):
        return _twins.extremum_backward(name, x, z, gy)
    return run(name, code, <cnp.ndarray>x, <cnp.ndarray>z, <cnp.ndarray>gy)


def clip(x, low=None, high=None):
    """x limited to [low, high], each a number or None. float32 and float64 run here, all else in NumPy."""
    cdef cnp.ndarray a
    if not fits(x) or not is_limit(low) or not is_limit(high):
        return _twins.clip(x, low, high)
    a = x
    return run("clip", CLIP, a, a, a, limit(low, -INFINITY), limit(high, INFINITY))


def clip_backward(x, gy, low=None, high=None):
    """gx of clip: gy where low <= x <= high, 0 elsewhere. x and gy have one shape."""
    if not alike(x, gy) or not is_limit(low) or not is_limit(high):
        return _twins.clip_backward(x, gy, low, high)
    return run("clip", INSIDE, <cnp.ndarray>x, <cnp.ndarray>x, <cnp.ndarray>gy,
               limit(low, -INFINITY), limit(high, INFINITY))


cdef bint is_limit(object value) noexcept:
    return value is None or isinstance(value, (int, float))


cdef double limit(object value, double default) except? -1:
    return default if value is None else value
