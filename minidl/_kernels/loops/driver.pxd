# The one loop driver: it cuts the work of a kernel into tasks, hands them to the threads, and writes large results past
# the caches. Elementwise loops, losses and loops over rows all run through `run`.
#
# A kernel supplies a loop, a `loop_t`: a C function that computes rows `first` to `last - 1` (a row may be a single
# element) of the result y, with all else it needs in a struct of its own, `work`. A loop declares the types that it
# really has, `Work* w` and `real* y`, and the entry point casts it to `loop_t`.
#
# How a loop is specialised. `real` is a fused type of float and double, and Cython compiles a function that has it among
# its arguments once for each. A formula is chosen in the same way: each one has a tag, an opaque type of which there are
# no values. A function that takes a `Rule* tag`, where `Rule` is the fused type of the tags, is compiled once per tag;
# `if Rule is Relu` is decided then, the formula is inlined, and the C compiler vectorises the loop around it. The pointer
# only carries the type: it is NULL. Loops that have one formula leave it alone.

cimport numpy as cnp
from libc.string cimport memcpy
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.runtime cimport pool
from minidl._kernels.runtime.prepared cimport capturing, leave

ctypedef void (*loop_t)(void* tag, void* work, Py_ssize_t first, Py_ssize_t last, void* y) noexcept nogil

# The policy. It depends on the size of the array alone, so that the bits do not depend on the number of threads.
cdef enum:
    ALONE = 16384        # additions that one thread is done with before another has taken its part
    SHORT_TASK = 8192    # additions of a task, at least, where there would be fewer tasks than
    FEW_TASKS = 4        # these, of which no thread is without one for long (or 2: of 3 one thread has two)
    TASK = 16384         # elements of a task, at most,
    TASK_ADDITIONS = 131072  # and additions
    ADDITIONS = 8        # that one thread does in a nanosecond, about
    APART = 64           # single elements of which a task has a multiple: no two write to one cache line
    LARGE = 1 << 20      # elements of an array that no cache holds: memory is read faster in
    LONG_TASK = 65536     # longer tasks
    STREAM_BYTES = 1 << 25  # read and written, above which a loop streams: a large third-level cache
    STREAM_BLOCK = 4096     # bytes that are sent off at once
    STREAM_DOUBLES = 512    # in them


cdef struct Job:
    loop_t loop
    void* work
    char* y
    Py_ssize_t rows, per_task, tasks
    Py_ssize_t ns        # that one thread takes for all of it, about
    bint whole
    Py_ssize_t itemsize  # of y, if it is streamed; else 0


cdef inline void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Py_ssize_t first = index * job.per_task, last = min(first + job.per_task, job.rows)
    if job.itemsize:
        stream_rows(job, first, last)
    else:
        job.loop(NULL, job.work, first, last, job.y)


cdef inline int run(
    loop_t loop, void* work, size_t nbytes, cnp.ndarray y, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t cost,
    bint whole, int dense=0,
) except -1:
    """The loop over all rows of `width` elements, each of which costs as much time as `cost` additions.

    work: what the loop needs, a struct of so many bytes.
    y: the result; None if the loop finds it in its struct.
    whole: it overwrites an array of the user's, so it is never stopped (see pool.pxd).
    dense: a row is an element, and the loop goes through so many dense arrays, y among them: streamed if they are large
        and y is new (in place, its lines are in the cache already). 0: never streamed.
    """
    cdef Py_ssize_t size = rows * width
    cdef char* to = NULL if y is None else cnp.PyArray_BYTES(y)
    cdef bint alone = size * cost <= ALONE
    cdef Py_ssize_t most
    cdef Job job
    if alone and not capturing():
        if rows:
            loop(NULL, work, 0, rows, to)
        return 0
    job.loop, job.work, job.y, job.rows = loop, work, to, rows
    job.per_task, job.tasks, job.itemsize, job.whole = rows, 1, 0, whole
    if not alone:
        most = LONG_TASK if size >= LARGE else min(TASK_ADDITIONS // cost, <Py_ssize_t>TASK)
        job.tasks = max((size + most - 1) // most, FEW_TASKS if size * cost >= FEW_TASKS * SHORT_TASK else 2)
        job.per_task = max((rows + job.tasks - 1) // job.tasks, <Py_ssize_t>1)
        if width == 1:
            job.per_task = (job.per_task + APART - 1) // APART * APART
        job.tasks = (rows + job.per_task - 1) // job.per_task
        job.ns = size * cost // ADDITIONS
        if dense and not whole and is_streamed(dense * cnp.PyArray_NBYTES(y)):
            job.itemsize = cnp.PyArray_ITEMSIZE(y)
    if capturing():
        leave_job(&job, nbytes, y)
    return run_job(&job)


cdef inline int run_job(void* work) except -1:
    cdef Job* job = <Job*>work
    if job.tasks == 1:
        if job.rows:
            run_task(job, 0)
        return 0
    cdef bint done
    with nogil:
        done = pool.share(run_task, job, job.tasks, job.whole, job.ns)
    return 0 if done else -1


cdef inline int leave_job(Job* job, size_t nbytes, cnp.ndarray y) except -1:
    """Leaves the job, and behind it the struct of the loop."""
    cdef Job* left = <Job*>leave(run_job, job, sizeof(Job), y, nbytes)
    left.work = memcpy(left + 1, job.work, nbytes)
    return 0


cdef inline loop_t of_dtype(cnp.ndarray x, loop_t single, loop_t wide) noexcept:
    """The loop for x's dtype, float32 or float64."""
    return wide if is_double(x) else single


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


cdef inline void stream_rows(Job* job, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The loop, block by block."""
    cdef double[STREAM_DOUBLES] block
    cdef Py_ssize_t n, at
    while first < last:
        n, at = min(last - first, STREAM_BLOCK // job.itemsize), first * job.itemsize
        job.loop(NULL, job.work, first, first + n, <void*>(<size_t>block - <size_t>at))  # row `first` is the block's first
        stream(job.y + at, block, n * job.itemsize)
        first += n
    stream_arrived()
