# The weight gradient of a convolution,
#
#     gw[t, c, o] = sum over output pixels j of  x[n, c, j * stride + t * dilation - padding] gy[n, o, j]
#
# and of its bias, the same with a one in place of x, on the register tile (tile.pxd). A row of the tile is a tap and a
# channel of x; it steps from pixel to pixel, and a span is a row of pixels of gy. The right operand is gy, packed unless
# its channels are a panel already. From the outside in:
#
#   for tasks: a share of the pixels, a block of tile rows   over the threads
#     for parts of the share                  what the taps see of a part, and gy's, fit a cache
#       for TILE_ROWS rows of the block
#         for panels of outputs: the tile, added to the share's own gw
#
# The number of shares depends on the shape alone, and they are added in order: the same bits for any
# number of threads. Then (tap, c, o) is transposed to the weights' (o, c, tap).

from libc.string cimport memcpy

from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.conv.direct cimport SERIAL_FLOPS
from minidl._kernels.conv.image cimport AXES, Image, pad_image
from minidl._kernels.math.elementary cimport real
from minidl._kernels.conv.phases cimport Window
from minidl._kernels.conv.pointwise cimport in_planes
from minidl._kernels.product.panels cimport Panels, column, cut_columns, pack, width
from minidl._kernels.product.product cimport TASK_FLOPS, TASKS, ceil_div, run_tasks, task_t
from minidl._kernels.runtime.sizes cimport plus, times
from minidl._kernels.product.tile cimport TALL_ROWS, TILE_ROWS, Strip, lanes, tile_of, transpose

cdef enum:
    PART_PIXELS = 256       # of gy, and what the taps see of x: some 300 KB for 64 channels
    SUM_BYTES = 256 << 10   # of a task's rows of sums
    MOST_SHARES = 16
    TURN_CHANNELS = 8       # of a task that transposes gw
    SERIAL_TURN = 16_000    # elements that one thread transposes faster than it calls for help


cdef struct Plan:
    const char* x
    const char* gy
    char* gw                    # the results (groups, o, c, taps)
    char* gb                    # and (groups, o)
    char* sums                  # of each share: (groups, tap, c, o), o padded to whole vectors, and a row for the bias
    Py_ssize_t rows             # of sums, of a group
    const Py_ssize_t* taps      # where x begins for each tap, in bytes
    const Py_ssize_t* shifts    # of the spans
    Py_ssize_t count, groups    # of taps; of groups
    Py_ssize_t c, o             # channels of a group,
    Py_ssize_t c_step, o_step   # and the bytes from one to the next, of x and of gy
    Py_ssize_t group_step       # bytes of x from one group to the next
    Py_ssize_t spans, k         # k pixels in each
    Py_ssize_t step, pixel      # bytes from one of them to the next, of x and of gy
    Py_ssize_t run, n_step      # pixels of gy that follow on so, and the bytes from one such run to the next
    Py_ssize_t part_spans       # spans in a part,
    Py_ssize_t part_k           # pixels of each of them,
    Py_ssize_t k_parts, parts   # parts of a span, and of all
    Py_ssize_t shares, per      # and so many parts in each
    Panels panels               # of a group's outputs
    Py_ssize_t pitch            # bytes of a row of sums
    Py_ssize_t block, blocks    # tile rows of a task
    bint pack                   # gy is packed, part by part
    bint failed                 # for lack of memory


cdef struct Part:
    # Some pixels, and those of the sums that a task adds to.
    const char* x
    const char* gy              # its first pixel, if it is not packed
    char* packed                # gy's panels
    char* sums
    Py_ssize_t top, bottom      # tile rows
    const Py_ssize_t* shifts
    Py_ssize_t spans, k, start  # k pixels in each span, from `start` bytes on
    bint add


cdef inline bint weight_gradient(
    real* kind, const Window* w, const Image* x, const Image* gy, char* gw, char* gb
) noexcept nogil:
    """gw and gb from x and gy. False: no memory, or the work was stopped. Of images in planes the tile can read x, where it
    needs no zeros around it; and gy, which is transposed by all who pack it: so not if these are many."""
    cdef Py_ssize_t[AXES] low, high
    cdef Image xs, gys
    cdef bint done = False, padded = False
    cdef Py_ssize_t size = sizeof(real), reach, group_step
    cdef int axis
    cdef bint dense = gy.c_step == size or gy.c == 1
    cdef Py_ssize_t expected = gy.c * size
    for axis in range(AXES - 1, -1, -1):
        dense = dense and (gy.steps[axis] == expected or gy.size[axis] == 1)
        expected *= gy.size[axis]
        low[axis] = w.padding[axis]
        reach = (gy.size[axis] - 1) * w.stride[axis] + (w.kernel[axis] - 1) * w.dilation[axis]
        high[axis] = max(0, reach - w.padding[axis] - (x.size[axis] - 1))
        padded = padded or low[axis] + high[axis] > 0
    dense = dense and (gy.n_step == expected or gy.n == 1)
    if in_planes(sizeof(real), gy) and times(times(w.taps * x.c // w.groups, gy.c), size) <= 2 * SUM_BYTES:
        dense = True
    xs = x[0]
    xs.scratch = NULL
    if (padded or not in_planes(sizeof(real), x)) and not pad_image(kind, x, low, high, False, &xs, w.groups):
        return False
    group_step = x.c // w.groups * xs.c_step
    if xs.scratch != NULL:  # a copy, in which each group is an image of its own
        group_step, xs.c = xs.n_step, x.c
        xs.n_step *= w.groups
    gys = gy[0]
    gys.scratch = NULL
    if dense or pad_image(kind, gy, NULL, NULL, True, &gys):
        done = sum_gradient(kind, w, &xs, group_step, &gys, gw, gb)
        memory.give(gys.scratch)
    memory.give(xs.scratch)
    return done


cdef inline bint sum_gradient(
    real* kind, const Window* w, const Image* x, Py_ssize_t group_step, const Image* gy, char* gw, char* gb
) noexcept nogil:
    cdef Plan s
    cdef Py_ssize_t[AXES + 1] lengths, steps
    cdef Py_ssize_t size = sizeof(real), i, d, h, v, at
    cdef Py_ssize_t* numbers
    cdef int axes, axis
    cdef double flops
    s.x, s.group_step, s.gy, s.gw, s.gb = x.data, group_step, gy.data, gw, gb
    s.groups, s.c, s.o, s.count = w.groups, x.c // w.groups, gy.c // w.groups, w.taps
    s.rows = s.count * s.c + 1
    s.c_step, s.o_step, s.pixel, s.n_step = x.c_step, gy.c_step, gy.c * size, gy.n_step
    s.run = gy.n * gy.size[0] * gy.size[1] * gy.size[2]
    if in_planes(sizeof(real), gy):
        s.pixel, s.run = size, s.run // gy.n
    axes = join_axes(w, x, gy, lengths, steps)
    s.k, s.step, s.spans = lengths[axes - 1], steps[axes - 1], 1
    for axis in range(axes - 1):
        s.spans *= lengths[axis]
    plan(kind, &s)
    numbers = <Py_ssize_t*> memory.take(times(s.count + s.spans + 1, sizeof(Py_ssize_t)))
    s.sums = <char*> memory.take(
        times(times(s.shares * s.groups, s.rows), s.pitch))
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
    flops = 2.0 * s.spans * s.k * s.count * x.c * s.o
    s.failed = not run_tasks(
        <task_t> sum_task[real], &s, s.shares * s.groups * s.blocks,
        flops <= SERIAL_FLOPS, False, flops
    ) or s.failed or not run_tasks(
        <task_t> turn_task[real], &s, s.groups * max(1, ceil_div(s.c, TURN_CHANNELS)),
        s.shares * s.count * x.c * s.o <= SERIAL_TURN, False, flops
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


cdef inline void plan(real* kind, Plan* s) noexcept nogil:
    """Parts, shares and tasks, by the shape alone."""
    cdef Py_ssize_t tasks
    cdef double flops = 2.0 * s.spans * s.k * s.count * s.c * s.o
    s.panels = cut_columns(kind, s.o)
    s.pitch = column(&s.panels, s.panels.count) * <Py_ssize_t> sizeof(real)
    # Else gy is a panel already.
    s.pack = s.panels.count > 1 or s.groups > 1 or s.pixel != s.pitch or s.run < s.spans * s.k
    s.block = max(1, SUM_BYTES // max(1, s.pitch * TILE_ROWS)) * TILE_ROWS
    s.blocks = max(1, ceil_div(s.rows - 1, s.block))
    s.failed = False
    s.part_k = max(1, min(s.k, PART_PIXELS))
    s.k_parts = ceil_div(s.k, s.part_k)
    s.part_spans = max(1, PART_PIXELS // s.part_k)
    s.parts = ceil_div(s.spans, s.part_spans) * s.k_parts
    tasks = max(1, s.groups * s.blocks)
    s.shares = max(1, min(min(s.parts, MOST_SHARES), ceil_div(TASKS, tasks)))
    while s.shares > 1 and flops < s.shares * tasks * TASK_FLOPS:
        s.shares -= 1
    s.per = ceil_div(s.parts, s.shares)


cdef inline void sum_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """A block of rows of the sums of one share."""
    cdef Py_ssize_t size = sizeof(real), group = index // s.blocks % s.groups
    cdef Py_ssize_t share = index // s.blocks // s.groups, part, span, k
    cdef Py_ssize_t first = share * s.per, end = min(first + s.per, s.parts)
    cdef const char* gy = s.gy + group * s.o * s.o_step
    cdef Part p
    p.top = index % s.blocks * s.block
    p.bottom = min(p.top + s.block, s.rows - 1)
    p.x = s.x + group * s.group_step
    p.sums = s.sums + (share * s.groups + group) * s.rows * s.pitch
    p.packed = <char*> memory.take(PART_PIXELS * s.pitch) if s.pack else NULL
    if s.pack and p.packed == NULL:
        s.failed = True
        return
    for part in range(first, max(end, first + 1)):  # an empty share is all zeros
        span, k = part // s.k_parts * s.part_spans, part % s.k_parts * s.part_k
        p.shifts, p.k, p.start = s.shifts + span, min(s.part_k, s.k - k), k * s.step
        p.spans = min(s.part_spans, s.spans - span) if part < end else 0
        p.gy, p.add = gy + (span * s.k + k) * s.pixel, part > first
        if s.pack:
            pack_part(kind, s, gy, span * s.k + k, &p)
        sum_part(kind, s, &p)
        if p.top == 0:
            sum_pixels(kind, s, &p)
        if pool.stopped():
            break
    memory.give(p.packed)


cdef inline void pack_part(real* kind, const Plan* s, const char* gy, Py_ssize_t first, const Part* p) noexcept nogil:
    """The part's pixels of gy, as panels."""
    cdef Py_ssize_t size = sizeof(real), pixels = p.spans * p.k, panel, at, count
    for panel in range(s.panels.count):
        at = first
        while at < first + pixels:
            count = min(first + pixels - at, s.run - at % s.run)
            pack(kind, &s.panels, panel, gy + at // s.run * s.n_step + at % s.run * s.pixel, s.pixel, s.o_step, count,
                 p.packed + (column(&s.panels, panel) * pixels + (at - first) * width(&s.panels, panel)) * size)
            at += count


cdef inline void sum_part(real* kind, const Plan* s, const Part* p) noexcept nogil:
    """All rows of the block, all panels, for one part of the pixels."""
    cdef Py_ssize_t size = sizeof(real), panel, left, row, i, at, none = 0, pixels = p.spans * p.k
    cdef Py_ssize_t high = TALL_ROWS if s.panels.vectors == 1 else TILE_ROWS
    cdef char* y[TALL_ROWS]
    cdef real[TILE_ROWS * PART_PIXELS] copy
    cdef bint together
    cdef Strip strip
    strip.add, strip.bias, strip.count = p.add, NULL, 1
    row = p.top
    while row < p.bottom:
        together = True
        for i in range(high):  # beyond the last row that one again
            at = min(row + i, p.bottom - 1)
            strip.rows[i] = p.x + s.taps[at // s.c] + at % s.c * s.c_step + p.start
            y[i] = p.sums + at * s.pitch
            together = together and strip.rows[i] == strip.rows[0] + i * size
        # Channels side by side are copied: read by steps of whole pixels they would fill the cache
        # with what lies around them.
        if s.panels.count > 1 and together:
            copy_strip(kind, s, p, strip.rows, copy)
            strip.step, strip.shifts, strip.spans, strip.k = TILE_ROWS * size, &none, 1, pixels
        else:
            strip.step, strip.shifts, strip.spans, strip.k = s.step, p.shifts, p.spans, p.k
        for panel in range(s.panels.count):
            left = column(&s.panels, panel)
            for i in range(high):
                strip.out[i] = y[i] + left * size
            point_at_gy(kind, s, p, panel, &strip)
            tile_of(kind, high, width(&s.panels, panel) // lanes(kind))(NULL, NULL, NULL, &strip)
        row += high


cdef inline void point_at_gy(
    real* kind, const Plan* s, const Part* p, Py_ssize_t panel, Strip* strip
) noexcept nogil:
    """The right operand."""
    cdef Py_ssize_t size = sizeof(real)
    strip.b, strip.b_row = p.gy, s.pixel
    if s.pack:
        strip.b = p.packed + column(&s.panels, panel) * p.spans * p.k * size
        strip.b_row = width(&s.panels, panel) * size


cdef inline void sum_pixels(real* kind, const Plan* s, const Part* p) noexcept nogil:
    """The row of the bias: a strip of ones."""
    cdef Py_ssize_t size = sizeof(real), panel, left, i, none = 0
    cdef real one = 1
    cdef Strip strip
    strip.step, strip.shifts, strip.spans, strip.k, strip.count = 0, &none, 1, p.spans * p.k, 1
    strip.add, strip.bias = p.add, NULL
    for panel in range(s.panels.count):
        left = column(&s.panels, panel)
        for i in range(TILE_ROWS):
            strip.rows[i], strip.out[i] = <char*> &one, p.sums + (s.rows - 1) * s.pitch + left * size
        point_at_gy(kind, s, p, panel, &strip)
        tile_of(kind, 2, width(&s.panels, panel) // lanes(kind))(NULL, NULL, NULL, &strip)


cdef inline void copy_strip(
    real* kind, const Plan* s, const Part* p, const char** rows, real* copy
) noexcept nogil:
    """(pixel, TILE_ROWS channels), and the rows to point at it."""
    cdef Py_ssize_t span, k, i
    cdef const char* x
    cdef real* y = copy
    for span in range(p.spans):
        x = rows[0] + p.shifts[span]
        for k in range(p.k):
            memcpy(y, x, TILE_ROWS * sizeof(real))
            x += s.step
            y += TILE_ROWS
    for i in range(TILE_ROWS):
        rows[i] = <const char*> (copy + i)


cdef inline void turn_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """Adds the shares of some channels and transposes (tap, c, o) to (o, c, tap). The first ones bring the bias."""
    cdef Py_ssize_t size = sizeof(real), tasks = max(1, ceil_div(s.c, TURN_CHANNELS)), c, t
    cdef Py_ssize_t group = index // tasks, first = index % tasks * TURN_CHANNELS
    cdef Py_ssize_t pitch = s.pitch // size
    cdef real* sums = <real*> s.sums + group * s.rows * pitch
    for c in range(first, min(first + TURN_CHANNELS, s.c)):
        for t in range(s.count):
            add_shares(kind, s, sums + (t * s.c + c) * pitch)
        transpose(kind, <char*> (sums + c * pitch), s.c * pitch * size,
                  s.gw + (group * s.o * s.c + c) * s.count * size, s.c * s.count * size,
                  s.count, s.o, s.count)
    if first == 0:
        add_shares(kind, s, sums + (s.rows - 1) * pitch)
        memcpy(s.gb + group * s.o * size, sums + (s.rows - 1) * pitch, s.o * size)


cdef inline void add_shares(real* kind, const Plan* s, real* total) noexcept nogil:
    """To a row of the first share's sums those of the others, in order."""
    cdef Py_ssize_t share, i
    cdef const real* part
    for share in range(1, s.shares):
        part = total + share * s.groups * s.rows * (s.pitch // <Py_ssize_t> sizeof(real))
        for i in range(s.o):
            total[i] += part[i]
