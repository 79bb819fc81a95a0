# The types that make the compiled module fast. args.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.memory cimport same_dtype
from minidl.autograd.tensor cimport Tensor, as_tensor, wrap

cpdef tuple pair(object x0, object x1)
cdef bint _alike(Tensor x0, Tensor x1)
@cython.locals(given=Tensor)
cpdef Tensor as_float(x)
@cython.locals(first=Tensor)
cdef bint _one_dtype(tuple xs)
cpdef normalize_axis(str name, axis, Py_ssize_t ndim)
cpdef tuple normalize_axes(str name, axis, Py_ssize_t ndim)
