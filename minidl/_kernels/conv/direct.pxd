# The convolutions: how a kernel moves over an image, and the sum
#
#     y[n, :, j] = activation(sum over taps t of  w[t] x[n, :, j * step + offset[t]]  + bias)
#
# on the register tile (tile.pxd). The forward pass is one such sum, with the stride as its step
# and offset = t * dilation - padding. The input gradient (a transposed convolution) is one for each
# of the stride's phases: the pixels i = r + stride * j of the result see only the taps that
# t * dilation = r + padding (mod stride), at offset (r + padding - t * dilation) / stride, and step 1.
#
# With channels innermost in memory (image.pxd) no columns need to be gathered: a row of the tile is
# an output pixel, and points at the first of the pixels that it sees. A span is a tap, or all taps
# of a kernel's row, where they lie side by side. (Where x is copied, to have zeros around it, its groups of channels are
# put one after another for that.) The weights are packed once a call, in panels of as many output channels as a tile is
# wide, in the order in which the tile reads them. From the outside in:
#
#   for tasks: a block of output pixels, a phase, a group of panels   over the threads
#     for panels of the group                          the group stays in the second-level cache
#       for parts of the spans                         so does what is read of a panel
#         for TILE_ROWS pixels of the block: the tile
#
# Pixels are numbered through all samples, so that small images fill tiles, too. With few output
# channels most of a tile is empty: if there are pixels enough, runs.pxd has another sum for them.

from libc.string cimport memcpy

from minidl._kernels.conv.image cimport AXES
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.panels cimport Cut, Panels, column, pack, width
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.product.product cimport activation_t, ceil_div
from minidl._kernels.product.tile cimport (
    TALL_ROWS, TILE_LANES, TILE_ROWS, TILE_VECTORS, Strip, copy_out, lanes, tile_of,
)

cdef enum:
    PANEL_BYTES = 512 << 10     # of weights in a task: half of a second-level cache
    PART_BYTES = 256 << 10      # of a panel that is read again and again for a block of pixels
    BLOCK_PIXELS = 256          # of a task
    SERIAL_FLOPS = 1_500_000    # up to here waking the pool costs what it saves
    PACK_CHANNELS = 16          # of the input, in a task that packs weights
    PACK_TAPS = 64              # packed at a time
    SERIAL_PACK = 8_000         # weights that one thread packs faster than it calls for help


cdef struct Taps:
    # What one phase of one axis sees: which taps, in the order of their offsets.
    Py_ssize_t* tap
    Py_ssize_t* offset
    Py_ssize_t count, pixels    # of the taps; of the output in this phase
    bint together               # the offsets are consecutive


cdef struct Pass:
    # One phase of one group of channels.
    const char* x
    char* y
    const char* w               # the group's panels,
    Py_ssize_t first            # and the first of this phase's taps in them
    const char* bias
    const Py_ssize_t* shifts    # of the spans, in bytes
    Py_ssize_t spans, k         # k products in each
    Py_ssize_t[AXES + 1] size   # pixels of the output: N, D, H, W
    Py_ssize_t pixels


cdef struct Weights:
    # The weights as the user has them. Those of the taps are side by side; else steps are in bytes.
    const char* data
    Py_ssize_t taps
    Py_ssize_t group_step, in_step, out_step  # from one group, input or output channel to the next


cdef struct Plan:
    # What is common to all passes.
    Py_ssize_t[AXES + 1] x_steps, y_steps   # bytes from one output pixel to the next
    Py_ssize_t inputs, outputs  # channels of a group
    Py_ssize_t group_step       # bytes of x from one group to the next
    Panels panels               # of a group's outputs
    Pass* passes
    Py_ssize_t count            # of passes
    Cut cut                     # tasks: panels by pixels
    bint blocks_first
    Weights weights
    Py_ssize_t* slots           # where each tap goes; -1: no pixel sees it
    char* packed
    char* bias                  # padded to whole vectors in every group, or NULL
    activation_t activation
    double alpha, beta


cdef inline void pack_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """PACK_CHANNELS input channels of one panel, in the order (slot, input, output).

    For each input the matrix of outputs and taps is transposed, and its rows are dealt to the slots."""
    cdef const Weights* w = &s.weights
    cdef Py_ssize_t size = sizeof(real), tasks = ceil_div(s.inputs, PACK_CHANNELS), c, t
    cdef Py_ssize_t first = index % tasks * PACK_CHANNELS, panel = index // tasks % s.panels.count
    cdef Py_ssize_t group = index // tasks // s.panels.count, row = width(&s.panels, panel) * size
    cdef Py_ssize_t left = group * column(&s.panels, s.panels.count) + column(&s.panels, panel)
    cdef const char* x
    cdef char* y = s.packed + left * w.taps * s.inputs * size
    cdef real[PACK_TAPS * TILE_VECTORS * TILE_LANES] taps
    for c in range(first, min(first + PACK_CHANNELS, s.inputs)):
        x = w.data + group * w.group_step + c * w.in_step
        for t in range(w.taps):
            if t % PACK_TAPS == 0:
                pack(kind, &s.panels, panel, x + t * size, size, w.out_step,
                     min(w.taps - t, PACK_TAPS), <char*> taps)
            if s.slots[t] >= 0:
                memcpy(y + (s.slots[t] * s.inputs + c) * row, <char*> taps + t % PACK_TAPS * row, row)


# ── A task ────────────────────────────────────────────────────────────────────────────────────────

cdef struct Walk:
    # An output pixel, on the way through all of them.
    Py_ssize_t[AXES + 1] at
    const char* x
    char* y


cdef inline void start(const Plan* s, const Pass* p, Py_ssize_t pixel, Walk* walk) noexcept nogil:
    cdef int axis
    walk.x, walk.y = p.x, p.y
    for axis in range(AXES, -1, -1):
        walk.at[axis] = pixel % p.size[axis]
        pixel //= p.size[axis]
        walk.x += walk.at[axis] * s.x_steps[axis]
        walk.y += walk.at[axis] * s.y_steps[axis]


cdef inline void step_on(const Plan* s, const Pass* p, Walk* walk) noexcept nogil:
    cdef int axis
    for axis in range(AXES, -1, -1):
        walk.x += s.x_steps[axis]
        walk.y += s.y_steps[axis]
        walk.at[axis] += 1
        if walk.at[axis] < p.size[axis]:
            return
        walk.at[axis] = 0
        walk.x -= p.size[axis] * s.x_steps[axis]
        walk.y -= p.size[axis] * s.y_steps[axis]


cdef inline void convolve_task(real* kind, const Plan* s, Py_ssize_t index) noexcept nogil:
    """A block of pixels of one pass, a group of panels."""
    cdef const Cut* cut = &s.cut
    cdef Py_ssize_t many = s.count * cut.groups
    cdef Py_ssize_t block = index // many if s.blocks_first else index % cut.blocks
    cdef Py_ssize_t rest = index % many if s.blocks_first else index // cut.blocks
    cdef const Pass* p = &s.passes[rest // cut.groups]
    cdef Py_ssize_t first = rest % cut.groups * cut.group, end = min(first + cut.group, s.panels.count)
    cdef Py_ssize_t top = block * cut.block, bottom = min(top + cut.block, p.pixels), panel
    if top >= bottom:
        return
    for panel in range(first, end):
        tile_block(kind, s, p, panel, top, bottom)
    if s.activation != NULL:
        activate(kind, s, p, column(&s.panels, first), min(s.outputs, column(&s.panels, end)), top,
                 bottom)


cdef inline void tile_block(
    real* kind, const Plan* s, const Pass* p, Py_ssize_t panel, Py_ssize_t top, Py_ssize_t bottom
) noexcept nogil:
    cdef Py_ssize_t size = sizeof(real), left = column(&s.panels, panel), pixel, i
    cdef Py_ssize_t columns = width(&s.panels, panel), row = columns * size
    cdef Py_ssize_t span = 0, spans, part = max(1, PART_BYTES // max(1, p.k * row))
    cdef const char* w = p.w + (left * s.weights.taps + p.first * columns) * s.inputs * size
    cdef const char* bias
    cdef Py_ssize_t high = TALL_ROWS if columns == lanes(kind) else TILE_ROWS
    cdef char* y[TALL_ROWS]
    cdef real[TALL_ROWS * TILE_VECTORS * TILE_LANES] edge
    cdef bint ragged = left + columns > s.outputs
    cdef Walk walk
    cdef Strip strip
    strip.step, strip.k, strip.b_row, strip.count = size, p.k, row, 1
    while True:
        spans = min(part, p.spans - span)
        bias = p.bias + left * size if p.bias != NULL and span + spans == p.spans else NULL
        strip.shifts, strip.spans = p.shifts + span, spans
        strip.add, strip.bias = span > 0 and not ragged, NULL if ragged else bias
        start(s, p, top, &walk)
        pixel = top
        while pixel < bottom:
            for i in range(high):  # beyond the last pixel that one again
                strip.rows[i], y[i] = walk.x, walk.y + left * size
                strip.out[i] = <char*> (edge + i * columns) if ragged else y[i]
                if pixel + i < bottom - 1:
                    step_on(s, p, &walk)
            strip.b = w
            tile_of(kind, high, columns // lanes(kind))(NULL, NULL, NULL, &strip)
            if ragged:
                for i in range(min(bottom - pixel, high)):
                    copy_out(edge + i * columns, <real*> y[i], s.outputs - left, span > 0,
                             <const real*> bias)
            pixel += high
        w += spans * p.k * row
        span += spans
        if span >= p.spans:
            return


cdef inline void activate(
    real* kind, const Plan* s, const Pass* p, Py_ssize_t left, Py_ssize_t right, Py_ssize_t top,
    Py_ssize_t bottom
) noexcept nogil:
    """In place, on what the task has computed: a row of pixels at a time if the task has all of their
    channels, else pixel by pixel."""
    cdef Py_ssize_t size = sizeof(real), n = right - left, run
    cdef Walk walk
    start(s, p, top, &walk)
    while top < bottom:
        run = 1
        if s.y_steps[AXES] == n * size:
            run = min(bottom - top, p.size[AXES] - walk.at[AXES])
        activate_in_place(s.activation, walk.y + left * size, run * n, s.alpha, s.beta)
        top += run
        if top < bottom:
            if run == 1:
                step_on(s, p, &walk)
            else:
                start(s, p, top, &walk)
