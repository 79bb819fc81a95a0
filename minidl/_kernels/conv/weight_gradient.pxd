# The weight gradient of a convolution,
#
#     gw[t, c, o] = sum over output pixels j of  x[n, c, j * stride + t * dilation - padding] gy[n, o, j]
#
# on the register tile (tile.pxd). A row of the tile is a tap and a channel of x; it steps from
# pixel to pixel, and a span is a row of pixels of gy. The right operand is gy, channels innermost,
# pixel after pixel. Both are read in place or in small copies that stay in the cache, whichever
# is faster. From the outside in:
#
#   for tasks: a slice of the pixels, a block of tile rows   over the threads
#     for chunks of the slice                 what the taps see of a chunk, and gy's, fit a cache
#       for TILE_ROWS rows of the block
#         for panels of outputs: the tile, added to the slice's own gw
#
# The slices are as many as the shape says, and are added in order: the same bits for any number of
# threads. Then (tap, c, o) is turned to the weights' (o, c, tap).

from libc.string cimport memcpy, memset

from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.conv.direct cimport SERIAL_FLOPS, TASK_FLOPS, TASKS
from minidl._kernels.conv.image cimport AXES, Image, pad_image
from minidl._kernels.math.elementary cimport real
from minidl._kernels.conv.phases cimport Window
from minidl._kernels.product.product cimport ceil_div, run_tasks
from minidl._kernels.runtime.sizes cimport plus, times
from minidl._kernels.product.tile cimport (
    TILE_LANES, TILE_ROWS, TILE_VECTORS, Strip, Whole, any_tile, lanes, pack_rows, transpose,
)

cdef enum:
    CHUNK_PIXELS = 256      # of gy, and what the taps see of x: some 300 KB for 64 channels
    SUM_BYTES = 256 << 10   # of a task's rows of sums
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
    Py_ssize_t vectors, panels, wide, pitch  # the outputs; bytes of a row of sums
    Py_ssize_t block, blocks    # tile rows of a task
    bint pack                   # gy is packed, chunk by chunk
    bint failed                 # for lack of memory


cdef struct Chunk:
    # A chunk of pixels, and the part of the sums that a task adds to.
    const char* x
    const char* gy
    char* packed                # (panel, pixel, its outputs)
    char* sums
    Py_ssize_t top, bottom      # tile rows
    const Py_ssize_t* shifts
    Py_ssize_t spans, k, start  # k pixels in each span, from `start` bytes on
    bint add


cdef inline Py_ssize_t grad_column(const Grad* s, Py_ssize_t panel, Py_ssize_t lane) noexcept nogil:
    return min(s.vectors, TILE_VECTORS * panel - max(0, panel - s.wide)) * lane


cdef inline bint weight_gradient(
    real* kind, const Window* w, const Image* x, const Image* gy, char* gw
) noexcept nogil:
    """gw from x and gy. False: no memory, or the work was stopped."""
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
    numbers = <Py_ssize_t*> memory.take(times(s.count + s.spans + 1, sizeof(Py_ssize_t)))
    s.sums = <char*> memory.take(
        plus(times(times(s.slices * s.groups, s.count), s.c * s.pitch), 1))
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
    s.failed = not run_tasks(
        <pool.task_t> grad_task[real], &s, s.slices * s.groups * s.blocks,
        2.0 * s.spans * s.k * s.count * x.c * s.o <= SERIAL_FLOPS
    ) or s.failed or not run_tasks(
        <pool.task_t> turn_task[real], &s, s.groups * ceil_div(s.c, TURN_CHANNELS),
        s.slices * s.count * x.c * s.o <= SERIAL_TURN
    )
    memory.give(numbers)
    memory.give(s.sums)
    return not s.failed


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
    s.pitch = s.vectors * lane * <Py_ssize_t> sizeof(real)
    s.pack = s.panels > 1 or s.groups > 1 or s.pixel != s.pitch  # else a pixel of gy is whole vectors
    s.block = max(1, SUM_BYTES // max(1, s.pitch * TILE_ROWS)) * TILE_ROWS
    s.blocks = ceil_div(s.count * s.c, s.block)
    s.failed = False
    s.k_chunk = max(1, min(s.k, CHUNK_PIXELS))
    s.k_chunks = ceil_div(s.k, s.k_chunk)
    s.span_chunk = max(1, CHUNK_PIXELS // s.k_chunk)
    s.chunks = ceil_div(s.spans, s.span_chunk) * s.k_chunks
    tasks = max(1, s.groups * s.blocks)
    s.slices = max(1, min(min(s.chunks, MOST_SLICES), ceil_div(TASKS, tasks)))
    while s.slices > 1 and flops < s.slices * tasks * TASK_FLOPS:
        s.slices -= 1
    s.per = ceil_div(s.chunks, s.slices)


cdef inline void grad_task(real* context, Py_ssize_t index) noexcept nogil:
    """A block of rows of the sums of one slice. The context is a Grad."""
    cdef Grad* s = <Grad*> context
    cdef Py_ssize_t size = sizeof(real), group = index // s.blocks % s.groups
    cdef Py_ssize_t slice = index // s.blocks // s.groups, chunk, span, k
    cdef Py_ssize_t first = slice * s.per, end = min(first + s.per, s.chunks)
    cdef const char* gy = s.gy + group * s.o * size
    cdef Chunk c
    c.top = index % s.blocks * s.block
    c.bottom = min(c.top + s.block, s.count * s.c)
    c.x = s.x + group * s.c * size
    c.sums = s.sums + (slice * s.groups + group) * s.count * s.c * s.pitch
    c.packed = <char*> memory.take(CHUNK_PIXELS * s.pitch) if s.pack else NULL
    if s.pack and c.packed == NULL:
        s.failed = True
        return
    if s.pack:
        memset(c.packed, 0, CHUNK_PIXELS * s.pitch)  # behind the last output nothing is written
    for chunk in range(first, max(end, first + 1)):  # an empty slice is all zeros
        span, k = chunk // s.k_chunks * s.span_chunk, chunk % s.k_chunks * s.k_chunk
        c.shifts, c.k, c.start = s.shifts + span, min(s.k_chunk, s.k - k), k * s.step
        c.spans = min(s.span_chunk, s.spans - span) if chunk < end else 0
        c.gy, c.add = gy + (span * s.k + k) * s.pixel, chunk > first
        sum_chunk(context, s, &c)
        if pool.stopped():
            break
    memory.give(c.packed)


cdef inline void sum_chunk(real* kind, const Grad* s, Chunk* c) noexcept nogil:
    """All rows of the block, all panels, for one chunk of pixels."""
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), panel, left, width, row, i, at
    cdef Py_ssize_t none = 0, pixels = c.spans * c.k
    cdef char* y[TILE_ROWS]
    cdef real[TILE_ROWS * CHUNK_PIXELS] sliver
    cdef bint together
    cdef Strip strip
    strip.add, strip.bias, strip.b_skip, strip.count = c.add, NULL, 0, 1
    if s.pack:
        for panel in range(s.panels):
            left = grad_column(s, panel, lane)
            width = grad_column(s, panel + 1, lane) - left
            pack_rows(kind, c.gy + left * size, s.pixel, size,
                      c.packed + left * pixels * size, width * size, pixels, min(width, s.o - left))
    row = c.top
    while row < c.bottom:
        together = True
        for i in range(TILE_ROWS):  # beyond the last row that one again
            at = min(row + i, c.bottom - 1)
            strip.rows[i] = c.x + s.taps[at // s.c] + at % s.c * size + c.start
            y[i] = c.sums + at * s.pitch
            together = together and strip.rows[i] == strip.rows[0] + i * size
        # Channels side by side are copied: read by steps of whole pixels they would fill the cache
        # with what lies around them.
        if s.panels > 1 and together:
            copy_sliver(kind, s, c, strip.rows, sliver)
            strip.step, strip.shifts, strip.spans, strip.k = TILE_ROWS * size, &none, 1, pixels
        else:
            strip.step, strip.shifts, strip.spans, strip.k = s.step, c.shifts, c.spans, c.k
        for panel in range(s.panels):
            left = grad_column(s, panel, lane)
            width = grad_column(s, panel + 1, lane) - left
            for i in range(TILE_ROWS):
                strip.out[i] = y[i] + left * size
            strip.b, strip.b_row = c.gy + left * size, s.pixel
            if s.pack:
                strip.b, strip.b_row = c.packed + left * pixels * size, width * size
            any_tile(kind, <Whole*> NULL, width // lane, &strip)
        row += TILE_ROWS


cdef inline void copy_sliver(
    real* kind, const Grad* s, const Chunk* c, const char** rows, real* sliver
) noexcept nogil:
    """(pixel, TILE_ROWS channels), and the rows to point at it."""
    cdef Py_ssize_t span, k, i
    cdef const char* x
    cdef real* y = sliver
    for span in range(c.spans):
        x = rows[0] + c.shifts[span]
        for k in range(c.k):
            memcpy(y, x, TILE_ROWS * sizeof(real))
            x += s.step
            y += TILE_ROWS
    for i in range(TILE_ROWS):
        rows[i] = <const char*> (sliver + i)


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
                  s.count, s.o, s.count)
