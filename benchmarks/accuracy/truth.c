/* What ulp.py does for every element: the true values in a wider type, and the comparison with them. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _WIN32
  #define EXPORT __declspec(dllexport)
#else
  #define EXPORT
#endif

/* glibc computes these in vectors on x86-64, but declares so under -ffast-math only. */
#ifdef VECTOR_LIBRARY
  #define VECTOR __attribute__((simd("notinbranch")))
  VECTOR double exp(double); VECTOR double expm1(double); VECTOR double log(double); VECTOR double log1p(double);
  VECTOR double tanh(double); VECTOR double erf(double); VECTOR double erfc(double); VECTOR double atan(double);
  VECTOR double sinh(double); VECTOR double cosh(double); VECTOR double log2(double);
  VECTOR double tan(double); VECTOR double sin(double); VECTOR double cos(double);
#endif

#if defined(__SIZEOF_FLOAT128__) && !defined(__clang__)
  #define QUAD __float128
  #define LITERAL(digits) digits##Q
#else
  #define QUAD long double
  #define LITERAL(digits) digits##L
#endif
#define ROOT_HALF LITERAL(0.707106781186547524400844362104849039)
#define TWO_ROOT_2_BY_PI LITERAL(1.59576912160573071175978423973752747)
#define GELU_CUBE LITERAL(0.044715)

#define NARROW float
#define REAL double
#define WIDE double /* has room for the product of two floats */
#define NAME(name) name##_float32
#define F(name) name
#include "truth.h"
#undef NARROW
#undef REAL
#undef WIDE
#undef NAME
#undef F
#define NARROW double
#define REAL long double
#define WIDE QUAD
#define NAME(name) name##_float64
#define F(name) name##l
#include "truth.h"

/* Floats number `first` to first + n - 1 in the order of size: from -inf over -0 and 0 to inf. */
EXPORT void floats(int64_t first, ptrdiff_t n, float* x) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        const int32_t k = (int32_t)(first + i - 0x7F800001);
        const uint32_t bits = k < 0 ? 0x80000000u | (uint32_t)(-1 - k) : (uint32_t)k;
        memcpy(x + i, &bits, sizeof bits);
    }
}

/* What was found so far. error: in ulp of the true value; near_1: in such of 1, where those are larger. falls: how often y
   became smaller where x grew. zeros, infinities: there or not there wrongly, or of the wrong sign. Each with an x. */
struct findings {
    double error, at, near_1, near_1_at, fall_at, zero_at, infinity_at, last;
    int64_t falls, zeros, infinities;
};

/* The distance of the numbers of the narrower type around t, |t| at most the power of two above the largest. */
static inline double ulp_float32(double t) {
    const double size = fabs(t) < 0x1p-126 ? 0x1p-126 : fabs(t) > 0x1p127 ? 0x1p127 : fabs(t);
    uint64_t bits;
    double ulp;
    memcpy(&bits, &size, sizeof bits);
    bits = (bits & UINT64_C(0x7FF0000000000000)) - (UINT64_C(23) << 52);
    memcpy(&ulp, &bits, sizeof ulp);
    return ulp;
}
static inline long double ulp_float64(long double t) {
    int exponent;
    frexpl(fabsl(t) < 0x1p-1022L ? 0x1p-1022L : fabsl(t) > 0x1p1023L ? 0x1p1023L : t, &exponent);
    return ldexpl(1, exponent - 53);
}

/* Whether something among m <= CHUNK results may be wrong, or worse than so far: in vectors, without the divisions and the
   long doubles that a result's error takes. Nearly no chunk is looked at again. */
#define CHUNK 512
static int suspicious_float32(const float* ys, const double* t, ptrdiff_t m, const struct findings* f) {
    const double infinite = 0x1p128, rounds_up = 0x1.FFFFFFp127, one_ulp = 0x1p-23;
    const double worst = f->error, worst_1 = f->near_1;
    double bad[CHUNK];
    int look = 0;
    for (ptrdiff_t i = 0; i < m; ++i) {
        const double y = ys[i], want = t[i], size = fabs(want), limited = size > infinite ? infinite : size;
        const double got = fabs(y) > infinite ? copysign(infinite, y) : y;
        const double apart = fabs(got - copysign(limited, want)), ulp = ulp_float32(limited);
        const double limit = worst * ulp, limit_1 = worst_1 * (ulp < one_ulp ? one_ulp : ulp);
        const double sign = y == 0 ? copysign(1, want) * copysign(1, y) : 1;
        double over = apart - (limit < limit_1 ? limit : limit_1);
        over = (fabs(y) >= infinite ? 1 : 0) != (size >= rounds_up ? 1 : 0) ? 1 : over;
        over = (y == y ? 1 : 0) != (want == want ? 1 : 0) ? 1 : over;
        bad[i] = sign < 0 ? 1 : over;
    }
    for (ptrdiff_t i = 0; i < m; ++i) look |= bad[i] > 0;
    return look;
}
static int suspicious_float64(const double* y, const long double* t, ptrdiff_t m, const struct findings* f) {
    const double one_ulp = 0x1p-52, worst = f->error, worst_1 = f->near_1;
    double high[CHUNK], low[CHUNK], look = 0; /* t in two parts */
    for (ptrdiff_t i = 0; i < m; ++i) high[i] = t[i], low[i] = t[i] - high[i];
    for (ptrdiff_t i = 0; i < m; ++i) {
        uint64_t bits;
        double power, least, sign = y[i] == 0 ? copysign(1, y[i]) * copysign(1, high[i]) : 1;
        const double apart = fabs((y[i] - high[i]) - low[i]), size = fabs(high[i]);
        memcpy(&bits, &size, sizeof bits);
        const uint64_t exponent = bits & UINT64_C(0x7FF0000000000000);
        memcpy(&power, &exponent, sizeof power);
        least = power * (power == size ? 0x1p-53 : 0x1p-52); /* a power of two: t itself may lie below it */
        const double limit = worst * least, limit_1 = worst_1 * (least < one_ulp ? one_ulp : least);
        const double nans = (y[i] == y[i] ? 1 : 0) - (high[i] == high[i] ? 1 : 0);
        look = apart > limit ? 1 : look;
        look = apart > limit_1 ? 1 : look;
        look = sign < 0 ? 1 : look;
        look = nans != 0 ? 1 : look;
        look = size > 0 && size < 0x1p-900 ? 1 : look; /* subnormal parts do not hold all of t */
        look = size == 0 && y[i] != 0 ? 1 : look;
        look = size >= 0x1p1023 || fabs(y[i]) >= 0x1p1023 ? 1 : look; /* infinity is near */
    }
    return look != 0;
}

/* judge: infinity counts as the power of two above the largest number. apart: how often one of two results is NaN, an
   infinity, 0 or -0 where the other is not. 0 and the least subnormal number go together: the true value may lie between. */
#define JUDGE(TYPE, NARROW, REAL, ABS, COPYSIGN, LEAST, LARGEST, HALF_ULP, ONE_ULP)                                    \
    static void judge_one_##TYPE(NARROW x, NARROW y, REAL want, struct findings* f) {                                  \
        const REAL infinite = (REAL)(LARGEST) + 2 * (REAL)(HALF_ULP), rounds_up = (REAL)(LARGEST) + (REAL)(HALF_ULP);  \
        const REAL got = ABS(y) > infinite ? COPYSIGN(infinite, y) : y;                                                \
        const REAL real = ABS(want) > infinite ? COPYSIGN(infinite, want) : want;                                      \
        const REAL ulp = ulp_##TYPE(real), apart = ABS(got - real), nan = (want == want) == (y == y) ? 0 : INFINITY;   \
        const REAL error = apart == apart ? apart / ulp : nan, near_1 = error * (ulp < ONE_ULP ? ulp / ONE_ULP : 1);   \
        if (error > f->error) f->error = error, f->at = x;                                                             \
        if (near_1 > f->near_1) f->near_1 = near_1, f->near_1_at = x;                                                  \
        if (y == 0 && !signbit(y) != !signbit(want) && !f->zeros++) f->zero_at = x;                                    \
        if ((ABS(y) == INFINITY) != (ABS(want) >= rounds_up) && !f->infinities++) f->infinity_at = x;                  \
    }                                                                                                                  \
    EXPORT void judge_##TYPE(const NARROW* xs, const NARROW* ys, const REAL* t, ptrdiff_t n, struct findings* f) {     \
        for (ptrdiff_t start = 0; start < n; start += CHUNK) {                                                         \
            const NARROW *x = xs + start, *y = ys + start;                                                             \
            const ptrdiff_t m = n - start < CHUNK ? n - start : CHUNK;                                                 \
            const int look = suspicious_##TYPE(y, t + start, m, f);                                                    \
            int32_t falls = y[0] < (NARROW)f->last;                                                                    \
            for (ptrdiff_t i = 1; i < m; ++i) falls += y[i] < y[i - 1];                                                \
            for (ptrdiff_t i = 0; falls && !f->falls; ++i)                                                             \
                if (y[i] < (i ? y[i - 1] : (NARROW)f->last)) f->fall_at = x[i], f->falls = 1, --falls;                 \
            f->falls += falls;                                                                                         \
            for (ptrdiff_t i = 0; look && i < m; ++i) judge_one_##TYPE(x[i], y[i], t[start + i], f);                   \
            f->last = y[m - 1];                                                                                        \
        }                                                                                                              \
    }                                                                                                                  \
    static int class_of_##TYPE(NARROW y) {                                                                             \
        return y != y ? 5 : (y == 0 ? 1 : ABS(y) == INFINITY ? 2 : 0) * (signbit(y) ? -1 : 1);                         \
    }                                                                                                                  \
    EXPORT int64_t apart_##TYPE(const NARROW* x, const NARROW* y, const NARROW* other, ptrdiff_t n, double* at) {      \
        int64_t found = 0;                                                                                             \
        for (ptrdiff_t i = 0; i < n; ++i) {                                                                            \
            const int tiny = ABS(y[i]) <= LEAST && ABS(other[i]) <= LEAST && !signbit(y[i]) == !signbit(other[i]);     \
            if (!tiny && class_of_##TYPE(y[i]) != class_of_##TYPE(other[i]) && !found++) *at = x[i];                   \
        }                                                                                                              \
        return found;                                                                                                  \
    }

JUDGE(float32, float, double, fabs, copysign, 0x1p-149f, 0x1.FFFFFEp127, 0x1p103, 0x1p-23)
JUDGE(float64, double, long double, fabsl, copysignl, 0x1p-1074, 0x1.FFFFFFFFFFFFFp1023L, 0x1p970L, 0x1p-52L)
