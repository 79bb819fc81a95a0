cimport numpy as cnp

# y = x, of one shape; they share no memory. On all threads where both are float32 or float64 of one dtype, else NumPy's
# assignment, which converts.
cdef int copy_into(cnp.ndarray y, cnp.ndarray x) except -1

# x in C order, in new memory.
cdef cnp.ndarray c_copy(cnp.ndarray x)
