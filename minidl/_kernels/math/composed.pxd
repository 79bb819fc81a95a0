# cython: cdivision=True
"""Activations that are more than one function of `elementary.pxd`: value and slope, branch-free as those are.

Each is right to a few ulp over the whole range, subnormal results included, where the textbook's
product (x times a sigmoid) cancels or has lost its bits already; and it has its limit at +-inf, where
the product would be inf * 0. Slopes are right to a few ulp of 1.
"""

from minidl._kernels.math.compensated cimport _exp2_near, _expm1_ended, _lowered_1_plus, _lowered_exp2_begun, _lowered_power, signed_
from minidl._kernels.math.elementary cimport (
    FUSED, _exp_times, _expm1_near, _horner3, _lifted_exp, _lost, _lost_by_sum, _minus_product, _plus, _plus_product, _power,
    _reduced, _shifted_by_lift, _upper, abs_, capped_, chosen_, copysign_, floored_, least_, lift_, lowered, min_, near_, real,
)


cdef inline real softsign_(real x) noexcept nogil:
    """y = x / (1 + |x|), and what its rounding lost: x - y (1 + |x|), divided by 1 + |x|."""
    cdef real farthest = 1e30 if real is float else 1e300
    # inf / inf is no limit. (float: least_ takes more time than to choose NaN at the end.)
    cdef real size = near_(x, farthest) if real is float else least_(x, farthest)
    cdef real under = <real>1 + size, inverse = <real>1 / under, y = size * inverse, added, rest
    if FUSED:  # (y - size) + y size up to 1, y - (1 - y) size beyond: the difference is exact
        rest = _minus_product(y - chosen_[real](size > 1, 0, size), chosen_[real](size > 1, 1, 0) - y, size)
    else:  # with what the sum lost, whichever is larger (Knuth)
        added = under - size
        rest = _lost(y, under, size) + y * ((<real>1 - added) + (size - (under - added)))
    y = signed_(_minus_product(y, inverse, rest), x)
    if real is float:
        return y if x == x else x
    return y


cdef inline real selu_ended(real x, real power, real r, real curved) noexcept nogil:
    """scale x for x > 0, scale alpha expm1(x) otherwise. Both factors are in two parts: their rounding would cost an ulp, and
    the largest x would become inf. (expm1 begins in compensated.pxd.)
    """
    cdef real scale_rest = 0.050700987355480493  # less 1
    cdef real factor = 1.7580993408473768
    cdef real factor_rest = 2.3296717680252718e-8 if real is float else 1.4153519380084498e-17
    cdef real rest = 0, twice = 2
    cdef real y = twice * _expm1_ended[real](power, r, curved, 0.5, &rest)
    y = y if abs_(x) >= <real>1e-18 else x
    y = _plus_product(_plus(factor_rest * y, twice * factor, rest), factor, y)
    return y if x < 0 else x + scale_rest * x


cdef inline real tanhshrink_(real x) noexcept nogil:
    """x - tanh(x), as (x - 1) + 2 / (exp(2x) + 1) from 1 on. Below, where the difference would cancel, it is x^3 / q(x^2)
    (see tanh_), with what rounding x^3 and q lost.
    """
    cdef real size = abs_(x), square = x * x, cube = size * square
    cdef real limited = near_[real](x, 40)
    cdef real near = 0, power = _lowered_power(limited + limited, &near, False), q
    # Of 1 and a power of two beyond it, 1 and the rest of the exponential are added first: no digit of 1 is lost.
    cdef real under = power + _plus(lowered[real](1), power, near)
    if real is float:
        q = _horner3[real](square, -1.0843981e-05, 2.5283645e-04, -5.7138992e-03, 1.19999995)
    else:
        q = _horner3[real](
            square, -5.8324576623330085598e-11, 1.4377752443309498692e-09, -2.9540675684967615862e-08,
            5.9875230294431408675e-07,
        )
        q = _horner3[real](square, q, -1.2203664623093451253e-05, 2.5396825307455592979e-04, -5.714285714201261849e-03)
        q = q * square + <real>1.199999999999996943
    # Products are fused with sums by name: parts are needed on one side only, where a compiler might choose otherwise.
    cdef real total = _minus_product[real](3, -q, square)
    cdef real q_rest = _lost_by_sum[real](3, q, square, total)
    cdef real least = 1e-10 if real is float else 1e-90  # below, what is lost would be subnormal
    cdef real cube_lost = _minus_product(_lost(size, square, cube), -size, _lost(x, x, square))
    cdef real cube_rest = cube_lost if size > least else <real>0
    cdef real over = lowered[real](2) if size > 1 else cube
    under = under if size > 1 else total
    cdef real y = over / under
    # 1 / q is nearly 1/3 - 0.095 x^2
    cdef real lost = _minus_product(-cube_rest, -y, q_rest)
    cdef real y_near = _minus_product(y, lost, _minus_product[real](1 / 3.0, 0.095, square))
    return copysign_(chosen_(size > 1, y + (size - <real>1), y_near), x)


cdef inline void silu_begun(real x, real* power, real* near) noexcept nogil:
    """exp(|x|) / lift as power (1 + near)."""
    cdef real farthest = 125 if real is float else 790
    power[0] = _lowered_power(near_(x, farthest), near, False)


cdef inline real silu_ended(real x, real power, real near) noexcept nogil:
    """x / (1 + exp(-x)) = max(x, 0) - |x| / (1 + exp(|x|))."""
    cdef real farthest = 125 if real is float else 790
    cdef real y = near_(x, farthest)
    # The sign is x's, of 0 too: compilers differ in the sign of a zero that they select.
    return copysign_(_minus_product(<real>0 if x < 0 else x, y / _lowered_1_plus(power, near), lowered[real](1)), x)


cdef inline real silu_slope_(real x) noexcept nogil:
    """s (1 + x (1 - s)) with s = sigmoid(x), for x = -y; the slopes at x and -x add up to 1."""
    cdef real farthest = 125 if real is float else 790
    cdef real y = min_(abs_(x), farthest)
    cdef real e = _lifted_exp(-y)
    cdef real s = e / (lift_(x) + e)
    cdef real below = s * (<real>1 - y * (<real>1 - s))
    return below if x < 0 else <real>1 - below


cdef inline void mish_begun(real x, real* power, real* near) noexcept nogil:
    """lift exp(x) as power (1 + near)."""
    cdef real least = -125 if real is float else -790
    cdef real farthest = 20 if real is float else 40
    cdef real z = capped_(floored_(x, least), farthest)
    cdef real shifted = _shifted_by_lift(z)
    power[0] = _power(shifted)
    near[0] = _expm1_near(_reduced(z, shifted - _shifted_by_lift[real](0)))


cdef inline real mish_ended(real x, real power, real near) noexcept nogil:
    """x tanh(log(1 + exp(x))) = x (1 - 2 / d), d = 1 + (1 + e)^2, as x / 2 or x and a smaller quotient times x:

    * x > -0.75: x / 2 + x (d / 2 - 2) / d;
    * below: e (x - x e (1 + e) / d), in which e = 2^k (1 + near) is multiplied in two parts.
    """
    cdef real least = -125 if real is float else -790
    cdef real floored = floored_(x, least)
    cdef real step = lowered(power), grown = step * near
    cdef real e = step + grown
    # 1 + (1 + step)^2 and what e - step adds
    cdef real d = (step * step + (<real>2 + (step + step))) + grown * ((<real>2 + (step + step)) + grown)
    cdef real over = -(e + e * e) if x <= <real>-0.75 else <real>0.5 * d - <real>2
    cdef real start = floored if x <= <real>-0.75 else <real>0.5 * x
    cdef real quotient = over / d  # 1/2 for large x
    cdef real y = _minus_product(start, -floored, quotient)
    return chosen_(x <= <real>-0.75, lowered(power * (y + y * near)), y)


cdef inline real mish_slope_(real x) noexcept nogil:
    """(d - 2) / d + 4 x (e + e^2) / d^2, in the terms of mish_; (d - 2) / d is 1 - 2 / d where it is near 1."""
    cdef real least = -125 if real is float else -790
    cdef real farthest = 20 if real is float else 40
    cdef real z = capped_(floored_(x, least), farthest)
    cdef real e = _exp_times[real](z, 1), grown = e + e * e
    cdef real over = grown + e, inverse = <real>1 / (<real>2 + over)
    cdef real first = <real>1 if x > 0 else <real>0
    over = <real>-2 if x > 0 else over
    return _plus(first, inverse, _plus(over, <real>4 * z, grown * inverse))


cdef inline void gelu_tanh_begun(real x, real* power, real* f, real* f_lost) noexcept nogil:
    """2^|v| / lift as power 2^(f + f_lost), v = line x + cube x^3 = 2 sqrt(2/pi) log2(e) (x + 0.044715 x^3).

    2^v has the error of v times v, up to 100 ulp: the factor of x in v is a sum of two numbers.
    """
    cdef real line = 2.3017578125 if real is float else 2.3022081851959228516  # short: high - line is exact
    cdef real line_rest = 4.50385647e-04 if real is float else 1.29484020375713941e-08
    cdef real cube = 0.102943241596221924 if real is float else 0.102943239580023493
    cdef real cube_rest = -2.0161985e-09 if real is float else -5.97817740071874403e-18
    cdef real farthest = 11 if real is float else 22
    cdef real y = near_(x, farthest)
    cdef real square = y * y
    cdef real high = _upper(line + cube * square)
    cdef real rest = line_rest + cube_rest * square + cube * _lost(y, y, square)
    _lowered_exp2_begun(y, high, _lost(cube, square, high - line) + rest, power, f, f_lost)


cdef inline real gelu_tanh_ended(real x, real power, real f, real f_lost) noexcept nogil:
    """x / (1 + 2^-v) = max(x, 0) - |x| / (1 + 2^|v|)"""
    cdef real farthest = 11 if real is float else 22
    cdef real y = near_(x, farthest)
    # The sign is x's, of 0 too: compilers differ in the sign of a zero that they select.
    cdef real under = _lowered_1_plus(power, _exp2_near(f, f_lost))
    return copysign_(_minus_product(<real>0 if x < 0 else x, y / under, lowered[real](1)), x)


cdef inline real gelu_tanh_slope_(real x) noexcept nogil:
    """s + x s (1 - s) v' with s = 1 / (1 + exp(-v)), in the way of silu_slope_."""
    cdef real line = 1.5957691216057308, cube = 0.07135481627260025
    cdef real farthest = 11 if real is float else 22
    cdef real y = min_(abs_(x), farthest)
    cdef real square = y * y
    cdef real e = _lifted_exp(-y * (line + cube * square))
    cdef real s = e / (lift_(x) + e)
    cdef real below = s * (<real>1 - y * (line + <real>3 * cube * square) * (<real>1 - s))
    return below if x < 0 else <real>1 - below
