# A convolution of each channel by itself (as many groups as channels), and its gradients: vectors along the channels.
#
#     y[j, c] = sum over taps t of  w[t, c] x[place of t for j, c]          every c in a lane of its own
#
# A matrix product would have one column a group. Here no lane is empty, nothing is packed but the weights, and an image
# whose channels are innermost is read where it lies, without zeros around it: a pixel's list holds the taps that it sees,
# whatever stride, padding and dilation are, and whichever way the convolution goes. The weight gradient goes along a row
# of pixels for each tap, in a few shares of the rows that are added in order: the same bits for any number of threads.

from libc.string cimport memset

from minidl._kernels.conv.direct cimport SERIAL_FLOPS
from minidl._kernels.conv.image cimport AXES, Image, pad_image
from minidl._kernels.conv.phases cimport Job, Window
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport TASK_FLOPS, activation_t, ceil_div, run_tasks, task_t
from minidl._kernels.product.tile cimport One, Three, doubles, floats, lanes, loaded, vec, zeros
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.epilogues cimport activate_in_place
from minidl._kernels.runtime.sizes cimport plus, times

cdef enum:
    VECTORS = 4         # of sums side by side in registers
    MOST_TAPS = 128     # in the list of a pixel
    MOST_SHARES = 16    # of the rows of a weight gradient


cdef struct Plan:
    const Window* w
    Image x, y                  # channels innermost; in the weight gradient y is gy
    bint transposed
    Py_ssize_t row_bytes        # of weights, of a tap: (tap, c)
    char* weight
    const char* bias
    Py_ssize_t per, rows        # rows of y that a task computes, and all
    Py_ssize_t shares, blocks   # of the weight gradient; vectors that the channels fill
    char* sums                  # of its shares: (taps, and one for the bias, blocks) vectors
    char* gw
    char* gb
    activation_t activation
    double alpha, beta


cdef struct Listed:
    # What the taps of a pixel see, and their weights.
    const char* x[MOST_TAPS]
    const char* w[MOST_TAPS]
    Py_ssize_t count


ctypedef fused Outputs:  # pixels that are computed side by side
    One
    Three


cdef inline bint is_depthwise(real* kind, const Window* w, const Job* job) noexcept nogil:
    """Each channel is a group, there are enough of them for a vector, and the taps fit the list of a pixel."""
    return 1 < w.groups == job.x.c == job.y.c >= lanes(kind) and w.taps <= MOST_TAPS


cdef inline Py_ssize_t seen(
    const Plan* s, int axis, Py_ssize_t place, Py_ssize_t tap
) noexcept nogil:
    """Where a tap of the pixel at `place` of y is on x, or -1."""
    cdef const Window* w = s.w
    cdef Py_ssize_t at
    if s.transposed:
        at = place + w.padding[axis] - tap * w.dilation[axis]
        if at < 0 or at % w.stride[axis]:
            return -1
        at //= w.stride[axis]
    else:
        at = place * w.stride[axis] - w.padding[axis] + tap * w.dilation[axis]
    return at if 0 <= at < s.x.size[axis] else -1


cdef inline Py_ssize_t row_of(
    const Plan* s, Py_ssize_t row, Py_ssize_t* taps, const char** places, char** y
) noexcept nogil:
    """A row of y: which taps of depth and height it sees, as the number of their first column, and the rows of x."""
    cdef Py_ssize_t h = row % s.y.size[1], d = row // s.y.size[1] % s.y.size[0], n = row // s.y.size[1] // s.y.size[0]
    cdef Py_ssize_t i, j, at, deep, count = 0
    y[0] = s.y.data + n * s.y.n_step + d * s.y.steps[0] + h * s.y.steps[1]
    for i in range(s.w.kernel[0]):
        deep = seen(s, 0, d, i)
        if deep < 0:
            continue
        for j in range(s.w.kernel[1]):
            at = seen(s, 1, h, j)
            if at >= 0:
                taps[count] = (i * s.w.kernel[1] + j) * s.w.kernel[2]
                places[count] = s.x.data + n * s.x.n_step + deep * s.x.steps[0] + at * s.x.steps[1]
                count += 1
    return count


# ── Forward, and the input gradient ──────────────────────────────────────────────────────────────────────────────────

cdef inline void sum_pixels(
    Outputs* pixels, vec* kind, const Listed* taps, const char* bias, Py_ssize_t x_at, Py_ssize_t x_step,
    char* y, Py_ssize_t y_step, Py_ssize_t channels
) noexcept nogil:
    """All channels of one pixel, or of three neighbours that see the same taps: a weight that is loaded then serves three.
    The last vector may compute some channels again. x_at: how far the first pixel is from where the list begins.
    """
    cdef vec[3 * VECTORS] sums
    cdef vec[VECTORS] ws
    cdef int count = 1 if Outputs is One else 3, j, p
    cdef Py_ssize_t c = 0, t, last = channels * <Py_ssize_t>(sizeof(float) if vec is floats else sizeof(double)) - sizeof(vec)
    cdef const char* x
    while c + (VECTORS - 1) * <Py_ssize_t>sizeof(vec) <= last:
        for j in range(VECTORS):
            ws[j] = loaded(kind, bias + c, j) if bias != NULL else zeros(kind)
            for p in range(count):
                sums[p * VECTORS + j] = ws[j]
        for t in range(taps.count):
            x = taps.x[t] + x_at + c
            for j in range(VECTORS):
                ws[j] = loaded(kind, taps.w[t] + c, j)
            for p in range(count):
                for j in range(VECTORS):
                    sums[p * VECTORS + j] = sums[p * VECTORS + j] + ws[j] * loaded(kind, x + p * x_step, j)
        for p in range(count):
            for j in range(VECTORS):
                (<vec*> (y + p * y_step + c))[j] = sums[p * VECTORS + j]
        c += VECTORS * sizeof(vec)
    while c < last + <Py_ssize_t>sizeof(vec):
        c = min(c, last)
        for p in range(count):
            sums[p] = loaded(kind, bias + c, 0) if bias != NULL else zeros(kind)
        for t in range(taps.count):
            ws[0] = loaded(kind, taps.w[t] + c, 0)
            for p in range(count):
                sums[p] = sums[p] + ws[0] * loaded(kind, taps.x[t] + x_at + p * x_step + c, 0)
        for p in range(count):
            (<vec*> (y + p * y_step + c))[0] = sums[p]
        c += sizeof(vec)


cdef inline void any_pixels(
    real* kind, bint three, const Plan* s, const Listed* taps, Py_ssize_t x_at, Py_ssize_t x_step, char* y
) noexcept nogil:
    cdef Py_ssize_t step = s.y.steps[2]
    if three:
        if real is float:
            sum_pixels(<Three*> NULL, <floats*> NULL, taps, s.bias, x_at, x_step, y, step, s.y.c)
        else:
            sum_pixels(<Three*> NULL, <doubles*> NULL, taps, s.bias, x_at, x_step, y, step, s.y.c)
    elif real is float:
        sum_pixels(<One*> NULL, <floats*> NULL, taps, s.bias, x_at, x_step, y, step, s.y.c)
    else:
        sum_pixels(<One*> NULL, <doubles*> NULL, taps, s.bias, x_at, x_step, y, step, s.y.c)


cdef inline bint sees_all(const Plan* s, Py_ssize_t v) noexcept nogil:
    """Whether all columns of the kernel are on x."""
    cdef Py_ssize_t k
    for k in range(s.w.kernel[2]):
        if seen(s, 2, v, k) < 0:
            return False
    return True


cdef inline void list_taps(
    const Plan* s, Py_ssize_t v, const Py_ssize_t* taps, const char** rows, Py_ssize_t found, Listed* listed
) noexcept nogil:
    """The taps of pixel v of a row of y."""
    cdef Py_ssize_t i, k, at
    listed.count = 0
    for k in range(s.w.kernel[2]):
        at = seen(s, 2, v, k)
        if at >= 0:
            for i in range(found):
                listed.x[listed.count] = rows[i] + at * s.x.steps[2]
                listed.w[listed.count] = s.weight + (taps[i] + k) * s.row_bytes
                listed.count += 1


cdef inline void rows_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t[MOST_TAPS] taps
    cdef const char* rows[MOST_TAPS]
    cdef Listed listed
    cdef char* y
    cdef Py_ssize_t row, v, found, first, left = 0, right = s.y.size[2]
    cdef Py_ssize_t step = s.x.steps[2] * (1 if s.transposed else s.w.stride[2])
    if s.transposed and s.w.stride[2] > 1:
        right = 0  # neighbours see different taps
    while left < right and not sees_all(s, left):
        left += 1
    while left < right and not sees_all(s, right - 1):
        right -= 1
    for row in range(index * s.per, min((index + 1) * s.per, s.rows)):
        found, v, first = row_of(s, row, taps, rows, &y), 0, -1
        while v < s.y.size[2]:
            if not left <= v < right:
                list_taps(s, v, taps, rows, found, &listed)
                any_pixels(kind, False, s, &listed, 0, 0, y + v * s.y.steps[2])
                v += 1
                continue
            if first < 0:  # the list of the first pixel that sees all serves the others, too
                first = v
                list_taps(s, v, taps, rows, found, &listed)
            any_pixels(kind, v + 3 <= right, s, &listed, (v - first) * step, step, y + v * s.y.steps[2])
            v += 3 if v + 3 <= right else 1
        if s.activation != NULL:  # (y is new: its rows have no gaps)
            activate_in_place(s.activation, y, s.y.size[2] * s.y.c, s.alpha, s.beta)


cdef inline bint convolve_depthwise(real* kind, const Window* w, Job* job) noexcept nogil:
    """Computes the job. False: no memory, or the work was stopped."""
    cdef Py_ssize_t size = sizeof(real), c, t
    cdef double flops = 2.0 * job.y.size[2] * w.taps * job.y.c  # of a row
    cdef Plan s
    cdef bint done
    s.w, s.y, s.transposed, s.bias, s.row_bytes = w, job.y, job.transposed, job.bias, job.y.c * size
    s.activation, s.alpha, s.beta = job.activation, job.alpha, job.beta
    s.rows = job.y.n * job.y.size[0] * job.y.size[1]
    s.per = max(1, <Py_ssize_t> (TASK_FLOPS / flops))
    s.weight = <char*> memory.take(times(w.taps, s.row_bytes))
    if s.weight == NULL:
        return False
    for c in range(job.y.c):
        for t in range(w.taps):
            (<real*> s.weight)[t * job.y.c + c] = (<const real*> job.weight)[c * w.taps + t]
    done = pad_image(kind, &job.x, NULL, NULL, False, &s.x)
    if done:
        done = run_tasks(<task_t> rows_task[real], &s, ceil_div(s.rows, s.per), flops * s.rows <= SERIAL_FLOPS, False,
                         flops * s.rows)
        memory.give(s.x.scratch)
    memory.give(s.weight)
    return done


# ── The gradients of weights and bias ────────────────────────────────────────────────────────────────────────────────

cdef inline void add_row(
    vec* kind, const char* x, Py_ssize_t x_step, const char* gy, Py_ssize_t gy_step, Py_ssize_t pixels,
    char* sums, Py_ssize_t channels
) noexcept nogil:
    """sums += what so many pixels bring, of all channels: of x gy, or of gy alone (x is NULL). The last vector of sums
    is that of the last channels, even if some of them have been in the one before."""
    cdef vec[VECTORS] s
    cdef Py_ssize_t c = 0, i, last = channels * <Py_ssize_t>(sizeof(float) if vec is floats else sizeof(double)) - sizeof(vec)
    cdef vec one
    cdef int j
    while x != NULL and c + (VECTORS - 1) * <Py_ssize_t>sizeof(vec) <= last:
        for j in range(VECTORS):
            s[j] = zeros(kind)
        for i in range(pixels):
            for j in range(VECTORS):
                s[j] = s[j] + loaded(kind, x + i * x_step + c, j) * loaded(kind, gy + i * gy_step + c, j)
        for j in range(VECTORS):
            (<vec*> (sums + c))[j] = (<vec*> (sums + c))[j] + s[j]
        c += VECTORS * sizeof(vec)
    while c < last + <Py_ssize_t>sizeof(vec):
        one = zeros(kind)
        for i in range(pixels):
            if x == NULL:
                one = one + loaded(kind, gy + i * gy_step + min(c, last), 0)
            else:
                one = one + loaded(kind, x + i * x_step + min(c, last), 0) * loaded(kind, gy + i * gy_step + min(c, last), 0)
        (<vec*> (sums + c))[0] = (<vec*> (sums + c))[0] + one
        c += sizeof(vec)


cdef inline void share_task(real* kind, Plan* s, Py_ssize_t index) noexcept nogil:
    """Some rows of gy."""
    cdef Py_ssize_t[MOST_TAPS] taps
    cdef const char* rows[MOST_TAPS]
    cdef char* gy
    cdef const char* x
    cdef char* sums = s.sums + index * (s.w.taps + 1) * s.row_bytes
    cdef Py_ssize_t row, i, k, found, first, last, width = s.y.size[2]
    cdef Py_ssize_t step = s.w.stride[2] * s.x.steps[2]
    memset(sums, 0, (s.w.taps + 1) * s.row_bytes)
    for row in range(index * s.per, min((index + 1) * s.per, s.rows)):
        found = row_of(s, row, taps, rows, &gy)
        if real is float:
            add_row(<floats*> NULL, NULL, 0, gy, s.y.steps[2], width, sums + s.w.taps * s.row_bytes, s.y.c)
        else:
            add_row(<doubles*> NULL, NULL, 0, gy, s.y.steps[2], width, sums + s.w.taps * s.row_bytes, s.y.c)
        for k in range(s.w.kernel[2]):
            first, last = 0, width
            while first < last and seen(s, 2, first, k) < 0:
                first += 1
            while first < last and seen(s, 2, last - 1, k) < 0:
                last -= 1
            if first == last:
                continue
            for i in range(found):
                x = rows[i] + seen(s, 2, first, k) * s.x.steps[2]
                if real is float:
                    add_row(<floats*> NULL, x, step, gy + first * s.y.steps[2], s.y.steps[2], last - first,
                            sums + (taps[i] + k) * s.row_bytes, s.y.c)
                else:
                    add_row(<doubles*> NULL, x, step, gy + first * s.y.steps[2], s.y.steps[2], last - first,
                            sums + (taps[i] + k) * s.row_bytes, s.y.c)


cdef inline bint depthwise_gradient(real* kind, const Window* w, Job* job, char* gw, char* gb) noexcept nogil:
    """gw (c, taps) and gb (c,) from x and gy, job.y. False: no memory, or the work was stopped."""
    cdef double flops = 2.0 * job.y.size[2] * w.taps * job.y.c
    cdef Py_ssize_t c, t, share, at
    cdef Plan s
    cdef bint done = False
    cdef double total
    s.w, s.transposed = w, False
    s.blocks = ceil_div(job.y.c, lanes(kind))
    s.row_bytes = times(s.blocks, lanes(kind) * sizeof(real))
    s.rows = job.y.n * job.y.size[0] * job.y.size[1]
    s.shares = max(1, min(<Py_ssize_t> MOST_SHARES, min(s.rows, <Py_ssize_t> (flops * s.rows / TASK_FLOPS))))
    s.per = ceil_div(s.rows, s.shares)
    s.sums = <char*> memory.take(times(times(s.shares, w.taps + 1), s.row_bytes))
    if s.sums == NULL:
        return False
    if pad_image(kind, &job.x, NULL, NULL, False, &s.x):
        if pad_image(kind, &job.y, NULL, NULL, False, &s.y):
            done = run_tasks(<task_t> share_task[real], &s, s.shares, flops * s.rows <= SERIAL_FLOPS, False,
                             flops * s.rows)
            memory.give(s.y.scratch)
        memory.give(s.x.scratch)
    if done:
        for t in range(w.taps + 1):
            for c in range(job.y.c):
                # The last channels lie in the last vector, which ends with the last one.
                at = c
                if c >= (s.blocks - 1) * lanes(kind):
                    at = c - job.y.c + s.blocks * lanes(kind)
                total = 0
                for share in range(s.shares):
                    total += (<const real*> (s.sums + (share * (w.taps + 1) + t) * s.row_bytes))[at]
                if t == w.taps:
                    (<real*> gb)[c] = <real> total
                else:
                    (<real*> gw)[c * w.taps + t] = <real> total
    memory.give(s.sums)
    return done
