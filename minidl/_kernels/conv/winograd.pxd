# Winograd's minimal filtering: convolutions of 3 x 3 taps with stride 1 and of 4 x 4 taps with
# stride 2, with fewer products than their definition has. docs/winograd.md explains it with a picture,
# reference/conv.py has the same in NumPy, and the tests compare them.
#
# Two neighbouring outputs y of r taps g see r + 1 pixels d. With the matrices of Line, below,
#
#     y = Aᵀ [(G g) * (Bᵀ d)]        takes r + 1 products, not 2 r
#
# (Winograd, Arithmetic Complexity of Computations, 1980; Lavin & Gray, Fast Algorithms for
# Convolutional Neural Networks, CVPR 2016). In two dimensions rows and columns are transformed:
# a patch of 2 x 2 outputs takes (r + 1)² products for each pair of channels, 16 instead of 36 for
# r = 3 and 9 instead of 16 for r = 2. At each of these (r + 1)² positions the sum over channels is a
# product of matrices. Four taps with stride 2 are two with stride 1 on every other pixel of x, twice:
# the phases of an axis. A transposed convolution has its phases in y.
#
# This file has the patches and their transforms; the products are in winograd_sums.pxd. All
# matrices are of 0, 1, -1 and 1/2, and no output sees a pixel that is not its own: NaN stays where
# it belongs. (An infinite pixel gives NaN instead of inf.)

from minidl._kernels.conv.image cimport Image
from minidl._kernels.math.elementary cimport real
from minidl._kernels.conv.phases cimport Window
from minidl._kernels.product.product cimport ceil_div
from minidl._kernels.product.tile cimport (
    Three, Two, doubles, floats, tile_doubles, tile_floats, vec, zeros,
)

cdef enum:
    OUT = 2             # outputs of a patch along an axis
    MOST_LINES = 4      # pixels that they see
    MOST_POSITIONS = 16


cdef struct Side:
    # How one of the two images is covered with patches. `first` is by axis and phase.
    const Image* image          # channels innermost
    Py_ssize_t step             # pixels from one of a phase's to the next
    Py_ssize_t lines            # pixels of a patch along an axis
    Py_ssize_t[2][2] first      # the pixel where the first patch begins


cdef struct Patches:
    Side x, y
    Py_ssize_t taps, stride     # r; phases of an axis
    Py_ssize_t[2][2][3] tap     # which of the kernel's, in the order of the pixels that they meet
    Py_ssize_t[2] counts        # of patches, along each axis,
    Py_ssize_t count            # and in all samples


cdef inline bint winograd_fits(const Window* w, const Image* x, const Image* y) noexcept nogil:
    cdef Py_ssize_t k = w.kernel[1], s = w.stride[1]
    return (
        w.groups == 1 and w.kernel[0] == w.stride[0] == x.size[0] == y.size[0] == 1 and w.padding[0] == 0
        and w.kernel[2] == k and w.stride[2] == s and w.dilation[1] == w.dilation[2] == 1
        and (k == 3 and s == 1 or k == 4 and s == 2)
    )


cdef inline void lay_patches(
    const Window* w, bint transposed, const Image* x, const Image* y, Patches* t
) noexcept nogil:
    cdef Py_ssize_t phase, i, rest, pixels
    cdef int axis
    t.stride, t.taps, t.count = w.stride[1], w.kernel[1] // w.stride[1], x.n
    t.x.image, t.x.lines, t.x.step = x, t.taps + 1, 1 if transposed else t.stride
    t.y.image, t.y.lines, t.y.step = y, OUT, t.stride if transposed else 1
    for axis in range(2):
        pixels = ceil_div(y.size[axis + 1], t.y.step)
        t.counts[axis] = ceil_div(pixels, OUT)
        t.count *= t.counts[axis]
        for phase in range(t.stride):
            if transposed:  # y[phase + stride j] = sum of w[t] x[j + (phase + padding - t) / stride]
                rest = (phase + w.padding[axis + 1]) % t.stride
                t.x.first[axis][phase] = (phase + w.padding[axis + 1]) // t.stride - (t.taps - 1)
                t.y.first[axis][phase] = phase
                for i in range(t.taps):
                    t.tap[axis][phase][i] = rest + t.stride * (t.taps - 1 - i)
            else:           # y[j] = sum of w[t] x[stride j + t - padding]
                t.x.first[axis][phase] = phase - w.padding[axis + 1]
                t.y.first[axis][phase] = 0
                for i in range(t.taps):
                    t.tap[axis][phase][i] = phase + t.stride * i


cdef struct Spot:
    # Of a patch: its sample, and where it begins among the pixels of a phase.
    Py_ssize_t n
    Py_ssize_t[2] at


cdef inline Spot spot(const Patches* t, Py_ssize_t patch) noexcept nogil:
    cdef Spot found
    cdef Py_ssize_t row = patch // t.counts[1]
    found.n = row // t.counts[0]
    found.at[0] = (row - found.n * t.counts[0]) * OUT
    found.at[1] = (patch - row * t.counts[1]) * OUT
    return found


cdef inline void pixels(
    const Patches* t, const Side* side, const Spot* patch, Py_ssize_t phase, char* beyond, char** pixel
) noexcept nogil:
    """What a patch has of one image in one phase; `beyond` for pixels that are not there."""
    cdef const Image* image = side.image
    cdef Py_ssize_t top = side.first[0][phase // t.stride], left = side.first[1][phase % t.stride]
    cdef Py_ssize_t row, column, i, j
    cdef char* line
    for i in range(side.lines):
        row = top + (patch.at[0] + i) * side.step
        line = image.data + patch.n * image.n_step + row * image.steps[1]
        for j in range(side.lines):
            column = left + (patch.at[1] + j) * side.step
            pixel[i * side.lines + j] = line + column * image.steps[2] if (
                0 <= row < image.size[1] and 0 <= column < image.size[2]) else beyond


# ── The transforms of a line, in place ────────────────────────────────────────────────────────────
# As types, so that each is compiled into a loop of its own. Two and Three are r.

ctypedef struct Data:
    char _
ctypedef struct Taps:
    char _
ctypedef struct Grads:
    char _
ctypedef struct Result:
    char _
ctypedef struct TapGrads:
    char _

ctypedef fused Line:
    Data        # Bᵀ: r + 1 pixels
    Taps        # G: r taps to r + 1
    Grads       # A: the gradients of two outputs to r + 1
    Result      # Aᵀ: r + 1 products to two outputs
    TapGrads    # Gᵀ: r + 1 products to the gradients of r taps

ctypedef fused Size:
    Two
    Three


cdef inline vec half(vec x) noexcept nogil:
    if vec is floats:
        return x * tile_floats(<float> 0.5)
    else:
        return x * tile_doubles(0.5)


cdef inline void line(Line* kind, Size* r, vec* x, Py_ssize_t step) noexcept nogil:
    cdef vec a = x[0], b = x[step], c = x[2 * step], d
    if Size is Two:
        if Line is Data:
            x[0], x[2 * step] = a - b, c - b
        elif Line is Taps or Line is Grads:
            x[step], x[2 * step] = a + b, b
        else:
            x[0], x[step] = a + b, b + c
    elif Line is Data:
        x[0], x[step], x[2 * step], x[3 * step] = a - c, b + c, c - b, b - x[3 * step]
    elif Line is Taps:
        x[step], x[2 * step], x[3 * step] = half(a + c + b), half(a + c - b), c
    elif Line is Grads:
        x[step], x[2 * step], x[3 * step] = a + b, a - b, zeros(x) - b
    elif Line is Result:
        x[0], x[step] = a + (b + c), (b - c) - x[3 * step]
    else:
        d = half(b + c)
        x[0], x[step], x[2 * step] = a + d, half(b - c), d + x[3 * step]


cdef inline void spread(
    Line* kind, Size* r, vec* number, const char** x, Py_ssize_t at, char* y, Py_ssize_t apart
) noexcept nogil:
    """From squares of pixels or taps to the positions, which lie `apart` bytes from each other."""
    cdef vec[MOST_POSITIONS] a
    cdef int taps = 2 if Size is Two else 3, n = taps + 1, i, j
    cdef int m = n if Line is Data else OUT if Line is Grads else taps
    for i in range(m):
        for j in range(m):
            a[i * n + j] = (<const vec*> (x[i * m + j] + at))[0]
    for j in range(m):
        line(kind, r, &a[j], n)
    for i in range(n):
        line(kind, r, &a[i * n], 1)
    for i in range(n * n):
        (<vec*> (y + i * apart))[0] = a[i]


cdef inline void gather(
    Line* kind, Size* r, vec* number, const char* x, Py_ssize_t apart, const char* bias, char** y,
    Py_ssize_t at
) noexcept nogil:
    """From the positions to squares of outputs or taps. bias: added to each, or NULL."""
    cdef vec[MOST_POSITIONS] a
    cdef int taps = 2 if Size is Two else 3, n = taps + 1, m = taps if Line is TapGrads else OUT, i, j
    for i in range(n * n):
        a[i] = (<const vec*> (x + i * apart))[0]
    for j in range(n):
        line(kind, r, &a[j], n)
    for i in range(m):
        line(kind, r, &a[i * n], 1)
    for i in range(m):
        for j in range(m):
            if bias != NULL:
                a[i * n + j] = a[i * n + j] + (<const vec*> (bias + at))[0]
            (<vec*> (y[i * m + j] + at))[0] = a[i * n + j]


# ── From a dtype and a number of taps to the transforms made for them ─────────────────────────────

cdef inline void any_spread(
    Line* kind, real* number, Py_ssize_t taps, const char** x, Py_ssize_t at, char* y, Py_ssize_t apart
) noexcept nogil:
    if real is float:
        if taps == 2:
            spread(kind, <Two*> NULL, <floats*> NULL, x, at, y, apart)
        else:
            spread(kind, <Three*> NULL, <floats*> NULL, x, at, y, apart)
    else:
        if taps == 2:
            spread(kind, <Two*> NULL, <doubles*> NULL, x, at, y, apart)
        else:
            spread(kind, <Three*> NULL, <doubles*> NULL, x, at, y, apart)


cdef inline void any_gather(
    Line* kind, real* number, Py_ssize_t taps, const char* x, Py_ssize_t apart, const char* bias,
    char** y, Py_ssize_t at
) noexcept nogil:
    if real is float:
        if taps == 2:
            gather(kind, <Two*> NULL, <floats*> NULL, x, apart, bias, y, at)
        else:
            gather(kind, <Three*> NULL, <floats*> NULL, x, apart, bias, y, at)
    else:
        if taps == 2:
            gather(kind, <Two*> NULL, <doubles*> NULL, x, apart, bias, y, at)
        else:
            gather(kind, <Three*> NULL, <doubles*> NULL, x, apart, bias, y, at)
