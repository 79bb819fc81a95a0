# The types that make the compiled module fast. linalg.py says what everything means, and runs without this file.

from minidl.op cimport Op

cdef class MatMul(Op):
    pass

cdef class Affine(Op):
    pass

cdef class ActivatedAffine(Affine):
    cdef public object row, a, b
