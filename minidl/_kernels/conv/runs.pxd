# Convolutions with few output channels: vectors along the pixels.
#
# The tile of direct.pxd has output channels in the lanes of its vectors: with six of them much of each stays empty. Here the
# lanes are pixels. All pixels of an output channel, row after row, are one long run of numbers; so is what a tap sees,
# a number for each of them:
#
#     y[o] = sum over channels c and taps t of  w[o, c, t] run[c, t]
#
# Where it lies such a run is interrupted at the end of every row. So the rows are copied once for each tap in a kernel's
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

from libc.string cimport memcpy, memset

from minidl._kernels.conv.direct cimport Taps
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.phases cimport Job, Window, phases_of
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport ceil_div
from minidl._kernels.product.tile cimport (
    TILE_BYTES, TILE_LANES, TILE_ROWS, One, Three, Two, doubles, floats, lanes, loaded, transpose, vec,
)
from minidl._kernels.runtime.sizes cimport plus, times

cdef extern from *:
    """
    #define RUNS_HALF (TILE_BYTES / 2)
    #if TILE_BYTES
      typedef float runs_half __attribute__((vector_size(RUNS_HALF), aligned(4), may_alias));
    #else
      typedef float runs_half;
    #endif
    """
    ctypedef float half "runs_half"  # of a vector, whatever its numbers
    enum: HALF "RUNS_HALF"           # its bytes

cdef enum:
    SUMS = 12                   # vectors in registers: enough to hide the latency of an addition
    MOST_ROWS = 5               # outputs that they may belong to
    EMPTY = 4                   # of a vector's lanes: if 1 in so many is, the tile of direct.pxd is slower
    LEAST_VECTORS = 4           # of pixels of a channel, else most of a tile would be empty
    MOST_PHASES = 16
    BAND_BYTES = 256 << 10      # of copied rows: half of a second-level cache


# The outputs of a tile, as a type: each number of them gets a loop of its own.
ctypedef struct Four:
    char _
ctypedef struct Five:
    char _

ctypedef fused Outputs:
    One
    Two
    Three
    Four
    Five


cdef inline int rows_of(Outputs* outputs) noexcept nogil:
    return 1 if Outputs is One else 2 if Outputs is Two else 3 if Outputs is Three else 4 if Outputs is Four else 5


cdef inline Py_ssize_t together(Py_ssize_t outputs) noexcept nogil:
    """How many of so many outputs the next tile has: of six 3 and 3, not 5 and 1, which would read x for each product."""
    return ceil_div(outputs, ceil_div(outputs, MOST_ROWS))


cdef struct Runs:
    # How the copies of a group's rows lie in a task's scratch memory. In numbers, not bytes.
    Image x
    Py_ssize_t inputs           # channels of a group
    Taps** axes                 # what the phases of each axis see
    Py_ssize_t[AXES] phases, step  # pixels of x from one output pixel of a phase to the next
    bint apart                  # a copy for each column of taps
    Py_ssize_t low, padded      # zeros before a row of x; from one row to the next
    Py_ssize_t top              # the least row that row 0 of y sees
    Py_ssize_t band, bands      # rows of a phase that a task computes
    Py_ssize_t seen             # rows of each class (modulo the step) that they see
    Py_ssize_t rows             # from one class to the next,
    Py_ssize_t plane            # and from one copy to the next
    Py_ssize_t staged, stage    # where rows with their zeros are, and from one channel's to the next one's
    Py_ssize_t sums, sum_row    # where sums are that must be taken apart, and from one output's to the next one's
    Py_ssize_t room             # for all of it


cdef inline bint are_apart(const Window* w, const Job* job) noexcept nogil:
    """Whether a convolution's columns of taps have copies of their own: copying a row takes about as long as writing one of
    an output that is taken apart."""
    return 2 * job.x.c * w.kernel[2] <= 3 * job.y.c or not job.transposed and w.stride[2] > 1


cdef inline bint runs_pay(real* kind, const Window* w, const Job* job, bint apart) noexcept nogil:
    """Whether outputs leave a good part of a vector empty, and the rest of it."""
    return EMPTY * (job.y.c // w.groups) <= (EMPTY - 1) * lanes(kind) and runs_fit(sizeof(real), w, job, apart)


cdef inline bint runs_fit(Py_ssize_t size, const Window* w, const Job* job, bint apart) noexcept nogil:
    """Whether there are enough pixels for vectors of them, and the copies fit the cache."""
    cdef Py_ssize_t rows = ceil_div(job.y.size[1], phases_of(w, job, 1)), reach, width
    cdef Py_ssize_t columns = ceil_div(job.y.size[2], phases_of(w, job, 2))
    reach = plus(times(w.kernel[1], w.dilation[1]), w.stride[1])
    width = plus(plus(job.x.size[2], w.padding[2]), plus(times(w.kernel[2], w.dilation[2]), times(
        columns, 1 if job.transposed else w.stride[2])))
    return (
        rows * columns * size >= LEAST_VECTORS * max(size, TILE_BYTES)
        and phases_of(w, job, 0) * phases_of(w, job, 1) * phases_of(w, job, 2) <= MOST_PHASES
        and times(times(job.x.c // w.groups, size), times(reach, times(w.kernel[0], plus(
            width, times(w.kernel[2], columns)) if apart else width))) <= BAND_BYTES
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
    # The zeros behind a row are those before the next one, too.
    s.low, s.padded = low[2], max(job.x.size[2] + max(low[2], high[2]), axes[2][0].pixels)
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
    s.band = BAND_BYTES // max(1, (copies * pitch + s.inputs * s.padded) * s.step[1] * <Py_ssize_t> sizeof(real))
    s.band = max(1, min(s.band - ceil_div(reach, s.step[1]), axes[1][0].pixels))
    s.bands = ceil_div(axes[1][0].pixels, s.band)
    s.band = ceil_div(axes[1][0].pixels, s.bands)
    s.seen = s.band + reach // s.step[1]
    s.rows = s.low + s.seen * pitch + lanes(kind)  # (rows are copied in whole vectors)
    s.plane = s.rows * s.step[1]
    s.staged = copies * s.plane
    s.stage = s.low + s.seen * s.padded + lanes(kind)
    s.sums = s.staged + (s.inputs * s.stage if apart else 0)
    s.sum_row = s.band * pitch + SUMS * TILE_LANES
    s.room = s.sums + max(MOST_ROWS, TILE_ROWS) * s.sum_row


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
            copy_row(kind, x + c * image.c_step, <char*> (y + c * y_channel), width)
    elif image.c_step == size:
        transpose(kind, x, step, <char*> y, y_channel * size, width, channels, width)
    else:
        for c in range(channels):
            for i in range(width):
                y[c * y_channel + i] = (<const real*> (x + c * image.c_step + i * step))[0]


cdef inline void copy_row(real* kind, const char* x, char* y, Py_ssize_t count) noexcept nogil:
    """memcpy for as few numbers as a small image's row has."""
    if count < lanes(kind):
        memcpy(y, x, count * sizeof(real))
    else:
        copy_block(kind, x, 0, y, 0, 1, count, False)


cdef inline void copy_block(
    real* kind, const char* x, Py_ssize_t x_row, char* y, Py_ssize_t y_row, Py_ssize_t rows, Py_ssize_t count, bint beyond
) noexcept nogil:
    """Rows of so many numbers, in vectors: the last one, or half of one, ends with the row, or goes `beyond` it."""
    cdef Py_ssize_t size = sizeof(real), whole = (count - 1) // lanes(kind), left = (count - whole * lanes(kind)) * size
    cdef bint halved = left <= HALF
    cdef Py_ssize_t last = (whole * lanes(kind) if beyond else count - lanes(kind)) * size
    if halved and not beyond:
        last += HALF
    if real is float:
        copy_vectors(<floats*> NULL, x, x_row, y, y_row, rows, whole, last, halved)
    else:
        copy_vectors(<doubles*> NULL, x, x_row, y, y_row, rows, whole, last, halved)


cdef inline void copy_vectors(
    vec* kind, const char* x, Py_ssize_t x_row, char* y, Py_ssize_t y_row, Py_ssize_t rows, Py_ssize_t count, Py_ssize_t last,
    bint halved
) noexcept nogil:
    cdef Py_ssize_t row, i
    for row in range(rows):
        for i in range(count):
            (<vec*> y)[i] = loaded(kind, x, i)
        if halved:
            (<half*> (y + last))[0] = (<const half*> (x + last))[0]
        else:
            (<vec*> (y + last))[0] = loaded(kind, x + last, 0)
        x += x_row
        y += y_row


cdef inline void stage_rows(
    real* kind, const Runs* s, const char* x, Py_ssize_t rows, real* y, Py_ssize_t y_channel
) noexcept nogil:
    """So many rows of a class, of all channels, in the middle of rows with zeros."""
    cdef Py_ssize_t size = sizeof(real), x_row = s.step[1] * s.x.steps[1], width = s.x.size[2], c, row
    if s.x.steps[2] != size or width < lanes(kind):
        for row in range(rows):
            stage_row(kind, &s.x, s.inputs, x + row * x_row, y + row * s.padded, y_channel)
        return
    for c in range(s.inputs):
        if x_row == width * size and s.padded == width:  # all rows are one
            copy_row(kind, x + c * s.x.c_step, <char*> (y + c * y_channel), rows * width)
        else:
            copy_block(kind, x + c * s.x.c_step, x_row, <char*> (y + c * y_channel), s.padded * size, rows, width, False)


cdef inline void copy_rows(
    real* kind, const Runs* s, const char* x, Py_ssize_t depth, Py_ssize_t band, const Taps* t0,
    const Taps* t2, real* runs
) noexcept nogil:
    """What the rows of a band see. x: channel 0; depth: what a tap without an offset sees. The memory was zero."""
    cdef Py_ssize_t step = s.step[1], first = band * s.band * step + s.top, row, i, d, low, high
    cdef Py_ssize_t copies = t2.count if s.apart else 1
    for i in range(t0.count):
        d = depth + t0.offset[i]
        for row in range(first, first + step):  # the first one of a class, of which those from `low` to `high` are on x
            low = min(s.seen, ceil_div(max(0, -row), step))
            high = max(low, min(s.seen, ceil_div(max(0, s.x.size[1] - row), step)))
            if not 0 <= d < s.x.size[0]:
                high = low
            copy_class(kind, s, x + d * s.x.steps[0] + (row + low * step) * s.x.steps[1], low, high, t2, runs,
                       runs + i * copies * s.plane + (row - first) * s.rows, t0.count * copies * s.plane)


cdef inline void copy_class(
    real* kind, const Runs* s, const char* x, Py_ssize_t low, Py_ssize_t high, const Taps* t2, real* runs, real* place,
    Py_ssize_t channel
) noexcept nogil:
    """Rows `low` to `high` of a class, from x on; the others are zero. place: where the copies of a channel begin, `channel`
    numbers before those of the next one."""
    cdef Py_ssize_t size = sizeof(real), pixels = t2.pixels, c, k, row, i, given_row = s.step[1] * s.x.steps[1]
    cdef const char* given
    cdef real* y
    # Rows of whole vectors without zeros are read where they are.
    cdef bint lies_well = s.x.steps[2] == size and s.padded == s.x.size[2] and pixels >= lanes(kind)
    if not s.apart:
        stage_rows(kind, s, x, high - low, place + low * s.padded + s.low, channel)
        return
    if not lies_well:
        stage_rows(kind, s, x, high - low, runs + s.staged + s.low, s.stage)
        given_row = s.padded * size
    for c in range(s.inputs):
        for k in range(t2.count):
            y = place + c * channel + k * s.plane
            given = x + c * s.x.c_step if lies_well else <const char*> (runs + s.staged + s.low + c * s.stage)
            given += t2.offset[k] * size
            if s.step[2] == 1:
                copy_block(kind, given, given_row, <char*> (y + low * pixels), pixels * size, high - low, pixels, not lies_well)
            else:
                for row in range(high - low):
                    for i in range(pixels):
                        y[(low + row) * pixels + i] = (<const real*> (given + row * given_row))[i * s.step[2]]
            memset(y, 0, low * pixels * size)
            memset(y + high * pixels, 0, (s.seen - high) * pixels * size)


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
