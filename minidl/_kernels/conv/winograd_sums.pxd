# Convolutions and their weight gradients by Winograd's tiles (winograd.pxd): the products.
#
# A step of the sum is a channel of x in one of its phases; a part is as many steps as the cache
# holds. From the outside in, for a convolution:
#
#   for tasks: a phase of y, a group of panels of outputs, a block of tiles    over the threads
#     for parts of the sum
#       the block's pixels are transformed: (position, tile, step)
#       for positions, for panels of the group, for TILE_ROWS tiles: the register tile
#     the sums are transformed to pixels of y
#
# For a weight gradient the sum is over tiles:
#
#   for tasks: a slice of the tiles, a group of panels, a part of the steps
#     for blocks of the slice
#       pixels of x and of gy are transformed
#       for positions, for panels of the group, for TILE_ROWS steps: the register tile
#   the slices are added in order, and transformed to taps
#
# All of it is cut by the shapes alone: the same bits for any number of threads.

from libc.string cimport memcpy, memset

from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.conv.image cimport AXES, Image, pad_image
from minidl._kernels.math.elementary cimport real
from minidl._kernels.conv.phases cimport Job, Window
from minidl._kernels.product.product cimport activation_t, ceil_div, run_tasks
from minidl._kernels.product.tile cimport (
    TILE_LANES, TILE_ROWS, TILE_VECTORS, Strip, Whole, any_tile, lanes, transpose,
)
from minidl._kernels.conv.winograd cimport (
    MOST_POSITIONS, OUT, Data2, Data3, Grads3, Result2, Result3, Spot, TapGrads3, Taps2, Taps3, Tiles,
    any_gather, any_spread, lay_tiles, spot, winograd_fits, x_pixels, y_pixels,
)

cdef enum:
    BLOCK_TILES = 32        # of a task
    MOST_DEPTH = 256        # steps of a part
    GROUP_PANELS = 4        # of outputs that a task computes
    GRAD_TILES = 64         # the same for a weight gradient, whose sums stay in the cache
    GRAD_DEPTH = 64
    GRAD_PANELS = 3
    SLICED_TASKS = 8        # of which a weight gradient is made at least, if there are tiles for it
    TURN_CHANNELS = 8       # of x, in a task that packs weights or turns their gradient
    LEAST_PIXELS = 64       # of all samples
    MOST_TAPS = 16


cdef struct Plan:
    # Of both kinds of sums.
    Tiles tiles
    Py_ssize_t positions
    Py_ssize_t inputs, outputs      # channels
    Py_ssize_t taps                 # of the kernel
    Py_ssize_t phases               # of x that are summed
    Py_ssize_t depth, parts         # steps of a part, and how many
    Py_ssize_t vectors, panels, wide  # the outputs, as in blocking.pxd
    Py_ssize_t group, groups        # panels of a task
    Py_ssize_t block, blocks        # tiles of a task, or of a pass of it
    Py_ssize_t slices, per          # of the blocks, for a weight gradient
    char* numbers                   # the packed weights (phase of y, part, position, panel, step,
                                    # output), or sums (slice, part, position, step, output)
    const char* zeros               # a pixel
    const char* weight              # as in direct.pxd
    Py_ssize_t in_step, out_step
    const char* bias                # padded to whole vectors, or NULL
    activation_t activation
    double alpha, beta
    char* gw
    bint failed                     # for lack of memory


cdef inline bint winograd_pays(
    real* kind, const Window* w, const Image* x, const Image* y
) noexcept nogil:
    """Whether a convolution of x and y can be computed here, and had better be: the transforms take
    whole vectors of channels, and those of the weights are worth it for more than a few pixels."""
    cdef Py_ssize_t pixels = x.n * min(x.size[1] * x.size[2], y.size[1] * y.size[2])
    return (winograd_fits(w, x, y) and min(x.c, y.c) >= lanes(kind) and pixels >= LEAST_PIXELS)


cdef inline Py_ssize_t apart(const Plan* s, Py_ssize_t row) noexcept nogil:
    """Bytes from one position to the next, of rows for a block of tiles: not a power of two, for which
    all positions would meet in one set of the cache."""
    return s.block * row + 64


cdef inline Py_ssize_t column(const Plan* s, Py_ssize_t panel, Py_ssize_t lane) noexcept nogil:
    return min(s.vectors, TILE_VECTORS * panel - max(0, panel - s.wide)) * lane


cdef inline void plan_sums(
    real* kind, const Window* w, bint transposed, const Image* x, const Image* y, Py_ssize_t depth,
    Py_ssize_t group, Py_ssize_t block, Plan* s
) noexcept nogil:
    """depth, group, block: at most so many, or about so many."""
    lay_tiles(w, transposed, x, y, &s.tiles)
    s.positions, s.taps = s.tiles.lines * s.tiles.lines, w.taps
    s.inputs, s.outputs = x.c, y.c
    s.phases = 1 if transposed else s.tiles.stride * s.tiles.stride
    # A part is all channels of as many phases as fit, or an equal share of those of one.
    s.depth, s.parts = s.phases * x.c, 1
    while s.depth > depth and s.depth % 2 == 0:
        s.depth, s.parts = s.depth // 2, s.parts * 2
    s.vectors = ceil_div(y.c, lanes(kind))
    s.panels = ceil_div(s.vectors, TILE_VECTORS)
    s.wide = max(0, s.vectors - s.panels * (TILE_VECTORS - 1))
    s.groups = ceil_div(s.panels, group)
    s.group = ceil_div(s.panels, s.groups)
    s.block = block
    s.blocks = ceil_div(s.tiles.count, block)
    s.failed = False


cdef inline void spread_block(
    real* kind, const Plan* s, Py_ssize_t part, Py_ssize_t phase, Py_ssize_t first, Py_ssize_t count,
    char* v, Py_ssize_t pitch
) noexcept nogil:
    """v (position, tile, step) for `count` tiles of x; a row of steps has `pitch` bytes. `phase`: of y,
    if that is what has phases."""
    cdef Spot place
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), step, n, c, tile, i
    cdef const char* d[MOST_POSITIONS]
    for tile in range(count):
        place = spot(&s.tiles, first + tile)
        step = 0
        while step < s.depth:
            n = part * s.depth + step
            c, n = n % s.inputs, n // s.inputs
            x_pixels(&s.tiles, &place, n + phase, s.zeros, d)
            n = min(s.depth, s.inputs)
            for i in range(ceil_div(n, lane)):  # the last vectors may overlap
                any_spread(<Data2*> NULL, <Data3*> NULL, kind, s.tiles.taps, d,
                           (c + min(i * lane, n - lane)) * size,
                           v + tile * pitch + (step + min(i * lane, n - lane)) * size,
                           apart(s, pitch))
            step += n


# ── A convolution ─────────────────────────────────────────────────────────────────────────────────

cdef inline bint winograd_convolve(real* kind, const Window* w, Job* job) noexcept nogil:
    """Computes the job. False: no memory, or the work was stopped."""
    cdef Py_ssize_t[AXES] none
    cdef Py_ssize_t size = sizeof(real), width, weights
    cdef Image x
    cdef Plan s
    cdef bint done = False
    cdef int axis
    for axis in range(AXES):
        none[axis] = 0
    if not pad_image(kind, &job.x, none, none, False, &x):
        return False
    plan_sums(kind, w, job.transposed, &x, &job.y, MOST_DEPTH, GROUP_PANELS, BLOCK_TILES, &s)
    s.weight, s.activation, s.alpha, s.beta = job.weight, job.activation, job.alpha, job.beta
    s.in_step = s.out_step = w.taps * size
    if job.transposed:
        s.in_step *= s.outputs
    else:
        s.out_step *= s.inputs
    width = s.vectors * lanes(kind)
    # All phases of x and y together are those of the kernel.
    weights = s.tiles.stride * s.tiles.stride * s.positions * s.inputs * width
    s.numbers = <char*> memory.take((weights + width + s.inputs) * size)
    if s.numbers != NULL:
        s.zeros = s.numbers + (weights + width) * size
        memset(s.numbers + weights * size, 0, (width + s.inputs) * size)
        s.bias = NULL
        if job.bias != NULL:
            s.bias = s.numbers + weights * size
            memcpy(<char*> s.bias, job.bias, s.outputs * size)
        done = run_tasks(
            <pool.task_t> pack_task[real], &s, s.panels * ceil_div(s.inputs, TURN_CHANNELS), False
        ) and run_tasks(
            <pool.task_t> convolve_task[real], &s,
            s.tiles.stride * s.tiles.stride // s.phases * s.groups * s.blocks, False
        ) and not s.failed
        memory.give(s.numbers)
    memory.give(x.scratch)
    return done


cdef inline void pack_task(real* context, Py_ssize_t index) noexcept nogil:
    """The weights of TURN_CHANNELS inputs of one panel, transformed. The context is a Plan."""
    cdef const Plan* s = <const Plan*> context
    cdef Py_ssize_t lane = lanes(context), size = sizeof(real), all = s.vectors * lane
    cdef Py_ssize_t panel = index % s.panels, first = index // s.panels * TURN_CHANNELS
    cdef Py_ssize_t left = column(s, panel, lane), width = column(s, panel + 1, lane) - left
    cdef Py_ssize_t stride = s.tiles.stride, phase, c, i, j, step, at
    cdef real[MOST_TAPS * TILE_VECTORS * TILE_LANES] turned  # (tap, output)
    cdef const char* taps[MOST_POSITIONS]
    memset(turned, 0, sizeof(turned))
    for c in range(first, min(first + TURN_CHANNELS, s.inputs)):
        transpose(context, s.weight + left * s.out_step + c * s.in_step, s.out_step,
                  <char*> turned, width * size, min(width, s.outputs - left), s.taps,
                  min(width, s.outputs - left))
        for phase in range(stride * stride):
            for i in range(s.tiles.taps):
                for j in range(s.tiles.taps):
                    at = s.tiles.tap[0][phase // stride][i] * s.tiles.taps * stride
                    at += s.tiles.tap[1][phase % stride][j]
                    taps[i * s.tiles.taps + j] = <const char*> (turned + at * width)
            step = phase * s.inputs + c
            at = step // s.depth * s.positions * s.depth * all + left * s.depth + step % s.depth * width
            for i in range(width // lane):
                any_spread(<Taps2*> NULL, <Taps3*> NULL, context, s.tiles.taps, taps, i * lane * size,
                           s.numbers + (at + i * lane) * size, s.depth * all * size)


cdef inline void convolve_task(real* context, Py_ssize_t index) noexcept nogil:
    """A block of tiles, a group of panels, a phase of y. The context is a Plan."""
    cdef Plan* s = <Plan*> context
    cdef Py_ssize_t lane = lanes(context), size = sizeof(real), part, position, panel, left, i
    cdef Py_ssize_t first = index % s.blocks * s.block, tiles = min(s.block, s.tiles.count - first)
    cdef Py_ssize_t phases = s.tiles.stride * s.tiles.stride // s.phases
    cdef Py_ssize_t phase = index // s.blocks % phases, from_ = index // s.blocks // phases * s.group
    cdef Py_ssize_t end = min(from_ + s.group, s.panels), start = column(s, from_, lane)
    cdef Py_ssize_t width = column(s, end, lane) - start, pitch = s.depth * size
    cdef Py_ssize_t total = s.depth * s.vectors * lane * size  # bytes of weights at a position
    cdef char* v = <char*> memory.take(
        s.positions * (apart(s, pitch) + apart(s, width * size)) + width * size)
    cdef char* m = v + s.positions * apart(s, pitch)
    cdef const char* w
    if v == NULL:
        s.failed = True
        return
    for part in range(s.parts):
        spread_block(context, s, part, phase, first, tiles, v, pitch)
        for position in range(s.positions):
            w = s.numbers + ((phase * s.parts + part) * s.positions + position) * total
            for panel in range(from_, end):
                left = column(s, panel, lane)
                multiply_tiles(context, s, tiles, v + position * apart(s, pitch),
                               w + left * pitch, column(s, panel + 1, lane) - left,
                               m + position * apart(s, width * size) + (left - start) * size,
                               width * size, part > 0)
    for i in range(tiles):
        write_tile(context, s, phase, first + i, m + i * width * size, width, start,
                   min(width, s.outputs - start), m + s.positions * apart(s, width * size))
    memory.give(v)


cdef inline void multiply_tiles(
    real* kind, const Plan* s, Py_ssize_t tiles, const char* v, const char* w, Py_ssize_t width,
    char* m, Py_ssize_t m_row, bint add
) noexcept nogil:
    """m (tile, output) from v (tile, step) and a panel of weights."""
    cdef Py_ssize_t size = sizeof(real), tile = 0, none = 0, i
    cdef Strip strip
    strip.step, strip.shifts, strip.spans, strip.k = size, &none, 1, s.depth
    strip.b_row, strip.b_skip, strip.add, strip.bias, strip.count = width * size, 0, add, NULL, 1
    while tile < tiles:
        for i in range(TILE_ROWS):  # behind the last tile m has room
            strip.rows[i] = v + min(tile + i, tiles - 1) * s.depth * size
            strip.out[i] = m + (tile + i) * m_row
        strip.b = w
        any_tile(kind, <Whole*> NULL, width // lanes(kind), &strip)
        tile += TILE_ROWS


cdef inline void write_tile(
    real* kind, const Plan* s, Py_ssize_t phase, Py_ssize_t tile, const char* m, Py_ssize_t width,
    Py_ssize_t start, Py_ssize_t outputs, char* spare
) noexcept nogil:
    """The pixels of y of a tile, and of these some outputs from `start` on."""
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), i, at
    cdef char* y[OUT * OUT]
    cdef Spot place = spot(&s.tiles, tile)
    y_pixels(&s.tiles, &place, phase, spare - start * size, y)
    for i in range(OUT * OUT):
        y[i] += start * size
    for i in range(ceil_div(outputs, lane)):
        at = min(i * lane, outputs - lane) * size
        any_gather(<Result2*> NULL, <Result3*> NULL, kind, s.tiles.taps, m + at,
                   apart(s, width * size), s.bias + start * size if s.bias != NULL else NULL, y, at)
    if s.activation != NULL:
        for i in range(OUT * OUT):
            if y[i] != spare:
                s.activation(NULL, y[i], y[i], outputs, s.alpha, s.beta)


# ── A weight gradient ─────────────────────────────────────────────────────────────────────────────

cdef inline bint winograd_weight_gradient(
    real* kind, const Window* w, const Image* x, const Image* gy, char* gw
) noexcept nogil:
    """gw from x and gy. False: no memory, or the work was stopped."""
    cdef Py_ssize_t[AXES] none
    cdef Py_ssize_t size = sizeof(real), tasks, sums
    cdef Image xs, gys
    cdef Plan s
    cdef bint done = False
    cdef int axis
    for axis in range(AXES):
        none[axis] = 0
    if not pad_image(kind, x, none, none, False, &xs):
        return False
    if pad_image(kind, gy, none, none, False, &gys):
        plan_sums(kind, w, False, &xs, &gys, GRAD_DEPTH, GRAD_PANELS, GRAD_TILES, &s)
        tasks = s.parts * s.groups
        s.per = ceil_div(s.blocks, min(s.blocks, ceil_div(SLICED_TASKS, tasks)))
        s.slices = ceil_div(s.blocks, s.per)
        s.gw = gw
        sums = s.slices * s.parts * s.positions * s.depth * s.vectors * lanes(kind)
        s.numbers = <char*> memory.take((sums + max(xs.c, gys.c)) * size)
        if s.numbers != NULL:
            s.zeros = s.numbers + sums * size
            memset(s.numbers + sums * size, 0, max(xs.c, gys.c) * size)
            done = run_tasks(
                <pool.task_t> grad_task[real], &s, s.slices * tasks, False
            ) and run_tasks(
                <pool.task_t> turn_task[real], &s, ceil_div(s.inputs, TURN_CHANNELS), False
            ) and not s.failed
            memory.give(s.numbers)
        memory.give(gys.scratch)
    memory.give(xs.scratch)
    return done


cdef inline void grad_task(real* context, Py_ssize_t index) noexcept nogil:
    """A slice of the tiles, a group of panels, a part of the steps. The context is a Plan."""
    cdef Plan* s = <Plan*> context
    cdef Py_ssize_t lane = lanes(context), size = sizeof(real), block, first, position, panel, left
    cdef Py_ssize_t part = index % s.parts, from_ = index // s.parts % s.groups * s.group, tiles
    cdef Py_ssize_t slice = index // s.parts // s.groups
    cdef Py_ssize_t end = min(from_ + s.group, s.panels), start = column(s, from_, lane)
    cdef Py_ssize_t width = column(s, end, lane) - start, all = s.vectors * lane
    # Rows of v are an odd number of cache lines apart: a column of them fills all of the cache's sets.
    cdef Py_ssize_t pitch = (s.depth * size + 127) // 128 * 128 + 64
    cdef char* v = <char*> memory.take(
        s.positions * (apart(s, pitch) + apart(s, width * size)))
    cdef char* w = v + s.positions * apart(s, pitch)
    cdef char* sums = s.numbers + (slice * s.parts + part) * s.positions * s.depth * all * size
    if v == NULL:
        s.failed = True
        return
    if start + width > s.outputs:  # behind the last output nothing is written
        memset(w, 0, s.positions * apart(s, width * size))
    for block in range(slice * s.per, min((slice + 1) * s.per, s.blocks)):
        first = block * s.block
        tiles = min(s.block, s.tiles.count - first)
        spread_block(context, s, part, 0, first, tiles, v, pitch)
        spread_gy(context, s, first, tiles, start, min(width, s.outputs - start), w, width)
        for position in range(s.positions):
            for panel in range(from_, end):
                left = column(s, panel, lane)
                multiply_steps(context, s, tiles, v + position * apart(s, pitch), pitch,
                               w + position * apart(s, width * size) + (left - start) * size, width * size,
                               column(s, panel + 1, lane) - left,
                               sums + (position * s.depth * all + left) * size, all * size,
                               block > slice * s.per)
        if pool.stopped():
            break
    memory.give(v)


cdef inline void spread_gy(
    real* kind, const Plan* s, Py_ssize_t first, Py_ssize_t count, Py_ssize_t start,
    Py_ssize_t outputs, char* w, Py_ssize_t width
) noexcept nogil:
    """w (position, tile, output) for `count` tiles, and of these some outputs from `start` on."""
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), tile, i, at
    cdef char* gy[OUT * OUT]
    cdef Spot place
    for tile in range(count):
        place = spot(&s.tiles, first + tile)
        y_pixels(&s.tiles, &place, 0, <char*> s.zeros, gy)
        for i in range(ceil_div(outputs, lane)):
            at = min(i * lane, outputs - lane)
            any_spread(<Taps2*> NULL, <Grads3*> NULL, kind, s.tiles.taps, <const char**> gy,
                       (start + at) * size, w + (tile * width + at) * size, apart(s, width * size))


cdef inline void multiply_steps(
    real* kind, const Plan* s, Py_ssize_t tiles, const char* v, Py_ssize_t pitch, const char* w,
    Py_ssize_t w_row, Py_ssize_t width, char* sums, Py_ssize_t row, bint add
) noexcept nogil:
    """sums (step, output) from v (tile, step) and w (tile, output)."""
    cdef Py_ssize_t size = sizeof(real), step = 0, none = 0, i, at
    cdef Strip strip
    strip.step, strip.shifts, strip.spans, strip.k = pitch, &none, 1, tiles
    strip.b_row, strip.b_skip, strip.add, strip.bias, strip.count = w_row, 0, add, NULL, 1
    while step < s.depth:
        for i in range(TILE_ROWS):
            at = min(step + i, s.depth - 1)
            strip.rows[i], strip.out[i] = v + at * size, sums + at * row
        strip.b = w
        any_tile(kind, <Whole*> NULL, width // lanes(kind), &strip)
        step += TILE_ROWS


cdef inline void turn_task(real* context, Py_ssize_t index) noexcept nogil:
    """Adds the slices of some channels of x, transforms them to taps, and turns (tap, output) to
    (output, tap). The context is a Plan."""
    cdef Plan* s = <Plan*> context
    cdef Py_ssize_t lane = lanes(context), size = sizeof(real), all = s.vectors * lane
    cdef Py_ssize_t stride = s.tiles.stride, first = index * TURN_CHANNELS, c, phase, i, j, step, at
    cdef Py_ssize_t whole = s.parts * s.positions * s.depth * all, slice, position
    cdef char* turned = <char*> memory.take(s.taps * all * size)  # (tap, output)
    cdef char* taps[MOST_POSITIONS]
    cdef real* sums
    cdef const real* part
    if turned == NULL:
        s.failed = True
        return
    for c in range(first, min(first + TURN_CHANNELS, s.inputs)):
        for phase in range(stride * stride):
            for i in range(s.tiles.taps):
                for j in range(s.tiles.taps):
                    at = s.tiles.tap[0][phase // stride][i] * s.tiles.taps * stride
                    at += s.tiles.tap[1][phase % stride][j]
                    taps[i * s.tiles.taps + j] = turned + at * all * size
            step = phase * s.inputs + c
            sums = <real*> s.numbers + (step // s.depth * s.positions * s.depth + step % s.depth) * all
            for slice in range(1, s.slices):
                for position in range(s.positions):
                    at = position * s.depth * all
                    part = sums + slice * whole + at
                    for i in range(all):
                        sums[at + i] += part[i]
            for i in range(s.vectors):
                any_gather(<Result2*> NULL, <TapGrads3*> NULL, context, s.tiles.taps,
                           <const char*> (sums + i * lane), s.depth * all * size, NULL, taps,
                           i * lane * size)
        transpose(context, turned, all * size, s.gw + c * s.taps * size, s.inputs * s.taps * size,
                  s.taps, s.outputs, s.taps)
    memory.give(turned)
