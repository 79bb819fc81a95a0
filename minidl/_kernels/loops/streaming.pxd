# Where a loop goes through more memory than a cache holds, its result is written past the caches. An ordinary store reads
# the line that it will overwrite first, and drives a line of the operands out; a streaming store does neither: relu's
# gradient on arrays of 16 MB or more takes 0.75x the time. For smaller ones it is slower, because the result is not in
# a cache afterwards; so it is for loops that compute more than they move, like softmax's.
#
# Hardware wants whole lines, one after the other. So the loops stay as they are, and write a block that stays in the
# first-level cache, which is then sent off.

cdef enum:
    STREAM_BYTES = 1 << 25  # read and written, above which a loop streams: a large third-level cache
    STREAM_BLOCK = 4096     # bytes that are sent off at once
    STREAM_DOUBLES = 512    # in them

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
