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
#           for panels of the group (block.pxd)         the group in the second-level cache,
#             the tile (tile.pxd)                       and the sums in registers
#
# B is read in vectors: its rows are packed, or left alone if they are contiguous and either fit the second-level cache
# or are read for very few rows of A: else each strip of A would fetch them again from further away. A is read where it
# lies, transposed or not: the tile takes its elements one by one. Packing it cost more than it gained at every shape
# measured, except for transposed rows: of each cache line a tile takes a part, so those of all tiles are copied at once.
#
# Turning. Where B's columns are the contiguous ones (x @ weight.T), packing B is a transposition.
# If A is the smaller matrix it is cheaper to compute C^T = B^T A^T and to transpose that. So it is if
# nothing needs packing, but C's columns fill fewer vectors than its rows would. Where also K is long
# beside the rows or the columns of C, dot products (dots.pxd) save both. Where K is short and C has but a few columns, whole
# squares of A are transposed in registers (narrow.pxd). Where C is one row, rows of B are added up (row.pxd).
#
# Small products (small.pxd) are computed at once: to plan them takes longer.
#
# Shares. Where C has only a few tiles and K is long (the gradient of a small weight over many samples),
# the steps of K are shared out to tasks. How many shares there are follows from the shape alone, and
# they are added in order, as the parts of K are: the same bits for any number of threads.
#
# [1] Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.
# [2] Van Zee, van de Geijn, "BLIS: a framework for rapidly instantiating BLAS functionality",
#     ACM TOMS 41(3), 2015.

from minidl._kernels.runtime cimport memory
from minidl._kernels.product.block cimport DEPTH_BYTES, Plan, multiply_block, packed_panel
from minidl._kernels.product.dots cimport multiply_dots, multiply_vector
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.narrow cimport multiply_narrow
from minidl._kernels.product.panels cimport column, cut, cut_columns, pack, width
from minidl._kernels.product.product cimport (
    SERIAL_FLOPS, TASK_FLOPS, TASKS, Product, ceil_div, run_tasks, second_cache, swap_sides, task_t,
)
from minidl._kernels.product.row cimport multiply_row
from minidl._kernels.product.small cimport multiply_small, multiply_small_turned
from minidl._kernels.product.tile cimport TILE_ROWS, TILE_VECTORS, copy_out, lanes

cdef enum:
    SHARED_BYTES = 4 << 20      # of B, packed: what the last-level cache holds beside A and C
    NEAR_ROWS = 256             # of A are so few that B's panels are used only a few times each:
                                # the core that packed a panel should also multiply it
    NEAR_BYTES = 1 << 20        # of B, packed, if A has no more than NEAR_ROWS rows
    BLOCK_ROWS = 128            # of A in a task; more, if they and those of C have less than
    BLOCK_BYTES = 32 << 10      # together, as much as a first-level cache
    SHORT_BYTES = 512           # of a row of A and one of C, up to which tiles go down the rows, or of a
                                # row of A^T and one of B, for which parts have no more steps than
    NEAR_STEPS_BYTES = 24 << 10  # the first-level cache holds of them
    PACK_STEPS = 128            # steps of K in a task that packs
    SERIAL_PACK = 8_000         # elements of B that one thread packs faster than it calls for help
    IN_PLACE_ROWS = 8           # of A: B is read too few times for packing to pay
    CROWDED_ROWS = 64           # of A, likewise where B's rows crowd each other out of the first-level cache:
    WAYS = 8                    # it holds so many lines
    WAY_BYTES = 4096            # of all those that lie so far apart
    COPIED_ROWS = 64            # of A, transposed, are so many that their copies (block.pxd) should serve wide
    COPIED_BYTES = 2048         # groups of panels: so parts have fewer steps
    SHARE_STEPS = 64            # of K in a share, at least
    FEW_SHARES = 4              # are not worth it
    SUM_COLUMNS = 256           # sums of A's rows in a task
    SUM_STEPS = 128             # added up before they join the total, to keep the rounding small
    SERIAL_SUM = 60_000         # elements summed by one thread


cdef inline void multiply(real* kind, const Product* wanted) noexcept nogil:
    """Computes a product, or sets its `failed`. Here are the three outer loops: columns of C, parts of K,
    tasks."""
    cdef Product p = wanted[0]
    cdef Plan s
    cdef Py_ssize_t size = sizeof(real), depth, whole, panel_bytes, row_bytes, shared, columns
    cdef double flops
    cdef char* room = NULL
    cdef bint turned
    if multiply_shares(kind, wanted):
        return
    if p.a_sums != NULL:
        sum_rows(kind, wanted)
    if (p.m == 0 or p.n == 0 or multiply_vector(kind, wanted) or multiply_row(kind, wanted)
            or multiply_dots(kind, wanted) or multiply_narrow(kind, wanted)):
        return
    turned = turning_pays(kind, wanted)
    if multiply_small_turned(kind, wanted) if turned else multiply_small(kind, wanted):
        return
    if turned:
        turn(kind, &p)
    s.product, s.wanted, s.panels, s.end = &p, wanted, cut_columns(kind, p.n), 0
    depth, whole = steps_of_part(&p, size), whole_steps(&s, size)
    panel_bytes = depth * TILE_VECTORS * s.panels.lane * size
    shared = max(1, (NEAR_BYTES if p.m <= NEAR_ROWS else SHARED_BYTES) // panel_bytes)
    while s.end < s.panels.count and not p.failed[0]:
        s.first, s.end, s.start, s.last = s.end, min(s.end + shared, s.panels.count), 0, False
        columns = column(&s.panels, s.end) - column(&s.panels, s.first)
        while not s.last and not p.failed[0]:
            s.depth = min(depth, (whole if s.start < whole else p.k) - s.start)
            s.add, s.last = p.add or s.start > 0, s.start + s.depth == p.k
            row_bytes = (s.depth + p.n) * size
            s.down = s.panels.count == 1 or row_bytes <= SHORT_BYTES
            flops = 2.0 * p.m * columns * s.depth
            s.packed = NULL
            if s.start >= whole or not lies_well(&s, size):
                if room == NULL:
                    room = <char*> memory.take(min(shared, s.panels.count) * panel_bytes)
                s.packed = room
                pack_panels(kind, &s, columns)
            s.near = s.packed != NULL and p.m <= NEAR_ROWS
            s.cut = cut(s.end - s.first, second_cache() // 2 // panel_bytes, p.m,
                        max(BLOCK_ROWS, BLOCK_BYTES // row_bytes), 1, flops, s.near)
            if not p.failed[0] and not run_tasks(
                    <task_t> multiply_block[real], &s, s.cut.groups * s.cut.blocks, flops <= SERIAL_FLOPS,
                    p.whole, flops):
                p.failed[0] = True
            s.start += s.depth
    memory.give(room)
    if p.c != wanted.c:
        memory.give(p.c)


cdef inline Py_ssize_t steps_of_part(const Product* p, Py_ssize_t size) noexcept nogil:
    cdef bint copied = p.a_row == size and p.m >= COPIED_ROWS
    cdef Py_ssize_t parts = ceil_div(p.k * size, COPIED_BYTES if copied else DEPTH_BYTES), step_bytes = (p.m + p.n) * size
    if p.a_row == size and p.m > TILE_ROWS and step_bytes <= SHORT_BYTES:
        parts = max(parts, p.k * step_bytes // NEAR_STEPS_BYTES)
    return max(1, ceil_div(p.k, max(1, parts)))


# ── Turning ───────────────────────────────────────────────────────────────────────────────────────

cdef inline bint turning_pays(real* kind, const Product* p) noexcept nogil:
    """Counts the elements to transpose, either way. A lone column had better be a row, too."""
    cdef Py_ssize_t size = sizeof(real), turned = p.m * p.n + (0 if p.a_row == size else p.m * p.k)
    if p.add:
        return False
    if p.n == 1:
        return p.m > 1
    if p.b_col == size and (p.a_row != size or 4 * vectors(kind, p.n, p.m) > 3 * vectors(kind, p.m, p.n)):
        return False
    return turned < p.k * p.n


cdef inline Py_ssize_t vectors(real* kind, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Of all tiles of a result."""
    return ceil_div(rows, TILE_ROWS) * ceil_div(columns, lanes(kind))


cdef inline void turn(real* kind, Product* p) noexcept nogil:
    """C^T = B^T A^T, in memory of its own."""
    swap_sides(p)
    p.c = <char*> memory.take(p.m * p.n * sizeof(real))
    if p.c == NULL:
        p.failed[0] = True


# ── Packing ───────────────────────────────────────────────────────────────────────────────────────

cdef inline Py_ssize_t whole_steps(const Plan* s, Py_ssize_t size) noexcept nogil:
    """The steps of K up to which B may be read in place. If it has but one panel, and that is ragged, vectors
    go beyond the ends of B's rows: into the next row, but after the last rows no longer into B."""
    cdef const Product* p = s.product
    cdef Py_ssize_t beyond = column(&s.panels, s.panels.count) - p.n
    if s.panels.count > 1 or beyond == 0:
        return p.k
    if p.k <= p.m or p.b_row < p.n * size:  # the rest, packed, would be a second pass over C for little
        return 0
    return max(0, p.k - ceil_div(beyond * size, p.b_row))


cdef inline bint lies_well(const Plan* s, Py_ssize_t size) noexcept nogil:
    """Whether B is better read in place than packed: vectors in its rows, and neither too many for the second-level cache
    nor, if they lie a large power of two apart, for the few places that such rows have in the first-level cache."""
    cdef const Product* p = s.product
    cdef Py_ssize_t apart = max(p.b_row & -p.b_row, 1)
    if p.b_col != size:
        return False
    if p.m <= IN_PLACE_ROWS:
        return True
    if s.depth * max(p.b_row, -p.b_row) > second_cache() // 2:
        return False
    return p.m < CROWDED_ROWS or s.depth <= WAYS * max(WAY_BYTES // apart, 1)


cdef inline void pack_panels(real* kind, const Plan* s, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t tasks = (s.end - s.first) * ceil_div(s.depth, PACK_STEPS)
    if s.packed == NULL or not run_tasks(<task_t> pack_task[real], <Plan*> s, tasks,
                                         columns * s.depth <= SERIAL_PACK, s.product.whole,
                                         2.0 * s.product.m * columns * s.depth):
        s.product.failed[0] = True


cdef inline void pack_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """PACK_STEPS rows of one panel of B."""
    cdef const Product* p = s.product
    cdef Py_ssize_t tasks = ceil_div(s.depth, PACK_STEPS), start = index % tasks * PACK_STEPS
    cdef Py_ssize_t panel = s.first + index // tasks
    pack(kind, &s.panels, panel, p.b + (s.start + start) * p.b_row, p.b_row, p.b_col,
         min(s.depth - start, PACK_STEPS),
         packed_panel(kind, s, panel) + start * width(&s.panels, panel) * <Py_ssize_t> sizeof(real))


# ── Shares ────────────────────────────────────────────────────────────────────────────────────────

cdef struct Shares:
    const Product* product
    Py_ssize_t steps            # of a share
    Py_ssize_t numbers          # that it computes: C and the sums of A's rows
    char* shares                # where these go


cdef inline bint multiply_shares(real* kind, const Product* p) noexcept nogil:
    """Computes p if it has many steps and so few tiles that the threads must share its sum; else returns
    False."""
    cdef Py_ssize_t size = sizeof(real), numbers = p.m * p.n + (p.m if p.a_sums != NULL else 0), count, i
    cdef double flops = 2.0 * p.m * p.n * p.k
    cdef const real* share
    cdef Shares s
    count = min(min(<Py_ssize_t> TASKS, <Py_ssize_t> (flops / TASK_FLOPS)), p.k // SHARE_STEPS)
    if (count < FEW_SHARES or ceil_div(p.m, TILE_ROWS) * cut_columns(kind, p.n).count >= TASKS
            or p.bias != NULL or p.activation != NULL):
        return False
    s.product, s.steps, s.numbers = p, ceil_div(p.k, count), numbers
    count = ceil_div(p.k, s.steps)
    s.shares = <char*> memory.take(count * numbers * size)
    if s.shares == NULL or not run_tasks(<task_t> share_task[real], &s, count, False, p.whole, flops):
        p.failed[0] = True
    else:
        for i in range(count):
            share = <const real*> s.shares + i * numbers
            copy_out(share, <real*> p.c, p.m * p.n, p.add or i > 0, NULL)
            if p.a_sums != NULL:
                copy_out(share + p.m * p.n, <real*> p.a_sums, p.m, i > 0, NULL)
    memory.give(s.shares)
    return True


cdef inline void share_task(real* kind, const Shares* s, Py_ssize_t index) noexcept nogil:
    cdef Product p = s.product[0]
    cdef Py_ssize_t start = index * s.steps
    p.a += start * p.a_col
    p.b += start * p.b_row
    p.k = min(s.steps, p.k - start)
    p.c, p.add = s.shares + index * s.numbers * <Py_ssize_t> sizeof(real), False
    if p.a_sums != NULL:
        p.a_sums = p.c + p.m * p.n * <Py_ssize_t> sizeof(real)
    multiply(kind, &p)


# ── The sums of A's rows ──────────────────────────────────────────────────────────────────────────

cdef inline void sum_rows(real* kind, const Product* p) noexcept nogil:
    if not run_tasks(<task_t> sum_task[real], <Product*> p, ceil_div(p.m, SUM_COLUMNS),
                     p.m * p.k <= SERIAL_SUM, p.whole, 2.0 * p.m * p.n * p.k):
        p.failed[0] = True


cdef inline void sum_task(real* kind, const Product* p, Py_ssize_t index) noexcept nogil:
    """The sums of SUM_COLUMNS rows. Their elements lie side by side, step after step; where few rows do so
    without a gap, several steps are added at a time, and their sums folded at the end."""
    cdef Py_ssize_t size = sizeof(real), left = index * SUM_COLUMNS, n = min(p.m - left, SUM_COLUMNS)
    cdef Py_ssize_t together = 1, step = 0, end, half, j
    cdef real[SUM_COLUMNS] part
    cdef real* total = <real*> p.a_sums + left
    cdef const real* a
    while p.a_col == n * size and 2 * together * n <= SUM_COLUMNS and 16 * together <= p.k:
        together *= 2
    for j in range(n):
        total[j] = 0
    while step < p.k:
        for j in range(n * together):
            part[j] = 0
        end = min(step + SUM_STEPS * together, p.k)
        while step < end:
            a = <const real*> (p.a + step * p.a_col) + left
            for j in range(n * min(together, end - step)):
                part[j] += a[j]
            step += together
        half = together // 2
        while half > 0:
            for j in range(n * half):
                part[j] += part[n * half + j]
            half //= 2
        for j in range(n):
            total[j] += part[j]
