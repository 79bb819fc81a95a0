# cython: cdivision=True
"""The formulas of the optimizers: what a step does to n elements of a parameter, from `start` on.

Each has two functions: `adam` computes elements, `settle_adam`, if there is one, the numbers of the step before it. The
new moments are also kept in locals: reading back a vector that was just stored across two cache lines, as it is
wherever NumPy made the array, took more than twice the time of all else.
"""

cimport numpy as cnp
from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport pow, sqrt, sqrtf
from minidl._kernels.math.elementary cimport real


cdef struct Settings:  # of a group; each optimizer has some of them
    double momentum, dampening, beta1, beta2, eps, initial, schedule_decay
    bint nesterov, decoupled


cdef struct Param:  # its arrays, and the numbers of this step
    void* p
    const void* g
    void* moments[3]  # in the order of the optimizer's MOMENTS; NULL if the settings do not need it
    Py_ssize_t n
    Py_ssize_t first  # the number of its first chunk
    bint wide
    double lr, decay
    Settings s
    double rate, ahead, added, keep, unbias  # what `settle_...` makes of them for this step
    double factor
    double* sums  # of each chunk
    cnp.int64_t* count  # steps of this parameter; NULL if it is not stepped


cdef inline real sqrt_(real x) noexcept nogil:
    return sqrtf(x) if real is float else sqrt(x)


cdef inline real settled(real m) noexcept nogil:
    """m, or 0 if it is subnormal: a moment that only decays would stay there, where some CPUs are
    100 times slower.
    """
    cdef real smallest = FLT_MIN if real is float else DBL_MIN
    return 0 if -smallest < m < smallest else m


# ── SGD ────────────────────────────────────────────────────────────────────────────────────────

cdef inline void sgd(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """d = g + decay p;  m = momentum m + d;  p -= lr m  (Nesterov: lr (d + momentum m)).

    With dampening m = momentum m + (1 - dampening) d, but m = d in the first step.
    """
    cdef const real* g = <const real*>w.g + start
    cdef real* m = <real*>w.moments[0] + start
    cdef real lr = <real>w.lr, decay = <real>w.decay, momentum = <real>w.s.momentum, d, mi
    cdef real added = <real>(1 - w.s.dampening if w.count[0] else 1)
    cdef Py_ssize_t i
    p += start
    if w.moments[0] == NULL:
        for i in range(n):
            p[i] -= lr * (g[i] + decay * p[i])
    elif w.s.nesterov:
        for i in range(n):
            d = g[i] + decay * p[i]
            m[i] = mi = settled(momentum * m[i] + d)
            p[i] -= lr * (d + momentum * mi)
    elif w.s.dampening:
        for i in range(n):
            m[i] = mi = settled(momentum * m[i] + added * (g[i] + decay * p[i]))
            p[i] -= lr * mi
    else:
        for i in range(n):
            m[i] = mi = settled(momentum * m[i] + (g[i] + decay * p[i]))
            p[i] -= lr * mi


# ── Adam, AdamW, NAdam ─────────────────────────────────────────────────────────────────────────

cdef inline void adam(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """m += (1 - beta1) (d - m);  v = beta2 v + (1 - beta2) d^2;  p = keep p - lr' m / (sqrt(v)
    unbias + eps).

    lr' = lr / (1 - beta1^t) and unbias = 1 / sqrt(1 - beta2^t) remove the bias of the zero start;
    weight decay is in d = g + decay p (Adam) or in keep = 1 - lr decay (AdamW). `settle_adam` sets them.
    AMSGrad divides by the greatest v that there was.
    """
    cdef const real* g = <const real*>w.g + start
    cdef real* m = <real*>w.moments[0] + start
    cdef real* v = <real*>w.moments[1] + start
    cdef real* greatest = <real*>w.moments[2] + start
    cdef real lr = <real>w.rate, decay = <real>w.added, keep = <real>w.keep, unbias = <real>w.unbias
    cdef real to_m = <real>(1 - w.s.beta1), beta2 = <real>w.s.beta2, to_v = <real>(1 - w.s.beta2)
    cdef real eps = <real>w.s.eps, d, mi, vi
    cdef Py_ssize_t i
    p += start
    if w.moments[2] == NULL:
        for i in range(n):
            d = g[i] + decay * p[i]
            m[i] = mi = settled(m[i] + to_m * (d - m[i]))
            v[i] = vi = beta2 * v[i] + to_v * d * d
            p[i] = keep * p[i] - lr * mi / (sqrt_(vi) * unbias + eps)
    else:
        for i in range(n):
            d = g[i] + decay * p[i]
            m[i] = mi = settled(m[i] + to_m * (d - m[i]))
            v[i] = vi = beta2 * v[i] + to_v * d * d
            greatest[i] = vi = greatest[i] if vi <= greatest[i] else vi  # NaN is kept
            p[i] = keep * p[i] - lr * mi / (sqrt_(vi) * unbias + eps)


cdef inline double bias(double beta, cnp.int64_t t) noexcept:
    """1 - beta^t. As beta^t <= exp(-t (1 - beta)), it is 1 after many steps: then no power is computed."""
    return 1 if beta >= 0 and t * (1 - beta) > 40 else 1 - pow(beta, t)


cdef inline void settle_adam(Param* w, Py_ssize_t count) noexcept:
    """The numbers of Adam's next step, which depend on the steps before."""
    cdef Param* end = w + count
    cdef double beta1 = 0, beta2 = 0, bias1 = 1, bias2 = 1
    cdef cnp.int64_t t = -1
    while w < end:
        if t != w.count[0] + 1 or beta1 != w.s.beta1 or beta2 != w.s.beta2:  # as a rule once for all parameters
            t, beta1, beta2 = w.count[0] + 1, w.s.beta1, w.s.beta2
            bias1, bias2 = bias(beta1, t), bias(beta2, t)
        settle_decay(w)
        w.rate = w.lr / bias1
        w.unbias = 1 / sqrt(bias2)
        w += 1


cdef inline void settle_decay(Param* w) noexcept:
    """Weight decay is added to the gradient or, decoupled from it, shrinks p."""
    w.added, w.keep = w.decay, 1
    if w.s.decoupled:
        w.added, w.keep = 0, 1 - w.lr * w.decay


cdef inline void nadam(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """m and v as for Adam;  p = keep p - (lr' d + ahead m) / (sqrt(v) unbias + eps).

    `settle_nadam` sets lr', the share of this gradient, and ahead, that of the mean in the next step.
    """
    cdef const real* g = <const real*>w.g + start
    cdef real* m = <real*>w.moments[0] + start
    cdef real* v = <real*>w.moments[1] + start
    cdef real lr = <real>w.rate, ahead = <real>w.ahead
    cdef real decay = <real>w.added, keep = <real>w.keep, unbias = <real>w.unbias
    cdef real to_m = <real>(1 - w.s.beta1), beta2 = <real>w.s.beta2, to_v = <real>(1 - w.s.beta2)
    cdef real eps = <real>w.s.eps, d, mi, vi
    cdef Py_ssize_t i
    p += start
    for i in range(n):
        d = g[i] + decay * p[i]
        m[i] = mi = settled(m[i] + to_m * (d - m[i]))
        v[i] = vi = beta2 * v[i] + to_v * d * d
        p[i] = keep * p[i] - (lr * d + ahead * mi) / (sqrt_(vi) * unbias + eps)


cdef inline void settle_nadam(Param* w, Py_ssize_t count) noexcept:
    """mu_t = beta1 (1 - 0.96^(t schedule_decay) / 2);  lr' = lr (1 - mu_t) / (1 - mu_1 ... mu_t);
    ahead = lr mu_t+1 / (1 - mu_1 ... mu_t+1).
    """
    cdef Param* end = w + count
    cdef double beta1 = 0, schedule_decay = 0, fall, half, product = 0, mu = 0, ahead = 0
    cdef cnp.int64_t t = -1, i
    while w < end:
        # As a rule, this is done once for all parameters.
        if t != w.count[0] + 1 or beta1 != w.s.beta1 or schedule_decay != w.s.schedule_decay:
            t, beta1, schedule_decay = w.count[0] + 1, w.s.beta1, w.s.schedule_decay
            fall, half, product, i = pow(0.96, schedule_decay), 0.5, 1, 0
            while i < t and product > 1e-17:  # below, 1 - product is 1
                i, half = i + 1, half * fall
                product *= beta1 * (1 - half)
            mu = beta1 * (1 - 0.5 * pow(0.96, t * schedule_decay))
            ahead = beta1 * (1 - 0.5 * pow(0.96, (t + 1) * schedule_decay))
        settle_decay(w)
        w.rate = w.lr * (1 - mu) / (1 - product)
        w.ahead = w.lr * ahead / (1 - product * ahead)
        w.unbias = 1 / sqrt(bias(w.s.beta2, t))
        w += 1


# ── RMSprop, Adagrad, Adadelta ─────────────────────────────────────────────────────────────────

cdef inline void rmsprop(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """d = g + decay p;  v = alpha v + (1 - alpha) d^2;  u = d / (sqrt(v) + eps), or, centered, with the mean
    a += (1 - alpha) (d - a),  u = d / (sqrt(v - a^2) + eps);  m = momentum m + u;  p -= lr m.
    """
    cdef const real* g = <const real*>w.g + start
    cdef real* v = <real*>w.moments[0] + start
    cdef real* m = <real*>w.moments[1] + start
    cdef real* a = <real*>w.moments[2] + start
    cdef real lr = <real>w.lr, decay = <real>w.decay, eps = <real>w.s.eps, momentum = <real>w.s.momentum
    cdef real alpha = <real>w.s.beta2, beside = <real>(1 - w.s.beta2), d, vi, mi, ai
    cdef Py_ssize_t i
    p += start
    if w.moments[1] == NULL:
        for i in range(n):
            d = g[i] + decay * p[i]
            v[i] = vi = settled(alpha * v[i] + beside * d * d)
            p[i] -= lr * (d / (sqrt_(vi) + eps))
    elif w.moments[2] == NULL:
        for i in range(n):
            d = g[i] + decay * p[i]
            v[i] = vi = settled(alpha * v[i] + beside * d * d)
            m[i] = mi = settled(momentum * m[i] + d / (sqrt_(vi) + eps))
            p[i] -= lr * mi
    else:
        for i in range(n):
            d = g[i] + decay * p[i]
            v[i] = vi = settled(alpha * v[i] + beside * d * d)
            a[i] = ai = settled(a[i] + beside * (d - a[i]))
            m[i] = mi = settled(momentum * m[i] + d / (sqrt_(vi - ai * ai) + eps))
            p[i] -= lr * mi


cdef inline void adagrad(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """d = g + decay p;  v += d^2;  p -= lr' d / (sqrt(initial + v) + eps)
    with lr' = lr / (1 + (t - 1) schedule_decay).
    """
    cdef const real* g = <const real*>w.g + start
    cdef real* v = <real*>w.moments[0] + start
    cdef real lr = <real>(w.lr / (1 + w.count[0] * w.s.schedule_decay)), decay = <real>w.decay
    cdef real eps = <real>w.s.eps, initial = <real>w.s.initial, d, vi
    cdef Py_ssize_t i
    p += start
    for i in range(n):
        d = g[i] + decay * p[i]
        v[i] = vi = v[i] + d * d
        p[i] -= lr * d / (sqrt_(initial + vi) + eps)


cdef inline void adadelta(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """d = g + decay p;  v = rho v + (1 - rho) d^2;  u = d sqrt(s + eps) / sqrt(v + eps);  s = rho s + (1 - rho) u^2;
    p -= lr u.
    """
    cdef const real* g = <const real*>w.g + start
    cdef real* v = <real*>w.moments[0] + start
    cdef real* s = <real*>w.moments[1] + start
    cdef real lr = <real>w.lr, decay = <real>w.decay, eps = <real>w.s.eps
    cdef real rho = <real>w.s.beta2, beside = <real>(1 - w.s.beta2), d, u, vi, si
    cdef Py_ssize_t i
    p += start
    for i in range(n):
        d = g[i] + decay * p[i]
        v[i] = vi = settled(rho * v[i] + beside * d * d)
        si = s[i]
        u = sqrt_(si + eps) / sqrt_(vi + eps) * d
        s[i] = settled(rho * si + beside * u * u)
        p[i] -= lr * u


# ── Averages of weights ────────────────────────────────────────────────────────────────────────

cdef inline void ema(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """p += lr (g - p): p is the average, g the weights, lr = 1 - decay of the average."""
    cdef const real* g = <const real*>w.g + start
    cdef real lr = <real>w.lr
    cdef Py_ssize_t i
    p += start
    for i in range(n):
        p[i] += lr * (g[i] - p[i])
