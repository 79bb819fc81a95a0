# Arrays without axes.

cimport numpy as cnp
from minidl._kernels.runtime cimport memory


cdef inline cnp.ndarray scalar(double value, cnp.ndarray like):
    """The number as an array of like's dtype, float32 or float64."""
    cdef cnp.ndarray y = memory.empty(0, NULL, cnp.PyArray_TYPE(like))
    if cnp.PyArray_TYPE(like) == cnp.NPY_DOUBLE:
        (<double*>cnp.PyArray_DATA(y))[0] = value
    else:
        (<float*>cnp.PyArray_DATA(y))[0] = <float>value
    return y
