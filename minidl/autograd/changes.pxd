# The types that make the compiled module fast. changes.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.memory cimport fingerprint

cdef Py_ssize_t _recorded, _live, _settled

cpdef Py_ssize_t next_number()
cpdef void op_gone() noexcept
cpdef bint any_live()

@cython.freelist(64)
@cython.no_gc
cdef class Changes:
    cdef public Py_ssize_t count, overwritten
    cdef public bint viewed
    cdef public list handed
    cpdef mark(self)
    cpdef hand_out(self, object array)
    cpdef bint written(self, Py_ssize_t number)
