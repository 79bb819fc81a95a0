# The types that make the compiled module fast. linalg.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.memory cimport same_floats
from minidl.autograd.modes cimport recording
from minidl.autograd.op cimport Op
from minidl.ops.activations.activation cimport activation_gradient
from minidl.ops.arithmetic cimport one_dtype, pair
from minidl.autograd.tensor cimport Tensor, wrap
from numpy cimport ndarray

cdef class MatMul(Op):
    pass

cdef class Affine(Op):
    cdef tuple _gradients(self, Tensor gy)

cdef class ActivatedAffine(Affine):
    cdef public object row, a, b

@cython.locals(args=tuple, left=Tensor, right=Tensor, a=ndarray, b=ndarray)
cpdef matmul(x0, x1)
