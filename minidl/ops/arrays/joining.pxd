# The types that make the compiled module fast. joining.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.memory cimport alike, same_dtype
from minidl.autograd.op cimport Op
from minidl.autograd.tensor cimport Tensor
from minidl.ops.shape cimport Slice
from numpy cimport ndarray

cdef class Concatenate(Op):
    cdef public Py_ssize_t axis
    cdef public list lengths

cdef class Stack(Concatenate):
    pass

@cython.locals(x=ndarray, lengths=list)
cdef list _lengths(tuple xs, Py_ssize_t axis)
@cython.locals(x=ndarray, first=ndarray)
cdef object _joined(tuple xs, tuple shape, Py_ssize_t axis)
@cython.locals(x=Tensor, first=ndarray)
cdef _check_same(str name, tuple tensors, object skip)
