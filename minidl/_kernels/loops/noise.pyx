"""Random numbers in the loop that uses them: RReLU and dropout, one pass each, and the product that is their gradient;
and numbers of the normal distribution.

Design. The generator is counter-based: Threefry-4x32 turns (key, counter) into 128 random bits, and keeps no state. An
element's number depends on the call's key and on the element's position, so it is the same for any number of threads
and at every CPU level. (Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011. By default it
has 20 rounds, a wide margin; these are 13, the fewest for which known answers are published. Its sums, rotations and exclusive ors
vectorise as they are; Philox of the same paper needs the upper half of 64-bit products, which they do not.)

One draw is LANES counters side by side and serves 4 LANES elements: element LANES w + i of draw b gets word w of
counter LANES b + i. A float64 takes the lower half of its bits from a second stream of counters, so that float32 and
float64 get the same number, to rounding.

RReLU and dropout return beside y the factor that each element was given: y = factor x, gx = factor gy. Backward then reads one
array, x is not kept, and nothing is drawn twice: that measured faster than drawing again. A factor of 0 passes
nothing on, inf and NaN neither.
"""

cimport numpy as cnp
from libc.math cimport ceil, sqrt
from libc.stdint cimport int32_t, uint32_t, uint64_t
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport c_order, check_out, same_layout
from minidl._kernels.arrays.layout cimport is_double, is_plain
from minidl._kernels.math.elementary cimport _horner5, log_, real

cnp.import_array()

cdef enum:
    LANES = 16
    DRAW = 64  # 4 LANES: elements of a draw
    BLOCK = 512  # elements whose words are drawn at once: whole draws, few enough for the first-level cache. They
                 # divide the size of any task
    COST = 16  # of drawing an element, in additions
    PAIRS = 32  # of normal numbers in a draw: elements i and PAIRS + i


# ── The generator ────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Key:
    uint32_t[5] words


cdef inline Key expand(uint32_t k0, uint32_t k1, uint32_t k2, uint32_t k3) noexcept nogil:
    cdef Key key
    key.words[0], key.words[1], key.words[2], key.words[3] = k0, k1, k2, k3
    key.words[4] = k0 ^ k1 ^ k2 ^ k3 ^ <uint32_t>0x1BD11BDA
    return key


cdef inline void mix(uint32_t* a, uint32_t* b, int turn) noexcept nogil:
    a[0] += b[0]
    b[0] = (b[0] << turn | b[0] >> (32 - turn)) ^ a[0]


cdef inline void four_rounds(
    uint32_t* a, uint32_t* b, uint32_t* c, uint32_t* d,
    int r0, int r1, int r2, int r3, int r4, int r5, int r6, int r7,
) noexcept nogil:
    mix(a, b, r0); mix(c, d, r1)
    mix(a, d, r2); mix(c, b, r3)
    mix(a, b, r4); mix(c, d, r5)
    mix(a, d, r6); mix(c, b, r7)


cdef inline void add_key(
    uint32_t* a, uint32_t* b, uint32_t* c, uint32_t* d,
    uint32_t k0, uint32_t k1, uint32_t k2, uint32_t k3, int time,
) noexcept nogil:
    a[0] += k0
    b[0] += k1
    c[0] += k2
    d[0] += k3 + <uint32_t>time


cdef void threefry(
    uint32_t* words, Key key, uint64_t counter, uint32_t c2, uint32_t c3, Py_ssize_t draws
) noexcept nogil:
    """The words of so many draws. Lane i of the first has the counter (counter + i, c2, c3); no lane may carry."""
    cdef uint32_t k0 = key.words[0], k1 = key.words[1], k2 = key.words[2], k3 = key.words[3], k4 = key.words[4]
    cdef uint32_t c0, c1, a, b, c, d
    cdef Py_ssize_t draw
    cdef int i
    for draw in range(draws):
        c0, c1 = <uint32_t>counter, <uint32_t>(counter >> 32)
        for i in range(LANES):
            a, b, c, d = c0 + <uint32_t>i, c1, c2, c3
            add_key(&a, &b, &c, &d, k0, k1, k2, k3, 0)
            four_rounds(&a, &b, &c, &d, 10, 26, 11, 21, 13, 27, 23, 5)
            add_key(&a, &b, &c, &d, k1, k2, k3, k4, 1)
            four_rounds(&a, &b, &c, &d, 6, 20, 17, 11, 25, 10, 18, 20)
            add_key(&a, &b, &c, &d, k2, k3, k4, k0, 2)
            four_rounds(&a, &b, &c, &d, 10, 26, 11, 21, 13, 27, 23, 5)
            add_key(&a, &b, &c, &d, k3, k4, k0, k1, 3)
            mix(&a, &b, 6); mix(&c, &d, 20)
            words[i], words[LANES + i] = a, b
            words[2 * LANES + i], words[3 * LANES + i] = c, d
        words, counter = words + DRAW, counter + LANES


cdef inline real uniform(uint32_t high, uint32_t low, real* _) noexcept nogil:
    """A number in [0, 1): a multiple of 2^-24 in float32, of 2^-53 in float64. All are equally likely."""
    if real is float:
        return <real><int32_t>(high >> 8) * <real>5.9604644775390625e-8
    else:
        return (<real><int32_t>(high >> 5) * <real>67108864 + <real><int32_t>(low >> 6)) * <real>1.1102230246251565e-16


# ── The loops ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Work:
    const void* x
    void* y
    Py_ssize_t size
    bint wide, whole
    const void* gy
    bint drops  # dropout, not RReLU
    bint normal  # neither
    void* factor
    Key key
    double lower, upper  # of the slope
    uint32_t last  # words up to this one drop an element
    double scale  # of the others


cdef inline void draw_block(uint32_t* words, Work* w, Py_ssize_t start, Py_ssize_t n, uint32_t stream) noexcept nogil:
    """The words of elements start to start + n, where start is a multiple of DRAW."""
    threefry(words, w.key, <uint64_t>(start // 4), stream, 0, (n + DRAW - 1) // DRAW)


cdef void rrelu_factors(Work* w, real* f, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    cdef uint32_t[BLOCK] high, more
    cdef uint32_t* low = &more[0] if real is double else &high[0]  # float32 does not look at it
    cdef const real* x = <const real*>w.x + start
    cdef real lower = <real>w.lower, upper = <real>w.upper, width = <real>(w.upper - w.lower), one = 1, slope
    cdef Py_ssize_t i
    draw_block(high, w, start, n, 0)
    if real is double:
        draw_block(more, w, start, n, 1)
    for i in range(n):
        slope = lower + width * uniform(high[i], low[i], f)
        slope = upper if slope > upper else slope  # rounding might lead beyond it
        f[i] = slope if x[i] <= 0 else (one if x[i] > 0 else x[i])  # the slope at NaN is NaN, as in activations.pyx


cdef void dropout_factors(Work* w, real* f, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    cdef uint32_t[BLOCK] words
    cdef uint32_t SIGN = 0x80000000, last = w.last
    cdef real scale = <real>w.scale
    cdef Py_ssize_t i
    draw_block(words, w, start, n, 0)
    for i in range(n):
        # Shifted so that the order of signed numbers is theirs: SSE2 and AVX2 have no other comparison.
        f[i] = scale * <real><int32_t>(<int32_t>(words[i] ^ SIGN) > <int32_t>(last ^ SIGN))


cdef inline void product(const real* x, const real* factor, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef real f, z
    if x == y:  # in place: one pointer, so that the compiler sees that nothing overlaps
        for i in range(n):
            f = factor[i]
            z = y[i] * f
            y[i] = z if f != 0 else f
    else:
        for i in range(n):
            f = factor[i]
            z = x[i] * f
            y[i] = z if f != 0 else f


cdef void forward(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* _) noexcept nogil:
    cdef real* y = <real*>w.y
    cdef real[BLOCK] spare
    cdef real* f
    cdef Py_ssize_t start = first, n
    while start < last:
        n = min(last - start, <Py_ssize_t>BLOCK)
        f = <real*>w.factor + start if w.factor != NULL else spare
        if w.drops:
            dropout_factors(w, f, start, n)
        else:
            rrelu_factors(w, f, start, n)
        product(<const real*>w.x + start, f, y + start, n)
        start += n


cdef void backward(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* gx) noexcept nogil:
    product(<const real*>w.gy + first, <const real*>w.factor + first, gx + first, last - first)


# ── Normal numbers ───────────────────────────────────────────────────────────────────────────────────────────────────
# Box and Muller (A note on the generation of random normal deviates, Annals of Mathematical Statistics 29, 1958): a point
# of the plane whose angle is uniform and whose distance from 0 is sqrt(-2 ln u), u uniform in (0, 1), has two independent
# normal coordinates. u is made of one word of each stream, the angle of another: three bits choose one of eight octants,
# the others the place in it, so that sin and cos are polynomials and nothing has to be reduced. Each number is the
# middle of its interval, so u is never 0; the farthest that can be drawn is 8.6, beyond which lie 5e-18 of the normal
# distribution. float32 has the same numbers, rounded: computed in float32 they took 0.4 of the time (AVX-512),
# but u near 1, and so a distance near 0, has few values there.

cdef inline double distance(uint32_t high, uint32_t low) noexcept nogil:
    """sqrt(-2 ln u)."""
    cdef double place = <double><int32_t>(high >> 1) * 4194304.0 + <int32_t>(low >> 10)
    return sqrt(-2.0 * log_[double]((place + 0.5) * 1.1102230246251565e-16))  # 2^-53


cdef inline void point(uint32_t high, uint32_t low, double* x, double* y) noexcept nogil:
    """The point of the unit circle at a uniform angle. The coefficients are those of tan_ in trigonometric.pxd."""
    cdef double place = <double><int32_t>(high & <uint32_t>0x1FFFFFFF) * 67108864.0 + <int32_t>(low >> 6)
    cdef double angle = (place + 0.5) * 2.179917811255395e-17  # pi / 4 * 2^-55
    cdef double z = angle * angle, s, c
    s = _horner5[double](
        z, 1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
        -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01,
    )
    s = angle + angle * z * s
    c = _horner5[double](
        z, -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
        2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02,
    )
    c = 1.0 + z * (z * c - 0.5)
    x[0] = (s if <int32_t>high < 0 else c) * <int32_t>(1 - <int32_t>(high >> 29 & 2))
    y[0] = (c if <int32_t>high < 0 else s) * <int32_t>(1 - <int32_t>(high >> 28 & 2))


cdef void normal_draw(const uint32_t* high, const uint32_t* low, double* z) noexcept nogil:
    cdef double r, c, s
    cdef int i
    for i in range(PAIRS):
        r = distance(high[i], low[i])
        point(high[PAIRS + i], low[PAIRS + i], &c, &s)
        z[i], z[PAIRS + i] = r * c, r * s


cdef void normals(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* _) noexcept nogil:
    cdef uint32_t[BLOCK] high, low
    cdef double[DRAW] z
    cdef real* y = <real*>w.y
    cdef Py_ssize_t at = first, i, n
    while at < last:
        i, n = (at - first) % BLOCK, min(last - at, <Py_ssize_t>DRAW)
        if i == 0:
            draw_block(high, w, at, min(last - at, <Py_ssize_t>BLOCK), 0)
            draw_block(low, w, at, min(last - at, <Py_ssize_t>BLOCK), 1)
        normal_draw(high + i, low + i, z)
        for i in range(n):
            y[at + i] = <real>z[i]
        at += n


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef int run_draw(void* work) except -1:
    cdef Work* w = <Work*>work
    cdef loop_t loop
    if w.normal:
        loop = <loop_t>normals[double] if w.wide else <loop_t>normals[float]
    else:
        loop = <loop_t>forward[double] if w.wide else <loop_t>forward[float]
    return run(loop, w, sizeof(Work), None, w.size, 1, COST, w.whole)


cdef int set_key(Work* w, object key) except -1:
    cdef uint64_t bits = key
    w.key = expand(<uint32_t>bits, <uint32_t>(bits >> 32), 0, 0)
    return 0


cdef class Recorded:
    """A draw that is part of a plan. `set` gives it the key of its next numbers."""

    cdef Work* work  # the plan's, which whoever has this keeps alive

    def set(self, key):
        set_key(self.work, key)


cdef int run_forward(Work* w, cnp.ndarray x, cnp.ndarray y, cnp.ndarray factor, object key, bint whole) except -1:
    """y and factor of x; where x is None, y alone, of normal numbers."""
    cdef Recorded recorded
    set_key(w, key)
    w.normal = x is None
    w.x, w.factor = NULL if x is None else cnp.PyArray_DATA(x), NULL if factor is None else cnp.PyArray_DATA(factor)
    w.y, w.size, w.wide, w.whole = cnp.PyArray_DATA(y), cnp.PyArray_SIZE(y), is_double(y), whole
    if prepared.capturing():
        recorded = Recorded()
        recorded.work = <Work*>prepared.leave(run_draw, w, sizeof(Work), y)
        if factor is not None:
            prepared.fills(factor)
        prepared.note("drawn", recorded)
    return prepared.do_quietly(run_draw, w)


def rrelu_forward(x, double lower, double upper, key, bint keep=True, out=None):
    """(y, factor) for x of any shape: factor is drawn from U(lower, upper) where x <= 0, and 1 elsewhere; y = factor x.
    Where x is NaN, so is the factor.

    `key` (below 2^64) says which numbers; without `keep` the factor is None; `out` may be x itself.
    """
    cdef cnp.ndarray xs = c_order(x, "rrelu"), y = check_out(out, xs, "rrelu")
    cdef cnp.ndarray factor = memory.empty_like(xs) if keep else None
    cdef Work w
    w.drops, w.lower, w.upper = False, lower, upper
    run_forward(&w, xs, y, factor, key, out is not None)
    return y, factor


def dropout_forward(x, double p, key, bint keep=True):
    """(y, factor) for x of any shape: factor is 0 with probability p, else 1 / (1 - p); y = factor x. 0 < p <= 1."""
    if not 0 < p <= 1:
        raise ValueError(f"dropout: expected p in (0, 1], got {p}")
    cdef cnp.ndarray xs = c_order(x, "dropout"), y = memory.empty_like(xs)
    cdef cnp.ndarray factor = memory.empty_like(xs) if keep else None
    cdef Work w
    w.drops, w.scale = True, 1 / (1 - p) if p < 1 else 0
    w.last = <uint32_t>(ceil(p * 4294967296.0) - 1)  # this number + 1 of the 2^32 words drop
    run_forward(&w, xs, y, factor, key, False)
    return y, factor


def noise_backward(factor, gy):
    """gx = factor gy, and 0 where the factor is 0."""
    cdef cnp.ndarray fs = c_order(factor, "noise"), gs = same_layout(gy, fs, "noise")
    cdef cnp.ndarray gx = memory.empty_like(fs)
    cdef Work w
    w.factor, w.gy = cnp.PyArray_DATA(fs), cnp.PyArray_DATA(gs)
    run(of_dtype(fs, <loop_t>backward[float], <loop_t>backward[double]), &w, sizeof(w), gx, cnp.PyArray_SIZE(gx), 1, 1, False, 3)
    return gx


def standard_normal(y, key):
    """Fills y, float32 or float64 in C order, with independent numbers of N(0, 1). `key` (below 2^64) says which."""
    cdef Work w
    if not isinstance(y, cnp.ndarray) or not is_plain(y) or not cnp.PyArray_ISWRITEABLE(y):
        raise TypeError("standard_normal: y must be a writable array of float32 or float64 in C order")
    run_forward(&w, None, y, None, key, True)
    return y


def random_words(cnp.ndarray given not None):
    """The generator itself, for tests: 4 words for each of LANES counters. `given`: 8 of uint32, those of the first
    counter and of the key."""
    cdef cnp.npy_intp[2] shape = [4, LANES]
    cdef cnp.ndarray words = cnp.PyArray_EMPTY(2, shape, cnp.NPY_UINT32, 0)
    cdef const uint32_t* c = <const uint32_t*>cnp.PyArray_DATA(given)
    threefry(
        <uint32_t*>cnp.PyArray_DATA(words), expand(c[4], c[5], c[6], c[7]), <uint64_t>c[1] << 32 | c[0], c[2], c[3], 1
    )
    return words
