"""Copies between arrays that lie differently in memory: transposed, padded, cropped, repeated.

The axes are put in y's order, so that y is written in runs, and the two innermost are a plane. Where x's own innermost
axis is another one than y's, that axis becomes the other side of the plane, and blocks of SIDE x SIDE go through a
buffer: a line of x is read once, and a line of y is written once. (If one side is short, such as the channels of a
colour image, its few rows are copied one by one: all are in the cache.) A plane is cut into chunks.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.axes cimport (
    Axes, Cursor, add_axis, advance, go_to, magnitude, merge_axes, sort_axes, stride_of, swap_axes,
)
from minidl._kernels.arrays.layout cimport in_elements, in_pieces, is_double, is_plain, same_shape
from minidl._kernels.runtime.sizes cimport times

cnp.import_array()

cdef enum:
    SIDE = 16  # of a block that is transposed: float32 of a line
    BLOCK = 512  # equal elements that are copied together
    AT_ONCE = 4  # elements with gaps between them that are read before they are written
    LONG = 256  # elements of y's run that are a chunk where blocks are transposed
    CHUNK = 16384  # elements of a chunk elsewhere, at most
    COST = 2  # of an element, in additions
    FEW = 8  # rows of a plane that are copied one by one, however they lie
    PIECES = 32  # of a row, that one loop joins
    PIECE = 512  # bytes of one that memcpy copies as quickly wherever it lies; from here to
    LONG_PIECE = 4096  # this it does not (see moving.pxd)
    SMALL = 65536  # bytes of an array that is joined to others by one thread,
    WHOLE = 1 << 18  # or of all of them,
    SHORT = 64  # and of a piece, on average, that is worth a call
    MANY = 1024  # elements that NumPy fills more slowly

cdef double LARGEST = 3e38  # float32 holds it; of larger numbers NumPy says that they overflow

ctypedef fused number:
    float
    double
    int64_t

ctypedef fused word:
    uint32_t
    uint64_t


cdef inline void copy_piece(char* to, const char* source, Py_ssize_t n) noexcept nogil:
    if PIECE < n < LONG_PIECE and moves.copy != NULL:
        moves.copy(to, source, n)
    else:
        memcpy(to, source, n)


cdef struct Plane:
    Py_ssize_t[2] length  # outer and inner
    Py_ssize_t[2] x, y  # strides
    Py_ssize_t[2] chunk  # lengths of a chunk, at most


cdef struct Work:
    Plane plane
    Axes axes  # those around the plane, and the plane's two, counted in chunks; strides of x and y
    bint turned  # x's innermost axis is the plane's outer one
    const char* x
    Py_ssize_t chunks


cdef void repeat(word x, word* y, Py_ssize_t n) noexcept nogil:
    """n times x. SIDE at a time: a loop of one store is half as fast where its code lies badly in memory. Many are copied
    from the first, a BLOCK at a time: the C library has wider stores than the baseline.
    """
    cdef Py_ssize_t i, done = SIDE
    if n >= 2 * BLOCK and x == 0:
        memset(y, 0, n * sizeof(word))
        return
    if n >= 2 * BLOCK:
        repeat(x, y, SIDE)
        while done < n:
            i = min(min(done, <Py_ssize_t>BLOCK), n - done)
            memcpy(y + done, y, i * sizeof(word))
            done += i
        return
    while n >= SIDE:
        for i in range(SIDE):
            y[i] = x
        y, n = y + SIDE, n - SIDE
    for i in range(n):
        y[i] = x


cdef void copy_rows(Plane* p, const word* x, word* y, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t row, i, sx = p.x[1], sy = p.y[1]
    for row in range(rows):
        if sx == 1 and sy == 1:
            copy_piece(<char*>y, <const char*>x, n * sizeof(word))
        elif sx == 0 and sy == 1:
            repeat(x[0], y, n)
        elif sx == -1 and sy == 1:  # with strides that the compiler knows, it turns whole vectors
            for i in range(n):
                y[i] = x[-i]
        elif sx == 1 and sy == -1:
            for i in range(n):
                y[-i] = x[i]
        else:
            copy_apart(x, y, sx, sy, n)
        x, y = x + p.x[0], y + p.y[0]


cdef inline void copy_apart(const word* x, word* y, Py_ssize_t sx, Py_ssize_t sy, Py_ssize_t n) noexcept nogil:
    """A row with gaps, AT_ONCE elements at a time: a loop of one load and one store takes twice as long."""
    cdef word[AT_ONCE] block
    cdef Py_ssize_t i
    while n >= AT_ONCE:
        for i in range(AT_ONCE):
            block[i] = x[i * sx]
        for i in range(AT_ONCE):
            y[i * sy] = block[i]
        x, y, n = x + AT_ONCE * sx, y + AT_ONCE * sy, n - AT_ONCE
    for i in range(n):
        y[i * sy] = x[i * sx]


cdef inline void turn(
    const word* x, word* y, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t sx0, Py_ssize_t sx1, Py_ssize_t sy0, Py_ssize_t sy1
) noexcept nogil:
    """A block of y, (rows, n), read along its columns and written along its rows."""
    cdef word[SIDE][SIDE] block
    cdef Py_ssize_t row, i
    for i in range(n):
        for row in range(rows):
            block[i][row] = x[row * sx0 + i * sx1]
    for row in range(rows):
        for i in range(n):
            y[row * sy0 + i * sy1] = block[i][row]


cdef void copy_turned(Plane* p, const word* x, word* y, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t m
    while n > 0:
        m = min(n, <Py_ssize_t>SIDE)
        if rows == SIDE and m == SIDE and p.x[0] == 1 and p.y[1] == 1:  # named, for the compiler
            turn(x, y, SIDE, SIDE, 1, p.x[1], p.y[0], 1)
        else:
            turn(x, y, rows, m, p.x[0], p.x[1], p.y[0], p.y[1])
        x, y, n = x + m * p.x[1], y + m * p.y[1], n - m


cdef void copy_chunks(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, word* out) noexcept nogil:
    cdef Plane* p = &w.plane
    cdef int inner = w.axes.count - 1, outer = w.axes.count - 2
    cdef const word* x
    cdef word* y
    cdef Cursor at
    cdef Py_ssize_t chunk, rows, n
    go_to(&at, &w.axes, first)
    for chunk in range(first, last):
        rows = min(p.chunk[0], p.length[0] - at.place[outer] * p.chunk[0])
        n = min(p.chunk[1], p.length[1] - at.place[inner] * p.chunk[1])
        x, y = <const word*>w.x + at.offset[0], out + at.offset[1]
        if w.turned:
            copy_turned(p, x, y, rows, n)
        else:
            copy_rows(p, x, y, rows, n)
        advance(&at, &w.axes, inner)


cdef void lay_out(Work* w) noexcept:
    """Finds the plane, and puts its chunks in the place of its axes."""
    cdef Axes* axes = &w.axes
    cdef Plane* p = &w.plane
    cdef Py_ssize_t k, stride, least = 0
    cdef int axis, side, fastest = -1
    cdef bint near = False
    sort_axes(axes, 1)
    merge_axes(axes)
    for axis in range(axes.count):
        stride = magnitude(axes.stride[axis][0])
        if stride and (fastest < 0 or stride <= least):
            fastest, least = axis, stride
    axis = axes.count - 1
    w.turned = 0 <= fastest < axis and (axes.stride[axis][0] != 0 or axes.length[axis] < SIDE)
    if w.turned:
        swap_axes(axes, fastest, axis - 1)
        near = min(axes.length[axis - 1], axes.length[axis]) < FEW
        if near and axes.length[axis] < FEW:
            swap_axes(axes, axis - 1, axis)
        w.turned = not near
    if axes.count == 1:  # an outer side of length 1
        axes.length[1] = axes.length[0]
        axes.length[0] = 1
        for k in range(2):
            axes.stride[1][k], axes.stride[0][k] = axes.stride[0][k], 0
        axes.count = 2
    for side in range(2):
        axis = axes.count - 2 + side
        p.length[side], p.x[side], p.y[side] = axes.length[axis], axes.stride[axis][0], axes.stride[axis][1]
    p.chunk[1] = min(p.length[1], <Py_ssize_t>(LONG if w.turned else CHUNK // FEW if near else CHUNK))
    p.chunk[0] = min(p.length[0], <Py_ssize_t>SIDE if w.turned else max(CHUNK // p.chunk[1], <Py_ssize_t>1))
    w.chunks = 1
    for axis in range(axes.count):
        side = axis - (axes.count - 2)
        if side >= 0:
            axes.length[axis] = (p.length[side] + p.chunk[side] - 1) // p.chunk[side]
            for k in range(2):
                axes.stride[axis][k] *= p.chunk[side]
        w.chunks *= axes.length[axis]


cdef int copy_into(cnp.ndarray y, cnp.ndarray x) except -1:
    return fill(y, x, True)


cdef loop_t converter(cnp.ndarray y, cnp.ndarray x) noexcept:
    """A loop that makes floats of x's numbers, side by side in both; NULL if there is none. (A bool is a byte of 0 or 1.)"""
    cdef int kind = cnp.PyArray_TYPE(x)
    cdef bint wide = is_double(y)
    if kind == cnp.PyArray_TYPE(y) or not is_plain(y) or not cnp.PyArray_ISCARRAY_RO(x):
        return NULL
    if kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE:
        return moves.from_float if wide else moves.from_double
    if kind == cnp.NPY_INT64:
        return moves.from_int[wide]
    return moves.from_byte[wide] if kind == cnp.NPY_BOOL or kind == cnp.NPY_UINT8 else NULL


cdef int fill(cnp.ndarray y, cnp.ndarray x, bint whole) except -1:
    cdef int axis, ndim = cnp.PyArray_NDIM(y)
    cdef const char* data = cnp.PyArray_BYTES(x)
    cdef loop_t loop = converter(y, x)
    cdef Work w
    if loop != NULL and same_shape(x, y) and cnp.PyArray_ISWRITEABLE(y):
        if prepared.capturing():
            prepared.reads(x)
        return run(loop, &data, sizeof(data), y, cnp.PyArray_SIZE(y), 1, 1, whole)
    if (cnp.PyArray_SIZE(y) == 0 or cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(y) or not same_shape(x, y)
            or not in_elements(x) or not in_elements(y) or not cnp.PyArray_ISWRITEABLE(y)):
        return prepared.assign(y, x)
    if prepared.capturing():
        prepared.reads(x)
    w.axes.count = 0
    for axis in range(ndim):
        add_axis(&w.axes, cnp.PyArray_DIM(y, axis), stride_of(x, axis, ndim), stride_of(y, axis, ndim), 0, 0)
    lay_out(&w)
    w.x = <const char*>cnp.PyArray_DATA(x)
    return run(of_dtype(y, <loop_t>copy_chunks[uint32_t], <loop_t>copy_chunks[uint64_t]), &w, sizeof(w), y,
               w.chunks, w.plane.chunk[0] * w.plane.chunk[1], COST, whole)


cdef cnp.ndarray c_copy(cnp.ndarray x):
    cdef cnp.ndarray y = memory.empty(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x))
    fill(y, x, False)
    return y


cdef bint is_view(cnp.ndarray x, tuple shape) except -1:
    """Whether x's elements, as they lie in memory, can be seen in another shape."""
    cdef Py_ssize_t n, known = 1, left
    cdef int axis, ndim = cnp.PyArray_NDIM(x), unknown = 0
    cdef Axes axes
    for n in shape:
        if n < -1:
            return True  # NumPy says what is wrong
        known = times(known, n if n != -1 else 1)
        unknown += n == -1
    if unknown > 1 or known <= 0 or cnp.PyArray_SIZE(x) % known or (not unknown and cnp.PyArray_SIZE(x) != known):
        return True  # so it does here
    axes.count = 0
    for axis in range(ndim):
        add_axis(&axes, cnp.PyArray_DIM(x, axis), stride_of(x, axis, ndim), 0, 0, 0)
    merge_axes(&axes)
    axis, left = 0, axes.length[0]
    for n in shape:
        n = cnp.PyArray_SIZE(x) // known if n == -1 else n
        if left == 1 and n > 1:
            axis += 1
            left = axes.length[axis]
        if left % n:
            return False
        left //= n
    return True


def copy(x not None):
    """x in C order, in new memory."""
    return c_copy(<cnp.ndarray?>x) if cnp.PyArray_ISNUMBER(<cnp.ndarray?>x) else x.copy()


def assign(y not None, x not None):
    """y = x for arrays that share no memory; x broadcasts, and other dtypes convert."""
    copy_into(<cnp.ndarray?>y, <cnp.ndarray?>x)


cdef struct Pieces:
    const char* x[PIECES]
    Py_ssize_t[PIECES] nbytes, step  # of a piece; from it to that of the next row
    Py_ssize_t count, start, row     # the bytes of y's row, and where the first of these pieces is in it


cdef void copy_pieces(void* tag, Pieces* w, Py_ssize_t first, Py_ssize_t last, char* y) noexcept nogil:
    cdef Py_ssize_t r, i
    cdef char* to
    for r in range(first, last):
        to = y + w.start + r * w.row
        for i in range(w.count):
            copy_piece(to, w.x[i] + r * w.step[i], w.nbytes[i])
            to += w.nbytes[i]


cdef bint join_pieces(cnp.ndarray y, tuple xs, int axis, Py_ssize_t outer) except -1:
    """Joins them on one thread, if all are in pieces and it is worth it."""
    cdef Pieces w
    cdef Py_ssize_t place = 0, count = len(xs), nbytes, step
    cdef bint small = cnp.PyArray_NBYTES(y) <= WHOLE
    if not cnp.PyArray_ISCARRAY(y) or not (cnp.PyArray_ISNUMBER(y) or cnp.PyArray_ISBOOL(y)) or outer == 0:
        return False
    w.row = cnp.PyArray_NBYTES(y) // outer
    if outer > 1 and w.row < SHORT * count:
        return False
    for item in xs:
        if not in_pieces(<cnp.ndarray?>item, y, axis, outer, &nbytes, &step) or not (small or outer * nbytes <= SMALL):
            return False
        place += nbytes
    if place != w.row:
        return False
    w.start = w.count = place = 0
    for item in xs:
        in_pieces(<cnp.ndarray>item, y, axis, outer, &w.nbytes[w.count], &w.step[w.count])
        w.x[w.count] = cnp.PyArray_BYTES(<cnp.ndarray>item)
        if prepared.capturing():
            prepared.reads(<cnp.ndarray>item)
        place += w.nbytes[w.count]
        w.count += 1
        if w.count == PIECES or place == w.row:
            run(<loop_t>copy_pieces, &w, sizeof(w), y, outer, 0, 0, False)
            w.start, w.count = place, 0
    return True


def join(cnp.ndarray y not None, tuple xs, int axis):
    """y = the xs one after another along `axis`; those that lack this axis have one place each on it.

    Their shapes must fit, and none may share y's memory.
    """
    cdef bint new = len(xs) and cnp.PyArray_NDIM(<cnp.ndarray?>xs[0]) < cnp.PyArray_NDIM(y)
    cdef Py_ssize_t outer = 1, start = 0, n
    cdef int i
    for i in range(axis):
        outer *= cnp.PyArray_DIM(y, i)
    if join_pieces(y, xs, axis, outer):
        return
    lead = (slice(None),) * axis
    for item in xs:
        n = 1 if new else cnp.PyArray_DIM(<cnp.ndarray?>item, axis)
        copy_into(<cnp.ndarray?>y[(*lead, start if new else slice(start, start + n), ...)], <cnp.ndarray>item)
        start += n


cdef struct Filling:
    void* y
    void* value


cdef int fill_with(void* filling) except -1:
    cdef Filling* w = <Filling*>filling
    (<object>w.y).fill(<object>w.value)
    return 0


cdef int repeat_number(cnp.ndarray y, const char* number) except -1:
    """As copy_into, from an array of one number that is repeated along all axes."""
    cdef int axis, ndim = cnp.PyArray_NDIM(y)
    cdef Work w
    w.axes.count = 0
    for axis in range(ndim):
        add_axis(&w.axes, cnp.PyArray_DIM(y, axis), 0, stride_of(y, axis, ndim), 0, 0)
    lay_out(&w)
    w.x = number
    return run(of_dtype(y, <loop_t>copy_chunks[uint32_t], <loop_t>copy_chunks[uint64_t]), &w, sizeof(w), y,
               w.chunks, w.plane.chunk[0] * w.plane.chunk[1], COST, True)


def set_all(cnp.ndarray y not None, value):
    """y = the number, everywhere."""
    cdef Filling w = Filling(<void*>y, <void*>value)
    cdef float single
    cdef double wide
    if type(value) in (float, int) and is_plain(y) and cnp.PyArray_ISWRITEABLE(y) and not prepared.capturing():
        if cnp.PyArray_SIZE(y) >= MANY and -LARGEST <= value <= LARGEST:
            single, wide = value, value
            repeat_number(y, <const char*>&wide if is_double(y) else <const char*>&single)
            return
    if prepared.capturing():
        prepared.keep(y)
        prepared.keep(value)
    prepared.do(fill_with, &w, sizeof(w), y)


cdef struct Even:
    int64_t start, step
    double first, gap


cdef void fill_evenly(void* tag, Even* w, Py_ssize_t first, Py_ssize_t last, number* y) noexcept nogil:
    """A task has fewer elements than an int counts; and only ints become doubles many at a time."""
    cdef int i, n = <int>(last - first)
    cdef Even even = w[0]  # (y might point to it, for all that the compiler knows)
    cdef int64_t whole = even.start + first * even.step
    cdef double place = <double>first
    y += first
    for i in range(n):
        if number is int64_t:
            y[i] = whole
            whole += even.step
        else:
            y[i] = <number>(even.first + (place + i) * even.gap)


def evenly(start, step, Py_ssize_t count, dtype):
    """start, start + step, ...: so many numbers of int64, float32 or float64, of which floats are computed in double."""
    cdef cnp.ndarray y
    cdef cnp.npy_intp length = count
    cdef int kind = (<cnp.dtype?>dtype).type_num
    cdef Even w
    cdef loop_t loop = <loop_t>fill_evenly[double] if kind == cnp.NPY_DOUBLE else <loop_t>fill_evenly[float]
    if kind == cnp.NPY_INT64:
        w.start, w.step, loop = start, step, <loop_t>fill_evenly[int64_t]
    elif kind in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        w.first, w.gap = start, (start + step) - start
    else:
        raise TypeError(f"evenly: expected int64, float32 or float64, got {dtype}")
    y = memory.empty(1, &length, kind)
    run(loop, &w, sizeof(w), y, count, 1, COST, False)
    return y


def reshape(x not None, tuple shape):
    """x.reshape(shape): a view where x's memory allows one, else a copy."""
    cdef cnp.ndarray a = <cnp.ndarray?>x
    if not cnp.PyArray_IS_C_CONTIGUOUS(a) and in_elements(a) and not is_view(a, shape):
        x = c_copy(a)
    return x.reshape(shape)
