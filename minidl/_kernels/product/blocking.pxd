# A matrix product: C = A B, with C added, a bias added, an activation applied on the way out.
#
# The loop nest is that of GotoBLAS [1] and BLIS [2], with A and B exchanged at the caches because
# the tile here is wide and low. From the outside in:
#
#   for columns of C, SHARED_BYTES of B at a time       B's packed part stays in the shared cache (NEAR_BYTES: nearer)
#     for steps of K, DEPTH_BYTES of A's rows at a time
#       pack that part of B into panels, where it pays
#       for tasks: a group of panels, a block of rows   over the threads
#         for slivers of TILE_ROWS rows of A            the sliver stays in the first-level cache,
#           for panels of the group                     the group in the second-level cache,
#             the tile (tile.pxd)                      and the sums in registers
#
# A panel is as many columns of B as a tile is wide. B is read in vectors: its rows are packed, or
# left alone if they are contiguous and lie well. A is read where it lies, transposed or not: the
# tile takes its elements one by one. Packing it cost more than it gained at every shape measured,
# but for transposed rows of which a tile of 4 rows would take a quarter of each cache line.
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

from libc.string cimport memset

from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.product.dots cimport multiply_dots, multiply_vector
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport (
    SERIAL_FLOPS, TASK_FLOPS, TASKS, Product, ceil_div, run_tasks,
)
from minidl._kernels.product.tile cimport (
    TILE_LANES, TILE_ROWS, TILE_VECTORS, Height, Pair, Strip, Whole, any_tile, copy_out, lanes,
    pack_rows, transpose,
)

cdef enum:
    DEPTH_BYTES = 4096          # of a row of A: 8 of them fill a first-level cache of 32 KB
    GROUP_BYTES = 512 << 10     # of B's panels: half of the second-level cache
    SHARED_BYTES = 4 << 20      # of B, packed: what the last-level cache holds beside A and C,
    NEAR_BYTES = 1 << 20        # or what stays nearer, while few rows of A go by
    BLOCK_ROWS = 128            # of A in a task
    PACK_STEPS = 128            # steps of K in a packing task
    SERIAL_PACK = 8_000         # elements of B that one thread packs faster than it calls for help
    NEAR_ROWS = 256             # of A: so few, and a core had better multiply the panels that it packed
    IN_PLACE_BYTES = 512 << 10  # of B, which is read where it lies if it fits the second level,
    FEW_SLIVERS = 16            # or if there are so few of A (a quarter if they have 4 rows, for each of
    MORE_SLIVERS = 32           # which B is read once more), or some more and B's rows are not
    CROWDED_BYTES = 2048        # (or a multiple) apart: then they compete for the same cache lines
    MANY_PANELS = 3             # in a group make it worth copying a transposed sliver of A that
    SPARSE_BYTES = 16           # has so little of each cache line


cdef struct Stage:
    # What the tasks between two meetings of the threads need to know.
    const Product* product      # the product computed, perhaps turned,
    const Product* wanted       # and the one asked for
    Py_ssize_t start, depth     # the steps of K
    Py_ssize_t vectors, panels  # C's columns, in vectors (the last may be ragged) and in panels,
    Py_ssize_t wide             # so many of which have TILE_VECTORS of them, the others one less
    Py_ssize_t first, end       # the panels of this stage
    char* packed                # B's panels from first_packed to end
    Py_ssize_t first_packed
    Py_ssize_t group, block     # a task's panels and rows
    Py_ssize_t groups, blocks
    bint near                   # A is low: a core is to find the panels that it packed in its cache


# ── The plan ──────────────────────────────────────────────────────────────────────────────────────

cdef inline Py_ssize_t column(const Stage* s, Py_ssize_t panel, Py_ssize_t lanes) noexcept nogil:
    """A panel's first column. Panels are 3 vectors wide, but for the last ones: 2, not 3 and 1."""
    return min(s.vectors, TILE_VECTORS * panel - max(0, panel - s.wide)) * lanes


cdef inline bint turning_pays(const Product* p, Py_ssize_t size) noexcept nogil:
    """Counts the elements to transpose, either way. A lone column had better be a row, too."""
    cdef Py_ssize_t turned = p.m * p.n + (0 if p.a_row == size else p.m * p.k)
    if p.add:
        return False
    return p.m > 1 if p.n == 1 else p.b_col != size and turned < p.k * p.n


cdef inline void plan_tasks(Stage* s, Py_ssize_t panel_bytes) noexcept nogil:
    """Cuts the stage's part of C into groups of panels and blocks of rows.

    By the shape alone: the same for any number of threads."""
    cdef Py_ssize_t panels = s.end - s.first, slivers = ceil_div(s.product.m, TILE_ROWS)
    cdef double flops = 2.0 * s.product.m * s.depth * s.product.n * panels / s.panels
    s.near = s.first_packed < s.end and s.product.m <= NEAR_ROWS
    s.group = min(panels, max(1, GROUP_BYTES // panel_bytes))
    s.block = min(slivers, BLOCK_ROWS // TILE_ROWS)
    s.groups, s.blocks = ceil_div(panels, s.group), ceil_div(slivers, s.block)
    while (s.groups * s.blocks < TASKS and (s.block > 1 or s.group > 1)
           and flops >= 2 * TASK_FLOPS * s.groups * s.blocks):
        if s.block > 1 and not (s.near and s.group > 1):
            s.block = ceil_div(s.block, 2)
        else:
            s.group = ceil_div(s.group, 2)
        s.groups, s.blocks = ceil_div(panels, s.group), ceil_div(slivers, s.block)
    s.block *= TILE_ROWS


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
    """The three outer loops: columns of C, steps of K, tasks."""
    cdef Stage s
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), part
    cdef Py_ssize_t parts = max(1, ceil_div(p.k * size, DEPTH_BYTES)), depth = ceil_div(p.k, parts)
    cdef Py_ssize_t panel_bytes = max(1, depth) * TILE_VECTORS * lane * size
    cdef Py_ssize_t shared = max(1, (NEAR_BYTES if p.m <= NEAR_ROWS else SHARED_BYTES) // panel_bytes)
    s.product, s.wanted = p, wanted
    s.vectors = ceil_div(p.n, lane)
    s.panels = ceil_div(s.vectors, TILE_VECTORS)
    s.wide = max(0, s.vectors - s.panels * (TILE_VECTORS - 1))
    s.packed = NULL
    s.end = 0
    while s.end < s.panels and not p.failed[0]:
        s.first, s.end = s.end, min(s.end + shared, s.panels)
        for part in range(parts):
            s.start = part * depth
            s.depth = min(depth, p.k - s.start)
            s.first_packed = s.end if lies_well(&s, lane, size) else s.first
            plan_tasks(&s, panel_bytes)
            if s.first_packed < s.end and s.packed == NULL:
                s.packed = <char*> memory.take(min(shared, s.panels) * panel_bytes)
                if s.packed == NULL:
                    p.failed[0] = True
            if not p.failed[0]:
                run_stage(kind, &s)
    memory.give(s.packed)


cdef inline bint lies_well(const Stage* s, Py_ssize_t lane, Py_ssize_t size) noexcept nogil:
    """Whether B is better read in place than packed: vectors in its rows, and not too many."""
    cdef const Product* p = s.product
    cdef Py_ssize_t few = FEW_SLIVERS if TILE_ROWS == 8 else FEW_SLIVERS // 4
    if p.b_row % CROWDED_BYTES:
        few = MORE_SLIVERS
    if p.b_col != size or (s.panels == 1 and s.vectors * lane > p.n):
        return False
    return p.m <= few * TILE_ROWS or s.depth * max(p.b_row, -p.b_row) <= IN_PLACE_BYTES


cdef inline void run_stage(real* kind, Stage* s) noexcept nogil:
    cdef const Product* p = s.product
    cdef Py_ssize_t lane = lanes(kind), columns
    columns = column(s, s.end, lane) - column(s, s.first_packed, lane)
    if not run_tasks(<pool.task_t> pack_task[real], s,
                     (s.end - s.first_packed) * ceil_div(s.depth, PACK_STEPS),
                     columns * s.depth <= SERIAL_PACK, p.whole):
        p.failed[0] = True
        return
    columns = column(s, s.end, lane) - column(s, s.first, lane)
    if not run_tasks(<pool.task_t> multiply_task[real], s, s.groups * s.blocks,
                     2.0 * p.m * columns * s.depth <= SERIAL_FLOPS, p.whole):
        p.failed[0] = True


# ── Packing ───────────────────────────────────────────────────────────────────────────────────────

cdef inline void pack_task(real* context, Py_ssize_t index) noexcept nogil:
    """PACK_STEPS rows of one panel of B. The context is a Stage; its type here tells the dtype."""
    cdef const Stage* s = <const Stage*> context
    cdef const Product* p = s.product
    cdef Py_ssize_t lane = lanes(context), size = sizeof(real), i
    cdef Py_ssize_t chunks = ceil_div(s.depth, PACK_STEPS), start = index % chunks * PACK_STEPS
    cdef Py_ssize_t panel = s.first_packed + index // chunks, left = column(s, panel, lane)
    cdef Py_ssize_t row = (column(s, panel + 1, lane) - left) * size  # a panel's, in bytes
    cdef Py_ssize_t columns = min(row // size, p.n - left), steps = min(s.depth - start, PACK_STEPS)
    cdef const char* x = p.b + (s.start + start) * p.b_row + left * p.b_col
    cdef char* y = s.packed + (left - column(s, s.first_packed, lane)) * s.depth * size
    y += start * row
    if p.b_row == size and p.b_col != size:
        transpose(context, x, p.b_col, y, row, columns, steps, row // size)
        return
    pack_rows(context, x, p.b_row, p.b_col, y, row, steps, columns)
    if columns * size < row:
        for i in range(steps):
            memset(y + i * row + columns * size, 0, row - columns * size)


# ── A task: some panels of B, some rows of A ──────────────────────────────────────────────────────

cdef inline void multiply_task(real* context, Py_ssize_t index) noexcept nogil:
    cdef const Stage* s = <const Stage*> context
    cdef const Product* p = s.product
    cdef Py_ssize_t task = index, mirrored = s.groups * s.blocks - 1 - index
    if s.groups > 1 and not s.near:  # claimed from both ends: but both are to work on one group
        task = 2 * index if index <= mirrored else 2 * mirrored + 1
    cdef Py_ssize_t left = s.first + task // s.blocks * s.group
    cdef Py_ssize_t right = min(left + s.group, s.end)
    cdef Py_ssize_t top = task % s.blocks * s.block, bottom = min(top + s.block, p.m)
    cdef Py_ssize_t row = top, none = 0
    cdef char[TILE_ROWS * DEPTH_BYTES] sliver
    cdef Strip strip
    strip.shifts, strip.spans, strip.k = &none, 1, s.depth
    while row < bottom:
        point_at_rows(context, s, row, right - left >= MANY_PANELS, &strip, sliver)
        if bottom - row > TILE_ROWS // 2:
            multiply_sliver(context, <Whole*> NULL, s, row, left, right, &strip)
            row += TILE_ROWS
        else:
            multiply_sliver(context, <Pair*> NULL, s, row, left, right, &strip)
            row += 2
    if s.start + s.depth == p.k:
        finish(context, s, top, bottom, column(s, left, lanes(context)),
               min(p.n, column(s, right, lanes(context))))


cdef inline void point_at_rows(
    real* kind, const Stage* s, Py_ssize_t top, bint often, Strip* strip, char* sliver
) noexcept nogil:
    """Points at TILE_ROWS rows of A; beyond the last, at that one again."""
    cdef const Product* p = s.product
    cdef Py_ssize_t size = sizeof(real), row = p.a_row, step = p.a_col, i, k
    cdef const char* a = p.a + top * row + s.start * step
    cdef real* copy = <real*> sliver
    if (often and TILE_ROWS * size <= SPARSE_BYTES and row == size and step != size
            and top + TILE_ROWS <= p.m):
        for k in range(s.depth):
            for i in range(TILE_ROWS):
                copy[k * TILE_ROWS + i] = (<const real*> (a + k * step))[i]
        a, step = sliver, TILE_ROWS * size
    for i in range(TILE_ROWS):
        strip.rows[i] = a + min(i, p.m - 1 - top) * row
    strip.step = step


cdef inline void multiply_sliver(
    real* kind, Height* height, const Stage* s, Py_ssize_t top, Py_ssize_t panel, Py_ssize_t end,
    Strip* strip
) noexcept nogil:
    """The tiles of some rows of C, for the panels up to `end`: as many in one go as are alike."""
    cdef const Product* p = s.product
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), i, left, width, until, before
    cdef Py_ssize_t valid = min(p.m - top, TILE_ROWS if Height is Whole else 2)
    cdef Py_ssize_t whole = s.panels - (s.vectors * lane > p.n)  # so many are not ragged
    cdef char* c
    cdef const char* bias
    cdef real[TILE_ROWS * TILE_VECTORS * TILE_LANES] edge
    cdef bint add = p.add or s.start > 0, last = s.start + s.depth == p.k
    while panel < end:
        left, width = column(s, panel, lane), column(s, panel + 1, lane) - column(s, panel, lane)
        until, before = min(end, s.wide if panel < s.wide else s.panels), 0
        if panel < whole:
            until = min(until, whole)
        elif panel < s.first_packed:  # read in place, it must not go beyond the rows' ends
            before = left + width - p.n
        if panel < s.first_packed:
            strip.b, strip.b_row = p.b + s.start * p.b_row + (left - before) * size, p.b_row
            strip.b_skip = width * size - s.depth * p.b_row
        else:
            strip.b = s.packed + (left - column(s, s.first_packed, lane)) * s.depth * size
            strip.b_row, strip.b_skip = width * size, 0
        bias = p.bias + left * size if p.bias != NULL and last else NULL
        c = p.c + top * p.c_row + left * size
        if panel < whole:
            for i in range(TILE_ROWS):  # beyond the last row the same is written to that one again
                strip.out[i] = c + min(i, valid - 1) * p.c_row
            strip.add, strip.bias, strip.count = add, bias, until - panel
            any_tile(kind, height, width // lane, strip)
        else:
            for i in range(TILE_ROWS):
                strip.out[i] = <char*> (edge + i * width)
            strip.add, strip.bias, strip.count = False, NULL, 1
            any_tile(kind, height, width // lane, strip)
            for i in range(valid):
                copy_out(edge + i * width + before, <real*> (c + i * p.c_row), p.n - left, add,
                         <const real*> bias)
        panel = until


cdef inline void finish(
    real* kind, const Stage* s, Py_ssize_t top, Py_ssize_t bottom, Py_ssize_t left, Py_ssize_t right
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
            wanted.activation(NULL, row, row, right - left, wanted.alpha, wanted.beta)
