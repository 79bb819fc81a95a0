# cython: cdivision=True
"""sin and cos, for float and double, in the way of elementary.pxd: inline, free of branches, to be vectorised.

A multiple of pi is taken away (Cody and Waite: pi in three parts, of which the products with the first two are exact),
and an odd polynomial serves what is left, from -pi/2 to pi/2. For float all of this is done in double.

Beyond FARTHEST the multiple would need more bits than the parts leave room for: `is_far` says so, and the loop calls the
C library for these numbers.
"""

from libc.math cimport cos, fabs, sin
from minidl._kernels.math.elementary cimport _horner3, _horner5, abs_, real

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
