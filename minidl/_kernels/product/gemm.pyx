"""The entry points of the matrix product (blocking.pxd): matmul, and affine forward and weight gradient.

Which product runs, the tile or NumPy's BLAS, is decided at the end of this file.
"""

import numpy as np

cimport numpy as cnp
from libc.string cimport memcmp, memset

from minidl._kernels.runtime cimport epilogues, memory, pool, prepared
from minidl._kernels.arrays.buffers cimport points
from minidl._kernels.arrays.checks cimport behaved
from minidl._kernels.product.blocking cimport multiply
from minidl._kernels.product.product cimport (
    SERIAL_FLOPS, TASK_FLOPS, TASKS, Product, ceil_div, run_tasks, task_t,
)
from minidl._kernels.arrays.copying cimport c_copy, copy_into
from minidl._kernels.arrays.layout cimport is_double

cnp.import_array()

cdef enum:
    MAX_DIMS = 64               # NumPy's
    LEAST_FLOPS = 2_000         # what the start of a product takes, however small it is
    WHOLE_FLOPS = 20_000_000    # 0.2 ms on one core: of many such products no core is without one for long,
    FEW = 4                     # and of so few of
    FEW_FLOPS = 4_000_000       # these, 40 us, neither
    BRIEF_FLOPS = 200_000       # so short (2 us) that the GIL is kept: giving it up and back costs 50 ns

cdef dict ACTIVATIONS = epilogues.activations_of(__name__)


# ── Many products at once ─────────────────────────────────────────────────────────────────────────

ctypedef void (*multiply_t)(void* kind, const Product* p) noexcept nogil


cdef struct Batch:
    Product product             # the first
    multiply_t multiply         # for its dtype
    Py_ssize_t count
    Py_ssize_t each             # of a task, if they are small
    int ndim                    # the batch axes: their lengths, and the steps in bytes
    Py_ssize_t[MAX_DIMS] shape, a_steps, b_steps, c_steps
    bint failed


cdef void into(cnp.ndarray c, Batch* batch, bint whole) noexcept:
    """The products, for c's dtype; `whole`: c is the user's (pool.pxd)."""
    batch.multiply, batch.product.whole = <multiply_t> multiply[float], whole
    if is_double(c):
        batch.multiply = <multiply_t> multiply[double]


cdef int leave(Batch* batch, cnp.ndarray a, cnp.ndarray b, cnp.ndarray c) except -1:
    """`run` in a captured step: a and b may be arguments, which are read where they lie."""
    cdef Batch* left = <Batch*> prepared.leave(run, batch, sizeof(Batch), c)
    points(&left.product.a, a)
    points(&left.product.b, b)
    return prepared.do_quietly(run, batch)


cdef int run(void* work) except -1:
    cdef Batch* batch = <Batch*> work
    cdef Product* p = &batch.product
    batch.failed = False
    p.failed = &batch.failed
    if batch.count != 1:
        with nogil:
            multiply_batch(batch)
    elif 2.0 * p.m * p.n * p.k <= BRIEF_FLOPS:
        batch.multiply(NULL, p)
    else:
        with nogil:
            batch.multiply(NULL, p)
    if batch.failed:
        pool.fail("matmul")
    return 0


cdef void multiply_batch(Batch* batch) noexcept nogil:
    """Small products are dealt out to the threads whole, several to a task if they are tiny; so are larger ones if there
    are many. The others are computed one by one, in parts."""
    cdef const Product* p = &batch.product
    cdef double flops = 2.0 * p.m * p.n * p.k
    cdef Py_ssize_t index
    if batch.count > 1 and flops <= (
            WHOLE_FLOPS if batch.count >= TASKS else FEW_FLOPS if batch.count >= FEW else SERIAL_FLOPS):
        batch.each = max(1, <Py_ssize_t> (TASK_FLOPS / max(flops, LEAST_FLOPS)))
        if not run_tasks(<task_t> batch_task, batch, ceil_div(batch.count, batch.each), False, p.whole,
                         batch.count * max(flops, LEAST_FLOPS)):
            batch.failed = True
        return
    for index in range(batch.count):
        if not batch.failed:
            one_of_batch(batch, index)


cdef void batch_task(void* kind, Batch* batch, Py_ssize_t task) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(task * batch.each, min((task + 1) * batch.each, batch.count)):
        one_of_batch(batch, index)


cdef void one_of_batch(Batch* batch, Py_ssize_t index) noexcept nogil:
    cdef Product p = batch.product
    cdef Py_ssize_t place
    cdef int axis
    for axis in range(batch.ndim - 1, -1, -1):
        place = index % batch.shape[axis]
        index //= batch.shape[axis]
        p.a += place * batch.a_steps[axis]
        p.b += place * batch.b_steps[axis]
        p.c += place * batch.c_steps[axis]
    batch.multiply(NULL, &p)


# ── The entry points ──────────────────────────────────────────────────────────────────────────────

cdef cnp.ndarray flat_rows(object x, str name):
    """x (..., n) as (rows, n): a view if its leading axes lie in memory as one, else a copy."""
    cdef cnp.ndarray array = behaved(x, name)
    if cnp.PyArray_NDIM(array) == 0:
        raise ValueError(f"{name}: expected at least 1 axis, got a scalar")
    if cnp.PyArray_NDIM(array) == 2:
        return array
    if not cnp.PyArray_IS_C_CONTIGUOUS(array):
        array = c_copy(array)
    n = cnp.PyArray_DIMS(array)[cnp.PyArray_NDIM(array) - 1]
    rows = 1
    for length in array.shape[:array.ndim - 1]:
        rows *= length
    return array.reshape(rows, n)


cdef int check_pair(cnp.ndarray x, cnp.ndarray y, str name) except -1:
    if cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(y):
        raise TypeError(f"{name}: expected one dtype, got {x.dtype} and {y.dtype}")
    return 0


cdef bint overlap(cnp.ndarray x, cnp.ndarray y) noexcept:
    """Whether x, which is contiguous, and y may share memory, by the ends of their memory."""
    cdef const char* low = <const char*> cnp.PyArray_DATA(y)
    cdef const char* high = low + cnp.PyArray_ITEMSIZE(y)
    cdef const char* start = <const char*> cnp.PyArray_DATA(x)
    cdef Py_ssize_t span
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(y)):
        span = (cnp.PyArray_DIMS(y)[axis] - 1) * cnp.PyArray_STRIDES(y)[axis]
        if span > 0:
            high += span
        else:
            low += span
    return start < high and low < start + cnp.PyArray_NBYTES(x)


cdef bint ready(
    object out, int ndim, cnp.npy_intp* shape, cnp.ndarray a, cnp.ndarray b, str name
) except -1:
    """Whether a @ b may be written to `out` directly. An `out` that does not fit raises."""
    cdef cnp.ndarray array
    cdef int axis
    if not isinstance(out, cnp.ndarray):
        raise TypeError(f"{name}: out must be an ndarray, got {type(out).__name__}")
    array = out
    check_pair(a, array, name)
    if (cnp.PyArray_NDIM(array) != ndim
            or ndim and memcmp(cnp.PyArray_DIMS(array), shape, ndim * sizeof(cnp.npy_intp))):
        expected = tuple([shape[axis] for axis in range(ndim)])
        raise ValueError(f"{name}: out must have shape {expected}, got {out.shape}")
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError(f"{name}: out is read-only")
    return cnp.PyArray_ISCARRAY(array) and not overlap(array, a) and not overlap(array, b)


cdef int set_batch(Batch* batch, cnp.ndarray a, cnp.ndarray b, cnp.npy_intp* shape) except -1:
    """The shapes and steps of np.matmul(a, b); returns the number of axes of the result."""
    cdef int a_dims = cnp.PyArray_NDIM(a), b_dims = cnp.PyArray_NDIM(b), axis, i, j, ndim
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(a), k, p, q
    cdef cnp.npy_intp* a_shape = cnp.PyArray_DIMS(a)
    cdef cnp.npy_intp* b_shape = cnp.PyArray_DIMS(b)
    cdef cnp.npy_intp* a_steps = cnp.PyArray_STRIDES(a)
    cdef cnp.npy_intp* b_steps = cnp.PyArray_STRIDES(b)
    cdef Product* product = &batch.product
    if a_dims == 0 or b_dims == 0:
        raise ValueError("matmul: a and b must have at least 1 axis, got a scalar")
    memset(product, 0, sizeof(Product))
    product.a, product.b = <char*> cnp.PyArray_DATA(a), <char*> cnp.PyArray_DATA(b)
    product.m, product.a_row, product.n, product.b_col = 1, 0, 1, size
    if a_dims > 1:
        product.m, product.a_row = a_shape[a_dims - 2], a_steps[a_dims - 2]
    if b_dims > 1:
        product.n, product.b_col = b_shape[b_dims - 1], b_steps[b_dims - 1]
    product.k, product.a_col = a_shape[a_dims - 1], a_steps[a_dims - 1]
    i = b_dims - 2 if b_dims > 1 else 0
    k, product.b_row = b_shape[i], b_steps[i]
    if product.k != k:
        raise ValueError(f"matmul: a has {product.k} columns and b has {k} rows, which must be "
                         f"equal; shapes {(<object> a).shape} and {(<object> b).shape}")
    batch.ndim, batch.count = max(a_dims - 2, b_dims - 2, 0), 1
    for axis in range(batch.ndim):
        i, j = axis + a_dims - 2 - batch.ndim, axis + b_dims - 2 - batch.ndim
        p = a_shape[i] if i >= 0 else 1
        q = b_shape[j] if j >= 0 else 1
        if p != q and p != 1 and q != 1:
            raise ValueError(f"matmul: batch axis {axis} is {p} in a and {q} in b, which must be "
                             f"equal or 1; shapes {(<object> a).shape} and {(<object> b).shape}")
        shape[axis] = batch.shape[axis] = q if p == 1 else p
        batch.a_steps[axis] = a_steps[i] if p != 1 else 0
        batch.b_steps[axis] = b_steps[j] if q != 1 else 0
        batch.count *= batch.shape[axis]
    ndim = batch.ndim
    if a_dims > 1:
        shape[ndim] = product.m
        ndim += 1
    if b_dims > 1:
        shape[ndim] = product.n
        ndim += 1
    return ndim


cdef void join_rows(Batch* batch) noexcept:
    """Products of many a with one b are a single product, if a's rows follow on."""
    cdef Product* p = &batch.product
    cdef int last = batch.ndim - 1
    while last >= 0 and (batch.shape[last] == 1 or (
            batch.b_steps[last] == 0 and batch.a_steps[last] == p.m * p.a_row)):
        p.m *= batch.shape[last]
        batch.count //= max(1, batch.shape[last])
        batch.ndim = last
        last -= 1


def matmul(a, b, out=None, bint accumulate=False):
    """C = a @ b as np.matmul has it: a (..., m, k), b (..., k, n), C (..., m, n).

    Leading axes broadcast; a of one axis is a row, b of one axis is a column, and that axis is gone
    from C. a and b are of one dtype, float32 or float64, with any strides. C goes to `out` if
    given, and is added to it if `accumulate`.

    Raises ValueError on shapes that do not fit, TypeError on other dtypes.
    """
    cdef cnp.ndarray x = behaved(a, "matmul: a"), y = behaved(b, "matmul: b"), c
    cdef cnp.npy_intp[MAX_DIMS] shape
    cdef Batch batch
    cdef int axis, ndim
    cdef Py_ssize_t step
    check_pair(x, y, "matmul")
    ndim = set_batch(&batch, x, y, shape)
    if accumulate and out is None:
        raise ValueError("matmul: accumulate needs out")
    if out is None:
        c = memory.empty(ndim, shape, cnp.PyArray_TYPE(x))
    elif ready(out, ndim, shape, x, y, "matmul"):
        c = out
    else:  # out is strided or overlaps an input
        c = matmul(x, y)
        if accumulate:
            prepared.refuse("NumPy adds to a strided result")
        np.add(out, c, out=out) if accumulate else copy_into(out, c)
        return out
    batch.product.c, batch.product.add = <char*> cnp.PyArray_DATA(c), accumulate
    step = batch.product.m * batch.product.n * cnp.PyArray_ITEMSIZE(c)
    for axis in range(batch.ndim - 1, -1, -1):
        batch.c_steps[axis] = step
        step *= batch.shape[axis]
    join_rows(&batch)
    into(c, &batch, out is not None)
    if prepared.capturing():
        leave(&batch, x, y, c)
    else:
        run(&batch)
    return c


cdef void one_product(
    Batch* batch, cnp.ndarray a, bint turn_a, cnp.ndarray b, bint turn_b, cnp.ndarray c
) noexcept:
    """C = A B, where turn_a and turn_b say that the matrices a and b hold A and B transposed."""
    cdef Product* p = &batch.product
    cdef cnp.npy_intp* a_steps = cnp.PyArray_STRIDES(a)
    cdef cnp.npy_intp* b_steps = cnp.PyArray_STRIDES(b)
    memset(p, 0, sizeof(Product))
    p.a, p.b = <char*> cnp.PyArray_DATA(a), <char*> cnp.PyArray_DATA(b)
    p.c = <char*> cnp.PyArray_DATA(c)
    p.m, p.k = cnp.PyArray_DIMS(a)[turn_a], cnp.PyArray_DIMS(a)[not turn_a]
    p.n = cnp.PyArray_DIMS(b)[not turn_b]
    p.a_row, p.a_col = a_steps[turn_a], a_steps[not turn_a]
    p.b_row, p.b_col = b_steps[turn_b], b_steps[not turn_b]
    batch.count, batch.ndim = 1, 0


def affine_forward(x, weight, bias=None, str activation=None, double a=0, double b=0):
    """y = x @ weight.T + bias, for x (..., in), weight (out, in), bias (out,), y (..., out).

    `activation`: the name of one, with parameters a and b, that is applied to parts of the rows of
    y while they are in the cache.

    Raises ValueError on shapes that do not fit and unknown activations, TypeError on dtypes other than float32 or float64
    throughout.
    """
    cdef cnp.ndarray xs = flat_rows(x, "affine: x"), ws = behaved(weight, "affine: weight"), bs, y
    cdef cnp.npy_intp[MAX_DIMS] shape
    cdef Batch batch
    cdef epilogues.Loops loops
    cdef int axis, ndim = cnp.PyArray_NDIM(<cnp.ndarray> x)
    check_pair(xs, ws, "affine")
    if cnp.PyArray_NDIM(ws) != 2 or cnp.PyArray_DIMS(ws)[1] != cnp.PyArray_DIMS(xs)[1]:
        raise ValueError(f"affine: expected weight (out, {xs.shape[1]}) for x {x.shape}, "
                         f"got {(<object> ws).shape}")
    for axis in range(ndim):
        shape[axis] = cnp.PyArray_DIMS(<cnp.ndarray> x)[axis]
    shape[ndim - 1] = cnp.PyArray_DIMS(ws)[0]
    y = memory.empty(ndim, shape, cnp.PyArray_TYPE(xs))
    one_product(&batch, xs, False, ws, True, y)
    if bias is not None:
        bs = behaved(bias, "affine: bias")
        check_pair(xs, bs, "affine")
        if cnp.PyArray_NDIM(bs) != 1 or cnp.PyArray_DIMS(bs)[0] != shape[ndim - 1]:
            raise ValueError(f"affine: expected bias ({ws.shape[0]},) for weight "
                             f"{(<object> ws).shape}, got {(<object> bs).shape}")
        if not cnp.PyArray_IS_C_CONTIGUOUS(bs):
            bs = c_copy(bs)
        batch.product.bias = <char*> cnp.PyArray_DATA(bs)
    if activation is not None:
        loops = epilogues.find(ACTIVATIONS, activation)
        batch.product.activation = loops.forward[is_double(y)]
        batch.product.alpha, batch.product.beta = a, b
    into(y, &batch, False)
    if prepared.capturing():
        leave(&batch, xs, ws, y)
    else:
        run(&batch)
    return y


def affine_weight_grad(x, gy, gw_out=None):
    """gw = gy.T @ x (out, in) and gb = the sum of gy's rows (out,), for x (..., in), gy (..., out).

    gw goes to `gw_out` if given. Returns (gw, gb). Raises ValueError on shapes that do not fit,
    TypeError on dtypes other than float32 or float64 throughout.
    """
    cdef cnp.ndarray xs = flat_rows(x, "affine: x"), gys = flat_rows(gy, "affine: gy"), gw, gb
    cdef cnp.npy_intp[2] shape
    cdef Batch batch
    cdef int ndim = cnp.PyArray_NDIM(<cnp.ndarray> x)
    check_pair(xs, gys, "affine")
    if ndim != cnp.PyArray_NDIM(<cnp.ndarray> gy) or memcmp(
            cnp.PyArray_DIMS(<cnp.ndarray> x), cnp.PyArray_DIMS(<cnp.ndarray> gy),
            (ndim - 1) * sizeof(cnp.npy_intp)):
        raise ValueError(f"affine: x and gy must agree in all axes but the last, got {x.shape} "
                         f"and {gy.shape}")
    if cnp.PyArray_STRIDES(gys)[1] != cnp.PyArray_ITEMSIZE(gys):
        gys = c_copy(gys)
    shape[0], shape[1] = cnp.PyArray_DIMS(gys)[1], cnp.PyArray_DIMS(xs)[1]
    gb = memory.empty(1, shape, cnp.PyArray_TYPE(xs))
    if gw_out is None:
        gw = memory.empty(2, shape, cnp.PyArray_TYPE(xs))
    elif ready(gw_out, 2, shape, xs, gys, "affine_weight_grad"):
        gw = gw_out
    else:
        gw, gb = affine_weight_grad(x, gy)
        copy_into(gw_out, gw)
        return gw_out, gb
    one_product(&batch, gys, True, xs, False, gw)
    batch.product.a_sums = <char*> cnp.PyArray_DATA(gb)
    into(gw, &batch, gw_out is not None)
    if prepared.capturing():
        leave(&batch, gys, xs, gw)
        prepared.fills(gb)
    else:
        run(&batch)
    return gw, gb


# ── For recurrences (steps.pyx) ───────────────────────────────────────────────────────────────────

cdef extern from *:
    """
    /* y may be x or z, which the compiler would otherwise take for rows that overlap. */
    #if defined(__GNUC__) && !defined(__clang__)
      #define GEMM_APART _Pragma("GCC ivdep")
    #else
      #define GEMM_APART
    #endif
    #define GEMM_LOOP(real, op) \\
      for (; rows > 0; rows--, x += x_row, z += z_row, y += y_row) { \\
        GEMM_APART for (Py_ssize_t i = 0; i < n; i++) \\
          ((real*)y)[i] = ((const real*)x)[i] op ((const real*)z)[i]; \\
      }
    #define GEMM_CHOICE(real) \\
      if (kind == 0) { GEMM_LOOP(real, +) } else if (kind == 1) { GEMM_LOOP(real, -) } else { GEMM_LOOP(real, *) }
    static void gemm_combine(
        int kind, int wide, Py_ssize_t rows, Py_ssize_t n, const char* x, Py_ssize_t x_row, const char* z, Py_ssize_t z_row,
        char* y, Py_ssize_t y_row) {
      if (wide) { GEMM_CHOICE(double) } else { GEMM_CHOICE(float) }
    }
    """
    void combine "gemm_combine"(
        int kind, bint wide, Py_ssize_t rows, Py_ssize_t n, const char* x, Py_ssize_t x_row, const char* z, Py_ssize_t z_row,
        char* y, Py_ssize_t y_row) noexcept nogil


cdef epilogues.Products _products = epilogues.products_of(__name__)
_products.multiply = [<epilogues.multiply_t> multiply[float], <epilogues.multiply_t> multiply[double]]
_products.combine = combine


# ── The choice ────────────────────────────────────────────────────────────────────────────────────

cdef extern from *:
    """
    #if defined(__AVX2__) && defined(__FMA__) && (defined(__GNUC__) || defined(__clang__))
      #define GEMM_TILE_WINS 1
    #else
      #define GEMM_TILE_WINS 0
    #endif
    """
    const bint GEMM_TILE_WINS

TILE_WINS = bool(GEMM_TILE_WINS)  # over NumPy's BLAS; minidl/_kernels/__init__.py acts on it
