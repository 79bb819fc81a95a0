# A matrix product as dot products: C = A B where the rows of A and the columns of B are contiguous,
# as in x @ weight.T. Both are read in vectors as they lie, so nothing is packed and nothing turned:
# for the few rows of a small batch, packing costs a fifth of the product. And vectors along K are
# full where C has fewer columns than a vector has lanes.
#
# A tile is DOT_ROWS rows of A by DOT_COLUMNS columns of B. Each of its sums is a vector, the lanes
# of which are added when K is at its end; that is why long sums suit it, and short ones do not.
# The number of its sums is a multiple of the lanes of every dtype, and they stay in registers.

from minidl._kernels.math.elementary cimport real
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.product.product cimport (
    SERIAL_FLOPS, TASK_FLOPS, TASKS, Product, ceil_div, run_tasks, task_t,
)
from minidl._kernels.product.tile cimport (
    TILE_LANES, TILE_LOG4, TILE_LOG8, TILE_ROWS, copy_out, doubles, floats, lanes,
    tile_high4, tile_high8, tile_low4, tile_low8, vec, zeros,
)

cdef enum:
    FEW_VECTORS = 4             # of K make dot products worth it if A has few rows, so that packing B
    EMPTY = 4                   # takes longer than the product, or if 1 in 4 of a tile's lanes is empty
    FEW_ROWS = 16               # of A are so few that packing B takes longer than what empty lanes cost
    DOTS_EACH = 2               # else DOT_VECTORS, and no less than half the rows or columns of C; but not if C has
    DOT_LANES = 8               # so many vectors of rows or columns, for which packing costs next to nothing: a tile of dot
                                # products reads one vector for two products, most of them from the second-level cache
    DOT_TILES = 8               # one below the other, computed in one go
    DOT_CHAINS = 8              # sums of one dot product: two are added to in a cycle, and each takes four cycles
    COLUMN_ROWS = 32            # of a task of a matrix times a vector
    SERIAL_DOT_FLOPS = 500_000  # it is memory that takes the time

cdef extern from *:
    """
    #if TILE_ROWS == 8
      #define DOT_ROWS 4 /* 32 vector registers: 16 sums */
      #define DOT_VECTORS 12 /* of K make them as fast as the tile */
    #else
      #define DOT_ROWS 2 /* 8 sums: too few to be as fast */
      #define DOT_VECTORS 1000000
    #endif
    #define DOT_COLUMNS 4
    #define DOT_SUMS (DOT_ROWS * DOT_COLUMNS)
    /* x where mask has ones, 0 elsewhere: no product with what lies there, which may be inf. */
    #if TILE_BYTES
      typedef int dot_bits __attribute__((vector_size(TILE_BYTES), aligned(4), may_alias));
      #define dot_keep(x, mask) ((__typeof__(x))((dot_bits)(x) & *(const dot_bits*)(mask)))
    #else
      #define dot_keep(x, mask) (*(mask) ? (x) : 0)
    #endif
    static const int dot_mask[48] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    """
    enum: DOT_ROWS
    enum: DOT_COLUMNS
    enum: DOT_SUMS
    enum: DOT_VECTORS
    floats keep4 "dot_keep"(floats x, const int* mask) noexcept nogil
    doubles keep8 "dot_keep"(doubles x, const int* mask) noexcept nogil
    const int[48] dot_mask


# ── A matrix times a vector ───────────────────────────────────────────────────────────────────────

cdef inline bint multiply_vector(real* kind, const Product* p) noexcept nogil:
    """Computes p if C is one row or one column and all of K is contiguous; else returns False.

    The tile would fill one row or one lane of itself; dot products read the matrix as it lies."""
    cdef Product turned = p[0]
    cdef Py_ssize_t size = sizeof(real), rows
    if p.a_col != size or p.b_row != size or (p.n != 1 and p.m != 1):
        return False
    turned.b_col = 0  # from here on the step of the bias: one number for a whole column,
    if p.n != 1:      # or a row of them, for a row of C seen as a column
        turned.m, turned.n, turned.b_col = p.n, 1, size
        turned.a, turned.a_row, turned.b = p.b, p.b_col, p.a
    rows = turned.m
    if rows == 1:
        dot(kind, p)
    elif not run_tasks(<task_t> dot_task[real], &turned, ceil_div(rows, COLUMN_ROWS),
                     2.0 * rows * p.k <= SERIAL_DOT_FLOPS, p.whole, 8.0 * rows * p.k):
        p.failed[0] = True
    if p.activation != NULL and not p.failed[0]:
        activate_in_place(p.activation, p.c, rows, p.alpha, p.beta)
    return True


cdef inline void dot(real* kind, const Product* p) noexcept nogil:
    """C of one element. (Of long sums each thread has a share: see multiply_shares.)"""
    cdef real[TILE_LANES] lane_sums
    cdef Py_ssize_t lane = lanes(kind), half = lane // 2, i
    cdef real total = 0
    if real is float:
        one_dot(<floats*> NULL, p.a, p.b, p.k // lane, <floats*> lane_sums)
    else:
        one_dot(<doubles*> NULL, p.a, p.b, p.k // lane, <doubles*> lane_sums)
    while half > 0:
        for i in range(half):
            lane_sums[i] += lane_sums[half + i]
        half //= 2
    for i in range(p.k // lane * lane, p.k):
        total += (<const real*> p.a)[i] * (<const real*> p.b)[i]
    total += lane_sums[0]
    copy_out(&total, <real*> p.c, 1, p.add, <const real*> p.bias)


cdef inline void one_dot(
    vec* kind, const char* a, const char* b, Py_ssize_t vectors, vec* out
) noexcept nogil:
    """The sum of the products of two rows of vectors, in DOT_CHAINS sums: one would wait for itself at each step."""
    cdef vec[DOT_CHAINS] sums
    cdef Py_ssize_t together = vectors // DOT_CHAINS, p
    cdef int i
    for i in range(DOT_CHAINS):
        sums[i] = zeros(kind)
    for p in range(together):
        for i in range(DOT_CHAINS):
            sums[i] = sums[i] + (<const vec*> a)[p * DOT_CHAINS + i] * (<const vec*> b)[p * DOT_CHAINS + i]
    for p in range(together * DOT_CHAINS, vectors):
        sums[0] = sums[0] + (<const vec*> a)[p] * (<const vec*> b)[p]
    for i in range(DOT_CHAINS // 2):
        sums[i] = sums[i] + sums[DOT_CHAINS // 2 + i]
    for i in range(DOT_CHAINS // 4):
        sums[i] = sums[i] + sums[DOT_CHAINS // 4 + i]
    out[0] = sums[0] + sums[1]


cdef inline void dot_task(real* kind, const Product* p, Py_ssize_t index) noexcept nogil:
    """COLUMN_ROWS rows of a column of C. Of the sizes of p only m is used."""
    cdef Py_ssize_t row = index * COLUMN_ROWS, bottom = min(row + COLUMN_ROWS, p.m), i
    cdef const char* rows[TILE_ROWS]
    cdef real[TILE_ROWS] sums
    cdef real* c = <real*> p.c
    while row < bottom:
        for i in range(TILE_ROWS):
            rows[i] = p.a + min(row + i, p.m - 1) * p.a_row
        any_dots(kind, rows, p.b, p.k, sums)
        for i in range(row, min(row + TILE_ROWS, bottom)):
            copy_out(&sums[i - row], &c[i], 1, p.add,
                     <const real*> (p.bias + i * p.b_col) if p.bias != NULL else NULL)
        row += TILE_ROWS


# ── Rows times rows ───────────────────────────────────────────────────────────────────────────────

cdef inline bint multiply_dots(real* kind, const Product* p) noexcept nogil:
    """Computes p if all of K is contiguous and dot products are the fastest way, else False."""
    cdef Py_ssize_t size = sizeof(real), vectors = p.k // lanes(kind), columns = p.n
    cdef Py_ssize_t least = max(<Py_ssize_t> DOT_VECTORS, min(p.m, p.n) // DOTS_EACH)
    cdef double flops = 2.0 * p.m * p.n * p.k
    cdef Dots d
    if p.m > FEW_ROWS:  # a tile of dot products may be as empty
        columns = DOT_COLUMNS * ceil_div(p.n, DOT_COLUMNS)
    if p.m <= TILE_ROWS or EMPTY * columns <= (EMPTY - 1) * lanes(kind):
        least = FEW_VECTORS
    elif max(p.m, p.n) >= DOT_LANES * lanes(kind):
        return False
    if p.a_col != size or p.b_row != size or vectors < least:
        return False
    d.product = p
    d.tall = ceil_div(p.m, DOT_ROWS)
    d.tiles = d.tall * ceil_div(p.n, DOT_COLUMNS)
    d.each = ceil_div(d.tiles, max(1, min(<Py_ssize_t> TASKS, <Py_ssize_t> (flops / TASK_FLOPS))))
    if not run_tasks(<task_t> dots_task[real], &d, ceil_div(d.tiles, d.each),
                     flops <= SERIAL_FLOPS, p.whole, flops):
        p.failed[0] = True
    elif p.activation != NULL:
        activate_in_place(p.activation, p.c, p.m * p.n, p.alpha, p.beta)
    return True


cdef struct Dots:
    const Product* product
    Py_ssize_t tall, tiles, each  # tiles one below the other; in all; in a task


cdef inline void dots_task(real* kind, const Dots* d, Py_ssize_t index) noexcept nogil:
    """Some tiles, those of the same columns of B one after the other: these stay in the cache."""
    cdef const Product* p = d.product
    cdef const char* rows[DOT_TILES * DOT_ROWS]
    cdef const char* columns[DOT_COLUMNS]
    cdef real[DOT_TILES * DOT_ROWS * DOT_COLUMNS] sums
    cdef Py_ssize_t tile = index * d.each, end = min(tile + d.each, d.tiles), top, left, count, i
    cdef const real* bias
    cdef real* c
    while tile < end:
        top, left = tile % d.tall * DOT_ROWS, tile // d.tall * DOT_COLUMNS
        count = min(min(end - tile, d.tall - tile % d.tall), <Py_ssize_t> DOT_TILES)
        for i in range(count * DOT_ROWS):
            rows[i] = p.a + min(top + i, p.m - 1) * p.a_row
        for i in range(DOT_COLUMNS):
            columns[i] = p.b + min(left + i, p.n - 1) * p.b_col
        any_dot_tiles(kind, count, rows, columns, p.k, sums)
        bias = <const real*> p.bias + left if p.bias != NULL else NULL
        for i in range(min(count * DOT_ROWS, p.m - top)):
            c = <real*> p.c + (top + i) * p.n + left
            if p.n - left >= DOT_COLUMNS:  # a number that the compiler knows: vectors, no loops
                copy_out(&sums[i * DOT_COLUMNS], c, DOT_COLUMNS, p.add, bias)
            else:
                copy_out(&sums[i * DOT_COLUMNS], c, p.n - left, p.add, bias)
        tile += count


# ── The tile of dot products ──────────────────────────────────────────────────────────────────────

cdef inline vec keep(vec x, const int* mask) noexcept nogil:
    if vec is floats:
        return keep4(x, mask)
    else:
        return keep8(x, mask)


cdef inline vec keep_first(vec x, Py_ssize_t count, Py_ssize_t lane) noexcept nogil:
    """The first lanes of x, and zeros for the others."""
    return keep(x, dot_mask + 32 - TILE_LANES * count // lane)


cdef inline const int* inside(Py_ssize_t place, Py_ssize_t count, Py_ssize_t lane) noexcept nogil:
    """What to `keep` of a vector that begins at `place` of a row of so many numbers: what lies in the row, which is not
    shorter than a vector. At most a whole vector lies before or behind it."""
    cdef Py_ssize_t each = TILE_LANES // lane
    return dot_mask + (16 + each * place if place < 0 else 32 - each * min(lane, count - place))


cdef inline vec halves(vec x, vec y) noexcept nogil:
    """Each lane of x's lower half plus that of its upper half, and y's, by turns."""
    if vec is floats:
        return tile_low4(x, y) + tile_high4(x, y)
    else:
        return tile_low8(x, y) + tile_high8(x, y)


cdef inline void fold(vec* sums, int half) noexcept nogil:
    cdef int i
    for i in range(half):
        sums[i] = halves(sums[i], sums[half + i])


cdef inline void dots(
    vec* kind, const char** rows, const char* x, Py_ssize_t k, Py_ssize_t lane, vec* out
) noexcept nogil:
    """The products of TILE_ROWS contiguous rows and the contiguous x, folded as far as a vector has lanes; none of them if
    x is shorter than a vector."""
    cdef const char* row[TILE_ROWS]
    cdef vec[TILE_ROWS] sums
    cdef vec b
    cdef Py_ssize_t p, last = (k - lane) * <Py_ssize_t> sizeof(vec) // lane
    cdef const int* mask = dot_mask + TILE_LANES * (k % lane) // lane + (16 - TILE_LANES)
    cdef int turns = TILE_LOG4 if vec is floats else TILE_LOG8, i
    for i in range(TILE_ROWS):
        row[i] = rows[i]
        sums[i] = zeros(kind)
    for p in range(k // lane):
        for i in range(TILE_ROWS):
            sums[i] = sums[i] + (<const vec*> row[i])[p] * (<const vec*> x)[p]
    if k % lane and k > lane:  # the vector that ends with K; its first lanes were counted before
        b = keep((<const vec*> (x + last))[0], mask)
        for i in range(TILE_ROWS):
            sums[i] = sums[i] + keep((<const vec*> (row[i] + last))[0], mask) * b
    if turns > 0:
        fold(sums, TILE_ROWS // 2)
    if turns > 1:
        fold(sums, TILE_ROWS // 4)
    if turns > 2 and TILE_ROWS == 8:
        fold(sums, 1)
    for i in range(TILE_ROWS):
        out[i] = sums[i]


cdef inline void any_dots(
    real* kind, const char** rows, const char* x, Py_ssize_t k, real* out
) noexcept nogil:
    """out[i] = the sum over p of rows[i][p] * x[p], for TILE_ROWS contiguous rows."""
    cdef real[TILE_ROWS * TILE_LANES] sums
    cdef Py_ssize_t lane = lanes(kind), p
    cdef int i, folded = <int> min(lane, <Py_ssize_t> TILE_ROWS), vectors = TILE_ROWS // folded
    if real is float:
        dots(<floats*> NULL, rows, x, k, lane, <floats*> sums)
    else:
        dots(<doubles*> NULL, rows, x, k, lane, <doubles*> sums)
    for i in range(TILE_ROWS):  # of a vector's lanes each is that of another row, and again
        out[i] = 0
        for p in range(lane // folded):
            out[i] += sums[i % vectors * lane + i // vectors + p * folded]
        for p in range(0 if k < lane else k, k):
            out[i] += (<const real*> rows[i])[p] * (<const real*> x)[p]


cdef inline int place(int number, int turns) noexcept nogil:
    """Where in the array a sum must be, for so many turns of folding to leave all sums in order."""
    return ((number & (1 << turns) - 1) * DOT_SUMS >> turns) + (number >> turns)


cdef inline void dot_tiles(
    vec* kind, Py_ssize_t count, const char** rows, const char** columns, Py_ssize_t k,
    Py_ssize_t lane, vec* out
) noexcept nogil:
    """Tiles one below the other: out[i][j] = the sum over p of rows[i][p] * columns[j][p]; k >= lane.

    (A loop over tiles, for the reason that tile() in tile.pxd is one over tiles.)"""
    cdef vec[DOT_SUMS] sums
    cdef vec[DOT_COLUMNS] bs
    cdef const char* row[DOT_ROWS]
    cdef vec a
    cdef Py_ssize_t number, p, left = k % lane
    cdef Py_ssize_t last = (k - lane) * <Py_ssize_t> sizeof(vec) // lane  # the last vector's place
    cdef const int* mask = dot_mask + TILE_LANES * left // lane + (16 - TILE_LANES)
    cdef int turns = TILE_LOG4 if vec is floats else TILE_LOG8, each = DOT_SUMS >> turns, i, j, at
    for number in range(count):
        for i in range(DOT_ROWS):
            row[i] = rows[number * DOT_ROWS + i]
        for i in range(DOT_SUMS):
            sums[i] = zeros(kind)
        for p in range(k // lane):
            for j in range(DOT_COLUMNS):
                bs[j] = (<const vec*> columns[j])[p]
            for i in range(DOT_ROWS):
                a = (<const vec*> row[i])[p]
                for j in range(DOT_COLUMNS):
                    at = place(i * DOT_COLUMNS + j, turns)
                    sums[at] = sums[at] + a * bs[j]
        if left:  # the vector that ends with K; its first lanes were counted before
            for j in range(DOT_COLUMNS):
                bs[j] = keep((<const vec*> (columns[j] + last))[0], mask)
            for i in range(DOT_ROWS):
                a = keep((<const vec*> (row[i] + last))[0], mask)
                for j in range(DOT_COLUMNS):
                    at = place(i * DOT_COLUMNS + j, turns)
                    sums[at] = sums[at] + a * bs[j]
        # Each turn leaves half as many vectors, in each of which twice as many sums have their lanes.
        if turns > 0:
            fold(sums, DOT_SUMS // 2)
        if turns > 1:
            fold(sums, DOT_SUMS // 4)
        if turns > 2:
            fold(sums, DOT_SUMS // 8)
        if turns > 3:
            fold(sums, DOT_SUMS // 16)
        for i in range(each):
            out[number * each + i] = sums[i]


cdef inline void any_dot_tiles(
    real* kind, Py_ssize_t count, const char** rows, const char** columns, Py_ssize_t k, real* out
) noexcept nogil:
    if real is float:
        dot_tiles(<floats*> NULL, count, rows, columns, k, lanes(kind), <floats*> out)
    else:
        dot_tiles(<doubles*> NULL, count, rows, columns, k, lanes(kind), <doubles*> out)
