# What a matrix product is, for those who compute one (blocking.pxd, dots.pxd), and how its tasks run.

from minidl._kernels.runtime cimport pool
from minidl._kernels.runtime.epilogues cimport activation_t
from minidl._kernels.product.tile cimport TILE_LANES

cdef extern from *:
    """
    /* The second-level cache of a core, in bytes: what the system says, or 1 MB. */
    #if !defined(_WIN32)
      #include <unistd.h>
    #endif
    static inline Py_ssize_t product_second_cache(void) {
      static Py_ssize_t found;
      if (!found) {
        long bytes = 0;
      #ifdef _SC_LEVEL2_CACHE_SIZE
        bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
      #endif
        found = bytes < 1 ? 1 << 20 : bytes < 1 << 18 ? 1 << 18 : bytes > 1 << 21 ? 1 << 21 : bytes;
      }
      return found;
    }
    """
    Py_ssize_t second_cache "product_second_cache"() noexcept nogil

cdef enum:
    TASKS = 16                  # a product is cut into so many, unless they get smaller than
    TASK_FLOPS = 250_000        # 1 us on one core: what handing out a task may cost ten times over
    SERIAL_FLOPS = 400_000      # up to here handing out tasks costs what it saves, even if all threads are awake
    LANE_FLOPS = 8              # in a nanosecond on one core, about, for each lane of its vectors


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


cdef inline void swap_sides(Product* p) noexcept nogil:
    """From C = A B to C^T = B^T A^T, without bias and activation."""
    p.m, p.n = p.n, p.m
    p.a, p.a_row, p.a_col, p.b, p.b_row, p.b_col = p.b, p.b_col, p.b_row, p.a, p.a_col, p.a_row
    p.bias, p.activation = NULL, NULL


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
    task_t task, void* plan, Py_ssize_t count, bint serial, bint whole, double flops
) noexcept nogil:
    """Tasks 0 to count - 1, over the threads unless `serial`: those that are awake, if `flops` are few. False: they were
    stopped (pool.pxd)."""
    cdef Py_ssize_t index
    cdef Call call
    if not serial:
        call.task, call.plan = task, plan
        return pool.share(
            call_task, &call, count, whole, <Py_ssize_t> (min(flops, 1e12) / (LANE_FLOPS * TILE_LANES)))
    for index in range(count):
        task(NULL, plan, index)
    return True
