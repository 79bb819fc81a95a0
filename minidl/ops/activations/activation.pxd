# The types that make the compiled module fast. activation.py says what everything means, and runs without this file.

cimport cython
from minidl.autograd.op cimport Op
from minidl.autograd.tensor cimport Tensor
from minidl.ops.args cimport as_float

cdef class Activation(Op):
    cdef public object name, a, b

cdef class ActivationFromY(Activation):
    pass

cdef class ActivationInPlace(ActivationFromY):
    pass

cdef class ActivationGrad(Op):
    cdef public object row, name
    cdef public object a, b
    cdef public bint from_y

cpdef tuple op_for(str name, x, inplace=*, a=*, b=*)
