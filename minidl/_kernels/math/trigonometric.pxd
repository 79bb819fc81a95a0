# cython: cdivision=True
"""sin, cos, tan and arctan, for float and double, in the way of elementary.pxd: inline, free of branches, to be vectorised.

A multiple of pi is taken away (Cody and Waite: pi in three parts, of which the products with the first two are exact),
and an odd polynomial serves what is left, from -pi/2 to pi/2. For float all of this is done in double.

Beyond FARTHEST the multiple would need more bits than the parts leave room for: `is_far` says so, and the loop calls the
C library for these numbers.
"""

from libc.math cimport cos, fabs, sin, tan
from minidl._kernels.math.elementary cimport _horner3, _horner5, _minus_product, abs_, copysign_, real

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
    /* a for an even k, b for an odd one. */
    static inline double minidl_in_turn(double a, double b, double shifted) {
        uint64_t bits, other, count;
        memcpy(&bits, &a, sizeof bits);
        memcpy(&other, &b, sizeof other);
        memcpy(&count, &shifted, sizeof count);
        bits ^= (bits ^ other) & (0 - (count & 1));
        memcpy(&a, &bits, sizeof a);
        return a;
    }
    #endif
    """
    double minidl_alternate(double y, double shifted) noexcept nogil
    double minidl_in_turn(double a, double b, double shifted) noexcept nogil

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
    """sin(r) / cos(r), or -cos(r) / sin(r) for an odd k, where r = x - k pi / 2, at most pi / 4, and `rest` is what r lost.

    The coefficients are those of FreeBSD's k_sin.c and k_cos.c, and of their float twins.
    """
    cdef double rounder = 6755399441055744.0, wide = x
    cdef double shifted = wide * 0.6366197723675814 + rounder, k = shifted - rounder
    cdef double first = wide - k * 1.5707963267341256, second = k * 6.077100506303966e-11, start = first - second
    cdef double rest = ((first - start) - second) - k * 2.0222662487959506e-21, r = start + rest
    cdef double z = r * r, p, s, c
    if real is float:
        p = _horner3[double](
            z, 2.7183114939898219064e-06, -1.98393348360966317347e-04, 8.3333293858894631756e-03, -0.166666666416265235595
        )
        s = r + r * z * p
        p = _horner3[double](
            z, 2.43904487962774090654e-05, -1.38867637746099294692e-03, 4.16666233237390631894e-02, -0.499999997251031003120
        )
        c = 1.0 + z * p
    else:
        p = _horner5[double](
            z, 1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
            -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01,
        )
        rest = (start - r) + rest
        s = r + (r * z * p + rest)
        p = _horner5[double](
            z, -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
            2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02,
        )
        c = 1.0 - (0.5 * z - _minus_product[double](z * z * p, r, rest))
    s, c = minidl_in_turn(s, c, shifted), minidl_in_turn(c, s, shifted)
    return <real>minidl_alternate(s / c, shifted) if x != 0 else x


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
    if real is float:  # and what x - 1 lost, where 1 / (x + 1) is between 0.66 and 0.71
        rest = rest if high else (<real>0.5 * rest + <real>0.69 * (size - (over + one)) if middle else zero)
    else:
        rest = rest if high else (<real>0.5 * rest if middle else zero)
    return copysign_(start + (t + (t * z * p + rest)), x)
