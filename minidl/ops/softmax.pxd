# The types that make the compiled module fast. softmax.py says what everything means, and runs without this file.

from minidl.op cimport Op
from minidl.modes cimport recording
from minidl.tensor cimport Tensor, wrap

cdef class Softmax(Op):
    pass

cdef class LogSoftmax(Op):
    pass
