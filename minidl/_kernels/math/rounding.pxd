# cython: cdivision=True
"""floor(x); and x // z and x % z, rounded down as Python does: the remainder has the sign of z, a zero as well.

The nearest whole q to x / z leaves r = x - q z without error: of r and r + z, one is the remainder. For float all of this
is done in double. Beyond FARTHEST times z, and for what is infinite, NaN or divided by 0, `is_steep` sends a loop to the
C library's fmod, as NumPy does.
"""

from libc.math cimport INFINITY, copysign, floor, floorf, fmod
from minidl._kernels.math.elementary cimport _lost, abs_, real

cdef enum:
    FARTHEST = 1 << 22  # q has to fit into half a double for `_lost` to be exact without fused products


cdef extern from *:
    """
    #if defined(__SSE4_1__) || defined(__aarch64__)
    #define FLOOR_IS_ONE 1
    #else
    #define FLOOR_IS_ONE 0
    #endif
    """
    bint FLOOR_IS_ONE  # instruction. Elsewhere it is a call


cdef inline real floor_(real x) noexcept nogil:
    """The greatest whole number that is not above x; -0 stays -0."""
    if FLOOR_IS_ONE:
        return floorf(x) if real is float else floor(x)
    cdef real first_whole = 8388608.0 if real is float else 4503599627370496.0  # from here on every number is
    cdef real a = abs_(x), near = (a + first_whole) - first_whole
    near = -near if x < 0 else near
    near = near - 1 if near > x else near
    return near if (a < first_whole) & (near != x) else x


cdef inline bint is_steep(real x, real z) noexcept nogil:
    return not ((abs_(x) < <real>FARTHEST * abs_(z)) & (abs_(z) < <real>INFINITY))


cdef inline real floored_(real x, real z, bint quotient) noexcept nogil:
    """x // z or x % z, not steep."""
    cdef double rounder = 6755399441055744.0, a = x, b = z, ratio = a / b
    cdef double q = (ratio + rounder) - rounder
    cdef double r = a - q * b if real is float else -_lost[double](q, b, a)
    cdef bint over = (r < 0) & (b > 0) | (r > 0) & (b < 0)
    if quotient:
        return <real>copysign(abs_[double](q - 1.0 if over else q), ratio)
    return <real>copysign(abs_[double](r + b if over else r), b)


cdef inline real steep_floored_(real x, real z, bint quotient) noexcept nogil:
    """x // z or x % z of any numbers: for the rare loop that meets a steep pair."""
    cdef double a = x, b = z, r = fmod(a, b)
    cdef double q = (a - r) / b, whole
    if b == 0:
        return <real>(a / b if quotient else r)
    if r == 0:
        r = copysign(0.0, b)
    elif (r < 0) != (b < 0):
        r, q = r + b, q - 1
    whole = floor(q)
    if q - whole > 0.5:
        whole += 1
    if q == 0:
        whole = copysign(0.0, a / b)
    return <real>(whole if quotient else r)
