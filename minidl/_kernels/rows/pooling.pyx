"""Pooling over 1, 2 or 3 spatial axes: the greatest value of each window, or the mean.

Windows are walked one by one (pooling_loops.pxd), but for the gradients where windows overlap: that of the
maximum is scattered by the numbers of the places where the greatest values stand (`scatter`), that of the mean is
gathered row by row of the image (`spread`). Missing axes have length 1. Each task owns the memory it writes, and the
bits do not depend on the number of threads.

At equal values the first one counts. NaN is greater than anything. What lies outside the image is -inf for the maximum
and 0 for the mean, whose divisor is the whole window.
"""

cimport numpy as cnp
from libc.string cimport memset
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.arrays.checks cimport same_layout, seen
from minidl._kernels.arrays.image_layout cimport images, new_images
from minidl._kernels.math.elementary cimport real
from minidl._kernels.rows.folding cimport Max
from minidl._kernels.rows.pooling_loops cimport Find, Give, Mean, Place, Share, Work, go_on, go_to, walk
from minidl._kernels.runtime.sizes cimport times

import numpy as np

cnp.import_array()

cdef enum:
    CHUNK = 16384  # elements of a row that are computed together, at most
    SIDE = 64      # channels of which all places of an image are
    COST = 4       # of an element, in additions

cdef Py_ssize_t LIMIT = 2 ** 31 - 1  # of a kernel, a stride, a padding, and of an image's places


# ── The gradient of the maximum, by the places ───────────────────────────────────────────────────────────────────────

cdef extern from *:  # tags
    ctypedef struct Scatter "char"
    ctypedef struct Gather "char"

ctypedef fused Direction:
    Scatter
    Gather


cdef void clear(Work* w, real* x, Py_ssize_t n) noexcept nogil:
    """n channels of all places."""
    cdef Py_ssize_t i
    if n == w.step:
        memset(x, 0, w.places * n * sizeof(real))
        return
    for i in range(w.places):
        memset(x + i * w.step, 0, n * sizeof(real))


cdef void walk_index(Direction* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* y) noexcept nogil:
    """Where an index leads: channel after channel (C order), or SIDE channels after the others (channels last)."""
    cdef Py_ssize_t i, sides = (w.step + SIDE - 1) // SIDE, side, at, n, p, c
    cdef const int* index
    cdef real* image
    cdef real* result
    for i in range(first, last):
        side = i % sides * SIDE
        n, at = min(w.step - side, <Py_ssize_t>SIDE), i // sides * w.y_places * w.step + side
        image = (y if Direction is Scatter else <real*>w.x) + i // sides * w.places * w.step + side
        if Direction is Scatter:
            clear(w, image, n)
        for p in range(w.y_places):
            index = w.index + at + p * w.step
            result = (<real*>w.given if Direction is Scatter else y) + at + p * w.step
            for c in range(n):
                if Direction is Scatter:
                    image[index[c] * w.step + c] += result[c]
                else:
                    result[c] = image[index[c] * w.step + c]


# ── The gradient of the mean where windows overlap ───────────────────────────────────────────────────────────────────

cdef inline Py_ssize_t first_window(Work* w, int axis, Py_ssize_t place) noexcept nogil:
    """The first window along an axis that reaches `place`; there may be no such."""
    return (max(place + w.pad[axis] - w.kernel[axis] + 1, <Py_ssize_t>0) + w.stride[axis] - 1) // w.stride[axis]


cdef inline Py_ssize_t end_window(Work* w, int axis, Py_ssize_t place) noexcept nogil:
    """The first window along an axis that begins behind `place`, or the number of windows."""
    return min((place + w.pad[axis]) // w.stride[axis] + 1, w.out[axis])


cdef void spread_row(Work* w, real* x, const real* y, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Elements `first` to `last - 1` of a row of the image, from a row of the result."""
    cdef Py_ssize_t p, k, c, low, high, at, stride = w.stride[2], pad = w.pad[2], n = w.step
    cdef Py_ssize_t end = end_window(w, 2, last - 1)
    cdef real part = <real>w.share
    if n > 1:
        for p in range(first_window(w, 2, first), end):
            for k in range(max(p * stride - pad, first), min(p * stride - pad + w.kernel[2], last)):
                for c in range(n):
                    x[k * n + c] += part * y[p * n + c]
        return
    # the results whose k-th neighbour is one of these
    for k in range(max(first + pad - (end - 1) * stride, <Py_ssize_t>0), min(last + pad, w.kernel[2])):
        low = (max(first + pad - k, <Py_ssize_t>0) + stride - 1) // stride
        high = min((last - 1 + pad - k + stride) // stride, end)
        at = k - pad
        if stride == 1:  # a known stride makes vectors of the loop
            for p in range(low, high):
                x[p + at] += part * y[p]
        else:
            for p in range(low, high):
                x[p * stride + at] += part * y[p]


cdef void spread(void* tag, Work* w, Py_ssize_t first, Py_ssize_t last, real* x) noexcept nogil:
    """Chunks of the image's rows, from all of the result that saw them."""
    cdef Py_ssize_t i, j, k
    cdef real* row
    cdef const real* y
    cdef Place at
    go_to(&at, w, w.size, first)
    for i in range(first, last):
        row = x + (at.plane * w.places + (at.d * w.size[1] + at.h) * w.size[2]) * w.step
        y = <const real*>w.given + at.plane * w.y_places * w.step
        memset(row + at.first * w.step, 0, (at.last - at.first) * w.step * sizeof(real))
        for j in range(first_window(w, 0, at.d), end_window(w, 0, at.d)):
            for k in range(first_window(w, 1, at.h), end_window(w, 1, at.h)):
                spread_row(w, row, y + (j * w.out[1] + k) * w.out[2] * w.step, at.first, at.last)
        go_on(&at, w, w.size)


# ── Setting the work up ──────────────────────────────────────────────────────────────────────────────────────────────

cdef int set_layout(Work* w, str name, cnp.ndarray x) except -1:
    """Samples, channels and their place in memory, from an array that has them."""
    if not 3 <= cnp.PyArray_NDIM(x) <= 5:
        raise ValueError(f"{name}: expected (N, C, ...) with 1 to 3 axes more, got shape {(<object>x).shape}")
    memset(w, 0, sizeof(Work))
    w.axes = cnp.PyArray_NDIM(x) - 2
    w.samples, w.channels = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    w.step = 1 if cnp.PyArray_IS_C_CONTIGUOUS(x) else w.channels
    return 0


cdef int set_numbers(Work* w, str name, Py_ssize_t* to, tuple numbers, Py_ssize_t missing) except -1:
    """A number for each of three axes, of which the first may be missing."""
    cdef int i
    if len(numbers) != w.axes:
        raise ValueError(f"{name}: expected one kernel, stride and padding for each of {w.axes} axes, got {numbers}")
    for i in range(3):
        to[i] = numbers[i - 3 + w.axes] if i >= 3 - w.axes else missing
    return 0


cdef Py_ssize_t count_places(str name, const Py_ssize_t* size) except -1:
    cdef Py_ssize_t places = times(times(size[0], size[1]), size[2])
    if places > LIMIT:
        raise ValueError(f"{name}: an image of {places} places is too large: expected less than 2**31")
    return places


cdef int set_window(Work* w, str name, tuple kernel, tuple stride, tuple padding) except -1:
    """The windows of images whose size is known, and the size of the result."""
    cdef int i
    cdef Py_ssize_t n, k, s, p
    set_numbers(w, name, w.kernel, kernel, 1)
    set_numbers(w, name, w.stride, stride, 1)
    set_numbers(w, name, w.pad, padding, 0)
    for i in range(3):
        n, k, s, p = w.size[i], w.kernel[i], w.stride[i], w.pad[i]
        if not 1 <= k <= LIMIT or not 1 <= s <= LIMIT or p < 0 or 2 * p > k or n + 2 * p < k:
            raise ValueError(f"{name}: a kernel of {k}, stride {s}, padding {p} does not fit {n} places")
        w.out[i] = (n + 2 * p - k) // s + 1
    w.places, w.y_places = count_places(name, w.size), count_places(name, w.out)
    w.share = 1 / (<double>w.kernel[0] * w.kernel[1] * w.kernel[2])
    return 0


cdef cnp.ndarray new_image(Work* w, const Py_ssize_t* size, int kind):
    """An array of w's samples, channels and layout."""
    return new_images(w.axes, w.samples, w.channels, size + 3 - w.axes, kind, w.step == 1)


cdef void simplify(Work* w) noexcept:
    """Joins axes (a window that holds whole rows of the image is longer rows of a flatter one), and looks how the
    windows lie."""
    cdef int i
    cdef Py_ssize_t inside
    for i in range(3):
        if w.out[i] == 1:  # the only window: it does not move
            w.stride[i] = w.kernel[i]
    for i in range(1, -1, -1):
        if w.kernel[2] == w.size[2] and w.pad[2] == 0 and w.pad[i] == 0 and w.size[1] == 1 >= i:
            w.kernel[2], w.stride[2] = w.kernel[i] * w.size[2], w.stride[i] * w.size[2]
            w.size[2], w.out[2] = w.size[i] * w.size[2], w.out[i]
            w.size[i] = w.out[i] = w.kernel[i] = w.stride[i] = 1
    w.apart = w.tiled = True
    w.full = w.pad[0] == w.pad[1] == w.pad[2] == 0 and w.kernel[2] >= w.stride[2]
    for i in range(3):
        w.apart = w.apart and w.kernel[i] <= w.stride[i]
        w.tiled = w.tiled and w.pad[i] == 0 and w.kernel[i] == w.stride[i] and w.size[i] == w.kernel[i] * w.out[i]
    inside = w.size[2] + w.pad[2] - w.kernel[2]  # where the last window begins that lies inside the image
    w.inner[0] = (w.pad[2] + w.stride[2] - 1) // w.stride[2]
    w.inner[1] = min(inside // w.stride[2] + 1, w.out[2]) if inside >= 0 else 0


cdef int run_rows(Work* w, loop_t loop, const Py_ssize_t* size, cnp.ndarray y) except -1:
    """A loop over chunks of the rows of y, the result, or of the image."""
    cdef Py_ssize_t rows = w.samples * (w.channels if w.step == 1 else 1) * size[0] * size[1]
    w.length = max(CHUNK // max(w.step, <Py_ssize_t>1), <Py_ssize_t>1)
    w.chunks = (size[2] + w.length - 1) // w.length
    return run(
        loop, w, sizeof(Work), y, rows * w.chunks,
        max(w.places, w.y_places) * w.step // max(size[0] * size[1] * w.chunks, <Py_ssize_t>1), COST, False,
    )


cdef int run_index(Work* w, loop_t loop, object index, tuple shape, cnp.ndarray y) except -1:
    """A loop over planes, where `index` says, which has the result's shape."""
    cdef Py_ssize_t count = w.samples * (w.channels if w.step == 1 else 1)
    cdef cnp.ndarray places
    if index.shape != shape or index.dtype != np.int32:
        raise ValueError(f"max_pool: expected an int32 index of shape {shape}, got {index.shape}")
    if index.size and not 0 <= index.min() <= index.max() < w.places:
        raise ValueError(f"max_pool: index: expected places from 0 to {w.places - 1}")
    places = seen(np.ascontiguousarray(index if w.step == 1 else np.moveaxis(index, 1, -1)))
    w.index = <int*>cnp.PyArray_DATA(places)
    return run(
        loop, w, sizeof(Work), y, count * ((w.step + SIDE - 1) // SIDE), w.places * min(w.step, <Py_ssize_t>SIDE), COST,
        False,
    )


# ── The entry points ─────────────────────────────────────────────────────────────────────────────────────────────────

cdef cnp.ndarray start_on(Work* w, str name, object x, tuple kernel, tuple stride, tuple padding):
    """x as an image, and all that is known of the work on it."""
    cdef cnp.ndarray xs = images(x, name)
    cdef int i
    set_layout(w, name, xs)
    for i in range(3):
        w.size[i] = cnp.PyArray_DIM(xs, i - 1 + w.axes) if i >= 3 - w.axes else 1
    set_window(w, name, kernel, stride, padding)
    w.x = cnp.PyArray_DATA(xs)
    return xs


cdef cnp.ndarray forward(str name, object x, tuple kernel, tuple stride, tuple padding, loop_t single, loop_t wide):
    """One number for each window of x."""
    cdef Work w
    cdef cnp.ndarray xs = start_on(&w, name, x, kernel, stride, padding)
    cdef cnp.ndarray y = new_image(&w, w.out, cnp.PyArray_TYPE(xs))
    simplify(&w)
    run_rows(&w, of_dtype(xs, single, wide), w.out, y)
    return y


def max_pool_forward(x, tuple kernel, tuple stride, tuple padding):
    """The greatest value of each window of x (N, C, ...)."""
    return forward("max_pool", x, kernel, stride, padding, <loop_t>walk[Max, float], <loop_t>walk[Max, double])


def avg_pool_forward(x, tuple kernel, tuple stride, tuple padding):
    """The mean of each window of x (N, C, ...), what lies outside counted as 0."""
    return forward("avg_pool", x, kernel, stride, padding, <loop_t>walk[Mean, float], <loop_t>walk[Mean, double])


def max_pool_places(x, tuple kernel, tuple stride, tuple padding):
    """For each window of x the number of the place where its greatest value stands first, as int32."""
    cdef Work w
    cdef cnp.ndarray xs = start_on(&w, "max_pool", x, kernel, stride, padding)
    cdef cnp.ndarray index = new_image(&w, w.out, cnp.NPY_INT32), y = max_pool_forward(xs, kernel, stride, padding)
    simplify(&w)
    w.given = cnp.PyArray_DATA(y)
    run_rows(&w, of_dtype(xs, <loop_t>walk[Find, float], <loop_t>walk[Find, double]), w.out, index)
    return index


def max_pool_backward(x, gy, tuple kernel, tuple stride, tuple padding):
    """gx: each element of gy added where the greatest value of its window of x stands first."""
    cdef Work w
    cdef cnp.ndarray xs = start_on(&w, "max_pool", x, kernel, stride, padding), gs, gx
    cdef cnp.ndarray like = new_image(&w, w.out, cnp.PyArray_TYPE(xs))
    gs = same_layout(gy, like, "max_pool")
    simplify(&w)
    if not w.apart:
        return max_pool_scatter(gs, max_pool_places(xs, kernel, stride, padding), (<object>xs).shape[2:])
    gx = memory.empty_like(xs)
    w.given = cnp.PyArray_DATA(gs)
    run_rows(&w, of_dtype(xs, <loop_t>walk[Give, float], <loop_t>walk[Give, double]), w.out, gx)
    return gx


def avg_pool_backward(gy, tuple size, tuple kernel, tuple stride, tuple padding):
    """gx with `size` places: each element of gy, spread evenly over its window."""
    cdef cnp.ndarray gs = images(gy, "avg_pool"), gx
    cdef Work w
    cdef int i
    set_layout(&w, "avg_pool", gs)
    set_numbers(&w, "avg_pool", w.size, size, 1)
    set_window(&w, "avg_pool", kernel, stride, padding)
    for i in range(w.axes):
        if cnp.PyArray_DIM(gs, i + 2) != w.out[i + 3 - w.axes]:
            raise ValueError(f"avg_pool: a gradient of shape {gy.shape} does not fit {size} places")
    gx = new_image(&w, w.size, cnp.PyArray_TYPE(gs))
    simplify(&w)
    if w.apart:
        w.given = cnp.PyArray_DATA(gs)
        run_rows(&w, of_dtype(gs, <loop_t>walk[Share, float], <loop_t>walk[Share, double]), w.out, gx)
    else:
        w.given = cnp.PyArray_DATA(gs)
        run_rows(&w, of_dtype(gs, <loop_t>spread[float], <loop_t>spread[double]), w.size, gx)
    return gx


def max_pool_scatter(gy, index, tuple size):
    """gx with `size` places: each element of gy added where `index` says that it came from."""
    cdef cnp.ndarray gs = images(gy, "max_pool"), gx
    cdef Work w
    set_layout(&w, "max_pool", gs)
    set_numbers(&w, "max_pool", w.size, size, 1)
    set_numbers(&w, "max_pool", w.out, (<object>gs).shape[2:], 1)
    w.places, w.y_places = count_places("max_pool", w.size), count_places("max_pool", w.out)
    gx = new_image(&w, w.size, cnp.PyArray_TYPE(gs))
    w.given = cnp.PyArray_DATA(gs)
    run_index(
        &w, of_dtype(gs, <loop_t>walk_index[Scatter, float], <loop_t>walk_index[Scatter, double]), index,
        (<object>gs).shape, gx,
    )
    return gx


def max_pool_gather(x, index):
    """The elements of x at the places that `index` names, in its shape."""
    cdef cnp.ndarray xs = images(x, "max_pool"), y
    cdef Work w
    set_layout(&w, "max_pool", xs)
    set_numbers(&w, "max_pool", w.size, (<object>xs).shape[2:], 1)
    set_numbers(&w, "max_pool", w.out, index.shape[2:], 1)
    w.places, w.y_places = count_places("max_pool", w.size), count_places("max_pool", w.out)
    y = new_image(&w, w.out, cnp.PyArray_TYPE(xs))
    w.x = cnp.PyArray_DATA(xs)
    run_index(
        &w, of_dtype(xs, <loop_t>walk_index[Gather, float], <loop_t>walk_index[Gather, double]), index,
        (<object>y).shape, y,
    )
    return y
