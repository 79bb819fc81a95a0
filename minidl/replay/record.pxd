# The types that make the compiled module fast. record.py says what everything means, and runs without this file.

cimport cython
from numpy cimport ndarray
from minidl._kernels.arrays.buffers cimport fits, put, references, taken_out
from minidl.autograd.modes cimport recording, textbook
from minidl.autograd.tensor cimport Tensor, mark_changed, wrap
from minidl.replay.watch cimport Watch

cdef class Record:
    cdef public object plan, spec, outline
    cdef public Watch watch
    cdef public bint recorded, textbook, copies, fits_without_gradients
    cdef public list kinds, buffers, stand_ins, effects, changed, tensors, leaves, gradients, arrays, results, draws, added
    @cython.locals(i=Py_ssize_t, x=Tensor, leaf=Tensor, requires_grad=bint, cleared=bint)
    cpdef bint fits(self, list given, spec) except -1
    @cython.locals(i=Py_ssize_t, leaf=Tensor, g=Tensor)
    cpdef bint gradients_are_held(self) except -1
    @cython.locals(i=Py_ssize_t, leaf=Tensor)
    cpdef replay(self, list given)
    @cython.locals(i=Py_ssize_t, leaf=Tensor, g=Tensor)
    cpdef hand_out(self)

cpdef ndarray array_of(x)
