"""Running sums, products of rows, and gradients that depend on all of a row: of its product and of its extremum.

Running sums go along the middle axis of (outer, n, inner), from either end. All is added in double, so that the error of a
float32 result does not grow with n. An outer place is a row: where inner is 1 its elements follow one another, else BLOCK
columns are added side by side.

The others are of (rows, n) in C order. A product is computed in double, LANES factors side by side. If it comes to 0, inf or
NaN though no factor does, it is computed again, with exponents without bounds: one lane may make up for another.
"""

cimport numpy as cnp
from libc.math cimport INFINITY, NAN, frexp, isinf, isnan, ldexp, signbit
from minidl._kernels.arrays.checks cimport c_axes, dense
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.math.elementary cimport abs_, real
from minidl._kernels.product.squares cimport turn
from minidl._kernels.rows.exponentials cimport LANES as STRIP
from minidl._kernels.rows.softmax_columns cimport to_columns
from minidl._kernels.runtime cimport memory

cnp.import_array()

cdef enum:
    BLOCK = 128  # columns
    TOGETHER = 4  # rows: of one alone each addition would wait for the one before
    COST = 2  # of an element, in additions
    LANES = 16
    STRIPS = 8
    ROW_COST = 2, QUOTIENT_COST = 6


cdef struct Scan:
    const void* x
    Py_ssize_t n, inner
    bint reverse


cdef inline void along(const real* x, real* y, Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """n elements, `step` apart."""
    cdef double s = 0
    cdef Py_ssize_t i
    for i in range(n):
        s += x[i * step]
        y[i * step] = <real>s


cdef inline void along_together(const real* x, real* y, Py_ssize_t n, Py_ssize_t step, Py_ssize_t size) noexcept nogil:
    """The same of TOGETHER rows, `size` apart."""
    cdef double a = 0, b = 0, c = 0, d = 0
    cdef Py_ssize_t i, at = 0
    for i in range(n):
        a, b = a + x[at], b + x[size + at]
        c, d = c + x[2 * size + at], d + x[3 * size + at]
        y[at], y[size + at] = <real>a, <real>b
        y[2 * size + at], y[3 * size + at] = <real>c, <real>d
        at += step


cdef inline void beside(
    const real* x, real* y, Py_ssize_t n, Py_ssize_t step, Py_ssize_t columns
) noexcept nogil:
    """So many columns of n elements, `step` apart."""
    cdef double[BLOCK] s
    cdef Py_ssize_t i, j
    for j in range(columns):
        s[j] = 0
    for i in range(n):
        for j in range(columns):
            s[j] += x[j]
            y[j] = <real>s[j]
        x, y = x + step, y + step


cdef void sums(void* tag, Scan* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    cdef Py_ssize_t size = w.n * w.inner, row, j, step = -w.inner if w.reverse else w.inner
    cdef Py_ssize_t start = size - w.inner if w.reverse else 0
    cdef const real* x
    cdef real* y
    while w.inner == 1 and last - first >= TOGETHER:
        along_together(<const real*>w.x + first * size + start, out + first * size + start, w.n, step, size)
        first += TOGETHER
    for row in range(first, last):
        x, y = <const real*>w.x + row * size + start, out + row * size + start
        if w.inner == 1:
            along(x, y, w.n, step)
        else:
            j = 0
            while j < w.inner:
                beside(x + j, y + j, w.n, step, min(w.inner - j, <Py_ssize_t>BLOCK))
                j += BLOCK


cdef struct Work:
    const void* x
    const void* y
    const void* gy
    Py_ssize_t n, step


# ── Products ─────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline double side_by_side(const real* x, Py_ssize_t n) noexcept nogil:
    cdef double[LANES] s
    cdef double p = 1
    cdef Py_ssize_t i = 0, j, half = LANES // 2
    if n >= LANES:
        for j in range(LANES):
            s[j] = x[j]
        i = LANES
        while i + LANES <= n:
            for j in range(LANES):
                s[j] *= x[i + j]
            i += LANES
        while half:
            for j in range(half):
                s[j] *= s[j + half]
            half //= 2
        p = s[0]
    while i < n:
        p *= x[i]
        i += 1
    return p


cdef struct Factors:
    # A product as fraction times a power of two, without the factors that are 0 or not finite, which are counted.
    double fraction
    Py_ssize_t exponent, zeros, infinite, nans
    bint negative


cdef inline void take(Factors* f, double x, int once) noexcept nogil:
    """x as a factor once more (1), or once less (-1): then its fraction is divided by."""
    cdef int exponent = 0
    cdef double fraction
    f.negative ^= signbit(x) != 0
    if isnan(x):
        f.nans += once
    elif isinf(x):
        f.infinite += once
    elif x == 0:
        f.zeros += once
    else:
        fraction = frexp(x, &exponent)
        fraction = -fraction if fraction < 0 else fraction
        f.exponent += once * exponent
        if once == 1:
            f.fraction = frexp(f.fraction * fraction, &exponent)
            f.exponent += exponent
        else:
            f.fraction /= fraction


cdef inline double value(const Factors* f) noexcept nogil:
    cdef double size = INFINITY
    if f.nans or (f.infinite and f.zeros):
        return NAN
    if f.zeros:
        size = 0
    elif not f.infinite:
        size = ldexp(f.fraction, <int>max(min(f.exponent, <Py_ssize_t>5000), <Py_ssize_t>-5000))
    return -size if f.negative else size


cdef inline Factors all_of(const real* x, Py_ssize_t n, Py_ssize_t step=1) noexcept nogil:
    cdef Factors f
    cdef Py_ssize_t i
    f.fraction, f.exponent, f.zeros, f.infinite, f.nans, f.negative = 1, 0, 0, 0, 0, False
    for i in range(n):
        take(&f, x[i * step], 1)
    return f


cdef inline bint are_plain(const real* x, Py_ssize_t n, Py_ssize_t step=1) noexcept nogil:
    """No 0, no infinity, no NaN."""
    cdef Py_ssize_t i
    cdef bint found = False
    for i in range(n):
        found |= (x[i * step] == 0) | (x[i * step] - x[i * step] != 0)
    return not found


cdef inline double checked(double p, const real* x, Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """The product p of these factors, or what it should have been."""
    cdef Factors all
    if (p == 0 or p - p != 0) and are_plain(x, n, step):
        all = all_of(x, n, step)
        p = value(&all)
    return p


cdef inline void store_checked(
    const double* p, const real* x, real* y, Py_ssize_t count, Py_ssize_t n, Py_ssize_t step, Py_ssize_t apart
) noexcept nogil:
    """So many products, of n factors that are `step` apart; those of one begin so many elements behind the last one's."""
    cdef Py_ssize_t j
    cdef bint found = False
    for j in range(count):
        y[j] = <real>p[j]
        found |= (p[j] == 0) | (p[j] - p[j] != 0)
    if found:
        for j in range(count):
            y[j] = <real>checked(p[j], x + j * apart, n, step)


cdef inline double product(const real* x, Py_ssize_t n) noexcept nogil:
    return checked(side_by_side(x, n), x, n, 1)


cdef void products(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    cdef Py_ssize_t r
    while w.n < STRIP and first < last:
        products_of_strips(w, first, min(last - first, <Py_ssize_t>STRIPS * STRIP), y)
        first += STRIPS * STRIP
    for r in range(first, last):
        y[r] = <real>product(<const real*>w.x + r * w.n, w.n)


cdef void strips_of(const real* x, real* columns, Py_ssize_t count, Py_ssize_t n) noexcept nogil:
    """Short rows column by column, STRIP of them side by side, or what is left of them."""
    cdef Py_ssize_t start = 0
    while start < count:
        to_columns(x + start * n, columns + start * STRIP, min(count - start, <Py_ssize_t>STRIP), n)
        start += STRIP


cdef void turned_back(const real* columns, real* out, Py_ssize_t rows, Py_ssize_t n) noexcept nogil: turn(columns, STRIP, out, n, n, rows)


cdef void products_of_strips(Work* w, Py_ssize_t first, Py_ssize_t count, real* y) noexcept nogil:
    """Of short rows. (STRIPS are turned first: what was just written, in shorter vectors, would be waited for.)"""
    cdef real[STRIPS * STRIP * STRIP] columns
    cdef double[STRIP] p
    cdef Py_ssize_t strip, start, i, j
    cdef const real* x = <const real*>w.x + first * w.n
    strips_of(x, <real*>columns, count, w.n)
    for strip in range((count + STRIP - 1) // STRIP):
        start = strip * STRIP
        for j in range(STRIP):
            p[j] = 1
        for i in range(w.n):
            for j in range(STRIP):
                p[j] *= columns[start * STRIP + i * STRIP + j]
        store_checked(
            <const double*>p, x + start * w.n, y + first + start, min(count - start, <Py_ssize_t>STRIP), w.n, 1, w.n
        )


cdef void products_beside(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """The same of rows whose elements are `step` apart, and which lie side by side."""
    cdef double[BLOCK] p
    cdef Py_ssize_t i, j, count
    cdef const real* x
    while first < last:
        count = min(last - first, <Py_ssize_t>BLOCK)
        x = <const real*>w.x + first
        for j in range(count):
            p[j] = 1
        for i in range(0, w.n - 3, 4):  # (four at a time: p is read and written once for all of them)
            for j in range(count):
                p[j] *= (<double>x[i * w.step + j] * x[(i + 1) * w.step + j]) * (
                    <double>x[(i + 2) * w.step + j] * x[(i + 3) * w.step + j])
        for i in range(w.n // 4 * 4, w.n):
            for j in range(count):
                p[j] *= x[i * w.step + j]
        store_checked(p, x, y + first, count, w.n, w.step, 1)
        first += count


cdef void products_of_others(const real* x, real g, real* gx, Py_ssize_t n) noexcept nogil:
    """Where a quotient would not do: factors that are 0 or not finite, or a product out of range. g is a factor, too: 0
    times a product that overflows is 0.
    """
    cdef Factors all = all_of(x, n), others
    cdef Py_ssize_t i
    take(&all, g, 1)
    for i in range(n):
        others = all
        take(&others, x[i], -1)
        gx[i] = <real>value(&others)


cdef void products_backward(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    """gx = gy (y / x), y in double: gy times the product of the other factors. In float32 that quotient is right even
    where y is too small for a double.
    """
    cdef Py_ssize_t r, i, n = w.n
    cdef double p
    cdef real g
    cdef const real* x
    cdef real* gx
    while 1 < n < STRIP and first < last:
        quotients_of_strips(w, first, min(last - first, <Py_ssize_t>STRIPS * STRIP), out)
        first += STRIPS * STRIP
    for r in range(first, last):
        x, gx, g = <const real*>w.x + r * n, out + r * n, (<const real*>w.gy)[r]
        p = product(x, n)
        if is_moderate(p) or real is float and abs_[double](p) < INFINITY and are_plain(x, n):
            for i in range(n):
                gx[i] = <real>(<double>g * (p / x[i]))
        else:
            products_of_others(x, g, gx, n)


cdef inline bint is_moderate(double p) noexcept nogil: return (abs_[double](p) > 1e-290) & (abs_[double](p) < 1e290)


cdef void quotients_of_strips(Work* w, Py_ssize_t first, Py_ssize_t count, real* out) noexcept nogil:
    """The same of short rows, side by side as in products_of_strips; where that will not do, row by row once more."""
    cdef real[STRIPS * STRIP * STRIP] columns
    cdef double[STRIP] p, g
    cdef Py_ssize_t strip, start, rows, i, j, at, n = w.n
    cdef real* x
    strips_of(<const real*>w.x + first * n, <real*>columns, count, n)
    for strip in range((count + STRIP - 1) // STRIP):
        start = strip * STRIP
        rows, x = min(count - start, <Py_ssize_t>STRIP), <real*>columns + start * STRIP
        for j in range(STRIP):
            p[j], g[j] = 1, (<const real*>w.gy)[first + min(start + j, count - 1)]
        for i in range(n):
            for j in range(STRIP):
                p[j] *= x[i * STRIP + j]
        for i in range(n):
            for j in range(STRIP):
                x[i * STRIP + j] = <real>(g[j] * (p[j] / x[i * STRIP + j]))
        turned_back(<const real*>x, out + (first + start) * n, rows, n)
        for j in range(rows):
            at = (first + start + j) * n
            if not is_moderate(p[j]):
                products_of_others(<const real*>w.x + at, <real>g[j], out + at, n)


# ── Extrema ──────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline bint same(real x, real y) noexcept nogil:
    return (x == y) | ((x != x) & (y != y))


cdef void extremum_shares(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* out) noexcept nogil:
    """gx = gy / k where x is y, of which there are k in the row, and 0 elsewhere; NaN is NaN."""
    cdef Py_ssize_t r, i, count, n = w.n
    cdef real y, share, zero = 0
    cdef const real* x
    cdef real* gx
    while n < STRIP and first < last:
        shares_of_strips(w, first, min(last - first, <Py_ssize_t>STRIPS * STRIP), out)
        first += STRIPS * STRIP
    for r in range(first, last):
        x, gx, y, count = <const real*>w.x + r * n, out + r * n, (<const real*>w.y)[r], 0
        if y == y:
            for i in range(n):
                count += x[i] == y
            share = (<const real*>w.gy)[r] / <real>count
            for i in range(n):
                gx[i] = share if x[i] == y else zero
        else:
            for i in range(n):
                count += x[i] != x[i]
            share = (<const real*>w.gy)[r] / <real>count
            for i in range(n):
                gx[i] = share if x[i] != x[i] else zero


cdef void shares_of_strips(Work* w, Py_ssize_t first, Py_ssize_t count, real* out) noexcept nogil:
    """The same of short rows, side by side as in products_of_strips."""
    cdef real[STRIPS * STRIP * STRIP] columns
    cdef real[STRIP] y, share, shared
    cdef Py_ssize_t strip, start, i, j, n = w.n, last = first + count - 1
    cdef real zero = 0, one = 1
    cdef real* x
    strips_of(<const real*>w.x + first * n, <real*>columns, count, n)
    for strip in range((count + STRIP - 1) // STRIP):
        start = strip * STRIP
        x = <real*>columns + start * STRIP
        for j in range(STRIP):
            y[j] = (<const real*>w.y)[min(first + start + j, last)]
            share[j] = (<const real*>w.gy)[min(first + start + j, last)]
            shared[j] = 0
        for i in range(n):
            for j in range(STRIP):
                shared[j] += one if same(x[i * STRIP + j], y[j]) else zero
        for j in range(STRIP):
            share[j] /= shared[j]
        for i in range(n):
            for j in range(STRIP):
                x[i * STRIP + j] = share[j] if same(x[i * STRIP + j], y[j]) else zero
        turned_back(<const real*>x, out + (first + start) * n, min(count - start, <Py_ssize_t>STRIP), n)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

def running_sum(x, bint reverse=False):
    """y[:, i] = Σ x[:, j] over j <= i, or, in reverse, over j >= i; x is (outer, n, inner)."""
    cdef cnp.ndarray xs = c_axes(x, 3, "running_sum", "outer, n, inner")
    cdef cnp.ndarray y = memory.empty_like(xs)
    cdef Scan w
    w.x, w.n, w.inner, w.reverse = cnp.PyArray_DATA(xs), cnp.PyArray_DIM(xs, 1), cnp.PyArray_DIM(xs, 2), reverse
    if cnp.PyArray_SIZE(xs):
        run(of_dtype(xs, <loop_t>sums[float], <loop_t>sums[double]), &w, sizeof(w), y, cnp.PyArray_DIM(xs, 0),
            w.n * w.inner, COST, False)
    return y


cdef cnp.ndarray one_each(object given, cnp.ndarray x, str name):
    """An array with a number for each row of x."""
    cdef cnp.ndarray y = c_axes(given, 1, name, "rows")
    if cnp.PyArray_TYPE(y) != cnp.PyArray_TYPE(x) or cnp.PyArray_DIM(y, 0) != cnp.PyArray_DIM(x, 0):
        raise ValueError(f"{name}: expected {cnp.PyArray_DIM(x, 0)} numbers of {(<object>x).dtype}, one a row, "
                         f"got {given.dtype} of shape {given.shape}")
    return y


def prod_rows(x):
    """y[r] = Π x[r, i]: (rows,) from (rows, n), where either axis may be the one that is dense."""
    cdef cnp.ndarray xs = dense(x, "prod_rows")
    cdef bint beside = cnp.PyArray_NDIM(xs) == 2 and not cnp.PyArray_IS_C_CONTIGUOUS(xs)
    if not beside:
        xs = c_axes(xs, 2, "prod_rows", "rows, factors")
    cdef cnp.ndarray y = memory.empty(1, cnp.PyArray_DIMS(xs), cnp.PyArray_TYPE(xs))
    cdef Work w
    w.x, w.y, w.gy, w.n, w.step = cnp.PyArray_DATA(xs), NULL, NULL, cnp.PyArray_DIM(xs, 1), cnp.PyArray_DIM(xs, 0)
    run(of_dtype(xs, <loop_t>products_beside[float], <loop_t>products_beside[double]) if beside
        else of_dtype(xs, <loop_t>products[float], <loop_t>products[double]), &w, sizeof(w), y,
        cnp.PyArray_DIM(xs, 0), max(w.n, <Py_ssize_t>1), ROW_COST, False)
    return y


def prod_rows_backward(x, gy):
    """gx[r, i] = gy[r] Π x[r, j] over j != i, right where factors are 0 or their product is out of range, too."""
    cdef cnp.ndarray xs = c_axes(x, 2, "prod_rows_backward", "rows, factors")
    cdef cnp.ndarray gs = one_each(gy, xs, "prod_rows_backward"), gx = memory.empty_like(xs)
    cdef Work w
    w.x, w.y, w.gy, w.n = cnp.PyArray_DATA(xs), NULL, cnp.PyArray_DATA(gs), cnp.PyArray_DIM(xs, 1)
    if w.n:
        run(of_dtype(xs, <loop_t>products_backward[float], <loop_t>products_backward[double]), &w, sizeof(w), gx,
            cnp.PyArray_DIM(xs, 0), w.n, QUOTIENT_COST, False)
    return gx


def extremum_rows_backward(x, y, gy):
    """gx of y[r], the greatest or the smallest x[r, i]: elements that share it share gy[r] evenly, NaN as well."""
    cdef cnp.ndarray xs = c_axes(x, 2, "extremum_rows_backward", "rows, elements")
    cdef cnp.ndarray ys = one_each(y, xs, "extremum_rows_backward"), gs = one_each(gy, xs, "extremum_rows_backward")
    cdef cnp.ndarray gx = memory.empty_like(xs)
    cdef Work w
    w.x, w.y, w.gy, w.n = cnp.PyArray_DATA(xs), cnp.PyArray_DATA(ys), cnp.PyArray_DATA(gs), cnp.PyArray_DIM(xs, 1)
    if w.n:
        run(of_dtype(xs, <loop_t>extremum_shares[float], <loop_t>extremum_shares[double]), &w, sizeof(w), gx,
            cnp.PyArray_DIM(xs, 0), w.n, ROW_COST, False)
    return gx
