# The types that make the compiled module fast. args.py says what everything means, and runs without this file.

from minidl._kernels.runtime.memory cimport same_dtype
from minidl.autograd.tensor cimport Tensor, as_tensor, wrap

cpdef tuple pair(object x0, object x1)
cpdef bint one_dtype(Tensor x0, Tensor x1)
cpdef Tensor as_float(x)
