# The types that make the compiled module fast. linalg.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.memory cimport same_floats
from minidl.autograd.op cimport Op
from minidl.ops.activations.activation cimport ActivationGrad
from minidl.ops.args cimport pair
from minidl.autograd.tensor cimport Tensor
from numpy cimport ndarray

cdef class MatMul(Op):
    pass

cdef class Dot(MatMul):
    pass

cdef class Affine(Op):
    pass

cdef class ActivatedAffine(Affine):
    cdef public object row, a, b

@cython.locals(args=tuple, left=Tensor, right=Tensor, a=ndarray, b=ndarray)
cpdef matmul(x0, x1)
