# The loops of the activations, for the kernels that apply one to their own results while those are in the cache.

ctypedef void (*activation_t)(
    void* tag, const void* x, void* y, Py_ssize_t n, double a, double b
) noexcept nogil  # y may be x; `tag` is NULL
ctypedef void (*slope_t)(
    void* tag, const void* xy, const void* gy, void* gx, Py_ssize_t n, double a, double b
) noexcept nogil

cdef class Loops:
    cdef activation_t[2] forward  # for float32 and float64
    cdef slope_t[2][2] backward   # [1]: where the slope must be found from y

# {name: its loops} of the CPU level that a module belongs to, by the module's __name__. The level's activations.pyx
# fills it.
cdef dict activations_of(str module)

# ValueError for a name that is not there.
cdef Loops find(dict activations, str name)
