# cython: cdivision=True
"""expm1, tanh, sigmoid and softplus, in the way of elementary.pxd, from sums whose rounding errors are compensated.

A sum a + b that is rounded loses digits which the result may need. `rest` is what it lost, as a second number next to it:
where |a| >= |b|, (a - sum) + b is exact (Dekker's fast two-sum). A function that returns a sum and its rest is used like
this: what follows is computed with the sum alone, and the first-order effect of the rest is added last. So only one
rounding of full size remains: the error is about 1 ulp at most, and the result never falls where x grows. Products with a
power of two are exact.
"""

from minidl._kernels.math.elementary cimport (
    _expm1_near, _expm1_rest, _horner3, _horner5, _log2_lift, _lost, _power, _reduced, _shifted_by_lift,
    _shifted_for_power, abs_, copysign_, lowered, max_, min_, near_, real,
)


cdef inline real _reduced_rest(real x, real k, real r) noexcept nogil:
    """What r = _reduced(x, k) lost."""
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    return ((x - k * ln2_first) - r) - k * ln2_rest


cdef inline real _half_expm1(real x, real* rest) noexcept nogil:
    """(exp(x) - 1) / 2, -40 <= x, up to overflow: (2^k - 1) / 2 + 2^k (r + r^2 q(r)) / 2. Half, as 2^k may overflow."""
    cdef real shifted = _shifted_for_power[real](x, -1)
    cdef real k = shifted - _shifted_for_power[real](0, -1)
    cdef real power = _power(shifted)
    cdef real r = _reduced(x, k), curved = _expm1_rest(r) + _reduced_rest(x, k, r)
    cdef real start = power - <real>0.5
    cdef real total = start + power * (r + curved)
    rest[0] = power * curved + (power * r + (start - total))
    return total


cdef inline real _lowered_1_plus_exp(real x, real* rest) noexcept nogil:
    """(1 + exp(x)) / lift, 0 <= x <= 125 (double: 790)."""
    cdef real shifted = _shifted_for_power(x, -_log2_lift(x))
    cdef real k = shifted - _shifted_for_power[real](0, -_log2_lift(x))
    cdef real power = _power(shifted)
    cdef real near = _expm1_near(_reduced(x, k))
    cdef real start = power + lowered[real](1)
    cdef real beyond = power * near + (lowered[real](1) - (start - power))
    cdef real total = start + beyond
    rest[0] = beyond + (start - total)
    return total


cdef inline real _expm1_between(real x) noexcept nogil:
    """expm1 where -40 <= x, up to overflow; loses the zero's sign and a subnormal's last bit."""
    cdef real rest = 0
    cdef real half = _half_expm1(x, &rest)
    return <real>2 * (half + rest)


cdef inline real expm1_(real x) noexcept nogil:
    cdef real highest = 89 if real is float else 710
    cdef real y = _expm1_between(min_[real](max_[real](x, -40), highest))
    return y if abs_(x) >= <real>1e-18 else x


cdef inline real expm1_below_(real x) noexcept nogil:
    """expm1 where x <= 0, in fewer steps."""
    cdef real y = _expm1_between(-near_[real](x, 40))
    return y if abs_(x) >= <real>1e-18 else x


cdef inline real tanh_(real x) noexcept nogil:
    """h / (h + 1) with h = expm1(2 |x|) / 2; beyond |x| = 20 it is 1 in either type."""
    cdef real rest = 0
    cdef real size = near_[real](x, 20)
    cdef real h = _half_expm1(size + size, &rest)
    cdef real under = h + <real>1
    cdef real inverse = <real>1 / under
    cdef real y = h * inverse
    # h + rest - y (under + rest + what `under` lost)
    cdef real left = (rest - y * (rest + (h - (under - <real>1)))) - _lost(y, under, h)
    return copysign_(y + inverse * left, x) if x == x else x


cdef inline real sigmoid_(real x) noexcept nogil:
    """q = 1 / (1 + exp(|x|)) for x < 0, else 1 - q."""
    cdef real farthest = 125 if real is float else 790
    cdef real rest = 0
    cdef real under = _lowered_1_plus_exp(near_(x, farthest), &rest)
    cdef real inverse = <real>1 / under
    cdef real q = inverse - inverse * (_lost(inverse, under, <real>1) + inverse * rest)
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
