# Transposing matrices that are too narrow for squares of vectors (tile.pxd): squares of 16 bytes fit rows of 4 floats or
# 2 doubles, such as the scores of a few classes or the channels of a small image.

from minidl._kernels.math.elementary cimport real

cdef extern from *:
    """
    #if (defined(__GNUC__) && __GNUC__ >= 12) || defined(__clang__)
      #define SQUARE 16 /* bytes of its side */
      typedef float square_floats __attribute__((vector_size(16), aligned(4), may_alias));
      typedef double square_doubles __attribute__((vector_size(16), aligned(8), may_alias));
      /* The lanes of a and b by turns: of their lower halves, and of their upper halves. */
      #define square_low(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
      #define square_high(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
      static inline void turn_floats(const float* x, Py_ssize_t x_row, float* y, Py_ssize_t y_row) {
        square_floats x0 = *(const square_floats*)x, x1 = *(const square_floats*)(x + x_row);
        square_floats x2 = *(const square_floats*)(x + 2 * x_row), x3 = *(const square_floats*)(x + 3 * x_row);
        square_floats a = square_low(x0, x2), b = square_low(x1, x3), c = square_high(x0, x2), d = square_high(x1, x3);
        *(square_floats*)y = square_low(a, b);
        *(square_floats*)(y + y_row) = square_high(a, b);
        *(square_floats*)(y + 2 * y_row) = square_low(c, d);
        *(square_floats*)(y + 3 * y_row) = square_high(c, d);
      }
      static inline void turn_doubles(const double* x, Py_ssize_t x_row, double* y, Py_ssize_t y_row) {
        square_doubles x0 = *(const square_doubles*)x, x1 = *(const square_doubles*)(x + x_row);
        *(square_doubles*)y = __builtin_shufflevector(x0, x1, 0, 2);
        *(square_doubles*)(y + y_row) = __builtin_shufflevector(x0, x1, 1, 3);
      }
    #else
      #define SQUARE (1 << 20) /* no row is as long: they are turned one number after the other */
      #define turn_floats(x, x_row, y, y_row) ((void)0)
      #define turn_doubles(x, x_row, y, y_row) ((void)0)
    #endif
    """
    enum: SQUARE
    void turn_floats(const float* x, Py_ssize_t x_row, float* y, Py_ssize_t y_row) noexcept nogil
    void turn_doubles(const double* x, Py_ssize_t x_row, double* y, Py_ssize_t y_row) noexcept nogil


cdef inline void turn(
    const real* x, Py_ssize_t x_row, real* y, Py_ssize_t y_row, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """y[j][i] = x[i][j], square by square; the last ones overlap those before. x_row and y_row are in numbers."""
    cdef Py_ssize_t side = SQUARE // <Py_ssize_t>sizeof(real), i = 0, j
    if rows < side or columns < side:
        for i in range(rows):
            for j in range(columns):
                y[j * y_row + i] = x[i * x_row + j]
        return
    while True:
        j = 0
        while True:
            if real is float:
                turn_floats(x + i * x_row + j, x_row, y + j * y_row + i, y_row)
            else:
                turn_doubles(x + i * x_row + j, x_row, y + j * y_row + i, y_row)
            if j + side == columns:
                break
            j = min(j + side, columns - side)
        if i + side == rows:
            return
        i = min(i + side, rows - side)
