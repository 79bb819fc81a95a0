# The gradients of weights and bias by the runs of runs.pxd, for few outputs and many pixels: dot products.
#
#     gw[o, c, t] = gy[o] . run[c, t]        gb[o] = gy[o] . (1 1 1 ...), which is the run of one more term
#
# Each lane of a vector sums every so manieth pixel. The shares are added at the end, in order, and then the lanes. From the
# outside in:
#
#   for tasks: a share of all samples, depths and bands of rows; a group of channels    over the threads
#     for bands: the rows of x are copied, and those of gy unless they are whole vectors
#       for up to MOST_ROWS outputs, for some terms of each of them
#         for vectors of pixels: a product for each pair

from libc.string cimport memmove, memset

from minidl._kernels.conv.direct cimport SERIAL_FLOPS, Taps
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.phases cimport Job, Window, lay_axes
from minidl._kernels.conv.runs cimport (
    MOST_ROWS, Five, Four, Outputs, Runs, copy_rows, find_terms, lay_runs, rows_of, runs_pay, stage_row, together,
)
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport TASK_FLOPS, TASKS, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport TILE_LANES, One, Three, Two, doubles, floats, lanes, loaded, vec
from minidl._kernels.runtime cimport memory, pool
from minidl._kernels.runtime.sizes cimport times

cdef extern from *:
    """
    #if TILE_ROWS == 8 /* 32 vector registers */
      #define DOTS_SUMS 27
    #else
      #define DOTS_SUMS 12
    #endif
    """
    enum: DOTS_SUMS             # vectors in registers

cdef enum:
    MOST_TERMS = 12             # that they belong to
    SWAPPED = 4             # times as many inputs as outputs make it worth it that x and gy change places,
    MOST_INPUTS = 64        # up to so many, whose rows a task may have to copy
    LEAST_RUN = 16          # vectors of a run: each sum is loaded and stored once for so many


cdef struct Plan:
    Runs runs
    Image gy
    Py_ssize_t groups, outputs  # of a group
    Py_ssize_t count            # of an output's terms and, if wanted, its bias
    Py_ssize_t terms            # of an output's sum, and with the bias and what a tile has beyond it
    Py_ssize_t padded
    Py_ssize_t* shifts          # from the start of the copies, in bytes
    Py_ssize_t bands, shares    # of all samples together; how many share them
    char* sums                  # (share, group, output, term, lane)
    char* gw
    char* gb
    bint failed                 # for lack of memory


cdef struct Dots:
    # The sums of a tile: of one output and MOST_TERMS terms, of several outputs and fewer terms of each.
    const char* gy[MOST_ROWS]
    char* sums[MOST_ROWS]       # vectors, term after term
    const char* x               # the copies,
    const Py_ssize_t* shifts    # and where the runs of the terms begin in them
    Py_ssize_t count            # of vectors of pixels; the last one begins
    Py_ssize_t back             # so many bytes before the end of the one before, and gy has zeros there


cdef inline int terms_of(int outputs) noexcept nogil:
    """How many a tile has, of each of so many outputs."""
    return min(MOST_TERMS, DOTS_SUMS // outputs)


cdef inline void sum_dots(Outputs* outputs, vec* kind, const Dots* s) noexcept nogil:
    """The sums, and the fewer of the two kinds of operands, are in registers."""
    cdef vec[DOTS_SUMS] sums
    cdef vec[MOST_ROWS] held
    cdef const char* gy[MOST_ROWS]
    cdef const char* xs[MOST_TERMS]
    cdef vec one
    cdef Py_ssize_t p
    cdef int i, j, rows = rows_of(outputs), terms = terms_of(rows_of(outputs))
    for j in range(terms):
        xs[j] = s.x + s.shifts[j]
    for i in range(rows):
        gy[i] = s.gy[i]
        for j in range(terms):
            sums[i * terms + j] = (<const vec*> s.sums[i])[j]
    for p in range(s.count):
        if p == s.count - 1:
            for j in range(terms):
                xs[j] -= s.back
        if Outputs is One or Outputs is Two or Outputs is Three:
            for i in range(rows):
                held[i] = (<const vec*> gy[i])[p]
            for j in range(terms):
                one = loaded(kind, xs[j], p)
                for i in range(rows):
                    sums[i * terms + j] = sums[i * terms + j] + held[i] * one
        else:
            for j in range(terms):
                held[j] = loaded(kind, xs[j], p)
            for i in range(rows):
                one = loaded(kind, gy[i], p)
                for j in range(terms):
                    sums[i * terms + j] = sums[i * terms + j] + one * held[j]
    for i in range(rows):
        for j in range(terms):
            (<vec*> s.sums[i])[j] = sums[i * terms + j]


ctypedef void (*dots_t)(void* outputs, void* kind, const Dots* s) noexcept nogil


cdef inline void any_dots(vec* kind, Py_ssize_t rows, const Dots* s) noexcept nogil:
    """(Through a pointer, as in product/tile.pxd.)"""
    cdef dots_t[MOST_ROWS] dots
    dots[0], dots[1], dots[2] = <dots_t> sum_dots[One, vec], <dots_t> sum_dots[Two, vec], <dots_t> sum_dots[Three, vec]
    dots[3], dots[4] = <dots_t> sum_dots[Four, vec], <dots_t> sum_dots[Five, vec]
    dots[rows - 1](NULL, NULL, s)


cdef inline bint gradient_runs_pay(real* kind, const Window* w, const Job* job) noexcept nogil:
    return (
        job.y.size[2] >= lanes(kind) and runs_pay(kind, w, job, True)
        and job.y.size[1] * job.y.size[2] >= LEAST_RUN * lanes(kind)
    )


cdef inline bint runs_gradient(real* kind, const Window* w, Job* job, char* gw, char* gb) noexcept nogil:
    """gw, and gb unless it is NULL, from job.x and job.y, which is gy. False: no memory, or the work was stopped."""
    cdef Taps* axes[AXES]
    cdef Py_ssize_t[AXES] low, high
    cdef Py_ssize_t[2] start
    cdef Py_ssize_t size = sizeof(real), row, numbers, t
    cdef Plan s
    cdef bint done
    cdef double flops
    s.groups, s.outputs, s.terms = w.groups, job.y.c // w.groups, job.x.c // w.groups * w.taps
    s.count = s.terms + (1 if gb != NULL else 0)
    s.padded = s.terms + MOST_TERMS
    s.gy, s.gw, s.gb, s.failed = job.y, gw, gb, False
    s.shifts = <Py_ssize_t*> lay_axes(w, job, axes, low, high, (s.padded + s.terms) * sizeof(Py_ssize_t))
    if s.shifts == NULL:
        return False
    lay_runs(kind, w, job, axes, low, high, True, &s.runs)
    find_terms(kind, w, &s.runs, 0, start, s.shifts, s.shifts + s.padded)
    for t in range(s.terms, s.padded):
        s.shifts[t] = s.runs.sums * size  # ones
    # Behind those the rows of gy.
    s.runs.room = max(s.runs.room, s.runs.sums + (1 + s.outputs) * s.runs.sum_row)
    s.bands = job.x.n * job.y.size[0] * s.runs.bands
    flops = 2.0 * job.y.n * job.y.size[0] * job.y.size[1] * job.y.size[2] * s.terms * job.y.c
    s.shares = max(1, min(min(s.bands, TASKS), <Py_ssize_t> min(TASKS, flops / s.groups / TASK_FLOPS)))
    row = s.groups * s.outputs * s.padded * lanes(kind) * size
    s.sums = <char*> memory.take(times(s.shares, row))
    done = s.sums != NULL and run_tasks(
        <task_t> dots_task[real], &s, s.shares * s.groups, flops <= SERIAL_FLOPS, False, flops
    ) and not s.failed and run_tasks(
        <task_t> lanes_task[real], &s, s.groups * s.outputs, flops <= SERIAL_FLOPS, False, flops
    )
    memory.give(s.sums)
    memory.give(axes[0])
    return done


cdef inline void dots_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """A share of the bands, a group."""
    cdef const Runs* r = &s.runs
    cdef Py_ssize_t size = sizeof(real), group = index % s.groups, share = index // s.groups, band, i, n, depth
    cdef Py_ssize_t row = s.padded * lanes(kind) * size
    cdef real* runs = <real*> memory.take(r.room * size)
    cdef char* sums = s.sums + index * s.outputs * row
    if runs == NULL:
        s.failed = True
        return
    memset(sums, 0, s.outputs * row)
    memset(runs + r.staged, 0, (r.sums - r.staged) * size)
    for i in range(r.sum_row):
        runs[r.sums + i] = 1
    for band in range(s.bands * share // s.shares, s.bands * (share + 1) // s.shares):
        depth = band // r.bands % s.gy.size[0]
        n = band // r.bands // s.gy.size[0]
        copy_rows(kind, r, r.x.data + n * r.x.n_step + group * r.inputs * r.x.c_step, depth * r.step[0],
                  band % r.bands, &r.axes[0][0], &r.axes[2][0], runs)
        sum_band(kind, s, runs, band % r.bands,
                 s.gy.data + n * s.gy.n_step + group * s.outputs * s.gy.c_step + depth * s.gy.steps[0], sums)
        if pool.stopped():
            break
    memory.give(runs)


cdef inline void sum_band(
    real* kind, const Plan* s, real* runs, Py_ssize_t band, const char* gy, char* sums
) noexcept nogil:
    """The products of all outputs and terms in a band. The rows of gy are read where they lie if they are whole vectors
    without a gap, else copied."""
    cdef const Runs* r = &s.runs
    cdef Py_ssize_t size = sizeof(real), first = band * r.band, rows = min(r.band, s.gy.size[1] - first)
    cdef Py_ssize_t pixels = rows * s.gy.size[2], step = s.gy.c_step, o = 0, i, lane = lanes(kind), count, terms, t
    cdef real* copy = runs + r.sums + r.sum_row
    cdef Dots dots
    dots.count = ceil_div(pixels, lane)
    dots.back = (dots.count * lane - pixels) * size
    dots.x = <const char*> runs
    gy += first * s.gy.steps[1]
    if dots.back > 0 or s.gy.steps[2] != size or s.gy.steps[1] != s.gy.size[2] * size:
        copy_gy(kind, s, gy, rows, &dots, copy)
        gy, step = <const char*> copy, r.sum_row * size
    while o < s.outputs:
        count = together(s.outputs - o)
        terms = terms_of(<int> count)
        for i in range(count):
            dots.gy[i] = gy + (o + i) * step
        for t in range(ceil_div(s.count, terms)):
            dots.shifts = s.shifts + t * terms
            for i in range(count):
                dots.sums[i] = sums + ((o + i) * s.padded + t * terms) * lane * size
            if real is float:
                any_dots(<floats*> NULL, count, &dots)
            else:
                any_dots(<doubles*> NULL, count, &dots)
        o += count


cdef inline void copy_gy(
    real* kind, const Plan* s, const char* gy, Py_ssize_t rows, const Dots* dots, real* copy
) noexcept nogil:
    """Some rows, one behind the other. The last numbers, if no whole vector, move to the end of one, behind zeros."""
    cdef Py_ssize_t lane = lanes(kind), row, o
    cdef real* end
    for row in range(rows):
        stage_row(kind, &s.gy, s.outputs, gy + row * s.gy.steps[1], copy + row * s.gy.size[2], s.runs.sum_row)
    for o in range(s.outputs):
        end = copy + o * s.runs.sum_row + (dots.count - 1) * lane
        memmove(<char*> end + dots.back, end, lane * sizeof(real) - dots.back)
        memset(end, 0, dots.back)


cdef inline void lanes_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """The sums of an output, of all shares and lanes."""
    cdef Py_ssize_t lane = lanes(kind), t, i
    cdef real[TILE_LANES] sums
    cdef real total
    for t in range(s.count):
        if real is float:
            add_shares(<floats*> NULL, s, index, t, <char*> sums)
        else:
            add_shares(<doubles*> NULL, s, index, t, <char*> sums)
        total = sums[0]
        for i in range(1, lane):
            total += sums[i]
        if t < s.terms:
            (<real*> s.gw)[index * s.terms + t] = total
        else:
            (<real*> s.gb)[index] = total


cdef inline void add_shares(vec* kind, const Plan* s, Py_ssize_t index, Py_ssize_t term, char* sums) noexcept nogil:
    """Lane by lane."""
    cdef const vec* share = <const vec*> s.sums + index * s.padded + term
    cdef vec total = share[0]
    cdef Py_ssize_t i
    for i in range(1, s.shares):
        share += s.groups * s.outputs * s.padded
        total = total + share[0]
    (<vec*> sums)[0] = total


# ── Fewer outputs than inputs ─────────────────────────────────────────────────────────────────────
# Without a stride x and gy may change places: seen from a pixel i = j + t * dilation - padding of x,
#
#     gw[o, c, t] = sum over i of  gy[o, i + t' * dilation - padding'] x[c, i]      t' = last tap - t, padding' = reach - padding
#
# is a weight gradient, too. So it is gy's rows that are copied for each column of taps, which are fewer. But now it is gy that
# has zeros around it: a pixel of x that is not finite makes NaN of taps that do not see it. Then all is computed again.

cdef inline bint swapped_runs_pay(real* kind, const Window* w, const Job* job) noexcept nogil:
    cdef Window window
    cdef Job few
    cdef int axis
    if w.groups > 1 or SWAPPED * job.y.c > job.x.c or job.x.c > MOST_INPUTS:
        return False
    for axis in range(AXES):
        if w.stride[axis] > 1 or w.padding[axis] > (w.kernel[axis] - 1) * w.dilation[axis]:
            return False
    swap(w, job, &window, &few)
    few.y.c = 1  # (however many there are: x's channels are not the lanes of a vector)
    return gradient_runs_pay(kind, &window, &few)


cdef inline void swap(const Window* w, const Job* job, Window* window, Job* swapped) noexcept nogil:
    cdef int axis
    window[0], swapped[0] = w[0], job[0]
    swapped.x, swapped.y = job.y, job.x
    for axis in range(AXES):
        window.padding[axis] = (w.kernel[axis] - 1) * w.dilation[axis] - w.padding[axis]


cdef inline bint swapped_runs_gradient(
    real* kind, const Window* w, Job* job, char* gw, char* gb, bint* finite
) noexcept nogil:
    """As runs_gradient. finite: whether gw is, else it may be wrong."""
    cdef Py_ssize_t inputs = job.x.c, outputs = job.y.c, o, c, t
    cdef Window window
    cdef Job swapped
    cdef const real* given
    cdef real* turned = <real*> memory.take(times(times(inputs, outputs), w.taps * sizeof(real)))
    cdef bint done
    finite[0] = True
    swap(w, job, &window, &swapped)
    done = turned != NULL and runs_gradient(kind, &window, &swapped, <char*> turned, NULL)
    for o in range(outputs if done else 0):
        (<real*> gb)[o] = sum_channel(kind, &job.y, o)
        for c in range(inputs):
            given = turned + (c * outputs + o) * w.taps
            for t in range(w.taps):
                (<real*> gw)[(o * inputs + c) * w.taps + t] = given[w.taps - 1 - t]
                finite[0] = finite[0] and given[t] - given[t] == 0
    memory.give(turned)
    return done


cdef inline real sum_channel(real* kind, const Image* x, Py_ssize_t channel) noexcept nogil:
    """All pixels, those of a sample first."""
    cdef Py_ssize_t n, d, h, i, j
    cdef real[TILE_LANES] part, total
    cdef const char* row
    for j in range(TILE_LANES):
        total[j] = 0
    for n in range(x.n):
        for j in range(TILE_LANES):
            part[j] = 0
        for d in range(x.size[0]):
            for h in range(x.size[1]):
                row = x.data + n * x.n_step + channel * x.c_step + d * x.steps[0] + h * x.steps[1]
                i = 0
                while x.steps[2] == sizeof(real) and i + TILE_LANES <= x.size[2]:
                    for j in range(TILE_LANES):
                        part[j] += (<const real*> row)[i + j]
                    i += TILE_LANES
                for i in range(i, x.size[2]):
                    part[i % TILE_LANES] += (<const real*> (row + i * x.steps[2]))[0]
        for j in range(TILE_LANES):
            total[j] += part[j]
    for j in range(1, TILE_LANES):
        total[0] += total[j]
    return total[0]
