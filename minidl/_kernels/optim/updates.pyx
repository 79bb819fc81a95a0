"""The optimizer steps: one call steps all parameters. The formulas are in formulas.pxd.

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
from libc.math cimport INFINITY, isfinite, sqrt
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport memory, prepared
from minidl._kernels.arrays.checks cimport check_out, counter, dense, same_layout
from minidl._kernels.arrays.layout cimport is_double, same_shape
from minidl._kernels.math.elementary cimport real
from minidl._kernels.optim.formulas cimport (
    Param, Settings, adadelta, adagrad, adam, ema, nadam, rmsprop, settle_adam, settle_nadam, sgd,
)


cnp.import_array()

cdef enum:
    CHUNK = 4096  # elements: few, so that the threads have equally much to do with a small network too
    COST = 32     # of an element, in additions


# Computes n elements of a parameter from `start` on.
ctypedef void (*step_t)(Param* w, Py_ssize_t start, Py_ssize_t n, void* array) noexcept nogil
# The numbers of the next step of all parameters, where they depend on the steps before.
ctypedef void (*settle_t)(Param* w, Py_ssize_t count) noexcept
# The settings with which a group's tuple ends.
ctypedef int (*read_t)(Settings* s, tuple settings) except -1


cdef struct Rule:  # an optimizer
    step_t[2] step    # for float32 and float64
    settle_t settle   # or NULL
    read_t read
    Py_ssize_t moments  # at most, per parameter

# ── The walk ───────────────────────────────────────────────────────────────────────────────────

cdef struct Work:
    step_t[2] step
    settle_t settle
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
    cdef read_t read
    cdef Py_ssize_t count, size, chunks  # parameters, elements, chunks
    cdef list kept

    def __dealloc__(self):
        memory.give(self.all)

    cdef Param* add(self, cnp.ndarray x) except NULL:
        cdef Param* w = self.all + self.count
        w.p, w.n, w.wide, w.first = cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x), is_double(x), self.chunks
        w.moments, w.count = [NULL, NULL, NULL], NULL
        self.count, self.size, self.chunks = self.count + 1, self.size + w.n, self.chunks + (w.n + CHUNK - 1) // CHUNK
        self.kept.append(x)
        return w

    cdef Work work(self, step_t single, step_t wide, settle_t settle) noexcept:
        return Work([single, wide], settle, self.all, self.count, self.size, self.chunks)

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
        for group in groups:
            lrs, decays, settings = group[0], group[1], group[2:]
            for i in range(len(lrs)):
                w.lr, w.decay = lrs[i], decays[i]
                self.set_numbers(w, i, settings)
                w += 1

    cdef int set_numbers(self, Param* w, Py_ssize_t i, tuple settings) except -1:
        """The settings of a group, for its parameter i: those of the one before, if there is one."""
        if i:
            w.s = (w - 1).s
        else:
            self.read(&w.s, settings)
        return 0

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
    if w.settle != NULL:
        w.settle(w.params, w.count)
    if w.size <= CHUNK:  # one thread is done before another has taken its part
        chunks(NULL, w, 0, w.chunks, NULL)
    else:  # what it may raise comes before its first change
        run(<loop_t>chunks, w, sizeof(Work), None, w.chunks, width, COST, True)
    for k in range(w.count):
        if w.params[k].count != NULL:
            w.params[k].count[0] += 1
    return 0


cdef cnp.ndarray own_memory(object x, str name):
    """x, which will be overwritten."""
    cdef cnp.ndarray xs = dense(x, name)
    if xs is not x:
        raise ValueError(f"{name}: an array must be one dense, aligned block of memory")
    return check_out(xs, xs, name)


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

cdef object step_all(list groups, const Rule* rule, str name):
    """A step by a rule, in place on the parameters, moments and counts of all groups.

    Each group is (params, grads, *moments, counts, lrs, decays, *settings): lists with one item per parameter, and the
    settings that the entry point names, as well as the moments. These are arrays like params, or the list is None
    where the settings do not need it; counts are int64 arrays of one element, the steps before this one.

    Returns the params of the call for a captured step to set (optim/again.py); None if none is recorded.
    """
    cdef Params all_params = room_for_groups(groups)
    cdef Param* w
    cdef list params, grads, counts, lrs, decays
    cdef tuple lists, settings
    cdef Py_ssize_t i, k, most = rule.moments
    all_params.read = rule.read
    for group in groups:
        lists, settings = (<tuple>group)[:most + 5], (<tuple>group)[most + 5:]
        params, grads, counts, lrs, decays = lists[0], lists[1], lists[most + 2], lists[most + 3], lists[most + 4]
        for i in range(len(params)):
            w = all_params.add_step(params[i], grads[i], counts[i], lrs[i], decays[i], name)
            all_params.set_numbers(w, i, settings)
            for k in range(most):
                if lists[k + 2] is not None:
                    w.moments[k] = cnp.PyArray_DATA(check_out(lists[k + 2][i], params[i], name))
    cdef Work work = all_params.work(rule.step[0], rule.step[1], rule.settle)
    all_params.do(run_all, &work, sizeof(work), None)
    return all_params if prepared.capturing() else None


def sgd_step(list groups):
    """One SGD step. Moments: momenta (None without momentum). Settings: momentum, nesterov, dampening."""
    cdef Rule rule = Rule([<step_t>sgd[float], <step_t>sgd[double]], NULL, read_sgd, 1)
    return step_all(groups, &rule, "sgd_step")


cdef int read_sgd(Settings* s, tuple settings) except -1:
    s.momentum, s.nesterov, s.dampening = settings
    return 0


def adam_step(list groups):
    """One Adam step. Moments: means, squares, greatest squares (None without AMSGrad). Settings: beta1, beta2, eps,
    decoupled.

    Decays are added to the gradient (L2), or, if `decoupled` (AdamW), shrink p by the factor 1 - lr
    decay.
    """
    cdef Rule rule = Rule([<step_t>adam[float], <step_t>adam[double]], settle_adam, read_adam, 3)
    return step_all(groups, &rule, "adam_step")


cdef int read_adam(Settings* s, tuple settings) except -1:
    s.beta1, s.beta2, s.eps, s.decoupled = settings
    return 0


def nadam_step(list groups):
    """One NAdam step. Moments: means, squares. Settings: beta1, beta2, eps, decoupled, momentum_decay."""
    cdef Rule rule = Rule([<step_t>nadam[float], <step_t>nadam[double]], settle_nadam, read_nadam, 2)
    return step_all(groups, &rule, "nadam_step")


cdef int read_nadam(Settings* s, tuple settings) except -1:
    s.beta1, s.beta2, s.eps, s.decoupled, s.schedule_decay = settings
    return 0


def rmsprop_step(list groups):
    """One RMSprop step. Moments: squares, momenta (None without momentum), means (None if not centered, which needs
    both). Settings: alpha, eps, momentum.
    """
    cdef Rule rule = Rule([<step_t>rmsprop[float], <step_t>rmsprop[double]], NULL, read_rmsprop, 3)
    return step_all(groups, &rule, "rmsprop_step")


cdef int read_rmsprop(Settings* s, tuple settings) except -1:
    s.beta2, s.eps, s.momentum = settings
    return 0


def adagrad_step(list groups):
    """One Adagrad step. Moments: sums of squares. Settings: lr_decay, initial (added to the sums), eps."""
    cdef Rule rule = Rule([<step_t>adagrad[float], <step_t>adagrad[double]], NULL, read_adagrad, 1)
    return step_all(groups, &rule, "adagrad_step")


cdef int read_adagrad(Settings* s, tuple settings) except -1:
    s.schedule_decay, s.initial, s.eps = settings
    return 0


def adadelta_step(list groups):
    """One Adadelta step. Moments: squares of gradients, squares of updates. Settings: rho, eps."""
    cdef Rule rule = Rule([<step_t>adadelta[float], <step_t>adadelta[double]], NULL, read_adadelta, 2)
    return step_all(groups, &rule, "adadelta_step")


cdef int read_adadelta(Settings* s, tuple settings) except -1:
    s.beta2, s.eps = settings
    return 0


def ema_step(list groups):
    """The moving averages of weights, one step on: averages += lr (weights - averages). A group is (averages, weights,
    counts, lrs, decays); the decays, of weights, are 0.
    """
    cdef Rule rule = Rule([<step_t>ema[float], <step_t>ema[double]], NULL, read_nothing, 0)
    return step_all(groups, &rule, "ema_step")


cdef int read_nothing(Settings* s, tuple settings) except -1:
    return 0


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
    c.work = params.work(<step_t>squares[float], <step_t>squares[double], NULL)
    c.scale = [<step_t>scale[float], <step_t>scale[double]]
    c.max_norm, c.norm = max_norm, <double*>cnp.PyArray_DATA(norm)
    params.do(clip, &c, sizeof(c), norm)
    return norm, c.clipped
