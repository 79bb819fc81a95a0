# Pooling, forward. Windows whose results lie side by side in memory are folded together (`fold`): their partial results
# are an array that the compiler keeps in registers, since `count` is known when it compiles. With channels last, these
# are the channels of one place. In C order, or with few channels, a row of results is computed in two steps: first each
# column of its windows, and columns lie side by side (`fold`, again); then the columns of each window (`close`). The most
# common windows, 2 x 2 side by side, have a loop of their own (`walk_pairs`).
#
# What is wanted is chosen by a tag: the greatest values (`Max`), the means (`Mean`), or the greatest values and the
# places where they stand first (`Keep`). Only what lies inside the image is read, however far the windows reach.

from libc.limits cimport INT_MAX
from minidl._kernels.math.elementary cimport real
from minidl._kernels.rows.folding cimport Max, Sum, join, row_fold, start

cdef enum:
    LANES = 32     # windows or columns that are folded together, at most
    NARROW = 8     # at least
    MANY = 128     # where windows have many places
    COLUMNS = 512  # of a row that are folded, before their windows are
    PAIRS = 4      # windows of 2 x 2 that are folded together, at least

cdef struct Work:
    void* x                   # the image: (samples, channels, size)
    void* given               # of each window: its gradient
    int* index                # where in the image, as a number of a place, each element of y comes from
    Py_ssize_t[3] size, out, kernel, stride, pad
    int axes
    Py_ssize_t samples, channels, places, y_places
    Py_ssize_t step           # from a place to the next: 1, or the number of channels
    Py_ssize_t[2] inner       # the results of a row whose windows lie inside it
    Py_ssize_t length, chunks # places of a chunk of a row, and chunks of a row
    bint by_columns           # how rows of results are computed: columns first,
    bint joined               # those of several rows together, since they are short and full of windows,
    bint alone                # or window after window in C order, as they are too long
    bint paired               # windows of 2 x 2, side by side in C order
    double share              # of each element in the mean of a window

cdef struct Window:
    Py_ssize_t[3] length  # of the part that lies inside the image
    Py_ssize_t[3] gap     # elements from one place to the next along each axis
    Py_ssize_t[3] number  # and how much greater the number of the next is
    Py_ssize_t first      # the number of the window's first place
    double share          # by which a sum is multiplied

cdef extern from *:  # tags
    ctypedef struct Mean "char"
    ctypedef struct Keep "char"

ctypedef fused Folded:
    Max
    Mean
    Keep


# ── Windows side by side ─────────────────────────────────────────────────────────────────────────────────────────────

cdef inline real joined(Folded* tag, real best, real x) noexcept nogil:
    if Folded is Mean:
        return best + x
    else:
        return join[Max, real](NULL, best, x)


cdef inline bint stands(real x, real best) noexcept nogil:
    """Whether this is the greatest value of its window."""
    return (x == best) | (x != x)


cdef inline void fold(
    Folded* tag, Window* v, const real* x, real* y, int* places, int count
) noexcept nogil:
    """`count` windows that begin side by side, at x: their greatest values or means, and the numbers of their places."""
    cdef real[MANY] best
    cdef int[MANY] place
    cdef int number
    cdef bint greater
    cdef Py_ssize_t d, h, k, j
    cdef const real* a
    for j in range(count):
        best[j] = <real>(start[Sum](NULL) if Folded is Mean else start[Max](NULL))
        place[j] = <int>v.first  # in a window full of -inf the first element counts
    for d in range(v.length[0]):
        for h in range(v.length[1]):
            for k in range(v.length[2]):
                a = x + d * v.gap[0] + h * v.gap[1] + k * v.gap[2]
                if Folded is Keep:
                    number = <int>(v.first + d * v.number[0] + h * v.number[1] + k * v.number[2])
                    for j in range(count):
                        greater = (best[j] == best[j]) & (not a[j] <= best[j])
                        best[j] = a[j] if greater else best[j]
                        place[j] = number if greater else place[j]
                else:
                    for j in range(count):
                        best[j] = joined(tag, best[j], a[j])
    for j in range(count):
        y[j] = best[j] * <real>v.share if Folded is Mean else best[j]
        if Folded is Keep:
            places[j] = place[j]


cdef inline void fold_some(
    Folded* tag, Window* v, const real* x, real* y, int* places, Py_ssize_t n, int count
) noexcept nogil:
    """n windows, at least `count`, so many at a time. The last time begins earlier where it would end too late: what is
    computed twice is the same."""
    cdef Py_ssize_t i = 0, j
    while i < n:
        j = min(i, n - count)
        fold(tag, v, x + j, y + j, places + j, count)
        i += count


cdef inline void fold_all(
    Folded* tag, Window* v, const real* x, real* y, int* places, Py_ssize_t n, Py_ssize_t room
) noexcept nogil:
    """n windows that begin side by side, or as many more as make up a vector if there is `room`."""
    cdef Py_ssize_t j
    if n >= MANY and v.length[0] * v.length[1] * v.length[2] >= 16:  # so that what is read lies further together
        fold_some(tag, v, x, y, places, n, MANY)
    elif n >= LANES:
        fold_some(tag, v, x, y, places, n, LANES)
    elif n >= LANES // 2:
        fold_some(tag, v, x, y, places, n, LANES // 2)
    elif max(n, room) >= NARROW:
        fold_some(tag, v, x, y, places, max(n, <Py_ssize_t>NARROW), NARROW)
    else:
        for j in range(n):
            fold(tag, v, x + j, y + j, places + j, 1)


# ── From columns to windows ──────────────────────────────────────────────────────────────────────────────────────────

cdef inline int first_of(int first, int place, bint counts) noexcept nogil:
    """The smaller one, if `place` counts. (It is a number, so that it is read either way: else no vectors were made.)"""
    place = place if counts else INT_MAX
    return place if place < first else first


cdef inline void close(
    Folded* tag, const real* best, const int* place, Py_ssize_t columns, Py_ssize_t gap, Py_ssize_t step,
    double share, real* y, int* places, int count,
) noexcept nogil:
    """`count` windows of so many columns, which are `gap` apart; the windows begin `step` apart."""
    cdef real[LANES] chosen
    cdef int[LANES] number
    cdef Py_ssize_t j, k, at
    if count == 1 and gap == 1 and columns >= NARROW:
        close_one(tag, best, place, columns, share, y, places)
        return
    for j in range(count):
        chosen[j] = best[j * step]
    for k in range(1, columns):
        for j in range(count):
            chosen[j] = joined(tag, chosen[j], best[k * gap + j * step])
    for j in range(count):
        y[j] = chosen[j] * <real>share if Folded is Mean else chosen[j]
    if Folded is Keep:
        for j in range(count):
            number[j] = INT_MAX
        for k in range(columns):
            for j in range(count):
                at = k * gap + j * step
                number[j] = first_of(number[j], place[at], stands(best[at], chosen[j]))
        for j in range(count):
            places[j] = number[j]


cdef inline void close_one(
    Folded* tag, const real* best, const int* place, Py_ssize_t columns, double share, real* y, int* places
) noexcept nogil:
    """One window of NARROW columns or more, side by side."""
    cdef real[NARROW] chosen
    cdef int[NARROW] number
    cdef Py_ssize_t j, k, at, whole = NARROW if Folded is Mean else 1
    for j in range(NARROW):
        chosen[j] = best[j]
    k = NARROW
    while k + whole <= columns:
        at = min(k, columns - NARROW)  # the last ones may be looked at twice: no maximum changes
        for j in range(NARROW):
            chosen[j] = joined(tag, chosen[j], best[at + j])
        k += NARROW
    for j in range(NARROW // 2):
        chosen[j] = joined(tag, chosen[j], chosen[j + NARROW // 2])
    chosen[0] = joined(tag, joined(tag, chosen[0], chosen[2]), joined(tag, chosen[1], chosen[3]))
    if Folded is Mean:
        for j in range(k, columns):
            chosen[0] += best[j]
    y[0] = chosen[0] * <real>share if Folded is Mean else chosen[0]
    if Folded is Keep:
        for j in range(NARROW):
            number[j] = INT_MAX
        k = 0
        while k < columns:
            at = min(k, columns - NARROW)
            for j in range(NARROW):
                number[j] = first_of(number[j], place[at + j], stands(best[at + j], y[0]))
            k += NARROW
        for j in range(1, NARROW):
            number[0] = min(number[0], number[j])
        places[0] = number[0]


cdef inline void close_some(
    Folded* tag, Work* w, const real* best, const int* place, Py_ssize_t step, real* y, int* places, Py_ssize_t n,
    int count,
) noexcept nogil:
    """n windows of a row that lie inside it, `count` or more of them."""
    cdef Py_ssize_t i = 0, j
    while i < n:
        j = min(i, n - count)
        close(tag, best + j * step, place + j * step, w.kernel[2], 1, step, w.share, y + j, places + j, count)
        i += count


cdef inline void close_all(
    Folded* tag, Work* w, const real* best, const int* place, real* y, int* places, Py_ssize_t n
) noexcept nogil:
    """n windows of a row that lie inside it; each number of columns and step that is common has a loop of its own."""
    cdef Py_ssize_t step = w.stride[2]
    cdef int many = LANES // 2, few = 4
    if n >= many and step == 1:
        close_some(tag, w, best, place, 1, y, places, n, LANES // 2)
    elif n >= many and step == 2:
        close_some(tag, w, best, place, 2, y, places, n, LANES // 2)
    elif n >= few and step == 1:
        close_some(tag, w, best, place, 1, y, places, n, 4)
    elif n >= few and step == 2:
        close_some(tag, w, best, place, 2, y, places, n, 4)
    elif n >= few:
        close_some(tag, w, best, place, step, y, places, n, 4)
    else:
        close_some(tag, w, best, place, step, y, places, n, 1)


cdef inline void fold_columns(
    Folded* tag, Window* v, const real* x, Py_ssize_t first, real* best, int* place, Py_ssize_t n, Py_ssize_t room
) noexcept nogil:
    """n columns of a row of windows, of which the first, at x, has the number `first` in its plane. Behind x there are
    `room` elements."""
    cdef Py_ssize_t j
    v.first, v.length[2] = first, 1
    room -= (v.length[0] - 1) * v.gap[0] + (v.length[1] - 1) * v.gap[1]  # there are in the last row
    fold_all(tag, v, x, best, place, n, room)
    if Folded is Keep:
        for j in range(n):
            place[j] += <int>j


cdef inline void by_columns(
    Folded* tag, Work* w, Window* v, const real* x, Py_ssize_t first, real* y, int* places, Py_ssize_t p, Py_ssize_t end,
    Py_ssize_t room,
) noexcept nogil:
    """The results p to `end - 1` of a row. x: the row of the image where their windows begin, with element `first` of
    its plane. y, places: the row of the result."""
    cdef real[COLUMNS + NARROW] best
    cdef int[COLUMNS + NARROW] place
    cdef Py_ssize_t step = w.step, low = see(v, w, 2, p), at = see(v, w, 2, end - 1), n, c, j
    n, j = (at + v.length[2] - low) * step, low * step
    fold_columns(tag, v, x + j, first + j, &best[0], &place[0], n, room - j)
    while p < end:
        n = min(w.inner[1], end) - p
        if step != 1 or p < w.inner[0] or n <= 0:
            at = see(v, w, 2, p)
            for c in range(step):
                j = (at - low) * step + c
                close(
                    tag, best + j, place + j, v.length[2], step, 1, w.share, y + p * step + c, places + p * step + c, 1
                )
            n = 1
        else:
            at = p * w.stride[2] - w.pad[2] - low
            close_all(tag, w, best + at, place + at, y + p, places + p, n)
        p += n


cdef inline void alone(
    Folded* tag, Work* w, Window* v, const real* x, real* y, int* places
) noexcept nogil:
    """One window of rows that are too long, which begins at x: each row is folded like rows of LANES columns."""
    cdef real[2 * LANES] best
    cdef int[2 * LANES] place
    cdef Py_ssize_t d, h, j, n = v.length[2]
    cdef double total = 0
    if Folded is Mean:
        for d in range(v.length[0]):
            for h in range(v.length[1]):
                total += row_fold[Sum, real](NULL, x + d * v.gap[0] + h * v.gap[1], n, 1)
        y[0] = <real>(total * w.share)
    elif n < LANES:
        fold(tag, v, x, y, places, 1)
    else:
        v.length[2], v.gap[2], v.number[2] = n // LANES, LANES, LANES
        fold(tag, v, x, &best[0], &place[0], LANES)
        v.length[2] = 1
        v.first += n - LANES
        fold(tag, v, x + n - LANES, &best[LANES], &place[LANES], LANES)
        v.gap[2] = v.number[2] = 1
        if Folded is Keep:
            for j in range(2 * LANES):
                place[j] += <int>(j % LANES)
        close_one(tag, &best[0], &place[0], 2 * LANES, w.share, y, places)


# ── The walk ─────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Place:
    # A chunk of a row of the result, or of the image: the number of the plane (with channels last, of the sample), the
    # first two spatial axes, and the first element on the third.
    Py_ssize_t plane, d, h, first, last


cdef inline void go_to(Place* at, Work* w, Py_ssize_t* size, Py_ssize_t chunk) noexcept nogil:
    at.first = chunk % w.chunks * w.length
    at.last = min(at.first + w.length, size[2])
    at.h = chunk // w.chunks % size[1]
    at.d = chunk // w.chunks // size[1] % size[0]
    at.plane = chunk // w.chunks // size[1] // size[0]


cdef inline void go_on(Place* at, Work* w, Py_ssize_t* size) noexcept nogil:
    """To the next chunk."""
    at.first = at.last if at.last < size[2] else 0
    at.last = min(at.first + w.length, size[2])
    if at.first == 0:
        at.h += 1
        if at.h == size[1]:
            at.h, at.d = 0, at.d + 1
            if at.d == size[0]:
                at.d, at.plane = 0, at.plane + 1


cdef inline Py_ssize_t see(Window* v, Work* w, int axis, Py_ssize_t place) noexcept nogil:
    """The window of a place of the result, along one axis: its length, and where it begins in the image."""
    cdef Py_ssize_t low = place * w.stride[axis] - w.pad[axis]
    v.length[axis] = min(low + w.kernel[axis], w.size[axis]) - max(low, <Py_ssize_t>0)
    return max(low, <Py_ssize_t>0)


cdef inline void walk(Folded* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Chunks of the result's rows."""
    cdef Py_ssize_t i, p, k, n, row, row_x, row_y, used = 0, begun = 0, fit = 1
    cdef Py_ssize_t end = w.samples * w.places * (w.channels if w.step == 1 else w.step)
    cdef real[COLUMNS + NARROW] best  # where rows are joined: of those that wait
    cdef int[COLUMNS + NARROW] place
    cdef Place at
    cdef Window v
    cdef const real* x
    cdef int* places
    v.number[2], v.share = 1, 1 if w.by_columns else w.share
    v.number[1] = w.size[2] * (w.step if w.by_columns else 1)
    v.number[0] = w.size[1] * v.number[1]
    v.gap[2] = w.step
    v.gap[1] = w.size[2] * w.step
    v.gap[0] = w.size[1] * v.gap[1]
    if w.by_columns:
        fit = (COLUMNS // w.step - min(w.kernel[2], w.size[2])) // w.stride[2] + 1
    go_to(&at, w, w.out, first)
    for i in range(first, last):
        row = see(&v, w, 0, at.d) * w.size[1]
        row = (row + see(&v, w, 1, at.h)) * w.size[2]
        row_x = (at.plane * w.places + row) * w.step
        row_y = (at.plane * w.y_places + (at.d * w.out[1] + at.h) * w.out[2]) * w.step
        x, places, p = <const real*>w.x + row_x, w.index + row_y, at.first
        if w.joined:
            fold_columns(tag, &v, x, row, &best[used], &place[used], w.size[2], end - row_x)
            begun = row_y if used == 0 else begun
            used += w.size[2]
            if used + w.size[2] > COLUMNS or i == last - 1:
                close_all(tag, w, &best[0], &place[0], y + begun, w.index + begun, used // w.stride[2])
                used = 0
            p = at.last
        while p < at.last:
            if w.by_columns:
                n = min(fit, at.last - p)
                by_columns(tag, w, &v, x, row * w.step, y + row_y, places, p, p + n, end - row_x)
            else:
                n, k = 1, see(&v, w, 2, p)
                v.first = row + k
                if w.alone:
                    alone(tag, w, &v, x + k, y + row_y + p, places + p)
                else:
                    fold_all(
                        tag, &v, x + k * w.step, y + row_y + p * w.step, places + p * w.step, w.step, w.step
                    )
            p += n
        if Folded is Keep and w.by_columns and w.step != 1:  # elements were counted
            for p in range(at.first * w.step, at.last * w.step):
                places[p] //= <int>w.step
        go_on(&at, w, w.out)


# ── Windows of two by two ────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void pair(Folded* tag, const real* x, Py_ssize_t below, double share, real* y, int count) noexcept nogil:
    """`count` windows side by side in C order; `below` elements further on lies their second row."""
    cdef real[LANES] best
    cdef Py_ssize_t j
    for j in range(2 * count):
        best[j] = joined(tag, x[j], x[below + j])
    for j in range(count):
        y[j] = joined(tag, best[2 * j], best[2 * j + 1])
        if Folded is Mean:
            y[j] *= <real>share


cdef inline void pair_some(
    Folded* tag, const real* x, Py_ssize_t below, double share, real* y, Py_ssize_t n, int count
) noexcept nogil:
    """n windows, at least `count`."""
    cdef Py_ssize_t i = 0, j
    while i < n:
        j = min(i, n - count)
        pair(tag, x + 2 * j, below, share, y + j, count)
        i += count


cdef inline void walk_pairs(Folded* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Rows of the result: there is little to do in a short one, so that finding it must take little, too."""
    cdef Py_ssize_t i, n = w.out[2], width = w.size[2]
    cdef const real* x
    for i in range(first, last):
        x = <const real*>w.x + (i // w.out[1] * w.size[1] + i % w.out[1] * 2) * width
        if n >= LANES // 2:
            pair_some(tag, x, width, w.share, y + i * n, n, LANES // 2)
        elif n >= LANES // 4:
            pair_some(tag, x, width, w.share, y + i * n, n, LANES // 4)
        else:
            pair_some(tag, x, width, w.share, y + i * n, n, PAIRS)
