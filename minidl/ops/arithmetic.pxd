# The types that make the compiled module fast. arithmetic.py says what everything means, and runs without this file.

from minidl.autograd.op cimport Add, Op
from minidl.autograd.tensor cimport Tensor, as_tensor, wrap
from minidl.ops.args cimport pair


cdef class Sub(Op):
    pass

cdef class Mul(Op):
    pass

cdef class Div(Op):
    pass

cdef class Neg(Op):
    pass
