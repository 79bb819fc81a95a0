ctypedef void (*task_t)(void* context, Py_ssize_t index) noexcept nogil

# run(context, i) once for each i in 0..count-1, spread over the threads; returns when all are done.
# The caller works too. Inline and serial: count <= 1, one thread, a nested call, or a pool in use
# by another Python thread. Cut the work into chunks of a fixed size, never size / threads: then
# results have the same bits for any number of threads. The GIL may be held; tasks never need it.
cdef void parallel(task_t run, void* context, Py_ssize_t count) noexcept nogil

# The number of threads a parallel call may use, the caller's included.
cdef Py_ssize_t threads() noexcept nogil
