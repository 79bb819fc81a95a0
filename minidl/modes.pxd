# The types that make the compiled module fast. modes.py says what everything means, and runs without this file.

cdef Py_ssize_t _no_grads, _anomalies
cpdef bint recording()
cpdef bint watching()
