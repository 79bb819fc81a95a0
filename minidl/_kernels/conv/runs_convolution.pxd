# A convolution with few outputs, by the runs of runs.pxd. The result is in planes: (N, C, *size) in C order. From the
# outside in:
#
#   for tasks: a block of samples, a group of channels, a depth of y, a band of its rows    over the threads
#     for samples, for phases of the columns: the rows are copied
#       for phases of the rows, for up to three outputs, for SUMS vectors of their pixels
#         for the terms of the sum, a channel and a tap each: SUMS products
#
# A single output reads a vector for each product. So where the columns have no stride, the taps in a row of its kernel are
# taken for as many outputs, `columns`, that see one column of taps and read the same vectors. Each of their pixels is one
# of y's, moved by the tap's offset: there they are added last.

from libc.string cimport memset

from minidl._kernels.conv.direct cimport SERIAL_FLOPS, Taps, Weights
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.phases cimport Job, Window, lay_axes, weights_of
from minidl._kernels.conv.runs cimport (
    MOST_PHASES, MOST_ROWS, SUMS, Outputs, Runs, copy_row, copy_rows, find_terms, lay_runs, pitch_of,
)
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport TASK_FLOPS, TASKS, activation_t, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport One, Three, broadcast, doubles, floats, lanes, loaded, vec, zeros
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.runtime.sizes cimport plus, times


cdef enum:
    LEAST_TERMS = 8             # of a column's sum


cdef struct Tile:
    # SUMS vectors of results: of one output, or a third of them for each of three; two are three, the second one twice.
    const char* w[MOST_ROWS]    # the weights, term after term
    const char* bias[MOST_ROWS] # or NULL
    char* out[MOST_ROWS]
    const char* x               # where the runs of the first pixel would begin,
    const Py_ssize_t* shifts    # and how far from there those of each term do, in bytes
    Py_ssize_t terms


cdef inline void sum_tile(Outputs* outputs, vec* kind, const Tile* s) noexcept nogil:
    cdef vec[SUMS] sums
    cdef vec[MOST_ROWS] ws
    cdef const char* w[MOST_ROWS]
    cdef vec x
    cdef Py_ssize_t t, size = sizeof(float) if vec is floats else sizeof(double)
    cdef const char* at
    cdef int i, j, rows = 1 if Outputs is One else 3
    cdef int vectors = SUMS // rows
    for i in range(rows):
        w[i], x = s.w[i], broadcast(kind, s.bias[i]) if s.bias[i] != NULL else zeros(kind)
        for j in range(vectors):
            sums[i * vectors + j] = x
    for t in range(s.terms):
        at = s.x + s.shifts[t]
        for i in range(rows):
            ws[i] = broadcast(kind, w[i] + t * size)
        for j in range(vectors):
            x = loaded(kind, at, j)
            for i in range(rows):
                sums[i * vectors + j] = sums[i * vectors + j] + ws[i] * x
    for i in range(rows):
        for j in range(vectors):
            (<vec*> s.out[i])[j] = sums[i * vectors + j]


ctypedef void (*tile_t)(void* outputs, void* kind, const Tile* s) noexcept nogil


cdef inline void any_tile(real* kind, bint one, const Tile* s) noexcept nogil:
    """(Through a pointer, as in product/tile.pxd.)"""
    cdef tile_t[2] tiles
    if real is float:
        tiles[0], tiles[1] = <tile_t> sum_tile[Three, floats], <tile_t> sum_tile[One, floats]
    else:
        tiles[0], tiles[1] = <tile_t> sum_tile[Three, doubles], <tile_t> sum_tile[One, doubles]
    tiles[one](NULL, NULL, s)


cdef struct Plan:
    Runs runs
    Image y                     # in planes
    Image z                     # where the sums go: y, or a task's scratch memory for the columns
    Py_ssize_t columns          # 0: the sums are y's
    Py_ssize_t first, move      # of pixels of z from those of y: for the first column, and from one to the next
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


cdef inline bint columns_pay(const Window* w, const Job* job) noexcept nogil:
    """Whether each output of a column has enough terms beside the addition. (Of two or five outputs, one is computed twice.)"""
    return (
        job.y.c == 1 and w.groups == 1 and w.stride[2] == 1 and w.kernel[2] > 2 and job.x.size[2] > 0
        and job.x.c * w.kernel[0] * w.kernel[1] >= LEAST_TERMS
    )


cdef inline bint convolve_runs(real* kind, const Window* window, Job* wanted) noexcept nogil:
    """Computes the job, with y in planes. False: no memory, or the work was stopped."""
    cdef Window narrow = window[0]
    cdef Job sums = wanted[0]
    cdef const Window* w = &narrow
    cdef Job* job = &sums
    cdef Taps* axes[AXES]
    cdef Py_ssize_t[AXES] low, high
    cdef Py_ssize_t size = sizeof(real), numbers
    cdef double flops
    cdef Plan s
    cdef bint done, apart
    cdef int axis
    s.columns = window.kernel[2] if columns_pay(window, wanted) else 0
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
    # Copying a row takes about as long as writing one of an output that is taken apart.
    apart = 2 * job.x.c * w.kernel[2] <= 3 * job.y.c or not job.transposed and w.stride[2] > 1
    lay_runs(kind, w, job, axes, low, high, apart and not s.columns, &s.runs)
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
    done = run_tasks(
        <task_t> pack_task[real], &s, s.groups * s.outputs, True
    ) and run_tasks(
        <task_t> convolve_task[real], &s, s.blocks * s.groups * job.y.size[0] * s.runs.bands,
        flops * job.x.n <= SERIAL_FLOPS
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
    cdef Py_ssize_t first = rest // s.groups * s.block, n, v, o, top, bottom
    cdef const char* x = r.x.data + group * r.inputs * r.x.c_step
    cdef const Taps* t0 = &r.axes[0][depth % s.y_step[0]]
    cdef real* runs = <real*> memory.take(r.room * size + (s.columns * s.z.c_step if s.columns else 0))
    cdef char* y
    cdef char* z
    if runs == NULL:
        s.failed = True
        return
    top = band * r.band * s.y_step[1]
    bottom = min(top + r.band * s.y_step[1], s.y.size[1])
    memset(runs, 0, r.room * size)
    z = <char*> (runs + r.room) - top * s.z.steps[1]
    for n in range(first, min(first + s.block, s.y.n)):
        y = s.y.data + n * s.y.n_step + group * s.outputs * s.y.c_step + depth * s.y.steps[0]
        for v in range(r.phases[2]):
            if r.apart or v == 0:
                copy_rows(kind, r, x + n * r.x.n_step, depth // s.y_step[0] * r.step[0], band, t0,
                          &r.axes[2][v], runs)
            sum_band(kind, s, runs, group, depth % s.y_step[0], v, band, z if s.columns else y)
        if s.columns:
            add_columns(kind, s, z, y, top, bottom)
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
    cdef Py_ssize_t size = sizeof(real), h, phase, rows, o, i, row
    cdef Tile tile
    for h in range(r.phases[1]):
        phase = (d * r.phases[1] + h) * r.phases[2] + v
        rows = min(r.band, r.axes[1][h].pixels - band * r.band)
        tile.shifts, tile.terms = s.shifts + s.start[phase], s.start[phase + 1] - s.start[phase]
        o = 0
        while o < s.outputs and rows > 0:
            for i in range(MOST_ROWS):
                row = group * s.outputs + min(o + i, s.outputs - 1)
                tile.w[i] = s.packed + (row * s.terms + s.start[phase]) * size
                tile.bias[i] = s.bias + row * size if s.bias != NULL and not s.columns else NULL
            sum_outputs(kind, s, runs, min(MOST_ROWS, s.outputs - o), rows, &r.axes[2][v], &tile,
                        y + o * s.z.c_step + v * s.z.steps[2]
                        + (h + band * r.band * s.y_step[1]) * s.z.steps[1])
            o += MOST_ROWS


cdef inline void sum_outputs(
    real* kind, const Plan* s, real* runs, Py_ssize_t count, Py_ssize_t rows, const Taps* columns,
    Tile* tile, char* y
) noexcept nogil:
    """One to three outputs in a phase of a band."""
    cdef const Runs* r = &s.runs
    cdef Py_ssize_t size = sizeof(real), pitch = pitch_of(r, columns), at = 0, left, i, row
    cdef Py_ssize_t wide = lanes(kind) * (SUMS if count == 1 else SUMS // MOST_ROWS)
    cdef Py_ssize_t length = (rows - 1) * pitch + columns.pixels
    cdef bint dense = pitch == columns.pixels and s.y_step[1] == s.y_step[2] == 1 and length >= wide
    while at < length:
        left = max(0, min(at, length - wide))  # the last tile is a whole one, too
        tile.x = <const char*> (runs + left)
        for i in range(MOST_ROWS):
            row = min(i, count - 1)
            tile.out[i] = y + row * s.z.c_step + left * size if dense else (
                <char*> (runs + r.sums + row * r.sum_row + left))
        any_tile(kind, count == 1, tile)
        at += wide
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
    real* kind, const Plan* s, const char* z, char* y, Py_ssize_t top, Py_ssize_t bottom
) noexcept nogil:
    """y's rows in a band: the bias, or zero, and the columns of z. Column after column: what was written to a row last has
    arrived in the cache before its vectors, which begin elsewhere, are read."""
    cdef Py_ssize_t column, row, shift, i
    cdef real start = (<const real*> s.bias)[0] if s.bias != NULL else 0
    cdef real* to
    cdef const real* given
    for row in range(top, bottom):
        to = <real*> (y + row * s.y.steps[1])
        for i in range(s.y.size[2]):
            to[i] = start
    for column in range(s.columns):
        shift = s.first + column * s.move
        for row in range(top, bottom):
            to = <real*> (y + row * s.y.steps[1])
            given = <const real*> (z + column * s.z.c_step + row * s.z.steps[1])
            for i in range(max(0, -shift), min(s.y.size[2], s.z.size[2] - shift)):
                to[i] += given[i + shift]
