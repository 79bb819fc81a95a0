cimport numpy as cnp

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object x) noexcept

# Whether x is an array like the buffer: of its dtype, shape and layout.
cpdef bint fits(cnp.ndarray buffer, object x)

# y = x, of one layout.
cpdef int put(cnp.ndarray y, cnp.ndarray x) except -1

# A copy of x in memory of its own.
cpdef cnp.ndarray taken_out(cnp.ndarray x)

# Whether all of these integers are in 0 ... n - 1: what a replay asks of the ids that it is given.
cpdef bint within(cnp.ndarray ids, Py_ssize_t n) except -1

# How many references there are to x, to the object that holds it, and to the owner of its memory.
cpdef inline Py_ssize_t references(object holder, cnp.ndarray x, object owner) noexcept:
    return Py_REFCNT(holder) + Py_REFCNT(x) + Py_REFCNT(owner)


cdef struct Pointer:
    char** place       # where it is, in the struct of a prepared call
    Py_ssize_t offset  # of what it points to, from the beginning of the argument


cdef class Argument:
    cdef readonly cnp.ndarray buffer
    cdef Py_ssize_t readers  # how often a call was going to read it
    cdef Pointer* pointers
    cdef Py_ssize_t count
    cdef int add(self, char** place) except -1
    cdef void point_at(self, char* data) noexcept
    cpdef int arrive(self, cnp.ndarray x) except -1
    cpdef leave(self)

# Those of the step that is being recorded, by the id of the owner of the buffer's memory.
cdef dict arguments

# Says that `place`, in the struct of a call that was left, points into x, and that the call reads x by it alone.
cdef int points(const char** place, cnp.ndarray x) except -1
