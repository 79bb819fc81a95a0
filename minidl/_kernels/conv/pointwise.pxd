# Convolutions with a single tap, of images in planes (C order): a product of matrices for each sample.
#
#     y[n] (outputs, pixels) = activation(w (outputs, inputs) x[n] (inputs, pixels) + bias)
#
# direct.pxd would transpose such an image, because its vectors go along the channels. Here they go along the pixels, and y
# is in planes, too. The tile reads the weights where they lie, transposed or not. From the outside in:
#
#   for tasks: a sample and a group of channels, some panels of its pixels, a block of outputs    over the threads
#     for panels: x's pixels are packed             they stay in the first- or second-level cache
#       for TILE_ROWS outputs: the tile

from libc.string cimport memcpy

from minidl._kernels.conv.direct cimport SERIAL_FLOPS, Weights
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.phases cimport Job, Window, weights_of
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.panels cimport Cut, Panels, column, cut, cut_columns, multiply_panel, pack, width
from minidl._kernels.product.product cimport activation_t, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport lanes
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place

cdef enum:
    TURNING = 12            # products of a lane take as long as transposing one number, which direct.pxd does with x and w
    BLOCK_PANELS = 10       # of a task: packed one by one
    BLOCK_OUTPUTS = 256


cdef struct Plan:
    Image x, y              # in planes
    Py_ssize_t pixels, groups
    Py_ssize_t inputs, outputs  # of a group
    Weights weights
    Panels panels           # of the pixels of a channel
    Cut cut                 # of a group: panels by outputs
    const char* bias
    activation_t activation
    double alpha, beta
    bint failed             # for lack of memory


cdef inline bint in_planes(Py_ssize_t size, const Image* x) noexcept nogil:
    """Whether the pixels of a channel, each of `size` bytes, lie side by side, and not the channels of a pixel."""
    cdef Py_ssize_t expected = size
    cdef int axis
    for axis in range(AXES - 1, -1, -1):
        if x.size[axis] > 1 and x.steps[axis] != expected:
            return False
        expected *= x.size[axis]
    return x.c_step != size


cdef inline bint pointwise_pays(real* kind, const Window* w, const Job* job) noexcept nogil:
    """Whether there is one tap, an image in planes, and less to lose in vectors that its pixels do not fill than by
    transposing it."""
    cdef double pixels = 1, outputs = job.y.c // w.groups, inputs = job.x.c // w.groups
    cdef Py_ssize_t whole
    cdef int axis
    for axis in range(AXES):
        if w.stride[axis] > 1 or w.padding[axis] > 0 or job.x.size[axis] != job.y.size[axis]:
            return False
        pixels *= job.x.size[axis]
    whole = lanes(kind) * ceil_div(<Py_ssize_t> pixels, lanes(kind))
    return (
        w.taps == 1 and job.x.c > 1 and in_planes(sizeof(real), &job.x)
        and job.x.n * outputs * (whole - pixels) < TURNING * (job.x.n * pixels + outputs)
    )


cdef inline bint convolve_pointwise(real* kind, const Window* w, const Job* job) noexcept nogil:
    """Computes the job, with y in planes. False: no memory, or the work was stopped."""
    cdef Plan s
    cdef double flops
    s.x, s.y, s.groups, s.inputs, s.outputs = job.x, job.y, w.groups, job.x.c // w.groups, job.y.c // w.groups
    s.pixels = job.x.size[0] * job.x.size[1] * job.x.size[2]
    s.weights, s.panels, s.failed = weights_of(kind, w, job), cut_columns(kind, s.pixels), False
    s.bias, s.activation, s.alpha, s.beta = job.bias, job.activation, job.alpha, job.beta
    flops = 2.0 * job.x.n * s.pixels * s.inputs * job.y.c
    s.cut = cut(s.panels.count, BLOCK_PANELS, s.outputs, BLOCK_OUTPUTS, job.x.n * s.groups, flops)
    return run_tasks(
        <task_t> panels_task[real], &s, job.x.n * s.groups * s.cut.groups * s.cut.blocks, flops <= SERIAL_FLOPS, False,
        flops,
    ) and not s.failed


cdef inline void panels_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t size = sizeof(real), top = index % s.cut.blocks * s.cut.block, panel, row
    cdef Py_ssize_t first = index // s.cut.blocks % s.cut.groups * s.cut.group, image = index // s.cut.blocks // s.cut.groups
    cdef Py_ssize_t group = image % s.groups, bottom = min(top + s.cut.block, s.outputs)
    cdef Py_ssize_t end = min(first + s.cut.group, s.panels.count), left = column(&s.panels, first)
    cdef Py_ssize_t widest = width(&s.panels, 0)
    cdef const char* x = s.x.data + image // s.groups * s.x.n_step + group * s.inputs * s.x.c_step
    cdef char* y = s.y.data + image // s.groups * s.y.n_step + (group * s.outputs + top) * s.y.c_step
    cdef const char* w = s.weights.data + group * s.weights.group_step + top * s.weights.out_step
    cdef const real* bias = <const real*> s.bias + group * s.outputs + top if s.bias != NULL else NULL
    cdef real* packed = <real*> memory.take((s.inputs + bottom - top) * widest * size)
    if packed == NULL:
        s.failed = True
        return
    for panel in range(first, end):
        pack(kind, &s.panels, panel, x, s.x.c_step, size, s.inputs, <char*> packed)
        multiply(kind, s, panel, bottom - top, w, bias, packed, packed + s.inputs * widest,
                 y + column(&s.panels, panel) * size)
    if s.activation != NULL:
        for row in range(bottom - top):
            activate_in_place(s.activation, y + row * s.y.c_step + left * size,
                              min(s.pixels, column(&s.panels, end)) - left, s.alpha, s.beta)
    memory.give(packed)


cdef inline void multiply(
    real* kind, const Plan* s, Py_ssize_t panel, Py_ssize_t rows, const char* w, const real* bias, const real* packed,
    real* edge, char* y
) noexcept nogil:
    """Some outputs in one panel. The last one may be wider than y: its results go to `edge` first."""
    cdef Py_ssize_t size = sizeof(real), columns = width(&s.panels, panel), row, j, y_row = s.y.c_step
    cdef Py_ssize_t there = min(columns, s.pixels - column(&s.panels, panel))
    cdef char* out = y
    if there < columns:
        out, y_row = <char*> edge, columns * size
    if bias != NULL:
        for row in range(rows):
            for j in range(columns):
                (<real*> (out + row * y_row))[j] = bias[row]
    multiply_panel(kind, columns, w, s.weights.out_step, s.weights.in_step, rows, s.inputs, <const char*> packed,
                   columns * size, out, y_row, bias != NULL)
    if there < columns:
        for row in range(rows):
            memcpy(y + row * s.y.c_step, out + row * y_row, there * size)
