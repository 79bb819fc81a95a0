cimport numpy as cnp
from minidl._kernels.loops.driver cimport loop_t

# y = x, of one shape; they share no memory. On all threads where both are float32 or float64 of one dtype, or floats are
# made of other numbers in C order; else NumPy's assignment, which converts.
cdef int copy_into(cnp.ndarray y, cnp.ndarray x) except -1

# x in C order, in new memory.
cdef cnp.ndarray c_copy(cnp.ndarray x)

# What the level that is loaded offers: see moving.pxd. NULL: nothing yet.
cdef struct Moves:
    void (*copy)(char* to, const char* source, size_t n) noexcept nogil
    loop_t from_float, from_double
    loop_t[2] from_int, from_byte  # to float32, to float64

cdef Moves moves
