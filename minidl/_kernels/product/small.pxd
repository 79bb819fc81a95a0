# A matrix product of a few hundred multiplications, as batches have them: for these the plan of the loop nest
# (blocking.pxd) takes longer than the product. The columns fit one vector, so B is one panel, and tiles go
# down the rows of A.

from libc.string cimport memcpy

from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport Product
from minidl._kernels.product.tile cimport (
    TALL_ROWS, TILE_LANES, TILE_ROWS, Strip, lanes, tile_of, transpose,
)

cdef enum:
    SMALL_STEPS = 64            # of K: a panel of 4 KB
    SMALL_PRODUCTS = 4096       # multiplications


cdef inline bint multiply_small(real* kind, const Product* p) noexcept nogil:
    """Computes p if it is small, and a product alone; else returns False."""
    cdef Py_ssize_t size = sizeof(real), lane = lanes(kind), none = 0, row_bytes = p.n * size, top = 0, rows, i
    cdef real[SMALL_STEPS * TILE_LANES] panel
    cdef real[TALL_ROWS * TILE_LANES] beyond
    cdef Strip strip
    cdef char* c
    if (p.n > lane or p.k > SMALL_STEPS or p.m * p.k * p.n > SMALL_PRODUCTS or p.add
            or p.bias != NULL or p.activation != NULL):
        return False
    strip.b, strip.b_row = p.b, p.b_row
    if p.n < lane or p.b_col != size:
        strip.b, strip.b_row = <const char*> panel, lane * size
        fill(kind, p, panel)
    strip.shifts, strip.spans, strip.k, strip.step = &none, 1, p.k, p.a_col
    strip.add, strip.bias, strip.count = False, NULL, 1
    strip.next_rows = strip.next_out = strip.next_b = strip.next_bias = 0
    while top < p.m:
        rows = min(p.m - top, <Py_ssize_t> TALL_ROWS)
        # A vector may go beyond its row of C, for the next row is written later; but not beyond C.
        for i in range(TALL_ROWS):
            strip.rows[i] = p.a + (top + min(i, rows - 1)) * p.a_row
            strip.out[i] = <char*> (beyond + i * lane)
            if i < rows and (top + i) * p.n + lane <= p.m * p.n:
                strip.out[i] = p.c + (top + i) * row_bytes
        tile_of(kind, TALL_ROWS if rows > TILE_ROWS // 2 else TILE_ROWS // 2 if rows > 2 else 2, 1)(
            NULL, NULL, NULL, &strip)
        for i in range(rows):
            c = p.c + (top + i) * row_bytes
            if strip.out[i] != c:
                memcpy(c, strip.out[i], row_bytes)
        top += TALL_ROWS
    return True


cdef inline void fill(real* kind, const Product* p, real* panel) noexcept nogil:
    """B's rows, each as long as a vector; what is behind their ends does not matter, as it is not in C."""
    cdef Py_ssize_t size = sizeof(real), lane = lanes(kind), step, j
    cdef const char* b
    if p.b_row == size and p.k >= lane:
        transpose(kind, p.b, p.b_col, <char*> panel, lane * size, p.n, p.k, lane)
        return
    for step in range(p.k):
        b = p.b + step * p.b_row
        if p.b_col == size:
            memcpy(panel + step * lane, b, p.n * size)
        else:
            for j in range(p.n):
                panel[step * lane + j] = (<const real*> (b + j * p.b_col))[0]
