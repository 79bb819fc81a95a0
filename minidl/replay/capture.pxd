# The types that make the compiled module fast. capture.py says what everything means, and runs without this file.

cimport cython
from numpy cimport ndarray
from minidl._kernels.runtime.prepared cimport capturing
from minidl._kernels.runtime.shared cimport Count, add, hold, let_go
from minidl.autograd.modes cimport watching
from minidl.autograd.tensor cimport Tensor
from minidl.replay.record cimport Record

cdef class Captured:
    cdef public object _fn
    cdef public list _records
    cdef public bint _strict, _copies, _gave_up
    cdef public Count _running
    @cython.locals(given=tuple, records=list, record=Record)
    cdef _run(self, tuple args, dict options)
    cdef _keep(self, list records)

cpdef bint all_arrays(tuple given)
