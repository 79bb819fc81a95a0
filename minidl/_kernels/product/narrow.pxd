# A matrix product with few columns and many rows: C = A B where the rows of A are contiguous, as a layer with few outputs
# has it. A tile would leave most of each vector empty, whose lanes are columns. Here the lanes are rows: as many rows of A as
# a vector has lanes are transposed in registers, square by square, and each step of K is a vector of them:
#
#     sums[j] += a[p] * b[p][j]       for the steps p of a square and the columns j
#
# At the end the sums are interleaved: then they are rows of C. The number of columns is known when a loop is compiled, 2, 4
# or 8; those that C does not have are computed with zeros, and left behind.

from libc.string cimport memcpy

from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.dots cimport dot_mask, keep
from minidl._kernels.product.product cimport SERIAL_FLOPS, TASK_FLOPS, TASKS, Product, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport (
    TILE_LANES, TILE_LOG4, TILE_LOG8, Two, broadcast, doubles, floats, lanes, shuffle, vec, zeros,
)
from minidl._kernels.runtime.epilogues cimport activate_in_place

cdef enum:
    MOST_COLUMNS = 8
    WEIGHTS = 2048              # numbers of B that are packed at most
    LEAST_SQUARES = 2           # of rows: fewer are not worth packing B
    BLOCK_BYTES = 16 << 10      # of C in a task: half of a first-level cache
    TURNING = 8                 # columns take as long as transposing A

ctypedef struct Four:
    char _
ctypedef struct Eight:
    char _

ctypedef fused Columns:
    Two
    Four
    Eight


cdef struct Plan:
    const Product* product
    Py_ssize_t columns          # that are computed
    Py_ssize_t block            # rows of a task


cdef struct Rows:
    # What a loop over rows reads and writes. Steps and distances are in bytes.
    const char* a
    Py_ssize_t a_row
    Py_ssize_t count            # of rows
    Py_ssize_t squares, last    # of K; where the last one begins, which ends with K:
    const int* mask             # of its steps some were in the one before; NULL: none
    const char* b               # packed: (step, column)
    const char* bias            # a number for each column
    char* c
    Py_ssize_t n                # numbers of a row of C


cdef inline Py_ssize_t columns_of(Py_ssize_t n) noexcept nogil:
    return 2 if n <= 2 else 4 if n <= 4 else 8


cdef inline bint multiply_narrow(real* kind, const Product* p) noexcept nogil:
    """Computes p if it is narrow enough and A has enough rows, else returns False."""
    cdef Py_ssize_t size = sizeof(real), lane = lanes(kind), tasks
    cdef double flops = 2.0 * p.m * (p.n + TURNING) * p.k  # of a wide product that takes as long
    cdef Plan s
    s.product, s.columns = p, columns_of(p.n)
    if (2 * s.columns > lane or p.n > MOST_COLUMNS or p.a_col != size or p.k < lane or p.m < LEAST_SQUARES * lane or p.add
            or ceil_div(p.k, lane) * lane * s.columns > WEIGHTS):
        return False
    tasks = max(1, min(<Py_ssize_t> TASKS, <Py_ssize_t> (flops / TASK_FLOPS)))
    s.block = min(ceil_div(p.m, tasks), max(1, BLOCK_BYTES // (p.n * size)))
    s.block = ceil_div(s.block, lane) * lane
    if not run_tasks(<task_t> rows_task[real], &s, ceil_div(p.m, s.block), flops <= SERIAL_FLOPS, p.whole, flops):
        p.failed[0] = True
    return True


cdef inline void rows_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """A block of rows."""
    cdef const Product* p = s.product
    cdef Py_ssize_t size = sizeof(real), lane = lanes(kind), top = index * s.block, j
    cdef real[WEIGHTS] packed
    cdef real[MOST_COLUMNS] bias
    cdef Rows r
    r.a, r.a_row, r.count, r.n = p.a + top * p.a_row, p.a_row, min(s.block, p.m - top), p.n
    r.c, r.b, r.bias = p.c + top * p.n * size, <const char*> packed, <const char*> bias
    r.squares, r.last, r.mask = ceil_div(p.k, lane), (p.k - lane) * size, NULL
    if p.k % lane:
        r.mask = dot_mask + TILE_LANES * (p.k % lane) // lane + (16 - TILE_LANES)
    for j in range(s.columns):
        bias[j] = (<const real*> p.bias)[j] if p.bias != NULL and j < p.n else 0
    pack_steps(kind, p, s.columns, packed)
    if real is float:
        any_rows(<floats*> NULL, s.columns, &r)
    else:
        any_rows(<doubles*> NULL, s.columns, &r)
    if p.activation != NULL:
        activate_in_place(p.activation, r.c, r.count * p.n, p.alpha, p.beta)


cdef inline void pack_steps(real* kind, const Product* p, Py_ssize_t columns, real* y) noexcept nogil:
    """B, step after step; zeros for columns that it does not have, and for steps of the last square that come twice."""
    cdef Py_ssize_t lane = lanes(kind), whole = p.k // lane * lane, again = (lane - p.k % lane) % lane, step, j
    for step in range(whole):
        pack_step(kind, p, step, columns, y + step * columns)
    y += whole * columns
    for step in range(again * columns):
        y[step] = 0
    for step in range(whole, p.k):
        pack_step(kind, p, step, columns, y + (again + step - whole) * columns)


cdef inline void pack_step(real* kind, const Product* p, Py_ssize_t step, Py_ssize_t columns, real* y) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(columns):
        y[j] = (<const real*> (p.b + step * p.b_row + j * p.b_col))[0] if j < p.n else 0


ctypedef void (*rows_t)(void* columns, void* kind, const Rows* r) noexcept nogil


cdef inline void any_rows(vec* kind, Py_ssize_t columns, const Rows* r) noexcept nogil:
    """(Through a pointer, as in tile.pxd.)"""
    cdef rows_t rows = <rows_t> sum_rows[Two, vec] if columns == 2 else <rows_t> sum_rows[Four, vec]
    if vec is floats:  # (no vector has lanes for twice as many doubles)
        if columns == MOST_COLUMNS:
            rows = <rows_t> sum_rows[Eight, vec]
    rows(NULL, NULL, r)


cdef inline void sum_rows(Columns* columns, vec* kind, const Rows* r) noexcept nogil:
    """A vector of rows at a time. The last ones may be fewer: the last is read again, and not written."""
    cdef vec[TILE_LANES] a
    cdef vec[MOST_COLUMNS] sums
    cdef vec[MOST_COLUMNS] edge
    cdef const char* row[TILE_LANES]
    cdef const char* b
    cdef Py_ssize_t size = sizeof(float) if vec is floats else sizeof(double), first = 0, square, at, rows
    cdef int turns = TILE_LOG4 if vec is floats else TILE_LOG8, lane = 1 << turns, i, j
    cdef int n = 2 if Columns is Two else 4 if Columns is Four else 8
    cdef int log = 1 if Columns is Two else 2 if Columns is Four else 3
    while first < r.count:
        rows = min(r.count - first, <Py_ssize_t> lane)
        for i in range(lane):
            row[i] = r.a + (first + min(<Py_ssize_t> i, rows - 1)) * r.a_row
        for j in range(n):
            sums[j] = zeros(kind)
        b = r.b
        for square in range(r.squares):
            at = min(square * <Py_ssize_t> sizeof(vec), r.last)
            for i in range(lane):
                a[i] = (<const vec*> (row[i] + at))[0]
            if r.mask != NULL and square == r.squares - 1:
                for i in range(lane):
                    a[i] = keep(a[i], r.mask)
            shuffle(kind, a, lane, turns)
            for i in range(lane):
                for j in range(n):
                    sums[j] = sums[j] + a[i] * broadcast(kind, b + (i * n + j) * size)
            b += lane * n * size
        for j in range(n):
            sums[j] = sums[j] + broadcast(kind, r.bias + j * size)
        shuffle(kind, sums, n, log)
        if rows == lane and r.n == n:
            for j in range(n):
                (<vec*> (r.c + first * n * size))[j] = sums[j]
        else:
            for j in range(n):
                edge[j] = sums[j]
            write_rows(<const char*> edge, n * size, r.c + first * r.n * size, r.n * size, rows)
        first += lane


cdef inline void write_rows(const char* x, Py_ssize_t x_row, char* y, Py_ssize_t y_row, Py_ssize_t rows) noexcept nogil:
    """Rows that are longer in x. What is written behind the end of one is the next one's, but for the last."""
    cdef Py_ssize_t i
    for i in range(rows - 1):
        memcpy(y + i * y_row, x + i * x_row, x_row)
    memcpy(y + (rows - 1) * y_row, x + (rows - 1) * x_row, y_row)
