# The types that make the compiled module fast. reduction.py says what everything means, and runs without this file.

from minidl.autograd.op cimport Op

cdef class Sum(Op):
    cdef public tuple axes, x_shape
    cdef public bint keepdims
    cdef public double divisor
