# cython: cdivision=True
"""exp, log, tanh and friends that the compiler vectorises in any plain loop, for float and double.

Every function is inline and free of branches: it computes all cases and selects. The C library's
versions are calls, and one call in a loop keeps the whole loop scalar.

Two ideas carry the file.

* A number k that must become both an integer and a power of two lives as `ROUNDER + k`, where
  ROUNDER = 1.5 * 2^mantissa. Adding ROUNDER to a real rounds it to an integer, which then stands in
  the low bits; subtracting ROUNDER gives k as a real. SSE2 and AVX2 have no conversion between
  double and int64; this needs none. Such a value is called `shifted` below.
* The argument is reduced to a small interval, where a polynomial is as good as the function.

Coefficients come in pairs, float and double, so that each formula stands once. Those not taken from
fdlibm were fitted here (Remez exchange in 50 digits, then rounded). Errors are measured in
docs/accuracy.md. A compiler may fuse a product with a sum or not: both are right.

Write `<real>2 * x`, not `2 * x`, in any kernel: Cython makes a C double of the bare number, and the
loop is then computed in double.
"""

from libc.math cimport INFINITY, NAN, copysign, copysignf, fabs, fabsf, pow

ctypedef fused real:
    float
    double


cdef extern from *:
    """
    #ifndef MINIDL_MATH_BITS
    #define MINIDL_MATH_BITS
    #include <stdint.h>
    #include <string.h>

    /* The few steps that need the bits of a number, for a type REAL with its integer BITS.
       `shifted` is ROUNDER + k: see the top of _math.pxd. ONE and ROOT are the bits of 1 and of
       sqrt(1/2), ROUND those of ROUNDER. */
    #define MINIDL_MATH(S, REAL, BITS, MANTISSA, ONE, ROOT, ROUND)                              \\
        static inline BITS minidl_bits_##S(REAL x) {                                            \\
            BITS b; memcpy(&b, &x, sizeof b); return b;                                         \\
        }                                                                                       \\
        static inline REAL minidl_real_##S(BITS b) {                                            \\
            REAL x; memcpy(&x, &b, sizeof x); return x;                                         \\
        }                                                                                       \\
        /* x * 2^k, x and the result normal: adds k to the exponent. */                         \\
        static inline REAL minidl_shift_##S(REAL x, REAL shifted) {                             \\
            return minidl_real_##S(minidl_bits_##S(x) + (minidl_bits_##S(shifted) << MANTISSA)); \\
        }                                                                                       \\
        /* x * 2^k for any k: two factors reach subnormal results and overflow. */              \\
        static inline REAL minidl_scale_##S(REAL x, REAL shifted) {                             \\
            const BITS k = minidl_bits_##S(shifted) - (ROUND - 2 * (ONE >> MANTISSA));          \\
            const BITS half = k >> 1;                                                           \\
            return x * minidl_real_##S(half << MANTISSA)                                        \\
                     * minidl_real_##S((k - half) << MANTISSA);                                 \\
        }                                                                                       \\
        /* ROUNDER + k where x = m * 2^k, sqrt(1/2) <= m < sqrt(2); x normal and positive. */   \\
        static inline REAL minidl_exponent_##S(REAL x) {                                        \\
            const BITS b = minidl_bits_##S(x) + (ONE - ROOT);                                   \\
            return minidl_real_##S((b >> MANTISSA) + (ROUND - (ONE >> MANTISSA)));              \\
        }                                                                                       \\
        /* x with the lower half of its mantissa cleared: the square is exact. */               \\
        static inline REAL minidl_upper_##S(REAL x) {                                           \\
            return minidl_real_##S(minidl_bits_##S(x) >> (MANTISSA / 2 + 1)                     \\
                                                      << (MANTISSA / 2 + 1));                   \\
        }

    MINIDL_MATH(f, float, uint32_t, 23, UINT32_C(0x3F800000), UINT32_C(0x3F3504F3),
                UINT32_C(0x4B400000))
    MINIDL_MATH(d, double, uint64_t, 52, UINT64_C(0x3FF0000000000000),
                UINT64_C(0x3FE6A09E667F3BCD), UINT64_C(0x4338000000000000))
    #endif
    """
    float minidl_shift_f(float x, float shifted) noexcept nogil
    double minidl_shift_d(double x, double shifted) noexcept nogil
    float minidl_scale_f(float x, float shifted) noexcept nogil
    double minidl_scale_d(double x, double shifted) noexcept nogil
    float minidl_exponent_f(float x) noexcept nogil
    double minidl_exponent_d(double x) noexcept nogil
    float minidl_upper_f(float x) noexcept nogil
    double minidl_upper_d(double x) noexcept nogil


# ---- helpers ---------------------------------------------------------------------------------

cdef inline real abs_(real x) noexcept nogil:
    return fabsf(x) if real is float else fabs(x)


cdef inline real copysign_(real x, real sign) noexcept nogil:
    return copysignf(x, sign) if real is float else copysign(x, sign)


cdef inline real max_(real x, real y) noexcept nogil:
    """The larger one. A NaN in x is kept, a NaN in y is not."""
    return y if x < y else x


cdef inline real min_(real x, real y) noexcept nogil:
    """The smaller one. A NaN in x is kept, a NaN in y is not."""
    return y if y < x else x


cdef inline real _rounder(real like) noexcept nogil:
    return 12582912.0 if real is float else 6755399441055744.0


cdef inline real _shift(real x, real shifted) noexcept nogil:
    return minidl_shift_f(x, shifted) if real is float else minidl_shift_d(x, shifted)


cdef inline real _scale(real x, real shifted) noexcept nogil:
    return minidl_scale_f(x, shifted) if real is float else minidl_scale_d(x, shifted)


cdef inline real _exponent(real x) noexcept nogil:
    return minidl_exponent_f(x) if real is float else minidl_exponent_d(x)


cdef inline real _upper(real x) noexcept nogil:
    return minidl_upper_f(x) if real is float else minidl_upper_d(x)


cdef inline real _horner3(real x, real p, real c2, real c1, real c0) noexcept nogil:
    """Three steps of Horner's scheme: p x^3 + c2 x^2 + c1 x + c0."""
    return ((p * x + c2) * x + c1) * x + c0


cdef inline real _horner5(
    real x, real p, real c4, real c3, real c2, real c1, real c0
) noexcept nogil:
    return ((((p * x + c4) * x + c3) * x + c2) * x + c1) * x + c0


# ---- exp and what follows from it ------------------------------------------------------------

cdef inline real _shifted_log2(real x) noexcept nogil:
    """ROUNDER + k with k = round(x / ln 2)."""
    return x * <real>1.4426950408889634 + _rounder(x)


cdef inline real _reduced(real x, real k) noexcept nogil:
    """x - k ln 2, at most ln 2 / 2 (Cody and Waite: ln 2 in two parts, k * first is exact)."""
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    return (x - k * ln2_first) - k * ln2_rest


cdef inline real _exp_curve(real r) noexcept nogil:
    """exp(r) - 1 - r = r^2 q(r), |r| <= ln 2 / 2; q fitted for the least error in exp(r) - 1."""
    cdef real q
    if real is float:
        q = _horner5[real](
            r, 1.5045084e-04, 1.3930545e-03, 8.341511e-03, 4.166651e-02, 1.6666636e-01, 0.5
        )
    else:
        q = _horner5[real](
            r, 2.085962729700361e-09, 2.5106017064894088e-08, 2.755732458247229e-07,
            2.7557249173638576e-06, 2.4801587355903245e-05, 1.9841269884175497e-04,
        )
        q = _horner5[real](
            r, q, 1.3888888888857968e-03, 8.33333333332174e-03, 4.1666666666666706e-02,
            1.6666666666666677e-01, 0.5,
        )
    return r * r * q


cdef inline real _exp_sum(real x, real rest, real factor) noexcept nogil:
    """factor * exp(x - rest), |rest| < 1/2, |x| within twice the range of finite results."""
    cdef real shifted = _shifted_log2(x)
    cdef real r = _reduced(x, shifted - _rounder(x)) - rest
    return _scale(factor * (<real>1 + (r + _exp_curve(r))), shifted)


cdef inline real exp_times_(real x, real factor) noexcept nogil:
    """factor * exp(x), |factor| < 2^60: right even where exp(x) alone is subnormal (x e^x)."""
    # Beyond +-farthest the result is 0 or inf all the same.
    cdef real farthest = 150 if real is float else 790
    return _exp_sum[real](copysign_(min_(abs_(x), farthest), x), 0, factor)


cdef inline real exp_(real x) noexcept nogil:
    return exp_times_[real](x, 1)


cdef inline real _expm1_between(real x) noexcept nogil:
    """expm1 where -40 <= x, up to overflow; loses the zero's sign and a subnormal's last bit."""
    cdef real shifted = _shifted_log2(x)
    cdef real r = _reduced(x, shifted - _rounder(x))
    cdef real small = r + _exp_curve(r)
    # 2^k (1 + small) - 1, halved: 2^k itself may overflow. `lost` is what power - 1/2 lost.
    cdef real power = _shift[real](1, shifted - <real>1)
    cdef real difference = power - <real>0.5
    cdef real lost = (power - difference) - <real>0.5
    return <real>2 * (difference + (power * small + lost))


cdef inline real expm1_(real x) noexcept nogil:
    cdef real highest = 89 if real is float else 710
    cdef real y = _expm1_between(min_[real](max_[real](x, -40), highest))
    return x if abs_(x) < <real>1e-18 else y


cdef inline real tanh_(real x) noexcept nogil:
    """expm1(2x) / (expm1(2x) + 2); beyond |x| = 20 it is 1 in either type."""
    cdef real e = _expm1_between(min_[real](<real>2 * abs_(x), 40))
    return copysign_(e / (e + <real>2), x)


cdef inline real sigmoid_(real x) noexcept nogil:
    """1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0, with e = exp(-|x|), which cannot overflow.

    Both are n - n q, q = e / (1 + e), n = 1 or e; so the error of q, at most 1/2, shrinks.
    """
    cdef real e = exp_(-abs_(x))
    cdef real n = e if x < 0 else <real>1
    return n - n * (e / (<real>1 + e))


# ---- log and what follows from it ------------------------------------------------------------

cdef inline real _log_near_1(real f, real k) noexcept nogil:
    """log(1 + f) + k ln 2 for sqrt(1/2) <= 1 + f < sqrt(2).

    fdlibm's e_log.c, its float twin's coefficients from FreeBSD's e_logf.c: with s = f / (2 + f),
    log(1 + f) = 2 atanh(s) = f - f^2/2 + s (f^2/2 + R(s^2)).
    """
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    cdef real s = f / (<real>2 + f)
    cdef real z = s * s
    cdef real p
    if real is float:
        p = _horner3[real](z, 0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693)
    else:
        p = _horner3[real](
            z, 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
            2.222219843214978396e-01,
        )
        p = _horner3[real](
            z, p, 2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01
        )
    cdef real half = <real>0.5 * f * f
    return k * ln2_first + (f - (half - (s * (half + z * p) + k * ln2_rest)))


cdef inline real log_(real x) noexcept nogil:
    cdef real least = 1.17549435082228750797e-38 if real is float else 2.2250738585072014e-308
    cdef real lift = 8388608.0 if real is float else 4503599627370496.0
    cdef real bits = 23 if real is float else 52
    # Subnormal numbers are lifted into the normal range.
    cdef real normal = x * lift if x < least else x
    cdef real k = _exponent(normal) - _rounder(x)
    cdef real m = _shift(normal, _rounder(x) - k)
    cdef real y = _log_near_1(m - <real>1, k - bits if x < least else k)
    y = y if x < <real>INFINITY else x
    return y if x > 0 else (<real>-INFINITY if x == 0 else <real>NAN)


cdef inline real _log1p_above(real x) noexcept nogil:
    """log1p where -1 < x < inf; the zero's sign is lost."""
    cdef real k = _exponent(<real>1 + x) - _rounder(x)
    # f = 2^-k (1 + x) - 1 from x itself, not from the rounded 1 + x. 2^-k as half of 2^(1-k), which
    # is normal (or 0, and then too small to matter). If k is not 0, x is normal.
    cdef real down = _rounder(x) - k
    cdef real f = _shift(x, down) + (<real>0.5 * _shift[real](2, down) - <real>1)
    return _log_near_1(f, k)


cdef inline real log1p_(real x) noexcept nogil:
    cdef real y = _log1p_above(x)
    y = y if x < <real>INFINITY else x
    return copysign_(y if x > -1 else (<real>-INFINITY if x == -1 else <real>NAN), x)


cdef inline real log1p_exp_minus_(real x) noexcept nogil:
    """log(1 + exp(-x)) for x >= 0: 1 + e is at most 2, so that its exponent is 0 or 1."""
    cdef real e = exp_(-x)
    cdef real halved = <real>0.5 * e - <real>0.5  # (1 + e) / 2 - 1
    cdef real above = 0.41421356  # sqrt(2) - 1
    return _log_near_1(halved if e > above else e, <real>1 if e > above else <real>0)


cdef inline real softplus_(real x) noexcept nogil:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return max_[real](x, 0) + log1p_exp_minus_(abs_(x))


cdef inline real pow_(real x, real p) noexcept nogil:
    """x^p by C's rules. float: exp(p log |x|) in double, good to half an ulp; double: the C library's.

    Where x is negative, p must be whole (else NaN), and an odd p gives a negative result.
    """
    if real is double:
        return pow(x, p)
    cdef double x_ = x, p_ = p
    cdef double log_x = log_[double](fabs(x_))
    cdef double power = 1.0 if log_x == 0 else exp_[double](p_ * log_x)  # 1^p is 1, whatever p
    # Beyond 2^24 every float is even. Adding 1.5 * 2^52 and taking it away rounds to a whole number.
    cdef double q = min_[double](fabs(p_), 16777216.0), rounder = 6755399441055744.0
    cdef double half = 0.5 * q
    cdef double sign = copysign(1.0, x_) if (half + rounder) - rounder != half else 1.0  # for a whole p
    cdef double other = power if x_ == 0 else (power if x_ == -INFINITY else NAN)  # for any other p
    cdef double negative = sign * power if (q + rounder) - rounder == q else other
    power = negative if x_ <= 0 else power
    return <real>(1.0 if p_ == 0 else power)


# ---- the normal distribution -----------------------------------------------------------------

cdef inline real _bell(real x, real half, real factor) noexcept nogil:
    """factor * exp(-half x^2), half = 1/2 or 1, |x| < 40.

    Rounding x^2 first would cost x^2 ulp: x is split so that one part's square is exact.
    """
    cdef real first = _upper(x)
    cdef real rest = half * ((x - first) * (x + first))
    return _exp_sum(-half * (first * first), rest, factor)


cdef inline real _erf_near(real y) noexcept nogil:
    """erf(y) for |y| <= 0.75: y + y p(y^2)."""
    cdef real z = y * y
    cdef real p
    if real is float:
        p = _horner5[real](
            z, -6.779847e-04, 5.1188124e-03, -2.6836967e-02, 1.1283428e-01, -3.7612623e-01,
            1.2837917e-01,
        )
    else:
        p = _horner5[real](
            z, 1.3514535261610508e-08, -1.651583027397131e-07, 1.6499727225498549e-06,
            -1.4928783429169026e-05, 1.2055473882482518e-04, -8.548330776428882e-04,
        )
        p = _horner5[real](
            z, p, 5.22397768500706e-03, -2.6866170650498386e-02, 1.1283791670979525e-01,
            -3.761263890318418e-01, 1.283791670955126e-01,
        )
    return y + y * p


cdef inline real _tail_far(real x, bint times_x) noexcept nogil:
    """exp(x^2 / 2) P(Z > x) for 1.06 <= x <= 38.75: p(t) / (x + K), where t = (x - K) / (x + K).

    The substitution is Shepherd and Laframboise's (Math. Comp. 36, 1981); K and the coefficients
    were fitted for the least relative error, K one whose coefficients round well. With times_x the
    result is multiplied by x, which saves a division: x / (x + K) = (1 + t) / 2.
    """
    cdef real K = 2.609375 if real is float else 4.90625
    cdef real t = (x - K) / (x + K)
    cdef real p
    if real is float:
        p = _horner3[real](t, -5.34957e-04, 2.4788504e-04, 2.7739594e-03, 5.167735e-04)
        p = _horner5[real](
            t, p, -1.7166398e-02, -1.3082044e-03, 1.5428409e-01, -4.5224097e-01, 7.1236306e-01
        )
    else:
        p = _horner3[real](
            t, -4.745280261953531e-08, 8.027047312235106e-08, 3.4047490842722483e-07,
            -7.069919198471106e-07,
        )
        p = _horner5[real](
            t, p, -2.0116157214319166e-06, 5.888650576013024e-06, 9.982214943279513e-06,
            -5.410114624814744e-05, -5.627644039398763e-06,
        )
        p = _horner5[real](
            t, p, 4.6547963250592793e-04, -1.00670135125504e-03, -1.6510188198701513e-03,
            1.704756189593733e-02, -6.200153927866156e-02,
        )
        p = _horner5[real](
            t, p, 1.5494267831235353e-01, -3.027296376935782e-01, 4.8685223627508994e-01,
            -6.611258032012591e-01, 7.681952278522628e-01,
        )
    return p * (<real>0.5 + <real>0.5 * t) if times_x else p / (x + K)


cdef inline real erf_(real x) noexcept nogil:
    cdef real y = min_[real](abs_(x), 6)
    cdef real root2 = 1.4142135623730951
    cdef real far = <real>1 - <real>2 * _bell[real](y, 1, _tail_far(y * root2, False))
    return _erf_near(x) if y < <real>0.75 else copysign_(far, x)


cdef inline real _normal_near(real x) noexcept nogil:
    """P(Z <= x) for |x| <= 1.06."""
    return <real>0.5 + <real>0.5 * _erf_near(x * <real>0.7071067811865476)


cdef inline real normal_cdf_(real x) noexcept nogil:
    """P(Z <= x) = erfc(-x / sqrt 2) / 2, right to a few ulp in the far left tail too."""
    cdef real farthest = 15 if real is float else 38.75
    cdef real y = min_(abs_(x), farthest)
    cdef real far = _bell[real](y, 0.5, _tail_far(y, False))
    far = far if x < 0 else <real>1 - far
    return _normal_near(x) if y < <real>1.0625 else far


cdef inline real gelu_(real x) noexcept nogil:
    """x P(Z <= x); apart from normal_cdf_ because P is subnormal where the product is not."""
    cdef real farthest = 15 if real is float else 39
    cdef real y = min_(abs_(x), farthest)
    cdef real far = _bell[real](y, 0.5, _tail_far(y, True))
    far = -far if x < 0 else x - far
    return x * _normal_near(x) if y < <real>1.0625 else far
