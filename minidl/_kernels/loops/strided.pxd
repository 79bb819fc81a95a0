# Loops over arrays of any strides that broadcast: up to three operands and a result. Nothing that is broadcast is written
# out: it has stride 0. What remains of the axes after joining those that lie side by side in memory is walked row by row.

cimport numpy as cnp
from minidl._kernels.arrays.axes cimport (
    ARRAYS, MAX_AXES, Axes, Cursor, add_axis, go_to, has_shape, length_of, merge_axes, next_row, sort_axes, stride_of,
)
from minidl._kernels.loops.driver cimport loop_t, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.arrays.checks cimport seen
from minidl._kernels.arrays.layout cimport in_elements, same_shape, same_strides

cdef struct Walk

# y = rule(x0, x1, x2) for n elements of a row, whose strides are those of the innermost axis.
ctypedef void (*row_t)(
    void* tag, const Walk* w, const void* x0, const void* x1, const void* x2, void* y, Py_ssize_t n
) noexcept nogil

cdef struct Walk:
    Axes axes  # strides of the three operands and of y
    row_t row
    char *data[ARRAYS]
    Py_ssize_t[ARRAYS] itemsize
    double low, high  # settings of the rule


cdef inline const Py_ssize_t* strides_of(const Walk* w) noexcept nogil:
    return w.axes.stride[w.axes.count - 1]


cdef inline void walk(void* tag, Walk* w, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil:
    cdef int innermost = w.axes.count - 1
    cdef Py_ssize_t n
    cdef Cursor at
    go_to(&at, &w.axes, first)
    while True:
        n = min(w.axes.length[innermost] - at.place[innermost], last - first)
        w.row(
            NULL, w, w.data[0] + at.offset[0] * w.itemsize[0], w.data[1] + at.offset[1] * w.itemsize[1],
            w.data[2] + at.offset[2] * w.itemsize[2], w.data[3] + at.offset[3] * w.itemsize[3], n,
        )
        first += n
        if first == last:
            return
        next_row(&at, &w.axes)


cdef inline int broadcast(cnp.npy_intp* shape, int ndim, cnp.ndarray x, str name) except -1:
    """`shape`, broadcast with that of x; the new number of axes."""
    cdef int axis, wide = max(ndim, cnp.PyArray_NDIM(x))
    cdef Py_ssize_t n, m
    for axis in range(wide - 1, -1, -1):
        n = shape[axis - (wide - ndim)] if axis >= wide - ndim else 1
        m = length_of(x, axis, wide)
        if n != m and n != 1 and m != 1:
            raise ValueError(
                f"{name}: shapes {tuple([shape[i] for i in range(ndim)])} and {(<object>x).shape} do not fit together"
            )
        shape[axis] = m if n == 1 else n
    return wide


cdef inline cnp.ndarray new_result(cnp.ndarray x, cnp.ndarray z, int ndim, cnp.npy_intp* shape):
    """In the memory layout of the operand that has its shape: channels-last stays channels-last."""
    if has_shape(x, ndim, shape) and memory.is_dense(x):
        return memory.empty_like(x)
    if has_shape(z, ndim, shape) and memory.is_dense(z):
        return memory.empty_like(z)
    return memory.empty(ndim, shape, cnp.PyArray_TYPE(x))


cdef inline int set_operand(Walk* w, int place, cnp.ndarray x) except -1:
    set_array(w, place, seen(x))
    return 0


cdef inline void set_array(Walk* w, int place, cnp.ndarray x) noexcept:
    w.data[place], w.itemsize[place] = cnp.PyArray_BYTES(x), cnp.PyArray_ITEMSIZE(x)


cdef inline cnp.ndarray run_strided(
    Walk* w, str name, cnp.ndarray x0, cnp.ndarray x1, cnp.ndarray x2, object out, Py_ssize_t cost
):
    """The result, in `out` or a new array of the dtype of x1 and x2; x0 is of any dtype that the row reads."""
    cdef cnp.npy_intp[MAX_AXES] shape
    cdef int axis, ndim = broadcast(shape, 0, x0, name)
    cdef cnp.ndarray y
    ndim = broadcast(shape, ndim, x1, name)
    ndim = broadcast(shape, ndim, x2, name)
    if out is None:
        y = new_result(x1, x2, ndim, shape)
    else:
        y = out
        if not has_shape(y, ndim, shape):
            raise ValueError(
                f"{name}: out: expected shape {tuple([shape[i] for i in range(ndim)])}, got {out.shape}"
            )
    w.axes.count = 0
    for axis in range(ndim):
        add_axis(&w.axes, shape[axis], stride_of(x0, axis, ndim), stride_of(x1, axis, ndim),
                 stride_of(x2, axis, ndim), stride_of(y, axis, ndim))
    sort_axes(&w.axes, 3)
    merge_axes(&w.axes)
    set_operand(w, 0, x0)
    set_operand(w, 1, x1)
    set_operand(w, 2, x2)
    set_array(w, 3, y)
    run(<loop_t>walk, w, sizeof(Walk), y, cnp.PyArray_SIZE(y), 1, cost, out is not None)
    return y


cdef inline char* first_byte(cnp.ndarray x) noexcept:
    cdef char* at = <char*>cnp.PyArray_DATA(x)
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(x)):
        at += min(<Py_ssize_t>0, (cnp.PyArray_DIMS(x)[axis] - 1) * cnp.PyArray_STRIDES(x)[axis])
    return at


cdef inline char* last_byte(cnp.ndarray x) noexcept:
    cdef char* at = <char*>cnp.PyArray_DATA(x) + cnp.PyArray_ITEMSIZE(x) - 1
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(x)):
        at += max(<Py_ssize_t>0, (cnp.PyArray_DIMS(x)[axis] - 1) * cnp.PyArray_STRIDES(x)[axis])
    return at


cdef inline bint apart(cnp.ndarray y, cnp.ndarray x) noexcept:
    """Whether y can be written while x is read: it is x itself, or shares no memory with it."""
    if (cnp.PyArray_DATA(x) == cnp.PyArray_DATA(y) and same_shape(x, y) and same_strides(x, y)):
        return True
    return last_byte(x) < first_byte(y) or last_byte(y) < first_byte(x)


cdef inline bint can_write(object out, cnp.ndarray x, cnp.ndarray z) noexcept:
    cdef cnp.ndarray y
    if not isinstance(out, cnp.ndarray):
        return False
    y = out
    return (
        cnp.PyArray_TYPE(y) == cnp.PyArray_TYPE(x) and in_elements(y) and cnp.PyArray_ISBEHAVED(y)
        and apart(y, x) and apart(y, z)
    )
