# The types that make the compiled module fast. prelu.py says what everything means, and runs without this file.

from minidl.autograd.op cimport Op
from minidl.autograd.tensor cimport Tensor, as_tensor

cdef class PReLU(Op):
    cdef public tuple blocks
    cdef _seen(self, array)
    cpdef Tensor x(self)

cdef class PReLUInPlace(PReLU):
    pass
