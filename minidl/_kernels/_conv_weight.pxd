# The weight gradient of a convolution,
#
#     gw[t, c, o] = sum over output pixels j of  x[n, c, j * stride + t * dilation - padding] gy[n, o, j]
#
# on the register tile (_tile.pxd). A row of the tile is a tap and a channel of x; it steps from
# pixel to pixel, and a span is a row of pixels of gy. The right operand is gy as it lies: channels
# innermost, pixel after pixel. So neither is packed. From the outside in:
#
#   for tasks: a slice of the pixels, a panel of outputs, a block of tile rows   over the threads
#     for chunks of the slice                 what the taps see of a chunk, and gy's, fit a cache
#       for TILE_ROWS rows of the block: the tile, added to the slice's own gw
#
# The slices are as many as the shape says, and are added in order: the same bits for any number of
# threads. Then (tap, c, o) is turned to the weights' (o, c, tap).

from minidl._kernels cimport memory, pool
from minidl._kernels._conv cimport SERIAL_FLOPS, TASK_FLOPS, TASKS, any_spans
from minidl._kernels._gemm cimport ceil_div, run_tasks
from minidl._kernels._image cimport AXES, Image, pad_image
from minidl._kernels._math cimport real
from minidl._kernels._phases cimport Window
from minidl._kernels._tile cimport TILE_LANES, TILE_ROWS, TILE_VECTORS, lanes, transpose

cdef enum:
    CHUNK_PIXELS = 256      # of gy, and what the taps see of x: some 300 KB for 64 channels
    BLOCK_ROWS = 1024       # of tile rows in a task: with 3 vectors of sums each, 200 KB
    MOST_SLICES = 16
    TURN_CHANNELS = 8       # of a task that turns gw
    SERIAL_TURN = 16_000    # elements that one thread turns faster than it calls for help


cdef struct Grad:
    const char* x
    const char* gy
    char* gw                    # the result (groups, o, c, taps)
    char* sums                  # of each slice: (groups, tap, c, o), o padded to whole vectors
    const Py_ssize_t* taps      # where x begins for each tap, in bytes
    const Py_ssize_t* shifts    # of the spans
    Py_ssize_t count, groups    # of taps; of groups
    Py_ssize_t c, o             # channels of a group
    Py_ssize_t spans, k         # k pixels in each
    Py_ssize_t step, pixel      # from one of them to the next: of x and of gy
    Py_ssize_t span_chunk, k_chunk, k_chunks, chunks
    Py_ssize_t slices, per      # and so many chunks in each
    Py_ssize_t vectors, panels, wide, blocks


cdef inline Py_ssize_t grad_column(const Grad* s, Py_ssize_t panel, Py_ssize_t lane) noexcept nogil:
    return min(s.vectors, TILE_VECTORS * panel - max(0, panel - s.wide)) * lane


cdef inline bint weight_gradient(
    real* kind, const Window* w, const Image* x, const Image* gy, char* gw
) noexcept nogil:
    """gw from x and gy. False: no memory."""
    cdef Py_ssize_t[AXES] none, low, high
    cdef Image xs, gys
    cdef bint done = False
    cdef Py_ssize_t size = sizeof(real), reach
    cdef int axis
    cdef bint dense = gy.c_step == size or gy.c == 1
    cdef Py_ssize_t expected = gy.c * size
    for axis in range(AXES - 1, -1, -1):
        dense = dense and (gy.steps[axis] == expected or gy.size[axis] == 1)
        expected *= gy.size[axis]
        none[axis] = 0
        low[axis] = w.padding[axis]
        reach = (gy.size[axis] - 1) * w.stride[axis] + (w.kernel[axis] - 1) * w.dilation[axis]
        high[axis] = max(0, reach - w.padding[axis] - (x.size[axis] - 1))
    dense = dense and (gy.n_step == expected or gy.n == 1)
    # A vector of gy's last channels reads beyond them: at the end of the memory it must not.
    dense = dense and gy.c // w.groups % lanes(kind) == 0
    if not pad_image(kind, x, low, high, False, &xs):
        return False
    if pad_image(kind, gy, none, none, not dense, &gys):
        done = sum_gradient(kind, w, &xs, &gys, gw)
        memory.give(gys.scratch)
    memory.give(xs.scratch)
    return done


cdef inline bint sum_gradient(
    real* kind, const Window* w, const Image* x, const Image* gy, char* gw
) noexcept nogil:
    cdef Grad s
    cdef Py_ssize_t[AXES + 1] lengths, steps
    cdef Py_ssize_t size = sizeof(real), i, d, h, v, at
    cdef Py_ssize_t* numbers
    cdef int axes, axis
    s.x, s.gy, s.gw = x.data, gy.data, gw
    s.groups, s.c, s.o, s.count = w.groups, x.c // w.groups, gy.c // w.groups, w.taps
    s.pixel = gy.c * size
    axes = join_axes(w, x, gy, lengths, steps)
    s.k, s.step, s.spans = lengths[axes - 1], steps[axes - 1], 1
    for axis in range(axes - 1):
        s.spans *= lengths[axis]
    plan_grad(kind, &s)
    numbers = <Py_ssize_t*> memory.take((s.count + s.spans + 1) * sizeof(Py_ssize_t))
    s.sums = <char*> memory.take(
        s.slices * s.groups * s.count * s.c * s.vectors * lanes(kind) * size + 1)
    if numbers == NULL or s.sums == NULL:
        memory.give(numbers)
        memory.give(s.sums)
        return False
    s.taps, s.shifts = numbers, numbers + s.count
    i = 0
    for d in range(w.kernel[0]):
        for h in range(w.kernel[1]):
            for v in range(w.kernel[2]):
                numbers[i] = ((d * w.dilation[0] - w.padding[0]) * x.steps[0]
                              + (h * w.dilation[1] - w.padding[1]) * x.steps[1]
                              + (v * w.dilation[2] - w.padding[2]) * x.steps[2])
                i += 1
    for i in range(s.spans):
        at, v = 0, i
        for axis in range(axes - 2, -1, -1):
            at += v % lengths[axis] * steps[axis]
            v //= lengths[axis]
        numbers[s.count + i] = at
    run_tasks(<pool.task_t> grad_task[real], &s, s.slices * s.groups * s.panels * s.blocks,
              2.0 * s.spans * s.k * s.count * x.c * s.o <= SERIAL_FLOPS)
    run_tasks(<pool.task_t> turn_task[real], &s, s.groups * ceil_div(s.c, TURN_CHANNELS),
              s.slices * s.count * x.c * s.o <= SERIAL_TURN)
    memory.give(numbers)
    memory.give(s.sums)
    return True


cdef inline int join_axes(
    const Window* w, const Image* x, const Image* gy, Py_ssize_t* lengths, Py_ssize_t* steps
) noexcept nogil:
    """The axes that gy's pixels run along, and x's steps. Those that x walks through in equal steps
    become one; there is at least one."""
    cdef Py_ssize_t length, step
    cdef int axis, axes = 0
    lengths[0], steps[0] = 1, 0
    for axis in range(-1, AXES):
        length = gy.n if axis < 0 else gy.size[axis]
        step = x.n_step if axis < 0 else x.steps[axis] * w.stride[axis]
        if length == 1:
            continue
        if axes > 0 and steps[axes - 1] == length * step:
            lengths[axes - 1] *= length
            steps[axes - 1] = step
        else:
            lengths[axes], steps[axes] = length, step
            axes += 1
    return max(axes, 1)


cdef inline void plan_grad(real* kind, Grad* s) noexcept nogil:
    """Chunks, slices and tasks, by the shape alone."""
    cdef Py_ssize_t lane = lanes(kind), tasks
    cdef double flops = 2.0 * s.spans * s.k * s.count * s.c * s.o
    s.vectors = ceil_div(s.o, lane)
    s.panels = ceil_div(s.vectors, TILE_VECTORS)
    s.wide = max(0, s.vectors - s.panels * (TILE_VECTORS - 1))
    s.blocks = ceil_div(s.count * s.c, BLOCK_ROWS)
    s.k_chunk = max(1, min(s.k, CHUNK_PIXELS))
    s.k_chunks = ceil_div(s.k, s.k_chunk)
    s.span_chunk = max(1, CHUNK_PIXELS // s.k_chunk)
    s.chunks = ceil_div(s.spans, s.span_chunk) * s.k_chunks
    tasks = max(1, s.groups * s.panels * s.blocks)
    s.slices = max(1, min(min(s.chunks, MOST_SLICES), ceil_div(TASKS, tasks)))
    while s.slices > 1 and flops < s.slices * tasks * TASK_FLOPS:
        s.slices -= 1
    s.per = ceil_div(s.chunks, s.slices)


cdef inline void grad_task(real* context, Py_ssize_t index) noexcept nogil:
    """A block of rows and a panel of the sums of one slice. The context is a Grad."""
    cdef const Grad* s = <const Grad*> context
    cdef Py_ssize_t lane = lanes(context), size = sizeof(real)
    cdef Py_ssize_t panel = index % s.panels, block = index // s.panels % s.blocks
    cdef Py_ssize_t rest = index // s.panels // s.blocks
    cdef Py_ssize_t group = rest % s.groups, slice = rest // s.groups
    cdef Py_ssize_t left = grad_column(s, panel, lane), height = s.count * s.c
    cdef Py_ssize_t width = grad_column(s, panel + 1, lane) - left, pitch = s.vectors * lane * size
    cdef Py_ssize_t top = block * BLOCK_ROWS, bottom = min(top + BLOCK_ROWS, height)
    cdef Py_ssize_t first = slice * s.per, end = min(first + s.per, s.chunks), chunk, row
    cdef Py_ssize_t span, k, i, at, spans
    cdef char* sums = s.sums + (slice * s.groups + group) * height * pitch + left * size
    cdef const char* gy = s.gy + (group * s.o + left) * size
    cdef const char* x = s.x + group * s.c * size
    cdef const char* rows[TILE_ROWS]
    cdef char* out[TILE_ROWS]
    cdef real[TILE_VECTORS * TILE_LANES] spare
    for chunk in range(first, max(end, first + 1)):  # an empty slice is all zeros
        span, k = chunk // s.k_chunks * s.span_chunk, chunk % s.k_chunks * s.k_chunk
        spans = min(s.span_chunk, s.spans - span) if chunk < end else 0
        row = top
        while row < bottom:
            for i in range(TILE_ROWS):
                at = min(row + i, bottom - 1)
                rows[i] = x + s.taps[at // s.c] + at % s.c * size + k * s.step
                out[i] = sums + at * pitch if row + i < bottom else <char*> spare
            any_spans(context, width // lane, rows, s.step, s.shifts + span, spans,
                      gy + (span * s.k + k) * s.pixel, s.pixel, min(s.k_chunk, s.k - k), out,
                      chunk > first, NULL)
            row += TILE_ROWS


cdef inline void turn_task(real* context, Py_ssize_t index) noexcept nogil:
    """Adds the slices of some channels and turns (tap, c, o) to (o, c, tap). The context is a Grad."""
    cdef const Grad* s = <const Grad*> context
    cdef Py_ssize_t size = sizeof(real), chunks = ceil_div(s.c, TURN_CHANNELS), c, t, slice, i
    cdef Py_ssize_t group = index // chunks, first = index % chunks * TURN_CHANNELS
    cdef Py_ssize_t pitch = s.vectors * lanes(context), height = s.count * s.c
    cdef real* sums = <real*> s.sums + group * height * pitch
    cdef real* total
    cdef const real* part
    for c in range(first, min(first + TURN_CHANNELS, s.c)):
        for slice in range(1, s.slices):
            for t in range(s.count):
                total = sums + (t * s.c + c) * pitch
                part = total + slice * s.groups * height * pitch
                for i in range(s.o):
                    total[i] += part[i]
        transpose(context, <char*> (sums + c * pitch), s.c * pitch * size,
                  s.gw + (group * s.o * s.c + c) * s.count * size, s.c * s.count * size,
                  s.count, s.o)
