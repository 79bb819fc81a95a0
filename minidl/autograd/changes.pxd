# The types that make the compiled module fast. changes.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.memory cimport fingerprint
from minidl._kernels.runtime.shared cimport Count, add, hold, let_go, value_of

cdef Count _recorded, _live
cdef Py_ssize_t _settled

cpdef Py_ssize_t next_number()
@cython.locals(recorded=Py_ssize_t)
cpdef void op_gone() noexcept
cpdef bint any_live()

@cython.freelist(64)
@cython.no_gc
cdef class Changes:
    cdef public Py_ssize_t count, overwritten
    cdef public bint viewed
    cdef public list handed
    cpdef mark(self)
    @cython.locals(recorded=Py_ssize_t, before=list, handed=list, i=Py_ssize_t, alone=bint)
    cpdef hand_out(self, object array)
    cdef list _handed_now(self)
    cpdef bint written(self, Py_ssize_t number)
