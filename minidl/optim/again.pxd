# The types that make the compiled module fast. again.py says what everything means, and runs without this file.

cimport cython

cdef class StepAgain:
    cdef public object optimizer, recorded
    cdef public list stepped, counts, moments, left_alone, without_gradient, given, values, parameters, rates
    @cython.locals(i=Py_ssize_t)
    cpdef ready(self)
    @cython.locals(i=Py_ssize_t, k=Py_ssize_t, before=list)
    cdef bint _settings_changed(self) except -1
