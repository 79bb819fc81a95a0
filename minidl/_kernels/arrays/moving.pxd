# Loops of copying.pyx that are as fast as a level's vectors are wide. Copying is compiled once: so the level that is chosen,
# which is loaded first, offers it these. Any level's give the same bits.

from libc.stdint cimport int64_t, uint8_t
from minidl._kernels.arrays.copying cimport moves
from minidl._kernels.loops.driver cimport loop_t
from minidl._kernels.math.elementary cimport real

# The C library's memcpy takes up to 1.7 times as long for pieces of 0.5 to 4 KB, if the source and the target lie at like
# places of a page: some versions then copy from the end to the start. The baseline, with vectors of 16 bytes, leaves it at
# that.
cdef extern from *:
    """
    #include <string.h>
    static void copy_vectors(char* to, const char* from, size_t n) {
    #if defined(__GNUC__) && defined(__AVX__)
      typedef char vector __attribute__((vector_size(32), aligned(1), may_alias));
      for (; n >= 128; n -= 128, to += 128, from += 128) {
        vector a = *(const vector*)from, b = *(const vector*)(from + 32);
        vector c = *(const vector*)(from + 64), d = *(const vector*)(from + 96);
        *(vector*)to = a, *(vector*)(to + 32) = b, *(vector*)(to + 64) = c, *(vector*)(to + 96) = d;
      }
    #endif
      memcpy(to, from, n);
    }
    """
    void copy_vectors(char* to, const char* source, size_t n) noexcept nogil

ctypedef fused number:
    float
    double
    int64_t
    uint8_t


cdef inline void convert(number* tag, const number** x, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    cdef const number* source = x[0]
    cdef Py_ssize_t i
    for i in range(first, last):
        y[i] = <real>source[i]


cdef inline void offer() noexcept:
    if moves.from_float != NULL:
        return
    moves.copy = copy_vectors
    moves.from_float, moves.from_double = <loop_t>convert[float, double], <loop_t>convert[double, float]
    moves.from_int[0], moves.from_int[1] = <loop_t>convert[int64_t, float], <loop_t>convert[int64_t, double]
    moves.from_byte[0], moves.from_byte[1] = <loop_t>convert[uint8_t, float], <loop_t>convert[uint8_t, double]
