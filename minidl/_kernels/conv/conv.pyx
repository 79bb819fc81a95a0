"""The entry points of the convolutions: forward, input gradient (a transposed convolution), weight gradient.

Ways to compute the same three sums, each faster on some shapes and harder to read than the one before:

    plain      reference/conv.py      a matrix product per tap of the kernel, in NumPy: what a convolution is
    direct     direct.pxd             the sum over the taps on the register tile, read where the image lies
    phases     phases.pxd             which taps a pixel sees, given a stride: what runs for any kernel
    depthwise  depthwise.pxd          each channel by itself: vectors along the channels
    pointwise  pointwise.pxd          a single tap, images in C order: vectors along the pixels, nothing is transposed
    runs       runs_convolution.pxd   few output channels: vectors along the pixels instead of the channels; for images in
                                      C order also with up to 16 of them
    overlap    overlap.pxd            the same, transposed: a product, added up where its results overlap
    lines      lines.pxd              or only along the rows: what comes from several rows is summed on the tile
    Winograd   winograd.pxd           fewer products, for 3 x 3 taps and for 4 x 4 with stride 2 (docs/winograd.md)

`way_of`, below, says which one runs. The weight gradient, and the bias's with it, has sums of its own, direct
(weight_gradient.pxd), depthwise and by runs (runs_gradient.pxd); `compute_gradients` chooses.
MINIDL_WINOGRAD=0 leaves the last step out, MINIDL_KERNELS=reference all but the first. Images come in any layout and
leave as arrays (N, C, *size) with their channels innermost in memory, those of pointwise, runs and lines in C order.
"""

import numpy as np

cimport numpy as cnp
from libc.string cimport memset

from minidl._kernels.runtime cimport epilogues, memory, pool, prepared
from minidl._kernels.arrays.checks cimport behaved, c_order
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.conv.depthwise cimport convolve_depthwise, depthwise_gradient, is_depthwise
from minidl._kernels.conv.weight_gradient cimport weight_gradient
from minidl._kernels.conv.image cimport AXES, Image
from minidl._kernels.conv.lines cimport convolve_lines, lines_cost
from minidl._kernels.math.elementary cimport real
from minidl._kernels.conv.overlap cimport convolve_overlap, overlap_cost, runs_cost
from minidl._kernels.conv.phases cimport Job, Window, convolve
from minidl._kernels.conv.pointwise cimport TURNING, convolve_pointwise, in_planes, pointwise_pays
from minidl._kernels.conv.runs cimport are_apart, runs_fit, runs_pay
from minidl._kernels.conv.runs_convolution cimport convolve_runs
from minidl._kernels.conv.runs_gradient cimport (
    gradient_runs_pay, runs_gradient, swapped_runs_gradient, swapped_runs_pay,
)
from minidl._kernels.conv.winograd_sums cimport (
    LEAST_CHANNELS, LEAST_PAIRS, winograd_convolve, winograd_pays, winograd_weight_gradient,
)
from minidl._kernels.product.product cimport ceil_div
from minidl._kernels.product.tile cimport TILE_BYTES, TILE_VECTORS
from minidl._kernels.runtime.sizes cimport plus, times

cnp.import_array()

cdef enum:
    MOST_OUTPUTS = 16           # of a group, along the pixels
    WALKING = 24                # products of a vector take as long as what direct.pxd does for each pixel and panel
    COPYING = 16                # products of a lane take as long as copying a number

cdef Py_ssize_t SETTING_LIMIT = 2 ** 31 - 1  # of a stride, a padding, a dilation
cdef Py_ssize_t REACH_LIMIT = 2 ** 40        # pixels that a kernel may span, and its steps together
cdef dict ACTIVATIONS = epilogues.activations_of(__name__)


cdef int check_pair(cnp.ndarray x, cnp.ndarray y, str name) except -1:
    if cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(y):
        raise TypeError(f"{name}: expected one dtype, got {x.dtype} and {y.dtype}")
    return 0


cdef int set_axis(
    Py_ssize_t* values, object given, int axes, Py_ssize_t least, Py_ssize_t most, str name
) except -1:
    """One number for each spatial axis; the axes that are not there come first."""
    cdef int axis
    if len(given) != axes:
        raise ValueError(f"{name}: expected {axes} numbers, one a spatial axis, got {given}")
    for axis in range(AXES):
        values[axis] = given[axis + axes - AXES] if axis + axes >= AXES else least
        if not least <= values[axis] <= most:
            raise ValueError(f"{name}: expected numbers from {least} to {most}, got {given}")
    return 0


cdef int set_window(
    Window* w, int ndim, object kernel, object stride, object padding, object dilation,
    Py_ssize_t groups, str name
) except -1:
    cdef int axis
    if not 3 <= ndim <= AXES + 2:
        raise ValueError(f"{name}: expected 1 to 3 spatial axes, got {ndim - 2}")
    if groups < 1:
        raise ValueError(f"{name}: expected at least 1 group, got {groups}")
    w.groups, w.taps = groups, 1
    set_axis(w.kernel, kernel, ndim - 2, 1, REACH_LIMIT, name)
    set_axis(w.stride, stride, ndim - 2, 1, SETTING_LIMIT, name)
    set_axis(w.padding, padding, ndim - 2, 0, SETTING_LIMIT, name)
    set_axis(w.dilation, dilation, ndim - 2, 1, SETTING_LIMIT, name)
    for axis in range(AXES):
        w.taps = times(w.taps, w.kernel[axis])
        if w.kernel[axis] == 1:
            w.dilation[axis] = 1  # it means nothing
    return 0


cdef int fit_steps(Window* w, bint transposed, const Image* stepped, str name) except -1:
    """Checks that places can be computed in 64 bits. `stepped`: the image whose pixels are a stride apart in the
    other."""
    cdef int axis
    for axis in range(AXES):
        if stepped.size[axis] == 1 and not transposed:
            w.stride[axis] = 1  # it means nothing
        if plus(times(w.kernel[axis], w.dilation[axis]),
                times(stepped.size[axis], w.stride[axis])) > REACH_LIMIT:
            raise ValueError(
                f"{name}: {stepped.size[axis]} steps of {w.stride[axis]} and a kernel of {w.kernel[axis]} with "
                f"dilation {w.dilation[axis]} reach further than {REACH_LIMIT} pixels")
    return 0


cdef int set_size(Image* image, Py_ssize_t n, Py_ssize_t c, object size) except -1:
    cdef int axis, axes = len(size)
    image.n, image.c = n, c
    for axis in range(AXES):
        image.size[axis] = size[axis + axes - AXES] if axis + axes >= AXES else 1
    return 0


cdef void view(cnp.ndarray x, Image* image) noexcept:
    """The axes of x (N, C, *size) as those of an image."""
    cdef int axis, axes = cnp.PyArray_NDIM(x) - 2
    cdef cnp.npy_intp* shape = cnp.PyArray_DIMS(x)
    cdef cnp.npy_intp* steps = cnp.PyArray_STRIDES(x)
    memset(image, 0, sizeof(Image))
    image.data = <char*> cnp.PyArray_DATA(x)
    image.n, image.c, image.n_step, image.c_step = shape[0], shape[1], steps[0], steps[1]
    for axis in range(AXES):
        image.size[axis] = image.steps[axis] = 1
        if axis + axes >= AXES:
            image.size[axis] = shape[axis + axes - AXES + 2]
            image.steps[axis] = steps[axis + axes - AXES + 2]


cdef cnp.ndarray new_image(const Image* image, int axes, int kind, bint planes):
    """An array (n, c, *size) in C order, or with the channels innermost in memory."""
    cdef cnp.npy_intp[AXES + 2] shape, order
    cdef cnp.PyArray_Dims permutation
    cdef int axis, c = 1 if planes else axes + 1
    for axis in range(axes):
        shape[axis + (1 if axis + 1 < c else 2)] = image.size[axis + AXES - axes]
        order[axis + 2] = axis + (1 if axis + 1 < c else 2)
    shape[0], shape[c], order[0], order[1] = image.n, image.c, 0, c
    y = memory.empty(axes + 2, shape, kind)
    permutation.ptr, permutation.len = order, axes + 2
    return y if planes else cnp.PyArray_Transpose(y, &permutation)


cdef bint winograd = True


def _use_winograd(bint on):
    """Whether the sums that suit Winograd's algorithm use it. Set when the level is loaded; tests and benchmarks change it."""
    global winograd
    winograd = on


cdef enum Way:
    DIRECT, DEPTHWISE, POINTWISE, RUNS, OVERLAP, LINES, WINOGRAD


cdef bint planes_pay(Py_ssize_t size, const Window* w, const Job* job) noexcept nogil:
    """Whether outputs that fill vectors are summed along the pixels, too: of an image in planes, which direct.pxd would
    transpose, unless many sums between two rows or beyond the last one would be left behind. Costs are in products of a
    lane, for a pixel of y. (A convolution to more channels is likelier to be followed by one that wants them innermost.)"""
    cdef Py_ssize_t inputs = job.x.c // w.groups, outputs = job.y.c // w.groups, columns = job.y.size[2], rows = job.y.size[1]
    cdef Py_ssize_t reach = (w.kernel[2] - 1) * w.dilation[2], lane = max(1, TILE_BYTES // size), pitch = columns, sums
    cdef Py_ssize_t low = reach - w.padding[2] if job.transposed else w.padding[2]
    cdef double direct, runs = inputs + outputs
    cdef bint apart = are_apart(w, job)
    if (outputs > MOST_OUTPUTS or w.stride[1] > 1 or w.stride[2] > 1 or not (job.x.c == 1 or in_planes(size, &job.x))
            or not runs_fit(size, w, job, apart)):
        return False
    if apart:
        runs = inputs * (1 + w.kernel[2])
    else:
        pitch = max(columns, max(job.x.size[2] + low, columns + reach - low))
    sums = ceil_div((rows - 1) * pitch + columns, lane * TILE_VECTORS) * lane * TILE_VECTORS
    # (A tile of a single vector reads an operand for each product.)
    direct = ceil_div(outputs, lane) * lane * (
        inputs * w.taps * (1.125 if outputs <= lane else 1.0) + WALKING) + TURNING * inputs
    return <double> inputs * w.taps * outputs * sums / (rows * columns) + COPYING * runs < direct


cdef Way way_of(real* kind, const Window* w, const Job* job) noexcept nogil:
    """How a convolution is computed, which its shape alone decides."""
    cdef Py_ssize_t phases = w.stride[1] if job.transposed else 1
    cdef double lines, overlap
    if is_depthwise(kind, w, job):
        return DEPTHWISE
    if pointwise_pays(kind, w, job):
        return POINTWISE
    if winograd and winograd_pays(kind, w, &job.x, &job.y, LEAST_CHANNELS * phases):
        return WINOGRAD
    lines, overlap = lines_cost(kind, w, job), overlap_cost(kind, w, job)
    if min(lines, overlap) <= runs_cost(kind, w, job):
        return LINES if lines <= overlap else OVERLAP
    return RUNS if runs_pay(kind, w, job, are_apart(w, job)) or planes_pay(sizeof(real), w, job) else DIRECT


cdef inline bint compute(real* kind, const Window* w, Job* job, Way way) noexcept nogil:
    if way == DEPTHWISE:
        return convolve_depthwise(kind, w, job)
    if way == POINTWISE:
        return convolve_pointwise(kind, w, job)
    if way == WINOGRAD:
        return winograd_convolve(kind, w, job)
    if way == LINES:
        return convolve_lines(kind, w, job)
    if way == OVERLAP:
        return convolve_overlap(kind, w, job)
    if way == RUNS:
        return convolve_runs(kind, w, job)
    return convolve(kind, w, job)


cdef inline bint compute_gradients(
    real* kind, const Window* w, Job* job, char* gw, char* gb
) noexcept nogil:
    """Of weights and bias, from job.x and gy, job.y. Which way is decided here, by the shape."""
    cdef bint finite, done
    if is_depthwise(kind, w, job):
        return depthwise_gradient(kind, w, job, gw, gb)
    if winograd and job.x.c * job.y.c >= LEAST_PAIRS and winograd_pays(kind, w, &job.x, &job.y, 0):
        return winograd_weight_gradient(kind, w, &job.x, &job.y, gw, gb)
    if swapped_runs_pay(kind, w, job):
        done = swapped_runs_gradient(kind, w, job, gw, gb, &finite)
        if finite or not done:
            return done
    if gradient_runs_pay(kind, w, job):
        return runs_gradient(kind, w, job, gw, gb)
    return weight_gradient(kind, w, &job.x, &job.y, gw, gb)


cdef struct Convolution:
    Window window
    Job job
    Way way
    bint wide


cdef int run(void* work) except -1:
    cdef Convolution* c = <Convolution*> work
    cdef Job job = c.job  # which is changed where it is padded
    cdef bint done
    with nogil:
        if c.wide:
            done = compute(<double*> NULL, &c.window, &job, c.way)
        else:
            done = compute(<float*> NULL, &c.window, &job, c.way)
    if not done:
        pool.fail("conv_transpose" if job.transposed else "conv")
    return 0


cdef cnp.ndarray result(
    Window* w, bint transposed, cnp.ndarray x, cnp.ndarray weight, object bias,
    Py_ssize_t channels, object size, str activation, double a, double b, str name
):
    """The result of a convolution whose arguments fit, with `channels` and of this size."""
    cdef Job job
    cdef cnp.ndarray y, bs
    cdef epilogues.Loops loops
    cdef bint double_ = is_double(x)
    cdef Convolution convolution
    cdef Way way
    for n in size:
        if n < 0:
            raise ValueError(f"{name}: expected a size without negative numbers, got {size}")
    if len(size) != cnp.PyArray_NDIM(x) - 2:
        raise ValueError(f"{name}: expected {cnp.PyArray_NDIM(x) - 2} numbers, one a spatial axis, "
                         f"got {size}")
    memset(&job, 0, sizeof(Job))
    if bias is not None:
        bs = c_order(bias, f"{name}: bias")
        check_pair(x, bs, name)
        if cnp.PyArray_NDIM(bs) != 1 or cnp.PyArray_DIMS(bs)[0] != channels:
            raise ValueError(f"{name}: expected bias ({channels},), got {bias.shape}")
        job.bias = <const char*> cnp.PyArray_DATA(bs)
    view(x, &job.x)
    set_size(&job.y, job.x.n, channels, size)
    if job.y.n * job.y.c * job.y.size[0] * job.y.size[1] * job.y.size[2] == 0:
        return new_image(&job.y, len(size), cnp.PyArray_TYPE(x), False)
    fit_steps(w, transposed, &job.x if transposed else &job.y, name)
    job.transposed, job.weight = transposed, <const char*> cnp.PyArray_DATA(weight)
    way = way_of(<double*> NULL, w, &job) if double_ else way_of(<float*> NULL, w, &job)
    y = new_image(&job.y, len(size), cnp.PyArray_TYPE(x), way in (RUNS, LINES, POINTWISE))
    view(y, &job.y)
    if activation is not None:
        loops = epilogues.find(ACTIVATIONS, activation)
        job.activation = loops.forward[double_]
        job.alpha, job.beta = a, b
    convolution = Convolution(w[0], job, way, double_)
    prepared.do(run, &convolution, sizeof(convolution), y)
    return y


def conv_forward(
    x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), Py_ssize_t groups=1,
    size=None, str activation=None, double a=0, double b=0,
):
    """y (N, O, *size) from x (N, C, ...), weight (O, C/groups, *kernel) and bias (O,).

    `size`: of the spatial axes of y; by default as many pixels as x and its padding allow. What y sees beyond x is
    zero. `activation`: the name of one, with parameters a and b, that is applied to y while it is in the cache.

    Raises ValueError on shapes that do not fit, TypeError on dtypes other than float32 or float64 throughout.
    """
    cdef cnp.ndarray xs = behaved(x, "conv: x"), ws = c_order(weight, "conv: weight")
    cdef Window w
    cdef Py_ssize_t outputs, reach
    cdef int axis, axes = cnp.PyArray_NDIM(xs) - 2
    check_pair(xs, ws, "conv")
    if cnp.PyArray_NDIM(ws) != axes + 2:
        raise ValueError(f"conv: expected weight with {axes + 2} axes, got {weight.shape}")
    set_window(&w, axes + 2, weight.shape[2:], stride, padding, dilation, groups, "conv")
    outputs = cnp.PyArray_DIMS(ws)[0]
    if outputs % groups or cnp.PyArray_DIMS(ws)[1] * groups != cnp.PyArray_DIMS(xs)[1]:
        raise ValueError(f"conv: expected weight (O, {cnp.PyArray_DIMS(xs)[1]}/{groups}, ...) with O "
                         f"divided by {groups}, got {weight.shape}")
    if size is None:
        size = []
        for axis in range(AXES - axes, AXES):
            reach = w.dilation[axis] * (w.kernel[axis] - 1) + 1
            reach = cnp.PyArray_DIMS(xs)[axis + axes - AXES + 2] + 2 * w.padding[axis] - reach
            size.append(0 if reach < 0 else reach // w.stride[axis] + 1)
    return result(&w, False, xs, ws, bias, outputs, size, activation, a, b, "conv")


def conv_input_grad(
    gy, weight, size, stride=(1, 1), padding=(0, 0), dilation=(1, 1), Py_ssize_t groups=1,
    bias=None, str activation=None, double a=0, double b=0,
):
    """gx (N, C, *size) from gy (N, O, ...) and weight (O, C/groups, *kernel); as a transposed convolution it has a bias
    (C,) and an activation.

    Raises ValueError on shapes that do not fit, TypeError on dtypes other than float32 or float64 throughout.
    """
    cdef cnp.ndarray xs = behaved(gy, "conv_transpose: gy")
    cdef cnp.ndarray ws = c_order(weight, "conv_transpose: weight")
    cdef Window w
    cdef int axes = cnp.PyArray_NDIM(xs) - 2
    check_pair(xs, ws, "conv_transpose")
    if cnp.PyArray_NDIM(ws) != axes + 2:
        raise ValueError(f"conv_transpose: expected weight with {axes + 2} axes, got {weight.shape}")
    set_window(&w, axes + 2, weight.shape[2:], stride, padding, dilation, groups, "conv_transpose")
    if cnp.PyArray_DIMS(ws)[0] % groups or cnp.PyArray_DIMS(ws)[0] != cnp.PyArray_DIMS(xs)[1]:
        raise ValueError(f"conv_transpose: expected weight ({cnp.PyArray_DIMS(xs)[1]}, C/{groups}, "
                         f"...) for gy {gy.shape}, got {weight.shape}")
    return result(&w, True, xs, ws, bias, cnp.PyArray_DIMS(ws)[1] * groups, size, activation, a, b,
                  "conv_transpose")


cdef struct Gradients:
    Window window
    Job job
    char* gw
    char* gb
    bint wide


cdef int run_gradients(void* work) except -1:
    cdef Gradients* g = <Gradients*> work
    cdef Job job = g.job  # which is changed where it is padded
    cdef bint done
    with nogil:
        if g.wide:
            done = compute_gradients(<double*> NULL, &g.window, &job, g.gw, g.gb)
        else:
            done = compute_gradients(<float*> NULL, &g.window, &job, g.gw, g.gb)
    if not done:
        pool.fail("conv_weight_grad")
    return 0


def conv_weight_grad(
    x, gy, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), Py_ssize_t groups=1
):
    """(gw, gb): gw (O, C/groups, *kernel) from x (N, C, ...) and gy (N, O, ...), and gb (O,), the sum of gy's pixels.

    Raises ValueError on shapes that do not fit, TypeError on dtypes other than float32 or float64 throughout.
    """
    cdef cnp.ndarray xs = behaved(x, "conv_weight_grad: x")
    cdef cnp.ndarray gys = behaved(gy, "conv_weight_grad: gy"), gw, gb
    cdef cnp.npy_intp[AXES + 2] shape
    cdef Gradients gradients
    cdef Job* job = &gradients.job
    cdef Window w
    cdef int axis, ndim = cnp.PyArray_NDIM(xs)
    check_pair(xs, gys, "conv_weight_grad")
    set_window(&w, ndim, kernel, stride, padding, dilation, groups, "conv_weight_grad")
    if cnp.PyArray_NDIM(gys) != ndim or cnp.PyArray_DIMS(gys)[0] != cnp.PyArray_DIMS(xs)[0]:
        raise ValueError(f"conv_weight_grad: expected x and gy of one batch with as many axes, got "
                         f"{x.shape} and {gy.shape}")
    if cnp.PyArray_DIMS(xs)[1] % groups or cnp.PyArray_DIMS(gys)[1] % groups:
        raise ValueError(f"conv_weight_grad: {groups} groups do not divide the channels of x "
                         f"{x.shape} and gy {gy.shape}")
    shape[0], shape[1] = cnp.PyArray_DIMS(gys)[1], cnp.PyArray_DIMS(xs)[1] // groups
    for axis in range(ndim - 2):
        shape[axis + 2] = kernel[axis]
    gw = memory.empty(ndim, shape, cnp.PyArray_TYPE(xs))
    gb = memory.empty(1, shape, cnp.PyArray_TYPE(xs))
    if cnp.PyArray_SIZE(gys) == 0:
        cnp.PyArray_FILLWBYTE(gw, 0)  # (a plan that is being recorded refuses what no call has filled)
        cnp.PyArray_FILLWBYTE(gb, 0)
        return gw, gb
    memset(job, 0, sizeof(Job))
    view(xs, &job.x)
    view(gys, &job.y)
    fit_steps(&w, False, &job.y, "conv_weight_grad")
    gradients.window, gradients.wide = w, is_double(gw)
    gradients.gw, gradients.gb = cnp.PyArray_BYTES(gw), cnp.PyArray_BYTES(gb)
    prepared.do(run_gradients, &gradients, sizeof(gradients), gw)
    if prepared.capturing():
        prepared.fills(gb)
    return gw, gb
