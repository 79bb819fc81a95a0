# A task of a matrix product: the rows of one block of C, in the columns of one group of panels of B.
#
# A call of the tile computes several tiles. Where sums are long, those side by side: a strip of A's rows
# stays in the first-level cache while the panels go by. Where sums are short, or B has but one panel,
# those one below the other: the panel stays, and A's rows go by.
#
# Ragged panels. The last vector of C's rows may be wider than what is left of a row. Its other lanes are
# written all the same, over the beginning of the next row, for that is written later: panels are computed
# from right to left, and rows from top to bottom. Only at the end of the block, and where C is added to,
# are such rows computed in a buffer, from which the columns that there are go to C.

from libc.string cimport memcpy

from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.panels cimport Cut, Panels, column, first_alike, width
from minidl._kernels.product.product cimport Product, ceil_div
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.product.tile cimport (
    TALL_ROWS, TILE_LANES, TILE_ROWS, TILE_VECTORS, Strip, tile_of, tile_t, transpose,
)

cdef enum:
    DEPTH_BYTES = 4096          # of a row of A in a part: 8 rows fill a first-level cache of 32 KB
    MANY_PANELS = 3             # in a group make it worth copying strips of A that is transposed if a strip
    SPARSE_BYTES = 32           # has at most so many bytes of each cache line: as many strips at once as have
    LINE_BYTES = 64             # all of it


cdef struct Plan:
    # What the tasks between two meetings of the threads need to know.
    const Product* product      # the product computed, perhaps turned
    const Product* wanted       # the product asked for
    Panels panels               # of B
    Py_ssize_t first, end       # the panels computed now
    Py_ssize_t start, depth     # the steps of K summed now
    bint add, last              # whether these are added to what is in C; whether they are the last
    char* packed                # the panels, or NULL: they are read where they lie
    bint down                   # the tiles of a call lie one below the other
    Cut cut                     # tasks: panels of B by rows of A
    bint near                   # few rows: a core should find the panels that it packed in its cache


cdef struct Block:
    Py_ssize_t top, bottom      # rows of C
    Py_ssize_t left, right      # panels
    Py_ssize_t safe             # the end of the rows in which ragged panels are written beyond C's columns


cdef struct Tiles:
    # Those of one call.
    Py_ssize_t row, rows, high  # of C: the first, their number, and those of a tile
    Py_ssize_t panel, end
    Py_ssize_t copied, until    # rows of A that were copied: the first, and the end


cdef inline void multiply_block(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """Computes block number `index`."""
    cdef Block b = block_of(s, index)
    cdef Py_ssize_t most = TALL_ROWS if s.panels.vectors == 1 else TILE_ROWS, none = 0
    cdef real[TALL_ROWS * TILE_VECTORS * TILE_LANES] buffer
    cdef real[TILE_VECTORS * TILE_LANES] bias
    cdef char[16 * DEPTH_BYTES] copy  # (LINE_BYTES of as many steps as a part has)
    cdef bint buffered
    cdef tile_t tile
    cdef Tiles t
    cdef Strip strip
    strip.shifts, strip.spans, strip.k, strip.add = &none, 1, s.depth, s.add
    t.row, t.until = b.top, 0
    while t.row < b.bottom:
        t.high, t.rows = most, (b.safe - t.row) // most * most
        if t.rows <= 0:
            t.rows = b.bottom - t.row
            t.high = TILE_ROWS if t.rows > TILE_ROWS // 2 else TILE_ROWS // 2 if t.rows > 2 else 2
            t.rows = min(t.high, t.rows)
        elif not s.down:
            t.rows = most
        if is_copied(kind, s, &b, &t):
            point_at_copy(kind, s, &b, &t, <real*> copy, &strip)
        else:
            point_at_rows(kind, s, &t, &strip)
        t.end = b.right
        while t.end > b.left:
            t.panel = t.end - 1 if s.down else first_alike(&s.panels, b.left, t.end)
            point_at_panels(kind, s, &t, bias, &strip)
            buffered = t.row + t.rows > b.safe and is_ragged(s, t.panel)
            point_at_result(kind, s, &t, buffer if buffered else NULL, &strip)
            tile = tile_of(kind, t.high, width(&s.panels, t.panel) // s.panels.lane)
            tile(NULL, NULL, NULL, &strip)
            if buffered:
                copy_ragged(kind, s, &t, buffer, False)
            t.end = t.panel
        t.row += t.rows
    if s.last:
        finish(kind, s, &b)


cdef inline Block block_of(const Plan* s, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t task = index, mirrored = s.cut.groups * s.cut.blocks - 1 - index, columns
    cdef Block b
    if s.cut.groups > 1 and not s.near:  # claimed from both ends: but both are to work on one group
        task = 2 * index if index <= mirrored else 2 * mirrored + 1
    b.left = s.first + task // s.cut.blocks * s.cut.group
    b.right = min(b.left + s.cut.group, s.end)
    b.top = task % s.cut.blocks * s.cut.block
    b.bottom = b.safe = min(b.top + s.cut.block, s.product.m)
    columns = column(&s.panels, b.right)
    if columns > s.product.n:
        b.safe = b.top
        if b.left == 0 and b.right == s.panels.count and not s.add:
            b.safe = b.bottom + 1 - ceil_div(columns, s.product.n)
    return b


cdef inline void point_at_rows(real* kind, const Plan* s, const Tiles* t, Strip* strip) noexcept nogil:
    """The rows of A of the first tile; beyond the last, that one again."""
    cdef const Product* p = s.product
    cdef const char* a = p.a + t.row * p.a_row + s.start * p.a_col
    cdef Py_ssize_t i
    for i in range(t.high):
        strip.rows[i] = a + min(i, t.rows - 1) * p.a_row
    strip.step, strip.next_rows = p.a_col, t.high * p.a_row if s.down else 0


cdef inline bint is_copied(real* kind, const Plan* s, const Block* b, const Tiles* t) noexcept nogil:
    """Whether the rows of A are copied first: they are read often, and have little of each cache line."""
    cdef const Product* p = s.product
    cdef Py_ssize_t size = sizeof(real)
    return (b.right - b.left >= MANY_PANELS and not s.down and t.rows == TILE_ROWS
            and (b.bottom - b.top) * size >= LINE_BYTES
            and TILE_ROWS * size <= SPARSE_BYTES and p.a_row == size and p.a_col != size)


cdef inline void point_at_copy(
    real* kind, const Plan* s, const Block* b, Tiles* t, real* copy, Strip* strip
) noexcept nogil:
    """The copies of the tile's rows of A, made here for all strips that begin in the cache lines of this one."""
    cdef const Product* p = s.product
    cdef Py_ssize_t size = sizeof(real), depth = s.depth, step = p.a_col // size, count, i, j, k
    cdef const real* a = <const real*> (p.a + t.row * size + s.start * p.a_col)
    cdef real* to
    if t.row >= t.until:
        count = min(LINE_BYTES // size, b.bottom - t.row) // TILE_ROWS
        t.copied, t.until = t.row, t.row + count * TILE_ROWS
        for k in range(depth):
            to = copy + k * TILE_ROWS
            for j in range(count):
                for i in range(TILE_ROWS):
                    to[i] = a[j * TILE_ROWS + i]
                to += depth * TILE_ROWS
            a += step
    copy += (t.row - t.copied) * depth
    for i in range(TILE_ROWS):
        strip.rows[i] = <const char*> (copy + i)
    strip.step, strip.next_rows = TILE_ROWS * size, 0


cdef inline bint is_ragged(const Plan* s, Py_ssize_t panel) noexcept nogil:
    return column(&s.panels, panel + 1) > s.product.n


cdef inline Py_ssize_t first_column(const Plan* s, Py_ssize_t panel) noexcept nogil:
    """That a tile computes. A ragged panel that is read in place ends where B's rows do: it begins among its
    neighbour's columns, if it has a neighbour."""
    cdef Py_ssize_t beyond = column(&s.panels, panel + 1) - s.product.n
    return column(&s.panels, panel) - (max(beyond, 0) if s.packed == NULL and s.panels.count > 1 else 0)


cdef inline char* packed_panel(real* kind, const Plan* s, Py_ssize_t panel) noexcept nogil:
    cdef Py_ssize_t columns = column(&s.panels, panel) - column(&s.panels, s.first)
    return s.packed + columns * s.depth * <Py_ssize_t> sizeof(real)


cdef inline void point_at_panels(
    real* kind, const Plan* s, const Tiles* t, real* padded, Strip* strip
) noexcept nogil:
    """The panels of the tiles, and their part of the bias."""
    cdef const Product* p = s.product
    cdef Py_ssize_t size = sizeof(real), left = first_column(s, t.panel), j
    cdef Py_ssize_t columns = width(&s.panels, t.panel)
    cdef const real* bias = <const real*> p.bias
    if s.packed == NULL:
        strip.b, strip.b_row = p.b + s.start * p.b_row + left * size, p.b_row
        strip.next_b = columns * size
    else:
        strip.b, strip.b_row = packed_panel(kind, s, t.panel), columns * size
        strip.next_b = columns * size * s.depth
    strip.bias, strip.next_bias = NULL, columns * size
    if bias != NULL and s.last:
        strip.bias = <const char*> (bias + left)
        if left + columns > p.n:
            for j in range(columns):
                padded[j] = bias[left + j] if left + j < p.n else 0
            strip.bias = <const char*> padded
    strip.count = t.end - t.panel
    if s.down:
        strip.count, strip.next_b, strip.next_bias = max(1, t.rows // t.high), 0, 0


cdef inline void point_at_result(
    real* kind, const Plan* s, const Tiles* t, real* buffer, Strip* strip
) noexcept nogil:
    """The rows of C of the first tile, likewise, or those of a buffer."""
    cdef Py_ssize_t size = sizeof(real), columns = width(&s.panels, t.panel), i
    cdef Py_ssize_t row = s.product.n * size
    cdef char* c = s.product.c + t.row * row + first_column(s, t.panel) * size
    if buffer != NULL:
        c, row = <char*> buffer, columns * size
        if s.add:
            copy_ragged(kind, s, t, buffer, True)
    for i in range(t.high):
        strip.out[i] = c + min(i, t.rows - 1) * row
    strip.next_out = t.high * row if s.down else columns * size


cdef inline void copy_ragged(
    real* kind, const Plan* s, const Tiles* t, real* buffer, bint from_c
) noexcept nogil:
    """Copies the columns that a ragged panel has to itself."""
    cdef Py_ssize_t left = column(&s.panels, t.panel), i
    cdef size_t bytes = (s.product.n - left) * sizeof(real)
    cdef real* c = <real*> s.product.c + t.row * s.product.n + left
    buffer += left - first_column(s, t.panel)
    for i in range(t.rows):
        if from_c:
            memcpy(buffer, c, bytes)
        else:
            memcpy(c, buffer, bytes)
        buffer += width(&s.panels, t.panel)
        c += s.product.n


cdef inline void finish(real* kind, const Plan* s, const Block* b) noexcept nogil:
    """What is left to do with a finished block of C: turn it back, apply the activation."""
    cdef const Product* p = s.product
    cdef const Product* wanted = s.wanted
    cdef Py_ssize_t size = sizeof(real), top = b.top, bottom = b.bottom, i, j
    cdef Py_ssize_t left = column(&s.panels, b.left), right = min(p.n, column(&s.panels, b.right))
    cdef real* row
    if p.c != wanted.c:
        transpose(kind, p.c + (top * p.n + left) * size, p.n * size,
                  wanted.c + (left * wanted.n + top) * size, wanted.n * size,
                  bottom - top, right - left, bottom - top)
        top, bottom, left, right = left, right, top, bottom
        if wanted.bias != NULL:
            for i in range(top, bottom):
                row = <real*> wanted.c + i * wanted.n
                for j in range(left, right):
                    row[j] += (<const real*> wanted.bias)[j]
    if wanted.activation != NULL:
        if right - left == wanted.n:  # whole rows: one after the other
            right, bottom = left + (bottom - top) * wanted.n, top + 1
        for i in range(top, bottom):
            row = <real*> wanted.c + i * wanted.n + left
            activate_in_place(wanted.activation, row, right - left, wanted.alpha, wanted.beta)
