# Convolutions with few output channels: vectors along the pixels.
#
# The tile of direct.pxd has output channels in the lanes of its vectors: with six of them much of each stays empty. Here the
# lanes are pixels. All pixels of an output channel, row after row, are one long run of numbers; so is what a tap sees,
# a number for each of them:
#
#     y[o] = sum over channels c and taps t of  w[o, c, t] run[c, t]
#
# Where it lies such a run is interrupted at the end of every row. So each row is copied once for each tap in a kernel's
# row (im2col along one axis; here for 3 x 3 taps and y of 4 x 4 pixels):
#
#     rows of x        a b c d e f    tap column 0:  a b c d   column 1:  b c d e   column 2:  c d e f
#     with padding     g h i j k l                   g h i j              h i j k              i j k l
#                      ...                           ...                  ...                  ...
#
# The run of the tap in kernel row 0 begins with the first row of its column's copy, that of kernel row 1 with the second
# one (g h i j ...), and so on. With a stride every stride-th pixel is copied, and of the rows first every stride-th, then
# those one further. A transposed convolution is one for each phase of its stride (phases.pxd), in which rows follow on.
# With many inputs, whose copies would take longer than the sums, rows are copied once with their zeros, and the sums go
# on from row to row: those between two rows, which mix both, are left behind.
#
# The result is in planes: (N, C, *size) in C order. From the outside in:
#
#   for tasks: a block of samples, a group of channels, a depth of y, a band of its rows    over the threads
#     for samples, for phases of the columns: the rows are copied
#       for phases of the rows, for up to three outputs, for SUMS vectors of their pixels
#         for taps: SUMS products

from libc.string cimport memcpy, memset

from minidl._kernels.conv.direct cimport SERIAL_FLOPS, Taps, Weights
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.phases cimport Job, Window, lay_axes, phases_of, weights_of
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport TASK_FLOPS, TASKS, activation_t, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport (
    TILE_LANES, One, Three, broadcast, doubles, floats, lanes, transpose, vec, zeros,
)
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.runtime.sizes cimport plus, times

cdef enum:
    SUMS = 12                   # vectors in registers: enough to hide the latency of an addition
    MOST_ROWS = 3               # outputs that they belong to
    LEAST_VECTORS = 4           # of pixels of a channel, else most of a tile would be empty
    MOST_PHASES = 16
    BAND_BYTES = 256 << 10      # of copied rows: half of a second-level cache


cdef struct Runs:
    # How the copies of a group's rows lie in a task's scratch memory. In numbers, not bytes.
    Image x
    Py_ssize_t inputs           # channels of a group
    Taps** axes                 # what the phases of each axis see
    Py_ssize_t[AXES] phases, step  # pixels of x from one output pixel of a phase to the next
    bint apart                  # a copy for each column of taps
    Py_ssize_t low, padded      # zeros before a row of x, and its length with those before and after it
    Py_ssize_t top              # the least row that row 0 of y sees
    Py_ssize_t band, bands      # rows of a phase that a task computes
    Py_ssize_t seen             # rows of each class (modulo the step) that they see
    Py_ssize_t rows             # from one class to the next,
    Py_ssize_t plane            # and from one copy to the next
    Py_ssize_t staged           # where a row with its zeros is, for each channel, and a row of zeros
    Py_ssize_t sums, sum_row    # where sums are that must be taken apart, and from one output's to the next one's
    Py_ssize_t room             # for all of it


cdef inline bint runs_pay(real* kind, const Window* w, const Job* job) noexcept nogil:
    """Whether there are so few outputs, enough pixels for vectors of them, and copies that fit the cache."""
    cdef Py_ssize_t rows = ceil_div(job.y.size[1], phases_of(w, job, 1)), reach, width
    cdef Py_ssize_t columns = ceil_div(job.y.size[2], phases_of(w, job, 2))
    reach = plus(times(w.kernel[1], w.dilation[1]), w.stride[1])
    width = plus(plus(job.x.size[2], w.padding[2]), plus(times(w.kernel[2], w.dilation[2]),
                                                        times(job.y.size[2], w.stride[2])))
    return (
        job.y.c // w.groups <= lanes(kind) and rows * columns >= LEAST_VECTORS * lanes(kind)
        and phases_of(w, job, 0) * phases_of(w, job, 1) * phases_of(w, job, 2) <= MOST_PHASES
        and times(times(job.x.c // w.groups, sizeof(real)), plus(width, times(
            times(w.kernel[0] * w.kernel[2], columns), reach))) <= BAND_BYTES
    )


cdef inline void lay_runs(
    real* kind, const Window* w, const Job* job, Taps** axes, const Py_ssize_t* low,
    const Py_ssize_t* high, bint apart, Runs* s
) noexcept nogil:
    cdef Py_ssize_t phase, reach = 0, copies, pitch
    cdef const Taps* t
    cdef int axis
    s.x, s.axes, s.inputs, s.apart = job.x, axes, job.x.c // w.groups, apart
    for axis in range(AXES):
        s.phases[axis] = phases_of(w, job, axis)
        s.step[axis] = 1 if job.transposed else w.stride[axis]
    s.low, s.padded = low[2], max(low[2] + job.x.size[2] + high[2], axes[2][0].pixels)
    s.top = job.x.size[1]
    for phase in range(s.phases[1]):
        t = &axes[1][phase]
        if t.count > 0:
            s.top = min(s.top, t.offset[0])
    for phase in range(s.phases[1]):
        t = &axes[1][phase]
        if t.count > 0:
            reach = max(reach, t.offset[t.count - 1] - s.top)
    copies = s.inputs * w.kernel[0] * (w.kernel[2] if apart else 1)
    pitch = pitch_of(s, &axes[2][0])
    s.band = BAND_BYTES // max(1, copies * pitch * s.step[1] * <Py_ssize_t> sizeof(real))
    s.band = max(1, min(s.band - ceil_div(reach, s.step[1]), axes[1][0].pixels))
    s.bands = ceil_div(axes[1][0].pixels, s.band)
    s.band = ceil_div(axes[1][0].pixels, s.bands)
    s.seen = s.band + reach // s.step[1]
    s.rows = s.seen * pitch + lanes(kind)  # (rows are copied in whole vectors)
    s.plane = s.rows * s.step[1]
    s.staged = copies * s.plane
    s.sums = s.staged + ((s.inputs + 1) * (s.padded + lanes(kind)) if apart else 0)
    s.sum_row = s.band * pitch + SUMS * TILE_LANES
    s.room = s.sums + MOST_ROWS * s.sum_row


cdef inline Py_ssize_t pitch_of(const Runs* s, const Taps* columns) noexcept nogil:
    """From one row of a copy to the next."""
    return columns.pixels if s.apart else s.padded


cdef inline void stage_row(
    real* kind, const Image* image, Py_ssize_t channels, const char* x, real* y, Py_ssize_t y_channel
) noexcept nogil:
    """Some channels of the row of an image that begins at x."""
    cdef Py_ssize_t size = sizeof(real), step = image.steps[2], width = image.size[2], c, i
    if step == size:
        for c in range(channels):
            memcpy(y + c * y_channel, x + c * image.c_step, width * size)
    elif image.c_step == size:
        transpose(kind, x, step, <char*> y, y_channel * size, width, channels, width)
    else:
        for c in range(channels):
            for i in range(width):
                y[c * y_channel + i] = (<const real*> (x + c * image.c_step + i * step))[0]


cdef inline void copy_vectors(vec* kind, const char* x, char* y, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        (<vec*> y)[i] = (<const vec*> x)[i]


cdef inline void copy_apart(
    real* kind, const real* x, Py_ssize_t step, Py_ssize_t count, real* y
) noexcept nogil:
    """y[i] = x[i * step]. Behind the last one something is written, up to a vector's width."""
    cdef Py_ssize_t i
    if step > 1:
        for i in range(count):
            y[i] = x[i * step]
    elif real is float:
        copy_vectors(<floats*> NULL, <const char*> x, <char*> y, ceil_div(count, lanes(kind)))
    else:
        copy_vectors(<doubles*> NULL, <const char*> x, <char*> y, ceil_div(count, lanes(kind)))


cdef inline void copy_rows(
    real* kind, const Runs* s, const char* x, Py_ssize_t depth, Py_ssize_t band, const Taps* t0,
    const Taps* t2, real* runs
) noexcept nogil:
    """What the rows of a band see. x: channel 0; depth: what a tap without an offset sees. The memory was zero."""
    cdef Py_ssize_t first = band * s.band * s.step[1] + s.top, row, i, c, k, d, staged = s.padded + lanes(kind)
    cdef bint inside
    cdef real* place
    cdef const real* given
    for i in range(t0.count):
        d = depth + t0.offset[i]
        for row in range(first, first + s.seen * s.step[1]):
            inside = 0 <= d < s.x.size[0] and 0 <= row < s.x.size[1]
            place = (runs + (row - first) % s.step[1] * s.rows
                     + (row - first) // s.step[1] * pitch_of(s, t2))
            if not s.apart:
                if inside:
                    stage_row(kind, &s.x, s.inputs, x + d * s.x.steps[0] + row * s.x.steps[1],
                              place + i * s.plane + s.low, t0.count * s.plane)
                continue
            place += i * t2.count * s.plane
            if inside:
                stage_row(kind, &s.x, s.inputs, x + d * s.x.steps[0] + row * s.x.steps[1],
                          runs + s.staged + s.low, staged)
            for c in range(s.inputs):
                given = runs + s.staged + s.low + (c if inside else s.inputs) * staged
                for k in range(t2.count):
                    copy_apart(kind, given + t2.offset[k], s.step[2], t2.pixels, place + k * s.plane)
                place += t0.count * t2.count * s.plane


cdef inline Py_ssize_t find_terms(
    real* kind, const Window* w, const Runs* r, Py_ssize_t in_step, Py_ssize_t* start,
    Py_ssize_t* shifts, Py_ssize_t* sources
) noexcept nogil:
    """Where the runs are and where the weights, in bytes. The terms of a phase's sum follow on each other: (channel,
    depth, row, column of taps). Returns how many there are; a tap that no pixel sees has none."""
    cdef Py_ssize_t d, h, v, c, i, j, k, at, term = 0, phase = 0, size = sizeof(real)
    cdef const Taps* t0
    cdef const Taps* t1
    cdef const Taps* t2
    for d in range(r.phases[0]):
        for h in range(r.phases[1]):
            for v in range(r.phases[2]):
                t0, t1, t2 = &r.axes[0][d], &r.axes[1][h], &r.axes[2][v]
                start[phase] = term
                for c in range(r.inputs):
                    for i in range(t0.count):
                        for j in range(t1.count):
                            at = (t1.offset[j] - r.top) // r.step[1] * pitch_of(r, t2)
                            at += (t1.offset[j] - r.top) % r.step[1] * r.rows
                            for k in range(t2.count):
                                shifts[term] = size * (at + (
                                    ((c * t0.count + i) * t2.count + k) * r.plane if r.apart else
                                    (c * t0.count + i) * r.plane + r.low + t2.offset[k]))
                                sources[term] = c * in_step + size * (
                                    (t0.tap[i] * w.kernel[1] + t1.tap[j]) * w.kernel[2] + t2.tap[k])
                                term += 1
                phase += 1
                start[phase] = term
    return term


# ── The sums ──────────────────────────────────────────────────────────────────────────────────────

# The outputs of a tile, as a type. (For two of them one is computed twice: x would be loaded as often as it is used.)
ctypedef fused Outputs:
    One
    Three


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
            x = (<const vec*> at)[j]
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


# ── A convolution ─────────────────────────────────────────────────────────────────────────────────

cdef struct Plan:
    Runs runs
    Image y                     # in planes
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


cdef inline bint convolve_runs(real* kind, const Window* w, Job* job) noexcept nogil:
    """Computes the job, with y in planes. False: no memory, or the work was stopped."""
    cdef Taps* axes[AXES]
    cdef Py_ssize_t[AXES] low, high
    cdef Py_ssize_t size = sizeof(real), numbers
    cdef double flops
    cdef Plan s
    cdef bint done, apart
    cdef int axis
    s.terms = job.x.c // w.groups * w.taps
    numbers = 2 * s.terms * sizeof(Py_ssize_t)
    s.shifts = <Py_ssize_t*> lay_axes(w, job, axes, low, high, plus(numbers, times(job.y.c * size, s.terms)))
    if s.shifts == NULL:
        return False
    s.sources = s.shifts + s.terms
    s.packed = <char*> (s.sources + s.terms)
    # Copying a row takes about as long as writing one of an output that is taken apart.
    apart = 2 * job.x.c * w.kernel[2] <= 3 * job.y.c or not job.transposed and w.stride[2] > 1
    lay_runs(kind, w, job, axes, low, high, apart, &s.runs)
    s.y, s.groups, s.outputs, s.weights = job.y, w.groups, job.y.c // w.groups, weights_of(kind, w, job)
    s.bias, s.activation, s.alpha, s.beta = job.bias, job.activation, job.alpha, job.beta
    s.failed = False
    for axis in range(AXES):
        s.y_step[axis] = w.stride[axis] if job.transposed else 1
    flops = 2.0 * job.y.size[0] * job.y.size[1] * job.y.size[2] * s.terms * job.y.c
    s.block = max(1, min(job.x.n // TASKS, <Py_ssize_t> (8 * TASK_FLOPS / max(1.0, flops))))
    s.blocks = ceil_div(job.x.n, s.block)
    s.terms = find_terms(kind, w, &s.runs, s.weights.in_step, s.start, s.shifts, s.sources)
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
    cdef real* runs = <real*> memory.take(r.room * size)
    cdef char* y
    if runs == NULL:
        s.failed = True
        return
    top = band * r.band * s.y_step[1]
    bottom = min(top + r.band * s.y_step[1], s.y.size[1])
    memset(runs, 0, r.room * size)
    for n in range(first, min(first + s.block, s.y.n)):
        y = s.y.data + n * s.y.n_step + group * s.outputs * s.y.c_step + depth * s.y.steps[0]
        for v in range(r.phases[2]):
            if r.apart or v == 0:
                copy_rows(kind, r, x + n * r.x.n_step, depth // s.y_step[0] * r.step[0], band, t0,
                          &r.axes[2][v], runs)
            sum_band(kind, s, runs, group, depth % s.y_step[0], v, band, y)
        if s.activation != NULL:
            for o in range(s.outputs):
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
                tile.bias[i] = s.bias + row * size if s.bias != NULL else NULL
            sum_outputs(kind, s, runs, min(MOST_ROWS, s.outputs - o), rows, &r.axes[2][v], &tile,
                        y + o * s.y.c_step + v * s.y.steps[2]
                        + (h + band * r.band * s.y_step[1]) * s.y.steps[1])
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
    cdef bint dense = r.apart and s.y_step[1] == s.y_step[2] == 1 and length >= wide
    while at < length:
        left = max(0, min(at, length - wide))  # the last tile is a whole one, too
        tile.x = <const char*> (runs + left)
        for i in range(MOST_ROWS):
            row = min(i, count - 1)
            tile.out[i] = y + row * s.y.c_step + left * size if dense else (
                <char*> (runs + r.sums + row * r.sum_row + left))
        any_tile(kind, count == 1, tile)
        at += wide
    if not dense:
        for i in range(count):
            for row in range(rows):
                write_row(kind, runs + r.sums + i * r.sum_row + row * pitch, columns.pixels,
                          y + i * s.y.c_step + row * s.y_step[1] * s.y.steps[1],
                          s.y_step[2] * s.y.steps[2])


cdef inline void write_row(
    real* kind, const real* x, Py_ssize_t count, char* y, Py_ssize_t step
) noexcept nogil:
    cdef Py_ssize_t i
    if step == sizeof(real):
        memcpy(y, x, count * sizeof(real))
    else:
        for i in range(count):
            (<real*> (y + i * step))[0] = x[i]
