cimport numpy as cnp

# Whether x is an array like the buffer: of its dtype, shape and layout.
cpdef bint fits(cnp.ndarray buffer, object x)

# y = x, of one layout.
cpdef int put(cnp.ndarray y, cnp.ndarray x) except -1

# A copy of x in memory of its own.
cpdef cnp.ndarray taken_out(cnp.ndarray x)

# Whether all of these integers are in 0 ... n - 1: what a replay asks of the ids that it is given.
cpdef bint within(cnp.ndarray ids, Py_ssize_t n) except -1

# How many references there are to x, to the object that holds it, and to the memory.
cpdef Py_ssize_t references(object holder, cnp.ndarray x)
