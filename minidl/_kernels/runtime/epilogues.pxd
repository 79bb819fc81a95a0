# The loops of the activations, for the kernels that apply one to their own results while those are in the cache.

cdef struct Activation:  # what a loop reads
    const void* x        # backward: x or y, whichever the slope is written in
    const void* gy       # backward
    double a, b          # the parameters

# Forward writes y, which may be x; backward writes gx. `tag` is NULL. (loops/driver.pxd explains loops and tags.)
ctypedef void (*activation_t)(
    void* tag, const Activation* w, Py_ssize_t first, Py_ssize_t last, void* y
) noexcept nogil

cdef class Loops:  # for float32 and float64
    cdef activation_t[2] forward
    cdef activation_t[2] backward
    cdef activation_t[2] backward_from_y  # where the slope must be found from y

# {name: its loops} of the CPU level that a module belongs to, by the module's __name__. The level's activations.pyx
# fills it.
cdef dict activations_of(str module)

# ValueError for a name that is not there.
cdef Loops find(dict activations, str name)

ctypedef void (*multiply_t)(void* kind, const void* product) noexcept nogil

ctypedef void (*combine_t)(
    int kind, bint wide, Py_ssize_t rows, Py_ssize_t n, const char* x, Py_ssize_t x_row, const char* z, Py_ssize_t z_row,
    char* y, Py_ssize_t y_row) noexcept nogil

cdef class Products:  # what product/steps.pyx needs of product/gemm.pyx
    cdef multiply_t[2] multiply  # for float32 and float64
    cdef combine_t combine  # y = x + z, x - z or x * z; n numbers of each row, which are so many bytes apart

# Those of the CPU level that a module belongs to. The level's gemm.pyx fills it.
cdef Products products_of(str module)


cdef inline void activate_in_place(activation_t loop, void* y, Py_ssize_t n, double a, double b) noexcept nogil:
    """n elements of y, in place."""
    cdef Activation w = Activation(y, NULL, a, b)
    loop(NULL, &w, 0, n, y)
