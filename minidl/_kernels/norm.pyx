"""Layer normalisation over rows: y = (x - mean) / sqrt(var + eps) * weight + bias.

Arrays are (rows, n) in C order. The variance is taken in a second pass over the row, which lies in cache by then: exact
for large means. Gradients of weight and bias are sums over rows: each task of ROWS rows has sums of its own, and these
are added in order, so that the bits do not depend on the number of threads.
"""

cimport numpy as cnp
from libc.math cimport sqrt
from minidl._kernels cimport memory, pool
from minidl._kernels._array cimport dense, same_layout
from minidl._kernels._math cimport real

cnp.import_array()

cdef enum:
    ROWS = 32  # rows a task


cdef struct Rows:
    const void* x
    const void* weight
    const void* bias
    const void* gy
    void* y
    void* mean
    void* rstd
    void* gw
    void* gb
    Py_ssize_t count, n
    double eps


cdef void forward_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t n = w.n, r, i
    cdef const real* x
    cdef const real* weight = <const real*>w.weight
    cdef const real* bias = <const real*>w.bias
    cdef real* y
    cdef double total, square, d
    cdef real mean, rstd
    for r in range(first, last):
        x, y = <const real*>w.x + r * n, <real*>w.y + r * n
        total = square = 0
        for i in range(n):
            total += x[i]
        mean = <real>(total / n)
        for i in range(n):
            d = x[i] - total / n
            square += d * d
        rstd = <real>(1 / sqrt(square / n + w.eps))
        (<real*>w.mean)[r] = mean
        (<real*>w.rstd)[r] = rstd
        for i in range(n):
            y[i] = (x[i] - mean) * rstd * weight[i] + bias[i]


cdef void backward_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """With z = (x - mean) rstd and g = gy weight: gx = rstd (g - mean(g) - z mean(g z)); gw = Σ gy z; gb = Σ gy."""
    cdef Py_ssize_t n = w.n, r, i
    cdef const real* x
    cdef const real* gy
    cdef const real* weight = <const real*>w.weight
    cdef real* gx
    cdef real* gw = <real*>w.gw + first // ROWS * n
    cdef real* gb = <real*>w.gb + first // ROWS * n
    cdef real mean, rstd, z, mg, mgz
    cdef double sum_g, sum_gz
    for i in range(n):
        gw[i] = gb[i] = 0
    for r in range(first, last):
        x, gy, gx = <const real*>w.x + r * n, <const real*>w.gy + r * n, <real*>w.y + r * n
        mean, rstd = (<real*>w.mean)[r], (<real*>w.rstd)[r]
        sum_g = sum_gz = 0
        for i in range(n):
            z = (x[i] - mean) * rstd
            gw[i] += gy[i] * z
            gb[i] += gy[i]
            sum_g += gy[i] * weight[i]
            sum_gz += gy[i] * weight[i] * z
        mg, mgz = <real>(sum_g / n), <real>(sum_gz / n)
        for i in range(n):
            z = (x[i] - mean) * rstd
            gx[i] = rstd * (gy[i] * weight[i] - mg - z * mgz)


ctypedef void (*rows_t)(Rows*, void*, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef struct Job:
    Rows rows
    rows_t work


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Py_ssize_t first = index * ROWS
    job.work(&job.rows, NULL, first, min(first + ROWS, job.rows.count))


cdef cnp.ndarray rows_of(object x, str name):
    cdef cnp.ndarray rows = dense(x, name)
    if cnp.PyArray_NDIM(rows) != 2:
        raise ValueError(f"{name}: expected 2 axes (rows, features), got shape {x.shape}")
    return rows if cnp.PyArray_IS_C_CONTIGUOUS(rows) else rows.copy()


cdef cnp.ndarray vector(object v, cnp.ndarray x, int axis, str name):
    """v as a contiguous vector of x's dtype with the length of x's axis."""
    cdef cnp.ndarray out = cnp.PyArray_FROMANY(v, cnp.PyArray_TYPE(x), 1, 1, cnp.NPY_ARRAY_IN_ARRAY)
    if cnp.PyArray_DIM(out, 0) != cnp.PyArray_DIM(x, axis):
        raise ValueError(f"layer_norm: {name}: expected {cnp.PyArray_DIM(x, axis)} values, got {len(out)}")
    return out


def layer_norm_forward(x, weight, bias, double eps):
    """(y, mean, rstd) for x of shape (rows, n), weight and bias of shape (n,); mean and rstd have one value a row."""
    cdef cnp.ndarray xs = rows_of(x, "layer_norm"), y = memory.empty_like(xs)
    cdef cnp.ndarray w = vector(weight, xs, 1, "weight"), b = vector(bias, xs, 1, "bias")
    cdef cnp.ndarray mean = memory.empty(1, cnp.PyArray_DIMS(xs), cnp.PyArray_TYPE(xs))
    cdef cnp.ndarray rstd = memory.empty_like(mean)
    cdef Job job
    job.rows.x, job.rows.y = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(y)
    job.rows.weight, job.rows.bias = cnp.PyArray_DATA(w), cnp.PyArray_DATA(b)
    job.rows.mean, job.rows.rstd = cnp.PyArray_DATA(mean), cnp.PyArray_DATA(rstd)
    job.rows.count, job.rows.n, job.rows.eps = cnp.PyArray_DIM(xs, 0), cnp.PyArray_DIM(xs, 1), eps
    cdef rows_t[2] work = [<rows_t>forward_rows[float], <rows_t>forward_rows[double]]
    job.work = work[cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE]
    with nogil:
        pool.parallel(run_task, &job, (job.rows.count + ROWS - 1) // ROWS)
    return y, mean, rstd


def layer_norm_backward(x, weight, gy, mean, rstd):
    """(gx, gw, gb) from what forward got and returned."""
    cdef cnp.ndarray xs = rows_of(x, "layer_norm"), gx = memory.empty_like(xs)
    cdef cnp.ndarray gs = same_layout(gy, xs, "layer_norm")
    cdef cnp.ndarray w = vector(weight, xs, 1, "weight")
    cdef cnp.ndarray means = vector(mean, xs, 0, "mean"), rstds = vector(rstd, xs, 0, "rstd")
    cdef Py_ssize_t tasks = (cnp.PyArray_DIM(xs, 0) + ROWS - 1) // ROWS
    cdef cnp.npy_intp[2] shape = [tasks, cnp.PyArray_DIM(xs, 1)]
    cdef cnp.ndarray gw = memory.empty(2, shape, cnp.PyArray_TYPE(xs)), gb = memory.empty_like(gw)
    cdef Job job
    job.rows.x, job.rows.y, job.rows.gy = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(gx), cnp.PyArray_DATA(gs)
    job.rows.weight, job.rows.gw, job.rows.gb = cnp.PyArray_DATA(w), cnp.PyArray_DATA(gw), cnp.PyArray_DATA(gb)
    job.rows.mean, job.rows.rstd = cnp.PyArray_DATA(means), cnp.PyArray_DATA(rstds)
    job.rows.count, job.rows.n = cnp.PyArray_DIM(xs, 0), cnp.PyArray_DIM(xs, 1)
    cdef rows_t[2] work = [<rows_t>backward_rows[float], <rows_t>backward_rows[double]]
    job.work = work[cnp.PyArray_TYPE(xs) == cnp.NPY_DOUBLE]
    with nogil:
        pool.parallel(run_task, &job, tasks)
    return gx, gw.sum(axis=0), gb.sum(axis=0)
