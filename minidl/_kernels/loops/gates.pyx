"""Activations that join or split channels: maxout, CReLU, GLU.

Each looks at one side of its arrays as (rows, k, m) in C order and at the other as (rows, m): of k parts that lie m
elements apart it makes one (maxout; GLU with k = 2), or of one it makes two (CReLU). The parts are read and written
where they lie, in one pass. A chunk is at most CHUNK elements of one row.
"""

cimport numpy as cnp
from libc.stdint cimport int32_t, uint16_t
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.arrays.checks cimport c_axes
from minidl._kernels.math.elementary cimport real, sigmoid_

cnp.import_array()

cdef enum:
    CHUNK = 16384
    COST = 8  # of an element, in additions
    LANES = 32  # more than the compiler unrolls: a loop that it unrolls it does not vectorise
    BLOCK = 256  # outputs that stay in the first-level cache while one part after another is compared with them
    MOST_PARTS = 1 << 16  # of maxout: their numbers take 16 bits


cdef struct Work:
    const void* x
    const void* gy
    uint16_t* which  # maxout: the part that was greatest; NULL if nobody will ask
    Py_ssize_t rows, k, m
    Py_ssize_t per_row  # chunks


cdef inline Py_ssize_t find(Work* w, Py_ssize_t chunk, Py_ssize_t* narrow, Py_ssize_t* wide) noexcept nogil:
    """How long the chunk is, and where it starts: in (rows, m), and in the first part of (rows, k, m)."""
    cdef Py_ssize_t row = chunk // w.per_row, start = chunk % w.per_row * CHUNK
    narrow[0] = row * w.m + start
    wide[0] = row * w.k * w.m + start
    return min(w.m - start, <Py_ssize_t>CHUNK)


# ── Maxout ───────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline bint greater(real a, real b) noexcept nogil:
    """Whether a takes the place of b, which came before it. The first NaN wins over all."""
    return (a > b) | ((a != a) & (b == b))


cdef inline void maxout_of(
    const real* x, Py_ssize_t step, Py_ssize_t stride, int32_t k, real* y, uint16_t* which, Py_ssize_t n
) noexcept nogil:
    """The greatest of k parts that lie `stride` apart, and its number, for n elements that lie `step` apart."""
    cdef int32_t[BLOCK] number
    cdef Py_ssize_t length, i, second = stride if k > 1 else 0
    cdef int32_t part
    cdef real new, old
    cdef bint more
    while n > 0:
        length = min(n, <Py_ssize_t>BLOCK)
        for i in range(length):
            new, old = x[second + i * step], x[i * step]
            more = greater(new, old)
            y[i] = new if more else old
            number[i] = more
        for part in range(2, k):
            for i in range(length):
                new, old = x[part * stride + i * step], y[i]
                more = greater(new, old)
                y[i] = new if more else old
                number[i] = part if more else number[i]
        if which != NULL:
            for i in range(length):
                which[i] = <uint16_t>number[i]
            which += length
        x, y, n = x + length * step, y + length, n - length


cdef void maxout_chunks(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t chunk, n, at = 0, start = 0
    cdef uint16_t* which
    for chunk in range(first, last):
        n = find(w, chunk, &at, &start)
        which = NULL if w.which == NULL else w.which + at
        maxout_of(<const real*>w.x + start, 1, w.m, <int32_t>w.k, out + at, which, n)


cdef void maxout_adjacent(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    """m = 1: the parts lie side by side. The usual number of them is named, for the compiler to unroll."""
    cdef const real* x = <const real*>w.x + first * w.k
    cdef real* y = out + first
    cdef uint16_t* which = NULL if w.which == NULL else w.which + first
    if w.k == 2:
        maxout_of(x, 2, 1, 2, y, which, last - first)
    else:
        maxout_of(x, w.k, 1, <int32_t>w.k, y, which, last - first)


cdef void maxout_chunks_back(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t chunk, n, i, at = 0, start = 0
    cdef int32_t part
    cdef const real* gy
    cdef real* gx
    cdef const uint16_t* which
    cdef real g, zero = 0
    for chunk in range(first, last):
        n = find(w, chunk, &at, &start)
        gy, gx, which = <const real*>w.gy + at, out + start, w.which + at
        for part in range(<int32_t>w.k):
            for i in range(n):
                g = gy[i]
                gx[i] = g if which[i] == part else zero
            gx += w.m


cdef inline void maxout_of_back(
    const real* gy, const uint16_t* which, real* gx, Py_ssize_t n, int32_t k
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int32_t part
    cdef real g, zero = 0
    for i in range(n):
        g = gy[i]
        for part in range(k):
            gx[i * k + part] = g if which[i] == part else zero


cdef void maxout_adjacent_back(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef const real* gy = <const real*>w.gy + first
    cdef real* gx = out + first * w.k
    cdef const uint16_t* which = w.which + first
    if w.k == 2:
        maxout_of_back(gy, which, gx, last - first, 2)
    else:
        maxout_of_back(gy, which, gx, last - first, <int32_t>w.k)


# ── CReLU and GLU ────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void crelu_chunks(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t chunk, n, i, at = 0, start = 0
    cdef const real* x
    cdef real* above
    cdef real* below
    cdef real zero = 0
    for chunk in range(first, last):
        n = find(w, chunk, &at, &start)
        x, above, below = <const real*>w.x + at, out + start, out + start + w.m
        for i in range(n):
            above[i] = zero if x[i] <= 0 else x[i]
            below[i] = zero if x[i] >= 0 else -x[i]


cdef void crelu_chunks_back(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t chunk, n, i, at = 0, start = 0
    cdef const real* x
    cdef const real* above
    cdef const real* below
    cdef real* gx
    cdef real v, up, down, zero = 0
    for chunk in range(first, last):
        n = find(w, chunk, &at, &start)
        x, gx = <const real*>w.x + at, out + at
        above, below = <const real*>w.gy + start, <const real*>w.gy + start + w.m
        for i in range(n):
            v, up, down = x[i], above[i], below[i]  # read whatever the sign: a branch would not vectorise
            gx[i] = (zero if v <= 0 else up) - (zero if v >= 0 else down)


cdef inline void glu_of(const real* a, const real* b, real* y, Py_ssize_t n) noexcept nogil:
    cdef real[LANES] result  # written in a loop of its own: whether y overlaps a or b need not be asked
    cdef Py_ssize_t i
    for i in range(n):
        result[i] = a[i] * sigmoid_(b[i])
    for i in range(n):
        y[i] = result[i]


cdef void glu_chunks(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    """In blocks of LANES, the last of which overlaps the one before: a rest of a row would not vectorise."""
    cdef Py_ssize_t chunk, n, i, block, at = 0, start = 0
    cdef const real* a
    cdef const real* b
    cdef real* y
    for chunk in range(first, last):
        n = find(w, chunk, &at, &start)
        a, b, y = <const real*>w.x + start, <const real*>w.x + start + w.m, out + at
        if n < LANES:
            glu_of(a, b, y, n)
        else:
            for block in range((n + LANES - 1) // LANES):
                i = min(block * LANES, n - LANES)
                glu_of(a + i, b + i, y + i, LANES)


cdef void glu_chunks_back(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t chunk, n, i, at = 0, start = 0
    cdef const real* a
    cdef const real* b
    cdef const real* gy
    cdef real* ga
    cdef real* gb
    cdef real s, g, one = 1
    for chunk in range(first, last):
        n = find(w, chunk, &at, &start)
        a, b, gy = <const real*>w.x + start, <const real*>w.x + start + w.m, <const real*>w.gy + at
        ga, gb = out + start, out + start + w.m
        for i in range(n):
            s = sigmoid_(b[i])
            g = gy[i] * s
            ga[i] = g
            gb[i] = g * a[i] * (one - s)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef int run_chunks(Work* w, cnp.ndarray y, loop_t single, loop_t wide) except -1:
    cdef Py_ssize_t width = min(w.m, <Py_ssize_t>CHUNK)
    w.per_row = (w.m + CHUNK - 1) // CHUNK
    return run(of_dtype(y, single, wide), w, y, w.rows * w.per_row, width, COST, False)


cdef cnp.ndarray wide_like(cnp.ndarray narrow, Py_ssize_t k):
    """A new (rows, k, m) array beside (rows, m)."""
    cdef cnp.npy_intp[3] shape = [cnp.PyArray_DIM(narrow, 0), k, cnp.PyArray_DIM(narrow, 1)]
    return memory.empty(3, shape, cnp.PyArray_TYPE(narrow))


cdef cnp.ndarray narrow_like(cnp.ndarray wide, int typenum):
    """A new (rows, m) array beside (rows, k, m)."""
    cdef cnp.npy_intp[2] shape = [cnp.PyArray_DIM(wide, 0), cnp.PyArray_DIM(wide, 2)]
    return memory.empty(2, shape, typenum)


cdef Work work_of(cnp.ndarray narrow, cnp.ndarray wide, str name) except *:
    """The sizes, if (rows, m) and (rows, k, m) fit each other."""
    cdef Work w
    w.rows, w.k, w.m = cnp.PyArray_DIM(narrow, 0), cnp.PyArray_DIM(wide, 1), cnp.PyArray_DIM(narrow, 1)
    if cnp.PyArray_DIM(wide, 0) != w.rows or cnp.PyArray_DIM(wide, 2) != w.m:
        raise ValueError(f"{name}: expected (rows, k, m) and (rows, m), got "
                         f"{(<object>wide).shape} and {(<object>narrow).shape}")
    if name != "maxout" and w.k != 2:
        raise ValueError(f"{name}: expected 2 parts, got {w.k}")
    if cnp.PyArray_TYPE(wide) != cnp.PyArray_TYPE(narrow):
        raise TypeError(f"{name}: expected one dtype, got {(<object>wide).dtype} and {(<object>narrow).dtype}")
    return w


def maxout_forward(x, bint keep=True):
    """(y, which) for x of shape (rows, k, m): the greatest of k parts, the first of equals, and its number (uint16).

    Without `keep`, which is None.
    """
    cdef cnp.ndarray xs = c_axes(x, 3, "maxout", "rows, k, m")
    if not 1 <= cnp.PyArray_DIM(xs, 1) <= MOST_PARTS:
        raise ValueError(f"maxout: expected 1 to {MOST_PARTS} parts, got {x.shape[1]}")
    cdef cnp.ndarray y = narrow_like(xs, cnp.PyArray_TYPE(xs))
    cdef cnp.ndarray which = narrow_like(xs, cnp.NPY_UINT16) if keep else None
    cdef Work w = work_of(y, xs, "maxout")
    w.x, w.which = cnp.PyArray_DATA(xs), <uint16_t*>cnp.PyArray_DATA(which) if keep else NULL
    if w.m == 1:
        run_chunks(&w, y, <loop_t>maxout_adjacent[float], <loop_t>maxout_adjacent[double])
    else:
        run_chunks(&w, y, <loop_t>maxout_chunks[float], <loop_t>maxout_chunks[double])
    return y, which


def maxout_backward(gy, which, Py_ssize_t pieces):
    """gx (rows, pieces, m) from gy and which (rows, m): gy in the part that was greatest, 0 in the others."""
    cdef cnp.ndarray gs = c_axes(gy, 2, "maxout", "rows, m"), gx = wide_like(gs, pieces)
    cdef cnp.ndarray parts = cnp.PyArray_FROMANY(which, cnp.NPY_UINT16, 2, 2, cnp.NPY_ARRAY_IN_ARRAY)
    if which.shape != gy.shape:
        raise ValueError(f"maxout: expected which of shape {gy.shape}, got {which.shape}")
    cdef Work w = work_of(gs, gx, "maxout")
    w.gy, w.which = cnp.PyArray_DATA(gs), <uint16_t*>cnp.PyArray_DATA(parts)
    if w.m == 1:
        run_chunks(&w, gx, <loop_t>maxout_adjacent_back[float], <loop_t>maxout_adjacent_back[double])
    else:
        run_chunks(&w, gx, <loop_t>maxout_chunks_back[float], <loop_t>maxout_chunks_back[double])
    return gx


def crelu_forward(x):
    """y (rows, 2, m) for x (rows, m): relu(x) and relu(-x)."""
    cdef cnp.ndarray xs = c_axes(x, 2, "crelu", "rows, m"), y = wide_like(xs, 2)
    cdef Work w = work_of(xs, y, "crelu")
    w.x = cnp.PyArray_DATA(xs)
    run_chunks(&w, y, <loop_t>crelu_chunks[float], <loop_t>crelu_chunks[double])
    return y


def crelu_backward(x, gy):
    """gx (rows, m): gy[:, 0] where x > 0, -gy[:, 1] where x < 0, else 0."""
    cdef cnp.ndarray xs = c_axes(x, 2, "crelu", "rows, m"), gs = c_axes(gy, 3, "crelu", "rows, 2, m")
    cdef cnp.ndarray gx = memory.empty_like(xs)
    cdef Work w = work_of(xs, gs, "crelu")
    w.x, w.gy = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(gs)
    run_chunks(&w, gx, <loop_t>crelu_chunks_back[float], <loop_t>crelu_chunks_back[double])
    return gx


def glu_forward(x):
    """y (rows, m) for x (rows, 2, m): x[:, 0] sigmoid(x[:, 1])."""
    cdef cnp.ndarray xs = c_axes(x, 3, "glu", "rows, 2, m"), y = narrow_like(xs, cnp.PyArray_TYPE(xs))
    cdef Work w = work_of(y, xs, "glu")
    w.x = cnp.PyArray_DATA(xs)
    run_chunks(&w, y, <loop_t>glu_chunks[float], <loop_t>glu_chunks[double])
    return y


def glu_backward(x, gy):
    """gx (rows, 2, m) from x and gy (rows, m)."""
    cdef cnp.ndarray xs = c_axes(x, 3, "glu", "rows, 2, m"), gs = c_axes(gy, 2, "glu", "rows, m")
    cdef cnp.ndarray gx = memory.empty_like(xs)
    cdef Work w = work_of(gs, xs, "glu")
    w.x, w.gy = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(gs)
    run_chunks(&w, gx, <loop_t>glu_chunks_back[float], <loop_t>glu_chunks_back[double])
    return gx
