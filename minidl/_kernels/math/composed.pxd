# cython: cdivision=True
"""Activations that are more than one function of `elementary.pxd`: value and slope, branch-free as those are.

Each is right to a few ulp over the whole range, subnormal results included, where the textbook's
product (x times a sigmoid) cancels or has lost its bits already; and it has its limit at +-inf, where
the product would be inf * 0. Slopes are right to a few ulp of 1.
"""

from minidl._kernels.math.elementary cimport (
    _exp_times, _horner3, _horner5, _lifted_exp, _lifted_exp2, _lost, _upper, abs_, copysign_, exp_, lift_, lowered,
    min_, near_, real,
)


cdef inline real tanhshrink_(real x) noexcept nogil:
    """x - tanh(x), as (x - 1) + 2 / (exp(2x) + 1) from 1 on. Below, where the difference would cancel,
    it is x^3 p(x^2), with p fitted for the least relative error.
    """
    cdef real z = x * x
    cdef real y = min_[real](abs_(x), 40)
    cdef real far = (abs_(x) - <real>1) + <real>2 / (exp_(y + y) + <real>1)
    cdef real p
    if real is float:
        p = _horner3[real](z, -1.4282394e-04, 9.236092e-04, -3.2069536e-03, 8.697951e-03)
        p = _horner3[real](z, p, -2.1829585e-02, 5.3963421e-02, -1.3333311e-01)
        p = p * z + <real>0.33333333157136517
    else:
        p = _horner5[real](
            z, -2.51604411168663623e-08, 2.63348481255044499e-07, -1.37931947801096703e-06,
            4.98803824059126272e-06, -1.4606501923747837e-05, 3.8389951478531612e-05,
        )
        p = _horner5[real](
            z, p, -9.64630051721158494e-05, 2.38957161057483221e-04, -5.89979331921453526e-04,
            1.45582470113050049e-03, -3.59212668086737438e-03,
        )
        p = _horner5[real](
            z, p, 8.8632354047411414e-03, -2.1869488529139739e-02, 5.3968253968046741e-02,
            -1.33333333333330906e-01, 3.33333333333333329e-01,
        )
    return x * (z * p) if abs_(x) <= <real>1 else copysign_(far, x)


cdef inline real silu_(real x) noexcept nogil:
    """x / (1 + exp(-x)), as x e / (1 + e) with e = exp(x) on the left."""
    cdef real farthest = 125 if real is float else 790
    cdef real z = -near_(x, farthest)
    cdef real e = _lifted_exp(z)
    return (e * z if x < 0 else x) / (lift_(x) + e if x < 0 else <real>1 + lowered(e))


cdef inline real silu_slope_(real x) noexcept nogil:
    """s (1 + x (1 - s)) with s = sigmoid(x), for x = -y; the slopes at x and -x add up to 1."""
    cdef real farthest = 125 if real is float else 790
    cdef real y = min_(abs_(x), farthest)
    cdef real e = _lifted_exp(-y)
    cdef real s = e / (lift_(x) + e)
    cdef real below = s * (<real>1 - y * (<real>1 - s))
    return below if x < 0 else <real>1 - below


cdef inline real mish_(real x) noexcept nogil:
    """x tanh(log(1 + exp(x))). With e = exp(-|x|) the tanh is (1 + 2e) / (1 + 2e (1 + e)) where x > 0
    and e (2 + e) / (2 + e (2 + e)) elsewhere.
    """
    cdef real farthest = 125 if real is float else 790
    cdef real z = -near_(x, farthest)
    cdef real e = _exp_times[real](z, 1)
    cdef real over = (
        _exp_times[real](z, z) * (<real>2 + e) if x < 0 else x * (<real>1 + <real>2 * e)
    )
    cdef real under = <real>2 + e * (<real>2 + e) if x < 0 else <real>1 + <real>2 * e * (<real>1 + e)
    return over / under


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
