"""Pooling over 1, 2 or 3 spatial axes: the greatest value of each window, or the mean.

One walk serves forward and backward, with three things to do on the way: `MAX` keeps the greatest value and where it
stood, `MEAN` adds, `SPREAD` adds the other way round (the gradient of MEAN). What is walked side by side is a line: with
channels last the channels of one place, in C order one row of the result. Missing axes have length 1. Images are
independent, so are channels: each task owns the memory it writes, and the bits do not depend on the number of threads.

At equal values the first one counts. NaN is greater than anything. What lies outside the image is -inf for the maximum
and 0 for the mean, whose divisor is the whole window.
"""

cimport numpy as cnp
from libc.math cimport INFINITY
from libc.string cimport memset
from minidl._kernels cimport memory, pool
from minidl._kernels._images cimport channels_last, images
from minidl._kernels._math cimport real

import numpy as np

cnp.import_array()

cdef enum:
    CHUNK = 16384  # elements a task, about
    SIDE = 64      # channels of a task that owns all places of an image
    MAX, MEAN, SPREAD, SCATTER, GATHER

cdef struct Work:
    char* x                  # the image: (samples, channels, size), or its gradient
    char* y                  # the result: (samples, channels, out), or its gradient
    int* index               # where in the image, as a number of a place, each element of y comes from
    Py_ssize_t[3] size, out, kernel, stride, pad
    Py_ssize_t samples, channels, places, y_places
    Py_ssize_t step          # from a place to the next: 1, or the number of channels
    Py_ssize_t units, per_task
    int what
    bint wide


# ── The walk ─────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef inline void line(
    Work* w, real* x, real* y, int* index, Py_ssize_t n, Py_ssize_t step, Py_ssize_t at, Py_ssize_t at_step
) noexcept nogil:
    """What is done with n elements of x, `step` apart, that belong to n neighbours in y."""
    cdef Py_ssize_t j
    cdef bint greater
    cdef real share
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
        share = <real>1 / (w.kernel[0] * w.kernel[1] * w.kernel[2])
        for j in range(n):
            x[j * step] += share * y[j]


cdef inline void start(Work* w, real* y, int* index, Py_ssize_t n, Py_ssize_t at) noexcept nogil:
    cdef Py_ssize_t j
    if w.what == MEAN:
        memset(y, 0, n * sizeof(real))
    elif w.what == MAX:
        for j in range(n):
            y[j] = -INFINITY
            index[j] = <int>at  # in a window full of -inf the first element counts


cdef inline void finish(Work* w, real* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef real share = <real>1 / (w.kernel[0] * w.kernel[1] * w.kernel[2])
    if w.what == MEAN:
        for j in range(n):
            y[j] *= share


cdef void walk(
    Work* w, real* _, Py_ssize_t x_start, Py_ssize_t y_start, Py_ssize_t n, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """Rows first..last-1 of the result: of one channel in C order (n = 1), of n channels if they are last."""
    cdef real* x = <real*>w.x + x_start
    cdef real* y
    cdef int* index
    cdef Py_ssize_t row, d, h, p, k, d0, h0, p0, d1, h1, p1, low, high, at, width = w.out[2], sw = w.stride[2]
    for row in range(first, last):
        y, index = <real*>w.y + y_start + row * width * w.step, w.index + y_start + row * width * w.step
        d0, h0 = row // w.out[1] * w.stride[0] - w.pad[0], row % w.out[1] * w.stride[1] - w.pad[1]
        d1, h1 = min(d0 + w.kernel[0], w.size[0]), min(h0 + w.kernel[1], w.size[1])
        d0, h0 = max(d0, <Py_ssize_t>0), max(h0, <Py_ssize_t>0)
        at = (d0 * w.size[1] + h0) * w.size[2]
        if w.step == 1:
            start(w, y, index, width, at)
            if w.what == MAX:
                for p in range(width):
                    index[p] += <int>max(p * sw - w.pad[2], <Py_ssize_t>0)
        for p in range(1 if w.step == 1 else width):
            p0 = p * sw - w.pad[2]
            p1, p0 = min(p0 + w.kernel[2], w.size[2]), max(p0, <Py_ssize_t>0)
            if w.step != 1:
                start(w, y + p * w.step, index + p * w.step, n, at + p0)
            for d in range(d0, d1):
                for h in range(h0, h1):
                    at = (d * w.size[1] + h) * w.size[2]
                    if w.step != 1:
                        for k in range(p0, p1):
                            line(w, x + (at + k) * w.step, y + p * w.step, index + p * w.step, n, 1, at + k, 0)
                        continue
                    for k in range(w.kernel[2]):  # the elements of the row whose k-th neighbour is inside
                        low = (max(w.pad[2] - k, <Py_ssize_t>0) + sw - 1) // sw
                        high = min((w.size[2] - 1 + w.pad[2] - k + sw) // sw, width)
                        at = (d * w.size[1] + h) * w.size[2] + low * sw - w.pad[2] + k
                        if high <= low:
                            continue
                        if sw == 1:  # a known step makes vectors of the loop
                            line(w, x + at, y + low, index + low, high - low, 1, at, 1)
                        elif sw == 2:
                            line(w, x + at, y + low, index + low, high - low, 2, at, 2)
                        else:
                            line(w, x + at, y + low, index + low, high - low, sw, at, sw)
            at = (d0 * w.size[1] + h0) * w.size[2]
            if w.step != 1:
                finish(w, y + p * w.step, n)
        if w.step == 1:
            finish(w, y, width)


cdef void by_index(Work* w, real* _, Py_ssize_t x_start, Py_ssize_t y_start, Py_ssize_t n) noexcept nogil:
    """x at the places where y came from: added to, or read."""
    cdef real* x = <real*>w.x + x_start
    cdef real* y = <real*>w.y + y_start
    cdef int* index = w.index + y_start
    cdef Py_ssize_t p, c
    for p in range(w.y_places):
        if w.what == SCATTER:
            for c in range(n):
                x[index[p * w.step + c] * w.step + c] += y[p * w.step + c]
        else:
            for c in range(n):
                y[p * w.step + c] = x[index[p * w.step + c] * w.step + c]


# ── The faces ────────────────────────────────────────────────────────────────────────────────────────────────────────

cdef void unit(Work* w, real* tag, Py_ssize_t i) noexcept nogil:
    """A channel of an image (C order), a block of channels (those that write x), or a row of the result."""
    cdef Py_ssize_t rows = w.out[0] * w.out[1], blocks, c0, n, p
    if w.step == 1:
        blocks, c0, n = 1, 0, 1
    elif w.what == MAX or w.what == MEAN:
        walk(w, tag, i // rows * w.places * w.channels, i // rows * w.y_places * w.channels, w.channels,
             i % rows, i % rows + 1)
        return
    else:
        blocks = (w.channels + SIDE - 1) // SIDE
        c0, i = i % blocks * SIDE, i // blocks
        n = min(w.channels - c0, <Py_ssize_t>SIDE)
    c0, p = i * w.places * w.step + c0, i * w.y_places * w.step + c0
    if w.what == SPREAD or w.what == SCATTER:
        if n == w.step:
            memset(<real*>w.x + c0, 0, w.places * n * sizeof(real))
        else:
            for i in range(w.places):
                memset(<real*>w.x + c0 + i * w.step, 0, n * sizeof(real))
    if w.what == SCATTER or w.what == GATHER:
        by_index(w, tag, c0, p, n)
    else:
        walk(w, tag, c0, p, n, 0, rows)


cdef void run_task(void* context, Py_ssize_t index) noexcept nogil:
    cdef Work* w = <Work*>context
    cdef Py_ssize_t i
    for i in range(index * w.per_task, min((index + 1) * w.per_task, w.units)):
        if w.wide:
            unit[double](w, NULL, i)
        else:
            unit[float](w, NULL, i)


cdef void run(Work* w, int what) noexcept:
    cdef Py_ssize_t rows = w.out[0] * w.out[1], size
    w.what = what
    if w.step == 1:
        w.units, size = w.samples * w.channels, w.places
    elif what == MAX or what == MEAN:
        w.units, size = w.samples * rows, w.places * w.channels // max(rows, <Py_ssize_t>1)
    else:
        w.units = w.samples * ((w.channels + SIDE - 1) // SIDE)
        size = w.places * min(w.channels, <Py_ssize_t>SIDE)
    w.per_task = max(CHUNK // max(size, <Py_ssize_t>1), <Py_ssize_t>1)
    with nogil:
        pool.parallel(run_task, w, (w.units + w.per_task - 1) // w.per_task)


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
    w.wide = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
    w.places = w.y_places = 1
    for i in range(3):
        w.size[i] = w.out[i] = w.kernel[i] = w.stride[i] = 1
        if i >= 3 - n:
            w.size[i], w.out[i] = size[i + n - 3], out[i + n - 3]
        w.places, w.y_places = w.places * w.size[i], w.y_places * w.out[i]
    if w.places >= 2147483648:
        raise ValueError(f"{name}: an image of {w.places} places is too large: expected less than 2**31")
    return 0


cdef tuple result_size(str name, tuple size, tuple kernel, tuple stride, tuple padding):
    if not len(size) == len(kernel) == len(stride) == len(padding):
        raise ValueError(f"{name}: expected one kernel, stride and padding for each of {len(size)} axes")
    for n, k, s, p in zip(size, kernel, stride, padding):
        if k < 1 or s < 1 or p < 0 or 2 * p > k or n + 2 * p < k:
            raise ValueError(f"{name}: a kernel of {k}, stride {s}, padding {p} does not fit {n} places")
    return tuple([(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding)])


cdef void set_window(Work* w, tuple kernel, tuple stride, tuple padding):
    cdef int i, n = len(kernel)
    for i in range(n):
        w.kernel[i + 3 - n], w.stride[i + 3 - n], w.pad[i + 3 - n] = kernel[i], stride[i], padding[i]


cdef tuple places_of(cnp.ndarray x):
    return (<object>x).shape[2:]


def max_pool_forward(x, tuple kernel, tuple stride, tuple padding):
    """(y, index) for x (N, C, ...): the greatest value of each window, and the number of the place where it stands."""
    cdef cnp.ndarray xs = images(x, "max_pool"), y, index
    cdef tuple out = result_size("max_pool", places_of(xs), kernel, stride, padding)
    cdef Work w
    prepare(&w, "max_pool", xs, places_of(xs), out)
    set_window(&w, kernel, stride, padding)
    y, index = laid_like(xs, out, cnp.PyArray_TYPE(xs)), laid_like(xs, out, cnp.NPY_INT32)
    w.x, w.y, w.index = <char*>cnp.PyArray_DATA(xs), <char*>cnp.PyArray_DATA(y), <int*>cnp.PyArray_DATA(index)
    run(&w, MAX)
    return y, index


def max_pool_scatter(gy, index, tuple size):
    """gx with `size` places: each element of gy added where `index` says that it came from."""
    cdef cnp.ndarray gs = images(gy, "max_pool"), places = index_like(gs, index, size), gx
    cdef Work w
    prepare(&w, "max_pool", gs, size, places_of(gs))
    gx = laid_like(gs, size, cnp.PyArray_TYPE(gs))
    w.x, w.y, w.index = <char*>cnp.PyArray_DATA(gx), <char*>cnp.PyArray_DATA(gs), <int*>cnp.PyArray_DATA(places)
    run(&w, SCATTER)
    return gx


def max_pool_gather(x, index):
    """The elements of x at the places that `index` names, in its shape."""
    cdef cnp.ndarray xs = images(x, "max_pool"), places, y
    cdef Work w
    y = laid_like(xs, index.shape[2:], cnp.PyArray_TYPE(xs))
    places = index_like(y, index, places_of(xs))
    prepare(&w, "max_pool", xs, places_of(xs), places_of(y))
    w.x, w.y, w.index = <char*>cnp.PyArray_DATA(xs), <char*>cnp.PyArray_DATA(y), <int*>cnp.PyArray_DATA(places)
    run(&w, GATHER)
    return y


cdef cnp.ndarray index_like(cnp.ndarray y, object index, tuple size):
    """index in y's layout; it must name places of an image of this size."""
    if index.shape != (<object>y).shape or index.dtype != np.int32:
        raise ValueError(f"max_pool: expected an int32 index of shape {(<object>y).shape}, got {index.shape}")
    if index.size and not 0 <= index.min() <= index.max() < np.prod(size):
        raise ValueError(f"max_pool: index: expected places from 0 to {np.prod(size) - 1}")
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
    w.x, w.y = <char*>cnp.PyArray_DATA(xs), <char*>cnp.PyArray_DATA(y)
    run(&w, MEAN)
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
    w.x, w.y = <char*>cnp.PyArray_DATA(gx), <char*>cnp.PyArray_DATA(gs)
    run(&w, SPREAD)
    return gx
