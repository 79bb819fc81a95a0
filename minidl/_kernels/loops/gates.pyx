"""Activations that join or split channels: maxout, CReLU, GLU.

Each looks at one side of its arrays as (rows, k, m) in C order and at the other as (rows, m): of k pieces that lie m
elements apart it makes one (maxout; GLU with k = 2), or of one it makes two (CReLU). The pieces are read and written
where they lie, in one pass: `chunks` finds them and is compiled once for each gate (driver.pxd explains how).
"""

cimport numpy as cnp
from libc.stdint cimport int32_t, uint16_t
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.prepared cimport capturing, fills
from minidl._kernels.arrays.checks cimport c_axes, seen
from minidl._kernels.math.compensated cimport sigmoid_
from minidl._kernels.math.elementary cimport real

cnp.import_array()

cdef enum:
    CHUNK = 16384  # elements of one row, at most
    COST = 8  # of an element, in additions
    LANES = 32  # more than the compiler unrolls: a loop that it unrolls it does not vectorise
    BLOCK = 256  # outputs that stay in the first-level cache while one piece after another is compared with them
    MOST_PIECES = 1 << 16  # of maxout: their numbers take 16 bits


# ── Maxout ───────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline bint greater(real a, real b) noexcept nogil:
    """Whether a takes the place of b, which came before it. The first NaN wins over all."""
    return (a > b) | ((a != a) & (b == b))


cdef inline void maxout_of(
    const real* x, Py_ssize_t apart, Py_ssize_t stride, int32_t k, real* y, uint16_t* which, Py_ssize_t n
) noexcept nogil:
    """The greatest of k pieces that lie `stride` apart, and its number, for n elements that lie `apart`."""
    cdef int32_t[BLOCK] number
    cdef Py_ssize_t length, i, second = stride if k > 1 else 0
    cdef int32_t piece
    cdef real new, old
    cdef bint more
    while n > 0:
        length = min(n, <Py_ssize_t>BLOCK)
        for i in range(length):
            new, old = x[second + i * apart], x[i * apart]
            more = greater(new, old)
            y[i] = new if more else old
            number[i] = more
        for piece in range(2, k):
            for i in range(length):
                new, old = x[piece * stride + i * apart], y[i]
                more = greater(new, old)
                y[i] = new if more else old
                number[i] = piece if more else number[i]
        if which != NULL:
            for i in range(length):
                which[i] = <uint16_t>number[i]
            which += length
        x, y, n = x + length * apart, y + length, n - length


cdef inline void maxout(
    const real* x, Py_ssize_t apart, Py_ssize_t stride, int32_t k, real* y, uint16_t* which, Py_ssize_t n
) noexcept nogil:
    """The usual numbers are named, for the compiler to unroll and to vectorise."""
    if apart == 1:
        maxout_of(x, 1, stride, k, y, which, n)
    elif k == 2:
        maxout_of(x, 2, 1, 2, y, which, n)
    else:
        maxout_of(x, k, 1, k, y, which, n)


cdef inline void adjacent_back(const real* gy, const uint16_t* which, real* gx, int32_t k, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef int32_t piece
    cdef real g, zero = 0
    for i in range(n):
        g = gy[i]
        for piece in range(k):
            gx[i * k + piece] = g if which[i] == piece else zero


cdef inline void maxout_back(
    const real* gy, const uint16_t* which, real* gx, Py_ssize_t apart, Py_ssize_t stride, int32_t k, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int32_t piece
    cdef real g, zero = 0
    if apart == 1:
        for piece in range(k):
            for i in range(n):
                g = gy[i]
                gx[piece * stride + i] = g if which[i] == piece else zero
    elif k == 2:
        adjacent_back(gy, which, gx, 2, n)
    else:
        adjacent_back(gy, which, gx, k, n)


# ── CReLU and GLU ────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void crelu(const real* x, real* above, real* below, Py_ssize_t n) noexcept nogil:
    cdef real zero = 0
    cdef Py_ssize_t i
    for i in range(n):
        above[i] = zero if x[i] <= 0 else x[i]
        below[i] = zero if x[i] >= 0 else -x[i]


cdef inline void crelu_back(
    const real* x, const real* above, const real* below, real* gx, Py_ssize_t n
) noexcept nogil:
    cdef real v, up, down, g, zero = 0
    cdef Py_ssize_t i
    for i in range(n):
        v, up, down = x[i], above[i], below[i]  # read whatever the sign: a branch would not vectorise
        g = (zero if v <= 0 else up) - (zero if v >= 0 else down)
        gx[i] = g if v == v else v  # the slope at NaN is NaN, as in activations.pyx


cdef inline void glu_few(const real* a, const real* b, real* y, Py_ssize_t n) noexcept nogil:
    cdef real[LANES] result  # written in a loop of its own: whether y overlaps a or b need not be asked
    cdef Py_ssize_t i
    for i in range(n):
        result[i] = a[i] * sigmoid_(b[i])
    for i in range(n):
        y[i] = result[i]


cdef inline void glu(const real* a, const real* b, real* y, Py_ssize_t n) noexcept nogil:
    """LANES at a time, the last of which overlap those before: a rest of a row would not vectorise."""
    cdef Py_ssize_t i, k
    if n < LANES:
        glu_few(a, b, y, n)
        return
    for k in range((n + LANES - 1) // LANES):
        i = min(k * LANES, n - LANES)
        glu_few(a + i, b + i, y + i, LANES)


cdef inline void glu_back(
    const real* a, const real* b, const real* gy, real* ga, real* gb, Py_ssize_t n
) noexcept nogil:
    cdef real s, g, one = 1
    cdef Py_ssize_t i
    for i in range(n):
        s = sigmoid_(b[i])
        g = gy[i] * s
        ga[i] = g if a[i] == a[i] else a[i]
        gb[i] = g * a[i] * (one - s)


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef extern from *:  # tags
    ctypedef struct Maxout "char"
    ctypedef struct MaxoutBack "char"
    ctypedef struct Crelu "char"
    ctypedef struct CreluBack "char"
    ctypedef struct Glu "char"
    ctypedef struct GluBack "char"

ctypedef fused Gate:
    Maxout
    MaxoutBack
    Crelu
    CreluBack
    Glu
    GluBack

cdef struct Work:
    const void* x
    const void* gy
    uint16_t* which  # maxout: the piece that was greatest; NULL if nobody will ask
    Py_ssize_t rows, k, m
    Py_ssize_t apart, stride  # from one element of a piece to the next, and from one piece to the next
    Py_ssize_t per_row  # chunks


cdef void chunks(Gate* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    """A chunk starts at `narrow` in (rows, m), and at `wide` in the first piece of (rows, k, m)."""
    cdef const real* x = <const real*>w.x
    cdef const real* gy = <const real*>w.gy
    cdef Py_ssize_t m = w.m, chunk, start, n, narrow, wide
    cdef int32_t k = <int32_t>w.k
    cdef uint16_t* which
    for chunk in range(first, last):
        start = chunk % w.per_row * CHUNK
        narrow, wide = chunk // w.per_row * m + start, chunk // w.per_row * k * m + start * w.apart
        n = min(m - start, <Py_ssize_t>CHUNK)
        if Gate is Maxout:
            which = NULL if w.which == NULL else w.which + narrow
            maxout(x + wide, w.apart, w.stride, k, out + narrow, which, n)
        elif Gate is MaxoutBack:
            maxout_back(gy + narrow, w.which + narrow, out + wide, w.apart, w.stride, k, n)
        elif Gate is Crelu: crelu(x + narrow, out + wide, out + wide + m, n)
        elif Gate is CreluBack: crelu_back(x + narrow, gy + wide, gy + wide + m, out + narrow, n)
        elif Gate is Glu: glu(x + wide, x + wide + m, out + narrow, n)
        elif Gate is GluBack: glu_back(x + wide, x + wide + m, gy + narrow, out + wide, out + wide + m, n)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef int run_gate(Gate* tag, Work* w, cnp.ndarray y) except -1:
    cdef loop_t loop = of_dtype(y, <loop_t>chunks[Gate, float], <loop_t>chunks[Gate, double])
    w.apart, w.stride = 1, w.m
    if w.m == 1 and (Gate is Maxout or Gate is MaxoutBack):  # all rows as one: their pieces lie side by side
        w.rows, w.m, w.apart, w.stride = min(w.rows, <Py_ssize_t>1), w.rows, w.k, 1
    w.per_row = (w.m + CHUNK - 1) // CHUNK
    return run(loop, w, sizeof(Work), y, w.rows * w.per_row, min(w.m, <Py_ssize_t>CHUNK), COST, False)


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
        raise ValueError(f"{name}: expected 2 pieces, got {w.k}")
    if cnp.PyArray_TYPE(wide) != cnp.PyArray_TYPE(narrow):
        raise TypeError(f"{name}: expected one dtype, got {(<object>wide).dtype} and {(<object>narrow).dtype}")
    return w


def maxout_forward(x, bint keep=True):
    """(y, which) for x of shape (rows, k, m): the greatest of k pieces, the first of equals, and its number (uint16).

    Without `keep`, which is None.
    """
    cdef cnp.ndarray xs = c_axes(x, 3, "maxout", "rows, k, m")
    if not 1 <= cnp.PyArray_DIM(xs, 1) <= MOST_PIECES:
        raise ValueError(f"maxout: expected 1 to {MOST_PIECES} pieces, got {x.shape[1]}")
    cdef cnp.ndarray y = narrow_like(xs, cnp.PyArray_TYPE(xs))
    cdef cnp.ndarray which = narrow_like(xs, cnp.NPY_UINT16) if keep else None
    cdef Work w = work_of(y, xs, "maxout")
    w.x, w.which = cnp.PyArray_DATA(xs), <uint16_t*>cnp.PyArray_DATA(which) if keep else NULL
    run_gate[Maxout](NULL, &w, y)
    if keep and capturing():
        fills(which)
    return y, which


def maxout_backward(gy, which, Py_ssize_t pieces):
    """gx (rows, pieces, m) from gy and which (rows, m): gy in the piece that was greatest, 0 in the others."""
    cdef cnp.ndarray gs = c_axes(gy, 2, "maxout", "rows, m"), gx = wide_like(gs, pieces)
    cdef cnp.ndarray numbers = cnp.PyArray_FROMANY(which, cnp.NPY_UINT16, 2, 2, cnp.NPY_ARRAY_IN_ARRAY)
    if which.shape != gy.shape:
        raise ValueError(f"maxout: expected which of shape {gy.shape}, got {which.shape}")
    cdef Work w = work_of(gs, gx, "maxout")
    w.gy, w.which = cnp.PyArray_DATA(gs), <uint16_t*>cnp.PyArray_DATA(seen(numbers))
    run_gate[MaxoutBack](NULL, &w, gx)
    return gx


def crelu_forward(x):
    """y (rows, 2, m) for x (rows, m): relu(x) and relu(-x)."""
    cdef cnp.ndarray xs = c_axes(x, 2, "crelu", "rows, m"), y = wide_like(xs, 2)
    cdef Work w = work_of(xs, y, "crelu")
    w.x = cnp.PyArray_DATA(xs)
    run_gate[Crelu](NULL, &w, y)
    return y


def crelu_backward(x, gy):
    """gx (rows, m): gy[:, 0] where x > 0, -gy[:, 1] where x < 0, else 0."""
    cdef cnp.ndarray xs = c_axes(x, 2, "crelu", "rows, m"), gs = c_axes(gy, 3, "crelu", "rows, 2, m")
    cdef cnp.ndarray gx = memory.empty_like(xs)
    cdef Work w = work_of(xs, gs, "crelu")
    w.x, w.gy = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(gs)
    run_gate[CreluBack](NULL, &w, gx)
    return gx


def glu_forward(x):
    """y (rows, m) for x (rows, 2, m): x[:, 0] sigmoid(x[:, 1])."""
    cdef cnp.ndarray xs = c_axes(x, 3, "glu", "rows, 2, m"), y = narrow_like(xs, cnp.PyArray_TYPE(xs))
    cdef Work w = work_of(y, xs, "glu")
    w.x = cnp.PyArray_DATA(xs)
    run_gate[Glu](NULL, &w, y)
    return y


def glu_backward(x, gy):
    """gx (rows, 2, m) from x and gy (rows, m)."""
    cdef cnp.ndarray xs = c_axes(x, 3, "glu", "rows, 2, m"), gs = c_axes(gy, 2, "glu", "rows, m")
    cdef cnp.ndarray gx = memory.empty_like(xs)
    cdef Work w = work_of(gs, xs, "glu")
    w.x, w.gy = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(gs)
    run_gate[GluBack](NULL, &w, gx)
    return gx
