"""Buffers of a captured step: arguments are copied into them, or stand in for them; results are copied out."""

cimport numpy as cnp
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from minidl._kernels.arrays.layout cimport is_double, is_plain, same_shape, same_strides
from minidl._kernels.runtime.memory cimport empty_like, is_dense, owner

cnp.import_array()

cdef enum:
    LANES = 8  # words that are looked at together


cpdef bint fits(cnp.ndarray buffer, object x):
    return isinstance(x, cnp.ndarray) and (
        cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.PyArray_TYPE(buffer) and same_shape(<cnp.ndarray>x, buffer)
        and same_strides(<cnp.ndarray>x, buffer) and cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray>x)
    )


cpdef int put(cnp.ndarray y, cnp.ndarray x) except -1:
    if fits(y, x) and is_dense(y) and cnp.PyArray_ISWRITEABLE(y) and not cnp.PyArray_ISOBJECT(y):
        memmove(cnp.PyArray_DATA(y), cnp.PyArray_DATA(x), cnp.PyArray_NBYTES(y))
        return 0
    return cnp.PyArray_CopyInto(y, x)  # (of a y that is read-only NumPy says what is wrong)


cpdef cnp.ndarray taken_out(cnp.ndarray x):
    cdef cnp.ndarray y = empty_like(x)
    put(y, x)
    return y


ctypedef fused integer:
    cnp.int32_t
    cnp.int64_t


cdef bint all_within(const integer* ids, Py_ssize_t count, Py_ssize_t n) noexcept nogil:
    """Of an id outside, itself or what is left to the last is negative: its first bit is set."""
    cdef cnp.uint64_t bits = 0, last = <cnp.uint64_t>(n - 1)
    cdef Py_ssize_t i
    if n <= 0:
        return count == 0
    for i in range(count):  # (to the end: so the loop vectorises)
        bits |= <cnp.uint64_t>ids[i] | (last - <cnp.uint64_t>ids[i])
    return not bits >> 63


cpdef bint within(cnp.ndarray ids, Py_ssize_t n) except -1:
    cdef Py_ssize_t count = cnp.PyArray_SIZE(ids)
    if cnp.PyArray_ISCARRAY_RO(ids):
        if cnp.PyArray_TYPE(ids) == cnp.NPY_INT64:
            return all_within(<const cnp.int64_t*>cnp.PyArray_DATA(ids), count, n)
        if cnp.PyArray_TYPE(ids) == cnp.NPY_INT32:
            return all_within(<const cnp.int32_t*>cnp.PyArray_DATA(ids), count, n)
    return count == 0 or (ids.min() >= 0 and ids.max() < n)


ctypedef fused word:
    cnp.uint32_t
    cnp.uint64_t


cdef bint all_signs(const word* x, Py_ssize_t count, word one) noexcept nogil:
    """Of floats, by their bits: all but the first are those of 1. LANES at a time: twice as fast."""
    cdef word[LANES] others
    cdef word first = <word>1 << (8 * sizeof(word) - 1)
    cdef Py_ssize_t i
    for i in range(LANES):
        others[i] = 0
    while count >= LANES:
        for i in range(LANES):
            others[i] |= (x[i] | first) ^ one
        x, count = x + LANES, count - LANES
    for i in range(count):
        others[0] |= (x[i] | first) ^ one
    for i in range(1, LANES):
        others[0] |= others[i]
    return others[0] == 0


def are_signs(cnp.ndarray x not None):
    """Whether all elements are -1 or 1."""
    cdef const void* data = cnp.PyArray_DATA(x)
    if not is_plain(x):
        return bool((abs(x) == 1).all())
    if is_double(x):
        return all_signs(<const cnp.uint64_t*>data, cnp.PyArray_SIZE(x), <cnp.uint64_t>0xBFF0000000000000)
    return all_signs(<const cnp.uint32_t*>data, cnp.PyArray_SIZE(x), <cnp.uint32_t>0xBF800000)


cdef dict arguments = {}


cdef int points(const char** place, cnp.ndarray x) except -1:
    cdef Argument argument = arguments.get(id(owner(x)))
    if argument is not None:
        argument.add(<char**>place)
    return 0


cdef class Argument:
    """An argument of a captured step: its buffer, and the pointers into the buffer that prepared calls hold.

    If all calls that read the argument do so through such pointers, a replay copies nothing: while it runs, they point
    into the array that is given.
    """

    def __cinit__(self, cnp.ndarray buffer):
        self.buffer = buffer

    def __dealloc__(self):
        free(self.pointers)

    cdef int add(self, char** place) except -1:
        cdef Pointer* more = <Pointer*>realloc(self.pointers, (self.count + 1) * sizeof(Pointer))
        if more == NULL:
            raise MemoryError("capture: no memory for the calls of a step")
        self.pointers = more
        self.pointers[self.count] = Pointer(place, place[0] - cnp.PyArray_BYTES(self.buffer))
        self.count += 1
        return 0

    cdef void point_at(self, char* data) noexcept:
        cdef Py_ssize_t i
        for i in range(self.count):
            self.pointers[i].place[0] = data + self.pointers[i].offset

    cpdef int arrive(self, cnp.ndarray x) except -1:
        """The calls will read x, an array like the buffer."""
        if 0 < self.count == self.readers:
            self.point_at(cnp.PyArray_BYTES(x))
            return 0
        return put(self.buffer, x)

    cpdef leave(self):
        """x may go: the calls point to the buffer again."""
        self.point_at(cnp.PyArray_BYTES(self.buffer))
