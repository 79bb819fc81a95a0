# cython: cdivision=True
"""x^p, element by element. Branch-free, as elementary.pxd explains."""

from libc.math cimport INFINITY, NAN, copysign, fabs, pow
from minidl._kernels.math.elementary cimport real, _exponent, _horner3, _pair, _power, _rounder, _shift, min_


cdef inline double _log2_of_float(double x) noexcept nogil:
    """log2(x) for a float x >= 0, right to 2^-45 of itself: as log_, but no float is subnormal as a double."""
    cdef double k = _exponent(x) - _rounder(x)
    cdef double f = _shift(x, _rounder(x) - k) - 1.0
    cdef double s = f / (2.0 + f), z = s * s
    cdef double p = _horner3[double](z, 0.28289928270370531, 0.31990575525048206, 0.41220925104196578, 0.57707794237703016)
    cdef double y = k + s * _pair[double](z, z * z, p, 0.96179669411330522, 2.88539008177785)
    y = y if x < INFINITY else x
    return y if x != 0 else -INFINITY


cdef inline double _exp2_of_float(double x) noexcept nogil:
    """2^x, right to 2^-40 of itself; 0 or inf as a float for |x| > 160."""
    cdef double near = copysign(min_[double](fabs(x), 160.0), x), bias = 1023.0
    cdef double shifted = near + (_rounder(x) + bias)
    cdef double r = near - (shifted - (_rounder(x) + bias)), square = r * r
    cdef double p = _pair[double](r, square, 1.3175831716724164e-06, 1.5309736719248971e-05, 1.5403853867099822e-04)
    p = _pair[double](r, square, p, 1.333345206533187e-03, 9.6181285427132976e-03)
    p = _pair[double](r, square, p, 5.5504109393380184e-02, 0.2402265069888084)
    return _power(shifted) * _pair[double](r, square, p, 0.69314718054651524, 0.99999999999976233)


cdef inline real pow_(real x, real p) noexcept nogil:
    """x^p by C's rules. float: 2^(p log2 |x|) in double, good to half an ulp; double: the C library's.

    Where x is negative, p must be whole (else NaN), and an odd p gives a negative result.
    """
    if real is double:
        return pow(x, p)
    cdef double x_ = x, p_ = p
    cdef double log_x = _log2_of_float(fabs(x_))
    cdef double power = 1.0 if log_x == 0 else _exp2_of_float(p_ * log_x)  # 1^p is 1, whatever p
    # Beyond 2^24 every float is even. Adding 1.5 * 2^52 and taking it away rounds to a whole number.
    cdef double q = min_[double](fabs(p_), 16777216.0), rounder = 6755399441055744.0
    cdef double half = 0.5 * q
    cdef double sign = copysign(1.0, x_) if (half + rounder) - rounder != half else 1.0  # for a whole p
    cdef double other = power if x_ == 0 else (power if x_ == -INFINITY else NAN)  # for any other p
    cdef double negative = sign * power if (q + rounder) - rounder == q else other
    power = negative if x_ <= 0 else power
    return <real>(1.0 if p_ == 0 else power)


cdef inline double _power_of_float(double x, double p) noexcept nogil:
    """|x|^p of floats, right to 2^-40 of itself, for a finite p: as in pow_, but 1^p is 1 only when it is rounded to float."""
    return _exp2_of_float(p * _log2_of_float(fabs(x)))


cdef inline void pow_block(const real* x, const real* p, real* y, Py_ssize_t n) noexcept nogil:
    """y = x^p, most often for one p. Where none is whole, as 2.5, nothing depends on its sign or on whether it is odd."""
    cdef double rounder = 6755399441055744.0, q
    cdef bint whole = False
    cdef Py_ssize_t i
    if real is float:
        for i in range(n):
            q = min_[double](fabs(<double>p[i]), 16777216.0)  # (beyond it every float is; NaN passes for one)
            whole |= not fabs((q + rounder) - rounder - q) > 0
        if not whole:
            for i in range(n):
                q = _power_of_float(x[i], p[i])
                y[i] = <real>(NAN if (x[i] < 0) & (x[i] != -INFINITY) else q)
            return
    for i in range(n):
        y[i] = pow_(x[i], p[i])
