# Sizes computed from settings and from the lengths of views, which may name far more elements than memory holds: where 64
# bits are too few the result is the largest number there is, for which no memory is found. Operands are not negative.

cdef extern from *:
    """
    #include <stddef.h>
    static inline Py_ssize_t sizes_plus(Py_ssize_t a, Py_ssize_t b) {
      return a > PY_SSIZE_T_MAX - b ? PY_SSIZE_T_MAX : a + b;
    }
    static inline Py_ssize_t sizes_times(Py_ssize_t a, Py_ssize_t b) {
    #if defined(__GNUC__) || defined(__clang__)
      Py_ssize_t product;
      return __builtin_mul_overflow(a, b, &product) ? PY_SSIZE_T_MAX : product;
    #else
      return b != 0 && a > PY_SSIZE_T_MAX / b ? PY_SSIZE_T_MAX : a * b;
    #endif
    }
    """
    Py_ssize_t plus "sizes_plus"(Py_ssize_t a, Py_ssize_t b) noexcept nogil
    Py_ssize_t times "sizes_times"(Py_ssize_t a, Py_ssize_t b) noexcept nogil
