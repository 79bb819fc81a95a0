"""The optimizer steps: SGD and Adam over all parameters in one call.

Each parameter is walked once, in place: parameter, gradient and moments are read and written in one
pass. Arrays are cut into chunks of fixed size, and the chunks of all parameters go to the threads
together. Elements do not depend on one another, so the bits do not depend on the number of threads.

An entry point takes parameter groups, as optimizers know them: tuples of lists with one item per
parameter, and of the settings that these have in common. It checks and allocates everything before it
changes anything, and it counts the step itself: whatever is raised, no parameter has been stepped
without another, nor without its count.
"""

cimport cython
cimport numpy as cnp
from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport INFINITY, isfinite, pow, sqrt, sqrtf
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport check_out, counter, dense, same_layout
from minidl._kernels.arrays.layout cimport is_double, same_shape
from minidl._kernels.math.elementary cimport real


cnp.import_array()

cdef enum:
    CHUNK = 4096  # elements: few, so that the threads have equally much to do with a small network too
    COST = 32     # of an element, in additions


cdef struct Param:  # its arrays, and the numbers of this step
    void* p
    const void* g
    void* m  # momentum, or Adam's mean of gradients
    void* v  # Adam's mean of squares
    Py_ssize_t n
    Py_ssize_t first  # the number of its first chunk
    bint wide
    bint nesterov, decoupled
    double lr, decay, momentum, beta1, beta2, eps  # the settings
    double rate, added, keep, unbias  # what Adam makes of them for this step
    double factor
    double* sums  # of each chunk
    cnp.int64_t* count  # steps of this parameter; NULL if it is not stepped


# Computes n elements of a parameter from `start` on.
ctypedef void (*step_t)(Param* w, Py_ssize_t start, Py_ssize_t n, void* array) noexcept nogil

# ── The formulas ───────────────────────────────────────────────────────────────────────────────
# The new moments are also kept in locals: reading back a vector that was just stored across two
# cache lines, as it is wherever NumPy made the array, took more than twice the time of all else.

cdef inline real sqrt_(real x) noexcept nogil:
    return sqrtf(x) if real is float else sqrt(x)


cdef inline real settled(real m) noexcept nogil:
    """m, or 0 if it is subnormal: a moment that only decays would stay there, where some CPUs are
    100 times slower.
    """
    cdef real smallest = FLT_MIN if real is float else DBL_MIN
    return 0 if -smallest < m < smallest else m


cdef void sgd(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """d = g + decay p;  m = momentum m + d;  p -= lr m  (Nesterov: lr (d + momentum m))."""
    cdef const real* g = <const real*>w.g + start
    cdef real* m = <real*>w.m + start
    cdef real lr = <real>w.lr, decay = <real>w.decay, momentum = <real>w.momentum, d, mi
    cdef Py_ssize_t i
    p += start
    if w.m == NULL:
        for i in range(n):
            p[i] -= lr * (g[i] + decay * p[i])
    elif w.nesterov:
        for i in range(n):
            d = g[i] + decay * p[i]
            m[i] = mi = settled(momentum * m[i] + d)
            p[i] -= lr * (d + momentum * mi)
    else:
        for i in range(n):
            m[i] = mi = settled(momentum * m[i] + (g[i] + decay * p[i]))
            p[i] -= lr * mi


cdef void adam(Param* w, Py_ssize_t start, Py_ssize_t n, real* p) noexcept nogil:
    """m += (1 - beta1) (d - m);  v = beta2 v + (1 - beta2) d^2;  p = keep p - lr' m / (sqrt(v)
    unbias + eps).

    lr' = lr / (1 - beta1^t) and unbias = 1 / sqrt(1 - beta2^t) remove the bias of the zero start;
    weight decay is in d = g + decay p (Adam) or in keep = 1 - lr decay (AdamW). `settle` sets them.
    """
    cdef const real* g = <const real*>w.g + start
    cdef real* m = <real*>w.m + start
    cdef real* v = <real*>w.v + start
    cdef real lr = <real>w.rate, decay = <real>w.added, keep = <real>w.keep, unbias = <real>w.unbias
    cdef real to_m = <real>(1 - w.beta1), beta2 = <real>w.beta2, to_v = <real>(1 - w.beta2)
    cdef real eps = <real>w.eps, d, mi, vi
    cdef Py_ssize_t i
    p += start
    for i in range(n):
        d = g[i] + decay * p[i]
        m[i] = mi = settled(m[i] + to_m * (d - m[i]))
        v[i] = vi = beta2 * v[i] + to_v * d * d
        p[i] = keep * p[i] - lr * mi / (sqrt_(vi) * unbias + eps)


# ── The walk ───────────────────────────────────────────────────────────────────────────────────

cdef void settle(Param* w, Py_ssize_t count) noexcept:
    """The numbers of Adam's next step, which depend on the steps before."""
    cdef Param* end = w + count
    cdef double beta1 = 0, beta2 = 0, bias1 = 1, bias2 = 1
    cdef cnp.int64_t t = -1
    while w < end:
        if t != w.count[0] + 1 or beta1 != w.beta1 or beta2 != w.beta2:  # as a rule once for all parameters
            t, beta1, beta2 = w.count[0] + 1, w.beta1, w.beta2
            bias1, bias2 = 1 - pow(beta1, t), 1 - pow(beta2, t)
        w.added, w.keep = w.decay, 1
        if w.decoupled:
            w.added, w.keep = 0, 1 - w.lr * w.decay
        w.rate = w.lr / bias1
        w.unbias = 1 / sqrt(bias2)
        w += 1


cdef struct Work:
    step_t[2] step  # for float32 and float64
    bint settles
    Param* params
    Py_ssize_t count, size, chunks


cdef void chunks(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil:
    cdef Param* p = w.params
    cdef Py_ssize_t chunk, start
    for chunk in range(first, last):
        while (chunk - p.first) * CHUNK >= p.n:
            p += 1
        start = (chunk - p.first) * CHUNK
        w.step[p.wide](p, start, min(p.n - start, <Py_ssize_t>CHUNK), p.p)


@cython.freelist(4)
cdef class Params:
    """All parameters of a call. Their arrays are kept alive. If the call is part of a plan, `set` gives it the settings that
    hold now.
    """

    cdef Param* all
    cdef Py_ssize_t count, size, chunks  # parameters, elements, chunks
    cdef list kept

    def __dealloc__(self):
        memory.give(self.all)

    cdef Param* add(self, cnp.ndarray x) except NULL:
        cdef Param* w = self.all + self.count
        w.p, w.n, w.wide, w.first = cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x), is_double(x), self.chunks
        w.m, w.v, w.count = NULL, NULL, NULL
        self.count, self.size, self.chunks = self.count + 1, self.size + w.n, self.chunks + (w.n + CHUNK - 1) // CHUNK
        self.kept.append(x)
        return w

    cdef Work work(self, step_t single, step_t wide, bint settles) noexcept:
        return Work([single, wide], settles, self.all, self.count, self.size, self.chunks)

    cdef int do(self, prepared.call_t call, void* work, size_t nbytes, cnp.ndarray y) except -1:
        """call(work), for this `all`. A plan keeps it, but no arrays: their memory is the plan's or has an owner there."""
        prepared.do(call, work, nbytes, y)
        if prepared.capturing():
            prepared.keep(self)
            self.kept.clear()
        return 0

    def set(self, list groups):
        """Each group: the learning rates, the decays, and the settings with which the kernel's tuple ends."""
        cdef Param* w = self.all
        cdef Py_ssize_t i
        for lrs, decays, *settings in groups:
            for i in range(len(lrs)):
                w.lr, w.decay = lrs[i], decays[i]
                set_numbers(w, i, settings)
                w += 1

    cdef Param* add_step(self, object p, object g, object count, double lr, double decay, str name) except NULL:
        """Checks a parameter, its gradient and its count of steps, and adds them."""
        cdef cnp.ndarray ps = own_memory(p, name), gs = same_layout(g, ps, name)
        cdef Param* w = self.add(ps)
        w.g, w.count, w.lr, w.decay = cnp.PyArray_DATA(gs), counter(count, name), lr, decay
        self.kept.append(gs)
        return w


cdef int run_all(void* work) except -1:
    """All chunks of all parameters; then the step is counted."""
    cdef Work* w = <Work*>work
    cdef Py_ssize_t k, width = w.size // max(w.chunks, <Py_ssize_t>1)
    if w.settles:
        settle(w.params, w.count)
    run(<loop_t>chunks, w, sizeof(Work), None, w.chunks, width, COST, True)  # what it may raise comes before its first change
    for k in range(w.count):
        if w.params[k].count != NULL:
            w.params[k].count[0] += 1
    return 0


cdef int set_numbers(Param* w, Py_ssize_t i, list settings) except -1:
    """The settings of a group, for its parameter i: those of the one before, if there is one."""
    cdef Param* before = w - 1
    if i:
        w.momentum, w.nesterov = before.momentum, before.nesterov
        w.beta1, w.beta2, w.eps, w.decoupled = before.beta1, before.beta2, before.eps, before.decoupled
    elif len(settings) == 2:
        w.momentum, w.nesterov = settings
    else:
        w.beta1, w.beta2, w.eps, w.decoupled = settings
    return 0


cdef cnp.ndarray own_memory(object x, str name):
    """x, which will be overwritten."""
    cdef cnp.ndarray xs = dense(x, name)
    if xs is not x:
        raise ValueError(f"{name}: an array must be one dense, aligned block of memory")
    return check_out(xs, xs, name)


cdef void* moment(object m, object p, str name) except NULL:
    return cnp.PyArray_DATA(check_out(m, p, name))


cdef Params room_for(Py_ssize_t most):
    cdef Params params = Params.__new__(Params)
    params.kept, params.all = [], <Param*>memory.take((most + 1) * sizeof(Param))
    if params.all == NULL:
        raise MemoryError(f"no memory for {most} parameters")
    return params


cdef Params room_for_groups(list groups):
    cdef Py_ssize_t total = 0
    for group in groups:
        total += len(<list?>(<tuple?>group)[0])
    return room_for(total)


# ── The entry points ───────────────────────────────────────────────────────────────────────────

def sgd_step(list groups):
    """One SGD step, in place on the params, moments and counts of all parameter groups.

    Each is (params, grads, moments, counts, lrs, decays, momentum, nesterov): lists with one
    item per parameter, and two settings. Moments are arrays like params, or the list is None (no
    momentum); counts are int64 arrays of one element.

    Returns the params of the call for a captured step to set (optim/again.py); None if none is recorded.

    d = g + decay p;  m = momentum m + d;  p -= lr m,  with Nesterov p -= lr (d + momentum m).
    """
    cdef Params all_params = room_for_groups(groups)
    cdef Param* w
    cdef list params, grads, moments, counts, lrs, decays
    cdef Py_ssize_t i
    for group in groups:
        params, grads, moments, counts, lrs, decays, *settings = group
        for i in range(len(params)):
            w = all_params.add_step(params[i], grads[i], counts[i], lrs[i], decays[i], "sgd_step")
            set_numbers(w, i, settings)
            if moments is not None:
                w.m = moment(moments[i], params[i], "sgd_step")
    cdef Work work = all_params.work(<step_t>sgd[float], <step_t>sgd[double], False)
    all_params.do(run_all, &work, sizeof(work), None)
    return all_params if prepared.capturing() else None


def adam_step(list groups):
    """One Adam step, in place on the params, means, squares and counts of all parameter groups.

    Each is (params, grads, means, squares, counts, lrs, decays, beta1, beta2, eps, decoupled):
    lists with one item per parameter, and four settings. Counts are int64 arrays of one element, the
    steps before this one.

    Decays are added to the gradient (L2), or, if `decoupled` (AdamW), shrink p by the factor 1 - lr
    decay.
    """
    cdef Params all_params = room_for_groups(groups)
    cdef Param* w
    cdef list params, grads, means, squares, counts, lrs, decays
    cdef Py_ssize_t i
    for group in groups:
        params, grads, means, squares, counts, lrs, decays, *settings = group
        for i in range(len(params)):
            w = all_params.add_step(params[i], grads[i], counts[i], lrs[i], decays[i], "adam_step")
            w.m = moment(means[i], params[i], "adam_step")
            w.v = moment(squares[i], params[i], "adam_step")
            set_numbers(w, i, settings)
    cdef Work work = all_params.work(<step_t>adam[float], <step_t>adam[double], True)
    all_params.do(run_all, &work, sizeof(work), None)
    return all_params if prepared.capturing() else None


def first_misfit(list params, list grads):
    """The place of the first gradient whose shape or dtype is not its parameter's; -1 if all fit.
    """
    cdef Py_ssize_t k
    for k in range(len(params)):
        p, g = params[k], grads[k]
        if not (
            isinstance(g, cnp.ndarray)
            and same_shape(<cnp.ndarray>g, <cnp.ndarray>p)
            and cnp.PyArray_TYPE(<cnp.ndarray>g) == cnp.PyArray_TYPE(<cnp.ndarray>p)
        ):
            return k
    return -1


# ── Clipping ───────────────────────────────────────────────────────────────────────────────────

cdef inline double sum_squares_of(const real* x, Py_ssize_t n) noexcept nogil:
    """In 8 partial sums that are added in a fixed order."""
    cdef double[8] sums
    cdef double total = 0
    cdef Py_ssize_t i, j
    for j in range(8):
        sums[j] = 0
    for i in range(0, n - 7, 8):
        for j in range(8):
            sums[j] += <double>x[i + j] * <double>x[i + j]
    for i in range(n - n % 8, n):
        sums[0] += <double>x[i] * <double>x[i]
    for j in range(8):
        total += sums[j]
    return total


cdef void squares(Param* w, Py_ssize_t start, Py_ssize_t n, real* x) noexcept nogil:
    w.sums[w.first + start // CHUNK] = sum_squares_of(<const real*>x + start, n)


cdef void scale(Param* w, Py_ssize_t start, Py_ssize_t n, real* x) noexcept nogil:
    cdef real factor = <real>w.factor
    cdef Py_ssize_t i
    for i in range(start, start + n):
        x[i] *= factor


cdef struct Clipping:
    Work work
    step_t[2] scale
    double max_norm
    double* norm
    bint clipped


cdef int clip(void* work) except -1:
    """The norm; then, if it is too large, all elements times the same factor."""
    cdef Clipping* c = <Clipping*>work
    cdef Work w = c.work
    cdef double* sums = <double*>memory.take((w.chunks + 1) * sizeof(double))
    cdef double total = 0, factor
    cdef Py_ssize_t k
    if sums == NULL:
        raise MemoryError(f"clip_norm: no memory for the sums of {w.chunks} chunks")
    try:
        for k in range(w.count):
            w.params[k].sums = sums
        run_all(&w)
        for k in range(w.chunks):
            total += sums[k]
    finally:
        memory.give(sums)
    c.norm[0] = sqrt(total)
    factor = c.max_norm / (c.norm[0] + 1e-6)
    c.clipped = isfinite(c.norm[0]) and factor < 1
    if c.clipped:
        for k in range(w.count):
            w.params[k].factor = factor
        w.step = c.scale
        run_all(&w)
    return 0


def clip_norm(list arrays, double max_norm):
    """Multiplies all arrays, in place, by max_norm / (norm + 1e-6) if that is less than 1 and the norm is finite.

    Returns the norm of all elements of all arrays, added up in float64, as an array; and whether it multiplied. With
    max_norm = inf nothing is changed, whatever the arrays.
    """
    cdef Params params = room_for(len(arrays))
    cdef cnp.ndarray norm = memory.empty(0, NULL, cnp.NPY_DOUBLE)
    cdef Clipping c
    for x in arrays:
        params.add(dense(x, "clip_norm") if max_norm == INFINITY else own_memory(x, "clip_norm"))
    c.work = params.work(<step_t>squares[float], <step_t>squares[double], False)
    c.scale = [<step_t>scale[float], <step_t>scale[double]]
    c.max_norm, c.norm = max_norm, <double*>cnp.PyArray_DATA(norm)
    params.do(clip, &c, sizeof(c), norm)
    return norm, c.clipped
