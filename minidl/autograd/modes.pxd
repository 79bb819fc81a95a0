# The types that make the compiled module fast. modes.py says what everything means, and runs without this file.

cimport cython
from minidl._kernels.runtime.shared cimport Count, add, value_of

@cython.freelist(16)
@cython.trashcan(True)
cdef class Entry:
    cdef public bint left, value
    cdef public Entry within

cdef class Mode:
    cdef public object variable, read
    cdef public bint usual
    cdef public Count contexts
    @cython.locals(entry=Entry)
    cpdef bint holds(self)
    @cython.locals(entry=Entry)
    cpdef Entry last(self)
    cpdef Entry enter(self, bint value)
    cpdef leave(self, Entry entry)

cdef Mode _recording, _watching, _textbook

cpdef bint recording()
cpdef Entry switch_recording(bint value)
cpdef restore_recording(Entry entry)
cpdef bint watching()
cpdef bint textbook()
