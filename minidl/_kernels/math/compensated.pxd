# cython: cdivision=True
"""expm1, sinh, cosh, tanh, sigmoid and softplus, in the way of elementary.pxd, from sums whose rounding errors are compensated.

A sum a + b that is rounded loses digits which the result may need. `rest` is what it lost, as a second number next to it:
where |a| >= |b|, (a - sum) + b is exact (Dekker's fast two-sum). A function that returns a sum and its rest is used like
this: what follows is computed with the sum alone, and the first-order effect of the rest is added last. So only one
rounding of full size remains: the error is about 1 ulp at most, and the result never falls where x grows. Products with a
power of two are exact.

tanh needs no rest: it is a number less a small quotient, whose error hardly counts.
"""

from minidl._kernels.math.elementary cimport (
    _expm1_near, _expm1_rest, _horner3, _horner5, _log2_lift, _lost, _minus_product, _power, _reduced, _reduced_once,
    _shifted_by_lift, _shifted_for_power, abs_, copysign_, lowered, max_, min_, near_, real,
)


cdef inline real _reduced_rest(real x, real k, real r) noexcept nogil:
    """What r = _reduced(x, k) lost."""
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    return ((x - k * ln2_first) - r) - k * ln2_rest


cdef inline real _expm1_times(real x, real factor, real log2_factor, real* rest) noexcept nogil:
    """(exp(x) - 1) factor, -40 <= x, up to overflow: (2^k - 1) factor + 2^k (r + r^2 q(r)) factor. 2^k alone may overflow."""
    cdef real shifted = _shifted_for_power[real](x, log2_factor)
    cdef real k = shifted - _shifted_for_power[real](0, log2_factor)
    cdef real power = _power(shifted)
    cdef real r = _reduced(x, k), curved = _expm1_rest(r) + _reduced_rest(x, k, r)
    cdef real start = power - factor
    cdef real total = start + power * (r + curved)
    rest[0] = power * curved + (power * r + (start - total))
    return total


cdef inline real _lowered_power(real x, real* near) noexcept nogil:
    """power and near, so that exp(x) / lift = power (1 + near), 0 <= x <= 125 (double: 790)."""
    cdef real shifted = _shifted_for_power(x, -_log2_lift(x))
    cdef real k = shifted - _shifted_for_power[real](0, -_log2_lift(x))
    near[0] = _expm1_near(_reduced(x, k))
    return _power(shifted)


cdef inline real _lowered_1_plus(real power, real near) noexcept nogil:
    """1 / lift + power (1 + near)"""
    cdef real one = lowered[real](1)
    cdef real start = power + one
    return start + (power * near + (one - (start - power)))


cdef inline real _lowered_1_plus_exp(real x) noexcept nogil:
    """(1 + exp(x)) / lift, 0 <= x <= 125 (double: 790)."""
    cdef real near = 0
    cdef real power = _lowered_power(x, &near)
    return _lowered_1_plus(power, near)


cdef inline real _lowered_1_plus_exp2(real a, real high, real low) noexcept nogil:
    """(1 + 2^(a (high + low))) / lift, a (high + low) from 0 to 180 (double: 1140)."""
    cdef real ln2 = 0.69314718055994531
    cdef real ln2_rest = -1.9046543e-09 if real is float else 2.3190468138462996e-17
    cdef real shifted_0 = _shifted_for_power[real](0, -_log2_lift(a))
    cdef real shifted = a * high + shifted_0
    cdef real k = shifted - shifted_0
    cdef real power = _power(shifted)
    cdef real f = _lost(a, high, k) + a * low
    cdef real r = f * ln2
    cdef real near = r + (_expm1_rest(r) + (_lost(f, ln2, r) + f * ln2_rest))
    return _lowered_1_plus(power, near)


cdef inline real _expm1_between(real x) noexcept nogil:
    """expm1 where -40 <= x, up to overflow; loses the zero's sign and a subnormal's last bit."""
    cdef real rest = 0
    cdef real half = _expm1_times[real](x, 0.5, -1, &rest)
    return <real>2 * (half + rest)


cdef inline real expm1_(real x) noexcept nogil:
    cdef real highest = 89 if real is float else 710
    cdef real y = _expm1_between(min_[real](max_[real](x, -40), highest))
    return y if abs_(x) >= <real>1e-18 else x


cdef inline real expm1_below_(real x) noexcept nogil:
    """expm1 where x <= 0, in fewer steps."""
    cdef real y = _expm1_between(-near_[real](x, 40))
    return y if abs_(x) >= <real>1e-18 else x


cdef inline real _quarter_expm1(real size, real* rest) noexcept nogil:
    """(exp(size) - 1) / 4 where sinh and cosh, about exp(size) / 2, may still be finite; inf beyond."""
    cdef real highest = 89.5 if real is float else 710.5
    return _expm1_times[real](near_(size, highest), 0.25, -2, rest)


cdef inline real sinh_(real x) noexcept nogil:
    """(m + m / (m + 1)) / 2 for m = exp(|x|) - 1: a sum of positive numbers. Of m we have a quarter."""
    cdef real size = abs_(x), rest = 0
    cdef real m = _quarter_expm1(size, &rest)
    cdef real y = <real>2 * (m + (rest + m / (<real>4 * m + <real>1)))
    return copysign_(y if size >= <real>1e-18 else x, x) if x == x else x


cdef inline real cosh_(real x) noexcept nogil:
    """(e + 1 / e) / 2 for e = m + 1."""
    cdef real rest = 0
    cdef real m = _quarter_expm1(abs_(x), &rest)
    cdef real y = <real>2 * ((m + <real>0.25) + (rest + <real>0.25 / (<real>4 * m + <real>1)))
    return y if x == x else x


cdef inline real tanh_(real x) noexcept nogil:
    """x - x^3 / q(x^2) near 0, q from the continued fraction 3 + x^2 / (5 + ...); from there on 1 - 2 / u with
    u = exp(2 |x|) + 1, written as 3/4 - (2 - u / 4) / u.

    Both are a number without error less a smaller quotient, of which the error counts less. Past the quotient nothing is
    rounded but the difference: where u grows with x, so does the result. (2 - u / 4 is exact; 1 as the first number would
    leave a larger quotient.) Beyond 10 (double: 20) it is 1.
    """
    cdef real farthest = 10 if real is float else 20
    cdef real size = abs_(x), near = near_(x, farthest)
    cdef real twice = near + near
    cdef real shifted = _shifted_for_power[real](twice, 0)
    cdef real power = _power(shifted)
    cdef real r = _reduced_once(twice, shifted - _shifted_for_power[real](0, 0))
    cdef real under = (power + <real>1) + power * _expm1_near(r)
    cdef real start = 0.68 if real is float else 0.75
    cdef real square = size * size, q
    if real is float:
        q = (<real>-5.4980150673e-03 * square + <real>1.1999436029) * square + <real>3.00000416316
    else:
        q = _horner3[real](
            square, 1.2904040828631046569e-09, -2.9386223450926705194e-08, 5.9866538050495327367e-07,
            -1.2203636200385446243e-05,
        )
        q = _horner3[real](square, q, 2.5396824762127299676e-04, -5.7142857136140081922e-03, 1.1999999999999656984)
        q = q * square + <real>3.0000000000000005966
    cdef real over = <real>2 - <real>0.25 * under if size >= start else size * square
    cdef real quotient = over / (under if size >= start else q)
    return copysign_((<real>0.75 if size >= start else size) - quotient, x)


cdef inline real sigmoid_(real x) noexcept nogil:
    """q = 1 / (1 + exp(|x|)) for x < 0, else 1 - q."""
    cdef real farthest = 125 if real is float else 790
    cdef real near = 0, one = lowered[real](1)
    cdef real power = _lowered_power(near_(x, farthest), &near)
    cdef real under = (power + one) + power * near
    cdef real rest = power * near + (one - (under - power))  # both differences are exact
    cdef real inverse = <real>1 / under
    cdef real q = _minus_product(inverse, inverse, _lost(inverse, under, <real>1) + inverse * rest)
    q = lowered(q) if x < 0 else <real>1 - lowered(q)
    return q if x == x else x


cdef inline real _log1p_rest(real f, real k) noexcept nogil:
    """log(1 + f) - f + k (ln 2 - its first part), sqrt(1/2) <= 1 + f < sqrt(2)."""
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    cdef real square = f * f, half, s, z, p
    if real is float:
        p = _horner3[real](f, -7.3101677e-02, 1.2722008e-01, -1.3294083e-01, 1.4222732e-01)
        p = _horner5[real](f, p, -1.660802e-01, 1.999905e-01, -2.500143e-01, 3.333339e-01, -4.9999994e-01)
        p = square * p + k * ln2_rest
    else:  # as _log_near_1
        s = f / (<real>2 + f)
        z = s * s
        half = <real>0.5 * square
        p = _horner3[real](
            z, 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
            2.222219843214978396e-01,
        )
        p = _horner3[real](z, p, 2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01)
        p = (s * (half + z * p) + k * ln2_rest) - half
    return p


cdef inline real softplus_times_(real x, real factor, real inverse) noexcept nogil:
    """log(1 + exp(factor x)) inverse = max(x, 0) + log1p(e) inverse, e = exp(-factor |x|), factor > 0, inverse = 1 / factor.

    log1p(e) is log1p(f) + k ln 2, f = e and k = 0, or f = (e - 1) / 2 and k = 1; the three terms are summed with rests.
    """
    cdef real farthest = 125 if real is float else 790
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real above = 0.41421356  # sqrt(2) - 1
    cdef real z = -near_(factor * x, farthest)
    cdef real shifted = _shifted_by_lift(z)
    cdef real k = shifted - _shifted_by_lift[real](0)
    cdef real power = _power(shifted)
    cdef real r = _reduced(z, k), curved = _expm1_rest(r) + _reduced_rest(z, k, r)
    cdef real lifted = power + power * (r + curved)
    cdef real e = lowered(lifted)
    cdef real rest = lowered(power * curved + (power * r + (power - lifted)))
    cdef real half = <real>0.5 * e, low = half - <real>0.5
    cdef real low_rest = <real>0.5 * rest + (half - (low + <real>0.5))
    cdef real f = low if e > above else e
    cdef real is_low = <real>1 if e > above else <real>0
    rest = low_rest if e > above else rest
    rest = (rest - f * rest) + _log1p_rest(f, is_low)  # 1 - f: nearly log1p's slope
    # max(x, 0) as a product: of the maximum a compiler makes a branch, and computes what follows twice.
    cdef real largest = 3.4028234663852886e+38 if real is float else 1.7976931348623157e+308
    cdef real greater = near_(x, largest) * (<real>1 if x > 0 else <real>0)
    cdef real ln2 = is_low * (ln2_first * inverse)
    f = f * inverse
    cdef real inner = greater + f  # factor x >= 2 |f|, or greater = 0
    cdef real y = ln2 + inner  # ln2 >= |inner|, or ln2 = 0
    y = y + (rest * inverse + ((f - (inner - greater)) + (inner - (y - ln2))))
    return y if x <= largest else x


cdef inline real softplus_(real x) noexcept nogil:
    """log(1 + exp(x))"""
    return softplus_times_[real](x, 1, 1)
