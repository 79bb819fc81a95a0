# A matrix product: C = A B, with C added, a bias added, an activation applied on the way out.
#
# The loop nest is that of GotoBLAS [1] and BLIS [2], with A and B exchanged at the caches because
# the tile here is wide and low. From the outside in:
#
#   for columns of C, SHARED_BYTES of B at a time       B's packed panels stay in the shared cache
#     for parts of K, DEPTH_BYTES of A's rows at a time
#       pack that part of B into panels (panels.pxd), where it pays
#       for tasks: a group of panels, a block of rows   over the threads
#         for strips of TILE_ROWS rows of A             the strip stays in the first-level cache,
#           for panels of the group                     the group in the second-level cache,
#             the tile (tile.pxd)                       and the sums in registers
#
# B is read in vectors: its rows are packed, or left alone if they are contiguous and lie well. A is
# read where it lies, transposed or not: the tile takes its elements one by one. Packing it cost more
# than it gained at every shape measured, except for transposed rows of which a tile of 4 rows would
# take a quarter of each cache line.
#
# Turning. Where B's columns are the contiguous ones (x @ weight.T), packing B is a transposition.
# If A is the smaller matrix it is cheaper to compute C^T = B^T A^T and to transpose that. Where also
# K is long beside the rows or the columns of C, dot products (dots.pxd) save both.
#
# K is never split over threads and its parts are added in order: the same bits for any number of
# threads and any alignment.
#
# [1] Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.
# [2] Van Zee, van de Geijn, "BLIS: a framework for rapidly instantiating BLAS functionality",
#     ACM TOMS 41(3), 2015.

from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.product.dots cimport multiply_dots, multiply_vector
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.panels cimport Cut, Panels, alike, column, cut, cut_columns, pack, width
from minidl._kernels.product.product cimport SERIAL_FLOPS, Product, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport (
    TILE_LANES, TILE_ROWS, TILE_VECTORS, Height, Pair, Strip, Whole, any_tile, copy_out, lanes,
    transpose,
)

cdef enum:
    DEPTH_BYTES = 4096          # of a row of A in a part: 8 rows fill a first-level cache of 32 KB
    GROUP_BYTES = 512 << 10     # of B's panels in a group: half of the second-level cache
    SHARED_BYTES = 4 << 20      # of B, packed: what the last-level cache holds beside A and C
    NEAR_ROWS = 256             # of A are so few that B's panels are used only a few times each:
                                # the core that packed a panel should also multiply it
    NEAR_BYTES = 1 << 20        # of B, packed, if A has no more than NEAR_ROWS rows
    BLOCK_ROWS = 128            # of A in a task
    PACK_STEPS = 128            # steps of K in a task that packs
    SERIAL_PACK = 8_000         # elements of B that one thread packs faster than it calls for help
    IN_PLACE_BYTES = 512 << 10  # of B that fit the second-level cache: no need to pack it
    FEW_STRIPS = 16             # of A: B is read too few times for packing to pay (TILE_ROWS = 8)
    FEW_LOW_STRIPS = 4          # the same where TILE_ROWS = 4, for then B is read twice as often
    MORE_STRIPS = 32            # the same where B's rows do not compete for cache lines
    CROWDED_BYTES = 2048        # rows a multiple of this apart compete for the same cache lines
    MANY_PANELS = 3             # in a group make it worth copying a strip of A that is transposed and
    SPARSE_BYTES = 16           # has at most so many bytes of each cache line


cdef struct Plan:
    # What the tasks between two meetings of the threads need to know.
    const Product* product      # the product computed, perhaps turned
    const Product* wanted       # the product asked for
    Panels panels               # of B
    Py_ssize_t first, end       # the panels computed now
    Py_ssize_t start, depth     # the steps of K summed now
    Py_ssize_t first_packed     # of the panels; those before it are read where they lie
    char* packed                # the panels from first_packed to end
    Cut cut                     # tasks: panels of B by rows of A
    bint near                   # few rows: a core should find the panels that it packed in its cache


# ── The plan ──────────────────────────────────────────────────────────────────────────────────────

cdef inline bint turning_pays(const Product* p, Py_ssize_t size) noexcept nogil:
    """Counts the elements to transpose, either way. A lone column had better be a row, too."""
    cdef Py_ssize_t turned = p.m * p.n + (0 if p.a_row == size else p.m * p.k)
    if p.add:
        return False
    return p.m > 1 if p.n == 1 else p.b_col != size and turned < p.k * p.n


cdef inline void multiply(real* kind, const Product* p) noexcept nogil:
    """Computes p, or sets its `failed`."""
    cdef Product turned = p[0]
    if p.m == 0 or p.n == 0:
        return
    if multiply_vector(kind, p) or multiply_dots(kind, p):
        return
    if not turning_pays(p, sizeof(real)):
        multiply_blocks(kind, p, p)
        return
    turned.m, turned.n = p.n, p.m
    turned.a, turned.a_row, turned.a_col = p.b, p.b_col, p.b_row
    turned.b, turned.b_row, turned.b_col = p.a, p.a_col, p.a_row
    turned.bias, turned.activation = NULL, NULL
    turned.c_row = p.m * sizeof(real)
    turned.c = <char*> memory.take(p.n * turned.c_row)
    if turned.c == NULL:
        p.failed[0] = True
        return
    multiply_blocks(kind, &turned, p)
    memory.give(turned.c)


cdef inline void multiply_blocks(
    real* kind, const Product* p, const Product* wanted
) noexcept nogil:
    """The three outer loops: columns of C, parts of K, tasks."""
    cdef Plan s
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), part
    cdef Py_ssize_t parts = max(1, ceil_div(p.k * size, DEPTH_BYTES)), depth = ceil_div(p.k, parts)
    cdef Py_ssize_t panel_bytes = max(1, depth) * TILE_VECTORS * lane * size
    cdef Py_ssize_t shared = max(1, (NEAR_BYTES if p.m <= NEAR_ROWS else SHARED_BYTES) // panel_bytes)
    s.product, s.wanted, s.panels = p, wanted, cut_columns(kind, p.n)
    s.packed = NULL
    s.end = 0
    while s.end < s.panels.count and not p.failed[0]:
        s.first, s.end = s.end, min(s.end + shared, s.panels.count)
        for part in range(parts):
            s.start = part * depth
            s.depth = min(depth, p.k - s.start)
            s.first_packed = s.end if lies_well(&s, size) else s.first
            s.near = s.first_packed < s.end and p.m <= NEAR_ROWS
            s.cut = cut(s.end - s.first, GROUP_BYTES // panel_bytes, p.m, BLOCK_ROWS, 1,
                        2.0 * p.m * s.depth * p.n * (s.end - s.first) / s.panels.count, s.near)
            if s.first_packed < s.end and s.packed == NULL:
                s.packed = <char*> memory.take(min(shared, s.panels.count) * panel_bytes)
                if s.packed == NULL:
                    p.failed[0] = True
            if not p.failed[0]:
                multiply_part(kind, &s)
    memory.give(s.packed)


cdef inline bint lies_well(const Plan* s, Py_ssize_t size) noexcept nogil:
    """Whether B is better read in place than packed: vectors in its rows, and not too many."""
    cdef const Product* p = s.product
    cdef Py_ssize_t few = FEW_STRIPS if TILE_ROWS == 8 else FEW_LOW_STRIPS
    if p.b_row % CROWDED_BYTES:
        few = MORE_STRIPS
    if p.b_col != size or (s.panels.count == 1 and column(&s.panels, 1) > p.n):
        return False
    return p.m <= few * TILE_ROWS or s.depth * max(p.b_row, -p.b_row) <= IN_PLACE_BYTES


cdef inline void multiply_part(real* kind, Plan* s) noexcept nogil:
    """Packs the panels of one part of K, and multiplies them."""
    cdef const Product* p = s.product
    cdef Py_ssize_t columns = column(&s.panels, s.end) - column(&s.panels, s.first_packed)
    if not run_tasks(<task_t> pack_task[real], s,
                     (s.end - s.first_packed) * ceil_div(s.depth, PACK_STEPS),
                     columns * s.depth <= SERIAL_PACK, p.whole):
        p.failed[0] = True
        return
    columns = column(&s.panels, s.end) - column(&s.panels, s.first)
    if not run_tasks(<task_t> multiply_task[real], s, s.cut.groups * s.cut.blocks,
                     2.0 * p.m * columns * s.depth <= SERIAL_FLOPS, p.whole):
        p.failed[0] = True


cdef inline char* packed_panel(real* kind, const Plan* s, Py_ssize_t panel) noexcept nogil:
    cdef Py_ssize_t columns = column(&s.panels, panel) - column(&s.panels, s.first_packed)
    return s.packed + columns * s.depth * <Py_ssize_t> sizeof(real)


cdef inline void pack_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """PACK_STEPS rows of one panel of B."""
    cdef const Product* p = s.product
    cdef Py_ssize_t tasks = ceil_div(s.depth, PACK_STEPS), start = index % tasks * PACK_STEPS
    cdef Py_ssize_t panel = s.first_packed + index // tasks
    pack(kind, &s.panels, panel, p.b + (s.start + start) * p.b_row, p.b_row, p.b_col,
         min(s.depth - start, PACK_STEPS),
         packed_panel(kind, s, panel) + start * width(&s.panels, panel) * <Py_ssize_t> sizeof(real))


# ── A task: some panels of B, some rows of A ──────────────────────────────────────────────────────

cdef inline void multiply_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    cdef const Product* p = s.product
    cdef Py_ssize_t task = index, mirrored = s.cut.groups * s.cut.blocks - 1 - index
    if s.cut.groups > 1 and not s.near:  # claimed from both ends: but both are to work on one group
        task = 2 * index if index <= mirrored else 2 * mirrored + 1
    cdef Py_ssize_t left = s.first + task // s.cut.blocks * s.cut.group
    cdef Py_ssize_t right = min(left + s.cut.group, s.end)
    cdef Py_ssize_t top = task % s.cut.blocks * s.cut.block, bottom = min(top + s.cut.block, p.m)
    cdef Py_ssize_t row = top, none = 0
    cdef char[TILE_ROWS * DEPTH_BYTES] copy
    cdef Strip strip
    strip.shifts, strip.spans, strip.k = &none, 1, s.depth
    while row < bottom:
        point_at_rows(kind, s, row, right - left >= MANY_PANELS, &strip, copy)
        if bottom - row > TILE_ROWS // 2:
            multiply_strip(kind, <Whole*> NULL, s, row, left, right, &strip)
            row += TILE_ROWS
        else:
            multiply_strip(kind, <Pair*> NULL, s, row, left, right, &strip)
            row += 2
    if s.start + s.depth == p.k:
        finish(kind, s, top, bottom, column(&s.panels, left), min(p.n, column(&s.panels, right)))


cdef inline void point_at_rows(
    real* kind, const Plan* s, Py_ssize_t top, bint often, Strip* strip, char* copy
) noexcept nogil:
    """Points at TILE_ROWS rows of A; beyond the last, at that one again. Rows that are read often and
    have little of each cache line are copied first."""
    cdef const Product* p = s.product
    cdef Py_ssize_t size = sizeof(real), row = p.a_row, step = p.a_col, i, k
    cdef const char* a = p.a + top * row + s.start * step
    if (often and TILE_ROWS * size <= SPARSE_BYTES and row == size and step != size
            and top + TILE_ROWS <= p.m):
        for k in range(s.depth):
            for i in range(TILE_ROWS):
                (<real*> copy)[k * TILE_ROWS + i] = (<const real*> (a + k * step))[i]
        a, step = copy, TILE_ROWS * size
    for i in range(TILE_ROWS):
        strip.rows[i] = a + min(i, p.m - 1 - top) * row
    strip.step = step


cdef inline void multiply_strip(
    real* kind, Height* height, const Plan* s, Py_ssize_t top, Py_ssize_t panel, Py_ssize_t end,
    Strip* strip
) noexcept nogil:
    """The tiles of some rows of C, for the panels up to `end`: as many in one go as are alike."""
    cdef const Product* p = s.product
    cdef Py_ssize_t size = sizeof(real), i, left, columns, until, before
    cdef Py_ssize_t valid = min(p.m - top, TILE_ROWS if Height is Whole else 2)
    cdef char* c
    cdef const char* bias
    cdef real[TILE_ROWS * TILE_VECTORS * TILE_LANES] edge
    cdef bint add = p.add or s.start > 0, last = s.start + s.depth == p.k, ragged
    while panel < end:
        left, columns = column(&s.panels, panel), width(&s.panels, panel)
        until, before = min(end, alike(&s.panels, panel)), 0
        ragged = left + columns > p.n
        if ragged and panel < s.first_packed:  # read in place, it must not go beyond the rows' ends
            before = left + columns - p.n
        if panel < s.first_packed:
            strip.b, strip.b_row = p.b + s.start * p.b_row + (left - before) * size, p.b_row
            strip.b_skip = columns * size - s.depth * p.b_row
        else:
            strip.b, strip.b_row, strip.b_skip = packed_panel(kind, s, panel), columns * size, 0
        bias = p.bias + left * size if p.bias != NULL and last else NULL
        c = p.c + top * p.c_row + left * size
        strip.add, strip.bias, strip.count = add and not ragged, NULL if ragged else bias, until - panel
        for i in range(TILE_ROWS):  # beyond the last row the same is written to that one again
            strip.out[i] = <char*> (edge + i * columns) if ragged else c + min(i, valid - 1) * p.c_row
        any_tile(kind, height, columns // lanes(kind), strip)
        if ragged:
            for i in range(valid):
                copy_out(edge + i * columns + before, <real*> (c + i * p.c_row), p.n - left, add,
                         <const real*> bias)
        panel = until


cdef inline void finish(
    real* kind, const Plan* s, Py_ssize_t top, Py_ssize_t bottom, Py_ssize_t left, Py_ssize_t right
) noexcept nogil:
    """What is left to do with a finished block of C: turn it back, apply the activation."""
    cdef const Product* p = s.product
    cdef const Product* wanted = s.wanted
    cdef Py_ssize_t size = sizeof(real), i, j
    cdef real* row
    if p != wanted:
        transpose(kind, p.c + top * p.c_row + left * size, p.c_row,
                  wanted.c + left * wanted.c_row + top * size, wanted.c_row,
                  bottom - top, right - left, bottom - top)
        top, bottom, left, right = left, right, top, bottom
        if wanted.bias != NULL:
            for i in range(top, bottom):
                row = <real*> (wanted.c + i * wanted.c_row)
                for j in range(left, right):
                    row[j] += (<const real*> wanted.bias)[j]
    if wanted.activation != NULL:
        for i in range(top, bottom):
            row = <real*> (wanted.c + i * wanted.c_row) + left
            activate_in_place(wanted.activation, row, right - left, wanted.alpha, wanted.beta)
