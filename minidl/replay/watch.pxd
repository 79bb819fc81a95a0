# The types that make the compiled module fast. watch.py says what everything means, and runs without this file.

from minidl._kernels.runtime.fields cimport Fields
from minidl._kernels.runtime.shared cimport Count, add, value_of

cdef Count _changes

cpdef changed()

cdef class Watch:
    cdef public Fields names
    cdef public list modules
    cdef public Py_ssize_t changes
    cpdef bint holds(self) except -1
