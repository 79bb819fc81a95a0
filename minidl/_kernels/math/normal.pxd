# cython: cdivision=True
"""The normal distribution, for float and double, in the way of elementary.pxd: inline, free of branches, to be vectorised."""

from minidl._kernels.math.elementary cimport (
    FUSED, _exp_times, _expm1_near, _expm1_rest, _horner3, _horner5, _lost, _lost_by_sum, _minus_product, _pair,
    _plus, _plus_product, _power, _shifted_by_lift, abs_, copysign_, lowered, min_, near_, real,
)


cdef inline real _exp_product(real a, real b, real factor, real rest, bint short, real* power) noexcept nogil:
    """exp(a b) (factor + rest) lift / power, a b as x of _exp_times; the rounding of a b would cost a b ulp.

    short: in fewer steps where products are fused with sums, for up to half an ulp more (float).
    """
    cdef real ln2_first = 0.693145751953125 if real is float else 6.93147180369123816490e-01
    cdef real ln2_rest = 1.42860682030941723212e-06 if real is float else 1.90821492927058770002e-10
    cdef real x = a * b, shifted = _shifted_by_lift(x)
    cdef real k = shifted - _shifted_by_lift[real](0)
    cdef real r_first = x - k * ln2_first, r_rest = _lost(a, b, x) - k * ln2_rest  # r_first has no rounding error
    power[0] = _power(shifted)
    if real is float and FUSED and short:
        return factor + _plus_product(rest, factor, _expm1_near(r_first + r_rest))
    cdef real curved = _expm1_rest(r_first + r_rest) + r_rest
    rest = _minus_product(rest, -factor, curved)
    return factor + _plus_product(rest, factor, r_first)


cdef inline real _bell(real x, real half, real factor, real rest) noexcept nogil:
    """exp(-half x^2) (factor + rest), half = 1/2 or 1, half x^2 within the range of _exp_times."""
    cdef real power = 0, y = _exp_product[real](-half * x, x, factor, rest, False, &power)
    return lowered(power * y)


cdef inline real _erf_near(real y) noexcept nogil:
    """erf(y) for |y| <= 1: y + y p(y^2)."""
    cdef real z = y * y
    cdef real p
    if real is float:
        p = <real>7.80690534e-05 * z - <real>7.9978531e-04
        p = _horner5[real](z, p, 5.1871622e-03, -2.68533472e-02, 1.12835787e-01, -3.7612626e-01, 1.28379166e-01)
    else:
        p = <real>-7.5381572129483436e-10 * z + <real>1.3580402852271962e-08
        p = _horner5[real](
            z, p, -1.6175841029611336e-07, 1.6443118724361675e-06, -1.4924384731635217e-05,
            1.2055276434245187e-04, -8.548325354591779e-04,
        )
        p = _horner5[real](
            z, p, 5.2239775941446383e-03, -2.6866170641662798e-02, 1.1283791670935267e-01,
            -3.761263890318331e-01, 1.2837916709551256e-01,
        )
    return y + y * p


cdef inline real _tail_far(real x, real* rest) noexcept nogil:
    """exp(x^2 / 2) P(Z > x) for 1.06 <= x <= 39: p(t) / (x + K), where t = (x - K) / (x + K); in `rest`, what rounding lost.

    The form is Shepherd and Laframboise's (Math. Comp. 36, 1981); K and the coefficients
    were fitted for the least relative error, K one whose coefficients round well.
    """
    cdef real K = 2.609375 if real is float else 4.90625
    cdef real under = x + K, inverse = <real>1 / under
    cdef real t = (x - K) * inverse
    cdef real last = 7.1236306e-01 if real is float else 7.681952278522628e-01
    cdef real p
    if real is float:
        p = _horner3[real](t, -5.34957e-04, 2.4788504e-04, 2.7739594e-03, 5.167735e-04)
        p = _horner3[real](t, p, -1.7166398e-02, -1.3082044e-03, 1.5428409e-01)
        p = p * t - <real>4.5224097e-01
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
            t, p, 4.6547963250593792e-04, -1.00670135125504e-03, -1.6510188198701513e-03,
            1.704756189593733e-02, -6.200153927866156e-02,
        )
        p = _horner3[real](t, p, 1.5494267831235353e-01, -3.027296376935782e-01, 4.8685223627508994e-01)
        p = p * t - <real>6.611258032012591e-01
    cdef real total = last + t * p, y = total * inverse
    cdef real y_lost = _minus_product(_lost(y, under, total), -y, x - (under - K))  # times x + K
    rest[0] = inverse * (((last - total) + t * p) - y_lost)
    return y


cdef inline real erf_(real x) noexcept nogil:
    cdef real y = min_[real](abs_(x), 6)
    cdef real root2 = 1.4142135623730951, rest = 0
    cdef real tail = _tail_far(y * root2, &rest)
    cdef real far = <real>1 - <real>2 * _bell[real](y, 1, tail, 0)
    return _erf_near(x) if y < <real>0.84375 else copysign_(far, x)


cdef inline real _normal_near(real x) noexcept nogil:
    """P(Z <= x) for |x| <= 1.06: 1/2 + x p(x^2), added with what rounding lost."""
    cdef real z = x * x
    cdef real last = 3.9894205e-01 if real is float else 3.989422804014322e-01
    cdef real p
    if real is float:
        p = _horner3[real](z, 8.874026e-05, -1.1568341e-03, 9.957625e-03, -6.6486835e-02)
    else:
        p = _horner5[real](
            z, -8.597160097895155e-11, 2.206149030242688e-09, -4.11300153527256e-08,
            6.658830885507845e-07, -9.44460711711748e-06, 1.1543466988514996e-04,
        )
        p = _horner3[real](z, p, -1.1873282115889923e-03, 9.973557009559162e-03, -6.649038006687807e-02)
    cdef real total = last + z * p, slope = x * total
    cdef real rest = _lost(x, total, slope) + x * ((last - total) + z * p)
    cdef real y = <real>0.5 + slope
    return y + (((<real>0.5 - y) + slope) + rest)


cdef inline real normal_cdf_(real x) noexcept nogil:
    """P(Z <= x) = erfc(-x / sqrt 2) / 2, right to a few ulp in the far left tail too."""
    cdef real farthest = 15 if real is float else 38.75
    cdef real y = near_(x, farthest)
    cdef real rest = 0
    cdef real tail = _tail_far(y, &rest)
    cdef real far = _bell[real](y, 0.5, tail, rest)
    far = far if x < 0 else <real>1 - far
    far = _normal_near(x) if y < <real>1.0625 else far
    return far if x == x else x


cdef inline real _lowered_pair(real x, real square, real p, real c1, real c0) noexcept nogil:
    return _pair(x, square, p, lowered(c1), lowered(c0))


cdef inline real _lowered_tail(real x, real* rest) noexcept nogil:
    """x exp(x^2 / 2) P(Z > x) / lift for x >= 0.5: its value at `middle`, and w p(w), w = (x - middle) / (x + K); in `rest`,
    what the sum lost. The last steps are Horner's, whose errors are the smaller the later. (The compiler divides the
    coefficients by lift, so that nothing is left to do once the exponential is there.)
    """
    cdef real K = 3 if real is float else 6
    cdef real middle = 1.4921875 if real is float else 0.9609375  # where the value is next to a number
    cdef real start = lowered[real](0.30811890959739685 if real is float else 0.25660909374651975)
    cdef real w = (x - middle) / (x + K), square = w * w, t, p
    if real is float:
        p = lowered[real](-5.41680539e-03) * w + lowered[real](1.06003564e-02)
        p = _lowered_pair[real](w, square, p, 1.33899413e-02, -3.6823906e-02)
        p = _lowered_pair[real](w, square, p, -6.26248494e-02, 2.98509508e-01)
        p = (p * w - lowered[real](4.45604891e-01)) * w + lowered[real](3.18777114e-01)
    else:
        t = (w + w) - <real>0.796875  # between -1 and 1
        square = t * t
        p = lowered[real](-1.4859756752543813e-09) * t + lowered[real](1.5036314607761446e-09)
        p = _lowered_pair[real](t, square, p, 2.0122949311688859e-08, -4.3957440234581125e-08)
        p = _lowered_pair[real](t, square, p, -1.5693728984106323e-07, 8.0266415890491808e-07)
        p = _lowered_pair[real](t, square, p, -4.9096163430980701e-08, -9.6711284779043706e-06)
        p = _lowered_pair[real](t, square, p, 3.2620787202169169e-05, 4.3399441263156459e-06)
        p = _lowered_pair[real](t, square, p, -0.00049572267282492119, 0.0026774001963486903)
        p = _lowered_pair[real](t, square, p, -0.0093608026673237948, 0.025416493367621511)
        p = _lowered_pair[real](t, square, p, -0.057083151934258287, 0.109174140650528)
        p = _lowered_pair[real](t, square, p, -0.18026094820066724, 0.25785914103563551)
        p = (p * t - lowered[real](0.31732080562476939)) * t + lowered[real](0.3276759710666175)
    cdef real y = start + w * p
    rest[0] = _lost_by_sum(start, w, p, y)
    return y


cdef inline real gelu_(real x) noexcept nogil:
    """x P(Z <= x): x / 2 + x^2 c(x^2) near 0, else max(x, 0) - |x| P(Z > |x|); apart from normal_cdf_ because P is subnormal
    where the product is not.
    """
    cdef real farthest = 15 if real is float else 39
    cdef real nearest = 0.65625 if real is float else 0.625
    cdef real y = near_(x, farthest), half = <real>-0.5 * y, h = half * y, c  # h = -y^2 / 2
    if real is float:
        c = _horner3[real](h, -0.017238926, -0.079495616, -0.2659429, -0.7978842)
    else:
        c = _horner3[real](
            h, -1.1287540877903168e-06, -1.0571527856783024e-05, -8.525564670083009e-05, -0.0006044606620987021,
        )
        c = _horner3[real](h, c, -0.0036939103201189334, -0.018997251468304836, -0.07978845608099139)
        c = (c * h - <real>0.26596152026763265) * h - <real>0.7978845608028654
    cdef real near = _plus(<real>0.5 * x, h, c)
    cdef real rest = 0, power = 0
    cdef real tail = _lowered_tail(y, &rest)
    cdef real value = _exp_product(half, y, tail, rest, True, &power)
    # The sign is x's, of 0 too: compilers differ in the sign of a zero that they select.
    cdef real far = _minus_product(<real>0 if x < 0 else x, power, value)
    return copysign_(near if y < nearest else far, x)


cdef inline real _tail_coarse(real x) noexcept nogil:
    """The same for 0 <= x <= 39, from fewer terms: its product with exp(-x^2 / 2) is right to 2^-26 (2^-56), not to an
    ulp of its own.
    """
    cdef real K = 3.625 if real is float else 3.75
    cdef real inverse = <real>1 / (x + K)
    cdef real t = (x - K) * inverse
    cdef real p
    if real is float:
        p = _horner5[real](
            t, 1.2873506e-02, 3.5847597e-02, -1.2886165e-01, 3.3614454e-01, -5.7702684e-01, 7.4749285e-01
        )
    else:
        p = _horner5[real](
            t, 8.357001317386947e-07, 7.598130102583357e-06, 2.6696779475072297e-05,
            2.9829684202807897e-05, -6.179808512026844e-05, -1.1366822728964972e-04,
        )
        p = _horner5[real](
            t, p, 4.7067145292972214e-04, 6.099095674305493e-04, -4.1629471138685545e-03,
            1.1683233174503522e-03, 3.748932027820601e-02,
        )
        p = _horner3[real](t, p, -1.515168658934523e-01, 3.529398574653082e-01, -5.881884178354416e-01)
        p = p * t + <real>7.502940722659408e-01
    return p * inverse


cdef inline real gelu_slope_(real x) noexcept nogil:
    """P(Z <= x) + x times the density: for x = -y, exp(-y^2 / 2) times a difference; the slopes at x and -x add up to
    1. Right to a few ulp of 1, next to which the rounding of y^2 does not count.
    """
    cdef real farthest = 15 if real is float else 38.75
    cdef real y = min_(abs_(x), farthest)
    cdef real density = 0.3989422804014327
    # Either product could be fused with the difference: which, is said here.
    cdef real below = _exp_times[real](<real>-0.5 * y * y, _minus_product(_tail_coarse(y), density, y))
    return below if x < 0 else <real>1 - below
