# Winograd's minimal filtering: convolutions of 3 x 3 taps with stride 1 and of 4 x 4 taps with
# stride 2, with fewer products than their definition has.
#
# Two neighbouring outputs y of r taps g see r + 1 pixels d. With the matrices below
#
#     y = Aᵀ [(G g) * (Bᵀ d)]        takes r + 1 products, not 2 r
#
# (Winograd, Arithmetic Complexity of Computations, 1980; Lavin & Gray, Fast Algorithms for
# Convolutional Neural Networks, CVPR 2016). In two dimensions rows and columns are transformed:
# a tile of 2 x 2 outputs takes (r + 1)² products for each pair of channels, 16 instead of 36 for
# r = 3 and 9 instead of 16 for r = 2. At each of these (r + 1)² positions the sum over channels is a
# product of matrices. Four taps with stride 2 are two with stride 1 on every other pixel of x, twice:
# the phases of an axis. A transposed convolution has its phases in y.
#
# This file has the tiles and their transforms; the products stand in winograd_sums.pxd. All
# matrices are of 0, 1, -1 and 1/2, and no output sees a pixel that is not its own: NaN stays where
# it belongs. (An infinite pixel gives NaN instead of inf.)

from minidl._kernels.conv.image cimport Image
from minidl._kernels.math.elementary cimport real
from minidl._kernels.conv.phases cimport Window
from minidl._kernels.product.product cimport ceil_div
from minidl._kernels.product.tile cimport doubles, floats, tile_doubles, tile_floats, vec

cdef enum:
    OUT = 2             # outputs of a tile along an axis
    MOST_LINES = 4      # pixels that they see
    MOST_POSITIONS = 16


cdef struct Tiles:
    # How x and y are covered with tiles. Arrays are by axis and phase.
    const Image* x              # channels innermost
    const Image* y
    Py_ssize_t taps, lines      # r and r + 1
    Py_ssize_t stride           # phases of an axis
    Py_ssize_t step, y_step     # pixels from one of a phase's to the next
    Py_ssize_t[2][2] first, y_first  # pixel where the first tile begins, in x and in y
    Py_ssize_t[2][2][3] tap     # which of the kernel's, in the order of the pixels that they meet
    Py_ssize_t[2] counts        # of tiles, along each axis,
    Py_ssize_t count            # and in all samples


cdef inline bint winograd_fits(const Window* w, const Image* x, const Image* y) noexcept nogil:
    cdef Py_ssize_t k = w.kernel[1], s = w.stride[1]
    return (
        w.groups == 1 and w.kernel[0] == w.stride[0] == x.size[0] == y.size[0] == 1 and w.padding[0] == 0
        and w.kernel[2] == k and w.stride[2] == s and w.dilation[1] == w.dilation[2] == 1
        and (k == 3 and s == 1 or k == 4 and s == 2)
    )


cdef inline void lay_tiles(
    const Window* w, bint transposed, const Image* x, const Image* y, Tiles* t
) noexcept nogil:
    cdef Py_ssize_t phase, i, rest, pixels
    cdef int axis
    t.x, t.y, t.stride, t.taps = x, y, w.stride[1], w.kernel[1] // w.stride[1]
    t.lines, t.count = t.taps + 1, x.n
    t.step = 1 if transposed else t.stride
    t.y_step = t.stride if transposed else 1
    for axis in range(2):
        pixels = ceil_div(y.size[axis + 1], t.y_step)
        t.counts[axis] = ceil_div(pixels, OUT)
        t.count *= t.counts[axis]
        for phase in range(t.stride):
            if transposed:  # y[phase + stride j] = sum of w[t] x[j + (phase + padding - t) / stride]
                rest = (phase + w.padding[axis + 1]) % t.stride
                t.first[axis][phase] = (phase + w.padding[axis + 1]) // t.stride - (t.taps - 1)
                t.y_first[axis][phase] = phase
                for i in range(t.taps):
                    t.tap[axis][phase][i] = rest + t.stride * (t.taps - 1 - i)
            else:           # y[j] = sum of w[t] x[stride j + t - padding]
                t.first[axis][phase] = phase - w.padding[axis + 1]
                t.y_first[axis][phase] = 0
                for i in range(t.taps):
                    t.tap[axis][phase][i] = phase + t.stride * i


cdef struct Spot:
    # Of a tile: its sample, and where it begins among the pixels of a phase.
    Py_ssize_t n
    Py_ssize_t[2] at


cdef inline Spot spot(const Tiles* t, Py_ssize_t tile) noexcept nogil:
    cdef Spot found
    cdef Py_ssize_t row = tile // t.counts[1]
    found.n = row // t.counts[0]
    found.at[0] = (row - found.n * t.counts[0]) * OUT
    found.at[1] = (tile - row * t.counts[1]) * OUT
    return found


cdef inline void x_pixels(
    const Tiles* t, const Spot* tile, Py_ssize_t phase, const char* beyond, const char** d
) noexcept nogil:
    """What a tile sees of x in one phase; `beyond` stands for pixels that are not there."""
    pixels(t.x, tile, t.first[0][phase // t.stride], t.first[1][phase % t.stride], t.step, t.lines,
           <char*> beyond, <char**> d)


cdef inline void y_pixels(
    const Tiles* t, const Spot* tile, Py_ssize_t phase, char* beyond, char** y
) noexcept nogil:
    """The same for the outputs of a tile."""
    pixels(t.y, tile, t.y_first[0][phase // t.stride], t.y_first[1][phase % t.stride], t.y_step, OUT,
           beyond, y)


cdef inline void pixels(
    const Image* image, const Spot* tile, Py_ssize_t top, Py_ssize_t left, Py_ssize_t step,
    Py_ssize_t n, char* beyond, char** pixel
) noexcept nogil:
    cdef Py_ssize_t row, column, i, j
    cdef char* line
    for i in range(n):
        row = top + (tile.at[0] + i) * step
        line = image.data + tile.n * image.n_step + row * image.steps[1]
        for j in range(n):
            column = left + (tile.at[1] + j) * step
            pixel[i * n + j] = line + column * image.steps[2] if (
                0 <= row < image.size[1] and 0 <= column < image.size[2]) else beyond


# ── The transforms of a line, in place ────────────────────────────────────────────────────────────
# As types, so that each is compiled into a loop of its own. The digit is r.

ctypedef struct Data2:
    char _
ctypedef struct Data3:
    char _
ctypedef struct Taps2:
    char _
ctypedef struct Taps3:
    char _
ctypedef struct Grads3:
    char _
ctypedef struct Result2:
    char _
ctypedef struct Result3:
    char _
ctypedef struct TapGrads3:
    char _

ctypedef fused Line:
    Data2       # Bᵀ: r + 1 pixels
    Data3
    Taps2       # G: r taps to r + 1; for r = 2 also the gradients of two outputs, A
    Taps3
    Grads3      # A
    Result2     # Aᵀ: r + 1 products to two outputs; for r = 2 also to the gradients of two taps, Gᵀ
    Result3
    TapGrads3   # Gᵀ


cdef inline vec half(vec x) noexcept nogil:
    if vec is floats:
        return x * tile_floats(<float> 0.5)
    else:
        return x * tile_doubles(0.5)


cdef inline void line(Line* kind, vec* x, Py_ssize_t step) noexcept nogil:
    cdef vec a = x[0], b = x[step], c, d
    if Line is Data2:
        x[0], x[2 * step] = a - b, x[2 * step] - b
    elif Line is Taps2:
        x[step], x[2 * step] = a + b, b
    elif Line is Result2:
        x[0], x[step] = a + b, b + x[2 * step]
    elif Line is Data3:
        c, d = x[2 * step], x[3 * step]
        x[0], x[step], x[2 * step], x[3 * step] = a - c, b + c, c - b, b - d
    elif Line is Taps3:
        c = x[2 * step]
        x[step], x[2 * step], x[3 * step] = half(a + c + b), half(a + c - b), c
    elif Line is Grads3:
        x[step], x[2 * step], x[3 * step] = a + b, a - b, zeros_minus(b)
    elif Line is Result3:
        c, d = x[2 * step], x[3 * step]
        x[0], x[step] = a + (b + c), (b - c) - d
    else:
        c, d = half(b + x[2 * step]), half(b - x[2 * step])
        x[0], x[step], x[2 * step] = a + c, d, c + x[3 * step]


cdef inline vec zeros_minus(vec x) noexcept nogil:
    if vec is floats:
        return tile_floats(0) - x
    else:
        return tile_doubles(0) - x


cdef inline void spread(
    Line* kind, vec* number, const char** x, Py_ssize_t at, char* y, Py_ssize_t apart
) noexcept nogil:
    """From squares of pixels or taps to the positions, which lie `apart` bytes from each other."""
    cdef vec[MOST_POSITIONS] a
    cdef int n = 3 if Line is Data2 or Line is Taps2 else 4, i, j
    cdef int m = 2 if Line is Taps2 or Line is Grads3 else 4 if Line is Data3 else 3
    for i in range(m):
        for j in range(m):
            a[i * n + j] = (<const vec*> (x[i * m + j] + at))[0]
    for j in range(m):
        line(kind, &a[j], n)
    for i in range(n):
        line(kind, &a[i * n], 1)
    for i in range(n * n):
        (<vec*> (y + i * apart))[0] = a[i]


cdef inline void gather(
    Line* kind, vec* number, const char* x, Py_ssize_t apart, const char* bias, char** y,
    Py_ssize_t at
) noexcept nogil:
    """From the positions to squares of outputs or taps. bias: added to each, or NULL."""
    cdef vec[MOST_POSITIONS] a
    cdef int n = 3 if Line is Result2 else 4, m = 3 if Line is TapGrads3 else 2, i, j
    for i in range(n * n):
        a[i] = (<const vec*> (x + i * apart))[0]
    for j in range(n):
        line(kind, &a[j], n)
    for i in range(m):
        line(kind, &a[i * n], 1)
    for i in range(m):
        for j in range(m):
            if bias != NULL:
                a[i * n + j] = a[i * n + j] + (<const vec*> (bias + at))[0]
            (<vec*> (y[i * m + j] + at))[0] = a[i * n + j]


# ── From a dtype and a number of taps to the transforms made for them ─────────────────────────────

ctypedef fused Line2:
    Data2
    Taps2
    Result2

ctypedef fused Line3:
    Data3
    Taps3
    Grads3
    Result3
    TapGrads3


cdef inline void any_spread(
    Line2* two, Line3* three, real* kind, Py_ssize_t taps, const char** x, Py_ssize_t at, char* y,
    Py_ssize_t apart
) noexcept nogil:
    if real is float:
        if taps == 2:
            spread(two, <floats*> NULL, x, at, y, apart)
        else:
            spread(three, <floats*> NULL, x, at, y, apart)
    else:
        if taps == 2:
            spread(two, <doubles*> NULL, x, at, y, apart)
        else:
            spread(three, <doubles*> NULL, x, at, y, apart)


cdef inline void any_gather(
    Line2* two, Line3* three, real* kind, Py_ssize_t taps, const char* x, Py_ssize_t apart,
    const char* bias, char** y, Py_ssize_t at
) noexcept nogil:
    if real is float:
        if taps == 2:
            gather(two, <floats*> NULL, x, apart, bias, y, at)
        else:
            gather(three, <floats*> NULL, x, apart, bias, y, at)
    else:
        if taps == 2:
            gather(two, <doubles*> NULL, x, apart, bias, y, at)
        else:
            gather(three, <doubles*> NULL, x, apart, bias, y, at)
