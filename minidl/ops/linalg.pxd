# The types that make the compiled module fast. linalg.py says what everything means, and runs without this file.

from minidl.op cimport Op

cdef class MatMul(Op):
    pass

cdef class Affine(Op):
    cdef public object row, a, b
    cdef public bint saves_output
