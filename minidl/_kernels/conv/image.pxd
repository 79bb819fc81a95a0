# Images for the convolutions: channels innermost, with zeros around them where the kernel looks
# beyond the edge. An image that is laid out like this already is read in place.

from libc.string cimport memcpy, memset

from minidl._kernels.runtime cimport memory
from minidl._kernels.math.elementary cimport real
from minidl._kernels.product.product cimport run_tasks, task_t
from minidl._kernels.runtime.sizes cimport plus, times
from minidl._kernels.product.tile cimport transpose

cdef enum:
    AXES = 3                # depth, height, width; images with fewer axes have 1 in front
    SERIAL_COPY = 32 << 10  # elements that one thread copies faster than it calls for help
    COPY_FLOPS = 32         # that take as long as copying an element, about


cdef struct Image:
    # `data` is the first pixel. All steps are in bytes.
    char* data
    Py_ssize_t n, c
    Py_ssize_t[AXES] size
    Py_ssize_t n_step, c_step
    Py_ssize_t[AXES] steps
    void* scratch           # memory to give back, or NULL


cdef struct Copy:
    const Image* x
    char* y                 # the first element, which may be one of the zeros
    Py_ssize_t[AXES] low, size
    Py_ssize_t groups, c    # of channels, and the channels of one
    Py_ssize_t pixel        # bytes of these


cdef inline bint pad_image(
    real* kind, const Image* x, const Py_ssize_t* low, const Py_ssize_t* high, bint pack, Image* y,
    Py_ssize_t groups=1
) noexcept nogil:
    """Makes y: x with channels innermost, and `low` zeros before and `high` zeros after it on each axis
    (NULL: none).

    y is x itself if it will do and `pack` is False; else it is dense scratch memory, where each group of channels of
    a sample is an image of its own. False: no memory, or the work was stopped."""
    cdef Copy copy
    cdef Py_ssize_t size = sizeof(real), rows
    cdef bint padded = False
    cdef int axis
    y[0] = x[0]
    y.scratch = NULL
    for axis in range(AXES):
        copy.low[axis], copy.size[axis] = 0, x.size[axis]
        if low != NULL:
            copy.low[axis] = low[axis]
            copy.size[axis] = plus(plus(low[axis], x.size[axis]), high[axis])
        padded = padded or copy.size[axis] > x.size[axis]
    if not (padded or pack) and (x.c_step == size or x.c == 1):
        return True
    for axis in range(AXES):
        y.size[axis] = copy.size[axis]
    y.c_step, y.c = size, x.c // groups
    y.steps[2] = times(y.c, size)
    y.steps[1] = times(y.size[2], y.steps[2])
    y.steps[0] = times(y.size[1], y.steps[1])
    y.n_step = times(y.size[0], y.steps[0])
    y.scratch = memory.take(plus(times(times(x.n, groups), y.n_step), 1))
    if y.scratch == NULL:
        return False
    copy.x, copy.y, copy.pixel, copy.groups, copy.c = x, <char*> y.scratch, y.steps[2], groups, y.c
    rows = x.n * y.size[0] * y.size[1]
    if not run_tasks(<task_t> copy_task[real], &copy, x.n * groups * y.size[0],
                     rows * y.size[2] * x.c <= SERIAL_COPY, False, COPY_FLOPS * rows * y.size[2] * x.c):
        memory.give(y.scratch)
        return False
    y.data = <char*> y.scratch
    for axis in range(AXES):
        y.data += copy.low[axis] * y.steps[axis]
        y.size[axis] = x.size[axis]
    return True


cdef inline void copy_task(real* kind, const Copy* s, Py_ssize_t index) noexcept nogil:
    """One image, or one depth of a volume, in a group of channels."""
    cdef const Image* x = s.x
    cdef Py_ssize_t row = s.size[2] * s.pixel, h, d = index % s.size[0] - s.low[0]
    cdef Py_ssize_t image = index // s.size[0]
    cdef const char* plane = x.data + (
        image // s.groups * x.n_step + image % s.groups * s.c * x.c_step + d * x.steps[0])
    cdef char* y = s.y + index * s.size[1] * row
    if d < 0 or d >= x.size[0]:
        memset(y, 0, s.size[1] * row)
        return
    for h in range(-s.low[1], s.size[1] - s.low[1]):
        if h < 0 or h >= x.size[1]:
            memset(y, 0, row)
        else:
            copy_row(kind, s, plane + h * x.steps[1], y)
        y += row


cdef inline void copy_row(real* kind, const Copy* s, const char* x, char* y) noexcept nogil:
    cdef const Image* image = s.x
    cdef Py_ssize_t size = sizeof(real), w, c, step = image.steps[2], width = image.size[2]
    memset(y, 0, s.low[2] * s.pixel)
    y += s.low[2] * s.pixel
    if image.c_step == size and step == s.pixel or s.c == 1 and step == size:
        memcpy(y, x, width * s.pixel)
    elif image.c_step == size:
        for w in range(width):
            memcpy(y + w * s.pixel, x + w * step, s.pixel)
    elif step == size:
        transpose(kind, x, image.c_step, y, s.pixel, s.c, width, s.c)
    else:
        for w in range(width):
            for c in range(s.c):
                (<real*> (y + w * s.pixel))[c] = (
                    <const real*> (x + w * step + c * image.c_step))[0]
    memset(y + width * s.pixel, 0, (s.size[2] - s.low[2] - width) * s.pixel)
