# The types that make the compiled module fast. engine.py says what everything means, and runs without this file.

cimport cython
from numpy cimport ndarray
from minidl._kernels.runtime.prepared cimport Recorder, capturing
from minidl.autograd.modes cimport restore_recording, switch_recording, textbook, watching
from minidl._kernels.runtime.memory cimport alike, owner, steppable
from minidl._kernels.runtime.shared cimport hold, let_go
from minidl.autograd.op cimport Add, Cast, Op, SumTo
from minidl.autograd.tape cimport Declaration
from minidl.autograd.tensor cimport Tensor, wrap

cdef Recorder recorder

@cython.locals(op=Op, root=Tensor, before=Py_ssize_t, in_order=bint, seen=set, order=list, known=Py_ssize_t)
cdef list _consumers_first(list roots)

@cython.locals(op=Op, root=Tensor, seeds=list, order=list, grads=dict, useful=set, wanted=set, own=set, gy=Tensor, whole=Tensor, fused=bint, quick=bint, part=bint,
               declared=Declaration)
cpdef dict walk(list roots, list gradients, set targets, bint retain_graph, bint create_graph, object arrived=*)

@cython.locals(edges=tuple, gxs=tuple, i=Py_ssize_t)
cdef _pass_on(Op op, object result, bint fused, Tensor gy, dict grads)

@cython.locals(likes=list, saved=Tensor, like=Tensor)
cdef Tensor _as_input(Op op, Py_ssize_t i, Tensor gx, Tensor gy)

cdef _add_to(dict grads, object key, Tensor g)

cdef object _grad_of(Tensor tensor)
@cython.locals(unchanged=bint)
cdef bint _exchange_grad(Tensor tensor, object before, object grad) except -1

cdef Tensor _noted_gradient(Tensor leaf, Tensor grad)

@cython.locals(leaf=Tensor, g=Tensor, before=Tensor, total=Tensor, owners=set, had=dict, changed=Py_ssize_t)
cdef _add_to_leaves(dict grads, Tensor seed, bint create_graph)

@cython.locals(shared=bint)
cdef Tensor _sum_for(Tensor leaf, Tensor before, Tensor g, set owners, bint create_graph)

@cython.locals(y=Tensor, seed=Tensor)
cdef list _seeds(list outputs, list gradients)
