# The types that make the compiled module fast. record.py says what everything means, and runs without this file.

cimport cython
from numpy cimport ndarray
from minidl._kernels.arrays.buffers cimport Argument, fits, put, references, taken_out
from minidl._kernels.runtime.fields cimport Effect
from minidl._kernels.runtime.memory cimport owner
from minidl._kernels.runtime.prepared cimport do_again
from minidl.autograd.modes cimport recording, textbook
from minidl.autograd.tensor cimport Tensor, mark_changed, wrap
from minidl.replay.watch cimport Watch

cdef Py_ssize_t ALONE

@cython.final
cdef class Older:
    cdef public Tensor tensor
    cdef public ndarray array
    cdef public bint requires_grad

@cython.final
cdef class Leaf:
    cdef public Tensor tensor, gradient
    cdef public ndarray array
    cdef public object owner
    cdef public bint cleared
    cpdef bint is_held(self) except -1
    cpdef Py_ssize_t references(self) except -1

cdef class Record:
    cdef public object plan, spec, outline
    cdef public Watch watch
    cdef public bint recorded, textbook, copies, fits_without_gradients
    cdef public list kinds, arguments, checks, stand_ins, effects, changed, tensors, leaves, results, draws, added
    @cython.locals(i=Py_ssize_t, argument=Argument, older=Older, leaf=Leaf, tensor=Tensor, effect=Effect)
    cpdef bint fits(self, tuple given, spec) except -1
    @cython.locals(leaf=Leaf)
    cpdef bint gradients_are_held(self) except -1
    @cython.locals(i=Py_ssize_t, argument=Argument, tensor=Tensor)
    cpdef replay(self, tuple given)
    @cython.locals(leaf=Leaf, kept=bint)
    cpdef hand_out(self)

@cython.locals(tensor=Tensor)
cpdef ndarray array_of(x)
