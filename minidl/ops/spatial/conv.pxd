# The types that make the compiled module fast. conv.py says what everything means, and runs without this file.

cimport cython
from minidl.autograd.op cimport Op
from minidl.autograd.tensor cimport Tensor

cdef class _Fused(Op):
    cdef public tuple window, size, activation, named

cdef class Conv(_Fused):
    pass

cdef class ActivatedConv(Conv):
    pass

cdef class ConvTranspose(_Fused):
    pass

cdef class ActivatedConvTranspose(ConvTranspose):
    pass

cdef class ConvWeightGrad(Op):
    cdef public tuple window, kernel

@cython.locals(axis=Py_ssize_t)
cdef Py_ssize_t _spatial_axes(str name, tuple x_shape, tuple w_shape)

cdef tuple _window(str name, Py_ssize_t axes, stride, padding, dilation, groups)

cdef object LIMIT

@cython.locals(values=tuple)
cpdef tuple spatial(str owner, str argument, value, Py_ssize_t axes, Py_ssize_t least)

@cython.locals(
    axis=Py_ssize_t, length=Py_ssize_t, taps=Py_ssize_t, step=Py_ssize_t, zeros=Py_ssize_t, apart=Py_ssize_t,
    padded=Py_ssize_t, reach=Py_ssize_t, size=list
)
cdef tuple _conv_size(tuple x_shape, tuple w_shape, tuple stride, tuple padding, tuple dilation)

@cython.locals(
    args=tuple, x_shape=tuple, w_shape=tuple, window=tuple, axes=Py_ssize_t, size=tuple
)
cpdef conv(x, weight, bias=*, stride=*, padding=*, dilation=*, groups=*, activation=*)
