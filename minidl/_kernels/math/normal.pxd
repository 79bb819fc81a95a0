# cython: cdivision=True
"""The normal distribution, for float and double, in the way of elementary.pxd: inline, free of branches, to be vectorised."""

from minidl._kernels.math.elementary cimport (
    _exp_times, _horner3, _horner5, _lifted_exp_product, _lost, _lost_by_sum, _minus_product, _pair, abs_, copysign_,
    lowered, min_, near_, real,
)


cdef inline real _bell(real x, real half, real factor, real rest) noexcept nogil:
    """exp(-half x^2) (factor + rest), half = 1/2 or 1, half x^2 within the range of _exp_times."""
    return lowered(_lifted_exp_product[real](-half * x, x, factor, rest))


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
    return _erf_near(x) if y < <real>0.75 else copysign_(far, x)


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


cdef inline real _tail_times_x(real x, real* rest) noexcept nogil:
    """x exp(x^2 / 2) P(Z > x) for 0 <= x <= 39: q p(t), where q = x / (x + K) and t = (x - K) / (x + K) = 2 q - 1; in
    `rest`, what rounding q, the last two steps of p, and the product lost.
    """
    cdef real K = 3.375 if real is float else 5.5
    cdef real under = x + K, q = x / under
    cdef real t = (q + q) - <real>1, square = t * t
    cdef real last = 7.410803e-01 if real is float else 7.737696342764068e-01
    cdef real before = -5.529922e-01 if real is float else -6.851834205743381e-01
    cdef real p
    if real is float:
        p = <real>1.3270543e-04 * t + <real>3.0596592e-04
        p = _pair[real](t, square, p, -8.48883e-04, -2.2482947e-03)
        p = _pair[real](t, square, p, 7.825243e-03, 8.718395e-03)
        p = _pair[real](t, square, p, -9.8384485e-02, 2.95376e-01)
    else:
        p = <real>-2.58001324905782e-09 * t - <real>5.652858455195903e-09
        p = _pair[real](t, square, p, 2.293978643184225e-08, 5.025121909325803e-08)
        p = _pair[real](t, square, p, -1.7759534139992707e-07, -2.677755629193133e-07)
        p = _pair[real](t, square, p, 1.483865607497062e-06, 4.4635269200792986e-07)
        p = _pair[real](t, square, p, -1.211889935737047e-05, 1.6319979453394814e-05)
        p = _pair[real](t, square, p, 7.141485102310486e-05, -3.245226508417226e-04)
        p = _pair[real](t, square, p, 2.6960400087435663e-04, 2.4429826743526738e-03)
        p = _pair[real](t, square, p, -1.3923510565679318e-02, 4.509758081490977e-02)
        p = _pair[real](t, square, p, -1.097030899587182e-01, 2.1787243285795865e-01)
        p = _pair[real](t, square, p, -3.670490652936198e-01, 5.355964890624947e-01)
    cdef real p1 = before + t * p
    cdef real total = last + t * p1
    cdef real y = q * total
    cdef real total_rest = _lost_by_sum(last, t, p1, total) + t * _lost_by_sum(before, t, p, p1)
    # x - q (x + K), divided by x + K, is what q lost. The result's slope in q is nearly K / 2 (1 - q)^3 (double: ^5), and
    # 1 / (x + K) is (1 - q) / K.
    cdef real q_lost = _minus_product(_lost(q, under, x), -q, x - (under - K))
    cdef real w = <real>1 - q, slope = w * w
    slope = slope if real is float else slope * w
    rest[0] = _lost(q, total, y) + _minus_product(q * total_rest, <real>0.5 * q_lost, slope * slope)
    return y


cdef inline real gelu_(real x) noexcept nogil:
    """x P(Z <= x) = max(x, 0) - |x| P(Z > |x|); apart from normal_cdf_ because P is subnormal where the product is not."""
    cdef real farthest = 15 if real is float else 39
    cdef real y = near_(x, farthest)
    cdef real rest = 0
    cdef real tail = _tail_times_x(y, &rest)
    # The sign is x's, of 0 too: compilers differ in the sign of a zero that they select.
    return copysign_((<real>0 if x < 0 else x) - _bell[real](y, 0.5, tail, rest), x)


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
