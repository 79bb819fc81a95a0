# Panels: how the right operand of a product is cut, packed and dealt out, for matrix products and
# convolutions alike. The columns are those of B, or the output channels of a convolution.
#
# A panel is the columns that a tile is wide: TILE_VECTORS vectors, or one less for the last panels
# where that avoids a panel of a single vector: 7 vectors are 3 + 2 + 2, not 3 + 3 + 1. A packed
# panel has its columns side by side, step after step, as the tile reads them, and the panels follow
# one another. So panel j begins at column(j) * steps numbers:
#
#     B    0 1 2 | 3 4       packed    0 1 2  0 1 2  0 1 2  3 4  3 4  3 4
#          0 1 2 | 3 4                 step 0 step 1 ...
#          0 1 2 | 3 4                 panel 0              panel 1
#
# A task computes a group of panels for a block of rows: the group stays in the second-level cache.

from libc.string cimport memcpy

from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport TASK_FLOPS, TASKS, ceil_div
from minidl._kernels.product.tile cimport (
    TILE_ROWS, TILE_VECTORS, Strip, doubles, floats, lanes, tile_of, transpose, vec,
)


cdef struct Panels:
    Py_ssize_t columns      # of the operand
    Py_ssize_t lane         # columns of a vector
    Py_ssize_t vectors      # of all columns; the last may be ragged
    Py_ssize_t count        # of panels
    Py_ssize_t most         # vectors of a wide panel; the others have one less
    Py_ssize_t wide         # panels that are wide: they come first


cdef inline Panels cut_columns(real* kind, Py_ssize_t columns) noexcept nogil:
    cdef Panels p
    p.columns, p.lane, p.most = columns, lanes(kind), TILE_VECTORS
    p.vectors = ceil_div(columns, lanes(kind))
    p.count = ceil_div(p.vectors, TILE_VECTORS)
    p.wide = max(0, p.vectors - p.count * (TILE_VECTORS - 1))
    return p


cdef inline Py_ssize_t column(const Panels* p, Py_ssize_t panel) noexcept nogil:
    """A panel's first column. For panel = count: all columns, padded to whole vectors."""
    return min(p.vectors, p.most * panel - max(0, panel - p.wide)) * p.lane


cdef inline Py_ssize_t width(const Panels* p, Py_ssize_t panel) noexcept nogil:
    """A panel's columns, padded to whole vectors."""
    return column(p, panel + 1) - column(p, panel)


cdef inline Py_ssize_t first_alike(const Panels* p, Py_ssize_t left, Py_ssize_t end) noexcept nogil:
    """The first of the panels from `left` that are as wide as the one before `end`, and like it ragged or not."""
    cdef Py_ssize_t whole = p.count - (p.vectors * p.lane > p.columns)
    if end > whole:
        return max(left, whole)
    return max(left, p.wide if end > p.wide else 0)


cdef inline void pack(
    real* kind, const Panels* p, Py_ssize_t panel, const char* x, Py_ssize_t x_step,
    Py_ssize_t x_column, Py_ssize_t steps, char* y
) noexcept nogil:
    """Packs some steps of one panel into y. x: column 0 of the first step; x_step and x_column: the
    bytes from one step and one column to the next. What pads the last panel is never used."""
    cdef Py_ssize_t size = sizeof(real), left = column(p, panel), room = width(p, panel), step, j
    cdef Py_ssize_t columns = min(room, p.columns - left)
    x += left * x_column
    if x_step == size and x_column != size:
        transpose(kind, x, x_column, y, room * size, columns, steps, room)
        return
    if x_column == size and columns == room and room >= (TILE_VECTORS - 1) * lanes(kind):
        if real is float:
            copy_vectors(<floats*> NULL, x, x_step, y, steps, room == TILE_VECTORS * lanes(kind))
        else:
            copy_vectors(<doubles*> NULL, x, x_step, y, steps, room == TILE_VECTORS * lanes(kind))
        return
    for step in range(steps):
        if columns < room:
            for j in range(lanes(kind)):
                (<real*> y)[room - lanes(kind) + j] = 0
        if x_column == size:
            memcpy(y, x, columns * size)
        else:
            for j in range(columns):
                (<real*> y)[j] = (<const real*> (x + j * x_column))[0]
        x += x_step
        y += room * size


cdef inline void copy_vectors(
    vec* kind, const char* x, Py_ssize_t x_step, char* y, Py_ssize_t steps, bint wide
) noexcept nogil:
    """The steps of a whole panel. (A call of memcpy for each would wait for one row of x after the other.)"""
    cdef vec* to = <vec*> y
    cdef Py_ssize_t step
    cdef int i
    for step in range(steps):
        for i in range(TILE_VECTORS - 1):
            to[i] = (<const vec*> x)[i]
        if wide:
            to[TILE_VECTORS - 1] = (<const vec*> x)[TILE_VECTORS - 1]
        to += TILE_VECTORS if wide else TILE_VECTORS - 1
        x += x_step


cdef struct Cut:
    # A product's result, cut into tasks.
    Py_ssize_t group, groups    # panels of a task, and the number of such groups
    Py_ssize_t block, blocks    # rows of a task, and the number of such blocks


cdef inline Cut cut(
    Py_ssize_t panels, Py_ssize_t group, Py_ssize_t rows, Py_ssize_t block, Py_ssize_t passes=1,
    double flops=0, bint groups_first=False
) noexcept nogil:
    """Tasks of at most `group` panels and `block` rows. If these are fewer than TASKS, `passes` times over,
    blocks (or groups first) are halved as long as the `flops` of all leave each task TASK_FLOPS.

    By the shape alone: the same for any number of threads."""
    cdef Py_ssize_t strips = ceil_div(rows, TILE_ROWS), tasks
    cdef Cut c
    c.group = ceil_div(panels, ceil_div(panels, max(1, group)))
    c.block = min(strips, block // TILE_ROWS)
    while True:
        c.groups, c.blocks = ceil_div(panels, c.group), ceil_div(strips, c.block)
        tasks = passes * c.groups * c.blocks
        if tasks >= TASKS or flops < 2.0 * TASK_FLOPS * tasks or c.group == c.block == 1:
            c.block *= TILE_ROWS
            return c
        if c.block > 1 and not (groups_first and c.group > 1):
            c.block = ceil_div(c.block, 2)
        else:
            c.group = ceil_div(c.group, 2)


cdef inline void multiply_panel(
    real* kind, Py_ssize_t columns, const char* a, Py_ssize_t a_row, Py_ssize_t a_step,
    Py_ssize_t rows, Py_ssize_t steps, const char* b, Py_ssize_t b_row, char* c, Py_ssize_t c_row,
    bint add
) noexcept nogil:
    """c = a b, or c += a b, for a (rows, steps) and the columns of one panel, which are whole vectors
    in b and in c."""
    cdef Py_ssize_t row = 0, none = 0, i
    cdef Strip strip
    strip.step, strip.shifts, strip.spans, strip.k = a_step, &none, 1, steps
    strip.b_row, strip.add, strip.bias, strip.count = b_row, add, NULL, 1
    while row < rows:
        for i in range(TILE_ROWS):  # beyond the last row that one again
            strip.rows[i], strip.out[i] = a, c
            if row + i < rows - 1:
                a += a_row
                c += c_row
        strip.b = b
        tile_of(kind, TILE_ROWS, columns // lanes(kind))(NULL, NULL, NULL, &strip)
        row += TILE_ROWS
