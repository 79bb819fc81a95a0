"""Normalisation of rows, each by its own mean and variance: y = (x - mean) / sqrt(var + eps) * weight + bias.

x is (samples, groups, parts, inner) in C order. A row is one group of one sample; each part of it has a weight and a
bias, which are the same in all samples. Layer normalisation has one group and parts of one element; in group
normalisation a part is a channel.

The variance is taken in a second pass over the row, which lies in cache by then: exact for large means. Sums over a row
have LANES partial results, so that they vectorise; of rows shorter than that so many lie side by side
(softmax_columns.pxd). Gradients of weight and bias are sums over samples: each chunk of some rows has sums of its own, and
these are added in order, so that the bits do not depend on the number of threads.
"""

cimport numpy as cnp
from libc.math cimport isfinite, sqrt
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.arrays.checks cimport c_axes, same_layout, vector
from minidl._kernels.rows.exponentials cimport LANES as STRIP
from minidl._kernels.rows.folding cimport LANES, Sum, lanes
from minidl._kernels.rows.softmax_columns cimport to_columns
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.squares cimport turn

cnp.import_array()

cdef enum:
    ROWS = 32  # rows of a chunk, at most
    CHUNK = 16384  # elements of as many rows, about, where parts are long
    COST = 8  # of an element, in additions
    BLOCK = 256  # elements of a row whose products are kept until they are added up: chains of BLOCK / LANES

cdef double TINY = 1e-30, LARGE = 1e30  # squares between which none is lost in float32


cdef struct Work:
    const void* x
    const void* weight
    const void* bias
    const void* gy
    void* mean
    void* rstd
    void* gw
    void* gb
    Py_ssize_t count, groups, parts, inner
    Py_ssize_t n  # elements a row
    Py_ssize_t per_chunk
    bint short_rows  # of fewer elements than STRIP, each with a weight of its own
    double eps


cdef double exact_dot(const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """Σ a b in double; Σ a where b is NULL."""
    cdef double s = 0
    cdef Py_ssize_t i
    for i in range(n):
        s += a[i] if b == NULL else <double>a[i] * b[i]
    return s


cdef inline double dot(const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """The same, quicker: sums of BLOCK products are taken in their own precision. Where that goes beyond its range they are
    taken again in double.
    """
    cdef real[LANES] s
    cdef double total = 0
    cdef Py_ssize_t i = 0, j, stop
    while i + LANES <= n:
        stop = min(i + BLOCK, n) - LANES
        for j in range(LANES):
            s[j] = 0
        while i <= stop:
            for j in range(LANES):
                s[j] += a[i + j] * b[i + j]
            i += LANES
        total += lanes[Sum, real](NULL, s)
    for i in range(i, n):
        total += <double>a[i] * b[i]
    return total if isfinite(total) else exact_dot(a, b, n)


cdef inline double sum_of(const real* x, real origin, Py_ssize_t n) noexcept nogil:
    """Σ (x - origin), in the same way."""
    cdef real[LANES] s
    cdef double total = 0
    cdef Py_ssize_t i = 0, j, stop
    while i + LANES <= n:
        stop = min(i + BLOCK, n) - LANES
        for j in range(LANES):
            s[j] = 0
        while i <= stop:
            for j in range(LANES):
                s[j] += x[i + j] - origin
            i += LANES
        total += lanes[Sum, real](NULL, s)
    for i in range(i, n):
        total += x[i] - origin
    return total if isfinite(total) else exact_dot[real](x, NULL, n) - origin * <double>n


cdef inline double mean_of(const real* x, Py_ssize_t n) noexcept nogil:
    """The mean of a row. That of equal numbers must be this number, or dividing by their deviation, which is 0, makes
    anything of the rounding error: so x - x[0] is added up.
    """
    cdef double mean = x[0] + sum_of(x, x[0], n) / n if n else 0
    return mean if isfinite(mean) else exact_dot[real](x, NULL, n) / n


cdef inline double square_of(const real* d, Py_ssize_t n, double off) noexcept nogil:
    """The variance, of differences from a mean that is off by so much."""
    cdef double square = dot(d, d, n)
    if not TINY < square < LARGE:  # squares may have been beyond the range of float32
        square = exact_dot(d, d, n)
    square = square / n - off * off
    return 0 if square < 0 else square  # (a NaN stays)


# ── The way there ────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void forward_rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t n = w.n, r, i, part, channel  # the row's first
    cdef const real* x
    cdef const real* weight
    cdef const real* bias
    cdef real* y
    cdef double exact
    cdef real mean, rstd
    if w.short_rows:
        while first < last:
            forward_strip(w, first, min(last - first, <Py_ssize_t>STRIP), out)
            first += STRIP
        return
    for r in range(first, last):
        x, y = <const real*>w.x + r * n, out + r * n
        channel = r % w.groups * w.parts
        weight, bias = <const real*>w.weight + channel, <const real*>w.bias + channel
        exact = mean_of(x, n)
        mean = <real>exact
        for i in range(n):
            y[i] = x[i] - mean
        rstd = <real>(1 / sqrt(square_of(<const real*>y, n, mean - exact) + w.eps))
        (<real*>w.mean)[r] = mean
        (<real*>w.rstd)[r] = rstd
        if w.inner == 1:
            for i in range(n):
                y[i] = y[i] * rstd * weight[i] + bias[i]
        else:
            for part in range(w.parts):
                for i in range(w.inner):
                    y[i] = y[i] * rstd * weight[part] + bias[part]
                y += w.inner


cdef void forward_strip(Work* w, Py_ssize_t first, Py_ssize_t count, real* out) noexcept nogil:
    """STRIP short rows, or what is left of them, side by side: loops go across them."""
    cdef Py_ssize_t n = w.n, i, j
    cdef real[STRIP * STRIP] d
    cdef real[STRIP] mean, rstd
    cdef double[STRIP] s, off
    cdef const real* weight = <const real*>w.weight
    cdef const real* bias = <const real*>w.bias
    to_columns(<const real*>w.x + first * n, d, count, n)
    for j in range(STRIP):
        s[j] = 0
    for i in range(n):
        for j in range(STRIP):
            s[j] += <double>d[i * STRIP + j] - d[j]
    for j in range(STRIP):
        s[j] = d[j] + s[j] / n
    for j in range(count):
        if not isfinite(s[j]):
            s[j] = exact_dot[real](<const real*>w.x + (first + j) * n, NULL, n) / n
    for j in range(STRIP):
        mean[j] = <real>s[j]
        off[j] = mean[j] - s[j]
        s[j] = 0
    for i in range(n):
        for j in range(STRIP):
            d[i * STRIP + j] -= mean[j]
            s[j] += <double>d[i * STRIP + j] * d[i * STRIP + j]
    for j in range(STRIP):
        s[j] = s[j] / n - off[j] * off[j]
        rstd[j] = <real>(1 / sqrt((0 if s[j] < 0 else s[j]) + w.eps))
    for i in range(n):
        for j in range(STRIP):
            d[i * STRIP + j] = d[i * STRIP + j] * rstd[j] * weight[i] + bias[i]
    turn(<const real*>d, STRIP, out + first * n, n, n, count)
    for j in range(count):
        (<real*>w.mean)[first + j] = mean[j]
        (<real*>w.rstd)[first + j] = rstd[j]


# ── The way back ─────────────────────────────────────────────────────────────────────────────────────────────────────
# With z = (x - mean) rstd and g = gy weight: gx = rstd (g - mean(g) - z mean(g z)); gw = Σ gy z; gb = Σ gy. First the sums
# of g and g z over a row, and what it adds to gw and gb; then gx.

cdef void backward_strips(
    Work* w, Py_ssize_t first, Py_ssize_t last, real* gw, real* gb, real* out
) noexcept nogil:
    """Of short rows, STRIP of them side by side."""
    cdef Py_ssize_t n = w.n, count, i, j
    cdef real[STRIP * STRIP] z, g, sum_gz, sum_g
    cdef real[STRIP] mean, rstd, mg, mgz
    cdef real weight
    for i in range(n * STRIP):
        sum_gz[i] = sum_g[i] = 0
    while first < last:
        count = min(last - first, <Py_ssize_t>STRIP)
        to_columns(<const real*>w.x + first * n, z, count, n)
        to_columns(<const real*>w.gy + first * n, g, count, n)
        for j in range(STRIP):
            mean[j] = (<real*>w.mean)[first + j] if j < count else 0
            rstd[j] = (<real*>w.rstd)[first + j] if j < count else 0
            mg[j] = mgz[j] = 0
        for i in range(n):
            weight = (<const real*>w.weight)[i]
            for j in range(STRIP):
                z[i * STRIP + j] = (z[i * STRIP + j] - mean[j]) * rstd[j]
                sum_g[i * STRIP + j] += g[i * STRIP + j]
                sum_gz[i * STRIP + j] += g[i * STRIP + j] * z[i * STRIP + j]
                g[i * STRIP + j] *= weight
                mg[j] += g[i * STRIP + j]
                mgz[j] += g[i * STRIP + j] * z[i * STRIP + j]
        for j in range(STRIP):
            mg[j] /= n
            mgz[j] /= n
        for i in range(n):
            for j in range(STRIP):
                g[i * STRIP + j] = rstd[j] * (g[i * STRIP + j] - mg[j] - z[i * STRIP + j] * mgz[j])
        turn(<const real*>g, STRIP, out + first * n, n, n, count)
        first += count
    for i in range(n):
        gw[i] = gb[i] = 0
        for j in range(STRIP):
            gw[i] += sum_gz[i * STRIP + j]
            gb[i] += sum_g[i * STRIP + j]


cdef inline void add_elements(
    Work* w, const real* x, const real* gy, const real* weight, real mean, real rstd, real* gw, real* gb, double[2] sums
) noexcept nogil:
    """Of a row whose parts are single elements."""
    cdef real[BLOCK] z, g
    cdef Py_ssize_t start = 0, i, m
    while start < w.n:
        m = min(w.n - start, <Py_ssize_t>BLOCK)
        for i in range(m):
            z[i] = (x[start + i] - mean) * rstd
            g[i] = gy[start + i] * weight[start + i]
        for i in range(m):
            gw[start + i] += gy[start + i] * z[i]
            gb[start + i] += gy[start + i]
        sums[0] += sum_of[real](&g[0], 0, m)
        sums[1] += dot[real](&g[0], &z[0], m)
        start += BLOCK


cdef inline void add_parts(
    Work* w, const real* x, const real* gy, const real* weight, real mean, real rstd, real* gw, real* gb, double[2] sums
) noexcept nogil:
    """Of a row of longer parts: a sum for each of them."""
    cdef real[BLOCK] z
    cdef Py_ssize_t part, start, i, m
    cdef double of_gy, of_gy_z
    for part in range(w.parts):
        of_gy = of_gy_z = 0
        start = 0
        while start < w.inner:
            m = min(w.inner - start, <Py_ssize_t>BLOCK)
            for i in range(m):
                z[i] = (x[start + i] - mean) * rstd
            of_gy += sum_of[real](gy + start, 0, m)
            of_gy_z += dot[real](gy + start, &z[0], m)
            start += BLOCK
        gw[part] += <real>of_gy_z
        gb[part] += <real>of_gy
        sums[0] += weight[part] * of_gy
        sums[1] += weight[part] * of_gy_z
        x, gy = x + w.inner, gy + w.inner


cdef void backward_chunk(
    Work* w, Py_ssize_t first, Py_ssize_t last, real* gw, real* gb, real* out
) noexcept nogil:
    cdef Py_ssize_t n = w.n, channels = w.groups * w.parts, r, i, part, channel
    cdef const real* x
    cdef const real* gy
    cdef const real* weight
    cdef real* gx
    cdef real mean, rstd, mg, mgz
    cdef double[2] sums
    if w.short_rows:
        backward_strips(w, first, last, gw, gb, out)
        return
    for i in range(channels):
        gw[i] = gb[i] = 0
    for r in range(first, last):
        x, gy, gx = <const real*>w.x + r * n, <const real*>w.gy + r * n, out + r * n
        mean, rstd = (<real*>w.mean)[r], (<real*>w.rstd)[r]
        channel = r % w.groups * w.parts
        weight = <const real*>w.weight + channel
        if n == 1:
            gw[channel] += gy[0] * ((x[0] - mean) * rstd)
            gb[channel] += gy[0]
            gx[0] = x[0] - mean  # y is the bias whatever x: 0, or the NaN that y is
            continue
        sums[0] = sums[1] = 0
        if w.inner == 1:
            add_elements(w, x, gy, weight, mean, rstd, gw + channel, gb + channel, sums)
        else:
            add_parts(w, x, gy, weight, mean, rstd, gw + channel, gb + channel, sums)
        mg, mgz = <real>(sums[0] / n), <real>(sums[1] / n)
        if w.inner == 1:
            for i in range(n):
                gx[i] = rstd * (gy[i] * weight[i] - mg - (x[i] - mean) * rstd * mgz)
        else:
            for part in range(w.parts):
                for i in range(w.inner):
                    gx[i] = rstd * (gy[i] * weight[part] - mg - (x[i] - mean) * rstd * mgz)
                x, gy, gx = x + w.inner, gy + w.inner, gx + w.inner


cdef void backward_chunks(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    cdef Py_ssize_t chunk, n = w.per_chunk, channels = w.groups * w.parts
    for chunk in range(first, last):
        backward_chunk(w, chunk * n, min((chunk + 1) * n, w.count), <real*>w.gw + chunk * channels,
                       <real*>w.gb + chunk * channels, gx)


cdef Py_ssize_t set_sizes(Work* w, cnp.ndarray x) noexcept:
    """Returns the number of chunks."""
    w.count, w.groups = cnp.PyArray_DIM(x, 0) * cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 1)
    w.parts, w.inner = cnp.PyArray_DIM(x, 2), cnp.PyArray_DIM(x, 3)
    w.n = w.parts * w.inner
    w.short_rows = w.inner == 1 and w.groups == 1 and 1 < w.n < STRIP
    w.per_chunk = ROWS if w.inner == 1 else max(min(CHUNK // max(w.n, <Py_ssize_t>1), <Py_ssize_t>ROWS), <Py_ssize_t>1)
    if w.short_rows:
        w.per_chunk *= STRIP
    return (w.count + w.per_chunk - 1) // w.per_chunk


cdef cnp.ndarray numbers(object v, cnp.ndarray x, Py_ssize_t length, str which):
    """v as a vector of x's dtype."""
    cdef cnp.ndarray given = vector(v, length, "row_norm", which)
    if cnp.PyArray_TYPE(given) != cnp.PyArray_TYPE(x):
        raise TypeError(f"row_norm: {which}: expected {(<object>x).dtype}, got {(<object>given).dtype}")
    return given


cdef str AXES = "samples, groups, parts, inner"


def row_norm_forward(x, weight, bias, double eps):
    """(y, mean, rstd) for x (samples, groups, parts, inner), weight and bias (groups * parts,).

    mean and rstd have one value for each row, a group of a sample.
    """
    cdef cnp.ndarray xs = c_axes(x, 4, "row_norm", AXES), y = memory.empty_like(xs)
    cdef Work w
    set_sizes(&w, xs)
    cdef Py_ssize_t channels = w.groups * w.parts
    cdef cnp.npy_intp count = w.count
    cdef cnp.ndarray weights = numbers(weight, xs, channels, "weight"), biases = numbers(bias, xs, channels, "bias")
    cdef cnp.ndarray mean = memory.empty(1, &count, cnp.PyArray_TYPE(xs)), rstd = memory.empty_like(mean)
    w.x, w.weight, w.bias, w.eps = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(weights), cnp.PyArray_DATA(biases), eps
    w.mean, w.rstd = cnp.PyArray_DATA(mean), cnp.PyArray_DATA(rstd)
    run(of_dtype(xs, <loop_t>forward_rows[float], <loop_t>forward_rows[double]), &w, sizeof(w), y, w.count, w.n, COST, False)
    if prepared.capturing():
        prepared.fills(mean)
        prepared.fills(rstd)
    return y, mean, rstd


cdef struct Gradients:
    Work work
    loop_t loop
    Py_ssize_t chunks
    void* gx
    void* gw
    void* gb
    bint wide


cdef void add_chunks(real* sums, const real* parts, Py_ssize_t chunks, Py_ssize_t channels) noexcept nogil:
    cdef Py_ssize_t chunk, i
    for i in range(channels):
        sums[i] = 0
    for chunk in range(chunks):
        for i in range(channels):
            sums[i] += parts[chunk * channels + i]


cdef void gradients_of_chunks(void* tag, Gradients* g, Py_ssize_t first, Py_ssize_t last, void* _) noexcept nogil:
    g.loop(NULL, &g.work, first, last, g.gx)


cdef int differentiate(void* work) except -1:
    """gx, and what the chunks of rows add to gw and gb; then the sums of that."""
    cdef Gradients g = (<Gradients*>work)[0]
    cdef Work* w = &g.work
    cdef Py_ssize_t channels = w.groups * w.parts
    cdef size_t nbytes = <size_t>(g.chunks * channels) * (sizeof(double) if g.wide else sizeof(float))
    w.gw = memory.take(2 * nbytes)
    if w.gw == NULL:
        raise MemoryError(f"row_norm: no memory for the sums of {g.chunks} chunks")
    w.gb = <char*>w.gw + nbytes
    try:
        run(<loop_t>gradients_of_chunks, &g, sizeof(g), None, g.chunks, w.per_chunk * w.n, COST, False)
        if g.wide:
            add_chunks(<double*>g.gw, <const double*>w.gw, g.chunks, channels)
            add_chunks(<double*>g.gb, <const double*>w.gb, g.chunks, channels)
        else:
            add_chunks(<float*>g.gw, <const float*>w.gw, g.chunks, channels)
            add_chunks(<float*>g.gb, <const float*>w.gb, g.chunks, channels)
    finally:
        memory.give(w.gw)
    return 0


def row_norm_backward(x, weight, gy, mean, rstd):
    """(gx, gw, gb) from what forward got and returned."""
    cdef cnp.ndarray xs = c_axes(x, 4, "row_norm", AXES), gx = memory.empty_like(xs)
    cdef cnp.ndarray gs = same_layout(gy, xs, "row_norm")
    cdef Gradients g
    cdef Work* w = &g.work
    g.chunks = set_sizes(w, xs)
    cdef cnp.npy_intp channels = w.groups * w.parts
    cdef cnp.ndarray weights = numbers(weight, xs, channels, "weight")
    cdef cnp.ndarray means = numbers(mean, xs, w.count, "mean"), rstds = numbers(rstd, xs, w.count, "rstd")
    cdef cnp.ndarray gw = memory.empty(1, &channels, cnp.PyArray_TYPE(xs)), gb = memory.empty_like(gw)
    w.x, w.gy, w.weight = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(gs), cnp.PyArray_DATA(weights)
    w.mean, w.rstd = cnp.PyArray_DATA(means), cnp.PyArray_DATA(rstds)
    g.loop, g.wide = of_dtype(xs, <loop_t>backward_chunks[float], <loop_t>backward_chunks[double]), is_double(xs)
    g.gx, g.gw, g.gb = cnp.PyArray_DATA(gx), cnp.PyArray_DATA(gw), cnp.PyArray_DATA(gb)
    prepared.do(differentiate, &g, sizeof(g), gx)
    if prepared.capturing():
        prepared.fills(gw)
        prepared.fills(gb)
    return gx, gw, gb
