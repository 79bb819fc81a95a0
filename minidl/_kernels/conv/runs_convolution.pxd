# A convolution with few outputs, by the runs of runs.pxd. The result is in planes: (N, C, *size) in C order. From the
# outside in:
#
#   for tasks: a block of samples, a group of channels, a depth of y, a band of its rows    over the threads
#     for samples, for phases of the columns: the rows are copied
#       for phases of the rows, for up to TILE_ROWS outputs, for a few vectors of their pixels
#         for the terms of the sum, a channel and a tap each: a product for each output and vector
#
# A single output reads a vector for each product. So where the columns have no stride, the taps in a row of its kernel are
# taken for as many outputs, `columns`, that see one column of taps and read the same vectors. Each of their pixels is one
# of y's, moved by the tap's offset: there they are added last.

from libc.string cimport memset

from minidl._kernels.conv.direct cimport SERIAL_FLOPS, Taps, Weights
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.phases cimport Job, Window, lay_axes, weights_of
from minidl._kernels.conv.runs cimport (
    MOST_PHASES, SUMS, Runs, are_apart, copy_row, copy_rows, find_terms, lay_runs, pitch_of,
)
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.dots cimport inside, keep
from minidl._kernels.product.product cimport TASK_FLOPS, TASKS, activation_t, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport (
    TILE_ROWS, TILE_VECTORS, One, Three, Two, Whole, broadcast, doubles, floats, lanes, loaded, vec, zeros,
)
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.runtime.sizes cimport plus, times


cdef enum:
    HIGHEST = 8                 # outputs of a tile: TILE_ROWS is no more
    LEAST_TERMS = 8             # of a column's sum
    MOST_COLUMNS = 16


# The outputs of a tile, as a type. Whole: TILE_ROWS of them, for TILE_VECTORS vectors of pixels.
ctypedef fused Outputs:
    One
    Two
    Three
    Whole


cdef inline int rows_of(Outputs* outputs) noexcept nogil:
    return 1 if Outputs is One else 2 if Outputs is Two else 3 if Outputs is Three else TILE_ROWS


cdef inline int vectors_of(int rows) noexcept nogil:
    return TILE_VECTORS if rows == TILE_ROWS else SUMS // rows


cdef inline Py_ssize_t next_rows(Py_ssize_t outputs) noexcept nogil:
    """How many of so many outputs the next tile has: a whole one, if it leaves none or enough for another one, else 1 to 3."""
    if outputs == TILE_ROWS or outputs > TILE_ROWS + 2:
        return TILE_ROWS
    return ceil_div(outputs, ceil_div(outputs, 3))


cdef struct Tiles:
    # Tiles side by side: about SUMS vectors of results in each, as many of each output.
    const char* w[HIGHEST]      # the weights, term after term
    const char* bias[HIGHEST]   # or NULL
    char* out[HIGHEST]
    const char* x               # where the runs of the first pixel would begin,
    const Py_ssize_t* shifts    # and how far from there those of each term do, in bytes
    Py_ssize_t terms
    Py_ssize_t count, last      # of tiles; where the last one begins, in bytes: it may share pixels with its neighbour


cdef inline void sum_tiles(Outputs* outputs, vec* kind, const Tiles* s) noexcept nogil:
    """(A loop over tiles, for the reason that tile() in product/tile.pxd is one. The sums, and the fewer of the two kinds of
    operands, are in registers.)"""
    cdef vec[HIGHEST * TILE_VECTORS] sums
    cdef vec[TILE_VECTORS] held
    cdef const char* w[HIGHEST]
    cdef vec one
    cdef Py_ssize_t number, left, t, size = sizeof(float) if vec is floats else sizeof(double)
    cdef const char* at
    cdef int i, j, rows = rows_of(outputs), vectors = vectors_of(rows_of(outputs))
    for i in range(rows):
        w[i] = s.w[i]
    for number in range(s.count):
        left = min(number * vectors * <Py_ssize_t> sizeof(vec), s.last)
        for i in range(rows):
            one = broadcast(kind, s.bias[i]) if s.bias[i] != NULL else zeros(kind)
            for j in range(vectors):
                sums[i * vectors + j] = one
        for t in range(s.terms):
            at = s.x + left + s.shifts[t]
            if Outputs is One or Outputs is Two or Outputs is Three:
                for i in range(rows):
                    held[i] = broadcast(kind, w[i] + t * size)
                for j in range(vectors):
                    one = loaded(kind, at, j)
                    for i in range(rows):
                        sums[i * vectors + j] = sums[i * vectors + j] + held[i] * one
            else:
                for j in range(vectors):
                    held[j] = loaded(kind, at, j)
                for i in range(rows):
                    one = broadcast(kind, w[i] + t * size)
                    for j in range(vectors):
                        sums[i * vectors + j] = sums[i * vectors + j] + one * held[j]
        for i in range(rows):
            for j in range(vectors):
                (<vec*> (s.out[i] + left))[j] = sums[i * vectors + j]


ctypedef void (*tiles_t)(void* outputs, void* kind, const Tiles* s) noexcept nogil


cdef inline void any_tiles(vec* kind, Py_ssize_t rows, const Tiles* s) noexcept nogil:
    """(Through a pointer, as in product/tile.pxd.)"""
    cdef tiles_t[4] tiles
    tiles[0], tiles[1] = <tiles_t> sum_tiles[One, vec], <tiles_t> sum_tiles[Two, vec]
    tiles[2], tiles[3] = <tiles_t> sum_tiles[Three, vec], <tiles_t> sum_tiles[Whole, vec]
    tiles[min(rows, 4) - 1](NULL, NULL, s)


cdef struct Plan:
    Runs runs
    Image y                     # in planes
    Image z                     # where the sums go: y, or a task's scratch memory for the columns
    Py_ssize_t columns          # 0: the sums are y's
    Py_ssize_t first, move      # from a pixel of y to that of z: for the first column, and from one to the next
    Py_ssize_t groups, outputs  # of a group
    Py_ssize_t[AXES] y_step     # pixels of y from one of a phase to the next
    Weights weights
    Py_ssize_t terms            # of an output's sum, in all phases; those of a phase begin at its `start`
    Py_ssize_t[MOST_PHASES + 1] start
    Py_ssize_t* shifts          # of each, from the start of its phase's runs; in bytes
    Py_ssize_t* sources         # where its weight is, in bytes
    char* packed                # the weights: (group, output, phase, channel, tap)
    Py_ssize_t block, blocks    # samples of a task
    const char* bias
    activation_t activation
    double alpha, beta
    bint failed                 # for lack of memory


cdef inline bint columns_pay(real* kind, const Window* w, const Job* job) noexcept nogil:
    """Whether each output of a column has enough terms beside the addition, which goes along rows in vectors."""
    return (
        job.y.c == 1 and w.groups == 1 and w.stride[2] == 1 and 1 < w.kernel[2] <= MOST_COLUMNS
        and job.x.c * w.kernel[0] * w.kernel[1] >= LEAST_TERMS and min(job.x.size[2], job.y.size[2]) >= lanes(kind)
    )


cdef inline bint convolve_runs(real* kind, const Window* window, Job* wanted) noexcept nogil:
    """Computes the job, with y in planes. False: no memory, or the work was stopped."""
    cdef Window narrow = window[0]
    cdef Job sums = wanted[0]
    cdef const Window* w = &narrow
    cdef Job* job = &sums
    cdef Taps* axes[AXES]
    cdef Py_ssize_t[AXES] low, high
    cdef Py_ssize_t size = sizeof(real), numbers, index
    cdef double flops
    cdef Plan s
    cdef bint done
    cdef int axis
    s.columns = window.kernel[2] if columns_pay(kind, window, wanted) else 0
    if s.columns:
        s.first, s.move = window.padding[2], -window.dilation[2]
        if not job.transposed:
            s.first, s.move = -s.first, -s.move
        narrow.taps //= s.columns
        narrow.kernel[2] = narrow.dilation[2] = 1
        narrow.padding[2] = 0
        job.y.c, job.y.size[2] = s.columns, job.x.size[2]
    s.terms = job.x.c // w.groups * w.taps
    numbers = 2 * s.terms * sizeof(Py_ssize_t)
    s.shifts = <Py_ssize_t*> lay_axes(w, job, axes, low, high, plus(numbers, times(job.y.c * size, s.terms)))
    if s.shifts == NULL:
        return False
    s.sources = s.shifts + s.terms
    s.packed = <char*> (s.sources + s.terms)
    lay_runs(kind, w, job, axes, low, high, not s.columns and are_apart(w, job), &s.runs)
    s.y, s.groups, s.outputs, s.weights = wanted.y, w.groups, job.y.c // w.groups, weights_of(kind, window, wanted)
    s.z = job.y
    s.bias, s.activation, s.alpha, s.beta = job.bias, job.activation, job.alpha, job.beta
    s.failed = False
    for axis in range(AXES):
        s.y_step[axis] = w.stride[axis] if job.transposed else 1
    if s.columns:
        s.weights.out_step, s.z.steps[2], s.z.steps[1] = size, size, s.z.size[2] * size
        s.z.c_step = s.runs.band * s.y_step[1] * s.z.steps[1]
    flops = 2.0 * job.y.size[0] * job.y.size[1] * job.y.size[2] * s.terms * job.y.c
    s.block = max(1, min(job.x.n // TASKS, <Py_ssize_t> (8 * TASK_FLOPS / max(1.0, flops))))
    s.blocks = ceil_div(job.x.n, s.block)
    s.terms = find_terms(kind, window, &s.runs, s.weights.in_step, s.start, s.shifts, s.sources)
    for index in range(s.groups * s.outputs):
        pack_task(kind, &s, index)
    done = run_tasks(
        <task_t> convolve_task[real], &s, s.blocks * s.groups * job.y.size[0] * s.runs.bands,
        flops * job.x.n <= SERIAL_FLOPS, False, flops * job.x.n,
    ) and not s.failed
    memory.give(axes[0])
    return done


cdef inline void pack_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """The weights of an output."""
    cdef const char* w = (s.weights.data + index // s.outputs * s.weights.group_step
                          + index % s.outputs * s.weights.out_step)
    cdef real* packed = <real*> s.packed + index * s.terms
    cdef Py_ssize_t term
    for term in range(s.terms):
        packed[term] = (<const real*> (w + s.sources[term]))[0]


cdef inline void convolve_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    cdef const Runs* r = &s.runs
    cdef Py_ssize_t size = sizeof(real), band = index % r.bands, depth = index // r.bands % s.y.size[0]
    cdef Py_ssize_t rest = index // r.bands // s.y.size[0], group = rest % s.groups
    cdef Py_ssize_t first = rest // s.groups * s.block, n, v, o, top, bottom, first_zero
    cdef const char* x = r.x.data + group * r.inputs * r.x.c_step
    cdef const Taps* t0 = &r.axes[0][depth % s.y_step[0]]
    # Before and behind the columns are as many numbers as a vector has, that are read but not used.
    cdef Py_ssize_t more = s.columns * s.z.c_step + 2 * lanes(kind) * size if s.columns else 0
    cdef real* runs = <real*> memory.take(r.room * size + more)
    cdef char* y
    cdef char* z
    if runs == NULL:
        s.failed = True
        return
    top = band * r.band * s.y_step[1]
    bottom = min(top + r.band * s.y_step[1], s.y.size[1])
    first_zero = r.staged if r.apart else 0  # the copies of columns are written whole
    memset(runs + first_zero, 0, (r.sums - first_zero) * size)
    z = <char*> (runs + r.room + lanes(kind)) - top * s.z.steps[1]
    for n in range(first, min(first + s.block, s.y.n)):
        y = s.y.data + n * s.y.n_step + group * s.outputs * s.y.c_step + depth * s.y.steps[0]
        for v in range(r.phases[2]):
            if r.apart or v == 0:
                copy_rows(kind, r, x + n * r.x.n_step, depth // s.y_step[0] * r.step[0], band, t0,
                          &r.axes[2][v], runs)
            sum_band(kind, s, runs, group, depth % s.y_step[0], v, band, z if s.columns else y)
        if s.columns:
            if real is float:
                add_columns(<floats*> NULL, s, top, bottom, z, y)
            else:
                add_columns(<doubles*> NULL, s, top, bottom, z, y)
        if s.activation != NULL:
            for o in range(s.y.c // s.groups):
                activate_in_place(s.activation, y + o * s.y.c_step + top * s.y.steps[1],
                                  (bottom - top) * s.y.size[2], s.alpha, s.beta)
    memory.give(runs)


cdef inline void sum_band(
    real* kind, const Plan* s, real* runs, Py_ssize_t group, Py_ssize_t d, Py_ssize_t v,
    Py_ssize_t band, char* y
) noexcept nogil:
    """All phases of the rows of a band. d and v: the phases of its depth and columns."""
    cdef const Runs* r = &s.runs
    cdef Py_ssize_t size = sizeof(real), h, phase, rows, o, i, row, count
    cdef Tiles tiles
    for h in range(r.phases[1]):
        phase = (d * r.phases[1] + h) * r.phases[2] + v
        rows = min(r.band, r.axes[1][h].pixels - band * r.band)
        tiles.shifts, tiles.terms = s.shifts + s.start[phase], s.start[phase + 1] - s.start[phase]
        o = 0
        while o < s.outputs and rows > 0:
            count = next_rows(s.outputs - o)
            for i in range(count):
                row = group * s.outputs + o + i
                tiles.w[i] = s.packed + (row * s.terms + s.start[phase]) * size
                tiles.bias[i] = s.bias + row * size if s.bias != NULL and not s.columns else NULL
            sum_outputs(kind, s, runs, count, rows, &r.axes[2][v], &tiles,
                        y + o * s.z.c_step + v * s.z.steps[2]
                        + (h + band * r.band * s.y_step[1]) * s.z.steps[1])
            o += count


cdef inline void sum_outputs(
    real* kind, const Plan* s, real* runs, Py_ssize_t count, Py_ssize_t rows, const Taps* columns,
    Tiles* tiles, char* y
) noexcept nogil:
    """The outputs of a tile in a phase of a band."""
    cdef const Runs* r = &s.runs
    cdef Py_ssize_t size = sizeof(real), pitch = pitch_of(r, columns), i, row
    cdef Py_ssize_t wide = vectors_of(<int> count) * lanes(kind), length = (rows - 1) * pitch + columns.pixels
    cdef bint dense = pitch == columns.pixels and s.y_step[1] == s.y_step[2] == 1 and length >= wide
    for i in range(count):
        tiles.out[i] = y + i * s.z.c_step if dense else <char*> (runs + r.sums + i * r.sum_row)
    tiles.x, tiles.count, tiles.last = <const char*> runs, ceil_div(length, wide), max(0, length - wide) * size
    if real is float:
        any_tiles(<floats*> NULL, count, tiles)
    else:
        any_tiles(<doubles*> NULL, count, tiles)
    if not dense:
        for i in range(count):
            for row in range(rows):
                write_row(kind, runs + r.sums + i * r.sum_row + row * pitch, columns.pixels,
                          y + i * s.z.c_step + row * s.y_step[1] * s.z.steps[1],
                          s.y_step[2] * s.z.steps[2])


cdef inline void write_row(
    real* kind, const real* x, Py_ssize_t count, char* y, Py_ssize_t step
) noexcept nogil:
    cdef Py_ssize_t i
    if step == sizeof(real):
        copy_row(kind, <const char*> x, y, count)
    else:
        for i in range(count):
            (<real*> (y + i * step))[0] = x[i]


cdef inline void add_columns(
    vec* kind, const Plan* s, Py_ssize_t top, Py_ssize_t bottom, const char* z, char* y
) noexcept nogil:
    """Some rows of y: the bias, or zero, and what the columns of z have for each pixel. The last vector ends with the row."""
    cdef Py_ssize_t size = sizeof(float) if vec is floats else sizeof(double), lane = sizeof(vec) // size
    cdef Py_ssize_t first = 0, row, column, place
    cdef const char* given[MOST_COLUMNS]
    cdef const int* there[MOST_COLUMNS]
    cdef vec start = broadcast(kind, s.bias) if s.bias != NULL else zeros(kind), total
    while first < s.y.size[2]:
        first = min(first, s.y.size[2] - lane)
        for column in range(s.columns):
            place = max(-lane, min(first + s.first + column * s.move, s.z.size[2]))
            given[column], there[column] = z + column * s.z.c_step + place * size, inside(place, s.z.size[2], lane)
        for row in range(top, bottom):
            total = start
            for column in range(s.columns):
                total = total + keep(loaded(kind, given[column] + row * s.z.steps[1], 0), there[column])
            (<vec*> (y + row * s.y.steps[1] + first * size))[0] = total
        first += lane
