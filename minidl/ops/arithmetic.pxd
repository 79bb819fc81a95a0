# The types that make the compiled module fast. arithmetic.py says what everything means, and runs without this file.

from minidl.op cimport Op

cdef class Sub(Op):
    pass

cdef class Mul(Op):
    pass

cdef class Div(Op):
    pass
