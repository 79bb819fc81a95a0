# A matrix product as dot products: C = A B where the rows of A and the columns of B are contiguous,
# as in x @ weight.T. Both are read in vectors as they lie, so nothing is packed and nothing turned:
# for the few rows of a small batch, packing costs a fifth of the product.
#
# A tile is DOT_ROWS rows of A by DOT_COLUMNS columns of B. Each of its sums is a vector, the lanes
# of which are added when K is at its end; that is why long sums suit it, and short ones do not.
# The number of its sums is a multiple of the lanes of every dtype, and they stay in registers.

from minidl._kernels cimport pool
from minidl._kernels._math cimport real
from minidl._kernels._tile cimport (
    TILE_LANES, TILE_LOG4, TILE_LOG8, doubles, floats, lanes, tile_high4, tile_high8, tile_low4,
    tile_low8, vec, zeros,
)

cdef extern from *:
    """
    #if TILE_ROWS == 8
      #define DOT_ROWS 4 /* 32 vector registers: 16 sums */
    #else
      #define DOT_ROWS 2
    #endif
    #define DOT_COLUMNS 4
    /* x where mask has ones, 0 elsewhere: no product with what lies there, which may be inf. */
    #if TILE_BYTES
      typedef int dot_bits __attribute__((vector_size(TILE_BYTES), aligned(4), may_alias));
      #define dot_keep(x, mask) ((__typeof__(x))((dot_bits)(x) & *(const dot_bits*)(mask)))
    #else
      #define dot_keep(x, mask) (x)
    #endif
    static const int dot_mask[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    """
    enum: DOT_ROWS
    enum: DOT_COLUMNS
    floats keep4 "dot_keep"(floats x, const int* mask) noexcept nogil
    doubles keep8 "dot_keep"(doubles x, const int* mask) noexcept nogil
    const int[32] dot_mask


cdef inline vec keep(vec x, const int* mask) noexcept nogil:
    if vec is floats:
        return keep4(x, mask)
    else:
        return keep8(x, mask)


cdef inline vec halves(vec x, vec y) noexcept nogil:
    """Each lane of x's lower half plus that of its upper half, and y's, by turns."""
    if vec is floats:
        return tile_low4(x, y) + tile_high4(x, y)
    else:
        return tile_low8(x, y) + tile_high8(x, y)


cdef inline void dot_tile(
    vec* kind, const char** rows, const char** columns, Py_ssize_t k, Py_ssize_t lane, vec* out
) noexcept nogil:
    """out[i * DOT_COLUMNS + j] = the sum over p of rows[i][p] * columns[j][p]; k >= lane."""
    cdef vec[DOT_ROWS * DOT_COLUMNS] sums
    cdef vec[DOT_COLUMNS] bs
    cdef vec a
    cdef Py_ssize_t p, size = sizeof(vec)
    cdef Py_ssize_t left = k % lane, last = k * size // lane - size  # the last whole vector's place
    cdef const int* mask = dot_mask + TILE_LANES * left // lane + (16 - TILE_LANES)
    cdef int i, j, half, turn, turns = TILE_LOG4 if vec is floats else TILE_LOG8
    for i in range(DOT_ROWS * DOT_COLUMNS):
        sums[i] = zeros(kind)
    for p in range(k // lane):
        for j in range(DOT_COLUMNS):
            bs[j] = (<const vec*> columns[j])[p]
        for i in range(DOT_ROWS):
            a = (<const vec*> rows[i])[p]
            for j in range(DOT_COLUMNS):
                sums[i * DOT_COLUMNS + j] = sums[i * DOT_COLUMNS + j] + a * bs[j]
    if left:  # the vector that ends with K; its first lanes were counted before
        for j in range(DOT_COLUMNS):
            bs[j] = keep((<const vec*> (columns[j] + last))[0], mask)
        for i in range(DOT_ROWS):
            a = keep((<const vec*> (rows[i] + last))[0], mask)
            for j in range(DOT_COLUMNS):
                sums[i * DOT_COLUMNS + j] = sums[i * DOT_COLUMNS + j] + a * bs[j]
    # Adding pairs of halves, log2(lanes) times, leaves one sum a lane, in their order.
    for i in range(DOT_ROWS * DOT_COLUMNS >> turns):
        half = 1 << turns >> 1
        for turn in range(turns):
            for j in range(half):
                sums[(i << turns) + j] = halves(sums[(i << turns) + j], sums[(i << turns) + half + j])
            half >>= 1
        out[i] = sums[i << turns]


cdef inline void any_dot_tile(
    real* kind, const char** rows, const char** columns, Py_ssize_t k, real* out
) noexcept nogil:
    if real is float:
        dot_tile(<floats*> NULL, rows, columns, k, lanes(kind), <floats*> out)
    else:
        dot_tile(<doubles*> NULL, rows, columns, k, lanes(kind), <doubles*> out)
