"""Prepared calls: what the kernels were asked to do, written down so that it can be done again without Python.

Design. While a plan is recorded, everything runs as always, and each kernel, after its checks, leaves a call: a C function
and the struct that it works on. The struct holds addresses; they stay right, because the arrays that are made
meanwhile lie in the plan's own memory (an Arena), where what died is used again in the same order each time, and because
the arrays that were there before are kept alive.

What was recorded is right if each array that a call reads is one of three: filled by a call that was left before; a
buffer into which the step's arguments are copied; or older than the recording. `reads` holds that. An array that NumPy
computed meanwhile is none of them: for the time of a recording NumPy is given another allocator, by which it is known.
"""

import sys
from time import perf_counter_ns

cimport numpy as cnp
from cpython.pythread cimport PyThread_get_thread_ident as thread_id
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from minidl._kernels.arrays.buffers cimport Argument, arguments, put, taken_out
from minidl._kernels.runtime.memory cimport Arena, Buffer, owner, serve
from minidl._kernels.runtime.shared cimport Count, add

cnp.import_array()

cdef extern from *:
    """
    #include <stdlib.h>
    static void* made_malloc(void* ctx, size_t size) { (void)ctx; return malloc(size ? size : 1); }
    static void* made_calloc(void* ctx, size_t n, size_t size) { (void)ctx; return calloc(n ? n : 1, size ? size : 1); }
    static void* made_realloc(void* ctx, void* p, size_t size) { (void)ctx; return realloc(p, size ? size : 1); }
    static void made_free(void* ctx, void* p, size_t size) { (void)ctx; (void)size; free(p); }
    static PyDataMem_Handler made_meanwhile = {
      "minidl: made while a step is captured", 1, {NULL, made_malloc, made_calloc, made_realloc, made_free}};
    static PyObject* made_handler(void) { return PyCapsule_New(&made_meanwhile, "mem_handler", NULL); }
    """
    object made_handler()

cdef extern from "numpy/arrayobject.h":
    object PyDataMem_SetHandler(object handler)
    void* PyArray_HANDLER(cnp.ndarray x) noexcept

cdef struct Call:
    call_t call
    void* work
    long long time  # ns, of the last replay that was timed

cdef class Recorder:
    pass


cdef bint _on = False
recorder = Recorder()
cdef Recorder _recorder = recorder
cdef Count _recordings = Count()  # 1 while a plan is being recorded
cdef Plan _plan = None            # this one
cdef unsigned long _thread = 0    # by this thread; 0 while there is none, so that none takes itself for it
cdef object _here = sys.modules["minidl"].__path__[0]


class CaptureError(RuntimeError):
    """A step that cannot be captured: op, what cannot be recorded; line, the user's ("file.py:12");
    why, the reason. `capture` with strict=False warns instead.
    """

    def __init__(self, op, line, why):
        super().__init__(f"{op}: {why} ({line})")
        self.op, self.line, self.why = op, line, why

    def __reduce__(self):
        return type(self), (self.op, self.line, self.why)


CaptureError.__module__ = "minidl"


cdef bint _by_this_thread() noexcept:
    return thread_id() == _thread


cdef int switch(bint on) except -1:
    global _on
    _on = _recorder.on = on
    return 0


cdef class Plan:
    """The calls of a step, in order.

    Attributes:
        older: the arrays that were there before and that calls read or overwrite, by id.
        notes: what was noted for those who finish the recording: (kind, thing).
        failure: the CaptureError that ended the recording, unless `strict`: then it was raised.
        replays: how often it was replayed.
        checks: those of arguments, which a replay does before it changes anything: (function, its arguments).
    """

    cdef Call* calls
    cdef Py_ssize_t room
    cdef Arena arena
    cdef object handler, usual  # NumPy's allocators: the recording's own, and the one before
    cdef bint strict
    cdef list names, kept
    cdef readonly list checks
    cdef readonly Py_ssize_t count, replays
    cdef readonly dict older, outliving
    cdef readonly list notes
    cdef readonly object failure
    cdef str op  # that runs now

    def __cinit__(self, bint strict=True):
        self.arena = Arena()
        self.strict = strict
        self.names, self.kept, self.notes, self.older, self.op = [], [], [], {}, "capture"
        self.outliving, self.checks = {}, []

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            free(self.calls[i].work)
        free(self.calls)

    @property
    def nbytes(self):
        """The memory of the arrays that are made in a step."""
        return self.arena.nbytes

    def spoil(self):
        """Overwrites the memory of all arrays that are made in a step, for tests: a replay needs none of what it finds."""
        for data, nbytes in self.arena.sizes.items():
            memset(<void*><size_t>data, 255, nbytes)

    def in_use(self, list arrays):
        """Whether some of the memory that was taken is in use by others than these arrays."""
        cdef set owners = {id(owner(x)) for x in arrays}
        for x in self.kept + [x for things in self.kept if isinstance(things, tuple) for x in things]:
            if isinstance(x, cnp.ndarray) and isinstance(owner(x), Buffer) and (<Buffer>owner(x)).arena is self.arena:
                owners.add(id(owner(x)))
        cdef Py_ssize_t live = len(self.arena.sizes)
        for unused in self.arena.unused.values():
            live -= len(<list>unused)
        return live > len(owners)

    # ── Recording ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self):
        """Records from now on what this thread does. False: another plan is being recorded."""
        global _plan, _thread
        if add(_recordings, 1) != 1:
            add(_recordings, -1)
            return False
        try:
            self.handler = made_handler()
            self.usual = PyDataMem_SetHandler(self.handler)
        except BaseException:  # out of memory: the next recording finds none that goes on
            add(_recordings, -1)
            raise
        _plan, _thread = self, thread_id()
        arguments.clear()
        serve(self.arena)
        switch(True)
        return True

    def stop(self):
        """The end of the recording."""
        global _plan, _thread
        self.pause()
        PyDataMem_SetHandler(self.usual)
        arguments.clear()
        _plan, _thread = None, 0
        add(_recordings, -1)

    cdef int pause(self) except -1:
        switch(False)
        serve(None)
        return 0

    cdef void* leave(self, call_t call, const void* work, size_t nbytes, size_t more) except NULL:
        cdef Call* calls
        cdef void* copy
        if self.count == self.room:
            calls = <Call*>realloc(self.calls, 2 * (self.room + 8) * sizeof(Call))
            if calls == NULL:
                raise MemoryError("capture: no memory for the calls of a step")
            self.calls, self.room = calls, 2 * (self.room + 8)
        copy = malloc(nbytes + more)
        if copy == NULL:
            raise MemoryError("capture: no memory for the calls of a step")
        memcpy(copy, work, nbytes)
        self.calls[self.count] = Call(call, copy, 0)
        self.count += 1
        self.names.append([self.op])
        return copy

    # ── Replaying ────────────────────────────────────────────────────────────────────────────────────────────────────

    cdef int replay_timed(self) except -1:
        cdef long long before = perf_counter_ns(), after
        cdef Py_ssize_t i
        for i in range(self.count):
            self.calls[i].call(self.calls[i].work)
            after = perf_counter_ns()
            self.calls[i].time = after - before
            before = after
        return 0

    def __str__(self):
        """Each call: how long it took when it was last timed, of which op it is, and what it fills."""
        cdef Py_ssize_t i
        cdef long long total = 0
        lines = []
        for i in range(self.count):
            op, *filled = self.names[i]
            total += self.calls[i].time
            lines.append(f"{self.calls[i].time / 1e3:9.2f} us  {op:32}  {', '.join(filled)}".rstrip())
        lines.append(f"{total / 1e3:9.2f} us  {self.count} calls, {self.nbytes:,} bytes, {self.replays} replays")
        return "\n".join(lines)


cpdef int do_again(object captured) except -1:
    """All calls of a plan. Every now and then (the replays 1, 2, 4, 8 ...) each is timed."""
    cdef Plan plan = captured
    cdef Py_ssize_t i
    plan.replays += 1
    if plan.replays & (plan.replays - 1) == 0:
        return plan.replay_timed()
    for i in range(plan.count):
        plan.calls[i].call(plan.calls[i].work)
    return 0


# ── What is called while a plan is recorded ──────────────────────────────────────────────────────────────────────────

cdef void* leave(call_t call, const void* work, size_t nbytes, cnp.ndarray y, size_t more=0) except NULL:
    cdef void* copy = _plan.leave(call, work, nbytes, more)
    if y is not None:
        fills(y)
    return copy


cdef int do_and_leave(call_t call, void* work, size_t nbytes, cnp.ndarray y) except -1:
    leave(call, work, nbytes, y)
    return do_quietly(call, work)


cdef int do_quietly(call_t call, void* work) except -1:
    cdef bint on = capturing()
    if on:
        switch(False)
    try:
        return call(work)
    finally:
        if on:
            switch(True)


cdef struct Assignment:
    void* y
    void* x


cdef int assign_again(void* work) except -1:
    cdef Assignment* a = <Assignment*>work
    return put(<cnp.ndarray>a.y, <cnp.ndarray>a.x)


cdef int assign(cnp.ndarray y, cnp.ndarray x) except -1:
    cdef Assignment a = Assignment(<void*>y, <void*>x)
    if not capturing():
        return assign_again(&a)
    reads(x)
    if capturing():
        _plan.kept += [y, x]
        do_and_leave(assign_again, &a, sizeof(a), y)
    return 0


cpdef int fills(cnp.ndarray y) except -1:
    its = owner(y)
    _plan.names[_plan.count - 1].append(f"{y.dtype}{list((<object>y).shape)}")
    if isinstance(its, Buffer) and (<Buffer>its).arena is _plan.arena:
        (<Buffer>its).written = True
        return 0
    return reads(y)


cpdef int reads(cnp.ndarray x) except -1:
    its = owner(x)
    if isinstance(its, Buffer) and (<Buffer>its).arena is _plan.arena:
        if not (<Buffer>its).written:
            return refuse("it computes what no kernel has recorded")
        if id(its) in arguments:
            (<Argument>arguments[id(its)]).readers += 1
    elif isinstance(its, cnp.ndarray) and PyArray_HANDLER(<cnp.ndarray>its) == <void*>_plan.handler and id(its) not in _plan.outliving:
        return refuse("an array was computed by NumPy or in Python, which would not be done again")
    else:
        _plan.older[id(x)] = x
    return 0


cpdef int refuse(str why) except -1:
    if not capturing():
        return 0
    error = CaptureError(_plan.op, _line(), why)
    if _plan.strict:
        raise error
    _plan.failure = error
    return _plan.pause()


cdef str _line():
    """Where the user's code is."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_here):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


cpdef begins(str op):
    """The calls that follow belong to this op."""
    _plan.op = op


cpdef int note(str kind, object thing) except -1:
    """Leaves a note for those who finish the recording."""
    _plan.notes.append((kind, thing))
    return 0


cpdef int outside_of_steps(str what) except -1:
    """CaptureError in a step that is captured: `what` is done by Python, which would not do it again."""
    if capturing():
        begins(what)
        refuse("it is done in Python, which would not do it again: call it outside of the step")
    return 0


cpdef int keep(object thing) except -1:
    """The plan will keep it alive."""
    _plan.kept.append(thing)
    return 0


cdef struct Question:
    void* function
    void* arguments


cdef int ask(void* question) except -1:
    cdef Question* w = <Question*>question
    (<object>w.function)(*<tuple>w.arguments)
    return 0


def checks(function, *given):
    """function(*given), now and in each replay: a check in Python, which raises or does nothing.

    If all arrays are arguments of the step, a replay does it before all else; other arrays have to be computed first.
    """
    cdef Question w = Question(<void*>function, <void*>given)
    if not capturing():
        return ask(&w)
    found = [arguments.get(id(owner(x))) for x in given if isinstance(x, cnp.ndarray)]
    for argument in found:
        if argument is not None:
            (<Argument>argument).readers += 1
    if None not in found:
        _plan.checks.append((function, given))
        return ask(&w)
    keep(function)
    keep(given)
    return do_and_leave(ask, &w, sizeof(w), None)

OUT = "out", "gw_out"  # the arguments that are arrays to compute into


cdef class Computed:
    """Arrays that NumPy computes from arrays: function(*arguments, **options), in the plan's memory."""
    cdef object function, options
    cdef tuple arguments
    cdef list results


cdef int compute(void* work) except -1:
    cdef Computed c = <Computed>(<void**>work)[0]
    made = c.function(*c.arguments, **c.options)
    made = made if isinstance(made, tuple) else (made,)
    if c.results is None:
        given = [c.options.get(name) for name in OUT]
        c.results = [x if any([x is y for y in given]) else taken_out(x) for x in made]
        return 0
    for y, x in zip(c.results, made):
        if y is not x:
            put(y, x)
    return 0


def by_numpy(function, *arguments, **options):
    """function(*arguments, **options), a kernel that is written in NumPy: where it is recorded, each replay calls it."""
    cdef Computed c
    cdef void* work
    if capturing():
        for x in (*arguments, *[value for name, value in options.items() if options.get("accumulate") or name not in OUT]):
            if isinstance(x, cnp.ndarray) and capturing():
                reads(x)
    if not capturing():
        return function(*arguments, **options)
    c = Computed()
    c.function, c.arguments, c.options = function, arguments, options
    work = <void*>c
    do_and_leave(compute, &work, sizeof(work), None)
    _plan.kept += [c, *arguments, *options.values(), *c.results]  # (arrays one by one: `in_use` counts them)
    for y in c.results:
        fills(y)
    return c.results[0] if len(c.results) == 1 else tuple(c.results)


cpdef outlives(cnp.ndarray x):
    """x, an array of NumPy's that is made once and kept (a moment of an optimizer's)."""
    if capturing():
        _plan.outliving[id(x)] = x
    return x


cpdef bint is_older(cnp.ndarray x):
    """Whether x was there before the recording."""
    its = owner(x)
    return not (isinstance(its, Buffer) and (<Buffer>its).arena is _plan.arena)


cpdef cnp.ndarray buffer_for(cnp.ndarray x):
    """A copy of x that belongs to the plan, with x's layout; later ones are copied into it before the first call. So it
    lies where no array of an earlier call did, which would overwrite it."""
    cdef dict unused = _plan.arena.unused
    cdef cnp.ndarray y
    _plan.arena.unused = {}
    try:
        y = taken_out(x)
    finally:
        _plan.arena.unused = unused
    (<Buffer>owner(y)).written = True
    arguments[id(owner(y))] = Argument(y)
    return y


cpdef Argument argument_for(cnp.ndarray x):
    """The same, for an argument of the step; kernels that say where they point to it will read it where it lies."""
    return arguments[id(owner(buffer_for(x)))]
