# The one loop driver: it cuts the work of a kernel into tasks, hands them to the threads, and writes large results past
# the caches. Elementwise loops, losses and loops over rows all run through `run`.
#
# A kernel supplies a loop: a C function that computes rows `first` to `last - 1` (a row may be a single element), with all
# it needs in a struct of its own. The result's first element is an argument, because its type says which dtype a loop is
# compiled for.
#
# How a loop is specialised. `real` is a fused type of float and double, and Cython compiles a function that has it among
# its arguments once for each. A formula is chosen in the same way: each one has a tag, an opaque type of which there are
# no values. A function that takes a `Rule* tag`, where `Rule` is the fused type of the tags, is compiled once per tag;
# `if Rule is Relu` is decided then, the formula is inlined, and the C compiler vectorises the loop around it. The pointer
# only carries the type: it is NULL.

cimport numpy as cnp
from minidl._kernels.runtime cimport pool

ctypedef void (*loop_t)(void* work, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil

# The policy. It depends on the size of the array alone, so that the bits do not depend on the number of threads.
cdef enum:
    ALONE = 131072       # additions that one thread is done with before another would be awake
    TASK = 16384         # elements of a task, at most
    LARGE = 1 << 20      # elements of an array that no cache holds: memory is read faster in
    LONG_TASK = 65536     # longer tasks
    STREAM_BYTES = 1 << 25  # read and written, above which a loop streams: a large third-level cache
    STREAM_BLOCK = 4096     # bytes that are sent off at once
    STREAM_DOUBLES = 512    # in them


cdef struct Job:
    loop_t loop
    void* work
    void* y
    Py_ssize_t rows, per_task


cdef inline void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Py_ssize_t first = index * job.per_task
    job.loop(job.work, first, min(first + job.per_task, job.rows), job.y)


cdef inline int run(
    loop_t loop, void* work, void* y, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t cost, bint whole
) except -1:
    """The loop over all rows of `width` elements, each of which costs as much time as `cost` additions.

    `whole`: it overwrites an array of the user's, so it is never stopped (see pool.pxd).
    """
    cdef Py_ssize_t size = rows * width
    cdef Job job
    if size <= ALONE // cost:
        if rows:
            loop(work, 0, rows, y)
        return 0
    job.loop, job.work, job.y, job.rows = loop, work, y, rows
    job.per_task = max((LONG_TASK if size >= LARGE else min(ALONE // cost, <Py_ssize_t>TASK)) // width, <Py_ssize_t>1)
    with nogil:
        pool.parallel(run_task, &job, (rows + job.per_task - 1) // job.per_task, whole)
    return 0


cdef inline loop_t of_dtype(cnp.ndarray x, loop_t single, loop_t wide) noexcept:
    """The loop for x's dtype, float32 or float64."""
    return wide if cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE else single


# ── Streaming ────────────────────────────────────────────────────────────────────────────────────────────────────────
# Where a loop goes through more memory than a cache holds, its result is written past the caches. An ordinary store reads
# the line that it will overwrite first, and drives a line of the operands out; a streaming store does neither: relu's
# gradient on arrays of 16 MB or more takes 0.75x the time. For smaller ones it is slower, because the result is not in
# a cache afterwards; so it is for loops that compute more than they move, like softmax's.
#
# Hardware wants whole lines, one after the other. So the loops remain as they are, and write a block that stays in the
# first-level cache, which is then sent off.

cdef extern from *:
    """
    #include <string.h>
    #if defined(__x86_64__) || defined(_M_X64)
      #include <immintrin.h>
      #define CAN_STREAM 1
      static inline void stream_line(char* to, const char* from) {
      #ifdef __AVX512F__
        _mm512_stream_si512((__m512i*)to, _mm512_loadu_si512(from));
      #else
        for (int i = 0; i < 64; i += 16)
          _mm_stream_si128((__m128i*)(to + i), _mm_loadu_si128((const __m128i*)(from + i)));
      #endif
      }
      static inline void stream(void* target, const void* source, size_t bytes) {
        char* to = target;
        const char* from = source;
        size_t head = -(size_t)to % 64; /* up to the next line */
        if (head > bytes) head = bytes;
        memcpy(to, from, head);
        for (to += head, from += head, bytes -= head; bytes >= 64; to += 64, from += 64, bytes -= 64)
          stream_line(to, from);
        memcpy(to, from, bytes);
      }
      /* Nothing else keeps these stores in order: they must have arrived before another thread is told. */
      #define stream_arrived() _mm_sfence()
    #else
      #define CAN_STREAM 0
      #define stream(to, from, bytes) memcpy(to, from, bytes)
      #define stream_arrived() ((void)0)
    #endif
    """
    bint CAN_STREAM
    void stream(void* target, const void* source, size_t size) noexcept nogil
    void stream_arrived() noexcept nogil


cdef inline bint is_streamed(Py_ssize_t size) noexcept nogil:
    """Whether a loop does so that reads and writes so many bytes in all."""
    return CAN_STREAM and size > STREAM_BYTES


cdef struct Streamed:
    loop_t loop
    void* work
    Py_ssize_t itemsize


cdef inline void run_streamed(void* work, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil:
    """The loop, block by block."""
    cdef Streamed* s = <Streamed*>work
    cdef double[STREAM_DOUBLES] block
    cdef Py_ssize_t n, at
    while first < last:
        n, at = min(last - first, STREAM_BLOCK // s.itemsize), first * s.itemsize
        s.loop(s.work, first, first + n, <void*>(<size_t>block - <size_t>at))  # element `first` is the block's first
        stream(<char*>y + at, block, n * s.itemsize)
        first += n
    stream_arrived()


cdef inline int run_elements(
    loop_t loop, void* work, cnp.ndarray y, int arrays, Py_ssize_t cost, bint whole
) except -1:
    """A loop over the elements of so many dense arrays, the last of which is y: streamed if they are large and y is new
    (in place, its lines are in the cache already).
    """
    cdef Py_ssize_t size = cnp.PyArray_SIZE(y)
    cdef Streamed s
    if not whole and is_streamed(arrays * cnp.PyArray_NBYTES(y)):
        s.loop, s.work, s.itemsize = loop, work, cnp.PyArray_ITEMSIZE(y)
        return run(run_streamed, &s, cnp.PyArray_DATA(y), size, 1, cost, whole)
    return run(loop, work, cnp.PyArray_DATA(y), size, 1, cost, whole)
