# What the entry points of all kernels ask of their arrays. A loop runs over raw memory, so the arrays it
# walks side by side must be dense and lie in memory in one order; `name` is the entry point, for errors.
#
# The common case is told here, by flags, inside of each entry point. All else, conversions and errors, is in checks.pyx:
# compiled once, it is not in every kernel at every CPU level.

cimport numpy as cnp
from minidl._kernels.arrays.layout cimport is_plain
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.prepared cimport capturing, reads


cdef inline cnp.ndarray seen(cnp.ndarray x):
    """x, which a kernel will read or overwrite: a plan that is being recorded takes note of it."""
    if capturing():
        reads(x)
    return x


# x itself if it is float32 or float64, aligned and in native byte order, at whatever strides; else a C copy.
cdef cnp.ndarray behaved(object x, str name)

# x itself if it is float32 or float64 in one dense block of any axis order, else a C copy; the same in C order.
cdef cnp.ndarray made_dense(object x, str name)
cdef cnp.ndarray made_c_order(object x, str name)


cdef inline cnp.ndarray dense(object x, str name):
    """x itself if it is float32 or float64 in one dense block of any axis order, else a C copy."""
    if isinstance(x, cnp.ndarray) and is_plain(<cnp.ndarray> x):
        return seen(<cnp.ndarray> x)
    return made_dense(x, name)


cdef inline cnp.ndarray c_order(object x, str name):
    """x itself if it is float32 or float64 in C order, else a copy that is."""
    if isinstance(x, cnp.ndarray) and is_plain(<cnp.ndarray> x):
        return seen(<cnp.ndarray> x)
    return made_c_order(x, name)


# The same of an array that has so many axes, which `axes` names for the error.
cdef cnp.ndarray c_axes(object x, int ndim, str name, str axes)

# The same of one axis of this length; `which` of the entry point's arguments it is.
cdef cnp.ndarray vector(object x, Py_ssize_t length, str name, str which)

# Where the number of an int64 array of one element is, which will be counted up.
cdef cnp.int64_t* counter(object count, str name) except NULL

# x if it lies in memory as `like` (dense) does, else a copy that does. The shape and the dtype must be equal: a kernel
# never converts.
cdef cnp.ndarray same_layout(object x, cnp.ndarray like, str name)

# out, if a kernel may write a result like `like` (dense) into it. Any other array raises: a copy would leave the
# caller's own memory unwritten.
cdef cnp.ndarray writable(object out, cnp.ndarray like, str name)


cdef inline cnp.ndarray check_out(object out, cnp.ndarray like, str name):
    """`out`, checked; a new array if it is None."""
    return memory.empty_like(like) if out is None else writable(out, like, name)


# Images (N, C, ...): x if it lies in C order or with the channels last, else a C-ordered copy.
cdef cnp.ndarray images(object x, str name)

# A new array (samples, channels, *size) with so many spatial axes, in one of the two ways.
cdef cnp.ndarray new_images(
    int axes, Py_ssize_t samples, Py_ssize_t channels, const Py_ssize_t* size, int kind, bint in_c_order
)
