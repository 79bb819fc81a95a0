# The register tile: the one loop in which every matrix product and convolution spends its time.
#
#     out[i][:] (+)= sum over spans s and steps p of  row[i][shift[s] + p * step] * b[s * k + p][:]
#
# for TILE_ROWS rows i and up to TILE_VECTORS vectors of columns. The sums stay in registers
# from the first product to the last. The left operand is reached through one pointer a row, so that
# its rows may lie anywhere: in a matrix, transposed or not, or, for a convolution, at the pixels that
# one tap of the kernel sees (a span is a tap: its shift moves all rows at once). The right operand
# is read in vectors, b_row bytes from one step to the next. Alignment never matters.
#
# The size: 24 sums on 32 registers, 12 on 16, which leaves three for vectors of b and one for a
# broadcast. That is enough independent sums to hide the latency of a fused multiply-add (4 cycles
# on 2 units), and few enough loads for each. Measured: 98% of the FMA peak at v3 and v4, where
# 12x2, 14x2, 6x4 (v4) and 6x2 (v3) did no better on long sums and worse on short ones. A single vector
# of columns needs more rows for as many sums: TALL_ROWS.

from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.squares cimport turn

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
      #if defined(__AVX512F__)
        #define TILE_BYTES 64
      #elif defined(__AVX__)
        #define TILE_BYTES 32
      #else
        #define TILE_BYTES 16
      #endif
      /* Aligned to one element only: any pointer may be read. */
      typedef float floats __attribute__((vector_size(TILE_BYTES), aligned(4), may_alias));
      typedef double doubles __attribute__((vector_size(TILE_BYTES), aligned(8), may_alias));
      /* x in all lanes. (x - 0 is x, also for -0 and NaN; the compiler drops it.) */
      static inline floats tile_floats(float x) { return x - (floats){0}; }
      static inline doubles tile_doubles(double x) { return x - (doubles){0}; }
      /* x in a register, whatever the compiler knows of where it came from. */
      #if defined(__x86_64__) || defined(__i386__)
        #define TILE_HOLD(x) __asm__("" : "+v"(x))
      #else
        #define TILE_HOLD(x) ((void)0)
      #endif
      static inline floats tile_held4(floats x) { TILE_HOLD(x); return x; }
      static inline doubles tile_held8(doubles x) { TILE_HOLD(x); return x; }
    #else /* No vectors in this compiler's C: the same loops over single numbers. */
      #define TILE_BYTES 0
      typedef float floats;
      typedef double doubles;
      #define tile_floats(x) (x)
      #define tile_doubles(x) (x)
      #define tile_held4(x) (x)
      #define tile_held8(x) (x)
    #endif
    #if defined(__AVX512F__) || defined(__aarch64__)
      #define TILE_ROWS 8 /* 32 vector registers */
    #else
      #define TILE_ROWS 4 /* 16 of them */
    #endif
    #define TALL_ROWS 8
    #define TILE_VECTORS 3
    #define TILE_LANES (TILE_BYTES ? TILE_BYTES / 4 : 1)

    /* The lanes of a and b by turns: of their lower halves, and of their upper halves. */
    #if TILE_BYTES == 64
      #define TILE_LOG4 4
      #define TILE_LOG8 3
      #define TILE_LOW4 0,16,1,17,2,18,3,19,4,20,5,21,6,22,7,23
      #define TILE_HIGH4 8,24,9,25,10,26,11,27,12,28,13,29,14,30,15,31
      #define TILE_LOW8 0,8,1,9,2,10,3,11
      #define TILE_HIGH8 4,12,5,13,6,14,7,15
    #elif TILE_BYTES == 32
      #define TILE_LOG4 3
      #define TILE_LOG8 2
      #define TILE_LOW4 0,8,1,9,2,10,3,11
      #define TILE_HIGH4 4,12,5,13,6,14,7,15
      #define TILE_LOW8 0,4,1,5
      #define TILE_HIGH8 2,6,3,7
    #elif TILE_BYTES == 16
      #define TILE_LOG4 2
      #define TILE_LOG8 1
      #define TILE_LOW4 0,4,1,5
      #define TILE_HIGH4 2,6,3,7
      #define TILE_LOW8 0,2
      #define TILE_HIGH8 1,3
    #endif
    #if TILE_BYTES == 0
      #define TILE_LOG4 0
      #define TILE_LOG8 0
      #define tile_mix(a, b, order, lane) (a)
    #elif defined(__clang__) || __GNUC__ >= 12
      #define tile_mix(a, b, order, lane) __builtin_shufflevector(a, b, order)
    #else
      typedef int tile_lane4 __attribute__((vector_size(TILE_BYTES)));
      typedef long long tile_lane8 __attribute__((vector_size(TILE_BYTES)));
      #define tile_mix(a, b, order, lane) __builtin_shuffle(a, b, (lane){order})
    #endif
    #define tile_low4(a, b) tile_mix(a, b, TILE_LOW4, tile_lane4)
    #define tile_high4(a, b) tile_mix(a, b, TILE_HIGH4, tile_lane4)
    #define tile_low8(a, b) tile_mix(a, b, TILE_LOW8, tile_lane8)
    #define tile_high8(a, b) tile_mix(a, b, TILE_HIGH8, tile_lane8)
    """
    # Cython takes a vector for a number, and so writes the arithmetic that C then does on vectors.
    ctypedef float floats
    ctypedef double doubles
    floats tile_floats(float x) noexcept nogil
    doubles tile_doubles(double x) noexcept nogil
    floats tile_held4(floats x) noexcept nogil
    doubles tile_held8(doubles x) noexcept nogil
    floats tile_low4(floats a, floats b) noexcept nogil
    floats tile_high4(floats a, floats b) noexcept nogil
    doubles tile_low8(doubles a, doubles b) noexcept nogil
    doubles tile_high8(doubles a, doubles b) noexcept nogil
    enum: TILE_BYTES    # in a vector; 0: there are no vectors
    enum: TILE_LOG4     # binary logarithms of the lanes of floats and of doubles
    enum: TILE_LOG8
    enum: TILE_LANES    # of floats, which are never fewer than those of doubles
    enum: TILE_ROWS
    enum: TALL_ROWS
    enum: TILE_VECTORS

ctypedef fused vec:
    floats
    doubles

# The number of vectors in a row of the tile, as a type: each gets a loop of its own. And its height: TALL_ROWS, of one
# vector; TILE_ROWS; half of them or two, for the few that are left over at a matrix's end, or are all there are.
ctypedef struct One:
    char _
ctypedef struct Two:
    char _
ctypedef struct Three:
    char _
ctypedef struct Tall:
    char _
ctypedef struct Whole:
    char _
ctypedef struct Half:
    char _
ctypedef struct Pair:
    char _

ctypedef fused Width:
    One
    Two
    Three

ctypedef fused Height:
    Tall
    Whole
    Half
    Pair


cdef inline vec broadcast(vec* kind, const char* x) noexcept nogil:
    if vec is floats:
        return tile_floats((<const float*> x)[0])
    else:
        return tile_doubles((<const double*> x)[0])


cdef inline vec zeros(vec* kind) noexcept nogil:
    if vec is floats:
        return tile_floats(0)
    else:
        return tile_doubles(0)


cdef inline vec loaded(vec* kind, const char* x, Py_ssize_t index) noexcept nogil:
    """Vector `index` of x, in a register. A plain x[index] that several products use gcc reads from memory for each of
    them, and every second read, if not every one, goes across the end of a cache line."""
    if vec is floats:
        return tile_held4((<const floats*> x)[index])
    else:
        return tile_held8((<const doubles*> x)[index])


cdef struct Strip:
    # Some tiles: side by side, or one below the other. All steps and distances are in bytes.
    const char* rows[TALL_ROWS]  # where the left operand's rows begin; if there are fewer than the tile
                                 # has, the last one again
    char* out[TALL_ROWS]         # where the result's rows go, likewise
    Py_ssize_t step              # from one element of a row to the next
    const Py_ssize_t* shifts     # of the spans
    Py_ssize_t spans, k          # their number, and the steps in each
    const char* b                # the right operand
    Py_ssize_t b_row             # from its row for one step to that for the next
    bint add                     # to what is there
    const char* bias             # a row to add, or NULL
    Py_ssize_t count             # of tiles; if there are more than one: what lies between the `rows` of a
    Py_ssize_t next_rows, next_out, next_b, next_bias  # tile and those of the next one, and so on


cdef inline void tile(Width* width, Height* height, vec* kind, const Strip* s) noexcept nogil:
    """Computes a strip."""
    cdef vec[TALL_ROWS][TILE_VECTORS] sums
    cdef vec[TILE_VECTORS] bs
    cdef const char* row[TALL_ROWS]
    cdef vec a
    cdef Py_ssize_t number, span, p, at, step, b_row, down
    cdef const char* b
    cdef const char* bias
    cdef int i, j, vectors = 1 if Width is One else 2 if Width is Two else 3
    cdef int lines = TALL_ROWS if Height is Tall else TILE_ROWS if Height is Whole else (
        TILE_ROWS // 2 if Height is Half else 2)
    # The compiler keeps the sums in registers because every loop over them is small, without a
    # condition, and inside this one: outermost loops it does not unroll early enough.
    for i in range(lines):
        row[i] = s.rows[i]
    for number in range(s.count):
        step, b_row, b = s.step, s.b_row, s.b + number * s.next_b
        for i in range(lines):
            for j in range(vectors):
                sums[i][j] = zeros(kind)
        for span in range(s.spans):
            at, p = s.shifts[span] + number * s.next_rows, s.k
            while p > 0:  # (counting down takes one register less)
                for j in range(vectors):
                    bs[j] = (<const vec*> b)[j]
                for i in range(lines):
                    a = broadcast(kind, row[i] + at)
                    for j in range(vectors):
                        sums[i][j] = sums[i][j] + a * bs[j]
                at += step
                b += b_row
                p -= 1
        down = number * s.next_out
        if s.add:
            for i in range(lines):
                for j in range(vectors):
                    sums[i][j] = (<vec*> (s.out[i] + down))[j] + sums[i][j]
        if s.bias != NULL:
            bias = s.bias + number * s.next_bias
            for i in range(lines):
                for j in range(vectors):
                    sums[i][j] = sums[i][j] + (<const vec*> bias)[j]
        for i in range(lines):
            for j in range(vectors):
                (<vec*> (s.out[i] + down))[j] = sums[i][j]


cdef inline void shuffle(vec* kind, vec* now, int count, int turns) noexcept nogil:
    """So many perfect shuffles of 2 ** turns vectors, which transpose them: the lanes of all, by turns, are what follows on
    in the first one, the second one ... (Stone, "Parallel processing with the perfect shuffle", 1971)."""
    cdef vec[TILE_LANES] after
    cdef int i, turn, half = count // 2
    for turn in range(turns):
        for i in range(half):
            if vec is floats:
                after[2 * i] = tile_low4(now[i], now[i + half])
                after[2 * i + 1] = tile_high4(now[i], now[i + half])
            else:
                after[2 * i] = tile_low8(now[i], now[i + half])
                after[2 * i + 1] = tile_high8(now[i], now[i + half])
        for i in range(count):
            now[i] = after[i]


cdef inline void transpose_square(
    vec* kind, const char* x, Py_ssize_t x_row, Py_ssize_t rows, char* y, Py_ssize_t y_row
) noexcept nogil:
    """y[j][i] = x[i][j] for as many rows as a vector has lanes; x_row and y_row are in bytes.

    If x has only `rows` of them, the last is taken for those missing."""
    cdef vec[TILE_LANES] now
    cdef int i
    cdef int turns = TILE_LOG4 if vec is floats else TILE_LOG8, lane = 1 << turns
    for i in range(lane):
        now[i] = (<const vec*> (x + min(i, rows - 1) * x_row))[0]
    shuffle(kind, now, lane, turns)
    for i in range(lane):
        (<vec*> (y + i * y_row))[0] = now[i]


# ── From a dtype of numbers, `real`, to the vectors of it ─────────────────────────────────────────

cdef inline Py_ssize_t lanes(real* kind) noexcept nogil:
    return max(1, TILE_BYTES // <Py_ssize_t> sizeof(real))


# What tile() is called through. Not directly: it would be inlined, and it needs all registers for itself.
ctypedef void (*tile_t)(void* width, void* height, void* kind, const Strip* s) noexcept nogil


cdef inline tile_t tile_of(real* kind, Py_ssize_t rows, Py_ssize_t vectors) noexcept nogil:
    """The tile for a dtype that is so many rows high (TALL_ROWS, TILE_ROWS, half of them, or 2) and vectors wide."""
    if real is float:
        if vectors == 1:
            return as_high(<One*> NULL, <floats*> NULL, rows)
        if vectors == 2:
            return as_high(<Two*> NULL, <floats*> NULL, rows)
        return as_high(<Three*> NULL, <floats*> NULL, rows)
    else:
        if vectors == 1:
            return as_high(<One*> NULL, <doubles*> NULL, rows)
        if vectors == 2:
            return as_high(<Two*> NULL, <doubles*> NULL, rows)
        return as_high(<Three*> NULL, <doubles*> NULL, rows)


cdef inline tile_t as_high(Width* width, vec* kind, Py_ssize_t rows) noexcept nogil:
    if Width is One:
        if rows == TALL_ROWS:
            return <tile_t> tile[One, Tall, vec]
    if rows == TILE_ROWS:
        return <tile_t> tile[Width, Whole, vec]
    if rows == 2:
        return <tile_t> tile[Width, Pair, vec]
    return <tile_t> tile[Width, Half, vec]


cdef inline void copy_out(
    const real* x, real* y, Py_ssize_t n, bint add, const real* bias
) noexcept nogil:
    """What the tile does when it writes to C, for a few columns."""
    cdef Py_ssize_t j
    cdef real value
    for j in range(n):
        value = y[j] + x[j] if add else x[j]
        y[j] = value + bias[j] if bias != NULL else value


cdef inline void transpose(
    real* kind, const char* x, Py_ssize_t x_row, char* y, Py_ssize_t y_row, Py_ssize_t rows,
    Py_ssize_t columns, Py_ssize_t room
) noexcept nogil:
    """y[j][i] = x[i][j]: squares of vectors, the last ones overlapping, where at least one fits.

    A row of y has room for so many elements. If these are whole vectors, what is behind x's rows is
    filled with the last of them."""
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), i, j, i0, j0
    if lane == 1 or room < lane or columns < lane:
        turn(<const real*> x, x_row // size, <real*> y, y_row // size, rows, columns)
        for j in range(columns):
            for i in range(rows, room):
                (<real*> (y + j * y_row))[i] = (<const real*> (x + (rows - 1) * x_row))[j]
        return
    for i in range((rows + lane - 1) // lane):
        i0 = min(i * lane, room - lane)
        for j in range((columns + lane - 1) // lane):
            j0 = min(j * lane, columns - lane)
            if real is float:
                transpose_square(<floats*> NULL, x + i0 * x_row + j0 * size, x_row, rows - i0,
                                 y + j0 * y_row + i0 * size, y_row)
            else:
                transpose_square(<doubles*> NULL, x + i0 * x_row + j0 * size, x_row, rows - i0,
                                 y + j0 * y_row + i0 * size, y_row)
