# The types that make the compiled module fast. arithmetic.py says what everything means, and runs without this file.

from minidl._kernels.memory cimport same_dtype
from minidl.modes cimport recording
from minidl.op cimport Add, Op
from minidl.tensor cimport Tensor, as_tensor, wrap

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
