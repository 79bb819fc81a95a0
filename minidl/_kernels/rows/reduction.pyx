"""Sums and extrema over any axes, in one order of steps whatever the number of threads.

Design. The axes of x are sorted as they lie in memory and joined where they can be; what is left is one of two cases.
The innermost axis is folded: each result is a fold of rows (`fold_rows`: the loss, the last axis, the channels of NCHW).
Or it is kept: rows are joined with one another, eight at a time (`fold_columns`: a bias gradient, and with gaps between
a row's elements where the innermost axis is folded, but short: 2 x 2 windows). Long folds are cut into chunks of a fixed
size, and the results of the chunks are joined in pairs, then pairs of pairs. `folding.pxd` has the three folds (sum,
greatest, smallest), and how a row is folded.
"""

cimport numpy as cnp
from libc.string cimport memcpy
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport seen
from minidl._kernels.arrays.axes cimport (
    MAX_AXES, Axes, Cursor, add_axis, advance, go_to, merge_axes, next_row, sort_axes, swap_axes,
)
from minidl._kernels.rows.folding cimport (
    BLOCK, LANES, ROWS, Fold, Max, Min, Pairs, Sum, block_fold, eight, join, push, row_fold, rows_fold, start, total,
)
from minidl._kernels.arrays.layout cimport in_elements
from minidl._kernels.math.elementary cimport real

from minidl._kernels.reference.reduction import extremum_axes as _numpy_extremum_axes
from minidl._kernels.reference.reduction import sum_axes as _numpy_sum_axes
from minidl._kernels.reference.reduction import sum_to as _numpy_sum_to

cnp.import_array()

cdef enum:
    CHUNK = 16384    # elements of a chunk of a fold of rows
    DEEP = 256       # rows of a chunk of a fold of columns
    WIDE = 512       # columns of it
    GROUP = 8        # rows joined in pairs before they meet the partial result
    SHORT = 16       # elements of a row that are not worth a loop of their own
    SMALL = 512      # results of chunks kept on the stack


cdef struct Work:
    Axes kept                 # strides: of x, of y
    Axes folded
    Py_ssize_t[2] inner       # in the column case the innermost kept axis: length, stride in x
    Py_ssize_t inner_y        # and stride in y
    const char* x
    char* y
    double* partial           # (chunks, results): the results of the chunks, if there are several
    double divisor
    Py_ssize_t results        # elements of y
    Py_ssize_t depth          # elements folded into each
    Py_ssize_t chunks         # that a fold is cut into
    Py_ssize_t blocks         # of WIDE columns
    Py_ssize_t units, width   # a unit is one chunk; elements of a unit
    int fold                  # place in FOLDS
    bint columns, wide        # the case; whether it is double


# ── Along rows ───────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void emit(Work* w, real* y, Py_ssize_t chunk, Py_ssize_t place, double s) noexcept nogil:
    if w.chunks == 1:
        y[place] = <real>(s / w.divisor)
    else:
        w.partial[chunk * w.results + place] = s


cdef double chunk_fold(Fold* tag, Work* w, const real* x, Py_ssize_t chunk) noexcept nogil:
    """One chunk of one result, over several axes."""
    cdef Py_ssize_t left = min(w.depth - chunk * CHUNK, <Py_ssize_t>CHUNK), n, rows
    cdef int last = w.folded.count - 1
    cdef bint short_rows = w.folded.stride[last][0] == 1 and LANES <= w.folded.length[last] <= BLOCK
    cdef real[ROWS] results
    cdef Pairs pairs
    cdef Cursor at
    pairs.count = 0
    go_to(&at, &w.folded, chunk * CHUNK)
    while True:
        n = min(w.folded.length[last] - at.place[last], left)
        if short_rows and n == w.folded.length[last]:
            rows = min(min(left // n, <Py_ssize_t>ROWS), w.folded.length[last - 1] - at.place[last - 1])
            rows_fold(tag, x + at.offset[0], w.folded.stride[last - 1][0], rows, n, results)
            push(tag, &pairs, block_fold(tag, <const real*>results, rows, 1))
            left -= rows * n
            if left:
                go_to(&at, &w.folded, min(w.depth, (chunk + 1) * CHUNK) - left)
        else:
            push(tag, &pairs, row_fold(tag, x + at.offset[0], n, w.folded.stride[last][0]))
            left -= n
            if left:
                next_row(&at, &w.folded)
        if left == 0:
            return total(tag, &pairs)


cdef void fold_rows(Fold* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Units: the chunks of the first result, those of the next..."""
    cdef Py_ssize_t unit, chunk = first % w.chunks, stride = w.folded.stride[0][0], rows, i
    cdef real[ROWS] results
    cdef const real* x
    cdef double s
    cdef Cursor at
    if w.chunks == 1 and w.kept.count == 1 and w.folded.count == 1:  # many short rows: nothing else to look up
        if stride == 1 and LANES <= w.depth <= BLOCK:
            while first < last:
                rows = min(last - first, <Py_ssize_t>ROWS)
                x = <const real*>w.x + first * w.kept.stride[0][0]
                rows_fold(tag, x, w.kept.stride[0][0], rows, w.depth, results)
                for i in range(rows):
                    y[(first + i) * w.kept.stride[0][1]] = <real>(results[i] / w.divisor)
                first += rows
            return
        for unit in range(first, last):
            s = row_fold(tag, <const real*>w.x + unit * w.kept.stride[0][0], w.depth, stride)
            y[unit * w.kept.stride[0][1]] = <real>(s if w.divisor == 1 else s / w.divisor)
        return
    go_to(&at, &w.kept, first // w.chunks)
    for unit in range(first, last):
        x = <const real*>w.x + at.offset[0]
        if w.folded.count == 1:
            x += chunk * CHUNK * stride
            s = row_fold(tag, x, min(w.depth - chunk * CHUNK, <Py_ssize_t>CHUNK), stride)
        else:
            s = chunk_fold(tag, w, x, chunk)
        emit(w, y, chunk, at.offset[1], s)
        chunk += 1
        if chunk == w.chunks:
            chunk = 0
            advance(&at, &w.kept, w.kept.count - 1)


# ── Along columns ────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void join_rows(
    Fold* tag, real* s, const real* x, const Py_ssize_t* row, Py_ssize_t n, Py_ssize_t k
) noexcept nogil:
    """s joined with GROUP rows of n elements, of stride k."""
    cdef Py_ssize_t j
    cdef const real* a = x + row[0]
    cdef const real* b = x + row[1]
    cdef const real* c = x + row[2]
    cdef const real* d = x + row[3]
    cdef const real* e = x + row[4]
    cdef const real* f = x + row[5]
    cdef const real* g = x + row[6]
    cdef const real* h = x + row[7]
    if k == 1:
        for j in range(n):
            s[j] = join(tag, s[j], eight(tag, a[j], b[j], c[j], d[j], e[j], f[j], g[j], h[j]))
    else:
        for j in range(n):
            s[j] = join(
                tag, s[j], eight(tag, a[j*k], b[j*k], c[j*k], d[j*k], e[j*k], f[j*k], g[j*k], h[j*k])
            )


cdef void column_block(
    Fold* tag, Work* w, const real* x, real* y, Py_ssize_t place, Py_ssize_t n, Py_ssize_t chunk
) noexcept nogil:
    """One chunk of n neighbouring results, the first of which is y[place]."""
    cdef real[WIDE] s
    cdef Py_ssize_t[GROUP] row
    cdef Py_ssize_t left = min(w.depth - chunk * DEEP, <Py_ssize_t>DEEP), j
    cdef int i, last = w.folded.count - 1
    cdef Cursor at
    for j in range(n):
        s[j] = <real>start(tag)
    go_to(&at, &w.folded, chunk * DEEP)
    while left >= GROUP:
        for i in range(GROUP):
            row[i] = at.offset[0]
            advance(&at, &w.folded, last)
        join_rows(tag, &s[0], x, &row[0], n, w.inner[1])
        left -= GROUP
    while left > 0:
        for j in range(n):
            s[j] = join(tag, s[j], x[at.offset[0] + j * w.inner[1]])
        advance(&at, &w.folded, last)
        left -= 1
    if w.chunks == 1 and w.divisor == 1 and w.inner_y == 1:  # the division would cost more than the sum
        memcpy(y + place, &s[0], n * sizeof(real))
        return
    for j in range(n):
        emit(w, y, chunk, place + j * w.inner_y, s[j])


cdef void fold_columns(Fold* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Units: the chunks of the first block, those of the next..., then of the next place on the outer axes."""
    cdef Py_ssize_t unit, chunk, block, start
    cdef Cursor at
    for unit in range(first, last):
        chunk, block = unit % w.chunks, unit // w.chunks
        go_to(&at, &w.kept, block // w.blocks)
        start = block % w.blocks * WIDE
        column_block(
            tag, w, <const real*>w.x + at.offset[0] + start * w.inner[1], y,
            at.offset[1] + start * w.inner_y, min(w.inner[0] - start, <Py_ssize_t>WIDE), chunk,
        )


# ── Putting it together ──────────────────────────────────────────────────────────────────────────────────────────────

ctypedef void (*units_t)(void*, Work*, Py_ssize_t, Py_ssize_t, void*) noexcept nogil
ctypedef void (*join_t)(void*, double*, const double*, Py_ssize_t) noexcept nogil

cdef struct Loops:
    units_t[4] fold  # rows, columns; each for float32 and float64
    join_t join_all


cdef Loops loops_of(Fold* tag) noexcept:
    cdef Loops loops
    loops.fold[0], loops.fold[1] = <units_t>fold_rows[Fold, float], <units_t>fold_rows[Fold, double]
    loops.fold[2], loops.fold[3] = <units_t>fold_columns[Fold, float], <units_t>fold_columns[Fold, double]
    loops.join_all = <join_t>join_all[Fold]
    return loops


cdef void join_all(Fold* tag, double* a, const double* b, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = join(tag, a[i], b[i])


cdef enum:
    SUM, MAX, MIN

cdef Loops[3] FOLDS
FOLDS[<int>SUM] = loops_of[Sum](NULL)
FOLDS[<int>MAX] = loops_of[Max](NULL)
FOLDS[<int>MIN] = loops_of[Min](NULL)


cdef void fold_units(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, void* _) noexcept nogil:
    FOLDS[w.fold].fold[2 * w.columns + w.wide](NULL, w, first, last, w.y)


cdef void join_chunks(Work* w, real* y) noexcept nogil:
    """The results of the chunks, in pairs: the second half of them onto the first, until one is left."""
    cdef Py_ssize_t count = w.chunks, half, c, i
    while count > 1:
        half = (count + 1) // 2
        for c in range(count - half):
            FOLDS[w.fold].join_all(
                NULL, w.partial + c * w.results, w.partial + (c + half) * w.results, w.results
            )
        count = half
    for i in range(w.results):
        y[i] = <real>(w.partial[i] / w.divisor)


cdef int fold_all(void* work) except -1:
    cdef Work* w = <Work*>work
    cdef double[SMALL] small
    cdef Py_ssize_t partials = w.chunks * w.results if w.chunks > 1 else 0
    w.partial = &small[0] if partials <= SMALL else <double*>memory.take(<size_t>partials * sizeof(double))
    if w.partial == NULL:
        raise MemoryError("sum: no memory for scratch")
    try:
        run(<loop_t>fold_units, w, sizeof(Work), None, w.units, w.width, 1, False)
        if partials and w.wide:
            join_chunks(w, <double*>w.y)
        elif partials:
            join_chunks(w, <float*>w.y)
    finally:
        if w.partial != &small[0]:
            memory.give(w.partial)
    return 0


cdef void plan(Work* w, Axes* axes) noexcept nogil:
    """Sorts the axes into kept and folded, picks the case and cuts the work into units."""
    cdef int i, last
    sort_axes(axes, 0)
    merge_axes(axes)
    last = axes.count - 1
    if axes.length[last] < SHORT and last > 0 and axes.length[last - 1] >= SHORT:
        if axes.stride[last][1] == 0 and axes.stride[last - 1][1] != 0:
            swap_axes(axes, last - 1, last)
    w.columns = axes.stride[last][1] != 0
    if w.columns:
        w.inner[0], w.inner[1], w.inner_y = axes.length[last], axes.stride[last][0], axes.stride[last][1]
        axes.count -= 1
    w.kept.count = w.folded.count = 0
    for i in range(axes.count):
        if axes.stride[i][1] != 0:
            add_axis(&w.kept, axes.length[i], axes.stride[i][0], axes.stride[i][1], 0, 0)
        else:
            add_axis(&w.folded, axes.length[i], axes.stride[i][0], 0, 0, 0)
    merge_axes(&w.kept)
    merge_axes(&w.folded)
    w.chunks = (w.depth + (DEEP if w.columns else CHUNK) - 1) // (DEEP if w.columns else CHUNK)
    if w.columns:
        w.blocks = (w.inner[0] + WIDE - 1) // WIDE
        w.units = w.results // w.inner[0] * w.blocks * w.chunks
        w.width = min(w.depth, <Py_ssize_t>DEEP) * min(w.inner[0], <Py_ssize_t>WIDE)
    else:
        w.units = w.results * w.chunks
        w.width = min(w.depth, <Py_ssize_t>CHUNK)


cdef cnp.ndarray folded_to(
    int fold, cnp.ndarray x, bint* folded, int ndim, cnp.npy_intp* shape, double divisor
):
    """A C-ordered array of this shape: x folded over its marked axes, the others in their order, divided."""
    cdef cnp.ndarray y = memory.empty(ndim, shape, cnp.PyArray_TYPE(x))
    cdef int axis
    cdef Py_ssize_t stride = 1, itemsize = cnp.PyArray_ITEMSIZE(x)
    cdef Axes axes
    cdef Work w
    w.results = cnp.PyArray_SIZE(y)
    if w.results == 0:
        return y
    w.depth = cnp.PyArray_SIZE(x) // w.results
    w.x, w.y, w.divisor = cnp.PyArray_BYTES(seen(x)), cnp.PyArray_BYTES(y), divisor
    w.wide = itemsize == sizeof(double)
    w.fold = fold
    if w.depth == 0:
        if fold != SUM:
            raise ValueError(f"extremum: no elements to choose from in an array of shape {(<object>x).shape}")
        (<object>y).fill(<double>0 / divisor)
        prepared.refuse("a sum of no elements")
        return y
    cdef Py_ssize_t[MAX_AXES] y_stride
    for axis in range(cnp.PyArray_NDIM(x) - 1, -1, -1):
        y_stride[axis] = 0 if folded[axis] else stride
        stride *= 1 if folded[axis] else cnp.PyArray_DIMS(x)[axis]
    axes.count = 0
    for axis in range(cnp.PyArray_NDIM(x)):
        add_axis(&axes, cnp.PyArray_DIMS(x)[axis], cnp.PyArray_STRIDES(x)[axis] // itemsize, y_stride[axis], 0, 0)
    plan(&w, &axes)
    prepared.do(fold_all, &w, sizeof(w), y)
    return y


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef cnp.ndarray over_axes(str name, int fold, cnp.ndarray x, tuple axes, bint keepdims, double divisor):
    cdef bint[MAX_AXES] folded
    cdef cnp.npy_intp[MAX_AXES] shape
    cdef int axis, ndim = 0
    cdef Py_ssize_t given
    for axis in range(cnp.PyArray_NDIM(x)):
        folded[axis] = axes is None
    if axes is not None:
        for given in axes:
            axis = <int>(given + cnp.PyArray_NDIM(x) if given < 0 else given)
            if not 0 <= axis < cnp.PyArray_NDIM(x):
                raise ValueError(f"{name}: axis {given} for an array of shape {(<object>x).shape}")
            if folded[axis]:
                raise ValueError(f"{name}: duplicate value in 'axis': {axes}")
            folded[axis] = True
    for axis in range(cnp.PyArray_NDIM(x)):
        if not folded[axis] or keepdims:
            shape[ndim] = 1 if folded[axis] else cnp.PyArray_DIMS(x)[axis]
            ndim += 1
    return folded_to(fold, x, folded, ndim, shape, divisor)


def sum_axes(x, tuple axes=None, bint keepdims=False, double divisor=1):
    """The sum of x over `axes` (None: all), divided by `divisor`: with their product of lengths it is the mean.

    float32 and float64 run here, integers in NumPy. Raises ValueError for an axis that x does not have.
    """
    if not isinstance(x, cnp.ndarray) or not in_elements(<cnp.ndarray>x):
        return _numpy_sum_axes(x, axes, keepdims, divisor)
    return over_axes("sum", SUM, <cnp.ndarray>x, axes, keepdims, divisor)


def extremum_axes(str name, x, tuple axes=None, bint keepdims=False):
    """The greatest ("max") or smallest ("min") element of x over `axes` (None: all); NaN if there is one.

    float32 and float64 run here, integers in NumPy. Raises ValueError for an axis that x does not have, or where there
    is no element.
    """
    if name not in ("max", "min"):
        raise KeyError(name)
    if not isinstance(x, cnp.ndarray) or not in_elements(<cnp.ndarray>x):
        return _numpy_extremum_axes(name, x, axes, keepdims)
    return over_axes(name, MAX if name == "max" else MIN, <cnp.ndarray>x, axes, keepdims, 1)


def sum_to(x, tuple shape):
    """x summed over the axes along which `shape` was broadcast, in that shape.

    float32 and float64 run here, integers in NumPy. Raises ValueError if `shape` does not broadcast to x's.
    """
    cdef bint[MAX_AXES] folded
    cdef cnp.npy_intp[MAX_AXES] lengths
    cdef int axis, lead, ndim = len(shape)
    cdef cnp.ndarray a
    if not isinstance(x, cnp.ndarray) or not in_elements(<cnp.ndarray>x):
        return _numpy_sum_to(x, shape)
    a = x
    lead = cnp.PyArray_NDIM(a) - ndim
    for axis in range(cnp.PyArray_NDIM(a)):
        folded[axis] = axis < lead
        if axis >= lead:
            lengths[axis - lead] = shape[axis - lead]
            folded[axis] = lengths[axis - lead] == 1 and cnp.PyArray_DIMS(a)[axis] != 1
            if not folded[axis] and lengths[axis - lead] != cnp.PyArray_DIMS(a)[axis]:
                lead = -1
                break
    if lead < 0:
        raise ValueError(f"sum_to: shape {shape} does not broadcast to {x.shape}")
    return folded_to(SUM, a, folded, ndim, lengths, 1)
