# From a convolution's settings to the sums of direct.pxd: which taps each phase of the stride sees,
# at which offsets; how many zeros the image needs around it; where everything lies.

from libc.string cimport memcpy, memset

from minidl._kernels.runtime cimport memory
from minidl._kernels.conv.direct cimport (
    BLOCK_PIXELS, PACK_CHANNELS, PANEL_BYTES, SERIAL_FLOPS, SERIAL_PACK, Pass, Plan, Taps,
    Weights, convolve_task, pack_task,
)
from minidl._kernels.conv.image cimport AXES, Image, pad_image
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.panels cimport column, cut, cut_columns
from minidl._kernels.product.product cimport activation_t, ceil_div, run_tasks, task_t
from minidl._kernels.runtime.sizes cimport plus, times

cdef enum:
    MOST_PHASES = 256   # taps of all phases of an axis, where x has one pixel


cdef struct Window:
    # How a kernel moves over an image.
    Py_ssize_t[AXES] kernel, stride, padding, dilation
    Py_ssize_t groups, taps


cdef struct Job:
    # A convolution: x, y and weights, and what is applied to y.
    Image x                     # read
    Image y                     # written; channels innermost
    bint transposed
    const char* weight          # C-contiguous (y.c, x.c/groups, kernel), or transposed
                                # (x.c, y.c/groups, kernel)
    const char* bias            # y.c numbers, or NULL
    activation_t activation
    double alpha, beta


cdef inline void find_taps(
    const Window* w, const Job* job, int axis, Py_ssize_t phase, Taps* taps
) noexcept nogil:
    """What the pixels of one phase see along one axis, by ascending offsets."""
    cdef Py_ssize_t stride = w.stride[axis], k, at, length = job.y.size[axis]
    taps.count, taps.together = 0, True
    if not job.transposed:
        taps.pixels = length
        for k in range(w.kernel[axis]):
            add_tap(taps, k, k * w.dilation[axis] - w.padding[axis])
        return
    taps.pixels = ceil_div(length - phase, stride) if length > phase else 0
    for k in range(w.kernel[axis] - 1, -1, -1):
        at = phase + w.padding[axis] - k * w.dilation[axis]
        if at % stride == 0:
            add_tap(taps, k, at // stride)


cdef inline void add_tap(Taps* taps, Py_ssize_t tap, Py_ssize_t offset) noexcept nogil:
    taps.tap[taps.count], taps.offset[taps.count] = tap, offset
    if taps.count > 0 and offset != taps.offset[taps.count - 1] + 1:
        taps.together = False
    taps.count += 1


cdef inline Py_ssize_t phases_of(const Window* w, const Job* job, int axis) noexcept nogil:
    return min(w.stride[axis], job.y.size[axis]) if job.transposed else 1


cdef inline Window one_pixel(const Window* w, const Job* job) noexcept nogil:
    """The same window, with the stride so wide that every pixel of y is a phase, where x has a single
    pixel to give: its stride has no meaning, and a phase of its own sees no zeros around x."""
    cdef Window wide = w[0]
    cdef int axis
    for axis in range(AXES):
        if (job.transposed and job.x.size[axis] == 1
                and job.y.size[axis] * w.kernel[axis] <= MOST_PHASES):
            wide.stride[axis] += job.y.size[axis] + w.padding[axis] + (
                w.kernel[axis] * w.dilation[axis])
    return wide


cdef inline bint convolve(real* kind, const Window* window, Job* job) noexcept nogil:
    """Computes the job. False: no memory, or the work was stopped."""
    cdef Window wide = one_pixel(window, job)
    cdef const Window* w = &wide
    cdef Taps* axes[AXES]
    cdef Py_ssize_t phases = 1, numbers
    cdef Py_ssize_t[AXES] low, high
    cdef Image x
    cdef Plan s
    cdef char* at
    cdef bint done = False
    cdef int axis
    for axis in range(AXES):
        phases = times(phases, phases_of(w, job, axis))
    numbers = plus(times(times(phases, w.groups), sizeof(Pass)), times(2 * w.taps, sizeof(Py_ssize_t)))
    at = lay_axes(w, job, axes, low, high, numbers)
    if at == NULL:
        return False
    memset(&s, 0, sizeof(Plan))
    if pad_image(kind, &job.x, low, high, False, &x, w.groups):
        s.group_step = job.x.c // w.groups * <Py_ssize_t> sizeof(real)
        if x.scratch != NULL:
            s.group_step = x.n_step
            x.n_step *= w.groups
        s.passes = <Pass*> at
        s.slots = <Py_ssize_t*> (at + phases * w.groups * <Py_ssize_t> sizeof(Pass))
        lay_passes(kind, w, job, axes, &x, &s)
        done = run(kind, w, job, &s)
        memory.give(x.scratch)
    memory.give(axes[0])
    return done


cdef inline char* lay_axes(
    const Window* w, const Job* job, Taps** axes, Py_ssize_t* low, Py_ssize_t* high, Py_ssize_t more
) noexcept nogil:
    """All phases of all axes, and the zeros that they need. Returns scratch memory of `more` bytes; what
    is to be given back begins at axes[0]. NULL: no memory."""
    cdef char* at
    cdef int axis
    for axis in range(AXES):
        more = plus(more, times(
            phases_of(w, job, axis), 2 * w.kernel[axis] * sizeof(Py_ssize_t) + sizeof(Taps)))
    at = <char*> memory.take(more)
    if at != NULL:
        for axis in range(AXES):
            at = lay_taps(w, job, axis, &axes[axis], at, &low[axis], &high[axis])
    return at


cdef inline char* lay_taps(
    const Window* w, const Job* job, int axis, Taps** taps, char* at, Py_ssize_t* low,
    Py_ssize_t* high
) noexcept nogil:
    """All phases of an axis, written from `at` on, and the zeros that they need. Returns the end."""
    cdef Py_ssize_t phase, phases = phases_of(w, job, axis), last
    cdef Py_ssize_t step = 1 if job.transposed else w.stride[axis]
    cdef Taps* t
    taps[0] = <Taps*> at
    at += phases * <Py_ssize_t> sizeof(Taps)
    low[0] = high[0] = 0
    for phase in range(phases):
        t = &taps[0][phase]
        t.tap = <Py_ssize_t*> at
        t.offset = t.tap + w.kernel[axis]
        at += 2 * w.kernel[axis] * <Py_ssize_t> sizeof(Py_ssize_t)
        find_taps(w, job, axis, phase, t)
        if t.count > 0:
            last = t.offset[t.count - 1] + (t.pixels - 1) * step
            low[0] = max(low[0], -t.offset[0])
            high[0] = max(high[0], last - (job.x.size[axis] - 1))
    return at


cdef inline void lay_passes(
    real* kind, const Window* w, const Job* job, Taps** axes, const Image* x, Plan* s
) noexcept nogil:
    """The passes, and the order of the taps in the packed weights: as the passes read them."""
    cdef Py_ssize_t size = sizeof(real), slot = 0, d, h, v, i, j, k, group, shift
    cdef Py_ssize_t* shifts = s.slots + w.taps
    cdef Taps* t0
    cdef Taps* t1
    cdef Taps* t2
    cdef Pass p
    cdef Pass* place
    cdef bint joined
    cdef int axis
    s.inputs, s.outputs = job.x.c // w.groups, job.y.c // w.groups
    s.x_steps[0], s.y_steps[0] = x.n_step, job.y.n_step
    for axis in range(AXES):
        s.x_steps[axis + 1] = x.steps[axis] * (1 if job.transposed else w.stride[axis])
        s.y_steps[axis + 1] = job.y.steps[axis] * (w.stride[axis] if job.transposed else 1)
    s.count = 0
    for i in range(w.taps):
        s.slots[i] = -1
    for d in range(phases_of(w, job, 0)):
        for h in range(phases_of(w, job, 1)):
            for v in range(phases_of(w, job, 2)):
                t0, t1, t2 = &axes[0][d], &axes[1][h], &axes[2][v]
                joined = t2.together and x.steps[2] == s.inputs * size
                p.first, p.shifts, p.spans, p.k = slot, shifts, 0, s.inputs
                if joined:
                    p.k *= t2.count
                for i in range(t0.count):
                    for j in range(t1.count):
                        shift = t0.offset[i] * x.steps[0] + t1.offset[j] * x.steps[1]
                        for k in range(t2.count):
                            if k == 0 or not joined:
                                shifts[0] = shift + t2.offset[k] * x.steps[2]
                                shifts += 1
                                p.spans += 1
                            s.slots[(t0.tap[i] * w.kernel[1] + t1.tap[j]) * w.kernel[2]
                                    + t2.tap[k]] = slot
                            slot += 1
                if p.spans == 0:
                    p.k = 0
                p.size[0], p.size[1], p.size[2], p.size[3] = job.x.n, t0.pixels, t1.pixels, t2.pixels
                p.pixels = p.size[0] * p.size[1] * p.size[2] * p.size[3]
                p.y = (job.y.data + d * job.y.steps[0] + h * job.y.steps[1]
                       + v * job.y.steps[2])
                for group in range(w.groups):
                    place = &s.passes[s.count]
                    place[0] = p
                    place.x = x.data + group * s.group_step
                    place.y = p.y + group * s.outputs * size
                    s.count += 1
    s.panels = cut_columns(kind, s.outputs)


cdef inline Weights weights_of(real* kind, const Window* w, const Job* job) noexcept nogil:
    cdef Py_ssize_t size = sizeof(real), inputs = job.x.c // w.groups, outputs = job.y.c // w.groups
    cdef Weights s
    s.data, s.taps = job.weight, w.taps
    s.in_step = w.taps * (outputs if job.transposed else 1) * size
    s.out_step = w.taps * (1 if job.transposed else inputs) * size
    s.group_step = w.taps * inputs * outputs * size
    return s


cdef inline bint run(real* kind, const Window* w, const Job* job, Plan* s) noexcept nogil:
    """Packs weights and bias, and runs the passes."""
    cdef Py_ssize_t size = sizeof(real), index, group, pixels = 0
    cdef Py_ssize_t width = column(&s.panels, s.panels.count)  # of a group, padded
    cdef Py_ssize_t numbers = times(times(w.groups * width, w.taps), s.inputs), panel
    cdef Pass* p
    cdef double flops = 0
    cdef bint done
    s.weights = weights_of(kind, w, job)
    s.activation, s.alpha, s.beta = job.activation, job.alpha, job.beta
    s.packed = <char*> memory.take(times(plus(numbers, w.groups * width + 1), size))
    if s.packed == NULL:
        return False
    if job.bias != NULL:
        s.bias = s.packed + numbers * size
        memset(s.bias, 0, w.groups * width * size)
        for group in range(w.groups):
            memcpy(s.bias + group * width * size, job.bias + group * s.outputs * size,
                   s.outputs * size)
    for index in range(s.count):
        p = &s.passes[index]
        p.w = s.packed + index % w.groups * width * w.taps * s.inputs * size
        p.bias = s.bias + index % w.groups * width * size if s.bias != NULL else NULL
        pixels = max(pixels, p.pixels)
        flops += 2.0 * p.pixels * p.spans * p.k * width
    done = run_tasks(<task_t> pack_task[real], s,
                     w.groups * s.panels.count * ceil_div(s.inputs, PACK_CHANNELS),
                     numbers <= SERIAL_PACK, False, flops)
    if done and pixels > 0 and s.panels.count > 0:
        panel = max(1, w.taps * s.inputs * size * ceil_div(width, s.panels.count))  # bytes
        s.cut = cut(s.panels.count, PANEL_BYTES // panel, pixels, BLOCK_PIXELS, s.count, flops)
        s.blocks_first = s.count * s.panels.count * panel <= 2 * PANEL_BYTES
        done = run_tasks(<task_t> convolve_task[real], s, s.cut.blocks * s.count * s.cut.groups,
                         flops <= SERIAL_FLOPS, False, flops)
    memory.give(s.packed)
    return done
