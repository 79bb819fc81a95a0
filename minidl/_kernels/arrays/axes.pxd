# Walking arrays of any strides: their common axes, made as few and as long as the memory allows.
#
# Strides count elements. An axis along which an array is repeated (or summed away) has stride 0.

cimport numpy as cnp

cdef enum:
    MAX_AXES = 64  # what NumPy allows
    ARRAYS = 4


cdef struct Axes:
    int count
    Py_ssize_t[MAX_AXES] length
    Py_ssize_t[MAX_AXES][ARRAYS] stride


cdef struct Cursor:
    Py_ssize_t[MAX_AXES] place
    Py_ssize_t[ARRAYS] offset


cdef inline Py_ssize_t length_of(cnp.ndarray x, int axis, int ndim) noexcept:
    """The length of an axis, counted as if x had ndim axes: new ones are in front."""
    axis -= ndim - cnp.PyArray_NDIM(x)
    return cnp.PyArray_DIMS(x)[axis] if axis >= 0 else 1


cdef inline Py_ssize_t stride_of(cnp.ndarray x, int axis, int ndim) noexcept:
    """In elements; 0 where x is repeated."""
    axis -= ndim - cnp.PyArray_NDIM(x)
    if axis < 0 or cnp.PyArray_DIMS(x)[axis] == 1:
        return 0
    return cnp.PyArray_STRIDES(x)[axis] // <Py_ssize_t>cnp.PyArray_ITEMSIZE(x)


cdef inline bint has_shape(cnp.ndarray x, int ndim, cnp.npy_intp* shape) noexcept:
    cdef int axis
    if cnp.PyArray_NDIM(x) != ndim:
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIMS(x)[axis] != shape[axis]:
            return False
    return True


cdef inline Py_ssize_t magnitude(Py_ssize_t n) noexcept nogil:
    return -n if n < 0 else n


cdef inline void add_axis(
    Axes* axes, Py_ssize_t length, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t s2, Py_ssize_t s3
) noexcept nogil:
    """Another axis, inside those that are there. One of length 1 is left out."""
    if length == 1:
        return
    axes.length[axes.count] = length
    axes.stride[axes.count][0], axes.stride[axes.count][1] = s0, s1
    axes.stride[axes.count][2], axes.stride[axes.count][3] = s2, s3
    axes.count += 1


cdef inline void swap_axes(Axes* axes, int i, int j) noexcept nogil:
    cdef int k
    axes.length[i], axes.length[j] = axes.length[j], axes.length[i]
    for k in range(ARRAYS):
        axes.stride[i][k], axes.stride[j][k] = axes.stride[j][k], axes.stride[i][k]


cdef inline void sort_axes(Axes* axes, int array) noexcept nogil:
    """The order of axes in which `array` lies in memory: the smallest stride innermost."""
    cdef int i, j
    for i in range(1, axes.count):
        for j in range(i, 0, -1):
            if magnitude(axes.stride[j - 1][array]) >= magnitude(axes.stride[j][array]):
                break
            swap_axes(axes, j - 1, j)


cdef inline void merge_axes(Axes* axes) noexcept nogil:
    """Joins neighbours that all arrays walk without a jump; at least one axis is left."""
    cdef int i, k, last = 0
    cdef bint joined
    for i in range(1, axes.count):
        joined = True
        for k in range(ARRAYS):
            if axes.stride[last][k] != axes.length[i] * axes.stride[i][k]:
                joined = False
        if joined:
            axes.length[last] *= axes.length[i]
        else:
            last += 1
            axes.length[last] = axes.length[i]
        for k in range(ARRAYS):
            axes.stride[last][k] = axes.stride[i][k]
    if axes.count == 0:
        axes.length[0] = 1
        for k in range(ARRAYS):
            axes.stride[0][k] = 0
    axes.count = last + 1


cdef inline void go_to(Cursor* cursor, const Axes* axes, Py_ssize_t index) noexcept nogil:
    """To the element with this number, counted with the last axis running fastest."""
    cdef int i, k
    for k in range(ARRAYS):
        cursor.offset[k] = 0
    for i in range(axes.count - 1, -1, -1):
        if i == 0:
            cursor.place[i] = index
        else:
            cursor.place[i] = index % axes.length[i]
            index //= axes.length[i]
        for k in range(ARRAYS):
            cursor.offset[k] += cursor.place[i] * axes.stride[i][k]


cdef inline void advance(Cursor* cursor, const Axes* axes, int axis) noexcept nogil:
    """One further along `axis`; at its end to its start, and one further along the axis around it."""
    cdef int i, k
    for i in range(axis, -1, -1):
        cursor.place[i] += 1
        for k in range(ARRAYS):
            cursor.offset[k] += axes.stride[i][k]
        if cursor.place[i] < axes.length[i] or i == 0:
            return
        cursor.place[i] = 0
        for k in range(ARRAYS):
            cursor.offset[k] -= axes.length[i] * axes.stride[i][k]


cdef inline void next_row(Cursor* cursor, const Axes* axes) noexcept nogil:
    """To the start of the next row, along the last axis."""
    cdef int k, last = axes.count - 1
    for k in range(ARRAYS):
        cursor.offset[k] -= cursor.place[last] * axes.stride[last][k]
    cursor.place[last] = 0
    if last > 0:
        advance(cursor, axes, last - 1)
