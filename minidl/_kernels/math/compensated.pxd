# cython: cdivision=True
"""expm1, sinh, cosh, tanh, sigmoid and softplus, in the way of elementary.pxd, from sums whose rounding errors are compensated.

A sum a + b that is rounded loses digits which the result may need. `rest` is what it lost, as a second number next to it:
where |a| >= |b|, (a - sum) + b is exact (Dekker's fast two-sum). A function that returns a sum and its rest is used like
this: what follows is computed with the sum alone, and the first-order effect of the rest is added last. So only one
rounding of full size remains: the error is about 1 ulp at most, and the result never falls where x grows. Products with a
power of two are exact.

tanh needs no rest: it is a number less a small quotient, whose error hardly counts.
"""

from libc.stdint cimport uint32_t, uint64_t
from minidl._kernels.math.elementary cimport (
    FUSED, _expm1_near, _expm1_rest, _horner3, _log2_lift, _lost, _minus_product, _pair, _plus, _plus_product, _power, _reduced,
    _reduced_once, _shifted_by_lift, _shifted_for_power, abs_, copysign_, least_, lowered, max_, min_, near_, real,
)

cdef extern from *:  # elementary.pxd
    uint32_t minidl_bits_f(float x) noexcept nogil
    uint64_t minidl_bits_d(double x) noexcept nogil
    float minidl_real_f(uint32_t bits) noexcept nogil
    double minidl_real_d(uint64_t bits) noexcept nogil


cdef inline real signed_(real y, real x) noexcept nogil:
    """y >= 0 with the sign of x: a step less than copysign_."""
    if real is float:
        return minidl_real_f(minidl_bits_f(y) | (minidl_bits_f(x) & (<uint32_t>1 << 31)))
    else:
        return minidl_real_d(minidl_bits_d(y) | (minidl_bits_d(x) & (<uint64_t>1 << 63)))


cdef inline real _reduced_rest(real x, real k, real r) noexcept nogil:
    """What r = _reduced(x, k) lost."""
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    return ((x - k * ln2_first) - r) - k * ln2_rest


cdef inline void _expm1_begun(real x, real log2_factor, real* power, real* r, real* curved) noexcept nogil:
    """exp(x) factor = power (1 + r + curved), -40 <= x, up to overflow, factor a power of two."""
    cdef real shifted = _shifted_for_power[real](x, log2_factor)
    cdef real k = shifted - _shifted_for_power[real](0, log2_factor)
    power[0] = _power(shifted)
    r[0] = _reduced(x, k)
    cdef real square = r[0] * r[0], q
    # As _expm1_rest, but fitted for the error relative to exp(r) - 1.
    if real is float:
        q = <real>1.68284721e-04 * r[0] + <real>1.39325461e-03
        q = _pair[real](r[0], square, q, 8.33834428e-03, 4.16665003e-02)
        q = _pair[real](r[0], square, q, 1.66666478e-01, 0.5)
    else:
        q = <real>2.0875328214191862e-09 * r[0] + <real>2.5109024019076017e-08
        q = _pair[real](r[0], square, q * r[0] + <real>2.7557402785385635e-07, 2.7557244255886698e-06, 2.4801587172211469e-05)
        q = _pair[real](r[0], square, q, 1.9841269886071252e-04, 1.3888888888962615e-03)
        q = _pair[real](r[0], square, q, 8.3333333333216551e-03, 4.1666666666666505e-02)
        q = _pair[real](r[0], square, q, 1.6666666666666677e-01, 0.5)
    curved[0] = square * q + _reduced_rest(x, k, r[0])


cdef inline real _expm1_ended(real power, real r, real curved, real factor, real* rest) noexcept nogil:
    """(exp(x) - 1) factor as (2^k - 1) factor + 2^k (r + curved) factor; 2^k alone may overflow."""
    cdef real start = power - factor
    cdef real total = start + power * (r + curved)
    rest[0] = power * curved + (power * r + (start - total))
    return total


cdef inline real _expm1_times(real x, real factor, real log2_factor, real* rest) noexcept nogil:
    """(exp(x) - 1) factor, -40 <= x, up to overflow."""
    cdef real power = 0, r = 0, curved = 0
    _expm1_begun(x, log2_factor, &power, &r, &curved)
    return _expm1_ended(power, r, curved, factor, rest)


cdef inline real _lowered_power(real x, real* near, bint close) noexcept nogil:
    """power and near, so that exp(x) / lift = power (1 + near), 0 <= x <= 125 (double: 790). close: with what r lost, too."""
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    cdef real shifted = _shifted_for_power(x, -_log2_lift(x))
    cdef real k = shifted - _shifted_for_power[real](0, -_log2_lift(x))
    cdef real r = _reduced(x, k), curved = _expm1_rest(r)
    # Where a product is rounded before a sum, there is no room for what r lost. (x - k ln2_first has no rounding error.)
    near[0] = (x - k * ln2_first) + _minus_product(curved, k, ln2_rest) if close or not FUSED else r + curved
    return _power(shifted)


cdef inline real _lowered_1_plus(real power, real near) noexcept nogil:
    """1 / lift + power (1 + near)"""
    cdef real one = lowered[real](1)
    cdef real start = power + one
    return start + (power * near + (one - (start - power)))


cdef inline void _lowered_exp2_begun(real a, real high, real low, real* power, real* f, real* f_lost) noexcept nogil:
    """2^(a (high + low)) / lift = power 2^(f + f_lost), a (high + low) from 0 to 180 (double: 1140)."""
    cdef real shifted_0 = _shifted_for_power[real](0, -_log2_lift(a))
    cdef real shifted = a * high + shifted_0
    cdef real first = _lost(a, high, shifted - shifted_0)
    f[0] = first + a * low
    f_lost[0] = (first - f[0]) + a * low
    power[0] = _power(shifted)


cdef inline real _exp2_near(real f, real f_lost) noexcept nogil:
    """2^(f + f_lost) - 1"""
    cdef real ln2 = 0.69314718055994531
    cdef real ln2_rest = -1.9046543e-09 if real is float else 2.3190468138462996e-17
    return _plus_product(_expm1_rest(f * ln2) + _plus(f * ln2_rest, f_lost, ln2), f, ln2)


cdef inline real _expm1_between(real x) noexcept nogil:
    """expm1 where -40 <= x, up to overflow; loses the zero's sign and a subnormal's last bit."""
    cdef real rest = 0
    cdef real half = _expm1_times[real](x, 0.5, -1, &rest)
    return <real>2 * (half + rest)


cdef inline real expm1_(real x) noexcept nogil:
    cdef real highest = 89 if real is float else 710
    cdef real y = _expm1_between(min_[real](max_[real](x, -40), highest))
    return y if abs_(x) >= <real>1e-18 else x


cdef inline void expm1_below_begun(real x, real* power, real* r, real* curved) noexcept nogil:
    _expm1_begun[real](-near_[real](x, 40), -1, power, r, curved)


cdef inline real expm1_below_ended(real x, real power, real r, real curved) noexcept nogil:
    cdef real rest = 0
    cdef real half = _expm1_ended[real](power, r, curved, 0.5, &rest)
    return <real>2 * (half + rest) if abs_(x) >= <real>1e-18 else x


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


cdef inline real tanh_begun(real x) noexcept nogil:
    """exp(2 |x|) + 1"""
    cdef real farthest = 10 if real is float else 20
    cdef real near = near_(x, farthest)
    cdef real twice = near + near
    cdef real shifted = _shifted_for_power[real](twice, 0)
    cdef real power = _power(shifted)
    cdef real r = _reduced_once(twice, shifted - _shifted_for_power[real](0, 0))
    return (power + <real>1) + power * _expm1_near(r)


cdef inline real tanh_ended(real x, real under) noexcept nogil:
    """x - x^3 / q(x^2) near 0, q from the continued fraction 3 + x^2 / (5 + ...); from there on 1 - 2 / u with
    u = exp(2 |x|) + 1, written as 3/4 - (2 - u / 4) / u.

    Both are a number without error less a smaller quotient, of which the error counts less. Past the quotient nothing is
    rounded but the difference: where u grows with x, so does the result. (2 - u / 4 is exact; 1 as the first number would
    leave a larger quotient.) Beyond 10 (double: 20) it is 1.
    """
    cdef real size = abs_(x)
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
    cdef real first = <real>0.75 if size >= start else size
    under = under if size >= start else q
    return signed_(first - over / under, x)


cdef inline real tanh_(real x) noexcept nogil:
    return tanh_ended(x, tanh_begun(x))


cdef inline void sigmoid_begun(real x, real* power, real* near) noexcept nogil:
    """exp(|x|) / lift as power (1 + near)."""
    cdef real farthest = 125 if real is float else 790
    power[0] = _lowered_power(least_(x, farthest), near, real is double)


cdef inline real sigmoid_ended(real x, real power, real near) noexcept nogil:
    """q = 1 / (1 + exp(|x|)) for x < 0, else 1 - q."""
    cdef real one = lowered[real](1)
    cdef real start = power + one, under = start + power * near
    cdef real rest
    if real is float and FUSED:
        rest = power * near + (one - (under - power))
    else:  # where a product is rounded, or next to 2^53, the last difference above would be rounded
        rest = (power * near + (start - under)) + (one - (start - power))
    cdef real inverse = <real>1 / under
    cdef real q = _minus_product(inverse, inverse, _lost(inverse, under, <real>1) + inverse * rest)
    return lowered(q) if x < 0 else <real>1 - lowered(q)


cdef inline real sigmoid_(real x) noexcept nogil:
    cdef real power = 0, near = 0
    sigmoid_begun(x, &power, &near)
    return sigmoid_ended(x, power, near)


cdef inline void softplus_begun(real x, real factor, real* power, real* first, real* curved) noexcept nogil:
    """lift exp(-|factor x|) as power (1 + first + curved)."""
    cdef real farthest = 125 if real is float else 790
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_first_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    cdef real z = near_(factor * x, farthest)
    cdef real shifted = _shifted_by_lift(-z)
    cdef real k = shifted - _shifted_by_lift[real](0)
    power[0] = _power(shifted)
    first[0] = -z - k * ln2_first  # has no rounding error
    curved[0] = _minus_product(_expm1_rest(first[0] - k * ln2_first_rest), k, ln2_first_rest)


cdef inline real softplus_ended(real x, real factor, real inverse, real power, real first, real curved) noexcept nogil:
    """log(1 + exp(factor x)) inverse, factor > 0, inverse = 1 / factor. With z = factor x and e = exp(-|z|):

    * |z| < 1.04: ln 2 + z / 2 + log(cosh(z / 2)), the last as z^2 / 8 + z^4 c(z^2);
    * else max(x, 0) + log1p(e) inverse, log1p(e) = e + e^2 p(e), of which the power of two in e is added last.

    Loops wait for results more than for free units, so the way from x to y is kept short: what is added last to a sum is
    what is known last.
    """
    cdef real farthest = 125 if real is float else 790
    cdef real z = near_(factor * x, farthest)
    cdef real ln2 = 0.69314718055994530942, ln2_rest = 2.3190468138462996e-17  # of double
    cdef real half = <real>0.5 * (factor * x), start = ln2 + half
    cdef real square = z * z, c, p
    if real is float:
        c = _horner3[real](square, 1.67003634e-06, -2.58724358e-05, 0.000347009307, -0.00520829996)
    else:
        c = _horner3[real](
            square, 5.88068800120539e-13, -1.0235370374708784e-11, 1.2325827446967627e-10, -1.3866312413931057e-09
        )
        c = _horner3[real](square, c, 1.5659285819534194e-08, -1.8032249186680042e-07, 2.135692101529921e-06)
        c = _horner3[real](square, c, -2.6351686484525454e-05, 0.0003472222222200925, -0.005208333333333257)
    cdef real rest = half - (start - ln2)
    if real is double:
        rest += ln2_rest
    # z^2 / 8, the largest of what is added, comes last, and is not rounded.
    cdef real near = start + _plus_product(square * square * c + rest, <real>0.125 * z, z)

    cdef real step = lowered(power), grown = first + curved
    cdef real e = step + step * grown, e_grown = e + e * grown
    square = e * e
    if real is float:
        p = <real>0.0519168526 * e - <real>0.129624307
        p = _pair[real](e, square, p, 0.191685855, -0.249010831)
        p = (p * e + <real>0.333277971) * e - <real>0.499998957  # no pairs: one rounding error instead of two
    else:
        p = <real>0.0063730032457611462 * e - <real>0.024954336471055518
        p = _pair[real](e, square, p, 0.050074664514319259, -0.071901213750934501)
        p = _pair[real](e, square, p, 0.087323738608154594, -0.099171472978108036)
        p = _pair[real](e, square, p, 0.11097062398844483, -0.12498271872438108)
        p = _pair[real](e, square, p, 0.14285563268542117, -0.16666657605973006)
        p = _pair[real](e, square, p, 0.19999999646445482, -0.24999999991789432)
        p = (p * e + <real>0.33333333333236664) * e - <real>0.499999999999996
    curved = _plus_product(curved, e_grown, p)  # (rounded, it would cost the baseline 0.1 ulp)
    cdef real far = power + power * (first + curved)
    far = far * lowered(inverse) + (<real>0 if x < 0 else x)
    return near * inverse if z < <real>1.04 else far


cdef inline real softplus_times_(real x, real factor, real inverse) noexcept nogil:
    cdef real power = 0, first = 0, curved = 0
    softplus_begun(x, factor, &power, &first, &curved)
    return softplus_ended(x, factor, inverse, power, first, curved)


cdef inline real softplus_(real x) noexcept nogil:
    """log(1 + exp(x))"""
    return softplus_times_[real](x, 1, 1)
