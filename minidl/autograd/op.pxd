# The types that make the compiled module fast. op.py says what everything means, and runs without this file.

cimport cython
from numpy cimport ndarray
from minidl._kernels.runtime.memory cimport alike, fingerprint, owner
from minidl.autograd.changes cimport Changes, next_number, op_gone
from minidl.autograd.modes cimport recording, watching
from minidl.autograd.tensor cimport Tensor, wrap

cdef dict _traits

cdef class Traits:
    cdef public tuple saves
    cdef public bint saves_output, shares, inplace
    cdef public object forward, backward, fused

@cython.freelist(64)
cdef class Notes:
    cdef public list likes, counts, wanted, prints
    cdef public object where

@cython.freelist(256)
cdef class Op:
    cdef public tuple edges, _saved
    cdef public object kept, _output
    cdef public Changes _output_changes
    cdef public Notes _notes
    cdef public Traits _traits
    cdef public Py_ssize_t _output_count, _number
    cdef public bint _live
    cdef object __weakref__
    @cython.locals(x=Tensor, second=Tensor, third=Tensor, out=Tensor, traits=Traits)
    cpdef Tensor apply(self, tuple inputs)
    @cython.locals(x=Tensor, saves=tuple, all_alike=bint, any_changed=bint)
    cpdef _record(self, tuple inputs, Tensor out, Traits traits)
    cdef Notes _note(self)
    @cython.locals(x=Tensor, notes=Notes, before=Py_ssize_t)
    cpdef Tensor input(self, Py_ssize_t i)
    @cython.locals(notes=Notes)
    cpdef Tensor output(self)
    cdef _check_unchanged(self, Changes changes, Py_ssize_t before, object which, object array)
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

cdef _edge(Tensor x)
cdef Py_ssize_t _count(Tensor x)
