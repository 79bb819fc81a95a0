# Pooling, backward.
#
# The maximum: `walk_index` goes where the kept places lead. For small windows that do not overlap, nothing was kept: `give`
# finds the greatest values again, and writes each element of the image once.
# The mean: `spread` adds up what each row of the image gets from the rows of the result whose windows saw it. Neighbours
# that were seen by the same rows are equal: they are copied.

from libc.string cimport memcpy, memset
from minidl._kernels.math.elementary cimport real
from minidl._kernels.rows.pooling_loops cimport PAIRS, Place, Work, go_on, go_to, joined, stands
from minidl._kernels.rows.folding cimport Max

cdef enum:
    SIDE = 64      # channels of which all places of an image are
    GIVEN = 16     # windows whose gradients are given together, at most
    WIDE = 8       # elements of a window's row that are written side by side
    COLUMNS = 512  # of a row of the result that are added up, before they are spread

cdef extern from *:  # tags
    ctypedef struct Scatter "char"
    ctypedef struct Gather "char"

ctypedef fused Direction:
    Scatter
    Gather


# ── The maximum: by the places ───────────────────────────────────────────────────────────────────────────────────────

cdef inline void clear(Work* w, real* x, Py_ssize_t n) noexcept nogil:
    """n channels of all places."""
    cdef Py_ssize_t i
    if n == w.step:
        memset(x, 0, w.places * n * sizeof(real))
        return
    for i in range(w.places):
        memset(x + i * w.step, 0, n * sizeof(real))


cdef inline void walk_index(Direction* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Where an index leads: channel after channel (C order), or SIDE channels after the others (channels last)."""
    cdef Py_ssize_t i, sides = (w.step + SIDE - 1) // SIDE, side, at, n, p, c
    cdef const int* index
    cdef real* image
    cdef real* result
    for i in range(first, last):
        side = i % sides * SIDE
        n, at = min(w.step - side, <Py_ssize_t>SIDE), i // sides * w.y_places * w.step + side
        image = (y if Direction is Scatter else <real*>w.x) + i // sides * w.places * w.step + side
        if Direction is Scatter:
            clear(w, image, n)
        for p in range(w.y_places):
            index = w.index + at + p * w.step
            result = (<real*>w.given if Direction is Scatter else y) + at + p * w.step
            for c in range(n):
                if Direction is Scatter:
                    image[index[c] * w.step + c] += result[c]
                else:
                    result[c] = image[index[c] * w.step + c]


# ── The maximum: found again ─────────────────────────────────────────────────────────────────────────────────────────
# Windows of two columns and one or two rows, side by side, none of which reaches beyond the image: the rows begin at the
# same elements of x and gx. `step`: from a window to the next; 2 in C order.

cdef inline real taken(real x, real best, real* left) noexcept nogil:
    """What an element of the image takes of what is left of its window's gradient: all, if it is the first."""
    cdef bint takes = stands(x, best)
    cdef real part = left[0] if takes else 0
    left[0] = 0 if takes else left[0]
    return part


cdef inline void give(
    Work* w, const real* x, real* gx, const real* gy, Py_ssize_t below, Py_ssize_t step, int count
) noexcept nogil:
    """`count` windows; `below` elements further on lies their second row, if they have one."""
    cdef real[GIVEN] best, left, first, second
    cdef Py_ssize_t row, j, at, gap = w.step if step == 1 else 1, rows = 1 if below == 0 else 2
    for j in range(count):
        best[j] = joined[Max, real](NULL, x[j * step], x[gap + j * step])
        left[j] = gy[j]
    if rows == 2:
        for j in range(count):
            best[j] = joined[Max, real](
                NULL, best[j], joined[Max, real](NULL, x[below + j * step], x[below + gap + j * step])
            )
    for row in range(rows):
        at = row * below
        for j in range(count):
            first[j] = taken(x[at + j * step], best[j], &left[j])
            second[j] = taken(x[at + gap + j * step], best[j], &left[j])
        if step != 1:
            for j in range(count):
                gx[at + j * step] = first[j]
                gx[at + gap + j * step] = second[j]
        else:  # the one after the other: the second may overwrite what the first should not have written
            for j in range(count):
                gx[at + j] = first[j]
            for j in range(count):
                gx[at + gap + j] = second[j]


cdef inline void give_some(
    Work* w, const real* x, real* gx, const real* gy, Py_ssize_t below, Py_ssize_t step, Py_ssize_t n, int count
) noexcept nogil:
    """n windows, at least `count`."""
    cdef Py_ssize_t i = 0, j
    while i < n:
        j = min(i, n - count)
        give(w, x + j * step, gx + j * step, gy + j, below, step, count)
        i += count


cdef inline void give_all(
    Work* w, const real* x, real* gx, const real* gy, Py_ssize_t below, Py_ssize_t n, Py_ssize_t room
) noexcept nogil:
    """n windows, or more that make up a vector if there is `room`: what is written there is overwritten later."""
    cdef Py_ssize_t j
    if w.step == 1:
        if n >= GIVEN:
            give_some(w, x, gx, gy, below, 2, n, GIVEN)
        else:
            give_some(w, x, gx, gy, below, 2, n, GIVEN // 2)
    elif n >= GIVEN:
        give_some(w, x, gx, gy, below, 1, n, GIVEN)
    elif max(n, room) >= GIVEN // 2:
        give_some(w, x, gx, gy, below, 1, max(n, <Py_ssize_t>(GIVEN // 2)), GIVEN // 2)
    else:
        for j in range(n):
            give(w, x + j, gx + j, gy + j, below, 1, 1)


cdef inline void clear_own(Work* w, Place* at, real* gx) noexcept nogil:
    """Zeros where the windows of a chunk of the result stand in the image, and up to those of the next."""
    cdef Py_ssize_t[3] place, low, high
    cdef Py_ssize_t d, h
    cdef int axis
    place[0], place[1], place[2] = at.d, at.h, at.first
    for axis in range(3):
        low[axis] = place[axis] * w.stride[axis]
        place[axis] = at.last if axis == 2 else place[axis] + 1
        high[axis] = place[axis] * w.stride[axis] if place[axis] < w.out[axis] else w.size[axis]
    for d in range(low[0], high[0]):
        for h in range(low[1], high[1]):
            memset(
                gx + ((d * w.size[1] + h) * w.size[2] + low[2]) * w.step, 0, (high[2] - low[2]) * w.step * sizeof(real)
            )


cdef inline void walk_give(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    """Chunks of the result's rows."""
    cdef Py_ssize_t i, p, row, below = 0, stride = 2 * w.step
    cdef const real* x
    cdef const real* gy
    cdef bint tiled = True
    cdef Place at
    for i in range(3):
        tiled = tiled and w.size[i] == w.stride[i] * w.out[i] and w.kernel[i] == w.stride[i]
    if w.kernel[1] == 2:
        below = w.size[2] * w.step
    elif w.kernel[0] == 2:
        below = w.size[1] * w.size[2] * w.step
    go_to(&at, w, w.out, first)
    for i in range(first, last):
        if not tiled:
            clear_own(w, &at, gx + at.plane * w.places * w.step)
        row = (at.d * w.stride[0] * w.size[1] + at.h * w.stride[1]) * w.size[2]
        row = (at.plane * w.places + row) * w.step
        x, gy = <const real*>w.x, <const real*>w.given
        gy += (at.plane * w.y_places + (at.d * w.out[1] + at.h) * w.out[2]) * w.step
        if w.step == 1:
            p = row + at.first * 2
            give_all(w, x + p, gx + p, gy + at.first, below, at.last - at.first, 0)
        else:
            for p in range(at.first, at.last):
                give_all(
                    w, x + row + p * stride, gx + row + p * stride, gy + p * w.step, below, w.step,
                    (at.last - p) * w.step,
                )
        go_on(&at, w, w.out)


cdef inline void walk_give_pairs(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    """Rows of the result in C order, whose windows of 2 x 2 fill the image: each is two rows of it."""
    cdef Py_ssize_t i, j, n = w.out[2]
    cdef const real* x = <const real*>w.x + first * 4 * n
    cdef const real* gy = <const real*>w.given + first * n
    gx += first * 4 * n
    for i in range(first, last):
        j = 0
        while j + GIVEN <= n:
            give(w, x + 2 * j, gx + 2 * j, gy + j, 2 * n, 2, GIVEN)
            j += GIVEN
        if j + GIVEN // 2 <= n:
            give(w, x + 2 * j, gx + 2 * j, gy + j, 2 * n, 2, GIVEN // 2)
            j += GIVEN // 2
        while j < n:
            j = min(j, n - PAIRS)
            give(w, x + 2 * j, gx + 2 * j, gy + j, 2 * n, 2, PAIRS)
            j += PAIRS
        x, gx, gy = x + 4 * n, gx + 4 * n, gy + n


# ── The mean ─────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline Py_ssize_t first_window(Work* w, int axis, Py_ssize_t place) noexcept nogil:
    """The first window along an axis that reaches `place`; there may be no such."""
    cdef Py_ssize_t n = place + w.pad[axis] - w.kernel[axis] + 1
    return 0 if n <= 0 else (n + w.stride[axis] - 1) // w.stride[axis]


cdef inline Py_ssize_t end_window(Work* w, int axis, Py_ssize_t place) noexcept nogil:
    """The first window along an axis that begins behind `place`, or the number of windows."""
    return min((place + w.pad[axis]) // w.stride[axis] + 1, w.out[axis])


cdef inline bint fills_rows(Work* w) noexcept nogil:
    """Whether windows lie side by side along a row of the image, without gaps or overlap, and fill it."""
    return w.pad[2] == 0 and w.kernel[2] == w.stride[2] and w.size[2] == w.kernel[2] * w.out[2]


cdef inline void add_channels(
    Work* w, real* x, const real* y, Py_ssize_t p, Py_ssize_t end, Py_ssize_t first, Py_ssize_t last, bint new
) noexcept nogil:
    """Windows p to `end - 1` of a row, whose gradients are y, to places `first` to `last - 1` of a row of the image. New:
    they are written, not added."""
    cdef Py_ssize_t i, k, c, at, n = w.step
    cdef real part = <real>w.share
    for i in range(p, end):
        at = i * w.stride[2] - w.pad[2]
        for k in range(max(at, first), min(at + w.kernel[2], last)):
            if new:
                for c in range(n):
                    x[k * n + c] = part * y[i * n + c]
            else:
                for c in range(n):
                    x[k * n + c] += part * y[i * n + c]


cdef inline void write_windows(
    Work* w, real* x, const real* y, Py_ssize_t p, Py_ssize_t end, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """In C order, where windows fill rows: writes their shares. That of window p is y[0]."""
    cdef Py_ssize_t i, k, n = w.kernel[2]
    cdef real part
    if n == 2:  # a known number makes vectors of the loop
        for i in range(p, end):
            x[2 * i] = y[i - p]
            x[2 * i + 1] = y[i - p]
        return
    for i in range(p, end):
        part = y[i - p]
        for k in range(max(i * n, first), min(i * n + n, last)):
            x[k] = part


cdef inline void add_windows(
    Work* w, real* x, const real* y, Py_ssize_t p, Py_ssize_t end, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """In C order: adds the shares of windows p to `end - 1`. That of window p is y[0]."""
    cdef Py_ssize_t i, k, low, high, at, stride = w.stride[2], pad = w.pad[2]
    cdef real part
    if w.kernel[2] >= WIDE:  # window after window
        for i in range(p, end):
            part, at = y[i - p], i * stride - pad
            for k in range(max(at, first), min(at + w.kernel[2], last)):
                x[k] += part
        return
    for k in range(w.kernel[2]):  # the first elements of all windows, the second ones, and so on
        low = max((max(first + pad - k, <Py_ssize_t>0) + stride - 1) // stride, p)
        high = min((last - 1 + pad - k + stride) // stride, end)
        at = k - pad
        if stride == 1:  # a known stride makes vectors of the loop
            for i in range(low, high):
                x[i + at] += y[i - p]
        elif stride == 2:
            for i in range(low, high):
                x[2 * i + at] += y[i - p]
        else:
            for i in range(low, high):
                x[i * stride + at] += y[i - p]


cdef inline void spread_row(
    Work* w, real* x, const real* y, Py_ssize_t* low, Py_ssize_t* high, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Places `first` to `last - 1` of a row of the image, from the windows `low` to `high - 1` along each axis."""
    cdef real[COLUMNS] total
    cdef Py_ssize_t d, h, j, n, p = low[2], end = high[2]
    cdef const real* row
    cdef bint seen = low[0] < high[0] and low[1] < high[1], new = seen and fills_rows(w)
    if not new:
        memset(x + first * w.step, 0, (last - first) * w.step * sizeof(real))
    while seen and p < end:
        n = min(end - p, <Py_ssize_t>COLUMNS)
        for j in range(n):
            total[j] = 0
        for d in range(low[0], high[0]):
            for h in range(low[1], high[1]):
                row = y + (d * w.out[1] + h) * w.out[2] * w.step
                if w.step > 1:
                    add_channels(w, x, row, p, p + n, first, last, new and d == low[0] and h == low[1])
                else:
                    for j in range(n):
                        total[j] += row[p + j]
        if w.step == 1:
            for j in range(n):
                total[j] *= <real>w.share
            if new:
                write_windows(w, x, &total[0], p, p + n, first, last)
            else:
                add_windows(w, x, &total[0], p, p + n, first, last)
        p += n


cdef inline void spread(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* x) noexcept nogil:
    """Chunks of the image's rows, from all of the result that saw them."""
    cdef Py_ssize_t[3] place, before, low, high
    cdef Py_ssize_t i, n, begin, end, plane = -1
    cdef int axis
    cdef bint same
    cdef real* row
    cdef Place at
    before[0] = before[1] = before[2] = -1
    go_to(&at, w, w.size, first)
    for i in range(first, last):
        row = x + (at.plane * w.places + (at.d * w.size[1] + at.h) * w.size[2]) * w.step
        same = at.plane == plane and w.chunks == 1
        place[0], place[1], place[2], plane = at.d, at.h, at.first, at.plane
        for axis in range(3):
            if place[axis] != before[axis]:
                before[axis] = place[axis]
                n = at.last - 1 if axis == 2 else place[axis]
                begin, end = first_window(w, axis, place[axis]), end_window(w, axis, n)
                same = same and begin == low[axis] and end == high[axis]
                low[axis], high[axis] = begin, end
        if same:
            n = w.size[2] * w.step
            memcpy(row, row - n, n * sizeof(real))
        else:
            spread_row(
                w, row, <const real*>w.given + plane * w.y_places * w.step, low, high, at.first, at.last
            )
        go_on(&at, w, w.size)


cdef inline void walk_spread_pairs(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    """Rows of the result in C order, whose windows of 2 x 2 fill the image: each is two rows of it."""
    cdef Py_ssize_t i, j, n = w.out[2]
    cdef const real* gy = <const real*>w.given + first * n
    cdef real part
    gx += first * 4 * n
    for i in range(first, last):
        for j in range(n):
            part = <real>w.share * gy[j]
            gx[2 * j] = part
            gx[2 * j + 1] = part
        memcpy(gx + 2 * n, gx, 2 * n * sizeof(real))
        gx, gy = gx + 4 * n, gy + n
