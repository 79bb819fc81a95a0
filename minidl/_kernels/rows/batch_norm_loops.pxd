# The loops of batch normalisation over both layouts; batch_norm.pyx says what is computed.
#
# A chunk of a sum has fixed bounds. `first` and `second` hold the sums of the chunks, one line of `columns` numbers each.

from libc.math cimport isfinite
from minidl._kernels.math.elementary cimport real
from minidl._kernels.runtime.epilogues cimport Activation, activate_in_place, activation_t

cdef enum:
    CHUNK = 16384  # elements of a chunk, about
    DEEP = 128     # rows of a chunk, at least
    WIDE = 256     # columns that are summed side by side
    RUN = 2048     # elements that pass through an activation at a time, in the first cache
    GROUP = 8      # rows added in pairs before they meet the partial sum
    FLUSH = 64     # rows after which a sum in x's precision goes on in double
    LANES = 16     # partial sums side by side, so that a sum vectorises
    FEW = 64       # elements whose mean is the k of a chunk of a plane; columns to which few channels are widened


cdef struct Work

ctypedef void (*sum_t)(Work* w, Py_ssize_t index, void* kind) noexcept nogil

cdef struct Work:
    sum_t sum             # of a chunk
    const void* x
    const void* gy
    const void* y         # the slope of the activation is written in it
    const void* near      # per column: the mean, rounded
    const void* scale     # weight / sqrt(var + eps)
    const void* offset
    const void* gx_x      # gx = scale g + gx_x (x - near) + gx_1
    const void* gx_1
    double* first         # (chunks, columns): mean, or Σ g
    double* second        # Σ (x - mean)², or Σ g (x - near)
    activation_t activation
    activation_t slope
    double a, b
    bint by_sign                 # the slope is `a` where (x - near) scale + offset <= 0, and 1 elsewhere
    bint rows_layout, linear     # linear: the statistics are given, gx = scale g
    Py_ssize_t columns           # rows: their length. planes: channels
    Py_ssize_t count             # rows, or samples (outer)
    Py_ssize_t inner             # of a plane; 1 for rows
    Py_ssize_t runs, length      # a plane is cut into so many runs of so many elements
    Py_ssize_t per_chunk, chunks # rows or samples of a chunk, and how many chunks


cdef inline real eight(real a, real b, real c, real d, real e, real f, real g, real h) noexcept nogil:
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


cdef inline real* aligned(real* room) noexcept nogil:
    """The first element on a line of the cache."""
    return <real*>((<size_t>room + 63) & ~<size_t>63)


cdef inline void careful(
    const real* x, Py_ssize_t outer, Py_ssize_t step, Py_ssize_t inner, double* mean, double* squares
) noexcept nogil:
    """The moments of a chunk in double, for numbers whose squares overflow."""
    cdef Py_ssize_t i, j
    cdef double total = 0, d
    for i in range(outer):
        for j in range(inner):
            total += x[i * step + j]
    mean[0], squares[0] = total / (outer * inner), 0
    for i in range(outer):
        for j in range(inner):
            d = x[i * step + j] - mean[0]
            squares[0] += d * d


# ── What both layouts add up ─────────────────────────────────────────────────────────────────────────────────────────
# Rows of n elements, which are `apart`; s and q are a sum for each of the n columns, with a `near` of its own.

cdef inline void add_moments(
    const real* x, Py_ssize_t apart, Py_ssize_t n, const real* near, real* s, real* q
) noexcept nogil:
    """Of GROUP rows."""
    cdef Py_ssize_t j, k = apart
    cdef real d0, d1, d2, d3, d4, d5, d6, d7
    for j in range(n):
        d0, d1, d2, d3 = x[j] - near[j], x[k + j] - near[j], x[2*k + j] - near[j], x[3*k + j] - near[j]
        d4, d5, d6, d7 = x[4*k + j] - near[j], x[5*k + j] - near[j], x[6*k + j] - near[j], x[7*k + j] - near[j]
        s[j] += eight(d0, d1, d2, d3, d4, d5, d6, d7)
        q[j] += eight(d0*d0, d1*d1, d2*d2, d3*d3, d4*d4, d5*d5, d6*d6, d7*d7)


cdef inline void add_moments_of_row(const real* x, Py_ssize_t n, const real* near, real* s, real* q) noexcept nogil:
    cdef Py_ssize_t j
    cdef real d
    for j in range(n):
        d = x[j] - near[j]
        s[j] += d
        q[j] += d * d


cdef inline void add_products(
    const real* x, Py_ssize_t apart, const real* g, Py_ssize_t g_apart, Py_ssize_t n, const real* near, real* s, real* q
) noexcept nogil:
    """Of GROUP rows."""
    cdef Py_ssize_t j, k = apart, m = g_apart
    for j in range(n):
        s[j] += eight(g[j], g[m + j], g[2*m + j], g[3*m + j], g[4*m + j], g[5*m + j], g[6*m + j], g[7*m + j])
        q[j] += eight(
            g[j] * (x[j] - near[j]), g[m + j] * (x[k + j] - near[j]),
            g[2*m + j] * (x[2*k + j] - near[j]), g[3*m + j] * (x[3*k + j] - near[j]),
            g[4*m + j] * (x[4*k + j] - near[j]), g[5*m + j] * (x[5*k + j] - near[j]),
            g[6*m + j] * (x[6*k + j] - near[j]), g[7*m + j] * (x[7*k + j] - near[j]))


cdef inline void add_products_of_row(
    const real* x, const real* g, Py_ssize_t n, const real* near, real* s, real* q
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        s[j] += g[j]
        q[j] += g[j] * (x[j] - near[j])


# ── Rows: channels last ──────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void normalise_row(Work* w, const real* x, real* y, Py_ssize_t c0, Py_ssize_t n) noexcept nogil:
    cdef const real* near = <const real*>w.near + c0
    cdef const real* scale = <const real*>w.scale + c0
    cdef const real* offset = <const real*>w.offset + c0
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = (x[j] - near[j]) * scale[j] + offset[j]


cdef inline real sloped(real gy, real z, real a) noexcept nogil:
    """gy times a slope that is `a` for z <= 0 and 1 elsewhere; a dead unit passes nothing on, inf neither."""
    cdef real low = gy * a if a != 0 else a  # not asked of each z: a branch on its sign would be a coin toss
    return low if z <= 0 else gy


cdef inline const real* slopes_of_rows(
    Work* w, Py_ssize_t start, Py_ssize_t rows, Py_ssize_t c0, Py_ssize_t n, real* g
) noexcept nogil:
    """gy times the slope of the activation, for rows * n adjacent elements from `start` on."""
    cdef const real* near = <const real*>w.near + c0
    cdef const real* scale = <const real*>w.scale + c0
    cdef const real* offset = <const real*>w.offset + c0
    cdef const real* x = <const real*>w.x + start
    cdef const real* gy = <const real*>w.gy + start
    cdef real a = <real>w.a
    cdef Activation saved
    cdef Py_ssize_t r, j
    if w.by_sign:
        for r in range(rows):
            for j in range(n):
                g[r * n + j] = sloped(gy[r * n + j], (x[r * n + j] - near[j]) * scale[j] + offset[j], a)
    elif w.slope != NULL:
        saved = Activation(<const real*>w.y + start, gy, w.a, w.b)
        w.slope(NULL, &saved, 0, rows * n, g)
    else:
        return gy
    return g


cdef inline void moments_of_rows(Work* w, Py_ssize_t index, real* _) noexcept nogil:
    cdef Py_ssize_t wide = (w.columns + WIDE - 1) // WIDE, chunk = index // wide, c0 = index % wide * WIDE
    cdef Py_ssize_t n = min(w.columns - c0, <Py_ssize_t>WIDE), r0 = chunk * w.per_chunk, k = w.columns
    cdef Py_ssize_t count = min(w.count - r0, w.per_chunk), few = min(count, <Py_ssize_t>GROUP), r, i, j
    cdef const real* first = <const real*>w.x + r0 * w.columns + c0
    cdef real[WIDE] near, s, q
    cdef double[WIDE] sums, squares
    for j in range(n):
        near[j] = 0
        sums[j] = squares[j] = 0
    for r in range(few):
        for j in range(n):
            near[j] += first[r * k + j]
    for j in range(n):
        near[j] /= <real>few
    r = 0
    while r < count:
        for j in range(n):
            s[j] = q[j] = 0
        for i in range(min(count - r, <Py_ssize_t>FLUSH) // GROUP):
            add_moments(first + (r + i * GROUP) * k, k, n, near, s, q)
        for i in range(min(count - r, <Py_ssize_t>FLUSH) // GROUP * GROUP, min(count - r, <Py_ssize_t>FLUSH)):
            add_moments_of_row(first + (r + i) * k, n, near, s, q)
        for j in range(n):
            sums[j] += s[j]
            squares[j] += q[j]
        r += FLUSH
    for j in range(n):
        i = chunk * w.columns + c0 + j
        w.first[i] = near[j] + sums[j] / count
        w.second[i] = squares[j] - sums[j] * sums[j] / count
    for j in range(n):
        i = chunk * w.columns + c0 + j
        if not (isfinite(w.first[i]) and isfinite(w.second[i])):
            careful(first + j, count, k, 1, w.first + i, w.second + i)


cdef inline void forward_rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t r, start, rows = max(RUN // w.columns, <Py_ssize_t>1)
    cdef real* y
    while first < last:
        rows = min(rows, last - first)
        start = first * w.columns
        y = out + start
        for r in range(rows):
            normalise_row(w, <const real*>w.x + start + r * w.columns, y + r * w.columns, 0, w.columns)
        if w.activation != NULL:
            activate_in_place(w.activation, y, rows * w.columns, w.a, w.b)
        first += rows


cdef inline void sums_of_rows(Work* w, Py_ssize_t index, real* _) noexcept nogil:
    cdef Py_ssize_t wide = (w.columns + WIDE - 1) // WIDE, chunk = index // wide, c0 = index % wide * WIDE
    cdef Py_ssize_t n = min(w.columns - c0, <Py_ssize_t>WIDE), first = chunk * w.per_chunk, k = w.columns, m
    cdef Py_ssize_t last = min(w.count, first + w.per_chunk), rows = RUN // n, since = 0, r, i, j
    cdef const real* near = <const real*>w.near + c0
    cdef const real* x
    cdef const real* g
    cdef real[WIDE] s, q
    cdef real[RUN + LANES] room
    cdef real* slopes = aligned(room)
    cdef double[WIDE] sums, products
    for j in range(n):
        s[j] = q[j] = 0
        sums[j] = products[j] = 0
    while first < last:
        rows = min(rows, last - first)
        x = <const real*>w.x + first * k + c0
        m = n  # from one row of g to the next
        if n == k:
            g = slopes_of_rows(w, first * k, rows, 0, n, slopes)
        elif w.slope == NULL and not w.by_sign:
            g, m = <const real*>w.gy + first * k + c0, k
        else:
            for r in range(rows):
                slopes_of_rows(w, (first + r) * k + c0, 1, c0, n, slopes + r * n)
            g = slopes
        for i in range(rows // GROUP):
            add_products(x, k, g, m, n, near, s, q)
            x, g = x + GROUP * k, g + GROUP * m
        for r in range(rows % GROUP):
            add_products_of_row(x, g, n, near, s, q)
            x, g = x + k, g + m
        since += rows
        first += rows
        if since >= FLUSH or first == last:
            for j in range(n):
                sums[j] += s[j]
                products[j] += q[j]
                s[j] = q[j] = 0
            since = 0
    for j in range(n):
        w.first[chunk * k + c0 + j], w.second[chunk * k + c0 + j] = sums[j], products[j]


cdef inline void backward_row(
    Work* w, const real* x, const real* g, real* gx, Py_ssize_t c0, Py_ssize_t n
) noexcept nogil:
    cdef const real* near = <const real*>w.near + c0
    cdef const real* scale = <const real*>w.scale + c0
    cdef const real* gx_x = <const real*>w.gx_x + c0
    cdef const real* gx_1 = <const real*>w.gx_1 + c0
    cdef Py_ssize_t j
    if w.linear:
        for j in range(n):
            gx[j] = scale[j] * g[j]
    else:
        for j in range(n):
            gx[j] = scale[j] * g[j] + (gx_x[j] * (x[j] - near[j]) + gx_1[j])


cdef inline void backward_rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t rows = max(RUN // w.columns, <Py_ssize_t>1), c0, n, r, start
    cdef const real* g
    cdef real[RUN + LANES] room
    cdef real* slopes = aligned(room)
    while first < last:
        rows = min(rows, last - first)
        c0 = 0
        while c0 < w.columns:  # either the rows are whole, or there is one of them
            n, start = min(w.columns - c0, <Py_ssize_t>RUN), first * w.columns + c0
            g = slopes_of_rows(w, start, rows, c0, n, slopes)
            for r in range(rows):
                backward_row(w, <const real*>w.x + start + r * n, g + r * n, out + start + r * n, c0, n)
            c0 += n
        first += rows


# ── Planes: C order ──────────────────────────────────────────────────────────────────────────────────────────────────
# A chunk of a sum is a run of a channel in `per_chunk` samples. The elementwise passes go from run to run.

cdef inline void normalise_run(Work* w, const real* x, real* y, Py_ssize_t c, Py_ssize_t n) noexcept nogil:
    cdef real near = (<const real*>w.near)[c], scale = (<const real*>w.scale)[c], offset = (<const real*>w.offset)[c]
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = (x[i] - near) * scale + offset


cdef inline const real* slopes_of_run(
    Work* w, Py_ssize_t start, Py_ssize_t c, Py_ssize_t n, real* g
) noexcept nogil:
    cdef real near = (<const real*>w.near)[c], scale = (<const real*>w.scale)[c], offset = (<const real*>w.offset)[c]
    cdef const real* x = <const real*>w.x + start
    cdef const real* gy = <const real*>w.gy + start
    cdef real a = <real>w.a
    cdef Activation saved
    cdef Py_ssize_t i
    if w.by_sign:
        for i in range(n):
            g[i] = sloped(gy[i], (x[i] - near) * scale + offset, a)
    elif w.slope != NULL:
        saved = Activation(<const real*>w.y + start, gy, w.a, w.b)
        w.slope(NULL, &saved, 0, n, g)
    else:
        return gy
    return g


# LANES elements of a run are such a row.

cdef inline void add_moments_of_run(const real* x, Py_ssize_t n, const real* near, real* s, real* q) noexcept nogil:
    while n >= GROUP * LANES:
        add_moments(x, LANES, LANES, near, s, q)
        x, n = x + GROUP * LANES, n - GROUP * LANES
    while n > 0:
        add_moments_of_row(x, min(n, <Py_ssize_t>LANES), near, s, q)
        x, n = x + LANES, n - LANES


cdef inline void add_products_of_run(
    const real* x, const real* g, Py_ssize_t n, const real* near, real* s, real* q
) noexcept nogil:
    while n >= GROUP * LANES:
        add_products(x, LANES, g, LANES, LANES, near, s, q)
        x, g, n = x + GROUP * LANES, g + GROUP * LANES, n - GROUP * LANES
    while n > 0:
        add_products_of_row(x, g, min(n, <Py_ssize_t>LANES), near, s, q)
        x, g, n = x + LANES, g + LANES, n - LANES


cdef inline double drained(real* s) noexcept nogil:
    """The sum of the lanes, which are then 0."""
    cdef double total = 0
    cdef Py_ssize_t j
    for j in range(LANES):
        total += s[j]
        s[j] = 0
    return total


cdef inline void moments_of_planes(Work* w, Py_ssize_t index, real* _) noexcept nogil:
    cdef Py_ssize_t c = index % w.columns, chunk = index // w.columns, p = chunk % w.runs * w.length
    cdef Py_ssize_t n0 = chunk // w.runs * w.per_chunk, step = w.columns * w.inner, i, j, s
    cdef Py_ssize_t n = min(w.inner - p, w.length), samples = min(w.count - n0, w.per_chunk), since = 0
    cdef const real* first = <const real*>w.x + n0 * step + c * w.inner + p
    cdef const real* x
    cdef real[LANES] lanes, squares, nears
    cdef real near = 0
    cdef double total = 0, square = 0
    for i in range(min(n, <Py_ssize_t>FEW)):
        near += first[i]
    near /= <real>min(n, <Py_ssize_t>FEW)
    for j in range(LANES):
        lanes[j] = squares[j] = 0
        nears[j] = near
    for s in range(samples):
        add_moments_of_run(first + s * step, n, nears, lanes, squares)
        since += n
        if since >= RUN or s == samples - 1:
            total += drained(lanes)
            square += drained(squares)
            since = 0
    w.first[index] = near + total / (samples * n)
    w.second[index] = square - total * total / (samples * n)
    if not (isfinite(w.first[index]) and isfinite(w.second[index])):
        careful(first, samples, step, n, w.first + index, w.second + index)


cdef inline void forward_planes(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    cdef Py_ssize_t unit, n, start, begin = -1
    for unit in range(first, last):
        start = unit % w.runs * w.length
        n = min(w.inner - start, w.length)
        start += unit // w.runs * w.inner
        begin = start if begin < 0 else begin
        normalise_run(w, <const real*>w.x + start, y + start, unit // w.runs % w.columns, n)
        if w.activation != NULL and (start + n - begin >= RUN or unit == last - 1):
            activate_in_place(w.activation, y + begin, start + n - begin, w.a, w.b)
            begin = -1


cdef inline void sums_of_planes(Work* w, Py_ssize_t index, real* _) noexcept nogil:
    cdef Py_ssize_t c = index % w.columns, chunk = index // w.columns, p = chunk % w.runs * w.length
    cdef Py_ssize_t n0 = chunk // w.runs * w.per_chunk, step = w.columns * w.inner, since = 0, j, s, start
    cdef Py_ssize_t n = min(w.inner - p, w.length), samples = min(w.count - n0, w.per_chunk)
    cdef const real* x
    cdef const real* g
    cdef real[LANES] lanes, products, nears
    cdef real[RUN + LANES] room
    cdef real* slopes = aligned(room)
    cdef real near = (<const real*>w.near)[c]
    cdef double total = 0, product = 0
    for j in range(LANES):
        lanes[j] = products[j] = 0
        nears[j] = near
    for s in range(samples):
        start = (n0 + s) * step + c * w.inner + p
        x, g = <const real*>w.x + start, slopes_of_run(w, start, c, n, slopes)
        add_products_of_run(x, g, n, nears, lanes, products)
        since += n
        if since >= RUN or s == samples - 1:
            total += drained(lanes)
            product += drained(products)
            since = 0
    w.first[index], w.second[index] = total, product


cdef inline void backward_planes(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t unit, n, start, c, i
    cdef const real* x
    cdef const real* g
    cdef real* gx
    cdef real[RUN + LANES] room
    cdef real* slopes = aligned(room)
    cdef real near, scale, gx_x, gx_1
    for unit in range(first, last):
        start, c = unit % w.runs * w.length, unit // w.runs % w.columns
        n = min(w.inner - start, w.length)
        start += unit // w.runs * w.inner
        near, scale = (<const real*>w.near)[c], (<const real*>w.scale)[c]
        x, gx = <const real*>w.x + start, out + start
        g = slopes_of_run(w, start, c, n, slopes)
        if w.linear:
            for i in range(n):
                gx[i] = scale * g[i]
        else:
            gx_x, gx_1 = (<const real*>w.gx_x)[c], (<const real*>w.gx_1)[c]
            for i in range(n):
                gx[i] = scale * g[i] + (gx_x * (x[i] - near) + gx_1)
