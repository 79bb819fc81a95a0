# The types that make the compiled module fast. tensor.py says what everything means, and runs without this file.

cimport cython

from minidl._kernels.runtime.prepared cimport Recorder, capturing, refuse
from minidl._kernels.runtime.shared cimport hold, let_go
from minidl.autograd.changes cimport Changes, any_live
from minidl.autograd.modes cimport recording

cdef Recorder recorder

cdef dict ops
cdef object walk

cdef class Method:
    cdef readonly str name

@cython.freelist(256)
cdef class Tensor:
    cdef public object _data, _op, grad
    cdef public Changes _changes
    cdef public bint _requires_grad
    cdef public Py_ssize_t _seen
    cdef object __weakref__
    cpdef _mark_changed(self)
    @cython.locals(changes=Changes)
    cpdef Changes _shared_changes(self)

@cython.locals(tensor=Tensor)
cpdef Tensor wrap(object array, object op=*, Changes changes=*, bint requires_grad=*)
cpdef Tensor as_tensor(object x, object dtype=*)
@cython.locals(tensor=Tensor)
cpdef zero_grads(list tensors)
@cython.locals(tensor=Tensor, changes=Changes)
cpdef mark_changed(list tensors)
