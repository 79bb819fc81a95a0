# The types that make the compiled module fast. shape.py says what everything means, and runs without this file.

cimport cython
from minidl.autograd.op cimport Op
from minidl.autograd.tensor cimport Tensor
from numpy cimport ndarray

cdef class Reshape(Op):
    cdef public tuple shape, x_shape

cdef class Transpose(Op):
    cdef public tuple axes

cdef class GetItem(Op):
    cdef public object index, rows
    cdef public tuple x_shape

cdef class Slice(GetItem):
    pass

cdef class PutItem(Op):
    cdef public object index
    cdef public tuple shape
    cdef public bint unique

cdef object _part(object x, object index)
