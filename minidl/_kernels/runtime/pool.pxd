ctypedef void (*task_t)(void* context, Py_ssize_t index) noexcept nogil

# run(context, i) once for each i in 0..count-1, spread over the threads; returns when all are done.
# The caller works too. Inline and serial: count <= 1, one thread, a nested call, or a pool in use
# by another Python thread. Cut the work into tasks of a fixed size, never size / threads: then
# results have the same bits for any number of threads. The GIL may be held; tasks never need it.
#
# Ctrl-C, or what another signal's handler raises in the main thread, stops a call: the tasks that have not begun are
# left out, and the exception is raised. What such a call writes must be memory that nobody else has seen. A call that
# overwrites an array of the user's is `whole`: it is never stopped.
cdef int parallel(task_t run, void* context, Py_ssize_t count, bint whole=*) except -1 nogil

# The same for those who have scratch to give back first. False: the call was stopped, and the exception is set; no
# Python may run before the entry point has left with fail().
cdef bint attempt(task_t run, void* context, Py_ssize_t count, bint whole) noexcept nogil

# The same for those who know how long all of it would take on one thread, in ns, about. Workers that are awake help with
# any call; those that are asleep are left so by a call that would be over before they could help.
cdef bint share(task_t run, void* context, Py_ssize_t count, bint whole, Py_ssize_t ns) noexcept nogil

# For tasks that take more than some 50 ms: whether the call is being stopped. Such a task returns at once.
cdef bint stopped() noexcept nogil

# Raises what stopped the call, or MemoryError naming the entry point: the end of one whose work came back undone.
cdef int fail(str name) except -1

# The number of threads a parallel call may use, the caller's included.
cdef Py_ssize_t threads() noexcept nogil
