"""The one thread pool: every parallel loop of minidl runs here, matrix products included.

A call opens a gate; the workers that are awake walk in and claim indices from the end, while the caller
claims them from the beginning: so, call after call, a core finds the same memory in its cache. When no
index is left the caller shuts the gate and waits for those inside, no others: a worker that wakes too
late finds it shut. So a busy machine costs the caller help, never a wait.

After work a worker watches the gate for about SPIN_NS, because a training step's next call comes within
microseconds, and then sleeps, because a spinning thread takes a core from the user's own NumPy. Where
long pauses follow one another it sleeps at once.

Whether to wake workers is a question of time: a call says how long it would take alone. A worker that sleeps is woken only
if that costs a small part of the call (WORTH), or of a chain of calls that it would have stayed awake for: then more of them
are likely to come. And where a worker loses its core to another program in the middle of a call, the caller makes the next
short calls alone.

Whether short calls gain by workers that are awake is found out by trying. Handing over a call takes some trips of a cache
line from core to core, and so does each line of an array that one core wrote and the other reads. How long a trip takes
depends on where the system, or the host of a virtual machine, has put the threads: 250 ns was measured, and a few minutes
later programs gained by a second thread that had lost before. What a call gains depends on the calls before and after it,
too: if all of a chain are shared, each core goes on with the part of the arrays that its cache holds. So all short calls are
shared for a while, or none; what is compared is the time that passes (`end_window`).

Python runs the handlers of signals in the main thread, between two instructions of its interpreter; during a kernel that
takes seconds it cannot. So the caller looks for signals itself: between two tasks, if LOOK_NS have passed since it last did.
If a handler raises, no more tasks are handed out, and the call raises when those begun are done.
"""

import threading

from minidl._kernels.system.limits import MAX_THREADS, default_threads, processors

from cpython.exc cimport PyErr_Occurred

from minidl._kernels.system.platform cimport (
    CALLER, CAN_START, WORKERS, about_now, add, add_index, at_fork, caller, leave_core, load, now,
    peek, peek_time, put, put_time, relax, signals, sleep, start, store, swap, thread_id, wake,
)

# A worker that has no work spins: it watches the gate for a while, since waking it up again is slow. How long depends on
# its credit, which grows with each call that comes within SPIN_NS of the last one and halves after a longer pause. With
# full credit a worker spins LONGER times as long: a training step has few long pauses among many short ones. Without
# credit it sleeps at once: if a user's np.matmul runs between our calls, every pause is long, and the core is needed.
# (Measured on 2 cores: waking a worker costs the caller 7 us, and its help comes 10 us later. With 10 us
# instead of 20 a step of a small MLP takes 12% longer.)
cdef long long SPIN_NS = 20_000
cdef enum:
    LONGER = 2
    MOST_CREDIT = 4
    INSIDE = 0xFFFF    # the low half of the gate counts the workers inside
    TURN = 0x10000     # the high half counts openings and closings: odd is open

cdef long long LOOK_NS = 100_000_000
cdef enum:
    LONG = 1_000_000_000  # what a call takes that does not say
    WORTH = 4             # times what waking a worker costs must a call take for each one that it wakes
    CAUTIOUS = 256        # short calls without help, after one in which a worker lost its core
    SURE = 100_000        # ns: a call that says it takes as long gains by help, on any machine
    WINDOW = 128          # shorter calls that run in one way, before the two are compared
    AGAIN = 8             # windows after which the other way is tried again, at first,
    SELDOM = 256          # and at last
cdef unsigned long _main = threading.main_thread().ident

cdef Py_ssize_t _threads = 1      # a call may use so many, the caller included
cdef long long _spin = 0          # how long a worker watches the gate before it sleeps
cdef unsigned _busy = 0           # 1 while a call has the pool
cdef unsigned _stop = 0           # 1 if the call in progress is given up
cdef unsigned _asleep = 0         # workers asleep, or about to be
cdef long long _rang = 0          # when sleeping workers were last woken
cdef Py_ssize_t _wake_ns = 7_000  # what waking one costs the caller; measured each time
cdef Py_ssize_t _cautious = 0     # so many short calls are still to be made alone
cdef Py_ssize_t _chain_ns = 0     # what the calls of a chain took without those that sleep,
cdef long long _chain_end = 0     # and when the last of them ended
cdef unsigned _waiting = 0        # 1 while the caller sleeps until the last worker has left
cdef Py_ssize_t _workers = 0      # workers started


# Workers watch the gate, and both sides count claims. In a cache line with words that the caller writes, each of these
# writes would take the line from the other core.
cdef struct Gate:
    char[64] above
    unsigned state
    char[64] below


# The short calls: in which way they run, and what is known of both.
cdef struct Trial:
    unsigned held          # 1 while a thread counts its call
    bint shared            # the way of this window
    Py_ssize_t calls, ns   # of the window, and what they say they take
    long long began
    Py_ssize_t[2] cost     # alone and shared: time that passes, in thousandths of what the calls say; 0: unknown
    Py_ssize_t windows     # in a row
    bint trying            # this way is being tried, after
    Py_ssize_t patience    # windows of the other
    bint odd               # the last window took far longer than those before


cdef struct Claims:
    char[64] above
    Py_ssize_t all   # so many indices are taken,
    Py_ssize_t last  # and so many of them by workers
    char[64] below


cdef Gate _gate
cdef Claims _claimed
cdef Trial _trial
# The call in progress: written while the gate is shut and nobody is inside.
cdef task_t _run
cdef void* _context
cdef Py_ssize_t _count
cdef Py_ssize_t _helpers          # so many workers may be inside


cdef Py_ssize_t threads() noexcept nogil:
    return peek(&_threads)


cdef int parallel(task_t run, void* context, Py_ssize_t count, bint whole=False) except -1 nogil:
    return 0 if attempt(run, context, count, whole) else -1


cdef bint attempt(task_t run, void* context, Py_ssize_t count, bint whole) noexcept nogil:
    return share(run, context, count, whole, LONG)


cdef bint share(task_t run, void* context, Py_ssize_t count, bint whole, Py_ssize_t ns) noexcept nogil:
    cdef Py_ssize_t helpers = min(count, peek(&_threads)) - 1
    cdef bint outermost = caller.depth == 0, done
    cdef unsigned stop = 0
    cdef long long began = 0
    if count <= 1:
        if count == 1:
            run(context, 0)
        return True
    if helpers >= 1 and ns < LONG:
        helpers = min(helpers, helpers_for(ns, &began))
    # A call from inside a task finds the pool busy too, and so runs inline.
    cdef bint alone = helpers < 1 or load(&_busy) or not swap(&_busy, 0, 1)
    if outermost:
        caller.stop, caller.looks = &stop if alone else &_stop, not whole and thread_id() == _main
    caller.depth += 1
    done = run_alone(run, context, count) if alone else run_shared(run, context, count, helpers, ns)
    caller.depth -= 1
    if began:
        end_of_link(began)
    if outermost:
        caller.stop, caller.looks = NULL, False
        return done
    return True


cdef inline Py_ssize_t helpers_for(Py_ssize_t ns, long long* began) noexcept nogil:
    """Of a call that takes so long alone. began: set to the time if it is part of a chain that workers sleep through."""
    cdef Py_ssize_t woken = ns // (WORTH * peek(&_wake_ns)), cautious = peek(&_cautious)
    if woken == 0 and cautious > 0:
        put(&_cautious, cautious - 1)
        return 0
    if ns < SURE and not are_shared(ns):
        return 0
    if woken == 0 and awake() < peek(&_threads) - 1:
        began[0] = now()
        woken = is_due(ns, began[0])
    return awake() + woken


cdef void begin_trial() noexcept nogil:
    global _trial
    while not swap(&_trial.held, 0, 1):
        relax()
    _trial.shared, _trial.trying, _trial.odd, _trial.patience = True, True, False, AGAIN
    _trial.calls = _trial.ns = _trial.began = _trial.windows = _trial.cost[0] = _trial.cost[1] = 0
    store(&_trial.held, 0)


cdef inline bint are_shared(Py_ssize_t ns) noexcept nogil:
    """Whether short calls are shared now. ns: of this one."""
    cdef bint shared
    if not swap(&_trial.held, 0, 1):  # by a call of another Python thread: this one runs alone, and does not count
        return False
    if _trial.calls >= WINDOW:
        end_window(now())
    _trial.calls += 1
    _trial.ns += ns
    shared = _trial.shared
    store(&_trial.held, 0)
    return shared


cdef void end_window(long long time) noexcept nogil:
    """The way that takes less time is kept. The other one is tried now and then, for three windows: in the first, data
    moves from one core's cache to the other's; of the next two the quicker one counts."""
    cdef Py_ssize_t cost = <Py_ssize_t> ((time - _trial.began) * 1000 // max(_trial.ns, <Py_ssize_t> 1)) + 1
    cdef Py_ssize_t* known = &_trial.cost[_trial.shared]
    cdef Py_ssize_t other = _trial.cost[not _trial.shared]
    cdef bint change = False
    _trial.windows += 1
    if _trial.trying:
        if _trial.windows > 1:
            known[0] = cost if _trial.windows == 2 else min(known[0], cost)
        if _trial.windows == 3:
            change, _trial.trying = known[0] > other, other == 0
            _trial.patience = min(2 * _trial.patience, <Py_ssize_t> SELDOM) if change and other else AGAIN
    elif cost > 2 * known[0] and not _trial.odd:
        _trial.odd = True  # (a pause of the program, most likely)
    else:
        _trial.odd = False
        known[0] += (cost - known[0]) // 4
        change = _trial.trying = _trial.windows >= _trial.patience or known[0] > other + other // 16
    if change:
        _trial.shared, _trial.windows, _trial.odd = not _trial.shared, 0, False
    _trial.calls, _trial.ns, _trial.began = 0, 0, time


cdef inline bint is_due(Py_ssize_t ns, long long time) noexcept nogil:
    """Whether the chain that ends with a call of so many ns has gone on for long enough to wake a worker for it."""
    cdef Py_ssize_t before = peek(&_chain_ns) if time - peek_time(&_chain_end) <= peek_time(&_spin) else 0
    cdef bint due = before + ns >= WORTH * peek(&_wake_ns)
    put(&_chain_ns, 0 if due else before)
    return due


cdef inline void end_of_link(long long began) noexcept nogil:
    """A call of a chain has ended: what counts is the time that it took, not the one that was expected."""
    cdef long long time = now()
    put(&_chain_ns, peek(&_chain_ns) + <Py_ssize_t> (time - began))
    put_time(&_chain_end, time)


cdef inline Py_ssize_t awake() noexcept nogil:
    return peek(&_workers) - <Py_ssize_t>load(&_asleep)


cdef inline bint run_alone(task_t run, void* context, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        run(context, i)
        if caller.looks and stopped():
            return False
    return True


cdef inline bint run_shared(task_t run, void* context, Py_ssize_t count, Py_ssize_t helpers, Py_ssize_t ns) noexcept nogil:
    global _run, _context, _count, _workers, _stop
    cdef Py_ssize_t sleepers, i
    cdef bint done = True
    _stop = 0
    if _workers < helpers:
        while _workers < helpers and start(_workers, work):
            put(&_workers, _workers + 1)
        leave_core(_workers, True)
    _run, _context, _count, _claimed.all, _claimed.last = run, context, count, 0, 0
    put(&_helpers, helpers)  # (read by workers that come too late, too)
    add(&_gate.state, TURN)
    sleepers = helpers - awake()
    if sleepers > 0:
        leave_core(_workers, False)
        put_time(&_rang, now())
        wake(WORKERS, sleepers)
        note_wake((now() - peek_time(&_rang)) // sleepers)
    i = 0
    while add_index(&_claimed.all, 1) <= count:
        run(context, i)
        i += 1
        if caller.looks and stopped():
            done = False
            add_index(&_claimed.all, count)  # none is left
            break
    if not load(&_busy):  # a handler forked: this is the child, which has no workers
        return False
    add(&_gate.state, TURN)
    wait_until_empty(ns)
    store(&_busy, 0)
    return done


cdef inline void note_wake(Py_ssize_t ns) noexcept nogil:
    """A running median: some find the worker just about to sleep, and others are delayed by other programs."""
    cdef Py_ssize_t step = _wake_ns // 8 + 1
    put(&_wake_ns, max(_wake_ns - step, min(ns, _wake_ns + step), <Py_ssize_t> 1))


cdef bint stopped() noexcept nogil:
    cdef long long time
    if caller.stop == NULL:
        return False
    if caller.looks and not load(caller.stop):
        time = about_now()
        if time - caller.looked >= LOOK_NS:
            caller.looked = time
            caller.looks = False  # not for what a handler computes
            store(caller.stop, signals() != 0)
            caller.looks = True
    return load(caller.stop)


cdef int fail(str name) except -1:
    if PyErr_Occurred() == NULL:
        raise MemoryError(f"{name}: no memory for scratch")
    return -1


cdef inline void help_out() noexcept nogil:
    """What a worker does of a call."""
    cdef task_t run = _run
    cdef void* context = _context
    cdef Py_ssize_t count = _count
    while add_index(&_claimed.all, 1) <= count:
        run(context, count - add_index(&_claimed.last, 1))


cdef void wait_until_empty(Py_ssize_t ns) noexcept nogil:
    """Of a call that takes so long alone. Sleeps in the end: a worker inside may have lost its core to another program."""
    cdef unsigned tries = 0
    cdef long long since = now() if load(&_gate.state) & INSIDE else 0
    while load(&_gate.state) & INSIDE:
        tries += 1
        if (tries & 15) or now() - since < 10 * peek_time(&_spin):
            relax()
        else:
            if WORTH * ns < 10 * peek_time(&_spin):
                put(&_cautious, CAUTIOUS)
            store(&_waiting, 1)
            if load(&_gate.state) & INSIDE:
                sleep(CALLER, &_waiting, 1)
    store(&_waiting, 0)


cdef void work() noexcept nogil:
    """The life of a worker."""
    cdef unsigned gate, seen = 0, tries = 0, spin_credit = 1
    cdef bint slept = False
    caller.depth, caller.stop = 1, &_stop
    cdef long long since = now()
    while True:
        gate = load(&_gate.state)
        if (gate & TURN) and gate // TURN != seen and <Py_ssize_t> (gate & INSIDE) < peek(&_helpers):
            if swap(&_gate.state, gate, gate + 1):
                if (peek_time(&_rang) if slept else now()) - since <= peek_time(&_spin):  # (waking up takes its time)
                    spin_credit = min(spin_credit + 1, <unsigned> MOST_CREDIT)
                elif slept:
                    spin_credit //= 2
                slept = False
                seen = gate // TURN
                help_out()
                if add(&_gate.state, <unsigned> -1) & INSIDE == 0 and load(&_waiting):
                    store(&_waiting, 0)
                    wake(CALLER, 1)
                since = now()
        elif spin_credit and ((tries & 15) or now() - since < (LONGER if spin_credit > 1 else 1) * peek_time(&_spin)):
            relax()
        else:
            add(&_asleep, 1)
            sleep(WORKERS, &_gate.state, gate)
            add(&_asleep, <unsigned> -1)
            slept = load(&_gate.state) & TURN != 0
            if not slept:  # woken too late for that call; the next may be near
                since, spin_credit = now(), max(spin_credit, <unsigned> 1)
        tries += 1


cdef void fresh() noexcept nogil:
    """In a forked child: the workers stayed behind, whatever they were doing."""
    global _busy, _asleep, _waiting, _workers, _main
    _busy = _gate.state = _asleep = _waiting = _trial.held = 0
    _workers = 0
    _main = thread_id()


def short_calls_are_shared():
    """Whether calls that take microseconds are shared at present; which way is quicker is tried now and then."""
    return _trial.shared


def shared_windows(times):
    """For tests: in which windows of a new trial calls are shared. times: (alone, shared) for each window, the ns that
    pass, either way, for a call that says it takes 1,000."""
    cdef long long time = 0
    cdef list found = []
    begin_trial()
    for alone, shared in times:
        found.append(bool(_trial.shared))
        _trial.ns = 1000 * WINDOW
        time += WINDOW * <long long> (shared if _trial.shared else alone)
        end_window(time)
    begin_trial()
    return found


def get_num_threads():
    """The number of threads minidl uses, the calling one included.

    At first MINIDL_NUM_THREADS, or the cores that this process may use. `set_num_threads` sets it.
    """
    return peek(&_threads)


def set_num_threads(n):
    """Use n threads, the calling one included; more than there are processors is allowed.

    Results have the same bits for every n. Where the build has no threads (Windows), n stays 1.
    Raises TypeError if n is not an int, ValueError if it is not in 1..1024.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__") or getattr(n, "shape", ()) != ():
        raise TypeError(f"set_num_threads: n must be an int, got {n!r}")
    n = n.__index__()
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"set_num_threads: n must be in 1..{MAX_THREADS}, got {n}")
    put(&_threads, n if CAN_START else 1)
    # With more threads than processors a spinning worker keeps a working one from its core.
    put_time(&_spin, SPIN_NS if n <= processors() else 0)
    begin_trial()


at_fork(fresh)
set_num_threads(default_threads())
