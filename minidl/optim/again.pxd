# The types that make the compiled module fast. again.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.fields cimport Effect, Fields
from minidl.autograd.tensor cimport Tensor

@cython.locals(stepped=list, arrays=list, grads=list, lrs=list, parameter=Tensor)
cpdef gather(optimizer, list slots, lr, used)
@cython.locals(k=Py_ssize_t, lists=list)
cpdef list state_of(optimizer, list stepped)

cdef class StepAgain(Effect):
    cdef public object optimizer, recorded
    cdef public Fields arrays, settings
    cdef public list stepped, left_alone, without_gradient, given
    @cython.locals(i=Py_ssize_t, parameter=Tensor)
    cpdef bint ready(self) except -1
