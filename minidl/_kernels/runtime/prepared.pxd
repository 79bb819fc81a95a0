# Prepared calls: how a kernel leaves what it was asked to do, so that a captured step can do it again without Python.

cimport numpy as cnp

# The work of a kernel: all that it needs is in a struct.
ctypedef int (*call_t)(void* work) except -1

cdef bint _on  # a plan is being recorded, by some thread

# The same for Python: `recorder.on` costs no call.
cdef class Recorder:
    cdef readonly bint on

cdef bint _by_this_thread() noexcept


# Whether this thread records a plan. All below, but for `do` and `refuse`, may be called only then.
cpdef inline bint capturing() noexcept:
    return _on and _by_this_thread()


# Leaves call(work): the struct, of so many bytes, is copied. `y`, if it is not None, is an array that the call fills.
# Returns the copy; behind it are `more` bytes for what the struct points to.
cdef void* leave(call_t call, const void* work, size_t nbytes, cnp.ndarray y, size_t more=*) except NULL

# call(work), and leaves it. Whatever it runs in turn is a part of it.
cdef int do_and_leave(call_t call, void* work, size_t nbytes, cnp.ndarray y) except -1


# call(work), and nothing that it runs in turn is left: for those who have left it themselves.
cdef int do_quietly(call_t call, void* work) except -1


cdef inline int do(call_t call, void* work, size_t nbytes, cnp.ndarray y) except -1:
    """call(work), which fills y; left if this thread records a plan."""
    return do_and_leave(call, work, nbytes, y) if capturing() else call(work)


# y = x as NumPy assigns, for arrays of any kinds.
cdef int assign(cnp.ndarray y, cnp.ndarray x) except -1

# Says that the call that was left last fills y, too.
cpdef int fills(cnp.ndarray y) except -1

# Says that a call will read x: CaptureError if its contents come from no call that was left.
cpdef int reads(cnp.ndarray x) except -1

# Whether x was there before the recording.
cpdef bint is_older(cnp.ndarray x)

# The plan will keep it alive.
cpdef int keep(object thing) except -1

# Leaves a note for those who finish the recording.
cpdef int note(str kind, object thing) except -1

# CaptureError, if this thread records a plan: what is done now cannot be recorded.
cpdef int refuse(str why) except -1

# All calls of a Plan, once more.
cpdef int do_again(object captured) except -1
