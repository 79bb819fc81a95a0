# Convolutions and their weight gradients by Winograd's patches (winograd.pxd): the products.
#
# A step of the sum is a channel of x in one of its phases; a part is as many steps as the cache
# holds. From the outside in, for a convolution:
#
#   for tasks: a phase of y, a group of panels of outputs, a block of patches    over the threads
#     for parts of the sum
#       the block's pixels are transformed: (position, patch, step)
#       for positions, for panels of the group, for TILE_ROWS patches: the register tile
#     the sums are transformed to pixels of y
#
# For a weight gradient the sum is over patches:
#
#   for tasks: a share of the patches, a group of panels, a part of the steps
#     for blocks of the share
#       pixels of x and of gy are transformed
#       for positions, for panels of the group, for TILE_ROWS steps: the register tile
#   the shares are added in order, and transformed to taps
#
# All of it is cut by the shapes alone: the same bits for any number of threads.

from libc.string cimport memcpy, memset

from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.conv.direct cimport Weights
from minidl._kernels.conv.image cimport Image, pad_image
from minidl._kernels.math.elementary cimport real
from minidl._kernels.conv.phases cimport Job, Window, weights_of
from minidl._kernels.product.panels cimport (
    Cut, Panels, column, cut, cut_columns, multiply_panel, pack, width,
)
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.product.product cimport activation_t, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport TILE_LANES, TILE_VECTORS, lanes, transpose
from minidl._kernels.conv.winograd cimport (
    MOST_POSITIONS, OUT, Data, Grads, Patches, Result, Spot, TapGrads, Taps, any_gather, any_spread,
    lay_patches, pixels, spot, winograd_fits,
)

cdef enum:
    BLOCK_PATCHES = 32      # of a task
    MOST_DEPTH = 256        # steps of a part
    GROUP_PANELS = 4        # of outputs that a task computes
    GRAD_PATCHES = 64       # the same for a weight gradient, whose sums stay in the cache
    GRAD_DEPTH = 64
    GRAD_PANELS = 3
    SHARED_TASKS = 8        # of which a weight gradient is made at least, if there are patches for it
    TURN_CHANNELS = 8       # of x, in a task that packs weights or transposes their gradient
    LEAST_PIXELS = 64       # of all samples, and
    LEAST_CHANNELS = 16     # to sum over, per phase of y along an axis (benchmarks/winograd.py)
    LEAST_PAIRS = 256       # of channels in and out, for a weight gradient
    MOST_TAPS = 16


cdef struct Plan:
    # Of both kinds of sums.
    Patches patches
    Py_ssize_t positions
    Py_ssize_t inputs, outputs      # channels
    Py_ssize_t taps                 # of the kernel
    Py_ssize_t phases               # of x that are summed
    Py_ssize_t depth, parts         # steps of a part, and how many
    Panels panels                   # of the outputs
    Cut cut                         # panels of a task by patches of a task, or of a pass of it
    Py_ssize_t shares, per          # of the blocks, for a weight gradient
    double flops                    # that take as long as all of it, about
    char* numbers                   # the packed weights (phase of y, part, position, panel, step,
                                    # output), or sums (share, part, position, step, output)
    const char* zeros               # a pixel
    Weights weights
    const char* bias                # padded to whole vectors, or NULL
    activation_t activation
    double alpha, beta
    char* gw
    char* gb
    char* pixel_sums                # (share, output)
    bint failed                     # for lack of memory


cdef inline bint winograd_pays(
    real* kind, const Window* w, const Image* x, const Image* y, Py_ssize_t least
) noexcept nogil:
    """Whether a convolution of x and y can be computed here and is faster: the transforms take whole
    vectors of channels, and need enough pixels, and at least so many channels of x, to be worth it (more
    than that if y has no more than a vector of them)."""
    cdef Py_ssize_t pixels = x.n * min(x.size[1] * x.size[2], y.size[1] * y.size[2])
    return (
        winograd_fits(w, x, y) and min(x.c, y.c) >= lanes(kind) and x.c >= least
        and x.c * y.c > least * lanes(kind) and pixels >= LEAST_PIXELS
    )


cdef inline Py_ssize_t apart(const Plan* s, Py_ssize_t row) noexcept nogil:
    """Bytes from one position to the next, of rows for a block of patches: not a power of two, for
    which all positions would meet in one set of the cache."""
    return s.cut.block * row + 64


cdef inline void plan(
    real* kind, const Window* w, bint transposed, const Image* x, const Image* y, Py_ssize_t depth,
    Py_ssize_t group, Py_ssize_t block, Plan* s
) noexcept nogil:
    """depth, group, block: at most so many."""
    lay_patches(w, transposed, x, y, &s.patches)
    s.positions, s.taps = s.patches.x.lines * s.patches.x.lines, w.taps
    s.inputs, s.outputs = x.c, y.c
    s.phases = 1 if transposed else s.patches.stride * s.patches.stride
    # A part is all channels of as many phases as fit, or an equal share of those of one.
    s.depth, s.parts = s.phases * x.c, 1
    while s.depth > depth and s.depth % 2 == 0:
        s.depth, s.parts = s.depth // 2, s.parts * 2
    s.panels = cut_columns(kind, y.c)
    s.cut = cut(s.panels.count, group, s.patches.count, block)
    # Those of the products, and as many again: turning data and results takes about as long.
    s.flops = 4.0 * s.patches.count * s.positions * x.c * y.c * s.patches.stride * s.patches.stride
    s.failed = False


cdef inline void spread_block(
    real* kind, const Plan* s, Py_ssize_t part, Py_ssize_t phase, Py_ssize_t first, Py_ssize_t count,
    char* v, Py_ssize_t pitch
) noexcept nogil:
    """v (position, patch, step) for `count` patches of x; a row of steps has `pitch` bytes. `phase`: of
    y, if that is what has phases."""
    cdef Spot place
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), step, n, c, patch, i
    cdef char* d[MOST_POSITIONS]
    for patch in range(count):
        place = spot(&s.patches, first + patch)
        step = 0
        while step < s.depth:
            n = part * s.depth + step
            c, n = n % s.inputs, n // s.inputs
            pixels(&s.patches, &s.patches.x, &place, n + phase, <char*> s.zeros, d)
            n = min(s.depth, s.inputs)
            for i in range(ceil_div(n, lane)):  # the last vectors may overlap
                any_spread(<Data*> NULL, kind, s.patches.taps, <const char**> d,
                           (c + min(i * lane, n - lane)) * size,
                           v + patch * pitch + (step + min(i * lane, n - lane)) * size,
                           apart(s, pitch))
            step += n


# ── A convolution ─────────────────────────────────────────────────────────────────────────────────

cdef inline bint winograd_convolve(real* kind, const Window* w, Job* job) noexcept nogil:
    """Computes the job. False: no memory, or the work was stopped."""
    cdef Py_ssize_t size = sizeof(real), padded, weights
    cdef Image x
    cdef Plan s
    cdef bint done = False
    if not pad_image(kind, &job.x, NULL, NULL, False, &x):
        return False
    plan(kind, w, job.transposed, &x, &job.y, MOST_DEPTH, GROUP_PANELS, BLOCK_PATCHES, &s)
    s.weights, s.activation, s.alpha, s.beta = weights_of(kind, w, job), job.activation, job.alpha, job.beta
    padded = column(&s.panels, s.panels.count)
    # All phases of x and y together are those of the kernel.
    weights = s.patches.stride * s.patches.stride * s.positions * s.inputs * padded
    s.numbers = <char*> memory.take((weights + padded + s.inputs) * size)
    if s.numbers != NULL:
        s.zeros = s.numbers + (weights + padded) * size
        memset(s.numbers + weights * size, 0, (padded + s.inputs) * size)
        s.bias = NULL
        if job.bias != NULL:
            s.bias = s.numbers + weights * size
            memcpy(<char*> s.bias, job.bias, s.outputs * size)
        done = run_tasks(
            <task_t> pack_task[real], &s, s.panels.count * ceil_div(s.inputs, TURN_CHANNELS), False, False, s.flops
        ) and run_tasks(
            <task_t> convolve_task[real], &s,
            s.patches.stride * s.patches.stride // s.phases * s.cut.groups * s.cut.blocks, False, False, s.flops
        ) and not s.failed
        memory.give(s.numbers)
    memory.give(x.scratch)
    return done


cdef inline void point_at_taps(
    const Plan* s, Py_ssize_t phase, char* y, Py_ssize_t row, char** taps
) noexcept nogil:
    """The taps of a phase, in rows of all taps of the kernel."""
    cdef Py_ssize_t n = s.patches.taps, stride = s.patches.stride, i, j
    for i in range(n):
        for j in range(n):
            taps[i * n + j] = y + row * (s.patches.tap[0][phase // stride][i] * n * stride
                                         + s.patches.tap[1][phase % stride][j])


cdef inline void pack_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """The weights of TURN_CHANNELS inputs of one panel, transformed."""
    cdef Py_ssize_t size = sizeof(real), all = column(&s.panels, s.panels.count), phase, c, i, step, at
    cdef Py_ssize_t panel = index % s.panels.count, first = index // s.panels.count * TURN_CHANNELS
    cdef Py_ssize_t columns = width(&s.panels, panel)
    cdef real[MOST_TAPS * TILE_VECTORS * TILE_LANES] turned  # (tap, output)
    cdef char* taps[MOST_POSITIONS]
    for c in range(first, min(first + TURN_CHANNELS, s.inputs)):
        pack(kind, &s.panels, panel, s.weights.data + c * s.weights.in_step, size, s.weights.out_step,
             s.taps, <char*> turned)
        for phase in range(s.patches.stride * s.patches.stride):
            point_at_taps(s, phase, <char*> turned, columns * size, taps)
            step = phase * s.inputs + c
            at = step // s.depth * s.positions * s.depth * all
            at += column(&s.panels, panel) * s.depth + step % s.depth * columns
            for i in range(columns // lanes(kind)):
                any_spread(<Taps*> NULL, kind, s.patches.taps, <const char**> taps,
                           i * lanes(kind) * size, s.numbers + (at + i * lanes(kind)) * size,
                           s.depth * all * size)


cdef inline void convolve_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """A block of patches, a group of panels, a phase of y."""
    cdef const Cut* cut = &s.cut
    cdef Py_ssize_t size = sizeof(real), part, position, panel, left, columns, i
    cdef Py_ssize_t first = index % cut.blocks * cut.block
    cdef Py_ssize_t patches = min(cut.block, s.patches.count - first)
    cdef Py_ssize_t phases = s.patches.stride * s.patches.stride // s.phases
    cdef Py_ssize_t phase = index // cut.blocks % phases
    cdef Py_ssize_t from_ = index // cut.blocks // phases * cut.group
    cdef Py_ssize_t end = min(from_ + cut.group, s.panels.count), start = column(&s.panels, from_)
    cdef Py_ssize_t row = (column(&s.panels, end) - start) * size, pitch = s.depth * size
    cdef Py_ssize_t total = pitch * column(&s.panels, s.panels.count)  # of weights at a position
    cdef char* v = <char*> memory.take(s.positions * (apart(s, pitch) + apart(s, row)) + row)
    cdef char* m = v + s.positions * apart(s, pitch)  # (position, patch, output)
    if v == NULL:
        s.failed = True
        return
    for part in range(s.parts):
        spread_block(kind, s, part, phase, first, patches, v, pitch)
        for position in range(s.positions):
            for panel in range(from_, end):
                left, columns = column(&s.panels, panel), width(&s.panels, panel)
                multiply_panel(
                    kind, columns, v + position * apart(s, pitch), pitch, size, patches, s.depth,
                    s.numbers + ((phase * s.parts + part) * s.positions + position) * total
                    + left * pitch, columns * size,
                    m + position * apart(s, row) + (left - start) * size, row, part > 0)
    for i in range(patches):
        write_patch(kind, s, phase, first + i, m + i * row, row, start,
                    min(row // size, s.outputs - start), m + s.positions * apart(s, row))
    memory.give(v)


cdef inline void write_patch(
    real* kind, const Plan* s, Py_ssize_t phase, Py_ssize_t patch, const char* m, Py_ssize_t row,
    Py_ssize_t start, Py_ssize_t outputs, char* spare
) noexcept nogil:
    """The pixels of y of a patch, and of these some outputs from `start` on."""
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), i, at
    cdef char* y[OUT * OUT]
    cdef Spot place = spot(&s.patches, patch)
    pixels(&s.patches, &s.patches.y, &place, phase, spare - start * size, y)
    for i in range(OUT * OUT):
        y[i] += start * size
    for i in range(ceil_div(outputs, lane)):
        at = min(i * lane, outputs - lane) * size
        any_gather(<Result*> NULL, kind, s.patches.taps, m + at, apart(s, row), s.bias + start * size if s.bias != NULL else NULL, y, at)
    if s.activation != NULL:
        for i in range(OUT * OUT):
            if y[i] != spare:
                activate_in_place(s.activation, y[i], outputs, s.alpha, s.beta)


# ── A weight gradient ─────────────────────────────────────────────────────────────────────────────

cdef inline bint winograd_weight_gradient(
    real* kind, const Window* w, const Image* x, const Image* gy, char* gw, char* gb
) noexcept nogil:
    """gw and gb from x and gy. False: no memory, or the work was stopped."""
    cdef Py_ssize_t size = sizeof(real), tasks, sums, padded
    cdef Image xs, gys
    cdef Plan s
    cdef bint done = False
    if not pad_image(kind, x, NULL, NULL, False, &xs):
        return False
    if pad_image(kind, gy, NULL, NULL, False, &gys):
        plan(kind, w, False, &xs, &gys, GRAD_DEPTH, GRAD_PANELS, GRAD_PATCHES, &s)
        tasks = s.parts * s.cut.groups
        s.per = ceil_div(s.cut.blocks, min(s.cut.blocks, ceil_div(SHARED_TASKS, tasks)))
        s.shares = ceil_div(s.cut.blocks, s.per)
        s.gw, s.gb, padded = gw, gb, column(&s.panels, s.panels.count)
        sums = s.shares * s.parts * s.positions * s.depth * padded
        s.numbers = <char*> memory.take((sums + s.shares * padded + max(xs.c, gys.c)) * size)
        if s.numbers != NULL:
            s.pixel_sums = s.numbers + sums * size
            s.zeros = s.pixel_sums + s.shares * padded * size
            memset(<char*> s.zeros, 0, max(xs.c, gys.c) * size)
            done = run_tasks(
                <task_t> sum_task[real], &s, s.shares * tasks, False, False, s.flops
            ) and run_tasks(
                <task_t> turn_task[real], &s, ceil_div(s.inputs, TURN_CHANNELS), False, False, s.flops
            ) and not s.failed
            memory.give(s.numbers)
        memory.give(gys.scratch)
    memory.give(xs.scratch)
    return done


cdef inline void sum_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """A share of the patches, a group of panels, a part of the steps."""
    cdef const Cut* cut = &s.cut
    cdef Py_ssize_t size = sizeof(real), all = column(&s.panels, s.panels.count) * size
    cdef Py_ssize_t part = index % s.parts, from_ = index // s.parts % cut.groups * cut.group
    cdef Py_ssize_t share = index // s.parts // cut.groups, block, first, position, panel, left, patches
    cdef Py_ssize_t end = min(from_ + cut.group, s.panels.count), start = column(&s.panels, from_)
    cdef Py_ssize_t row = (column(&s.panels, end) - start) * size
    # Rows of v are an odd number of cache lines apart: a column of them fills all of the cache's sets.
    cdef Py_ssize_t pitch = (s.depth * size + 127) // 128 * 128 + 64
    cdef char* v = <char*> memory.take(s.positions * (apart(s, pitch) + apart(s, row)))
    cdef char* w = v + s.positions * apart(s, pitch)  # (position, patch, output)
    cdef char* sums = s.numbers + (share * s.parts + part) * s.positions * s.depth * all
    cdef real one = 1
    if v == NULL:
        s.failed = True
        return
    if start + row // size > s.outputs:  # behind the last output nothing is written
        memset(w, 0, s.positions * apart(s, row))
    for block in range(share * s.per, min((share + 1) * s.per, cut.blocks)):
        first = block * cut.block
        patches = min(cut.block, s.patches.count - first)
        spread_block(kind, s, part, 0, first, patches, v, pitch)
        spread_gy(kind, s, first, patches, start, min(row // size, s.outputs - start), w, row)
        for position in range(s.positions):
            for panel in range(from_, end):
                left = column(&s.panels, panel)
                multiply_panel(
                    kind, width(&s.panels, panel), v + position * apart(s, pitch), size, pitch, s.depth,
                    patches, w + position * apart(s, row) + (left - start) * size, row,
                    sums + position * s.depth * all + left * size, all, block > share * s.per)
        # The transform has the sum of a patch's four pixels at the second position of both axes.
        position = s.patches.x.lines + 1
        for panel in range(from_, end if part == 0 else from_):
            left = column(&s.panels, panel)
            multiply_panel(
                kind, width(&s.panels, panel), <char*> &one, 0, 0, 1, patches,
                w + position * apart(s, row) + (left - start) * size, row,
                s.pixel_sums + share * all + left * size, 0, block > share * s.per)
        if pool.stopped():
            break
    memory.give(v)


cdef inline void spread_gy(
    real* kind, const Plan* s, Py_ssize_t first, Py_ssize_t count, Py_ssize_t start,
    Py_ssize_t outputs, char* w, Py_ssize_t row
) noexcept nogil:
    """w (position, patch, output) for `count` patches, and of these some outputs from `start` on."""
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), patch, i, at
    cdef char* gy[OUT * OUT]
    cdef Spot place
    for patch in range(count):
        place = spot(&s.patches, first + patch)
        pixels(&s.patches, &s.patches.y, &place, 0, <char*> s.zeros, gy)
        for i in range(ceil_div(outputs, lane)):
            at = min(i * lane, outputs - lane) * size
            any_spread(<Grads*> NULL, kind, s.patches.taps, <const char**> gy, start * size + at,
                       w + patch * row + at, apart(s, row))


cdef inline void turn_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """Adds the shares of some channels of x, transforms them to taps, and transposes (tap, output) to
    (output, tap)."""
    cdef Py_ssize_t lane = lanes(kind), size = sizeof(real), all = column(&s.panels, s.panels.count)
    cdef Py_ssize_t first = index * TURN_CHANNELS, c, phase, i, step, at, share, position
    cdef Py_ssize_t whole = s.parts * s.positions * s.depth * all
    cdef char* turned = <char*> memory.take(s.taps * all * size)  # (tap, output)
    cdef char* taps[MOST_POSITIONS]
    cdef real* sums
    cdef const real* part
    if turned == NULL:
        s.failed = True
        return
    for c in range(first, min(first + TURN_CHANNELS, s.inputs)):
        for phase in range(s.patches.stride * s.patches.stride):
            point_at_taps(s, phase, turned, all * size, taps)
            step = phase * s.inputs + c
            sums = <real*> s.numbers + (step // s.depth * s.positions * s.depth + step % s.depth) * all
            for share in range(1, s.shares):
                for position in range(s.positions):
                    at = position * s.depth * all
                    part = sums + share * whole + at
                    for i in range(all):
                        sums[at + i] += part[i]
            for i in range(s.panels.vectors):
                any_gather(<TapGrads*> NULL, kind, s.patches.taps, <const char*> (sums + i * lane),
                           s.depth * all * size, NULL, taps, i * lane * size)
        transpose(kind, turned, all * size, s.gw + c * s.taps * size, s.inputs * s.taps * size,
                  s.taps, s.outputs, s.taps)
    if index == 0:
        for i in range(s.outputs):
            (<real*> s.gb)[i] = 0
            for share in range(s.shares):
                (<real*> s.gb)[i] += (<const real*> s.pixel_sums)[share * all + i]
    memory.give(turned)
