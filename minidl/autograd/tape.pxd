# The types that make the compiled module fast. tape.py says what everything means, and runs without this file.

cimport cython
from numpy cimport ndarray
from minidl._kernels.runtime.memory cimport alike, fingerprint, owner
from minidl._kernels.runtime.prepared cimport Recorder, capturing
from minidl.autograd.changes cimport Changes, next_number, op_gone
from minidl.autograd.modes cimport recording, watching
from minidl.autograd.tensor cimport Tensor, wrap

cdef Recorder recorder

cdef dict declarations

cdef class Declaration:
    cdef public tuple saves
    cdef public bint saves_output, shares, inplace
    cdef public object forward, backward, fused, adds

@cython.freelist(64)
cdef class Details:
    cdef public list likes, counts, wanted, fingerprints
    cdef public object where

@cython.freelist(256)
cdef class Record:
    cdef public tuple edges, _saved
    cdef public object kept, _output
    cdef public Changes _output_changes
    cdef public Details _details
    cdef public Declaration _declared
    cdef public Py_ssize_t _output_count, _number
    cdef public bint _live
    cdef object __weakref__
    @cython.locals(x=Tensor, target=Tensor, second=Tensor, third=Tensor, out=Tensor, declared=Declaration)
    cpdef Tensor run(self, tuple inputs)
    @cython.locals(x=Tensor, saves=tuple, all_alike=bint, any_changed=bint)
    cpdef _record(self, tuple inputs, Tensor out, Declaration declared)
    cpdef Details _detailed(self)
    cdef _take_fingerprints(self)
    @cython.locals(details=Details)
    cpdef _check_unchanged(self, Py_ssize_t i, object array, Changes changes, Py_ssize_t before)
    cpdef _free(self)

cdef _edge(Tensor x)
cdef Py_ssize_t _count(Tensor x)
