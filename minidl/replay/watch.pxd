# The types that make the compiled module fast. watch.py says what everything means, and runs without this file.

cdef Py_ssize_t _changes

cpdef changed()

cdef class Watch:
    cdef public list cells, names, modules
    cdef public Py_ssize_t changes
    cpdef holds(self)
