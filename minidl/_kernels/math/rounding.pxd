# cython: cdivision=True
"""x // z and x % z, rounded down as Python does: the remainder has the sign of z, a zero as well.

The nearest whole q to x / z leaves r = x - q z without error: of r and r + z, one is the remainder. For float all of this
is done in double. Beyond FARTHEST times z, and for what is infinite, NaN or divided by 0, `is_steep` sends a loop to the
C library's fmod, as NumPy does.
"""

from libc.math cimport INFINITY, copysign, floor, fmod
from minidl._kernels.math.elementary cimport _lost, abs_, real

cdef enum:
    FARTHEST = 1 << 22  # q has to fit into half a double for `_lost` to be exact without fused products


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
