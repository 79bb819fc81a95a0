# Arrays without axes.

cimport numpy as cnp
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.runtime cimport memory, prepared


cdef struct Number:
    double value
    void* y
    bint wide


cdef inline int write(void* number) except -1:
    cdef Number* n = <Number*>number
    store(n.y, n.wide, n.value)
    return 0


cdef inline void store(void* y, bint wide, double value) noexcept:
    """The number as float64, or as float32."""
    if wide:
        (<double*>y)[0] = value
    else:
        (<float*>y)[0] = <float>value


cdef inline cnp.ndarray scalar(double value, cnp.ndarray like):
    """The number as an array of like's dtype, float32 or float64."""
    cdef cnp.ndarray y = memory.empty(0, NULL, cnp.PyArray_TYPE(like))
    cdef Number number = Number(value, cnp.PyArray_DATA(y), is_double(like))
    prepared.do(write, &number, sizeof(number), y)
    return y
