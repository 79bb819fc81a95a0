# The types that make the compiled module fast. loss.py says what everything means, and runs without this file.

from minidl.autograd.op cimport Op

cdef class CrossEntropy(Op):
    cdef public object target, scale, keep
