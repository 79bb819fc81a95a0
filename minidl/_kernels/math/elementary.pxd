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

from libc.math cimport INFINITY, NAN, copysign, copysignf, fabs, fabsf

ctypedef fused real:
    float
    double


cdef extern from *:
    """
    #ifndef MINIDL_MATH_BITS
    #define MINIDL_MATH_BITS
    #include <math.h>
    #include <stdint.h>
    #include <string.h>

    /* The few steps that need the bits of a number, for a type REAL with its integer BITS.
       `shifted` is ROUNDER + k: see the top of elementary.pxd. ONE and ROOT are the bits of 1 and of
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
        /* 2^k from ROUNDER + k + the bias of the exponent. */                                  \\
        static inline REAL minidl_power_##S(REAL shifted) {                                     \\
            return minidl_real_##S(minidl_bits_##S(shifted) << MANTISSA);                       \\
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
        }                                                                                       \\
        /* a or b, by their bits: of `first ? a : b` after a division a compiler makes branches around two divisions. */ \\
        static inline REAL minidl_chosen_##S(int first, REAL a, REAL b) {                       \\
            const BITS mask = first ? ~(BITS)0 : 0;                                             \\
            return minidl_real_##S((minidl_bits_##S(a) & mask) | (minidl_bits_##S(b) & ~mask)); \\
        }                                                                                       \\
        /* a b - product without error (Dekker: halves of a number multiply exactly). */        \\
        static inline REAL minidl_dekker_##S(REAL a, REAL b, REAL product) {                    \\
            const REAL a1 = minidl_upper_##S(a), b1 = minidl_upper_##S(b);                      \\
            const REAL a2 = a - a1, b2 = b - b1;                                                \\
            return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;                         \\
        }

    MINIDL_MATH(f, float, uint32_t, 23, UINT32_C(0x3F800000), UINT32_C(0x3F3504F3),
                UINT32_C(0x4B400000))
    MINIDL_MATH(d, double, uint64_t, 52, UINT64_C(0x3FF0000000000000),
                UINT64_C(0x3FE6A09E667F3BCD), UINT64_C(0x4338000000000000))

    /* As integers: a compiler makes a branch of a clamp, and computes what follows twice, once from the limit. (Not for
       double: SSE2 cannot compare 64-bit integers.) */
    static inline float minidl_near_f(float x, float limit) {
        const uint32_t size = minidl_bits_f(x) & UINT32_C(0x7FFFFFFF), most = minidl_bits_f(limit);
        return minidl_real_f(size < most ? size : most);
    }
    static inline double minidl_near_d(double x, double limit) {
        return fabs(x) < limit ? fabs(x) : limit;
    }
    /* NaN and `apart` make a negative integer, which is the smaller one. */
    static inline float minidl_least_f(float x, float limit) {
        const uint32_t apart = UINT32_C(0x007FFFFF);
        const int32_t size = (int32_t)((minidl_bits_f(x) & UINT32_C(0x7FFFFFFF)) + apart);
        const int32_t most = (int32_t)(minidl_bits_f(limit) + apart);
        return minidl_real_f((uint32_t)(size < most ? size : most) - apart);
    }
    static inline double minidl_least_d(double x, double limit) {
    #if defined(FP_FAST_FMA) /* else a comparison of doubles is no mask for integers of 64 bits (SSE2) */
        return minidl_chosen_d(fabs(x) > limit, limit, fabs(x));
    #else
        return fabs(x) > limit ? limit : fabs(x);
    #endif
    }
    static inline float minidl_floored_f(float x, float limit) { /* limit < 0: as unsigned, -1 < -2, and 2 < -1 */
        const uint32_t bits = minidl_bits_f(x), least = minidl_bits_f(limit);
        return minidl_real_f(bits < least ? bits : least);
    }
    static inline double minidl_floored_d(double x, double limit) { return minidl_chosen_d(x > limit, x, limit); }
    static inline float minidl_capped_f(float x, float limit) { /* limit > 0: as signed, -1 < 1 < 2 */
        const int32_t bits = (int32_t)minidl_bits_f(x), most = (int32_t)minidl_bits_f(limit);
        return minidl_real_f((uint32_t)(bits < most ? bits : most));
    }
    static inline double minidl_capped_d(double x, double limit) { return minidl_chosen_d(x < limit, x, limit); }

    #if defined(FP_FAST_FMA) && defined(FP_FAST_FMAF) /* the C library says: one instruction */
      #define minidl_lost_f(a, b, product) fmaf(a, b, -(product))
      #define minidl_lost_d(a, b, product) fma(a, b, -(product))
      #define minidl_minus_f(c, a, b) fmaf(-(a), b, c)
      #define minidl_minus_d(c, a, b) fma(-(a), b, c)
      #define MINIDL_FUSED 1
    #else
      #define MINIDL_FUSED 0
      #define minidl_lost_f minidl_dekker_f
      #define minidl_lost_d minidl_dekker_d
      #define minidl_minus_f(c, a, b) ((c) - (a) * (b))
      #define minidl_minus_d(c, a, b) ((c) - (a) * (b))
    #endif
    #endif
    """
    float minidl_shift_f(float x, float shifted) noexcept nogil
    double minidl_shift_d(double x, double shifted) noexcept nogil
    float minidl_power_f(float shifted) noexcept nogil
    double minidl_power_d(double shifted) noexcept nogil
    float minidl_scale_f(float x, float shifted) noexcept nogil
    double minidl_scale_d(double x, double shifted) noexcept nogil
    float minidl_exponent_f(float x) noexcept nogil
    double minidl_exponent_d(double x) noexcept nogil
    float minidl_near_f(float x, float limit) noexcept nogil
    double minidl_near_d(double x, double limit) noexcept nogil
    float minidl_least_f(float x, float limit) noexcept nogil
    double minidl_least_d(double x, double limit) noexcept nogil
    float minidl_chosen_f(bint first, float a, float b) noexcept nogil
    double minidl_chosen_d(bint first, double a, double b) noexcept nogil
    float minidl_floored_f(float x, float limit) noexcept nogil
    double minidl_floored_d(double x, double limit) noexcept nogil
    float minidl_capped_f(float x, float limit) noexcept nogil
    double minidl_capped_d(double x, double limit) noexcept nogil
    float minidl_lost_f(float a, float b, float product) noexcept nogil
    double minidl_lost_d(double a, double b, double product) noexcept nogil
    float minidl_minus_f(float c, float a, float b) noexcept nogil
    double minidl_minus_d(double c, double a, double b) noexcept nogil
    float minidl_upper_f(float x) noexcept nogil
    double minidl_upper_d(double x) noexcept nogil
    const bint FUSED "MINIDL_FUSED"  # whether a product and a sum are one instruction, with one rounding


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


cdef inline real near_(real x, real limit) noexcept nogil:
    """The smaller of |x| and limit; the limit where x is NaN."""
    return minidl_near_f(x, limit) if real is float else minidl_near_d(x, limit)


cdef inline real least_(real x, real limit) noexcept nogil:
    """The smaller of |x| and limit; NaN where x is."""
    return minidl_least_f(x, limit) if real is float else minidl_least_d(x, limit)


cdef inline real chosen_(bint first, real a, real b) noexcept nogil:
    """a if first else b, where a compiler should not compute twice what a and b have in common."""
    return minidl_chosen_f(first, a, b) if real is float else minidl_chosen_d(first, a, b)


cdef inline real floored_(real x, real limit) noexcept nogil:
    """The larger of x and a negative limit; a number where x is NaN."""
    return minidl_floored_f(x, limit) if real is float else minidl_floored_d(x, limit)


cdef inline real capped_(real x, real limit) noexcept nogil:
    """The smaller of x, which is not NaN, and a positive limit."""
    return minidl_capped_f(x, limit) if real is float else minidl_capped_d(x, limit)


cdef inline real _rounder(real like) noexcept nogil:
    return 12582912.0 if real is float else 6755399441055744.0


cdef inline real _shift(real x, real shifted) noexcept nogil:
    return minidl_shift_f(x, shifted) if real is float else minidl_shift_d(x, shifted)


cdef inline real _scale(real x, real shifted) noexcept nogil:
    return minidl_scale_f(x, shifted) if real is float else minidl_scale_d(x, shifted)


cdef inline real _exponent(real x) noexcept nogil:
    return minidl_exponent_f(x) if real is float else minidl_exponent_d(x)


cdef inline real _power(real shifted) noexcept nogil:
    return minidl_power_f(shifted) if real is float else minidl_power_d(shifted)


cdef inline real _lost(real a, real b, real product) noexcept nogil:
    """a b - product without rounding a b, exactly where the product was rounded: its rounding error."""
    return minidl_lost_f(a, b, product) if real is float else minidl_lost_d(a, b, product)


cdef inline real _upper(real x) noexcept nogil:
    """x with the lower half of its mantissa cleared."""
    return minidl_upper_f(x) if real is float else minidl_upper_d(x)


cdef inline real _minus_product(real c, real a, real b) noexcept nogil:
    """c - a b, fused or not as the CPU level has it. Left to itself, a compiler may fuse in the vectors of a loop and not
    in its rest: the bits would depend on the position.
    """
    return minidl_minus_f(c, a, b) if real is float else minidl_minus_d(c, a, b)


cdef inline real _plus(real c, real a, real b) noexcept nogil:
    """c + a b, likewise. Where two products are added, or a sum takes one that is used elsewhere, too, it says which is fused."""
    return -_minus_product(-c, a, b)


cdef inline real _plus_product(real c, real a, real b) noexcept nogil:
    """c + a b, the product not rounded."""
    if FUSED:
        return -_minus_product(-c, a, b)
    return a * b + (c + _lost(a, b, a * b))


cdef inline real _lost_by_sum(real c, real a, real b, real total) noexcept nogil:
    """c + a b - total where total is c + a b, rounded, and |c| >= |a b|: what the last step of Horner's scheme lost."""
    if FUSED:
        return -_minus_product(total - c, a, b)
    return ((c - total) + a * b) + _lost(a, b, a * b)


cdef inline real _horner3(real x, real p, real c2, real c1, real c0) noexcept nogil:
    """Three steps of Horner's scheme: p x^3 + c2 x^2 + c1 x + c0."""
    return ((p * x + c2) * x + c1) * x + c0


cdef inline real _pair(real x, real square, real p, real c1, real c0) noexcept nogil:
    """p x^2 + c1 x + c0, the same as two steps of Horner's scheme, of which one waits for p."""
    return p * square + (c1 * x + c0)


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


cdef inline real _reduced_once(real x, real k) noexcept nogil:
    """The same in one step where k is small: the product is not rounded, and ln 2 is right to k 2^-29 (2^-55)."""
    if FUSED:
        return _minus_product[real](x, k, 0.69314718055994530942)
    return _reduced(x, k)


cdef inline real _expm1_rest(real r) noexcept nogil:
    """exp(r) - 1 - r = r^2 q(r), |r| <= ln 2 / 2; q fitted for the least error."""
    cdef real square = r * r, q
    if real is float:
        q = _pair[real](r, square, 1.38634350e-03, 8.36743601e-03, 4.16672416e-02)
        q = _pair[real](r, square, q, 1.66665345e-01, 0.5)
    else:
        q = <real>2.504595852911793e-08 * r + <real>2.762349475961889e-07
        q = _pair[real](r, square, q, 2.755742885171074e-06, 2.480151355907378e-05)
        q = _pair[real](r, square, q, 1.984126970172873e-04, 1.3888888922382384e-03)
        q = _pair[real](r, square, q, 8.333333333392754e-03, 4.166666666661629e-02)
        q = _pair[real](r, square, q, 1.6666666666666596e-01, 0.5)
    return square * q


cdef inline real _expm1_near(real r) noexcept nogil:
    return r + _expm1_rest(r)


cdef inline real exp_(real x) noexcept nogil:
    # Beyond +-farthest the result is 0 or inf all the same.
    cdef real farthest = 150 if real is float else 790
    cdef real near = copysign_(min_(abs_(x), farthest), x)
    cdef real shifted = _shifted_log2(near)
    cdef real r = _reduced(near, shifted - _rounder(x))
    return _scale(<real>1 + _expm1_near(r), shifted)


cdef inline real _shifted_for_power(real x, real n) noexcept nogil:
    """ROUNDER + k, and what makes its low bits those of the exponent of 2^(k + n)."""
    cdef real bias = 127 if real is float else 1023
    return x * <real>1.4426950408889634 + (_rounder(x) + (bias + n))


cdef inline real _log2_lift(real like) noexcept nogil:
    return 64 if real is float else 512


cdef inline real _shifted_by_lift(real x) noexcept nogil:
    return _shifted_for_power(x, _log2_lift(x))


cdef inline real _lifted_exp(real x) noexcept nogil:
    """lift * exp(x), -125 (double: -800) <= x <= 40: a normal number, so that 2^k is made in one step."""
    cdef real shifted = _shifted_by_lift(x)
    cdef real power = _power(shifted)
    return power + power * _expm1_near(_reduced(x, shifted - _shifted_by_lift[real](0)))


cdef inline real lift_(real like) noexcept nogil:
    return 18446744073709551616.0 if real is float else 1.3407807929942597e+154


cdef inline real lowered(real x) noexcept nogil:
    """x / lift."""
    return x * <real>(5.421010862427522e-20 if real is float else 7.458340731200207e-155)


cdef inline real _exp_times(real x, real factor) noexcept nogil:
    """factor * exp(x), x as above, |factor| < 2^60.

    Right even where exp(x) alone is subnormal (x e^x): only the last product may round to a subnormal.
    """
    # The factor comes late: with two factors for one x, the compiler computes all before it once.
    return lowered(_lifted_exp(x) * factor)


cdef inline real lifted_exp_below_(real x) noexcept nogil:
    """lift * exp(x) for x <= 0, for who takes the lift away later, with a factor or a sum."""
    cdef real least = -125 if real is float else -800
    return _lifted_exp(max_(x, least))


cdef inline real exp_below_(real x) noexcept nogil:
    """exp(x) for x <= 0 (right up to 40), in two thirds of exp_'s steps."""
    return lowered(lifted_exp_below_(x))


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
    cdef real f_half = <real>0.5 * f
    p = _plus(k * ln2_rest, s, _plus(f_half * f, z, p))
    return k * ln2_first + (f + _minus_product(p, f_half, f))  # (k * ln2_first has no rounding error)


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


cdef inline real log2_(real x) noexcept nogil:
    """k + log(m) / ln 2, so that powers of two give whole numbers."""
    cdef real least = 1.17549435082228750797e-38 if real is float else 2.2250738585072014e-308
    cdef real lift = 8388608.0 if real is float else 4503599627370496.0
    cdef real bits = 23 if real is float else 52
    cdef real inverse_rest = 1.9259629911266175e-08 if real is float else 2.0355273740931033e-17  # of 1 / ln 2
    cdef real normal = x * lift if x < least else x
    cdef real k = _exponent(normal) - _rounder(x)
    cdef real near = _log_near_1[real](_shift(normal, _rounder(x) - k) - <real>1, 0)
    cdef real y = (k - bits if x < least else k) + _plus[real](near * inverse_rest, near, 1.4426950408889634)
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
