"""Pooling over 1, 2 or 3 spatial axes: the greatest value of each window, or the mean.

The loops are in pooling_loops.pxd (forward) and pooling_gradients.pxd. Missing axes have length 1. Each task owns the
memory it writes, and the bits do not depend on the number of threads.

The gradient of the maximum goes to the places where the greatest values stand. The forward pass keeps their numbers, but
for small windows that do not overlap, in which they are found again as quickly (`found_again`).

At equal values the first one counts. NaN is greater than anything. What lies outside the image is -inf for the maximum
and 0 for the mean, whose divisor is the whole window.
"""

cimport numpy as cnp
from libc.string cimport memset
from minidl._kernels.loops.driver cimport loop_t, of_dtype, run
from minidl._kernels.runtime cimport memory
from minidl._kernels.arrays.buffers cimport within
from minidl._kernels.arrays.checks cimport images, new_images, same_layout, seen
from minidl._kernels.arrays.copying cimport c_copy
from minidl._kernels.rows.folding cimport Max
from minidl._kernels.rows.pooling_gradients cimport (
    GIVEN, SIDE, Gather, Scatter, spread, walk_give, walk_give_pairs, walk_index, walk_spread_pairs,
)
from minidl._kernels.rows.pooling_loops cimport COLUMNS, LANES, NARROW, PAIRS, Keep, Mean, Work, walk, walk_pairs
from minidl._kernels.runtime.prepared cimport capturing, fills
from minidl._kernels.runtime.sizes cimport times

import numpy as np

cnp.import_array()

cdef enum:
    CHUNK = 16384  # elements of a row that are computed together, at most
    COST = 4       # of an element, in additions
    LONG = 128     # a row that is better folded by itself than column by column with others

cdef Py_ssize_t LIMIT = 2 ** 31 - 1  # of a kernel, a stride, a padding, and of an image's places


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


cdef bint is_paired(Work* w) noexcept:
    """Whether windows are 2 x 2 in C order, side by side without padding, and enough for a vector."""
    return (
        w.step == 1 and w.kernel[0] == 1 and w.kernel[1] == w.stride[1] == w.kernel[2] == w.stride[2] == 2
        and w.pad[1] == w.pad[2] == 0 and w.size[0] == w.out[0] and PAIRS <= w.out[2] <= CHUNK
    )


cdef void simplify(Work* w, Py_ssize_t shortest) noexcept:
    """Joins axes (in C order a window that holds whole rows of the image is longer rows of a flatter one, at least of
    this length), and looks how the windows lie."""
    cdef int i
    cdef Py_ssize_t inside, columns
    for i in range(3):
        if w.out[i] == 1:  # the only window: it does not move
            w.stride[i] = w.kernel[i]
    for i in range(1, -1, -1):
        if w.step > 1 or w.kernel[2] != w.size[2] or w.pad[2] or w.pad[i] or (i == 0 and w.size[1] != 1):
            continue
        if w.kernel[i] * w.size[2] >= shortest:
            w.kernel[2], w.stride[2] = w.kernel[i] * w.size[2], w.stride[i] * w.size[2]
            w.size[2], w.out[2] = w.size[i] * w.size[2], w.out[i]
            w.size[i] = w.out[i] = w.kernel[i] = w.stride[i] = 1
    inside = w.size[2] + w.pad[2] - w.kernel[2]  # where the last window begins that lies inside the image
    w.inner[0] = (w.pad[2] + w.stride[2] - 1) // w.stride[2]
    w.inner[1] = min(inside // w.stride[2] + 1, w.out[2]) if inside >= 0 else 0
    columns = min(w.kernel[2], w.size[2]) * w.step
    w.by_columns = w.step < NARROW and columns <= COLUMNS and times(w.places, w.step) <= LIMIT
    if min(w.kernel[0], w.size[0]) == min(w.kernel[1], w.size[1]) == 1 and columns >= LANES <= w.stride[2]:
        w.by_columns = w.by_columns and w.step != 1
    w.alone = w.step == 1 and not w.by_columns
    w.joined = (
        w.by_columns and w.step == 1 and w.pad[2] == 0 and w.kernel[2] == w.stride[2]
        and w.size[2] == w.kernel[2] * w.out[2] <= COLUMNS
    )
    w.paired = is_paired(w)


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
    places = index if w.step == 1 else index.transpose((0, *range(2, index.ndim), 1))
    places = seen(places) if cnp.PyArray_IS_C_CONTIGUOUS(places) else c_copy(places)
    if not within(places, w.places):
        raise ValueError(f"max_pool: index: expected places from 0 to {w.places - 1}")
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


cdef cnp.ndarray forward(
    str name, object x, tuple kernel, tuple stride, tuple padding, loop_t single, loop_t wide, loop_t pairs,
    loop_t wide_pairs,
):
    """One number for each window of x."""
    cdef Work w
    cdef cnp.ndarray xs = start_on(&w, name, x, kernel, stride, padding)
    cdef cnp.ndarray y = new_image(&w, w.out, cnp.PyArray_TYPE(xs))
    simplify(&w, LONG)
    if w.paired:
        single, wide = pairs, wide_pairs
    run_rows(&w, of_dtype(xs, single, wide), w.out, y)
    return y


def max_pool_forward(x, tuple kernel, tuple stride, tuple padding):
    """The greatest value of each window of x (N, C, ...)."""
    return forward(
        "max_pool", x, kernel, stride, padding, <loop_t>walk[Max, float], <loop_t>walk[Max, double],
        <loop_t>walk_pairs[Max, float], <loop_t>walk_pairs[Max, double],
    )


def avg_pool_forward(x, tuple kernel, tuple stride, tuple padding):
    """The mean of each window of x (N, C, ...), what lies outside counted as 0."""
    return forward(
        "avg_pool", x, kernel, stride, padding, <loop_t>walk[Mean, float], <loop_t>walk[Mean, double],
        <loop_t>walk_pairs[Mean, float], <loop_t>walk_pairs[Mean, double],
    )


cdef bint fill_image(Work* w) noexcept:
    """Whether the windows are 2 x 2 in C order, and leave nothing of the image out."""
    return is_paired(w) and w.size[1] == 2 * w.out[1] and w.size[2] == 2 * w.out[2]


cdef bint found_again(Work* w) noexcept:
    """Whether windows are so small, and so many lie side by side, that max_pool_backward finds their greatest values
    again: they have two columns and one or two rows, inside the image, and do not overlap."""
    cdef int i
    for i in range(3):
        if w.pad[i] or w.kernel[i] > w.stride[i]:
            return False
    return (
        w.kernel[2] == w.stride[2] == 2 and w.kernel[0] * w.kernel[1] <= 2
        and (w.step > 1 or w.out[2] >= GIVEN // 2 or fill_image(w))
    )


def max_pool_places(x, tuple kernel, tuple stride, tuple padding, bint always=True):
    """The greatest value of each window of x, and the number of the place where it stands first, as int32. Not `always`:
    None in place of the numbers, if max_pool_backward finds them again as quickly."""
    cdef Work w
    cdef cnp.ndarray xs = start_on(&w, "max_pool", x, kernel, stride, padding), y, index
    if not always and found_again(&w):
        return max_pool_forward(xs, kernel, stride, padding), None
    y, index = new_image(&w, w.out, cnp.PyArray_TYPE(xs)), new_image(&w, w.out, cnp.NPY_INT32)
    simplify(&w, LONG)
    w.index = <int*>cnp.PyArray_DATA(index)
    run_rows(&w, of_dtype(xs, <loop_t>walk[Keep, float], <loop_t>walk[Keep, double]), w.out, y)
    if capturing():
        fills(index)
    return y, index


def max_pool_backward(x, gy, tuple kernel, tuple stride, tuple padding):
    """gx: each element of gy added where the greatest value of its window of x stands first."""
    cdef Work w
    cdef cnp.ndarray xs = start_on(&w, "max_pool", x, kernel, stride, padding), gs, gx
    cdef cnp.ndarray like = new_image(&w, w.out, cnp.PyArray_TYPE(xs))
    gs = same_layout(gy, like, "max_pool")
    if not found_again(&w):
        return max_pool_scatter(gs, max_pool_places(xs, kernel, stride, padding)[1], (<object>xs).shape[2:])
    gx = memory.empty_like(xs)
    w.given = cnp.PyArray_DATA(gs)
    if fill_image(&w):
        run_rows(&w, of_dtype(xs, <loop_t>walk_give_pairs[float], <loop_t>walk_give_pairs[double]), w.out, gx)
    else:
        run_rows(&w, of_dtype(xs, <loop_t>walk_give[float], <loop_t>walk_give[double]), w.out, gx)
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
    w.given = cnp.PyArray_DATA(gs)
    if fill_image(&w):
        run_rows(&w, of_dtype(gs, <loop_t>walk_spread_pairs[float], <loop_t>walk_spread_pairs[double]), w.out, gx)
        return gx
    simplify(&w, 1)
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
