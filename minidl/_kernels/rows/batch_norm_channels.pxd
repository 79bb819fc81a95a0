# What batch normalisation computes once a channel, between its passes over the elements: the moments from those of the
# chunks, the coefficients from mean and variance, and the running statistics. All of it in double.

from libc.math cimport isfinite, sqrt
from libc.stdint cimport int64_t
from minidl._kernels.loops.driver cimport loop_t
from minidl._kernels.math.elementary cimport real
from minidl._kernels.rows.batch_norm_loops cimport Work

cdef struct Vector:  # one number a channel
    const void* data  # NULL: not given
    bint wide

cdef struct Norm:  # all that a call works on
    Work w
    loop_t loop  # over elements
    void* y      # where it puts them
    Vector mean, var, weight, bias
    double eps
    Py_ssize_t channels
    void* gw
    void* gb
    bint wide


# ── Moments ──────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void join(Work* w, Py_ssize_t channels, double* mean, double* squares) noexcept nogil:
    """The moments of all chunks, one after the other, in the first line."""
    cdef Py_ssize_t lines = w.columns // channels, chunk, line, c
    cdef const double* m
    cdef const double* q
    cdef double n = 0, added, share, d
    for chunk in range(w.chunks):
        added = min(w.per_chunk, w.count - chunk // w.runs * w.per_chunk)
        added *= min(w.length, w.inner - chunk % w.runs * w.length)
        for line in range(lines):
            m = w.first + chunk * w.columns + line * channels
            q = w.second + chunk * w.columns + line * channels
            n += added
            share = added / n
            for c in range(channels):
                d = m[c] - mean[c]
                mean[c] += share * d
                squares[c] += q[c] + d * d * (added - share * added)


# ── Coefficients ─────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Channel:  # what its elements are computed with
    double near       # the mean in x's precision
    double rest       # what that leaves of it
    double rstd, scale


cdef inline double number(const Vector* v, Py_ssize_t c) noexcept nogil:
    return (<const double*>v.data)[c] if v.wide else (<const float*>v.data)[c]


cdef inline Channel channel(const Norm* n, Py_ssize_t c, real* kind) noexcept nogil:
    cdef Channel k
    cdef double mean = number(&n.mean, c)
    k.near = <real>mean
    k.rest = mean - k.near if isfinite(k.near) else 0
    k.rstd = 1 / sqrt(number(&n.var, c) + n.eps)
    k.scale = k.rstd if n.weight.data == NULL else k.rstd * number(&n.weight, c)
    return k


cdef inline void widen(real* v, Py_ssize_t channels, Py_ssize_t columns) noexcept nogil:
    """One number a channel becomes one a column."""
    cdef Py_ssize_t i
    for i in range(channels, columns):
        v[i] = v[i - channels]


cdef inline void set_coefficients(Norm* n, real* near) noexcept nogil:
    """y = (x - near) scale + offset: three numbers a column, in the room from `near` on."""
    cdef real* scale = near + n.w.columns
    cdef real* offset = scale + n.w.columns
    cdef Py_ssize_t c
    cdef Channel k
    for c in range(n.channels):
        k = channel(n, c, near)
        near[c], scale[c] = <real>k.near, <real>k.scale
        offset[c] = <real>(-k.rest * k.scale if n.bias.data == NULL else number(&n.bias, c) - k.rest * k.scale)
    widen(near, n.channels, n.w.columns)
    widen(scale, n.channels, n.w.columns)
    widen(offset, n.channels, n.w.columns)
    n.w.near, n.w.scale, n.w.offset = near, scale, offset


cdef inline void set_gradients(Norm* n, real* gx_x) noexcept nogil:
    """gw and gb of the sums of all chunks; gx = scale g + gx_x (x - near) + gx_1: two numbers a column in this room."""
    cdef real* gx_1 = gx_x + n.w.columns
    cdef double* sums = n.w.first
    cdef double* products = n.w.second
    cdef Py_ssize_t line, c, channels = n.channels
    cdef double each = n.w.count * n.w.columns * n.w.inner // channels, gw, slant
    cdef Channel k
    for line in range(1, n.w.chunks * n.w.columns // channels):
        for c in range(channels):
            sums[c] += n.w.first[line * channels + c]
            products[c] += n.w.second[line * channels + c]
    for c in range(channels):
        k = channel(n, c, gx_x)
        gw = k.rstd * (products[c] - k.rest * sums[c])
        slant = -k.scale * k.rstd * gw / each
        gx_x[c], gx_1[c] = <real>slant, <real>(-k.scale * sums[c] / each - slant * k.rest)
        (<real*>n.gw)[c], (<real*>n.gb)[c] = <real>gw, <real>sums[c]
    widen(gx_x, channels, n.w.columns)
    widen(gx_1, channels, n.w.columns)
    n.w.gx_x, n.w.gx_1 = gx_x, gx_1


# ── Running statistics ───────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Running:  # statistics of all batches so far
    char* data  # NULL: not kept
    Py_ssize_t stride
    bint wide

cdef struct Tracking:
    Running mean, var
    Vector new_mean, new_var
    int64_t* count    # of batches; NULL: not kept
    Py_ssize_t channels
    double momentum   # NaN: 1 / count
    double unbiased   # by which the variance is multiplied; 0: there were no elements


cdef inline void move(Running* r, const Vector* new, double factor, double momentum, Py_ssize_t channels) noexcept nogil:
    """r += momentum (factor new - r)."""
    cdef Py_ssize_t c
    cdef double* wide
    cdef float* single
    for c in range(channels):
        wide, single = <double*>(r.data + c * r.stride), <float*>(r.data + c * r.stride)
        if r.wide:
            wide[0] += momentum * (factor * number(new, c) - wide[0])
        else:
            single[0] += <float>(momentum * (factor * number(new, c) - single[0]))


cdef inline int track(void* work) except -1:
    cdef Tracking* t = <Tracking*>work
    cdef double momentum = t.momentum
    if t.count != NULL:
        t.count[0] += 1
        momentum = 1 / <double>t.count[0] if momentum != momentum else momentum
    if t.unbiased and t.mean.data != NULL:
        move(&t.mean, &t.new_mean, 1, momentum, t.channels)
    if t.unbiased and t.var.data != NULL:
        move(&t.var, &t.new_var, t.unbiased, momentum, t.channels)
    return 0
