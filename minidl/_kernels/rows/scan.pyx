"""Running sums along the middle axis of (outer, n, inner), from either end.

All is added in double, so that the error of a float32 result does not grow with n. An outer place is a row: where inner
is 1 its elements follow one another, else BLOCK columns are added side by side.
"""

cimport numpy as cnp
from minidl._kernels.arrays.checks cimport c_axes
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.math.elementary cimport real
from minidl._kernels.runtime cimport memory

cnp.import_array()

cdef enum:
    BLOCK = 128  # columns
    COST = 3  # of an element, in additions: each waits for the one before


cdef struct Work:
    const void* x
    Py_ssize_t n, inner
    bint reverse


cdef inline void along(const real* x, real* y, Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """n elements, `step` apart."""
    cdef double s = 0
    cdef Py_ssize_t i
    for i in range(n):
        s += x[i * step]
        y[i * step] = <real>s


cdef inline void beside(
    const real* x, real* y, Py_ssize_t n, Py_ssize_t step, Py_ssize_t columns
) noexcept nogil:
    """So many columns of n elements, `step` apart."""
    cdef double[BLOCK] s
    cdef Py_ssize_t i, j
    for j in range(columns):
        s[j] = 0
    for i in range(n):
        for j in range(columns):
            s[j] += x[j]
            y[j] = <real>s[j]
        x, y = x + step, y + step


cdef void sums(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t size = w.n * w.inner, row, j, step = -w.inner if w.reverse else w.inner
    cdef Py_ssize_t start = size - w.inner if w.reverse else 0
    cdef const real* x
    cdef real* y
    for row in range(first, last):
        x, y = <const real*>w.x + row * size + start, out + row * size + start
        if w.inner == 1:
            along(x, y, w.n, step)
        else:
            j = 0
            while j < w.inner:
                beside(x + j, y + j, w.n, step, min(w.inner - j, <Py_ssize_t>BLOCK))
                j += BLOCK


def running_sum(x, bint reverse=False):
    """y[:, i] = Σ x[:, j] over j <= i, or, in reverse, over j >= i; x is (outer, n, inner)."""
    cdef cnp.ndarray xs = c_axes(x, 3, "running_sum", "outer, n, inner")
    cdef cnp.ndarray y = memory.empty_like(xs)
    cdef Work w
    w.x, w.n, w.inner, w.reverse = cnp.PyArray_DATA(xs), cnp.PyArray_DIM(xs, 1), cnp.PyArray_DIM(xs, 2), reverse
    if cnp.PyArray_SIZE(xs):
        run(of_dtype(xs, <loop_t>sums[float], <loop_t>sums[double]), &w, sizeof(w), y, cnp.PyArray_DIM(xs, 0),
            w.n * w.inner, COST, False)
    return y
