# A small matrix product, as the layers of small networks and batches have them: to plan the loop nest (blocking.pxd)
# would take a good part of the time of the product. B is one panel, and all of K one part; tiles go down the rows of A.
#
# Ragged rows. The last vector of a row of C may be wider than what is left of the row. Its other lanes are written all
# the same, over the beginning of the next row, for that is written later; but not beyond C: the last rows go through
# a buffer.

from libc.string cimport memcpy

from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport SERIAL_FLOPS, Product, ceil_div, swap_sides
from minidl._kernels.product.tile cimport (
    TALL_ROWS, TILE_LANES, TILE_ROWS, TILE_VECTORS, Strip, lanes, tile_of, transpose,
)
from minidl._kernels.runtime.epilogues cimport activate_in_place

cdef enum:
    PANEL_STEPS = 64            # of K, if B is copied,
    ROW_STEPS = 16              # or if that takes a copy of each row, as ragged rows of several vectors do
    PLACE_BYTES = 4096          # of a column of B, if it is read in place
    TURNED = 512                # elements of C, if it is turned


cdef inline bint multiply_small(real* kind, const Product* p) noexcept nogil:
    """Computes p if it is small; else returns False."""
    cdef Py_ssize_t size = sizeof(real), vectors = ceil_div(p.n, lanes(kind)), width = vectors * lanes(kind), none = 0
    cdef bint in_place = p.b_col == size and p.n == width
    cdef real[PANEL_STEPS * TILE_VECTORS * TILE_LANES] panel
    cdef real[TILE_VECTORS * TILE_LANES] bias
    cdef Strip strip
    cdef Py_ssize_t most = PLACE_BYTES // size if in_place else PANEL_STEPS if p.b_row == size or vectors == 1 else ROW_STEPS
    if vectors > TILE_VECTORS or p.k > most or 2.0 * p.m * p.n * p.k > SERIAL_FLOPS or p.add:
        return False
    strip.b, strip.b_row = p.b, p.b_row
    if not in_place:
        strip.b, strip.b_row = <const char*> panel, width * size
        fill(kind, p, panel, width)
    strip.bias = p.bias
    if p.bias != NULL and p.n < width:
        pad(bias, width, lanes(kind))
        memcpy(bias, p.bias, p.n * size)
        strip.bias = <const char*> bias
    strip.shifts, strip.spans, strip.k, strip.step = &none, 1, p.k, p.a_col
    strip.add, strip.next_b, strip.next_bias = False, 0, 0
    go_down(kind, p, vectors, width, &strip)
    if p.activation != NULL:
        activate_in_place(p.activation, p.c, p.m * p.n, p.alpha, p.beta)
    return True


cdef inline bint multiply_small_turned(real* kind, const Product* p) noexcept nogil:
    """The same by C^T = B^T A^T, for gradients of weights; not with a bias or an activation."""
    cdef Product t = p[0]
    cdef Py_ssize_t size = sizeof(real)
    cdef real[TURNED] c
    if p.bias != NULL or p.activation != NULL or p.m * p.n > TURNED:
        return False
    swap_sides(&t)
    t.c = <char*> c
    if not multiply_small(kind, &t):
        return False
    transpose(kind, t.c, t.n * size, p.c, p.n * size, t.m, t.n, t.m)
    return True


cdef inline void pad(real* row, Py_ssize_t width, Py_ssize_t lane) noexcept nogil:
    """Zeros in the last vector of a row. (Whatever is there, it is not in C; but subnormal numbers may be slow.)"""
    cdef Py_ssize_t j
    for j in range(width - lane, width):
        row[j] = 0


cdef inline void fill(real* kind, const Product* p, real* panel, Py_ssize_t width) noexcept nogil:
    """B's rows, each as long as whole vectors."""
    cdef Py_ssize_t size = sizeof(real), step, j
    cdef const char* b
    if p.b_row == size and p.k >= lanes(kind):
        transpose(kind, p.b, p.b_col, <char*> panel, width * size, p.n, p.k, width)
        return
    for step in range(p.k):
        b = p.b + step * p.b_row
        pad(panel, width, lanes(kind))
        if p.b_col == size:
            memcpy(panel, b, p.n * size)
        else:
            for j in range(p.n):
                panel[j] = (<const real*> (b + j * p.b_col))[0]
        panel += width


cdef inline void go_down(
    real* kind, const Product* p, Py_ssize_t vectors, Py_ssize_t width, Strip* strip
) noexcept nogil:
    """All rows of C: as many tiles as there are whole ones in one call, then the rows that are left over."""
    cdef Py_ssize_t size = sizeof(real), high = TALL_ROWS if vectors == 1 else TILE_ROWS, row = 0, rows, i
    cdef Py_ssize_t row_bytes = p.n * size, safe = p.m - ceil_div(width - p.n, p.n)
    cdef real[TALL_ROWS * TILE_VECTORS * TILE_LANES] beyond
    while row < p.m:
        if safe - row >= high:
            rows = (safe - row) // high * high
        else:
            rows = min(p.m - row, high)
            high = high if rows > TILE_ROWS // 2 else TILE_ROWS // 2 if rows > 2 else 2
            rows = min(rows, high)
        for i in range(high):  # beyond the last row, that one again
            strip.rows[i] = p.a + (row + min(i, rows - 1)) * p.a_row
            strip.out[i] = p.c + (row + i) * row_bytes
            if row + i >= safe:
                strip.out[i] = <char*> (beyond + i * width)
        strip.count, strip.next_rows, strip.next_out = max(1, rows // high), high * p.a_row, high * row_bytes
        tile_of(kind, high, vectors)(NULL, NULL, NULL, strip)
        for i in range(max(safe - row, 0), min(rows, high)):
            memcpy(p.c + (row + i) * row_bytes, beyond + i * width, row_bytes)
        row += rows
