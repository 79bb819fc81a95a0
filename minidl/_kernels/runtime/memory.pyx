"""Recycled memory: filling fresh pages costs 5 to 8 times a large elementwise operation.

An allocation is a header of 64 bytes and the data behind it. take() finds one in the free list of
its size class (8 classes for every doubling: at most 1/8 is wasted) or asks the system; give() puts
it back. An array's allocation belongs to a Buffer, the `base` of the array and of all its views:
NumPy keeps the Buffer alive as long as anything can see the memory, and its end gives it back.
"""

import cython
import numpy as np

from minidl._kernels.system.limits import default_kept_memory

cimport numpy as cnp
from cpython.pythread cimport PyThread_get_thread_ident as thread_id
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from minidl._kernels.system.pages cimport at_fork, lock, system_free, system_new, unlock

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    void* NDARRAY "&PyArray_Type"
    object PyArray_NewFromDescr(void* subtype, cnp.dtype dtype, int ndim, cnp.npy_intp* shape,
                                cnp.npy_intp* strides, void* data, int flags, void* base)

cdef struct Allocation:
    Allocation* next   # in a free list
    size_t bytes       # what its data can hold
    int size_class
    void* base         # what the system gave
    size_t map_bytes   # 0 if that is no mapping of its own

cdef enum:
    UNIT = 64          # the alignment, the size of the header, and the smallest size class
    SIZE_CLASSES = 320
    MAX_DIMS = 64

cdef object FLOAT32, FLOAT64  # found by identity, without making a dtype
cdef size_t MAX_BYTES = <size_t> 1 << (47 if sizeof(size_t) > 4 else 30)

# Guarded by the lock.
cdef Allocation* _free[SIZE_CLASSES]
cdef size_t _last_used[SIZE_CLASSES]  # the number of the last take() of this class
cdef size_t _takes = 0, _misses = 0, _kept = 0, _used = 0, _limit = 0


cdef inline int class_of(size_t nbytes) noexcept nogil:
    """Sizes up to 16 units have a class each; above, a class is 4 leading bits and a shift."""
    cdef size_t units = (nbytes - 1) // UNIT if nbytes else 0
    cdef int shift = 0
    while units >= 16:
        units >>= 1
        shift += 1
    return 8 * shift + <int> units


cdef inline size_t bytes_of(int size_class) noexcept nogil:
    cdef int shift = size_class // 8 - 1 if size_class >= 16 else 0
    return <size_t> (size_class - 8 * shift + 1) * UNIT << shift


cdef void* take(size_t nbytes) noexcept nogil:
    global _takes, _misses, _kept, _used
    if nbytes > MAX_BYTES:
        return NULL
    cdef int size_class = class_of(nbytes)
    cdef Allocation* allocation
    cdef void* base = NULL
    cdef size_t map_bytes = 0
    lock()
    _takes += 1
    _last_used[size_class] = _takes
    allocation = _free[size_class]
    if allocation != NULL:
        _free[size_class] = allocation.next
        _kept -= allocation.bytes
        _used += allocation.bytes
        unlock()
        return <char*> allocation + UNIT
    unlock()
    allocation = <Allocation*> system_new(bytes_of(size_class) + UNIT, &base, &map_bytes)
    if allocation == NULL:
        # What is kept in other sizes may be just what is missing.
        free_all(detach(0))
        allocation = <Allocation*> system_new(bytes_of(size_class) + UNIT, &base, &map_bytes)
        if allocation == NULL:
            return NULL
    allocation[0] = Allocation(NULL, bytes_of(size_class), size_class, base, map_bytes)
    lock()
    _misses += 1
    _used += allocation.bytes
    unlock()
    return <char*> allocation + UNIT


cdef void give(void* data) noexcept nogil:
    global _kept, _used
    if data == NULL:
        return
    cdef Allocation* allocation = <Allocation*> (<char*> data - UNIT)
    cdef bint full
    lock()
    _used -= allocation.bytes
    _kept += allocation.bytes
    allocation.next = _free[allocation.size_class]
    _free[allocation.size_class] = allocation
    full = _kept > _limit
    unlock()
    if full:
        free_all(detach(_limit))


cdef Allocation* detach(size_t target) noexcept nogil:
    """Takes allocations out of the lists until no more than target is kept, first of the class that
    has gone unused for longest: the sizes of an earlier workload leave before those of this one."""
    global _kept
    cdef Allocation* chain = NULL
    cdef Allocation* allocation
    cdef int size_class, oldest
    lock()
    while _kept > target:
        oldest = -1
        for size_class in range(SIZE_CLASSES):
            if _free[size_class] != NULL and (oldest < 0 or _last_used[size_class] < _last_used[oldest]):
                oldest = size_class
        while _free[oldest] != NULL and _kept > target:
            allocation = _free[oldest]
            _free[oldest] = allocation.next
            _kept -= allocation.bytes
            allocation.next = chain
            chain = allocation
    unlock()
    return chain


cdef void free_all(Allocation* chain) noexcept nogil:
    cdef Allocation* allocation
    while chain != NULL:
        allocation = chain
        chain = allocation.next
        system_free(allocation.base, allocation.map_bytes)


@cython.no_gc
cdef class Arena:
    def __cinit__(self):
        self.sizes, self.unused = {}, {}

    cdef void* take(self, size_t nbytes) except NULL:
        cdef list unused = self.unused.get(nbytes)
        cdef void* data
        if unused:
            return <void*> <size_t> unused.pop()
        data = take(nbytes)
        if data == NULL:
            raise MemoryError("capture: no memory for the arrays of a step")
        self.nbytes += nbytes
        self.sizes[<size_t> data] = nbytes
        return data

    cdef int give(self, void* data) except -1:
        """While the step is recorded, the next array may lie here. Later nobody asks for memory any more."""
        if self is _arena:
            self.unused.setdefault(self.sizes[<size_t> data], []).append(<size_t> data)
        return 0

    def __dealloc__(self):
        for data in self.sizes or ():
            give(<void*> <size_t> data)


cdef Arena _arena = None
cdef unsigned long _server = 0  # the thread whose arrays it takes; 0 while there is none


cdef int serve(Arena arena) except -1:
    global _arena, _server
    _server = 0
    _arena = arena
    if arena is not None:
        _server = thread_id()


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Buffer:
    def __dealloc__(self):
        if self.arena is None:
            give(self.data)
        else:
            self.arena.give(self.data)


cdef cnp.ndarray new_array(int ndim, cnp.npy_intp* shape, cnp.npy_intp* strides, int typenum):
    cdef cnp.dtype dtype = cnp.PyArray_DescrFromType(typenum)
    cdef double nbytes = dtype.itemsize  # a double does not overflow
    cdef int axis
    for axis in range(ndim):
        if shape[axis] < 0:
            raise ValueError(f"empty: negative length on axis {axis}: {shape[axis]}")
        nbytes *= shape[axis]
    cdef Buffer buffer = Buffer.__new__(Buffer)
    if _server and thread_id() == _server and nbytes <= MAX_BYTES:
        buffer.data = _arena.take(<size_t> nbytes)
        buffer.arena = _arena
    elif nbytes <= MAX_BYTES:
        buffer.data = take(<size_t> nbytes)
    if buffer.data == NULL:
        raise MemoryError(f"empty: no memory for an array of {nbytes / 2**20:,.0f} MB ({dtype})")
    Py_INCREF(dtype)  # the array takes over a reference
    cdef cnp.ndarray array = <cnp.ndarray> PyArray_NewFromDescr(
        NDARRAY, dtype, ndim, shape, strides, buffer.data, cnp.NPY_ARRAY_CARRAY, NULL
    )
    cnp.set_array_base(array, buffer)
    return array


cdef cnp.ndarray empty(int ndim, cnp.npy_intp* shape, int typenum):
    return new_array(ndim, shape, NULL, typenum)


cdef cnp.ndarray empty_like(cnp.ndarray x):
    cdef cnp.npy_intp* strides = NULL
    if not cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_SIZE(x) and is_dense(x):
        strides = cnp.PyArray_STRIDES(x)
    return new_array(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), strides, cnp.PyArray_TYPE(x))


cdef bint is_dense(cnp.ndarray x) noexcept:
    """From the smallest stride up, each must be as long as all the axes before it together."""
    cdef int axis, ndim = cnp.PyArray_NDIM(x)
    cdef cnp.npy_intp expected = cnp.PyArray_ITEMSIZE(x)
    cdef cnp.npy_intp nbytes = expected * cnp.PyArray_SIZE(x)
    if cnp.PyArray_IS_C_CONTIGUOUS(x):
        return True
    while expected < nbytes:
        for axis in range(ndim):
            if cnp.PyArray_STRIDES(x)[axis] == expected and cnp.PyArray_DIMS(x)[axis] != 1:
                expected *= cnp.PyArray_DIMS(x)[axis]
                break
        else:
            return False
    return True


cpdef bint same_dtype(cnp.ndarray x, cnp.ndarray y):
    """Whether x and y have the same dtype object, as all arrays of one native kind have."""
    return cnp.PyArray_DESCR(x) is cnp.PyArray_DESCR(y)


cpdef bint same_floats(cnp.ndarray x, cnp.ndarray y):
    """Whether both are float32, or both float64."""
    cdef int kind = cnp.PyArray_TYPE(x)
    return kind == cnp.PyArray_TYPE(y) and (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE)


cpdef bint alike(cnp.ndarray x, cnp.ndarray y):
    """Whether x and y have the same shape and dtype."""
    cdef int axis, ndim = cnp.PyArray_NDIM(x)
    if ndim != cnp.PyArray_NDIM(y) or not same_dtype(x, y):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIMS(x)[axis] != cnp.PyArray_DIMS(y)[axis]:
            return False
    return True


cpdef object owner(cnp.ndarray x):
    """The object that owns the memory: views of one array have the same."""
    cdef object found = x
    while isinstance(found, cnp.ndarray) and cnp.get_array_base(<cnp.ndarray> found) is not None:
        found = cnp.get_array_base(<cnp.ndarray> found)
    return found


cpdef bint steppable(cnp.ndarray x):
    """Whether x can be changed in place and lies in C or Fortran order."""
    return cnp.PyArray_ISBEHAVED(x) and (
        cnp.PyArray_IS_C_CONTIGUOUS(x) or cnp.PyArray_IS_F_CONTIGUOUS(x))


cdef inline uint64_t mixed(uint64_t lane, uint64_t word) noexcept nogil:
    lane ^= word  # and turned, so that two flipped sign bits do not cancel
    return (lane << 29 | lane >> 35) * <uint64_t> 0x9E3779B97F4A7C15


cpdef uint64_t fingerprint(cnp.ndarray x) except? 0:
    """A number that the bytes of x decide, in four lanes: at the speed of memory."""
    cdef cnp.ndarray dense = x if is_dense(x) else x.copy()
    cdef const char* data = cnp.PyArray_BYTES(dense)
    cdef size_t i, nbytes = cnp.PyArray_NBYTES(dense), rest = nbytes % 32
    cdef uint64_t a = 1, b = 2, c = 3, d = 4
    cdef uint64_t[4] words = [0, 0, 0, 0]
    memcpy(words, data + nbytes - rest, rest)
    a, b, c, d = mixed(a, words[0]), mixed(b, words[1]), mixed(c, words[2]), mixed(d, words[3])
    for i in range(nbytes // 32):
        memcpy(words, data + 32 * i, 32)
        a, b, c, d = mixed(a, words[0]), mixed(b, words[1]), mixed(c, words[2]), mixed(d, words[3])
    return mixed(mixed(mixed(mixed(0, a), b), c), d)


cdef int typenum_of(dtype) except -1:
    if dtype is FLOAT32:
        return cnp.NPY_FLOAT
    if dtype is FLOAT64:
        return cnp.NPY_DOUBLE
    cdef cnp.dtype exact = dtype if isinstance(dtype, cnp.dtype) else np.dtype(dtype)
    # Other kinds hold references or need their own layout; NumPy makes those.
    if exact.kind not in b"biufc" or not exact.isnative:
        raise TypeError(f"empty: expected a native bool or number dtype, got {exact}")
    return exact.type_num


def _empty(shape, dtype):
    """An uninitialised C-contiguous array in recycled memory, 64-byte aligned; as np.empty.

    Raises TypeError for a dtype that is no native number or bool, ValueError for a negative length.
    """
    cdef cnp.npy_intp lengths[MAX_DIMS]
    cdef int ndim = 0
    cdef Py_ssize_t length  # unlike npy_intp, this type refuses a float
    if not isinstance(shape, (tuple, list)):
        shape = (shape,)
    if len(shape) > MAX_DIMS:
        raise ValueError(f"empty: at most {MAX_DIMS} axes, got {len(shape)}")
    for length in shape:
        lengths[ndim] = length
        ndim += 1
    return empty(ndim, lengths, typenum_of(dtype))


def _empty_like(cnp.ndarray x not None):
    """An uninitialised array like x in recycled memory, of the same memory layout if x is dense in
    any order of the axes (channels-last); in C order if it is not."""
    typenum_of((<object> x).dtype)
    return empty_like(x)


def release_memory():
    """Gives all memory that is kept back to the system. Arrays in use are not touched.

    `memory_stats` says how much it is; `set_memory_limit` sets how much may be kept.
    """
    free_all(detach(0))


def set_memory_limit(nbytes):
    """Keeps at most so many bytes of freed memory for reuse; 0 keeps nothing.

    At first: an eighth of the memory this process may use, at most 4 GB. Raises TypeError if nbytes
    is no int, ValueError if it is negative.
    """
    global _limit
    if isinstance(nbytes, bool) or not hasattr(nbytes, "__index__") or getattr(nbytes, "shape", ()) != ():
        raise TypeError(f"set_memory_limit: expected a number of bytes, an int, got {nbytes!r}")
    nbytes = nbytes.__index__()
    if nbytes < 0:
        raise ValueError(f"set_memory_limit: expected 0 bytes or more, got {nbytes}")
    lock()
    _limit = min(nbytes, MAX_BYTES)
    unlock()
    free_all(detach(_limit))


def memory_stats():
    """dict: bytes kept for reuse and in use (kept, used); takes served from kept memory and not (hits,
    misses); the limit on kept bytes (limit).

    Of the arrays that kernels made, in all threads; those that NumPy made itself are not counted.
    """
    lock()
    kept, used, takes, misses, limit = _kept, _used, _takes, _misses, _limit
    unlock()
    return {"kept": kept, "used": used, "hits": takes - misses, "misses": misses, "limit": limit}


FLOAT32, FLOAT64 = np.float32, np.float64
# In this file the plain names are the C functions that kernels call.
globals().update(empty=_empty, empty_like=_empty_like)
at_fork()
set_memory_limit(default_kept_memory())
