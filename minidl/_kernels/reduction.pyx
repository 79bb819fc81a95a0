"""Sums over any axes, in one order of additions whatever the number of threads.

Design. The axes of x are sorted as they lie in memory and joined where they can be; what is left is one of two cases.
The innermost axis is summed: each result is a sum of rows (`sum_rows`: the loss, the last axis, the channels of NCHW).
Or it is kept: rows are added to one another, eight at a time (`sum_columns`: a bias gradient). Long sums are cut into
chunks of a fixed size, and the sums of the chunks are added in pairs, then pairs of pairs.

Accuracy: a chain of additions in the array's own precision is at most 40 long; all else is added in double, in pairs.
The error of a float32 sum does not grow with the number of elements.
"""

cimport numpy as cnp
from libc.string cimport memcpy
from minidl._kernels cimport memory, pool
from minidl._kernels._axes cimport (
    MAX_AXES, Axes, Cursor, add_axis, go_to, in_elements, merge_axes, next_row, sort_axes, step,
)
from minidl._kernels._math cimport real

from minidl._kernels.reference_arithmetic import sum_axes as _numpy_sum_axes
from minidl._kernels.reference_arithmetic import sum_to as _numpy_sum_to

cnp.import_array()

cdef enum:
    CHUNK = 16384    # elements of a row-wise sum that one task adds
    DEEP = 256       # rows that one task of a column-wise sum adds
    WIDE = 512       # columns that it adds them for
    LANES = 16       # partial sums of a row, which the compiler keeps in vectors
    BLOCK = 512
    GROUP = 8        # rows added in pairs before they meet the partial sum
    LEVELS = 64
    SMALL = 512      # sums kept on the stack
    ALONE = 262144   # elements that one thread is done with before another would be awake


cdef struct Work:
    Axes kept                 # strides: of x, of y
    Axes summed
    Py_ssize_t[2] inner       # in the column case the innermost kept axis: length, stride in x
    Py_ssize_t inner_y        # and stride in y
    const char* x
    char* y
    double* partial           # (chunks, results): the sums of the chunks, if there are several
    double divisor
    Py_ssize_t results        # elements of y
    Py_ssize_t depth          # elements summed for each
    Py_ssize_t chunks         # that a sum is cut into
    Py_ssize_t blocks         # of WIDE columns
    Py_ssize_t units, per_task
    bint columns, wide        # the case; whether it is double


# ── Sums of rows ─────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Pairs:
    # Sums of 1, 2, 4... terms, as the bits of `count` say: a sum in pairs of terms that come one by one.
    double[LEVELS] sums
    Py_ssize_t count


cdef inline void push(Pairs* p, double term) noexcept nogil:
    cdef Py_ssize_t count = p.count
    cdef int level = 0
    while count & 1:
        term += p.sums[level]
        level += 1
        count >>= 1
    p.sums[level] = term
    p.count += 1


cdef inline double total(Pairs* p) noexcept nogil:
    cdef double s = 0
    cdef Py_ssize_t count = p.count
    cdef int level = 0
    while count:
        if count & 1:
            s += p.sums[level]
        level += 1
        count >>= 1
    return s


cdef inline real eight(
    real a, real b, real c, real d, real e, real f, real g, real h
) noexcept nogil:
    """In pairs: a running sum then waits for one addition in eight, and rounds as rarely."""
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


cdef inline real eight_apart(const real* x, Py_ssize_t gap) noexcept nogil:
    return eight(x[0], x[gap], x[2 * gap], x[3 * gap], x[4 * gap], x[5 * gap], x[6 * gap], x[7 * gap])


cdef inline double block_sum(const real* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Of at most BLOCK elements."""
    cdef real[LANES] s
    cdef Py_ssize_t j
    cdef double rest
    if n < 8 * LANES:
        return short_sum(x, n, stride)
    for j in range(LANES):
        s[j] = 0
    rest = short_sum(x + (n - n % (8 * LANES)) * stride, n % (8 * LANES), stride)
    while n >= 8 * LANES:
        if stride == 1:
            for j in range(LANES):
                s[j] += eight_apart(x + j, LANES)
        else:
            for j in range(LANES):
                s[j] += eight_apart(x + j * stride, LANES * stride)
        x += 8 * LANES * stride
        n -= 8 * LANES
    for j in range(LANES // 2):
        s[j] += s[j + LANES // 2]
    return rest + eight[double](s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7])


cdef inline double short_sum(const real* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Of fewer elements than make a step of a block."""
    cdef real[LANES] s
    cdef Py_ssize_t i = 0, j
    cdef double a = 0, b = 0, c = 0, d = 0
    if stride == 1 and n >= LANES:
        for j in range(LANES):
            s[j] = x[j]
        i = LANES
        while i + LANES <= n:
            for j in range(LANES):
                s[j] += x[i + j]
            i += LANES
        for j in range(LANES // 2):
            s[j] += s[j + LANES // 2]
        a = eight[double](s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7])
    while i + 4 <= n:  # four sums side by side, as long as the processor waits for one
        a += x[i * stride]
        b += x[(i + 1) * stride]
        c += x[(i + 2) * stride]
        d += x[(i + 3) * stride]
        i += 4
    while i < n:
        a += x[i * stride]
        i += 1
    return (a + b) + (c + d)


cdef inline double row_sum(const real* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    cdef Pairs pairs
    cdef Py_ssize_t i = 0
    if n <= BLOCK:
        return block_sum(x, n, stride)
    pairs.count = 0
    while i < n:
        push(&pairs, block_sum(x + i * stride, min(n - i, <Py_ssize_t>BLOCK), stride))
        i += BLOCK
    return total(&pairs)


cdef inline void emit(Work* w, real* tag, Py_ssize_t chunk, Py_ssize_t place, double s) noexcept nogil:
    if w.chunks == 1:
        (<real*>w.y)[place] = <real>(s / w.divisor)
    else:
        w.partial[chunk * w.results + place] = s


cdef double chunk_sum(Work* w, const real* x, Py_ssize_t chunk) noexcept nogil:
    """One chunk of one result, over several axes."""
    cdef Py_ssize_t left = min(w.depth - chunk * CHUNK, <Py_ssize_t>CHUNK), n
    cdef int last = w.summed.count - 1
    cdef Pairs pairs
    cdef Cursor at
    pairs.count = 0
    go_to(&at, &w.summed, chunk * CHUNK)
    while True:
        n = min(w.summed.length[last] - at.place[last], left)
        push(&pairs, row_sum(x + at.offset[0], n, w.summed.stride[last][0]))
        left -= n
        if left == 0:
            return total(&pairs)
        next_row(&at, &w.summed)


cdef void sum_rows(Work* w, real* tag, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Units: the chunks of the first result, those of the next..."""
    cdef Py_ssize_t unit, chunk = first % w.chunks, stride = w.summed.stride[0][0]
    cdef const real* x
    cdef double s
    cdef Cursor at
    go_to(&at, &w.kept, first // w.chunks)
    for unit in range(first, last):
        x = <const real*>w.x + at.offset[0]
        if w.summed.count == 1:
            x += chunk * CHUNK * stride
            s = row_sum(x, min(w.depth - chunk * CHUNK, <Py_ssize_t>CHUNK), stride)
        else:
            s = chunk_sum(w, x, chunk)
        emit(w, tag, chunk, at.offset[1], s)
        chunk += 1
        if chunk == w.chunks:
            chunk = 0
            step(&at, &w.kept, w.kept.count - 1)


# ── Sums of columns ──────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void add_rows(
    real* s, const real* x, const Py_ssize_t* row, Py_ssize_t n, Py_ssize_t k
) noexcept nogil:
    """s += the sum of GROUP rows of n elements, of stride k."""
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
            s[j] += eight(a[j], b[j], c[j], d[j], e[j], f[j], g[j], h[j])
    else:
        for j in range(n):
            s[j] += eight(a[j*k], b[j*k], c[j*k], d[j*k], e[j*k], f[j*k], g[j*k], h[j*k])


cdef void column_block(
    Work* w, const real* x, Py_ssize_t place, Py_ssize_t n, Py_ssize_t chunk
) noexcept nogil:
    """One chunk of n neighbouring results, the first of which is y[place]."""
    cdef real[WIDE] s
    cdef Py_ssize_t[GROUP] row
    cdef Py_ssize_t left = min(w.depth - chunk * DEEP, <Py_ssize_t>DEEP), j
    cdef int i, last = w.summed.count - 1
    cdef Cursor at
    for j in range(n):
        s[j] = 0
    go_to(&at, &w.summed, chunk * DEEP)
    while left >= GROUP:
        for i in range(GROUP):
            row[i] = at.offset[0]
            step(&at, &w.summed, last)
        add_rows(&s[0], x, &row[0], n, w.inner[1])
        left -= GROUP
    while left > 0:
        for j in range(n):
            s[j] += x[at.offset[0] + j * w.inner[1]]
        step(&at, &w.summed, last)
        left -= 1
    if w.chunks == 1 and w.divisor == 1 and w.inner_y == 1:  # the division would cost more than the sum
        memcpy(<real*>w.y + place, &s[0], n * sizeof(real))
        return
    for j in range(n):
        emit(w, <real*>NULL, chunk, place + j * w.inner_y, s[j])


cdef void sum_columns(Work* w, real* tag, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Units: the chunks of the first block, those of the next..., then of the next place on the outer axes."""
    cdef Py_ssize_t unit, chunk, block, start
    cdef Cursor at
    for unit in range(first, last):
        chunk, block = unit % w.chunks, unit // w.chunks
        go_to(&at, &w.kept, block // w.blocks)
        start = block % w.blocks * WIDE
        column_block(
            w, <const real*>w.x + at.offset[0] + start * w.inner[1],
            at.offset[1] + start * w.inner_y, min(w.inner[0] - start, <Py_ssize_t>WIDE), chunk,
        )


# ── Putting it together ──────────────────────────────────────────────────────────────────────────────────────────────

ctypedef void (*task_t)(Work*, void*, Py_ssize_t, Py_ssize_t) noexcept nogil

cdef task_t[4] TASKS
TASKS[0], TASKS[1] = <task_t>sum_rows[float], <task_t>sum_rows[double]
TASKS[2], TASKS[3] = <task_t>sum_columns[float], <task_t>sum_columns[double]


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* w = <Work*>context
    cdef Py_ssize_t first = index * w.per_task
    TASKS[2 * w.columns + w.wide](w, NULL, first, min(first + w.per_task, w.units))


cdef void add_chunks(Work* w) noexcept nogil:
    """The sums of the chunks, in pairs: the second half of them onto the first, until one is left."""
    cdef Py_ssize_t count = w.chunks, half, c, i
    cdef double* a
    cdef double* b
    while count > 1:
        half = (count + 1) // 2
        for c in range(count - half):
            a, b = w.partial + c * w.results, w.partial + (c + half) * w.results
            for i in range(w.results):
                a[i] += b[i]
        count = half
    for i in range(w.results):
        if w.wide:
            (<double*>w.y)[i] = w.partial[i] / w.divisor
        else:
            (<float*>w.y)[i] = <float>(w.partial[i] / w.divisor)


cdef bint run(Work* w) noexcept nogil:
    """False if there is no memory for the sums of the chunks."""
    cdef Py_ssize_t tasks = (w.units + w.per_task - 1) // w.per_task, i
    cdef double[SMALL] small
    if w.chunks > 1:
        w.partial = small
        if w.chunks * w.results > SMALL:
            w.partial = <double*>memory.take(<size_t>(w.chunks * w.results) * sizeof(double))
            if w.partial == NULL:
                return False
    if w.results * w.depth <= ALONE:
        for i in range(tasks):
            run_task(w, i)
    else:
        pool.parallel(run_task, w, tasks)
    if w.chunks > 1:
        add_chunks(w)
        if w.partial != small:
            memory.give(w.partial)
    return True


cdef void plan(Work* w, Axes* axes) noexcept nogil:
    """Sorts the axes into kept and summed, picks the case and cuts the work into units."""
    cdef int i, last
    cdef Py_ssize_t size
    sort_axes(axes, 0)
    merge_axes(axes)
    last = axes.count - 1
    w.columns = axes.stride[last][1] != 0
    if w.columns:
        w.inner[0], w.inner[1], w.inner_y = axes.length[last], axes.stride[last][0], axes.stride[last][1]
        axes.count -= 1
    w.kept.count = w.summed.count = 0
    for i in range(axes.count):
        if axes.stride[i][1] != 0:
            add_axis(&w.kept, axes.length[i], axes.stride[i][0], axes.stride[i][1], 0)
        else:
            add_axis(&w.summed, axes.length[i], axes.stride[i][0], 0, 0)
    merge_axes(&w.kept)
    merge_axes(&w.summed)
    w.chunks = (w.depth + (DEEP if w.columns else CHUNK) - 1) // (DEEP if w.columns else CHUNK)
    if w.columns:
        w.blocks = (w.inner[0] + WIDE - 1) // WIDE
        w.units = w.results // w.inner[0] * w.blocks * w.chunks
        size = min(w.depth, <Py_ssize_t>DEEP) * min(w.inner[0], <Py_ssize_t>WIDE)
    else:
        w.units = w.results * w.chunks
        size = min(w.depth, <Py_ssize_t>CHUNK)
    w.per_task = max(<Py_ssize_t>1, CHUNK // size)


cdef cnp.ndarray summed_to(cnp.ndarray x, bint* summed, int ndim, cnp.npy_intp* shape, double divisor):
    """A C-ordered array of this shape: x summed over its marked axes, the others in their order, divided."""
    cdef cnp.ndarray y = memory.empty(ndim, shape, cnp.PyArray_TYPE(x))
    cdef int axis
    cdef Py_ssize_t stride = 1, itemsize = cnp.PyArray_ITEMSIZE(x)
    cdef Axes axes
    cdef Work w
    w.results = cnp.PyArray_SIZE(y)
    if w.results == 0:
        return y
    w.depth = cnp.PyArray_SIZE(x) // w.results
    w.x, w.y, w.divisor = <char*>cnp.PyArray_DATA(x), <char*>cnp.PyArray_DATA(y), divisor
    w.wide = itemsize == sizeof(double)
    if w.depth == 0:
        (<object>y).fill(<double>0 / divisor)
        return y
    cdef Py_ssize_t[MAX_AXES] y_stride
    for axis in range(cnp.PyArray_NDIM(x) - 1, -1, -1):
        y_stride[axis] = 0 if summed[axis] else stride
        stride *= 1 if summed[axis] else cnp.PyArray_DIMS(x)[axis]
    axes.count = 0
    for axis in range(cnp.PyArray_NDIM(x)):
        add_axis(&axes, cnp.PyArray_DIMS(x)[axis], cnp.PyArray_STRIDES(x)[axis] // itemsize, y_stride[axis], 0)
    plan(&w, &axes)
    cdef bint done
    if w.results * w.depth <= ALONE:
        done = run(&w)
    else:
        with nogil:
            done = run(&w)
    if not done:
        raise MemoryError(f"sum: no memory for the {w.chunks * w.results} sums of the chunks")
    return y


# ── The faces ────────────────────────────────────────────────────────────────────────────────────────────────────────

def sum_axes(x, tuple axes=None, bint keepdims=False, double divisor=1):
    """The sum of x over `axes` (None: all), divided by `divisor`: with their product of lengths it is the mean.

    float32 and float64 run here, integers in NumPy. Raises ValueError for an axis that x does not have.
    """
    cdef bint[MAX_AXES] summed
    cdef cnp.npy_intp[MAX_AXES] shape
    cdef int axis, ndim = 0
    cdef Py_ssize_t given
    cdef cnp.ndarray a
    if not isinstance(x, cnp.ndarray) or not in_elements(<cnp.ndarray>x):
        return _numpy_sum_axes(x, axes, keepdims, divisor)
    a = x
    for axis in range(cnp.PyArray_NDIM(a)):
        summed[axis] = axes is None
    if axes is not None:
        for given in axes:
            axis = <int>(given + cnp.PyArray_NDIM(a) if given < 0 else given)
            if not 0 <= axis < cnp.PyArray_NDIM(a):
                raise ValueError(f"sum: axis {given} for an array of shape {x.shape}")
            if summed[axis]:
                raise ValueError(f"sum: duplicate value in 'axis': {axes}")
            summed[axis] = True
    for axis in range(cnp.PyArray_NDIM(a)):
        if not summed[axis] or keepdims:
            shape[ndim] = 1 if summed[axis] else cnp.PyArray_DIMS(a)[axis]
            ndim += 1
    return summed_to(a, summed, ndim, shape, divisor)


def sum_to(x, tuple shape):
    """x summed over the axes along which `shape` was broadcast, in that shape.

    float32 and float64 run here, integers in NumPy. Raises ValueError if `shape` does not broadcast to x's.
    """
    cdef bint[MAX_AXES] summed
    cdef cnp.npy_intp[MAX_AXES] lengths
    cdef int axis, lead, ndim = len(shape)
    cdef cnp.ndarray a
    if not isinstance(x, cnp.ndarray) or not in_elements(<cnp.ndarray>x):
        return _numpy_sum_to(x, shape)
    a = x
    lead = cnp.PyArray_NDIM(a) - ndim
    for axis in range(cnp.PyArray_NDIM(a)):
        summed[axis] = axis < lead
        if axis >= lead:
            lengths[axis - lead] = shape[axis - lead]
            summed[axis] = lengths[axis - lead] == 1 and cnp.PyArray_DIMS(a)[axis] != 1
            if not summed[axis] and lengths[axis - lead] != cnp.PyArray_DIMS(a)[axis]:
                lead = -1
                break
    if lead < 0:
        raise ValueError(f"sum_to: shape {shape} does not broadcast to {x.shape}")
    return summed_to(a, summed, ndim, lengths, 1)
