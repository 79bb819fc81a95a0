# What a matrix product is, for those who compute one (blocking.pxd, dots.pxd), and how its tasks run.

from minidl._kernels.runtime cimport pool
from minidl._kernels.runtime.epilogues cimport activation_t

cdef enum:
    TASKS = 16                  # a product is cut into so many, unless they get smaller than
    TASK_FLOPS = 250_000        # 1 us on one core: what handing out a task may cost ten times over
    SERIAL_FLOPS = 400_000      # up to here waking the pool costs what it saves


cdef struct Product:
    # C (m, n) = A (m, k) B (k, n). Steps from row to row and from column to column are in bytes; C is contiguous.
    Py_ssize_t m, n, k
    const char* a
    const char* b
    char* c
    Py_ssize_t a_row, a_col, b_row, b_col
    bint add                    # C += A B
    const char* bias            # n numbers added to every row of C, or NULL
    activation_t activation     # applied to finished parts of C's rows, or NULL
    double alpha, beta          # its parameters
    char* a_sums                # where the sums of A's rows go, which lie side by side then; or NULL
    bint whole                  # C is the user's: never stopped (pool.pxd)
    bint* failed                # set where it was stopped or found no memory


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


# What a task does is written for both dtypes: its first argument tells which, and is NULL. `plan` is
# what all tasks of a call share.
ctypedef void (*task_t)(void* kind, void* plan, Py_ssize_t index) noexcept nogil


cdef struct Call:
    task_t task
    void* plan


cdef inline void call_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef const Call* call = <const Call*> context
    call.task(NULL, call.plan, index)


cdef inline bint run_tasks(
    task_t task, void* plan, Py_ssize_t count, bint serial, bint whole=False
) noexcept nogil:
    """Tasks 0 to count - 1, over the threads unless `serial`. False: they were stopped (pool.pxd)."""
    cdef Py_ssize_t index
    cdef Call call
    if not serial:
        call.task, call.plan = task, plan
        return pool.attempt(call_task, &call, count, whole)
    for index in range(count):
        task(NULL, plan, index)
    return True
