# The types that make the compiled module fast. op.py says what everything means, and runs without this file.

cimport cython
cimport numpy as cnp
from minidl.modes cimport recording, watching
from minidl.tensor cimport Changes, Tensor, wrap

cdef Py_ssize_t _recorded

cdef class Op:
    cdef public tuple edges, _saved
    cdef public list _likes, _counts, _wanted, _prints
    cdef public object kept, _where, _output
    cdef public Changes _output_changes
    cdef public Py_ssize_t _output_count, _number
    cdef object __weakref__
    @cython.locals(x=Tensor, second=Tensor, out=Tensor)
    cpdef Tensor _apply(self, tuple inputs)
    @cython.locals(x=Tensor, changes=Changes, i=Py_ssize_t)
    cpdef _record(self, tuple inputs, Tensor out)
    @cython.locals(x=Tensor, changes=Changes)
    cpdef Tensor input(self, Py_ssize_t i)
    cpdef Tensor output(self)
    cpdef bint needs(self, Py_ssize_t i)
    cpdef _free(self)

cdef class Add(Op):
    pass

cdef class SumTo(Op):
    cdef public tuple shape, x_shape

cdef class BroadcastTo(Op):
    cdef public tuple shape

cdef class Cast(Op):
    cdef public object dtype

@cython.locals(i=Py_ssize_t)
cpdef bint alike(cnp.ndarray x, cnp.ndarray y)
