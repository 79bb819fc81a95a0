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
  VECTOR double tanh(double); VECTOR double erf(double); VECTOR double erfc(double);
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

#define CHUNK 512
#define JUDGE(TYPE, NARROW, REAL, ABS, COPYSIGN, LARGEST, HALF_ULP, ONE_ULP)                                           \
    EXPORT void judge_##TYPE(const NARROW* xs, const NARROW* ys, const REAL* t, ptrdiff_t n, struct findings* f) {     \
        const REAL infinite = (REAL)(LARGEST) + 2 * (REAL)(HALF_ULP), rounds_up = (REAL)(LARGEST) + (REAL)(HALF_ULP);   \
        REAL error[CHUNK], near_1[CHUNK];                                                                              \
        for (ptrdiff_t start = 0; start < n; start += CHUNK) {                                                         \
            const NARROW *x = xs + start, *y = ys + start;                                                             \
            const REAL *want = t + start, worst = f->error, worst_1 = f->near_1;                                       \
            const ptrdiff_t m = n - start < CHUNK ? n - start : CHUNK;                                                 \
            int look = 0; /* at the chunk again: something in it is worse than so far, or wrong */                 \
            for (ptrdiff_t i = 0; i < m; ++i) { /* infinity counts as the power of two above the largest number */     \
                const REAL got = ABS(y[i]) > infinite ? COPYSIGN(infinite, y[i]) : y[i];                               \
                const REAL real = ABS(want[i]) > infinite ? COPYSIGN(infinite, want[i]) : want[i];                     \
                const REAL ulp = ulp_##TYPE(real), apart = ABS(got - real);                                            \
                const REAL nan = (want[i] == want[i] ? 0 : 1) == (y[i] == y[i] ? 0 : 1) ? 0 : INFINITY;                \
                error[i] = apart == apart ? apart / ulp : nan;                                                         \
                near_1[i] = error[i] * (ulp < ONE_ULP ? ulp * (1 / ONE_ULP) : 1);                                      \
                const REAL sign = got == 0 ? COPYSIGN(1, got) * COPYSIGN(1, want[i]) : 1;                              \
                const REAL infinities = (ABS(got) >= infinite ? 1 : 0) - (ABS(real) >= rounds_up ? 1 : 0);             \
                REAL worse = error[i] > worst ? 1 : 0;                                                                 \
                worse = near_1[i] > worst_1 ? 1 : worse;                                                               \
                worse = sign < 0 ? 1 : worse;                                                                          \
                worse = infinities != 0 ? 1 : worse;                                                                   \
                look |= worse != 0;                                                                                    \
            }                                                                                                          \
            int32_t falls = y[0] < (NARROW)f->last;                                                                    \
            for (ptrdiff_t i = 1; i < m; ++i) falls += y[i] < y[i - 1];                                                \
            for (ptrdiff_t i = 0; falls && !f->falls; ++i)                                                             \
                if (y[i] < (i ? y[i - 1] : (NARROW)f->last)) f->fall_at = x[i], f->falls = 1, --falls;                 \
            f->falls += falls;                                                                                         \
            for (ptrdiff_t i = 0; look && i < m; ++i) {                                                                \
                if (error[i] > f->error) f->error = error[i], f->at = x[i];                                            \
                if (near_1[i] > f->near_1) f->near_1 = near_1[i], f->near_1_at = x[i];                                 \
                if (y[i] == 0 && !signbit(y[i]) != !signbit(want[i]) && !f->zeros++) f->zero_at = x[i];                \
                if ((ABS(y[i]) == INFINITY) != (ABS(want[i]) >= rounds_up) && !f->infinities++) f->infinity_at = x[i]; \
            }                                                                                                          \
            f->last = y[m - 1];                                                                                        \
        }                                                                                                              \
    }

/* The distance of the floats around t, |t| at most the power of two above the largest. */
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
JUDGE(float32, float, double, fabs, copysign, 0x1.FFFFFEp127, 0x1p103, 0x1p-23)
JUDGE(float64, double, long double, fabsl, copysignl, 0x1.FFFFFFFFFFFFFp1023L, 0x1p970L, 0x1p-52L)
