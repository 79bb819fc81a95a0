"""Layer normalisation over rows: y = (x - mean) / sqrt(var + eps) * weight + bias.

Arrays are (rows, n) in C order. The variance is taken in a second pass over the row, which lies in cache by then: exact
for large means. Sums over a row have LANES partial results, so that they vectorise. Gradients of weight and bias are
sums over rows: each task of ROWS rows has sums of its own, and these are added in order, so that the bits do not depend
on the number of threads.
"""

cimport numpy as cnp
from libc.math cimport sqrt
from minidl._kernels cimport memory, pool
from minidl._kernels._array cimport c_axes, same_layout
from minidl._kernels._fold cimport LANES, Sum, lanes
from minidl._kernels._math cimport real

cnp.import_array()

cdef enum:
    ROWS = 32  # rows a task
    PIECE = 256  # elements of a row whose products are kept until they are added up


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


cdef inline double dot(const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """Σ a b in double; Σ a where b is NULL."""
    cdef double[LANES] s
    cdef Py_ssize_t i = 0, j
    for j in range(LANES):
        s[j] = 0
    if b == NULL:
        while i + LANES <= n:
            for j in range(LANES):
                s[j] += a[i + j]
            i += LANES
        for j in range(n - i):
            s[j] += a[i + j]
    else:
        while i + LANES <= n:
            for j in range(LANES):
                s[j] += <double>a[i + j] * b[i + j]
            i += LANES
        for j in range(n - i):
            s[j] += <double>a[i + j] * b[i + j]
    return lanes[Sum, double](NULL, s)


cdef void forward_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t n = w.n, r, i
    cdef const real* x
    cdef const real* weight = <const real*>w.weight
    cdef const real* bias = <const real*>w.bias
    cdef real* y
    cdef double exact, off, square
    cdef real mean, rstd
    for r in range(first, last):
        x, y = <const real*>w.x + r * n, <real*>w.y + r * n
        exact = dot[real](x, NULL, n) / n
        mean = <real>exact
        off = mean - exact
        for i in range(n):
            y[i] = x[i] - mean
        square = dot(y, y, n) / n - off * off
        rstd = <real>(1 / sqrt((0 if square < 0 else square) + w.eps))  # (a NaN stays)
        (<real*>w.mean)[r] = mean
        (<real*>w.rstd)[r] = rstd
        for i in range(n):
            y[i] = y[i] * rstd * weight[i] + bias[i]


cdef void backward_rows(Rows* w, real* _, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """With z = (x - mean) rstd and g = gy weight: gx = rstd (g - mean(g) - z mean(g z)); gw = Σ gy z; gb = Σ gy."""
    cdef Py_ssize_t n = w.n, r, i, start, m
    cdef const real* x
    cdef const real* gy
    cdef const real* weight = <const real*>w.weight
    cdef real* gx
    cdef real* gw = <real*>w.gw + first // ROWS * n
    cdef real* gb = <real*>w.gb + first // ROWS * n
    cdef real[PIECE] z, g
    cdef real mean, rstd, mg, mgz
    cdef double sum_g, sum_gz
    for i in range(n):
        gw[i] = gb[i] = 0
    for r in range(first, last):
        x, gy, gx = <const real*>w.x + r * n, <const real*>w.gy + r * n, <real*>w.y + r * n
        mean, rstd = (<real*>w.mean)[r], (<real*>w.rstd)[r]
        sum_g = sum_gz = 0
        start = 0
        while start < n:
            m = min(n - start, <Py_ssize_t>PIECE)
            for i in range(m):
                z[i] = (x[start + i] - mean) * rstd
                g[i] = gy[start + i] * weight[start + i]
            for i in range(m):
                gw[start + i] += gy[start + i] * z[i]
                gb[start + i] += gy[start + i]
            sum_g += dot[real](&g[0], NULL, m)
            sum_gz += dot(&g[0], &z[0], m)
            start += PIECE
        mg, mgz = <real>(sum_g / n), <real>(sum_gz / n)
        for i in range(n):
            gx[i] = rstd * (gy[i] * weight[i] - mg - (x[i] - mean) * rstd * mgz)


ctypedef void (*rows_t)(Rows*, void*, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef struct Job:
    Rows rows
    rows_t work


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Py_ssize_t first = index * ROWS
    job.work(&job.rows, NULL, first, min(first + ROWS, job.rows.count))


cdef cnp.ndarray vector(object v, cnp.ndarray x, int axis, str name):
    """v as a contiguous vector of x's dtype with the length of x's axis."""
    cdef cnp.ndarray out = cnp.PyArray_FROMANY(v, cnp.PyArray_TYPE(x), 1, 1, cnp.NPY_ARRAY_IN_ARRAY)
    if cnp.PyArray_DIM(out, 0) != cnp.PyArray_DIM(x, axis):
        raise ValueError(f"layer_norm: {name}: expected {cnp.PyArray_DIM(x, axis)} values, got {len(out)}")
    return out


def layer_norm_forward(x, weight, bias, double eps):
    """(y, mean, rstd) for x of shape (rows, n), weight and bias of shape (n,); mean and rstd have one value a row."""
    cdef cnp.ndarray xs = c_axes(x, 2, "layer_norm", "rows, features"), y = memory.empty_like(xs)
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
    cdef cnp.ndarray xs = c_axes(x, 2, "layer_norm", "rows, features"), gx = memory.empty_like(xs)
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
