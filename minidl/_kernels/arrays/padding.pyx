"""Padding an array with a number or with its own elements, mirrored or repeated; and the way back, which adds them up.
Triangles of matrices, with zeros for the rest.

Each row of the padded array is written from x alone, whatever the axes that are padded: an axis says which of its places
in x belongs to a place in y. Neighbouring axes without padding are one.
"""

cimport numpy as cnp
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from minidl._kernels.arrays.axes cimport MAX_AXES
from minidl._kernels.arrays.checks cimport seen
from minidl._kernels.arrays.copying cimport c_copy
from minidl._kernels.arrays.layout cimport is_plain
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.math.elementary cimport real
from minidl._kernels.runtime cimport memory

cnp.import_array()

cdef enum:
    CONSTANT, REFLECT, REPLICATE
    COST = 2      # of an element, in additions
    COLUMNS = 64  # whose sums are taken together
    WIDEST = 8    # bytes of an element
    FEW = 4       # elements that are repeated at once

cdef dict MODES = {"constant": CONSTANT, "reflect": REFLECT, "replicate": REPLICATE}

ctypedef fused word:
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef struct Axis:
    Py_ssize_t before, n, after  # of y's elements: padding, those of x, padding
    Py_ssize_t x, y              # the elements of all axes behind it, in x and in y


cdef struct Padding:
    const char* x
    Axis[MAX_AXES + 1] axes
    int count, mode
    char[WIDEST] number


cdef inline Py_ssize_t length(const Axis* a) noexcept nogil:
    return a.before + a.n + a.after


cdef inline Py_ssize_t source(const Axis* a, Py_ssize_t i, int mode) noexcept nogil:
    """The place in x that belongs to place i in y; -1 where the number does."""
    i -= a.before
    if 0 <= i < a.n:
        return i
    if mode == CONSTANT:
        return -1
    if mode == REFLECT:
        return -i if i < 0 else 2 * (a.n - 1) - i
    return 0 if i < 0 else a.n - 1


# ── Padding ──────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void repeat_many(word x, word* y, Py_ssize_t n) noexcept nogil:
    cdef word[FEW] few = [x, x, x, x]
    cdef Py_ssize_t i
    while n >= 4 * FEW:
        for i in range(4):
            memcpy(y + i * FEW, few, FEW * sizeof(word))
        y, n = y + 4 * FEW, n - 4 * FEW
    for i in range(n):
        y[i] = x


cdef inline void repeat(word x, word* y, Py_ssize_t n) noexcept nogil:
    """Few, as a rule: a vectorised loop would first ask many questions."""
    if n > FEW:
        repeat_many(x, y, n)
        return
    while n > 0:
        y[0] = x
        y, n = y + 1, n - 1


cdef inline void pad_row(const Axis* a, const word* x, word* y, word number, int mode, Py_ssize_t more) noexcept nogil:
    """A row from that of x; from the number alone where that is NULL. Numbers before a row are written with those behind
    the row before it: `more`.
    """
    cdef Py_ssize_t i
    cdef word* end = y + a.before + a.n
    if x == NULL:
        repeat(number, y + a.before, a.n + a.after + more)
        return
    memcpy(y + a.before, x, a.n * sizeof(word))
    if mode == CONSTANT:
        repeat(number, end, a.after + more)
    elif mode == REPLICATE:
        repeat(x[0], y, a.before)
        repeat(x[a.n - 1], end, a.after)
    else:
        for i in range(a.before):
            y[i] = x[a.before - i]
        for i in range(a.after):
            end[i] = x[a.n - 2 - i]


cdef const word* plane_of(const Padding* w, const word* x, Py_ssize_t plane) noexcept nogil:
    """Where the plane of the last two axes with this number, in y, comes from in x; NULL: from the number."""
    cdef int axis
    cdef Py_ssize_t place
    for axis in range(w.count - 3, -1, -1):
        place = source(&w.axes[axis], plane % length(&w.axes[axis]), w.mode)
        if place < 0:
            return NULL
        x += place * w.axes[axis].x
        plane //= length(&w.axes[axis])
    return x


cdef void pad_rows(void* tag, Padding* w, Py_ssize_t first, Py_ssize_t last, word* y) noexcept nogil:
    cdef Axis a = w.axes[w.count - 2], inner = w.axes[w.count - 1]  # (y might point into w, for all that the compiler knows)
    cdef int mode = w.mode
    cdef Py_ssize_t plane = first // length(&a), i = first % length(&a), place
    cdef word number = (<const word*>w.number)[0]
    cdef const word* x = plane_of(w, <const word*>w.x, plane)
    cdef const word* row
    y += first * a.y
    if mode == CONSTANT:
        repeat(number, y, inner.before)
    while first < last:
        place = source(&a, i, mode)
        row = NULL if x == NULL or place < 0 else x + place * a.x
        pad_row(&inner, row, y, number, mode, inner.before if first + 1 < last else 0)
        y, i, first = y + a.y, i + 1, first + 1
        if i == length(&a) and first < last:
            plane, i = plane + 1, 0
            x = plane_of(w, <const word*>w.x, plane)


# ── Triangles ──────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Triangle:
    const char* x
    Py_ssize_t rows, columns, k  # of a matrix; the diagonal's number
    bint lower


cdef void copy_part(void* tag, Triangle* w, Py_ssize_t first, Py_ssize_t last, word* y) noexcept nogil:
    cdef Py_ssize_t row, n = w.columns, cut
    cdef const word* x = <const word*>w.x + first * n
    y += first * n
    for row in range(first, last):
        cut = max(min(row % w.rows + w.k + w.lower, n), <Py_ssize_t>0)  # where the diagonal is, or behind it
        if w.lower:
            memcpy(y, x, cut * sizeof(word))
            memset(y + cut, 0, (n - cut) * sizeof(word))
        else:
            memset(y, 0, cut * sizeof(word))
            memcpy(y + cut, x + cut, (n - cut) * sizeof(word))
        x, y = x + n, y + n


# ── The way back ─────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void add_rows(real* y, const real* x, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """y += the sum of so many rows of n elements, `step` apart; many are added up in double."""
    cdef double[COLUMNS] s
    cdef Py_ssize_t start = 0, row, i, m
    if rows == 1:
        for i in range(n):
            y[i] += x[i]
        return
    while start < n:
        m = min(n - start, <Py_ssize_t>COLUMNS)
        for i in range(m):
            s[i] = y[start + i]
        for row in range(rows):
            for i in range(m):
                s[i] += x[row * step + start + i]
        for i in range(m):
            y[start + i] = <real>s[i]
        start += COLUMNS


cdef void fold_axis(const Axis* a, real* g, Py_ssize_t outer, int mode) noexcept nogil:
    """For each of so many places in front of the axis: its padding added where it came from."""
    cdef Py_ssize_t i, n = a.y
    cdef real* start
    cdef real* end
    for i in range(outer):
        start = g + a.before * n
        end = start + (a.n - 1) * n
        if mode == REPLICATE:
            if a.before:
                add_rows(start, g, a.before, n, n)
            if a.after:
                add_rows(end, end + n, a.after, n, n)
        else:
            for i in range(1, a.before + 1):
                add_rows(start + i * n, start - i * n, 1, n, n)
            for i in range(1, a.after + 1):
                add_rows(end - i * n, end + i * n, 1, n, n)
        g += length(a) * n


cdef void fold_blocks(void* tag, Padding* w, Py_ssize_t first, Py_ssize_t last, real* g) noexcept nogil:
    """A block is all that is behind the first axis."""
    cdef Py_ssize_t outer = last - first
    cdef int axis
    g += first * w.axes[0].y
    for axis in range(1, w.count):
        fold_axis(&w.axes[axis], g, outer, w.mode)
        outer *= length(&w.axes[axis])


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef int set_axes(Padding* w, cnp.ndarray x, list widths, bint padded, str mode) except -1:
    """The axes of x, which is padded or not; in front, one of length 1 where the first has padding, and until there are two."""
    cdef int axis, ndim = cnp.PyArray_NDIM(x)
    cdef Axis a
    if len(widths) != ndim:
        raise ValueError(f"pad: expected {ndim} pairs of widths, got {len(widths)}")
    w.mode, w.count = MODES[mode], 1
    w.axes[0].before, w.axes[0].n, w.axes[0].after = 0, 1, 0
    for axis in range(ndim):
        a.before, a.after = widths[axis]
        a.n = cnp.PyArray_DIM(x, axis) - (a.before + a.after if padded else 0)
        if a.before < 0 or a.after < 0 or a.n < (0 if w.mode == CONSTANT or not a.before + a.after else 1):
            raise ValueError(f"pad: widths {widths} do not fit shape {(<object>x).shape}")
        if w.mode == REFLECT and a.before + a.after and a.n <= max(a.before, a.after):
            raise ValueError(f"pad: too few elements on axis {axis} of shape {(<object>x).shape} to reflect by {widths[axis]}")
        if a.before + a.after == 0 and w.axes[w.count - 1].before + w.axes[w.count - 1].after == 0:
            w.axes[w.count - 1].n *= a.n
        else:
            w.axes[w.count] = a
            w.count += 1
    if w.count == 1:
        w.axes[1] = w.axes[0]
        w.axes[0].n, w.count = 1, 2
    w.axes[w.count - 1].x = w.axes[w.count - 1].y = 1
    for axis in range(w.count - 2, -1, -1):
        w.axes[axis].x = w.axes[axis + 1].x * w.axes[axis + 1].n
        w.axes[axis].y = w.axes[axis + 1].y * length(&w.axes[axis + 1])
    return 0


cdef loop_t of_size(cnp.ndarray x, str name, loop_t[4] loops) except NULL:
    """The loop for elements of 1, 2, 4 or 8 bytes, of which x has one."""
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x)
    if size not in (1, 2, 4, 8):
        raise TypeError(f"{name}: expected a dtype of 1, 2, 4 or 8 bytes, got {(<object>x).dtype}")
    return loops[0 if size == 1 else 1 if size == 2 else 2 if size == 4 else 3]


def pad(x not None, list widths, str mode, value=0):
    """x with so many elements (before, after) around it along each axis: `value`, or in the modes "reflect" and "replicate"
    its own, mirrored or repeated. Any dtype of 1, 2, 4 or 8 bytes.
    """
    cdef cnp.ndarray xs = <cnp.ndarray?>x, y, number
    cdef cnp.npy_intp[MAX_AXES] shape
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(xs)
    cdef int axis
    cdef loop_t loop
    cdef Padding w
    set_axes(&w, xs, widths, False, mode)
    loop = of_size(xs, "pad", [<loop_t>pad_rows[uint8_t], <loop_t>pad_rows[uint16_t], <loop_t>pad_rows[uint32_t],
                               <loop_t>pad_rows[uint64_t]])
    xs = seen(xs) if cnp.PyArray_ISCARRAY_RO(xs) else c_copy(xs)
    for axis in range(cnp.PyArray_NDIM(xs)):
        before, after = widths[axis]
        shape[axis] = before + cnp.PyArray_DIM(xs, axis) + after
    y = memory.empty(cnp.PyArray_NDIM(xs), shape, cnp.PyArray_TYPE(xs))
    if w.mode == CONSTANT:
        number = memory.empty(0, NULL, cnp.PyArray_TYPE(xs))
        (<object>number).fill(value)
        memcpy(w.number, cnp.PyArray_DATA(number), size)
    w.x = <const char*>cnp.PyArray_DATA(xs)
    if cnp.PyArray_SIZE(y):
        size = length(&w.axes[w.count - 1])
        run(loop, &w, sizeof(w), y, cnp.PyArray_SIZE(y) // size, size, COST, False)
    return y


def fold_padding(g not None, list widths, str mode):
    """In place: to each element of a padded array that "reflect" or "replicate" has repeated, the repetitions are added."""
    cdef cnp.ndarray gs = <cnp.ndarray?>g
    cdef Padding w
    if not is_plain(gs) or not cnp.PyArray_ISWRITEABLE(gs) or mode == "constant":
        raise TypeError(f"fold_padding: expected float32 or float64 in C order, and a mode that repeats elements, got {g.dtype}, {mode}")
    set_axes(&w, gs, widths, True, mode)
    if cnp.PyArray_SIZE(gs):
        run(of_dtype(gs, <loop_t>fold_blocks[float], <loop_t>fold_blocks[double]), &w, sizeof(w), seen(gs),
            w.axes[0].n, w.axes[0].y, COST, False)


def triangle(x not None, Py_ssize_t k, bint lower):
    """The matrices of x's last two axes, with 0 where column - row > k, or, if not `lower`, < k. Any dtype as for `pad`."""
    cdef cnp.ndarray xs = <cnp.ndarray?>x, y
    cdef int ndim = cnp.PyArray_NDIM(xs)
    cdef Triangle w
    cdef loop_t loop = of_size(xs, "triangle", [
        <loop_t>copy_part[uint8_t], <loop_t>copy_part[uint16_t], <loop_t>copy_part[uint32_t], <loop_t>copy_part[uint64_t]
    ])
    if ndim < 2:
        raise ValueError(f"triangle: expected at least 2 axes, got shape {x.shape}")
    xs = seen(xs) if cnp.PyArray_ISCARRAY_RO(xs) else c_copy(xs)
    y = memory.empty(ndim, cnp.PyArray_DIMS(xs), cnp.PyArray_TYPE(xs))
    w.rows, w.columns = cnp.PyArray_DIM(xs, ndim - 2), cnp.PyArray_DIM(xs, ndim - 1)
    w.x, w.k, w.lower = <const char*>cnp.PyArray_DATA(xs), max(min(k, w.columns), -w.rows), lower
    if cnp.PyArray_SIZE(xs):
        run(loop, &w, sizeof(w), y, cnp.PyArray_SIZE(xs) // w.columns, w.columns, COST, False)
    return y
