cimport numpy as cnp
from libc.stdint cimport uint64_t

# The memory of the arrays of a captured step (prepared.pyx): after `serve`, those that the recording thread makes are laid
# here, and what dies is used again by those that follow. It lives as long as anybody sees a part of it.
cdef class Arena:
    cdef readonly size_t nbytes
    cdef dict sizes   # address -> bytes
    cdef dict unused  # bytes -> addresses
    cdef void* take(self, size_t nbytes) except NULL
    cdef int give(self, void* data) except -1

cdef int serve(Arena arena) except -1  # None: no longer


# Owns the memory of an array and of all its views: the last of them to die gives it back.
cdef class Buffer:
    cdef void* data
    cdef Arena arena      # where it lies, or None
    cdef bint written     # a recorded call has filled it


# An uninitialised C-contiguous array, 64-byte aligned, whose memory goes back to the free list when
# the last view of it dies. MemoryError when the machine has no more, ValueError on a bad shape.
cdef cnp.ndarray empty(int ndim, cnp.npy_intp* shape, int typenum)

# Shape and dtype of x, and its memory layout where x is dense (channels-last stays
# channels-last); C order where it is not.
cdef cnp.ndarray empty_like(cnp.ndarray x)

# Scratch, 64-byte aligned, from the same free list; NULL when out of memory. give(NULL) is allowed.
cdef void* take(size_t nbytes) noexcept nogil
cdef void give(void* data) noexcept nogil

# Whether x's elements fill their memory without gaps or overlap, whatever the order of the axes.
cdef bint is_dense(cnp.ndarray x) noexcept

# Whether x and y have the same dtype; one that kernels take; and the same shape, too.
cpdef bint same_dtype(cnp.ndarray x, cnp.ndarray y)
cpdef bint same_floats(cnp.ndarray x, cnp.ndarray y)
cpdef bint alike(cnp.ndarray x, cnp.ndarray y)

# The object that owns x's memory: views of one array have the same.
cpdef object owner(cnp.ndarray x)

# Whether x can be changed in place and lies in C or Fortran order.
cpdef bint steppable(cnp.ndarray x)

# A number that x's bytes decide: where it differs, they do.
cpdef uint64_t fingerprint(cnp.ndarray x) except? 0
