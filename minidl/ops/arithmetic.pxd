# The types that make the compiled module fast. arithmetic.py says what everything means, and runs without this file.

from minidl._kernels.runtime.memory cimport same_dtype
from minidl.autograd.modes cimport recording
from minidl.autograd.op cimport Add, Op
from minidl.autograd.tensor cimport Tensor, as_tensor, wrap

cpdef tuple pair(object x0, object x1)
cpdef bint one_dtype(Tensor x0, Tensor x1)
cpdef Tensor mul(object x0, object x1)
cdef Tensor times(Tensor gy, Tensor x)

cdef class Sub(Op):
    pass

cdef class Mul(Op):
    pass

cdef class Div(Op):
    pass

cdef class Neg(Op):
    pass
