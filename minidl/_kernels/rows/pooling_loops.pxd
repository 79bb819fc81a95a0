# Pooling, window by window. A few windows are walked together whose results lie side by side in memory: with channels
# last, the channels of one place; in C order, neighbours in a row of the result. Their partial results are an array
# that the compiler keeps in registers, since `count` is known when it compiles. What is done with the windows is chosen
# by a tag: `Max` and `Mean` write the results; `Find` says where the greatest values stand; `Give` and `Share` are the
# gradients of `Max` and `Mean` where windows do not overlap. `Give` finds the greatest values again, so that nothing
# need be kept on the way forward.
#
# Only what lies inside the image is walked, however far the windows reach.

from libc.string cimport memset
from minidl._kernels.math.elementary cimport real
from minidl._kernels.rows.folding cimport Max, Sum, join, row_fold, start

cdef enum:
    LANES = 16  # windows that are walked together, at most
    WIDE = 8    # elements of a window's row that are folded as a row

cdef struct Work:
    void* x                   # the image: (samples, channels, size)
    void* given               # of each window: its greatest value (Find), or its gradient (Give, Share)
    int* index                # where in the image, as a number of a place, each element of y comes from
    Py_ssize_t[3] size, out, kernel, stride, pad
    int axes
    Py_ssize_t samples, channels, places, y_places
    Py_ssize_t step           # from a place to the next: 1, or the number of channels
    Py_ssize_t[2] inner       # the results of a row whose windows lie inside it
    Py_ssize_t length, chunks # places of a chunk of a row, and chunks of a row
    bint apart, tiled         # the windows do not overlap; they cover the image, too
    bint full                 # all windows lie inside the image, and from one to the next there is no gap in a row
    double share              # of each element in the mean of a window

cdef struct Window:
    Py_ssize_t[3] length  # of the part that lies inside the image
    Py_ssize_t[2] gap     # elements from one place to the next along the first two axes
    Py_ssize_t plane      # the number of the first place of its plane

cdef extern from *:  # tags
    ctypedef struct Mean "char"
    ctypedef struct Find "char"
    ctypedef struct Give "char"
    ctypedef struct Share "char"

ctypedef fused Folded:
    Max
    Mean

ctypedef fused Job:
    Max
    Mean
    Find
    Give
    Share


# ── A few windows ────────────────────────────────────────────────────────────────────────────────────────────────────
# `step`: elements from a window to the next. Other than 1, it says that the image is in C order.

cdef inline real joined(Folded* tag, real best, real x) noexcept nogil:
    if Folded is Mean:
        return best + x
    else:
        return join[Max, real](NULL, best, x)


cdef inline void fold(
    Folded* tag, Work* w, Window* v, const real* x, real* best, Py_ssize_t step, int count
) noexcept nogil:
    """The greatest values of the windows, or their sums."""
    cdef Py_ssize_t d, h, k, j, columns = v.length[2], gap = w.step if step == 1 else 1
    cdef Py_ssize_t end = columns - 1 if Folded is Mean else columns
    cdef const real* a
    cdef const real* b
    if count == 1 and columns >= WIDE and w.step == 1:
        best[0] = wide_fold(tag, v, x)
        return
    if v.length[0] == 1 and v.length[1] == 2 and columns == 2:  # the usual window
        a, b = x, x + v.gap[1]
        for j in range(count):
            best[j] = joined(
                tag, joined(tag, a[j * step], a[j * step + gap]), joined(tag, b[j * step], b[j * step + gap])
            )
        return
    for j in range(count):
        best[j] = <real>(start[Sum](NULL) if Folded is Mean else start[Max](NULL))
    for d in range(v.length[0]):
        for h in range(v.length[1]):
            a, k = x + d * v.gap[0] + h * v.gap[1], 0
            if step == 2 and columns > 1:  # two columns at a time make vectors of the loop
                while k < end:
                    b = a + min(k, columns - 2)  # one that is left over with the one before it: no maximum changes
                    for j in range(count):
                        best[j] = joined(tag, best[j], joined(tag, b[2 * j], b[2 * j + 1]))
                    k += 2
            while k < columns:
                for j in range(count):
                    best[j] = joined(tag, best[j], a[k * gap + j * step])
                k += 1


cdef inline real wide_fold(Folded* tag, Window* v, const real* x) noexcept nogil:
    """One window, each of whose rows is folded in vectors."""
    cdef Py_ssize_t d, h
    cdef const real* row
    cdef double best = start[Sum](NULL) if Folded is Mean else start[Max](NULL)
    for d in range(v.length[0]):
        for h in range(v.length[1]):
            row = x + d * v.gap[0] + h * v.gap[1]
            if Folded is Mean:
                best = best + row_fold[Sum, real](NULL, row, v.length[2], 1)
            else:
                best = join[Max, double](NULL, best, row_fold[Max, real](NULL, row, v.length[2], 1))
    return <real>best


cdef inline bint stands(real x, real best) noexcept nogil:
    """Whether this is the greatest value of its window."""
    return (x == best) | (x != x)


cdef inline Py_ssize_t first_place(Work* w, Window* v, const real* x, real best) noexcept nogil:
    """How many places behind the first place of a window its greatest value stands first."""
    cdef Py_ssize_t d, h, k, place
    for d in range(v.length[0]):
        for h in range(v.length[1]):
            place = (d * w.size[1] + h) * w.size[2]
            for k in range(place, place + v.length[2]):
                if stands(x[k * w.step], best):
                    return k
    return 0


cdef inline void find(
    Work* w, Window* v, const real* x, const real* best, int* index, int first, Py_ssize_t step, int count
) noexcept nogil:
    """The first place of each window that has the greatest value; the first window begins at place `first`."""
    cdef int[LANES] place
    cdef int number, between = <int>step if w.step == 1 else 0
    cdef Py_ssize_t d, h, k, at, j
    if count == 1:
        index[0] = first + <int>first_place(w, v, x, best[0])
        return
    for j in range(count):
        place[j] = -1
    for d in range(v.length[0]):
        for h in range(v.length[1]):
            for k in range(v.length[2]):
                at = d * v.gap[0] + h * v.gap[1] + k * w.step
                number = first + <int>((d * w.size[1] + h) * w.size[2] + k)
                for j in range(count):
                    place[j] = (
                        number + <int>j * between if (place[j] < 0) & stands(x[at + j * step], best[j]) else place[j]
                    )
    for j in range(count):
        index[j] = place[j]


cdef inline real taken(Job* tag, real x, real best, real* left) noexcept nogil:
    """What an element of the image takes of its window's gradient, or of what is left of it."""
    cdef bint takes = True if Job is Share else stands(x, best)
    cdef real part = left[0] if takes else 0
    if Job is Give:
        left[0] = 0 if takes else left[0]
    return part


cdef inline void give(
    Job* tag, Work* w, Window* v, const real* x, const real* best, real* gx, real* left, Py_ssize_t step, int count
) noexcept nogil:
    """Give: the gradient of each window to the first place that has its greatest value. Share: to all, evenly."""
    cdef real[LANES] first, second
    cdef Py_ssize_t d, h, k, j, at, columns = v.length[2], gap = w.step if step == 1 else 1
    if Job is Give and count == 1:
        for d in range(v.length[0]):
            for h in range(v.length[1]):
                for k in range(columns):
                    gx[d * v.gap[0] + h * v.gap[1] + k * gap] = 0
        gx[first_place(w, v, x, best[0]) * w.step] = left[0]
        return
    for d in range(v.length[0]):
        for h in range(v.length[1]):
            for k in range(0, columns - 1, 2):  # two columns at a time make vectors of the loop
                at = d * v.gap[0] + h * v.gap[1] + k * gap
                for j in range(count):
                    first[j] = taken(tag, x[at + j * step], best[j], &left[j])
                    second[j] = taken(tag, x[at + gap + j * step], best[j], &left[j])
                if step != 1:
                    for j in range(count):
                        gx[at + j * step] = first[j]
                        gx[at + gap + j * step] = second[j]
                else:  # the one after the other: the second may overwrite what the first should not have written
                    for j in range(count):
                        gx[at + j] = first[j]
                    for j in range(count):
                        gx[at + gap + j] = second[j]
            if columns & 1:
                at = d * v.gap[0] + h * v.gap[1] + (columns - 1) * gap
                for j in range(count):
                    first[j] = taken(tag, x[at + j * step], best[j], &left[j])
                for j in range(count):
                    gx[at + j * step] = first[j]


cdef inline void few(
    Job* tag, Work* w, Window* v, Py_ssize_t at_x, Py_ssize_t at_y, real* y, Py_ssize_t step, int count
) noexcept nogil:
    """`count` windows that begin at element `at_x` of the image, and whose results are those from `at_y` on. y: the
    results, the places (Find), or the gradient of the image (Give, Share)."""
    cdef const real* x = <const real*>w.x + at_x
    cdef const real* given = <const real*>w.given + at_y
    cdef real[LANES] best, left
    cdef Py_ssize_t j
    if Job is Mean:
        fold[Mean, real](NULL, w, v, x, &best[0], step, count)
        for j in range(count):
            y[at_y + j] = best[j] * <real>w.share
    elif Job is Max:
        fold[Max, real](NULL, w, v, x, &best[0], step, count)
        for j in range(count):
            y[at_y + j] = best[j]
    elif Job is Find:
        for j in range(count):
            best[j] = given[j]
        find(w, v, x, &best[0], <int*>y + at_y, <int>(at_x // w.step - v.plane), step, count)
    else:
        if Job is Give:
            fold[Max, real](NULL, w, v, x, &best[0], step, count)
        for j in range(count):
            left[j] = given[j] * (<real>w.share if Job is Share else 1)
        give(tag, w, v, x, &best[0], y + at_x, &left[0], step, count)


cdef inline void many(
    Job* tag, Work* w, Window* v, Py_ssize_t at_x, Py_ssize_t at_y, real* y, Py_ssize_t step, Py_ssize_t n, int count
) noexcept nogil:
    """n windows, at least `count`, so many at a time. The last time begins earlier where it would end too late: what is
    computed twice is the same."""
    cdef Py_ssize_t i = 0, j
    while i < n:
        j = min(i, n - count)
        few(tag, w, v, at_x + j * step, at_y + j, y, step, count)
        i += count


cdef inline void side_by_side(
    Job* tag, Work* w, Window* v, Py_ssize_t at_x, Py_ssize_t at_y, real* y, Py_ssize_t step, Py_ssize_t n,
    Py_ssize_t room,
) noexcept nogil:
    """n windows, or as many more as make up a vector if there is `room`: what is written there is
    overwritten later."""
    cdef Py_ssize_t i
    if n < LANES // 2 <= room:
        n = LANES // 2
    elif LANES // 2 < n < LANES <= room:
        n = LANES
    if n >= LANES and step == 1:
        many(tag, w, v, at_x, at_y, y, 1, n, LANES)
    elif n >= LANES and step == 2:
        many(tag, w, v, at_x, at_y, y, 2, n, LANES)
    elif n >= LANES // 2 and step == 1:
        many(tag, w, v, at_x, at_y, y, 1, n, LANES // 2)
    elif n >= LANES // 2 and step == 2:
        many(tag, w, v, at_x, at_y, y, 2, n, LANES // 2)
    elif n >= LANES // 2:
        many(tag, w, v, at_x, at_y, y, step, n, LANES // 2)
    else:
        for i in range(n):
            few(tag, w, v, at_x + i * step, at_y + i, y, 1, 1)


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


cdef inline void walk_row(
    Job* tag, Work* w, Window* v, Place* at, Py_ssize_t row_x, Py_ssize_t row_y, real* y, Py_ssize_t end
) noexcept nogil:
    """A chunk of a row of the result; the rows of the image and of the result begin at these elements. What stands in y
    up to `end` is overwritten later."""
    cdef Py_ssize_t p = at.first, n, room = 0, step = 1 if w.step != 1 else w.stride[2], columns
    while p < at.last:
        n = min(w.inner[1], at.last) - p  # with windows that lie inside the row
        if w.step != 1 or p < w.inner[0] or n <= 0 or (step > 2 and w.kernel[2] >= WIDE):
            n = 1
        columns = see(v, w, 2, p)
        if Job is not Give and Job is not Share and w.full and step <= 2:
            room = end - row_y - p * w.step
        elif w.step != 1 and w.kernel[2] == w.stride[2] and w.pad[2] == 0:  # in this row: those below are written, too
            room = (at.last - p) * w.step
        side_by_side(tag, w, v, row_x + columns * w.step, row_y + p * w.step, y, step, n * w.step, room)
        p += n


cdef inline void clear_own(Work* w, Place* at, real* gx) noexcept nogil:
    """Zeros where the windows of a chunk of the result stand in the image, and up to those of the next."""
    cdef Py_ssize_t[3] place, low, high
    cdef Py_ssize_t d, h, row
    cdef int axis
    place[0], place[1], place[2] = at.d, at.h, at.first
    for axis in range(3):
        low[axis] = max(place[axis] * w.stride[axis] - w.pad[axis], <Py_ssize_t>0)
        place[axis] = at.last if axis == 2 else place[axis] + 1
        high[axis] = w.size[axis]
        if place[axis] < w.out[axis]:
            high[axis] = place[axis] * w.stride[axis] - w.pad[axis]
    for d in range(low[0], high[0]):
        for h in range(low[1], high[1]):
            row = (d * w.size[1] + h) * w.size[2]
            memset(gx + (row + low[2]) * w.step, 0, (high[2] - low[2]) * w.step * sizeof(real))


cdef inline void walk(Job* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Chunks of the result's rows."""
    cdef Py_ssize_t i, d, h, end
    cdef Place at
    cdef Window v
    v.gap[0], v.gap[1] = w.size[1] * w.size[2] * w.step, w.size[2] * w.step
    go_to(&at, w, w.out, last)
    end = (at.plane * w.y_places + (at.d * w.out[1] + at.h) * w.out[2] + at.first) * w.step
    go_to(&at, w, w.out, first)
    for i in range(first, last):
        v.plane = at.plane * w.places
        if (Job is Give or Job is Share) and not w.tiled:
            clear_own(w, &at, y + v.plane * w.step)
        d, h = see(&v, w, 0, at.d), see(&v, w, 1, at.h)
        walk_row(
            tag, w, &v, &at, (v.plane + (d * w.size[1] + h) * w.size[2]) * w.step,
            (at.plane * w.y_places + (at.d * w.out[1] + at.h) * w.out[2]) * w.step, y, end,
        )
        go_on(&at, w, w.out)
