"""Arithmetic, element by element, with broadcasting: plain loops around the formulas of formulas.pxd.

Design. As in activations.pyx, a `Rule` is a tag, and `row` is compiled once for each. A row is a stretch of the innermost
axis: it has a loop of its own for two dense operands and for one that stands still, so that these vectorise; all other
strides share the last loop. Nothing that is broadcast is written out: it has stride 0. What remains of the axes after
joining those that lie side by side in memory is walked by a cursor, in chunks of a fixed number of elements.

Two dense arrays of one shape need none of that, and go straight to their loop. What is not float32 or float64 of one
kind goes to NumPy, which is the twin in reference/elementwise.py: one `return` in `binary`, one in `unary`.
"""

cimport numpy as cnp
from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.arrays.axes cimport (
    MAX_AXES, Axes, Cursor, add_axis, go_to, has_shape, length_of, merge_axes,
    next_row, sort_axes, stride_of,
)
from minidl._kernels.arrays.layout cimport in_elements, is_float, is_plain, same_shape, same_strides
from minidl._kernels.math.elementary cimport real
from minidl._kernels.loops.formulas cimport *

from minidl._kernels.reference.elementwise import binary as _numpy_binary
from minidl._kernels.reference.elementwise import broadcast_to as _numpy_broadcast_to
from minidl._kernels.reference.elementwise import unary as _numpy_unary

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    void* NDARRAY "&PyArray_Type"
    object PyArray_New(void* subtype, int ndim, cnp.npy_intp* shape, int typenum,
                       cnp.npy_intp* strides, void* data, int itemsize, int flags, void* base)

cdef enum:
    CHUNK = 16384   # elements a task; fixed, so that the bits do not depend on the number of threads
    ALONE = 131072  # elements that one thread is done with before another would be awake
    RULES = 32
    BLOCK = 64


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void row(
    Rule* tag, const real* x, const real* z, real* y, Py_ssize_t n,
    Py_ssize_t sx, Py_ssize_t sz, Py_ssize_t sy,
) noexcept nogil:
    """y = rule(x, z) for n elements, with a stride for each of the three."""
    cdef Py_ssize_t i, first = 0
    cdef real still
    cdef real[BLOCK] block
    if sx == 1 and sz == 1 and sy == 1:
        if x == y:  # in place: one pointer, so that the compiler sees that nothing overlaps
            for i in range(n):
                y[i] = rule(tag, y[i], z[i])
        else:
            for i in range(n):
                y[i] = rule(tag, x[i], z[i])
    elif sx == 1 and sz == 0 and sy == 1:
        still = z[0]
        if Rule is Pow:  # what hangs on the exponent alone would become branches: it stands in many places
            for i in range(BLOCK):
                block[i] = still
            while first < n:
                for i in range(first, min(first + BLOCK, n)):
                    y[i] = rule(tag, x[i], block[i - first])
                first += BLOCK
        elif x == y:
            for i in range(n):
                y[i] = rule(tag, y[i], still)
        else:
            for i in range(n):
                y[i] = rule(tag, x[i], still)
    elif sx == 0 and sz == 1 and sy == 1:
        still = x[0]
        for i in range(n):
            y[i] = rule(tag, still, z[i])
    else:
        for i in range(n):
            y[i * sy] = rule(tag, x[i * sx], z[i * sz])


ctypedef void (*row_t)(
    void*, const void*, const void*, void*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t
) noexcept nogil

cdef struct Loops:
    row_t[2] row  # for float32 and float64
    Py_ssize_t alone


cdef Loops[RULES] LOOPS
CODES = {}  # name -> place in LOOPS


cdef Loops loops_of(Rule* tag, Py_ssize_t cost) noexcept:
    cdef Loops loops
    loops.row[0] = <row_t>row[Rule, float]
    loops.row[1] = <row_t>row[Rule, double]
    loops.alone = ALONE // cost
    return loops


cdef void declare(str name, Loops loops):
    LOOPS[len(CODES)] = loops
    CODES[name] = len(CODES)


declare("add", loops_of[Add](NULL, 1))
declare("sub", loops_of[Sub](NULL, 1))
declare("mul", loops_of[Mul](NULL, 1))
declare("weigh", loops_of[Weigh](NULL, 1))
declare("div", loops_of[Div](NULL, 1))
declare("maximum", loops_of[Maximum](NULL, 1))
declare("minimum", loops_of[Minimum](NULL, 1))
declare("pow", loops_of[Pow](NULL, 8))
declare("equal", loops_of[Equal](NULL, 1))
declare("neg", loops_of[Neg](NULL, 1))
declare("abs", loops_of[Abs](NULL, 1))
declare("abs_backward", loops_of[AbsBackward](NULL, 1))
declare("sign", loops_of[Sign](NULL, 1))
declare("square", loops_of[Square](NULL, 1))
declare("square_backward", loops_of[SquareBackward](NULL, 1))
declare("cube", loops_of[Cube](NULL, 1))
declare("cube_backward", loops_of[CubeBackward](NULL, 1))
declare("reciprocal", loops_of[Reciprocal](NULL, 1))
declare("reciprocal_backward", loops_of[ReciprocalBackward](NULL, 1))
declare("sqrt", loops_of[Sqrt](NULL, 2))
declare("sqrt_backward", loops_of[SqrtBackward](NULL, 1))
declare("exp", loops_of[Exp](NULL, 4))
declare("log", loops_of[Log](NULL, 4))


cdef struct Work:
    Axes axes  # strides of x, z, y
    row_t row
    const char* x
    const char* z
    char* y
    Py_ssize_t size, itemsize


cdef void run_chunk(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* w = <Work*>context
    cdef Py_ssize_t left = min(w.size - index * CHUNK, <Py_ssize_t>CHUNK), n
    cdef int last = w.axes.count - 1
    cdef Py_ssize_t* stride = w.axes.stride[last]
    cdef Cursor at
    go_to(&at, &w.axes, index * CHUNK)
    while True:
        n = min(w.axes.length[last] - at.place[last], left)
        w.row(
            NULL, w.x + at.offset[0] * w.itemsize, w.z + at.offset[1] * w.itemsize,
            w.y + at.offset[2] * w.itemsize, n, stride[0], stride[1], stride[2],
        )
        left -= n
        if left == 0:
            return
        next_row(&at, &w.axes)


cdef int run(Work* w, Py_ssize_t alone, bint whole) except -1:
    cdef Py_ssize_t chunks = (w.size + CHUNK - 1) // CHUNK, i
    if w.size <= alone:
        for i in range(chunks):
            run_chunk(w, i)
    else:
        with nogil:
            pool.parallel(run_chunk, w, chunks, whole)
    return 0


cdef int run_flat(
    Loops* loops, cnp.ndarray x, cnp.ndarray z, cnp.ndarray y, Py_ssize_t sx, Py_ssize_t sz
) except -1:
    """Dense arrays that lie in memory in one order; an operand of stride 0 has one element."""
    cdef Work w
    cdef Py_ssize_t n = cnp.PyArray_SIZE(y)
    cdef row_t loop = loops.row[cnp.PyArray_TYPE(y) == cnp.NPY_DOUBLE]
    if n <= CHUNK:
        loop(NULL, cnp.PyArray_DATA(x), cnp.PyArray_DATA(z), cnp.PyArray_DATA(y), n, sx, sz, 1)
        return 0
    w.axes.count = 0
    add_axis(&w.axes, n, sx, sz, 1, 0)
    w.row, w.size, w.itemsize = loop, n, cnp.PyArray_ITEMSIZE(y)
    w.x, w.z, w.y = <char*>cnp.PyArray_DATA(x), <char*>cnp.PyArray_DATA(z), <char*>cnp.PyArray_DATA(y)
    return run(&w, loops.alone, False)


# ── Any shapes and strides ───────────────────────────────────────────────────────────────────────────────────────────

cdef int common_shape(cnp.ndarray x, cnp.ndarray z, cnp.npy_intp* shape, str name) except -1:
    cdef int axis, ndim = max(cnp.PyArray_NDIM(x), cnp.PyArray_NDIM(z))
    cdef Py_ssize_t n, m
    for axis in range(ndim):
        n, m = length_of(x, axis, ndim), length_of(z, axis, ndim)
        if n != m and n != 1 and m != 1:
            raise ValueError(
                f"{name}: shapes {(<object>x).shape} and {(<object>z).shape} do not fit together"
            )
        shape[axis] = m if n == 1 else n
    return ndim


cdef cnp.ndarray new_result(cnp.ndarray x, cnp.ndarray z, int ndim, cnp.npy_intp* shape):
    """In the memory layout of the operand that has its shape: channels-last stays channels-last."""
    if has_shape(x, ndim, shape) and memory.is_dense(x):
        return memory.empty_like(x)
    if has_shape(z, ndim, shape) and memory.is_dense(z):
        return memory.empty_like(z)
    return memory.empty(ndim, shape, cnp.PyArray_TYPE(x))


cdef cnp.ndarray run_strided(Loops* loops, cnp.ndarray x, cnp.ndarray z, object out, str name):
    cdef cnp.npy_intp[MAX_AXES] shape
    cdef int axis, ndim = common_shape(x, z, shape, name)
    cdef cnp.ndarray y
    cdef Work w
    if out is None:
        y = new_result(x, z, ndim, shape)
    else:
        y = out
        if not has_shape(y, ndim, shape):
            raise ValueError(
                f"{name}: out: expected shape {tuple([shape[i] for i in range(ndim)])}, got {out.shape}"
            )
    w.size, w.itemsize = cnp.PyArray_SIZE(y), cnp.PyArray_ITEMSIZE(y)
    if w.size == 0:
        return y
    w.axes.count = 0
    for axis in range(ndim):
        add_axis(&w.axes, shape[axis], stride_of(x, axis, ndim), stride_of(z, axis, ndim),
                 stride_of(y, axis, ndim), 0)
    sort_axes(&w.axes, 2)
    merge_axes(&w.axes)
    w.row = loops.row[cnp.PyArray_TYPE(y) == cnp.NPY_DOUBLE]
    w.x, w.z, w.y = <char*>cnp.PyArray_DATA(x), <char*>cnp.PyArray_DATA(z), <char*>cnp.PyArray_DATA(y)
    run(&w, loops.alone, out is not None)
    return y


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef bint apart(cnp.ndarray y, cnp.ndarray x) noexcept:
    """Whether y can be written while x is read: it is x itself, or shares no memory with it."""
    if (cnp.PyArray_DATA(x) == cnp.PyArray_DATA(y) and same_shape(x, y) and same_strides(x, y)):
        return True
    return last_byte(x) < first_byte(y) or last_byte(y) < first_byte(x)


cdef char* first_byte(cnp.ndarray x) noexcept:
    cdef char* at = <char*>cnp.PyArray_DATA(x)
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(x)):
        at += min(<Py_ssize_t>0, (cnp.PyArray_DIMS(x)[axis] - 1) * cnp.PyArray_STRIDES(x)[axis])
    return at


cdef char* last_byte(cnp.ndarray x) noexcept:
    cdef char* at = <char*>cnp.PyArray_DATA(x) + cnp.PyArray_ITEMSIZE(x) - 1
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(x)):
        at += max(<Py_ssize_t>0, (cnp.PyArray_DIMS(x)[axis] - 1) * cnp.PyArray_STRIDES(x)[axis])
    return at


cdef bint can_write(object out, cnp.ndarray x, cnp.ndarray z) noexcept:
    cdef cnp.ndarray y
    if not isinstance(out, cnp.ndarray):
        return False
    y = out
    return (
        cnp.PyArray_TYPE(y) == cnp.PyArray_TYPE(x) and in_elements(y) and cnp.PyArray_ISBEHAVED(y)
        and apart(y, x) and apart(y, z)
    )


cdef object as_operand(object x, object other):
    """A Python number as an array of the other operand's kind; anything else as it is."""
    if (type(x) is float or type(x) is int) and isinstance(other, cnp.ndarray):
        if cnp.PyArray_TYPE(<cnp.ndarray>other) in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
            return number(x, <cnp.ndarray>other)
    return x


cpdef cnp.ndarray number(double value, cnp.ndarray like):
    """The number as a 0-d array of like's dtype, float32 or float64."""
    cdef cnp.ndarray y = memory.empty(0, NULL, cnp.PyArray_TYPE(like))
    if cnp.PyArray_TYPE(like) == cnp.NPY_FLOAT:
        (<float*>cnp.PyArray_DATA(y))[0] = <float>value
    elif cnp.PyArray_TYPE(like) == cnp.NPY_DOUBLE:
        (<double*>cnp.PyArray_DATA(y))[0] = value
    else:
        raise TypeError(f"number: expected a float32 or float64 array, got {(<object>like).dtype}")
    return y


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
    """add, sub, mul, weigh (x0 x1, and 0 where x0 is 0), div, maximum, minimum, pow or equal (1 or 0) of x0 and x1, or a backward rule on what was saved and gy.

    x0 and x1 are arrays that broadcast, or one of them is a Python number.

    float32 and float64 run here, all else in NumPy. `out` may be x0 or x1. Raises ValueError for shapes that do not fit.
    """
    cdef cnp.ndarray x, z, y
    cdef Loops* loops = &LOOPS[<int>CODES[name]]
    if not isinstance(x1, cnp.ndarray):
        x1 = as_operand(x1, x0)
    if not isinstance(x0, cnp.ndarray):
        x0 = as_operand(x0, x1)
    if isinstance(x0, cnp.ndarray) and isinstance(x1, cnp.ndarray):
        x, z = x0, x1
        if cnp.PyArray_TYPE(x) == cnp.PyArray_TYPE(z):
            if out is None and is_plain(x) and is_plain(z):
                if same_shape(x, z):
                    y = memory.empty_like(x)
                    run_flat(loops, x, z, y, 1, 1)
                    return y
                if cnp.PyArray_NDIM(z) == 0:
                    y = memory.empty_like(x)
                    run_flat(loops, x, z, y, 1, 0)
                    return y
            if in_elements(x) and in_elements(z) and (out is None or can_write(out, x, z)):
                return run_strided(loops, x, z, out, name)
    return _numpy_binary(name, x0, x1, out)


def unary(str name, x, out=None):
    """neg, abs, sign, square, cube, reciprocal, sqrt, exp or log of x, without warnings: NaN and inf are results.

    float32 and float64 run here, all else in NumPy. `out` may be x. Raises ValueError for an `out` of another shape.
    """
    cdef cnp.ndarray y
    cdef Loops* loops = &LOOPS[<int>CODES[name]]
    if isinstance(x, cnp.ndarray):
        if out is None and is_plain(<cnp.ndarray>x):
            y = memory.empty_like(<cnp.ndarray>x)
            run_flat(loops, <cnp.ndarray>x, <cnp.ndarray>x, y, 1, 1)
            return y
        if in_elements(<cnp.ndarray>x) and (out is None or can_write(out, <cnp.ndarray>x, <cnp.ndarray>x)):
            return run_strided(loops, <cnp.ndarray>x, <cnp.ndarray>x, out, name)
    return _numpy_unary(name, x, out)
