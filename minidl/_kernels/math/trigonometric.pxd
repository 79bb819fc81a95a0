# cython: cdivision=True
"""sin, cos, tan and arctan, for float and double, in the way of elementary.pxd: inline, free of branches, to be vectorised.

A multiple of pi is taken away (Cody and Waite: pi in three parts, of which the products with the first two are exact),
and an odd polynomial serves what is left, from -pi/2 to pi/2. For float all of this is done in double.

Beyond FARTHEST the multiple would need more bits than the parts leave room for: `is_far` says so, and the loop calls the
C library for these numbers.
"""

from libc.math cimport cos, fabs, sin, tan
from minidl._kernels.math.elementary cimport _horner3, _horner5, abs_, copysign_, real

cdef extern from *:
    """
    #ifndef MINIDL_ALTERNATE
    #define MINIDL_ALTERNATE
    #include <stdint.h>
    #include <string.h>
    /* y for an even k, -y for an odd one, where shifted = ROUNDER + k: see the top of elementary.pxd. */
    static inline double minidl_alternate(double y, double shifted) {
        uint64_t bits, count;
        memcpy(&bits, &y, sizeof bits);
        memcpy(&count, &shifted, sizeof count);
        bits ^= count << 63;
        memcpy(&y, &bits, sizeof y);
        return y;
    }
    #endif
    """
    double minidl_alternate(double y, double shifted) noexcept nogil

cdef enum:
    FARTHEST = 1 << 20  # times pi in 33 bits and half a unit: 53 bits and a bit to spare


cdef inline bint is_far(real x) noexcept nogil:
    return abs_(x) > <real>FARTHEST


cdef inline double _sin_between(real like, double x, double k) noexcept nogil:
    """sin(x - k pi) to the precision of `like`, |x - k pi| <= pi / 2."""
    cdef double r = (x - k * 3.1415926534682512) - k * 1.2154201012607932e-10
    cdef double z, p
    if real is float:
        z = r * r
        p = _horner3[double](
            z, -2.3888930343529052e-08, 2.7525385975734198e-06, -1.984086824750926e-04, 8.333331108936682e-03
        )
        p = p * z - 0.16666666626157553
    else:
        r = r - k * 4.044532497591901e-21
        z = r * r
        p = _horner5[double](
            z, -7.981390313429594e-18, 2.810202946749843e-15, -7.64712725965965e-13, 1.6059043196156056e-10,
            -2.5052108378491454e-08, 2.7557319223940225e-06,
        )
        p = _horner3[double](z, p, -1.984126984126967e-04, 8.333333333333333e-03, -0.16666666666666666)
    return r + r * z * p


cdef inline real sin_(real x) noexcept nogil:
    """(-1)^k sin(x - k pi)."""
    cdef double rounder = 6755399441055744.0, wide = x
    cdef double shifted = wide * 0.3183098861837907 + rounder
    cdef double y = minidl_alternate(_sin_between(x, wide, shifted - rounder), shifted)
    return <real>y if x != 0 else x


cdef inline real cos_(real x) noexcept nogil:
    """(-1)^k sin(x - (k - 1/2) pi)."""
    cdef double rounder = 6755399441055744.0, wide = fabs(x)
    cdef double shifted = (wide * 0.3183098861837907 + 0.5) + rounder
    return <real>minidl_alternate(_sin_between(x, wide, (shifted - rounder) - 0.5), shifted)


cdef inline real any_sin_(real x) noexcept nogil:
    """sin of any number: for the rare loop that meets a far one."""
    return <real>sin(x) if is_far(x) else sin_(x)


cdef inline real any_cos_(real x) noexcept nogil:
    return <real>cos(x) if is_far(x) else cos_(x)


cdef inline real tan_(real x) noexcept nogil:
    """sin(x) / cos(x), with the signs of both."""
    cdef double rounder = 6755399441055744.0, wide = x, turns = wide * 0.3183098861837907
    cdef double of_sin = turns + rounder, of_cos = (turns + 0.5) + rounder
    cdef double s = minidl_alternate(_sin_between(x, wide, of_sin - rounder), of_sin)
    cdef double c = minidl_alternate(_sin_between(x, wide, (of_cos - rounder) - 0.5), of_cos)
    return <real>(s / c) if x != 0 else x


cdef inline real any_tan_(real x) noexcept nogil:
    return <real>tan(x) if is_far(x) else tan_(x)


cdef inline real arctan_(real x) noexcept nogil:
    """An odd polynomial up to tan(pi / 8); up to tan(3 pi / 8) pi / 4 + arctan((x - 1) / (x + 1)), then pi / 2 - arctan(1 / x).

    The coefficients: Cephes' atanf.c, fdlibm's s_atan.c.
    """
    cdef real size = abs_(x), zero = 0, one = 1
    cdef bint middle = size > <real>0.41421356237309503, high = size > <real>2.414213562373095
    cdef real over = -one if high else (size - one if middle else size)
    cdef real under = size if high else (size + one if middle else one)
    cdef real t = over / under, z, p
    cdef real start = <real>1.5707963267948966 if high else (<real>0.7853981633974483 if middle else zero)
    cdef real rest
    if real is float:  # of pi / 2
        rest = -4.3711388e-08
        z = t * t
        p = _horner3[real](z, 8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
    else:
        rest = 6.123233995736766e-17
        z = t * t
        p = _horner5[real](
            z, -1.62858201153657823623e-02, 3.65315727442169155270e-02, -4.97687799461593236017e-02,
            5.83357013379057348645e-02, -6.66107313738753120669e-02, 7.69187620504482999495e-02,
        )
        p = _horner5[real](
            z, p, -9.09088713343650656196e-02, 1.11111104054623557880e-01, -1.42857142725034663711e-01,
            1.99999999998764832476e-01, -3.33333333333329318027e-01,
        )
    rest = rest if high else (<real>0.5 * rest if middle else zero)
    return copysign_(start + (t + (t * z * p + rest)), x)
