"""The pool and the scratch memory under tasks that check them, for the tests. Nothing in minidl calls this."""

from libc.stdlib cimport calloc, free

from minidl._kernels.runtime.memory cimport give, take
from minidl._kernels.runtime.pool cimport attempt, parallel, share

cdef extern from *:
    """
    #include <time.h>
    #ifdef _MSC_VER
      #include <intrin.h>
      #define check_add(p, n) (_InterlockedExchangeAdd((volatile long*) (p), n) + (n))
    #else
      #define check_add(p, n) __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST)
    #endif
    static double check_seconds(void) {
      struct timespec t;
      timespec_get(&t, TIME_UTC);
      return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
    }
    """
    int add "check_add"(int* p, int n) noexcept nogil
    double seconds_now "check_seconds"() noexcept nogil


# ── The pool ─────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Tasks:
    int* runs
    int* nested_runs
    int* at_once        # tasks that ran when this one began, itself included
    int running
    Py_ssize_t nested
    double seconds


cdef void count_run(void* runs, Py_ssize_t index) noexcept nogil:
    add(<int*> runs, 1)


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Tasks* tasks = <Tasks*> context
    cdef double end = seconds_now() + tasks.seconds
    tasks.at_once[index] = add(&tasks.running, 1)
    add(&tasks.runs[index], 1)
    attempt(count_run, &tasks.nested_runs[index], tasks.nested, True)
    while tasks.seconds and seconds_now() < end:
        pass
    add(&tasks.running, -1)


def run_tasks(Py_ssize_t count, Py_ssize_t nested=0, double seconds=0, bint hold_gil=False, Py_ssize_t ns=-1):
    """Runs count tasks of so many seconds, each with a nested call of its own. `ns`: what the pool is told that they take.

    Returns the runs of each index, those of its nested call, and the most tasks that ran at once.
    """
    cdef int* numbers = <int*> calloc(3 * count + 1, sizeof(int))
    cdef Tasks tasks = Tasks(numbers, numbers + count, numbers + 2 * count, 0, nested, seconds)
    if numbers == NULL:
        raise MemoryError
    try:
        if ns >= 0:
            with nogil:
                share(run_task, &tasks, count, True, ns)
        elif hold_gil:
            parallel(run_task, &tasks, count)
        else:
            with nogil:
                parallel(run_task, &tasks, count)
        runs, nested_runs, at_once = [[numbers[k * count + i] for i in range(count)] for k in range(3)]
        return runs, nested_runs, max(at_once, default=0)
    finally:
        free(numbers)


def help_for_a_short_call(double seconds):
    """How many threads ran at once in a call that is said to be short, right after one that woke a worker."""
    cdef int[12] room
    cdef int* numbers = room
    cdef Tasks tasks = Tasks(numbers, numbers + 4, numbers + 8, 0, 0, seconds)
    cdef int i
    for i in range(12):
        numbers[i] = 0
    with nogil:
        parallel(run_task, &tasks, 4)
        share(run_task, &tasks, 4, True, 100)
    return max([tasks.at_once[i] for i in range(4)])


# ── Scratch memory ───────────────────────────────────────────────────────────────────────────────────────────────────

cdef struct Scratch:
    size_t nbytes
    int errors


cdef void fill_and_read(void* context, Py_ssize_t index) noexcept nogil:
    """Scratch given to two tasks at once would change between the writing and the reading."""
    cdef Scratch* scratch = <Scratch*> context
    cdef size_t nbytes = scratch.nbytes + 64 * (index % 5), i
    cdef volatile unsigned char* data = <volatile unsigned char*> take(nbytes)
    if data == NULL or <size_t> data % 64:
        add(&scratch.errors, 1)
        return
    for i in range(nbytes):
        data[i] = <unsigned char> index
    for i in range(nbytes):
        if data[i] != <unsigned char> index:
            add(&scratch.errors, 1)
    give(<void*> data)


def use_scratch(Py_ssize_t count, size_t nbytes):
    """Takes and gives scratch in count tasks of the pool; returns the errors seen."""
    cdef Scratch scratch = Scratch(nbytes, 0)
    with nogil:
        attempt(fill_and_read, &scratch, count, True)
    return scratch.errors
