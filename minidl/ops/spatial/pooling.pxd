# The types that make the compiled module fast. pooling.py says what everything means, and runs without this file.

cimport cython
from minidl.autograd.op cimport Op
from minidl.autograd.tensor cimport Tensor
from minidl.ops.args cimport as_float
from minidl.ops.spatial.conv cimport spatial

cdef class MaxPool(Op):
    cdef public tuple window
    cdef public bint recorded

cdef class MaxPoolScatter(Op):
    cdef public object places
    cdef public tuple size

cdef class MaxPoolGather(Op):
    cdef public object places
    cdef public tuple size

cdef class AvgPool(Op):
    cdef public tuple window, size

cdef class AvgPoolGrad(Op):
    cdef public tuple window, size

@cython.locals(image=Tensor, window=tuple)
cpdef max_pool(x, kernel_size, stride=*, padding=*)

@cython.locals(image=Tensor, window=tuple)
cpdef avg_pool(x, kernel_size, stride=*, padding=*)

@cython.locals(axes=Py_ssize_t, axis=Py_ssize_t, kernel=tuple, steps=tuple, pad=tuple)
cdef tuple _window(str name, tuple shape, kernel_size, stride, padding)
