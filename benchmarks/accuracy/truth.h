/* The true values, once for each precision: truth.c includes this with REAL and F(exp) defined as double and exp, or as long
   double and expl. WIDE keeps products whose rounding would count.

   x is a number of the narrower type, exact. Every formula is right to some ulp of REAL, from the smallest subnormal number
   to inf. The sign of a zero is that of the limit. `pick` computes both its values, so that loops vectorise. */

static inline REAL NAME(pick)(int first, REAL a, REAL b) { return first ? a : b; }
/* In double no farther than the range of float needs, with room to spare: beyond, exp of a vector takes ten times as long. */
static inline REAL NAME(exp)(REAL x) {
    const REAL limit = sizeof(NARROW) == 4 ? 700 : INFINITY;
    return F(exp)(NAME(pick)(F(fabs)(x) > limit, F(copysign)(limit, x), x));
}
static inline REAL NAME(expm1)(REAL x) { return NAME(pick)(x == 0, x, F(expm1)(x)); }
static inline REAL NAME(logistic)(REAL x) { return 1 / (1 + NAME(exp)(-x)); }

static inline REAL NAME(logistic_slope)(REAL x) { /* the product of the logistic function at x and at -x */
    const REAL e = NAME(exp)(-F(fabs)(x));
    return e / (1 + e) / (1 + e);
}

/* exp(-x^2 / 2) / sqrt(2 pi) and P(Z <= x). In the tails x^2 / 2 and x / sqrt(2) lose digits that count, which are put
   back to first order. */
static inline REAL NAME(bell)(REAL x) {
    const REAL half = x * x / 2, lost = (WIDE)x * x / 2 - half;
    return NAME(exp)(-half) * (1 - lost) * (REAL)0.398942280401432677939946059934L;
}
static inline REAL NAME(cdf)(REAL x) {
    const REAL limit = sizeof(NARROW) == 4 ? 37 : 60; /* beyond, 0 or 1 */
    const REAL y = NAME(pick)(F(fabs)(x) > limit, F(copysign)(limit, x), x);
    const REAL z = y * (REAL)0.707106781186547524400844362105L, lost = y * (WIDE)ROOT_HALF - z;
    return F(erfc)(-z) / 2 + lost * (REAL)1.41421356237309504880168872421L * NAME(bell)(y);
}
static inline REAL NAME(gelu)(REAL x) { return NAME(pick)(x == -INFINITY, -(REAL)0, x * NAME(cdf)(x)); }
static inline REAL NAME(gelu_slope)(REAL x) {
    return NAME(cdf)(x) + NAME(pick)(F(fabs)(x) > 60, 0, x * NAME(bell)(x));
}

/* v = 2 sqrt(2 / pi) (x + 0.044715 x^3); exp(-v) */
static inline REAL NAME(exp_minus_v)(REAL x) {
    const WIDE exact = (WIDE)TWO_ROOT_2_BY_PI * (x + (WIDE)x * x * x * (WIDE)GELU_CUBE);
    const REAL v = exact;
    return NAME(exp)(-v) * (1 - (REAL)(exact - v));
}
static inline REAL NAME(gelu_tanh)(REAL x) {
    const REAL y = NAME(pick)(F(fabs)(x) > 30, F(copysign)(30, x), x);
    return NAME(pick)(x < -30, -(REAL)0, NAME(pick)(x > 30, x, y / (1 + NAME(exp_minus_v)(y))));
}
static inline REAL NAME(gelu_tanh_slope)(REAL x) {
    /* Farther out the slope is 0 or 1, and exp(-v) would overflow. */
    const REAL limit = sizeof(REAL) == 8 ? 20 : 30;
    const REAL y = NAME(pick)(F(fabs)(x) > limit, F(copysign)(limit, x), x), e = NAME(exp_minus_v)(y);
    const REAL v1 = (REAL)TWO_ROOT_2_BY_PI * (1 + 3 * (REAL)GELU_CUBE * y * y);
    const REAL slope = 1 / (1 + e) + y * v1 * (e / (1 + e) / (1 + e));
    return NAME(pick)(x < -limit, 0, NAME(pick)(x > limit, 1, slope));
}

/* tanh(log(1 + e^x)) = n / d, n = e^x (e^x + 2), d = n + 2; for x > 0 both times e^-2x. With e = e^-|x| only. */
static inline REAL NAME(mish)(REAL x) {
    const REAL e = NAME(exp)(-F(fabs)(x)), n = NAME(pick)(x < 0, e * (e + 2), 1 + 2 * e);
    const REAL d = n + NAME(pick)(x < 0, 2, 2 * e * e);
    return NAME(pick)(x == -INFINITY, -(REAL)0, x * (n / d));
}
static inline REAL NAME(mish_slope)(REAL x) {
    const REAL e = NAME(exp)(-F(fabs)(x)), n = NAME(pick)(x < 0, e * (e + 2), 1 + 2 * e);
    const REAL d = n + NAME(pick)(x < 0, 2, 2 * e * e), more = 4 * (1 + e) * NAME(pick)(x < 0, e, e * e);
    return n / d + NAME(pick)(F(fabs)(x) == INFINITY, 0, x * (more / d / d));
}
static inline REAL NAME(silu)(REAL x) { return NAME(pick)(x == -INFINITY, -(REAL)0, x * NAME(logistic)(x)); }
static inline REAL NAME(silu_slope)(REAL x) {
    const REAL e = NAME(exp)(-F(fabs)(x)), d = 1 + e; /* s (1 - s) = e / d^2 */
    return NAME(pick)(x < 0, e, 1) / d + NAME(pick)(F(fabs)(x) == INFINITY, 0, x * (e / d / d));
}

/* x - tanh(x); near 0, where the difference would cancel, by its series */
static inline REAL NAME(tanhshrink)(REAL x) {
    static const REAL c[] = {1 / 3.0L, -2 / 15.0L, 17 / 315.0L, -62 / 2835.0L, 1382 / 155925.0L, -21844 / 6081075.0L,
        929569 / 638512875.0L, -6404582 / 10854718875.0L, 443861162 / 1856156927625.0L,
        -18888466084.0L / 194896477400625.0L, 113927491862.0L / 2900518163668125.0L,
        -58870668456604.0L / 3698160658676859375.0L, 8374643517010684.0L / 1298054391195577640625.0L};
    const REAL z = NAME(pick)(F(fabs)(x) < 1, x * x, 0);
    REAL p = c[12];
    for (int i = 11; i >= 0; --i) p = p * z + c[i];
    return NAME(pick)(F(fabs)(x) < (REAL)0.25, p * z * x, x - F(tanh)(x));
}
static inline REAL NAME(logsigmoid)(REAL x) {
    const REAL far = F(log1p)(NAME(exp)(-F(fabs)(x)));
    return NAME(pick)(x < 0, x - far, -far);
}
static inline REAL NAME(softsign)(REAL x) {
    return NAME(pick)(F(fabs)(x) == INFINITY, F(copysign)(1, x), x / (1 + F(fabs)(x)));
}

/* EACH(name, value, slope), with parameters a and b. The elementary functions have no slope here. */
#define SCALE ((REAL)1.0507009873554804934193349852946L)
#define ALPHA ((REAL)1.6732632423543772848170429916717L)
#define TRUTHS(EACH)                                                                                                   \
    EACH(relu, x <= 0 ? 0 : x, x <= 0 ? 0 : 1)                                                                         \
    EACH(leaky_relu, x <= 0 ? a * x : x, x <= 0 ? a : 1)                                                               \
    EACH(elu, NAME(pick)(x <= 0, a * NAME(expm1)(x), x), NAME(pick)(x <= 0, a * NAME(exp)(x), 1))                      \
    EACH(selu, SCALE * NAME(pick)(x <= 0, ALPHA * NAME(expm1)(x), x), SCALE * NAME(pick)(x <= 0, ALPHA * NAME(exp)(x), 1)) \
    EACH(celu, NAME(pick)(x <= 0, a * NAME(expm1)(x / a), x), NAME(pick)(x <= 0, NAME(exp)(x / a), 1))                 \
    EACH(sigmoid, NAME(logistic)(x), NAME(logistic_slope)(x))                                                          \
    EACH(logsigmoid, NAME(logsigmoid)(x), NAME(logistic)(-x))                                                          \
    EACH(hardsigmoid, x <= -3 ? 0 : x >= 3 ? 1 : (x + 3) / 6, x <= -3 || x >= 3 ? 0 : 1 / (REAL)6)                     \
    EACH(tanh, F(tanh)(x), 4 * NAME(logistic_slope)(2 * x))                                                            \
    EACH(hardtanh, x <= a ? a : x >= b ? b : x, x <= a || x >= b ? 0 : 1)                                              \
    EACH(relu6, x <= 0 ? 0 : x >= 6 ? 6 : x, x <= 0 || x >= 6 ? 0 : 1)                                                 \
    EACH(softsign, NAME(softsign)(x), 1 / (1 + F(fabs)(x)) / (1 + F(fabs)(x)))                                         \
    EACH(softplus, (x > 0 ? x : 0) + F(log1p)(NAME(exp)(-F(fabs)(a * x))) / a, NAME(logistic)(a * x))                  \
    EACH(silu, NAME(silu)(x), NAME(silu_slope)(x))                                                                     \
    EACH(hardswish, x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6, x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6)            \
    EACH(mish, NAME(mish)(x), NAME(mish_slope)(x))                                                                     \
    EACH(gelu, NAME(gelu)(x), NAME(gelu_slope)(x))                                                                     \
    EACH(gelu_tanh, NAME(gelu_tanh)(x), NAME(gelu_tanh_slope)(x))                                                      \
    EACH(tanhshrink, NAME(tanhshrink)(x), F(tanh)(x) * F(tanh)(x))                                                     \
    EACH(softshrink, x > a ? x - a : x < -a ? x + a : 0, F(fabs)(x) > a)                                               \
    EACH(hardshrink, F(fabs)(x) > a ? x : 0, F(fabs)(x) > a)                                                           \
    EACH(threshold, x <= a ? b : x, x > a)                                                                             \
    EACH(exp, NAME(exp)(x), 0)                                                                                         \
    EACH(expm1, NAME(expm1)(x), 0)                                                                                     \
    EACH(log, NAME(pick)(x < 0, NAN, F(log)(x)), 0)                                                                    \
    EACH(log1p, NAME(pick)(x < -1, NAN, F(log1p)(x)), 0)                                                               \
    EACH(sin, F(sin)(x), 0)                                                                                            \
    EACH(cos, F(cos)(x), 0)                                                                                            \
    EACH(tan, F(tan)(x), 0)                                                                                            \
    EACH(arctan, F(atan)(x), 0)                                                                                        \
    EACH(sinh, F(sinh)(x), 0)                                                                                          \
    EACH(cosh, F(cosh)(x), 0)                                                                                          \
    EACH(log2, NAME(pick)(x < 0, NAN, F(log2)(x)), 0)                                                                  \
    EACH(erf, F(erf)(x), 0)                                                                                            \
    EACH(normal_cdf, NAME(cdf)(x), 0)

#define LOOPS(FUNCTION, VALUE, SLOPE)                                                                                  \
    static void NAME(value_##FUNCTION)(const NARROW* xs, REAL* t, ptrdiff_t n, REAL a, REAL b) {                       \
        for (ptrdiff_t i = 0; i < n; ++i) { const REAL x = xs[i]; t[i] = x != x ? x : (VALUE); }                       \
    }                                                                                                                  \
    static void NAME(slope_##FUNCTION)(const NARROW* xs, REAL* t, ptrdiff_t n, REAL a, REAL b) {                       \
        for (ptrdiff_t i = 0; i < n; ++i) { const REAL x = xs[i]; t[i] = x != x ? x : (SLOPE); }                       \
    }
TRUTHS(LOOPS)

#define FIND(FUNCTION, VALUE, SLOPE)                                                                                   \
    if (!strcmp(name, #FUNCTION)) { (slope ? NAME(slope_##FUNCTION) : NAME(value_##FUNCTION))(x, t, n, a, b); return 0; }
EXPORT int NAME(truth)(const char* name, int slope, const NARROW* x, REAL* t, ptrdiff_t n, double a, double b) {
    TRUTHS(FIND)
    return -1;
}
#undef FIND
#undef LOOPS
#undef TRUTHS
#undef SCALE
#undef ALPHA
