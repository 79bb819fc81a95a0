# The types that make the compiled module fast. modes.py says what everything means, and runs without this file.

cdef class Mode:
    cdef public object variable, read
    cdef public bint usual
    cdef public Py_ssize_t contexts
    cpdef bint holds(self)
    cpdef bint enter(self, bint value)
    cpdef leave(self, bint before)

cdef Mode _recording, _watching

cpdef bint recording()
cpdef bint switch_recording(bint value)
cpdef restore_recording(bint before)
cpdef bint watching()
