# The types that make the compiled module fast. op.py says what everything means, and runs without this file.

cimport cython
from minidl.autograd.changes cimport Changes
from minidl.autograd.tape cimport Record
from minidl.autograd.tensor cimport Tensor, wrap

cdef class Op(Record):
    @cython.locals(x=Tensor, before=list)
    cpdef Tensor input(self, Py_ssize_t i)
    @cython.locals(changes=Changes, before=Py_ssize_t)
    cpdef Tensor output(self)
    cpdef bint needs(self, Py_ssize_t i)

cdef class Add(Op):
    pass

cdef class SumTo(Op):
    cdef public tuple shape, x_shape

cdef class BroadcastTo(Op):
    cdef public tuple shape

cdef class Cast(Op):
    cdef public object dtype
