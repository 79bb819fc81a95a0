from cpython.object cimport PyObject

cdef struct Field:
    PyObject** place  # where the object is; NULL: it has to be looked up
    PyObject* owner
    PyObject* name
    PyObject* value

# Places that hold an object each, and which objects these were when they were added.
cdef class Fields:
    cdef Field* all
    cdef Py_ssize_t count, room
    cdef list kept
    cdef int add(self, PyObject** place, object owner, object name, object value) except -1
    cpdef bint same(self) except -1

# What must hold before each replay, or is made so: an object that is noted as "before" while the step is recorded.
cdef class Effect:
    cpdef bint ready(self) except -1
