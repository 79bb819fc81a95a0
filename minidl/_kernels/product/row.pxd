# A vector times a matrix: C = A B where C is one row and the rows of B are contiguous.
#
# Panels of a tile would walk down B, whose rows may each lie on another page; here whole rows are added up, a few at a time:
#
#     C[:] += A[p] B[p][:] + A[p + 1] B[p + 1][:] + ...
#
# So B is read as it lies, once, and C stays in the first-level cache. Tasks are columns, whose sums know nothing of each other.

from libc.string cimport memcpy, memset

from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.dots cimport SERIAL_DOT_FLOPS, dot_mask, keep
from minidl._kernels.product.product cimport TASKS, Product, ceil_div, run_tasks, swap_sides, task_t
from minidl._kernels.product.tile cimport TILE_LANES, broadcast, doubles, floats, lanes, vec
from minidl._kernels.runtime.epilogues cimport activate_in_place

cdef enum:
    ROWS_TOGETHER = 8           # of a matrix are added to a row
    ROW_STEPS = 512             # of a part, a multiple of these
    ROW_VECTORS = 4             # of columns: of fewer each waits for itself
    ROW_TASKS = 4               # at least, and as many as there are
    ROW_COLUMNS = 256           # of them, in which each has
    MOST_COLUMNS = 2048         # at most


cdef struct Row:
    Product product
    Py_ssize_t each             # columns of a task


cdef inline bint multiply_row(real* kind, const Product* p) noexcept nogil:
    """Computes p if C is one row, long enough, and B's rows are contiguous, or if that is so of C and A transposed; else
    returns False."""
    cdef Row s
    cdef Py_ssize_t size = sizeof(real), n = p.m if p.m != 1 else p.n
    s.product = p[0]
    if p.m != 1:
        if p.n != 1 or p.bias != NULL:
            return False
        swap_sides(&s.product)
    if s.product.b_col != size or n < ROW_VECTORS * lanes(kind):
        return False
    s.each = ceil_div(n, max(<Py_ssize_t> ROW_TASKS, min(<Py_ssize_t> TASKS, n // ROW_COLUMNS)))
    s.each = ceil_div(s.each, lanes(kind)) * lanes(kind)
    if 2.0 * n * p.k <= SERIAL_DOT_FLOPS:
        s.each = n
    s.each = min(s.each, <Py_ssize_t> MOST_COLUMNS // 2)
    if not run_tasks(<task_t> row_task[real], &s, n // s.each, 2.0 * n * p.k <= SERIAL_DOT_FLOPS, p.whole,
                     8.0 * n * p.k):
        p.failed[0] = True
    elif p.activation != NULL:
        activate_in_place(p.activation, p.c, n, p.alpha, p.beta)
    return True


cdef inline void row_task(real* kind, const Row* s, Py_ssize_t index) noexcept nogil:
    """Some columns, and the rest for the last. Only so many rows are added up before they join the total, to keep the
    rounding small."""
    cdef const Product* p = &s.product
    cdef Py_ssize_t lane = lanes(kind), left = index * s.each, k = 0, start, end
    cdef Py_ssize_t columns = s.each if left + 2 * s.each <= p.n else p.n - left
    cdef real[MOST_COLUMNS] part
    while True:
        start, end = k, min(p.k, k + ROW_STEPS)
        memset(part, 0, columns * sizeof(real))
        while k < end:
            if real is float:
                add_rows(<floats*> NULL, p, k, left, columns, lane, <floats*> part)
            else:
                add_rows(<doubles*> NULL, p, k, left, columns, lane, <doubles*> part)
            k += ROWS_TOGETHER
        if p.add or start > 0:
            add_numbers(<const real*> p.c + left, part, columns)
        if end == p.k and p.bias != NULL:
            add_numbers(<const real*> p.bias + left, part, columns)
        memcpy(<real*> p.c + left, part, columns * sizeof(real))
        if end == p.k:
            return


cdef inline void add_numbers(const real* x, real* y, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        y[i] += x[i]


cdef inline void add_rows(
    vec* kind, const Product* p, Py_ssize_t first, Py_ssize_t left, Py_ssize_t columns, Py_ssize_t lane, vec* y
) noexcept nogil:
    """To y: of some columns, ROWS_TOGETHER rows of B times numbers of A, if there are so many, else those that are left."""
    cdef vec[ROWS_TOGETHER] xs
    cdef const char* row[ROWS_TOGETHER]
    cdef vec total
    cdef Py_ssize_t size = sizeof(vec) // lane, rows = min(p.k - first, <Py_ssize_t> ROWS_TOGETHER), j
    cdef Py_ssize_t last = (columns - lane) * size
    cdef const int* mask = dot_mask + TILE_LANES * (columns % lane) // lane + (16 - TILE_LANES)
    cdef int i
    for i in range(rows):
        xs[i] = broadcast(kind, p.a + (first + i) * p.a_col)
        row[i] = p.b + (first + i) * p.b_row + left * size
    if rows == ROWS_TOGETHER:
        for j in range(columns // lane):
            total = y[j]
            for i in range(ROWS_TOGETHER):
                total = total + xs[i] * (<const vec*> row[i])[j]
            y[j] = total
    else:
        for i in range(rows):
            for j in range(columns // lane):
                y[j] = y[j] + xs[i] * (<const vec*> row[i])[j]
    if columns % lane:  # the vector that ends with the columns, of which the first lanes have been added
        y = <vec*> (<char*> y + last)
        total = y[0]
        for i in range(rows):
            total = total + keep(xs[i] * (<const vec*> (row[i] + last))[0], mask)
        y[0] = total
