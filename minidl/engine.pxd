# The types that make the compiled module fast. engine.py says what everything means, and runs without this file.

cimport cython
from minidl.modes cimport watching
from minidl.op cimport Add, Cast, Op, SumTo, alike
from minidl.tensor cimport Tensor, wrap

@cython.locals(op=Op, seen=set, order=list)
cdef list _consumers_first(roots)

@cython.locals(edges=tuple, i=Py_ssize_t)
cdef _step(Op op, Tensor gy, dict grads, set targets, set useful)

cdef Tensor _as_input(Op op, Py_ssize_t i, Tensor gx, Tensor gy)

cdef _add_to(dict grads, object key, Tensor g)
