# Transposed convolutions with few outputs, a row of y at a time: the taps of a kernel's column are summed in the tile, and
# only those of its rows are added where they overlap.
#
# overlap.pxd multiplies a pixel of x with all taps and adds each row of them to another row of y. But all that comes to a
# row of y from one column of x, from each row of x by another row of taps, is one sum, on the tile:
#
#     products[j, (tap, output)] = sum over rows of taps and channels of  x[c, row seen by the taps, j] w[c, row of taps, ...]
#
# A row of y is what these runs of numbers give where they overlap (overlap.pxd has the drawing). They lie between zeros, and
# each vector of the row is computed once: it reads, from all runs that reach it, the numbers that belong there. From the
# outside in:
#
#   for tasks: some rows of y                                  over the threads
#     for rows: the products of the pixels that it sees, on the tile
#       for vectors of the row, for pixels that reach it: what overlaps is added

from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from minidl._kernels.conv.direct cimport SERIAL_FLOPS, SERIAL_PACK, Taps, Weights
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.phases cimport Job, Window, lay_axes, weights_of
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.dots cimport keep_first
from minidl._kernels.product.panels cimport Panels, column, cut_columns, width
from minidl._kernels.product.product cimport TASK_FLOPS, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport TALL_ROWS, TILE_ROWS, Strip, doubles, floats, lanes, loaded, tile_of, transpose, vec
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.runtime.sizes cimport plus, times

cdef enum:
    EMPTY = 4                   # of a vector's lanes: if 1 in so many is, in direct.pxd
    JOINING = 10                # products of a vector take as long as storing one and adding it where it belongs
    PACKED_BYTES = 512 << 10    # of weights: half of a second-level cache
    ROW_BYTES = 128 << 10       # of the products for a row of y, and of the row


cdef struct Plan:
    Window window
    Job job
    Taps* axes[AXES]            # what the phases of each axis see
    Py_ssize_t run              # numbers of a row of taps
    Panels panels               # of them
    Py_ssize_t pitch            # numbers from the run of a pixel to that of the next; a vector of zeros lies between
    Py_ssize_t slots            # rows of taps, in the order in which rows of y read them
    Py_ssize_t* slot            # of a row of taps; -1: no pixel sees it
    Weights weights
    char* packed                # panel, slot, channel
    Py_ssize_t lines, block     # rows of all samples and depths; of a task
    Py_ssize_t length           # of a row; y begins at the padding
    bint failed                 # for lack of memory


cdef inline bint lines_fit(real* kind, const Window* w, const Job* job) noexcept nogil:
    cdef Py_ssize_t weights = times(times(w.taps, job.x.c), plus(job.y.c, lanes(kind)))
    cdef Py_ssize_t row = plus(times(job.x.size[2], plus(times(w.kernel[2], job.y.c), 2 * lanes(kind))), row_length(w, job))
    return (job.transposed and w.groups == 1 and w.dilation[2] == 1 and EMPTY * job.y.c <= (EMPTY - 1) * lanes(kind)
            and job.x.size[0] * job.x.size[1] * job.x.size[2] > 0
            and times(weights, sizeof(real)) <= PACKED_BYTES and times(row, sizeof(real)) <= ROW_BYTES)


cdef inline Py_ssize_t row_length(const Window* w, const Job* job) noexcept nogil:
    """Numbers of a row of y with all that the taps see."""
    return times(job.y.c, max(plus(times(job.x.size[2] - 1, w.stride[2]), w.kernel[2]), plus(w.padding[2], job.y.size[2])))


cdef inline double lines_cost(real* kind, const Window* w, const Job* job) noexcept nogil:
    """In products of vectors, for each pixel of x."""
    cdef Py_ssize_t rows = w.taps // w.kernel[2], vectors = ceil_div(times(w.kernel[2], job.y.c), lanes(kind))
    if not lines_fit(kind, w, job):
        return INFINITY
    return job.x.c * rows * vectors + <double> JOINING * (vectors + 1) * (
        job.y.size[0] * job.y.size[1]) / (job.x.size[0] * job.x.size[1])


cdef inline bint convolve_lines(real* kind, const Window* w, const Job* job) noexcept nogil:
    """Computes the job. False: no memory, or the work was stopped."""
    cdef Plan s
    cdef Py_ssize_t[AXES] low, high
    cdef Py_ssize_t size = sizeof(real), rows = w.taps // w.kernel[2]
    cdef double flops
    cdef bint done
    s.window, s.job, s.run, s.failed = w[0], job[0], w.kernel[2] * job.y.c, False
    s.slot = <Py_ssize_t*> lay_axes(w, job, s.axes, low, high, times(rows, sizeof(Py_ssize_t)))
    if s.slot == NULL:
        return False
    s.panels, s.weights = cut_columns(kind, s.run), weights_of(kind, w, job)
    s.pitch = column(&s.panels, s.panels.count) + lanes(kind)
    s.lines, s.length = job.y.n * job.y.size[0] * job.y.size[1], row_length(w, job)
    order_rows(&s, rows)
    flops = 2.0 * job.x.n * job.x.size[0] * job.x.size[1] * job.x.size[2] * job.x.c * w.taps * job.y.c
    s.block = max(1, <Py_ssize_t> (8.0 * TASK_FLOPS * s.lines / max(1.0, flops)))
    s.packed = <char*> memory.take(times(times(column(&s.panels, s.panels.count), times(rows, job.x.c)), size))
    done = s.packed != NULL and run_tasks(
        <task_t> pack_task[real], &s, s.panels.count, s.pitch * rows * job.x.c <= SERIAL_PACK, False, flops
    ) and run_tasks(
        <task_t> lines_task[real], &s, ceil_div(s.lines, s.block), flops <= SERIAL_FLOPS, False, flops
    ) and not s.failed
    memory.give(s.packed)
    memory.give(s.axes[0])
    return done


cdef inline void order_rows(Plan* s, Py_ssize_t rows) noexcept nogil:
    """The rows of taps that a row of y sees follow on: for each depth those of a phase."""
    cdef const Window* w = &s.window
    cdef const Taps* t0
    cdef const Taps* t1
    cdef Py_ssize_t d, h, i, j
    s.slots = 0
    for i in range(rows):
        s.slot[i] = -1
    for d in range(min(w.stride[0], s.job.y.size[0])):
        t0 = &s.axes[0][d]
        for i in range(t0.count):
            for h in range(min(w.stride[1], s.job.y.size[1])):
                t1 = &s.axes[1][h]
                for j in range(t1.count):
                    s.slot[t0.tap[i] * w.kernel[1] + t1.tap[j]] = s.slots
                    s.slots += 1


cdef inline void pack_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """A panel of the weights."""
    cdef Py_ssize_t left = column(&s.panels, index), columns = width(&s.panels, index), row, c, i
    cdef Py_ssize_t size = sizeof(real), inputs = s.job.x.c, outputs = s.job.y.c
    cdef real* panel = <real*> s.packed + left * s.slots * inputs
    cdef real* y
    cdef const char* x
    for row in range(s.window.taps // s.window.kernel[2]):
        if s.slot[row] < 0:
            continue
        for c in range(inputs):
            x = s.weights.data + c * s.weights.in_step + row * s.window.kernel[2] * size
            y = panel + (s.slot[row] * inputs + c) * columns
            for i in range(columns):
                y[i] = 0
                if left + i < s.run:
                    y[i] = (<const real*> (x + (left + i) % outputs * s.weights.out_step))[(left + i) // outputs]


# ── A task ────────────────────────────────────────────────────────────────────────────────────────

cdef inline void lines_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """Some rows of y."""
    cdef const Job* job = &s.job
    cdef Py_ssize_t size = sizeof(real), lane = lanes(kind), line, d, h, i
    cdef Py_ssize_t length = s.length + lane, numbers = lane + s.pitch * (job.x.size[2] + TALL_ROWS) + lane
    cdef Py_ssize_t rows = ceil_div(s.window.kernel[1], lane) * lane  # (so that what follows is aligned)
    cdef Py_ssize_t* shifts = <Py_ssize_t*> memory.take((2 * length + numbers) * size + rows * sizeof(Py_ssize_t))
    cdef real* bias = <real*> (shifts + rows)
    cdef real* sums = bias + length
    cdef real* products = sums + length + lane
    cdef char* y
    if shifts == NULL:
        s.failed = True
        return
    memset(bias, 0, (2 * length + numbers) * size)
    for i in range(s.length if job.bias != NULL else 0):
        bias[i] = (<const real*> job.bias)[i % job.y.c]
    for line in range(index * s.block, min(s.lines, (index + 1) * s.block)):
        h, d = line % job.y.size[1], line // job.y.size[1] % job.y.size[0]
        i = line // job.y.size[1] // job.y.size[0]
        y = job.y.data + i * job.y.n_step + d * job.y.steps[0] + h * job.y.steps[1]
        if multiply_line(kind, s, job.x.data + i * job.x.n_step, d, h, products, shifts):
            join_runs(kind, s, products, bias, sums)
        else:
            memcpy(sums, bias, s.length * size)
        write_line(kind, s, sums + s.window.padding[2] * job.y.c, y)
    memory.give(shifts)


cdef inline void inside(const Taps* taps, Py_ssize_t place, Py_ssize_t size, Py_ssize_t* low, Py_ssize_t* high) noexcept nogil:
    """Those of the taps that see something of x."""
    low[0], high[0] = 0, taps.count
    while low[0] < high[0] and place + taps.offset[low[0]] < 0:
        low[0] += 1
    while high[0] > low[0] and place + taps.offset[high[0] - 1] >= size:
        high[0] -= 1


cdef inline bint multiply_line(
    real* kind, const Plan* s, const char* x, Py_ssize_t d, Py_ssize_t h, real* products, Py_ssize_t* shifts
) noexcept nogil:
    """The products of all columns of x for row h at depth d. False: it sees nothing of x."""
    cdef const Window* w = &s.window
    cdef const Taps* t0 = &s.axes[0][d % w.stride[0]]
    cdef const Taps* t1 = &s.axes[1][h % w.stride[1]]
    cdef const Image* image = &s.job.x
    cdef Py_ssize_t size = sizeof(real), i, j, top, bottom, first, last, panel, left, columns, at
    cdef Strip strip
    d, h = d // w.stride[0], h // w.stride[1]
    inside(t0, d, image.size[0], &first, &last)
    inside(t1, h, image.size[1], &top, &bottom)
    if first == last or top == bottom:
        return False
    for j in range(top, bottom):
        shifts[j - top] = (h + t1.offset[j]) * image.steps[1]
    strip.shifts, strip.spans, strip.k, strip.step, strip.bias = shifts, bottom - top, image.c, image.c_step, NULL
    for i in range(first, last):
        strip.add = i > first
        for panel in range(s.panels.count):
            left, columns = column(&s.panels, panel), width(&s.panels, panel)
            at = left * s.slots + s.slot[t0.tap[i] * w.kernel[1] + t1.tap[top]] * columns
            strip.b, strip.b_row = s.packed + at * image.c * size, columns * size
            multiply_pixels(kind, s, x + (d + t0.offset[i]) * image.steps[0], columns, products + left, &strip)
    return True


cdef inline void multiply_pixels(
    real* kind, const Plan* s, const char* x, Py_ssize_t columns, real* products, Strip* strip
) noexcept nogil:
    """All pixels of a row, for a panel. Behind the products of the last pixel there is room for those of a tile."""
    cdef Py_ssize_t size = sizeof(real), pixels = s.job.x.size[2], first = 0, rows, i, step = s.job.x.steps[2]
    cdef Py_ssize_t most = TALL_ROWS if columns == lanes(kind) else TILE_ROWS
    strip.next_b = strip.next_bias = 0
    while first < pixels:
        rows = most
        if pixels - first <= TILE_ROWS // 2:
            rows = TILE_ROWS // 2 if pixels - first > 2 else 2
        for i in range(rows):
            strip.rows[i] = x + min(first + i, pixels - 1) * step
            strip.out[i] = <char*> (products + (first + i) * s.pitch)
        strip.count, strip.next_rows, strip.next_out = max(1, (pixels - first) // rows), rows * step, rows * s.pitch * size
        tile_of(kind, rows, columns // lanes(kind))(NULL, NULL, NULL, strip)
        first += strip.count * rows


cdef inline void join_runs(real* kind, const Plan* s, real* products, const real* bias, real* sums) noexcept nogil:
    if real is float:
        join_vectors(<floats*> NULL, s, <char*> products, <const char*> bias, <char*> sums)
    else:
        join_vectors(<doubles*> NULL, s, <char*> products, <const char*> bias, <char*> sums)


cdef inline void join_vectors(
    vec* kind, const Plan* s, char* products, const char* bias, char* sums
) noexcept nogil:
    """sums = bias, and what of all runs lies there. Behind a run's end there are products of no weight, which may be NaN."""
    cdef Py_ssize_t size = sizeof(float) if vec is floats else sizeof(double), lane = sizeof(vec) // size
    cdef Py_ssize_t left = s.run % lane, pixels = s.job.x.size[2], step = s.window.stride[2] * s.job.y.c, first, j
    cdef Py_ssize_t pitch = s.pitch * size, low, high
    cdef const char* at
    cdef vec* end
    cdef vec total
    for j in range(pixels if left else 0):
        end = <vec*> (products + (j * s.pitch + s.run - left) * size)
        end[0] = keep_first(end[0], left, lane)
    first = s.window.padding[2] * s.job.y.c // lane * lane
    while first < s.length:
        total = loaded(kind, bias + first * size, 0)
        low = (first - s.run) // step + 1 if first >= s.run else 0
        high = min(pixels, (first + lane - 1) // step + 1)
        at = products + low * pitch + (first - low * step) * size
        for j in range(high - low):
            total = total + loaded(kind, at, 0)
            at += pitch - step * size
        (<vec*> (sums + first * size))[0] = total
        first += lane


cdef inline void write_line(real* kind, const Plan* s, real* sums, char* y) noexcept nogil:
    """A row of y, from its sums, with the activation."""
    cdef const Job* job = &s.job
    cdef Py_ssize_t size = sizeof(real), pixels = job.y.size[2], c = job.y.c
    if job.activation != NULL:
        activate_in_place(job.activation, sums, pixels * c, job.alpha, job.beta)
    if job.y.c_step == size or c == 1:
        memcpy(y, sums, pixels * c * size)
    else:
        transpose(kind, <const char*> sums, c * size, y, job.y.c_step, pixels, c, pixels)
