"""Pooling over 1, 2 or 3 spatial axes: the greatest value of each window, or the mean.

A row of the image and a row of the result meet in `meet`, with three things to do there: `MAX` keeps the greatest value
and where it was, `MEAN` adds, `SPREAD` adds the other way round (the gradient of MEAN). Whoever is written, the image
or the result, goes through its rows and meets those of the other that share a window with it. What is walked side by
side is a line: with channels last the channels of one place, in C order a row's elements. Only what lies inside the image
is walked, however far the windows reach. Missing axes have length 1. Each task owns the memory it writes, and the bits
do not depend on the number of threads.

At equal values the first one counts. NaN is greater than anything. What lies outside the image is -inf for the maximum
and 0 for the mean, whose divisor is the whole window.
"""

cimport numpy as cnp
from libc.math cimport INFINITY
from libc.string cimport memset
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.runtime.prepared cimport capturing, fills
from minidl._kernels.arrays.image_layout cimport channels_last, images
from minidl._kernels.math.elementary cimport real
from minidl._kernels.runtime.sizes cimport times

import numpy as np

cnp.import_array()

cdef enum:
    CHUNK = 16384  # elements of a row that are computed together, at most
    SIDE = 64      # channels of which all places of an image are
    COST = 8       # of an element, in additions
    MAX, MEAN, SPREAD, SCATTER, GATHER

cdef Py_ssize_t LIMIT = 2 ** 31 - 1  # of a kernel, a stride, a padding, and of an image's places

cdef struct Work:
    void* x                  # the image: (samples, channels, size), or its gradient
    int* index               # where in the image, as a number of a place, each element of y comes from
    Py_ssize_t[3] size, out, kernel, stride, pad
    Py_ssize_t samples, channels, places, y_places
    Py_ssize_t step          # from a place to the next: 1, or the number of channels
    Py_ssize_t rows, width   # of the image or the result, whichever is written, and places of a row
    Py_ssize_t length, chunks # places of a chunk of a row, and chunks of a row
    int what
    double share             # of each element in the mean of a window


# ── The walk ─────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void line(
    Work* w, real* x, real* y, int* index, Py_ssize_t n, Py_ssize_t step, Py_ssize_t at, Py_ssize_t at_step
) noexcept nogil:
    """What is done with n elements of x, `step` apart, that belong to n neighbours in y."""
    cdef Py_ssize_t j
    cdef bint greater
    cdef real part
    cdef int place = <int>at, place_step = <int>at_step
    if w.what == MAX:
        for j in range(n):
            greater = (y[j] == y[j]) & (not x[j * step] <= y[j])
            y[j] = x[j * step] if greater else y[j]
            index[j] = place + <int>j * place_step if greater else index[j]
    elif w.what == MEAN:
        for j in range(n):
            y[j] += x[j * step]
    else:
        part = <real>w.share
        for j in range(n):
            x[j * step] += part * y[j]


cdef inline Py_ssize_t first_window(Work* w, int axis, Py_ssize_t place) noexcept nogil:
    """The first window along an axis that reaches `place`; there may be no such."""
    return (max(place + w.pad[axis] - w.kernel[axis] + 1, <Py_ssize_t>0) + w.stride[axis] - 1) // w.stride[axis]


cdef inline Py_ssize_t end_window(Work* w, int axis, Py_ssize_t place) noexcept nogil:
    """The first window along an axis that begins behind `place`, or the number of windows."""
    return min((place + w.pad[axis]) // w.stride[axis] + 1, w.out[axis])


cdef void meet(
    Work* w, real* x, real* y, int* index, Py_ssize_t at, Py_ssize_t x0, Py_ssize_t x1, Py_ssize_t y0, Py_ssize_t y1
) noexcept nogil:
    """Places x0..x1-1 of a row of the image, which begins at place `at`, and y0..y1-1 of a row of the result."""
    cdef Py_ssize_t p, k, low, high, start, pad = w.pad[2], sw = w.stride[2]
    if w.step != 1:
        for p in range(max(y0, first_window(w, 2, x0)), min(y1, end_window(w, 2, x1 - 1))):
            for k in range(max(p * sw - pad, x0), min(p * sw - pad + w.kernel[2], x1)):
                line(w, x + k * w.step, y + p * w.step, index + p * w.step, w.step, 1, at + k, 0)
        return
    for k in range(max(x0 + pad - (y1 - 1) * sw, <Py_ssize_t>0), min(x1 + pad - y0 * sw, w.kernel[2])):
        # the elements of the result whose k-th neighbour is one of these
        low = max((max(x0 + pad - k, <Py_ssize_t>0) + sw - 1) // sw, y0)
        high = min((x1 - 1 + pad - k + sw) // sw, y1)
        start = low * sw - pad + k
        if high <= low:
            continue
        if sw == 1:  # a known step makes vectors of the loop
            line(w, x + start, y + low, index + low, high - low, 1, at + start, 1)
        elif sw == 2:
            line(w, x + start, y + low, index + low, high - low, 2, at + start, 2)
        else:
            line(w, x + start, y + low, index + low, high - low, sw, at + start, sw)


cdef void to_result(Work* w, real* x, Py_ssize_t row, Py_ssize_t y0, Py_ssize_t y1, real* y, int* index) noexcept nogil:
    """Places y0..y1-1 of a row of the result, from all of the image that they see."""
    cdef Py_ssize_t d = row // w.out[1] * w.stride[0] - w.pad[0], h = row % w.out[1] * w.stride[1] - w.pad[1]
    cdef Py_ssize_t d0 = max(d, <Py_ssize_t>0), h0 = max(h, <Py_ssize_t>0), at, p, c
    cdef Py_ssize_t d1 = min(d + w.kernel[0], w.size[0]), h1 = min(h + w.kernel[1], w.size[1])
    cdef real part = <real>w.share
    if w.what == MEAN:
        memset(y + y0 * w.step, 0, (y1 - y0) * w.step * sizeof(real))
    else:
        for p in range(y0, y1):  # in a window full of -inf the first element counts
            at = (d0 * w.size[1] + h0) * w.size[2] + max(p * w.stride[2] - w.pad[2], <Py_ssize_t>0)
            for c in range(w.step):
                y[p * w.step + c] = -INFINITY
                index[p * w.step + c] = <int>at
    for d in range(d0, d1):
        for h in range(h0, h1):
            at = (d * w.size[1] + h) * w.size[2]
            meet(w, x + at * w.step, y, index, at, 0, w.size[2], y0, y1)
    if w.what == MEAN:
        for p in range(y0 * w.step, y1 * w.step):
            y[p] *= part


cdef void to_image(Work* w, real* x, Py_ssize_t row, Py_ssize_t x0, Py_ssize_t x1, real* y) noexcept nogil:
    """Places x0..x1-1 of a row of the image, from all of the result that saw them."""
    cdef Py_ssize_t d = row // w.size[1], h = row % w.size[1], i, j
    memset(x + x0 * w.step, 0, (x1 - x0) * w.step * sizeof(real))
    for i in range(first_window(w, 0, d), end_window(w, 0, d)):
        for j in range(first_window(w, 1, h), end_window(w, 1, h)):
            meet(w, x, y + (i * w.out[1] + j) * w.out[2] * w.step, w.index, 0, x0, x1, 0, w.out[2])


cdef void by_index(Work* w, real* x, real* y, int* index, Py_ssize_t n) noexcept nogil:
    """x at the places where y came from: added to, or read."""
    cdef Py_ssize_t p, c
    for p in range(w.y_places):
        if w.what == SCATTER:
            for c in range(n):
                x[index[p * w.step + c] * w.step + c] += y[p * w.step + c]
        else:
            for c in range(n):
                y[p * w.step + c] = x[index[p * w.step + c] * w.step + c]


cdef void clear(Work* w, real* x, Py_ssize_t n) noexcept nogil:
    """n channels of all places."""
    cdef Py_ssize_t i
    if n == w.step:
        memset(x, 0, w.places * n * sizeof(real))
        return
    for i in range(w.places):
        memset(x + i * w.step, 0, n * sizeof(real))


cdef void walk_rows(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Chunks `first` to `last - 1` of the rows of what is written."""
    cdef Py_ssize_t start = first % w.chunks * w.length, row = first // w.chunks % w.rows, i, end, at
    cdef Py_ssize_t image = first // w.chunks // w.rows
    cdef real* x = <real*>w.x + image * w.places * w.step
    cdef int* index = w.index + image * w.y_places * w.step
    y += image * w.y_places * w.step
    for i in range(first, last):
        end = min(start + w.length, w.width)
        if w.what == SPREAD:
            to_image(w, x + row * w.width * w.step, row, start, end, y)
        else:
            at = row * w.width * w.step
            to_result(w, x, row, start, end, y + at, index + at)
        start = end
        if start == w.width:
            start, row = 0, row + 1
        if row == w.rows:
            row = 0
            x, y, index = x + w.places * w.step, y + w.y_places * w.step, index + w.y_places * w.step


cdef void walk_index(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Where an index leads: channel after channel (C order), or SIDE channels after the others (channels last)."""
    cdef Py_ssize_t i, sides = (w.step + SIDE - 1) // SIDE, side, at, width
    cdef real* x
    for i in range(first, last):
        side = i % sides * SIDE
        width, at = min(w.step - side, <Py_ssize_t>SIDE), i // sides * w.y_places * w.step + side
        x = <real*>w.x + i // sides * w.places * w.step + side
        if w.what == SCATTER:
            clear(w, x, width)
        by_index(w, x, y + at, w.index + at, width)


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef int run_pool(Work* w, int what, cnp.ndarray x, cnp.ndarray y, cnp.ndarray index) except -1:
    cdef Py_ssize_t count = w.samples * (w.channels if w.step == 1 else 1)
    w.what, w.x = what, cnp.PyArray_DATA(x)
    w.index = <int*>cnp.PyArray_DATA(y if index is None else index)  # if not given never read, but moved
    if what == SCATTER or what == GATHER:
        return run(
            of_dtype(x, <loop_t>walk_index[float], <loop_t>walk_index[double]), w, sizeof(Work), y,
            count * ((w.step + SIDE - 1) // SIDE), w.places * min(w.step, <Py_ssize_t>SIDE), COST, False,
        )
    w.rows, w.width = w.out[0] * w.out[1], w.out[2]
    if what == SPREAD:
        w.rows, w.width = w.size[0] * w.size[1], w.size[2]
    w.length = max(CHUNK // max(w.step, <Py_ssize_t>1), <Py_ssize_t>1)
    w.chunks = (w.width + w.length - 1) // w.length
    return run(
        of_dtype(x, <loop_t>walk_rows[float], <loop_t>walk_rows[double]), w, sizeof(Work), y, count * w.rows * w.chunks,
        max(w.places, w.y_places) * w.step // max(w.rows * w.chunks, <Py_ssize_t>1), COST, False,
    )


cdef cnp.ndarray laid_like(cnp.ndarray x, tuple places, int kind):
    """A new array of x's samples, channels and layout with other places."""
    cdef cnp.npy_intp[64] shape
    cdef int i, n = len(places)
    cdef bint last = by_channels(x)
    shape[0], shape[n + 1 if last else 1] = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    for i in range(n):
        shape[i + 1 if last else i + 2] = places[i]
    y = memory.empty(n + 2, shape, kind)
    return y.transpose(0, n + 1, *range(1, n + 1)) if last else y


cdef bint by_channels(cnp.ndarray x) noexcept:
    return not cnp.PyArray_IS_C_CONTIGUOUS(x) and channels_last(x)


cdef int prepare(Work* w, str name, cnp.ndarray x, tuple size, tuple out) except -1:
    """Sizes of the image and of the result, and the layout, from an array that has it."""
    cdef int i, n = len(size)
    if not 1 <= n <= 3 or cnp.PyArray_NDIM(x) != n + 2:
        raise ValueError(f"{name}: expected (N, C, ...) with 1 to 3 axes more, got shape {(<object>x).shape}")
    memset(w, 0, sizeof(Work))
    w.samples, w.channels = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    w.step = w.channels if by_channels(x) else 1
    w.places = w.y_places = 1
    for i in range(3):
        w.size[i] = w.out[i] = w.kernel[i] = w.stride[i] = 1
        if i >= 3 - n:
            w.size[i], w.out[i] = size[i + n - 3], out[i + n - 3]
        w.places, w.y_places = times(w.places, w.size[i]), times(w.y_places, w.out[i])
    if max(w.places, w.y_places) > LIMIT:
        raise ValueError(f"{name}: an image of {max(w.places, w.y_places)} places is too large: expected less than 2**31")
    return 0


cdef tuple result_size(str name, tuple size, tuple kernel, tuple stride, tuple padding):
    if not len(size) == len(kernel) == len(stride) == len(padding):
        raise ValueError(f"{name}: expected one kernel, stride and padding for each of {len(size)} axes")
    for n, k, s, p in zip(size, kernel, stride, padding):
        if not 1 <= k <= LIMIT or not 1 <= s <= LIMIT or p < 0 or 2 * p > k or n + 2 * p < k:
            raise ValueError(f"{name}: a kernel of {k}, stride {s}, padding {p} does not fit {n} places")
    return tuple([(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding)])


cdef void set_window(Work* w, tuple kernel, tuple stride, tuple padding):
    cdef int i, n = len(kernel)
    for i in range(n):
        w.kernel[i + 3 - n], w.stride[i + 3 - n], w.pad[i + 3 - n] = kernel[i], stride[i], padding[i]
    w.share = 1 / (<double>w.kernel[0] * w.kernel[1] * w.kernel[2])


cdef tuple places_of(cnp.ndarray x):
    return (<object>x).shape[2:]


def max_pool_forward(x, tuple kernel, tuple stride, tuple padding):
    """(y, index) for x (N, C, ...): the greatest value of each window, and the number of its place."""
    cdef cnp.ndarray xs = images(x, "max_pool"), y, index
    cdef tuple out = result_size("max_pool", places_of(xs), kernel, stride, padding)
    cdef Work w
    prepare(&w, "max_pool", xs, places_of(xs), out)
    set_window(&w, kernel, stride, padding)
    y, index = laid_like(xs, out, cnp.PyArray_TYPE(xs)), laid_like(xs, out, cnp.NPY_INT32)
    run_pool(&w, MAX, xs, y, index)
    if capturing():
        fills(index)
    return y, index


def max_pool_scatter(gy, index, tuple size):
    """gx with `size` places: each element of gy added where `index` says that it came from."""
    cdef cnp.ndarray gs = images(gy, "max_pool"), places, gx
    cdef Work w
    prepare(&w, "max_pool", gs, size, places_of(gs))
    places = index_like(gs, index, w.places)
    gx = laid_like(gs, size, cnp.PyArray_TYPE(gs))
    run_pool(&w, SCATTER, gx, gs, places)
    return gx


def max_pool_gather(x, index):
    """The elements of x at the places that `index` names, in its shape."""
    cdef cnp.ndarray xs = images(x, "max_pool"), places, y
    cdef Work w
    prepare(&w, "max_pool", xs, places_of(xs), index.shape[2:])
    y = laid_like(xs, index.shape[2:], cnp.PyArray_TYPE(xs))
    places = index_like(y, index, w.places)
    run_pool(&w, GATHER, xs, y, places)
    return y


cdef cnp.ndarray index_like(cnp.ndarray y, object index, Py_ssize_t places):
    """index in y's layout; it must name some of so many places."""
    if index.shape != (<object>y).shape or index.dtype != np.int32:
        raise ValueError(f"max_pool: expected an int32 index of shape {(<object>y).shape}, got {index.shape}")
    if index.size and not 0 <= index.min() <= index.max() < places:
        raise ValueError(f"max_pool: index: expected places from 0 to {places - 1}")
    if by_channels(y):
        return np.ascontiguousarray(np.moveaxis(index, 1, -1))
    return np.ascontiguousarray(index)


def avg_pool_forward(x, tuple kernel, tuple stride, tuple padding):
    """The mean of each window of x (N, C, ...), what lies outside counted as 0."""
    cdef cnp.ndarray xs = images(x, "avg_pool"), y
    cdef tuple out = result_size("avg_pool", places_of(xs), kernel, stride, padding)
    cdef Work w
    prepare(&w, "avg_pool", xs, places_of(xs), out)
    set_window(&w, kernel, stride, padding)
    y = laid_like(xs, out, cnp.PyArray_TYPE(xs))
    run_pool(&w, MEAN, xs, y, None)
    return y


def avg_pool_backward(gy, tuple size, tuple kernel, tuple stride, tuple padding):
    """gx with `size` places: each element of gy, spread evenly over its window."""
    cdef cnp.ndarray gs = images(gy, "avg_pool"), gx
    cdef Work w
    if places_of(gs) != result_size("avg_pool", size, kernel, stride, padding):
        raise ValueError(f"avg_pool: a gradient of shape {gy.shape} does not fit {size} places")
    prepare(&w, "avg_pool", gs, size, places_of(gs))
    set_window(&w, kernel, stride, padding)
    gx = laid_like(gs, size, cnp.PyArray_TYPE(gs))
    run_pool(&w, SPREAD, gx, gs, None)
    return gx
