# The types that make the compiled module fast. changes.py says what everything means, and runs without this file.

cimport cython

@cython.freelist(64)
cdef class Changes:
    cdef public Py_ssize_t count, overwritten
    cdef public bint viewed
