# cython: cdivision=True
"""Activations that are more than one function of `elementary.pxd`: value and slope, branch-free as those are.

Each is right to a few ulp over the whole range, subnormal results included, where the textbook's
product (x times a sigmoid) cancels or has lost its bits already; and it has its limit at +-inf, where
the product would be inf * 0. Slopes are right to a few ulp of 1.
"""

from minidl._kernels.math.compensated cimport _lowered_1_plus_exp, expm1_below_
from minidl._kernels.math.elementary cimport (
    _exp_times, _expm1_near, _horner3, _horner5, _lifted_exp, _lifted_exp2, _lost, _power, _reduced,
    _shifted_by_lift, _upper, abs_, copysign_, lift_, lowered, max_, min_, near_, real,
)


cdef inline real softsign_(real x) noexcept nogil:
    """x / (1 + |x|), with the rests of the sum and of the quotient."""
    cdef real farthest = 1e30 if real is float else 1e300
    cdef real size = near_(x, farthest)  # inf / inf is no limit
    cdef real under = <real>1 + size
    cdef real rest = min_[real](size, 1) - (under - max_[real](size, 1))
    cdef real inverse = <real>1 / under
    cdef real y = size * inverse
    return copysign_(y - inverse * (_lost(y, under, size) + y * rest), x) if x == x else x


cdef inline real selu_(real x) noexcept nogil:
    """scale x for x > 0, scale alpha expm1(x) otherwise. Both factors are in two parts: their rounding would cost an ulp, and
    the largest x would become inf.
    """
    cdef real scale_rest = 0.050700987355480493  # less 1
    cdef real factor = 1.7580993408473768
    cdef real factor_rest = 2.3296717680252718e-8 if real is float else 1.4153519380084498e-17
    cdef real y = expm1_below_(x)
    return factor * y + factor_rest * y if x <= 0 else x + scale_rest * x


cdef inline real tanhshrink_(real x) noexcept nogil:
    """x - tanh(x), as (x - 1) + 2 / (exp(2x) + 1) from 1 on. Below, where the difference would cancel,
    it is x^3 p(x^2), x^3 with its rest, and p fitted for the least relative error.
    """
    cdef real z = x * x
    cdef real y = near_[real](x, 40)
    cdef real rest = 0
    cdef real far = (abs_(x) - <real>1) + lowered[real](2) / _lowered_1_plus_exp(y + y, &rest)
    cdef real p
    if real is float:
        p = _horner3[real](z, -1.9938155e-04, 1.1269697e-03, -3.4958422e-03, 8.903035e-03)
        p = _horner3[real](z, p, -2.1905165e-02, 5.397692e-02, -1.3333404e-01)
    else:
        p = _horner5[real](
            z, -2.51604411168663623e-08, 2.63348481255044499e-07, -1.37931947801096703e-06,
            4.98803824059126272e-06, -1.4606501923747837e-05, 3.8389951478531612e-05,
        )
        p = _horner5[real](
            z, p, -9.64630051721158494e-05, 2.38957161057483221e-04, -5.89979331921453526e-04,
            1.45582470113050049e-03, -3.59212668086737438e-03,
        )
        p = _horner3[real](z, p, 8.8632354047411414e-03, -2.1869488529139739e-02, 5.3968253968046741e-02)
        p = p * z - <real>1.33333333333330906e-01
    cdef real cube = x * z, third = 0.33333333333333333
    p = z * p
    cdef real least = 1e-10 if real is float else 1e-90  # below, what is lost would be subnormal
    rest = x * _lost(x, x, z) + _lost(x, z, cube) if abs_(x) > least else <real>0
    cdef real near = cube * third + (cube * p + rest * (third + p))
    return copysign_(near if abs_(x) <= <real>1 else far, x)


cdef inline real silu_(real x) noexcept nogil:
    """x / (1 + exp(-x)) = max(x, 0) - |x| / (1 + exp(|x|))."""
    cdef real farthest = 125 if real is float else 790
    cdef real y = near_(x, farthest)
    cdef real rest = 0
    return (<real>-0.0 if x < 0 else x) - lowered(y / _lowered_1_plus_exp(y, &rest))


cdef inline real silu_slope_(real x) noexcept nogil:
    """s (1 + x (1 - s)) with s = sigmoid(x), for x = -y; the slopes at x and -x add up to 1."""
    cdef real farthest = 125 if real is float else 790
    cdef real y = min_(abs_(x), farthest)
    cdef real e = _lifted_exp(-y)
    cdef real s = e / (lift_(x) + e)
    cdef real below = s * (<real>1 - y * (<real>1 - s))
    return below if x < 0 else <real>1 - below


cdef inline real mish_(real x) noexcept nogil:
    """x tanh(log(1 + exp(x))) = x - x part, with e = exp(-|x|): the part is 2 e^2 / (1 + 2 e (1 + e)) where x >= 0 and
    2 / (2 + e (2 + e)) from -3/8 on. Below that is nearly 1, and the same is e (x - x part) with e (1 + e) / (2 + e (2 + e)).
    """
    cdef real farthest = 125 if real is float else 790
    cdef real z = -near_(x, farthest)
    cdef real shifted = _shifted_by_lift(z)
    cdef real power = _power(shifted)
    cdef real near = _expm1_near(_reduced(z, shifted - _shifted_by_lift[real](0)))
    cdef real e = lowered(power + power * near)
    cdef real square = e * e, grown = e + square
    cdef real over = (grown if x < <real>-0.375 else <real>2) if x < 0 else square + square
    cdef real under = square + (<real>2 + (e + e)) if x < 0 else <real>1 + (grown + grown)
    cdef real y = (z if x < 0 else x) + (-z if x < 0 else z) * (over / under)
    return lowered(power * (y + y * near)) if x < <real>-0.375 else y


cdef inline real mish_slope_(real x) noexcept nogil:
    """t + x s (1 - t^2) with t = tanh(log(1 + exp(x))), s = sigmoid(x), in the terms of mish_."""
    cdef real farthest = 125 if real is float else 790
    cdef real z = copysign_(min_(abs_(x), farthest), x)
    cdef real e = _exp_times[real](-abs_(z), 1)
    cdef real over = <real>1 + <real>2 * e if x >= 0 else e * (<real>2 + e)
    cdef real under = <real>1 + <real>2 * e * (<real>1 + e) if x >= 0 else <real>2 + e * (<real>2 + e)
    cdef real rest = e * (<real>1 + e) * <real>4 * (e if x >= 0 else <real>1)
    return (over + z * (rest / under)) / under


cdef inline real gelu_tanh_(real x) noexcept nogil:
    """x / (1 + 2^-v), v = line x + cube x^3 = 2 sqrt(2/pi) log2(e) (x + 0.044715 x^3).

    2^v has the error of v times v, up to 100 ulp on the left: the factor of x in v is a sum of two numbers.
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
    cdef real e = _lifted_exp2(-y, high, _lost(cube, square, high - line) + rest)
    return (e * -y if x < 0 else x) / (lift_(x) + e if x < 0 else <real>1 + lowered(e))


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
