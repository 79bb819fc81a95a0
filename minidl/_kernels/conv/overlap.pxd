# Transposed convolutions with few outputs: one product, whose results are added where they overlap.
#
# Seen from a pixel of x, a transposed convolution is a product of x's channels with all taps of all outputs. What comes out
# for the taps in one row of the kernel, a run of numbers, lies side by side in y, whose channels are innermost:
#
#     a row of y, 3 outputs        o o o o o o o o o o o o o o o
#     from pixel j, 3 taps               + + + + + + + + +
#     from pixel j + 1                         + + + + + + + + +
#
# So no vector is empty, however few the outputs, and nothing is multiplied with zeros around or between x's pixels: where
# 8 x 8 pixels see 5 x 5 taps, direct.pxd and runs.pxd do twice as many products as there are. From the outside in:
#
#   for tasks: a block of samples                          over the threads
#     for samples: memory for all that the taps see        stays in the second-level cache
#       for rows of x: the product of its pixels and the packed weights, on the tile
#         for pixels, for rows of taps: a run is added
#       without what lies beyond its edges it is y

from libc.math cimport INFINITY
from libc.string cimport memcpy

from minidl._kernels.conv.direct cimport SERIAL_FLOPS, SERIAL_PACK, Weights
from minidl._kernels.conv.image cimport AXES, Image, pad_image
from minidl._kernels.conv.phases cimport Job, Window, weights_of
from minidl._kernels.conv.pointwise cimport TURNING, in_planes
from minidl._kernels.conv.runs_convolution cimport columns_pay
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.dots cimport keep_first
from minidl._kernels.product.panels cimport Panels, column, cut_columns, multiply_panel, width
from minidl._kernels.product.product cimport TASK_FLOPS, TASKS, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport doubles, floats, lanes, vec
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.runtime.sizes cimport plus, times

cdef enum:
    EMPTY = 4                   # of a vector's lanes: if 1 in so many is, in direct.pxd
    ADDITION = 16               # products of a vector take as long as adding one to what is in the cache
    READING = 5                 # products of a sum of runs.pxd take as long as 8: they are read from the cache
    SAMPLE_BYTES = 256 << 10    # half of a second-level cache


cdef struct Plan:
    Window window
    Job job
    Image x                     # channels innermost
    Py_ssize_t[AXES] size       # pixels of a sample with all that the taps see; y begins at the padding
    Py_ssize_t run              # numbers of a row of taps
    Py_ssize_t spread           # pixels that are so far from each other do not touch the same numbers
    Panels panels               # of the columns: (tap, output)
    Py_ssize_t pitch            # numbers of a pixel's products
    Weights weights
    char* packed
    Py_ssize_t block            # samples of a task
    bint failed                 # for lack of memory


cdef inline Py_ssize_t seen(const Window* w, const Job* job, int axis) noexcept nogil:
    """Pixels of an axis that taps see or y has."""
    return max(plus(times(job.x.size[axis] - 1, w.stride[axis]), times(w.kernel[axis], w.dilation[axis])),
               plus(w.padding[axis], job.y.size[axis]))


cdef inline double overlap_cost(real* kind, const Window* w, const Job* job) noexcept nogil:
    """In products of vectors, for each pixel of x; INFINITY unless there is a sample for each task, which stays in the
    cache. Here x is transposed if its channels are not innermost."""
    cdef Py_ssize_t run = times(w.kernel[2], job.y.c), sample = times(sizeof(real), job.y.c), rows = w.taps // w.kernel[2]
    cdef double cost = <double> job.x.c * ceil_div(run * rows, lanes(kind))
    cdef int axis
    for axis in range(AXES):
        sample = times(sample, seen(w, job, axis)) if job.x.size[axis] > 0 else SAMPLE_BYTES + 1
    if (not job.transposed or w.groups > 1 or w.dilation[2] > 1 or job.x.n < TASKS or sample > SAMPLE_BYTES
            or EMPTY * job.y.c > (EMPTY - 1) * lanes(kind) or times(run, rows) > SAMPLE_BYTES):
        return INFINITY
    if in_planes(sizeof(real), &job.x):
        cost += <double> TURNING * job.x.c / lanes(kind)
    return cost + ADDITION * rows * ceil_div(run, lanes(kind))


cdef inline double runs_cost(real* kind, const Window* w, const Job* job) noexcept nogil:
    """The same for the sums of runs.pxd, which for a single output read a vector for each product unless its columns are
    outputs of their own."""
    cdef double cost = 8.0 / READING * job.x.c * w.taps * job.y.c / lanes(kind)
    cdef int axis
    if columns_pay(kind, w, job):
        cost = cost * job.x.size[2] / job.y.size[2]
    elif job.y.c == 1:
        cost *= 2
    for axis in range(AXES):
        cost = cost * job.y.size[axis] / (w.stride[axis] * max(1, job.x.size[axis]))
    return cost


cdef inline bint convolve_overlap(real* kind, const Window* w, Job* job) noexcept nogil:
    """Computes the job. False: no memory, or the work was stopped."""
    cdef Plan s
    cdef Py_ssize_t inputs = job.x.c, size = sizeof(real)
    cdef double flops = 2.0 * job.x.size[0] * job.x.size[1] * job.x.size[2] * inputs * w.taps * job.y.c
    cdef bint done
    cdef int axis
    if not pad_image(kind, &job.x, NULL, NULL, False, &s.x):
        return False
    s.window, s.job, s.run, s.failed = w[0], job[0], w.kernel[2] * job.y.c, False
    for axis in range(AXES):
        s.size[axis] = seen(w, job, axis)
    s.spread = ceil_div(ceil_div(s.run, lanes(kind)) * lanes(kind), w.stride[2] * job.y.c)
    s.panels, s.weights = cut_columns(kind, w.taps * job.y.c), weights_of(kind, w, job)
    s.pitch = column(&s.panels, s.panels.count)
    s.block = max(1, min(job.x.n // TASKS, <Py_ssize_t> (8 * TASK_FLOPS / max(1.0, flops))))
    s.packed = <char*> memory.take(times(times(s.pitch, inputs), size))
    done = s.packed != NULL and run_tasks(
        <task_t> pack_task[real], &s, s.panels.count, s.pitch * inputs <= SERIAL_PACK, False, flops * job.x.n
    ) and run_tasks(
        <task_t> add_task[real], &s, ceil_div(job.x.n, s.block), flops * job.x.n <= SERIAL_FLOPS, False, flops * job.x.n
    ) and not s.failed
    memory.give(s.packed)
    memory.give(s.x.scratch)
    return done


cdef inline void pack_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """A panel of the weights."""
    cdef Py_ssize_t left = column(&s.panels, index), columns = width(&s.panels, index), c, i, tap, output
    cdef Py_ssize_t size = sizeof(real)
    cdef real* y = <real*> s.packed + left * s.x.c
    cdef const char* x
    for c in range(s.x.c):
        tap, output = left // s.job.y.c, left % s.job.y.c
        x = s.weights.data + c * s.weights.in_step
        for i in range(columns):
            y[i] = 0
            if tap < s.window.taps:
                y[i] = (<const real*> (x + output * s.weights.out_step + tap * size))[0]
            output += 1
            if output == s.job.y.c:
                tap, output = tap + 1, 0
        y += columns


cdef inline void add_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """A block of samples."""
    cdef Py_ssize_t size = sizeof(real), first = index * s.block, n, d, h, lane = lanes(kind)
    cdef Py_ssize_t numbers = s.size[0] * s.size[1] * s.size[2] * s.job.y.c + lane  # (runs are added in whole vectors)
    cdef const Py_ssize_t* stride = s.window.stride
    cdef real* sample = <real*> memory.take((numbers + s.x.size[2] * s.pitch + lane) * size)
    cdef const char* x
    cdef char* products
    cdef char* y
    if sample == NULL:
        s.failed = True
        return
    products = <char*> (sample + numbers)
    for n in range(first, min(first + s.block, s.x.n)):
        fill(kind, s, sample)
        for d in range(s.x.size[0]):
            for h in range(s.x.size[1]):
                x = s.x.data + n * s.x.n_step + d * s.x.steps[0] + h * s.x.steps[1]
                y = <char*> (sample + (d * stride[0] * s.size[1] + h * stride[1]) * s.size[2] * s.job.y.c)
                multiply_row(kind, s, x, products)
                add_row(kind, s, products, y)
        write(kind, s, sample, s.job.y.data + n * s.job.y.n_step)
    memory.give(sample)


cdef inline void fill(real* kind, const Plan* s, real* sample) noexcept nogil:
    """The bias everywhere, or zeros."""
    cdef Py_ssize_t row = s.size[2] * s.job.y.c, i
    for i in range(row):
        sample[i] = (<const real*> s.job.bias)[i % s.job.y.c] if s.job.bias != NULL else 0
    for i in range(1, s.size[0] * s.size[1]):
        memcpy(sample + i * row, sample, row * sizeof(real))


cdef inline void multiply_row(real* kind, const Plan* s, const char* x, char* products) noexcept nogil:
    """The products of a row of pixels: (pixel, tap, output)."""
    cdef Py_ssize_t size = sizeof(real), panel, left, columns
    for panel in range(s.panels.count):
        left, columns = column(&s.panels, panel), width(&s.panels, panel)
        multiply_panel(kind, columns, x, s.x.steps[2], size, s.x.size[2], s.x.c, s.packed + left * s.x.c * size,
                       columns * size, products + left * size, s.pitch * size, False)


cdef inline void add_row(real* kind, const Plan* s, const char* products, char* sample) noexcept nogil:
    """Adds the products of a row of pixels. sample: where the first tap of the first pixel goes.

    Neighbours do not follow one another: a vector cannot be read before what was written to a part of it has arrived."""
    cdef const Window* w = &s.window
    cdef Py_ssize_t size = sizeof(real), row = s.size[2] * s.job.y.c * size, step = w.stride[2] * s.job.y.c * size
    cdef Py_ssize_t pitch = s.pitch * size, first, d, h
    for first in range(min(s.spread, s.x.size[2])):
        for d in range(w.kernel[0]):
            for h in range(w.kernel[1]):
                adder(kind)(
                    NULL, products + first * pitch + (d * w.kernel[1] + h) * s.run * size, s.spread * pitch,
                    sample + (d * w.dilation[0] * s.size[1] + h * w.dilation[1]) * row + first * step, s.spread * step,
                    ceil_div(s.x.size[2] - first, s.spread), s.run)


ctypedef void (*add_t)(
    void* kind, const char* x, Py_ssize_t x_step, char* y, Py_ssize_t y_step, Py_ssize_t count, Py_ssize_t numbers
) noexcept nogil


cdef inline add_t adder(real* kind) noexcept nogil:
    """(Called through a pointer, as the tile is.)"""
    return <add_t> add_runs[floats] if real is float else <add_t> add_runs[doubles]


cdef inline void add_runs(
    vec* kind, const char* x, Py_ssize_t x_step, char* y, Py_ssize_t y_step, Py_ssize_t count, Py_ssize_t numbers
) noexcept nogil:
    """y += x for some runs of so many numbers, and y += 0 up to a whole vector."""
    cdef Py_ssize_t lane = sizeof(vec) // (sizeof(float) if vec is floats else sizeof(double))
    cdef Py_ssize_t whole = numbers // lane, left = numbers % lane, run, i
    for run in range(count):
        for i in range(whole):
            (<vec*> y)[i] = (<vec*> y)[i] + (<const vec*> x)[i]
        if left:
            (<vec*> y)[whole] = (<vec*> y)[whole] + keep_first((<const vec*> x)[whole], left, lane)
        x += x_step
        y += y_step


cdef inline void write(real* kind, const Plan* s, const real* sample, char* y) noexcept nogil:
    """y's pixels of a sample, with the activation."""
    cdef const Job* job = &s.job
    cdef const Py_ssize_t* padding = s.window.padding
    cdef Py_ssize_t n = job.y.size[2] * job.y.c, d, h
    cdef const real* x
    cdef char* row
    for d in range(job.y.size[0]):
        for h in range(job.y.size[1]):
            x = sample + (((d + padding[0]) * s.size[1] + h + padding[1]) * s.size[2] + padding[2]) * job.y.c
            row = y + d * job.y.steps[0] + h * job.y.steps[1]
            memcpy(row, x, n * sizeof(real))
            if job.activation != NULL:
                activate_in_place(job.activation, row, n, job.alpha, job.beta)
