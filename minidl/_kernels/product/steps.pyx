"""Recurrences: what a step computes from the step before it, for all steps in one call.

A step is a list of instructions, each a product or a loop. It has too little work for several threads; but a sequence of
a batch knows nothing of the others. So each task takes some sequences, rows of all arrays, through all steps, and what
it computed in one step is in its cache in the next.
"""

cimport numpy as cnp
from libc.string cimport memset
from minidl._kernels.arrays.checks cimport seen
from minidl._kernels.arrays.layout cimport is_double
from minidl._kernels.product.product cimport LANE_FLOPS, Product, ceil_div
from minidl._kernels.product.tile cimport TILE_LANES
from minidl._kernels.runtime cimport epilogues, pool, prepared
from minidl._kernels.runtime.epilogues cimport Activation, Products, activation_t
from minidl._kernels.runtime.memory cimport owner

cnp.import_array()

cdef enum:
    MOST = 16  # instructions of a step
    ROWS = 16  # of a task, at least,
    MANY_ROWS = 64  # or where the matrices have more bytes than
    NEAR_BYTES = 1 << 19  # these, with which a core's cache can keep them from one step to the next
    TASKS = 16
    COST = 8  # of an element of an activation, in additions, of which a core does
    ADDITIONS = 8  # in a nanosecond
    ADD = 0
    SUB, MUL, ACTIVATE, SLOPE, PRODUCT, MORE

NAMES = {"add": ADD, "sub": SUB, "mul": MUL, "product": PRODUCT, "more": MORE}


cdef struct Place:  # where the rows of an operand are
    const char* data
    const char* first  # in its place at the first step, if it is that of the step before; else NULL
    Py_ssize_t step, row  # from one to the next, in bytes


cdef struct Instruction:
    int kind
    Py_ssize_t n, k  # columns of the result; terms of a product's sums
    Place x, z, y
    Py_ssize_t z_row, z_col  # of a product's matrix z
    activation_t loop
    bint dense  # its rows follow on in all operands


cdef struct Work:
    Instruction[MOST] instructions
    int length
    Py_ssize_t steps, rows, per_task, ns
    bint reverse, wide, failed
    epilogues.multiply_t multiply
    epilogues.combine_t combine


cdef inline const char* at(const Place* place, const Work* w, Py_ssize_t step, Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t t = w.steps - 1 - step if w.reverse else step
    if place.first != NULL:
        if step == 0:
            return place.first + row * place.row
        t += 1 if w.reverse else -1
    return place.data + t * place.step + row * place.row


cdef void do_one(Work* w, const Instruction* do, Py_ssize_t step, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
    cdef const char* x = at(&do.x, w, step, row)
    cdef const char* z = at(&do.z, w, step, row)
    cdef char* y = <char*>at(&do.y, w, step, row)
    cdef Py_ssize_t n = do.n, i
    cdef Activation activation
    cdef Product p
    if do.kind >= PRODUCT:
        memset(&p, 0, sizeof(Product))
        p.m, p.n, p.k, p.a, p.b, p.c = rows, n, do.k, x, do.z.data, y
        p.a_row, p.a_col, p.b_row, p.b_col = do.x.row, 8 if w.wide else 4, do.z_row, do.z_col
        p.add, p.failed = do.kind == MORE, &w.failed
        w.multiply(NULL, &p)
        return
    if do.dense:
        rows, n = 1, rows * n
    if do.kind < ACTIVATE:
        w.combine(do.kind, w.wide, rows, n, x, do.x.row, z, do.z.row, y, do.y.row)
        return
    for i in range(rows):
        activation = Activation(x, z, 0, 0)
        do.loop(NULL, &activation, 0, n, y)
        x, z, y = x + do.x.row, z + do.z.row, y + do.y.row


cdef void task(void* work, Py_ssize_t index) noexcept nogil:
    cdef Work* w = <Work*>work
    cdef Py_ssize_t row = index * w.per_task, step
    cdef int i
    for step in range(w.steps):
        for i in range(w.length):
            do_one(w, &w.instructions[i], step, row, min(w.per_task, w.rows - row))
        if w.failed or pool.stopped():
            w.failed = True
            return


cdef int run(void* work) except -1:
    cdef Work* w = <Work*>work
    cdef bint done
    w.failed = False
    with nogil:
        done = pool.share(task, w, ceil_div(w.rows, w.per_task), False, w.ns)
    return 0 if done and not w.failed else pool.fail("in_steps")


# ── The entry point ──────────────────────────────────────────────────────────────────────────────────────────────────

cdef int find(Place* place, object given, Py_ssize_t n, Work* w, set made) except -1:
    """Where the rows of an array are: (steps, rows, n), (rows, n) at all steps, or (n,) for all rows."""
    cdef cnp.ndarray x, first
    cdef int ndim
    place.first = NULL
    if type(given) is tuple:
        given, first = given
        if not cnp.PyArray_IS_C_CONTIGUOUS(first) or cnp.PyArray_NDIM(first) != 2:
            raise ValueError("in_steps: unexpected operand")
        seen(first)
        place.first = <const char*>cnp.PyArray_DATA(first)
    x = given
    ndim = cnp.PyArray_NDIM(x)
    if place.first == NULL and made is not None and id(owner(x)) not in made:
        seen(x)
    place.data = <const char*>cnp.PyArray_DATA(x)
    place.row = cnp.PyArray_STRIDE(x, ndim - 2) if ndim > 1 else 0
    place.step = cnp.PyArray_STRIDE(x, 0) if ndim > 2 else 0
    if w.rows and (is_double(x) != w.wide or cnp.PyArray_DIM(x, ndim - 1) != n
            or n > 1 and cnp.PyArray_STRIDE(x, ndim - 1) != cnp.PyArray_ITEMSIZE(x)
            or ndim > 1 and cnp.PyArray_DIM(x, ndim - 2) != w.rows or ndim > 2 and cnp.PyArray_DIM(x, 0) < w.steps
            or place.first != NULL and place.row != n * cnp.PyArray_ITEMSIZE(x)):
        raise ValueError("in_steps: unexpected operand")
    return 0


def in_steps(str module, Py_ssize_t steps, bint reverse, list program):
    """Does a program step after step, from the last step to the first if `reverse`.

    An instruction is (name, y, x, z), with "add", "sub" and "mul" for y = x + z and so on, "product" for y = x @ z, "more"
    for y += x @ z, the name of an activation for y = f(x), or its name and "_slope" for y = z f'(x), f' being written
    in terms of f's result x. Each is an array (steps, rows, n), of which a step has its own part, (rows, n), or (n,);
    z of a product is a matrix. A pair (array, first) means the part that belongs to the step before, and `first` at the
    first step. `steps` may be less than an array has.

    module: any of the CPU level whose products and loops are meant.
    """
    cdef Work w
    cdef Instruction* do
    cdef cnp.ndarray y, matrix
    cdef epilogues.Loops loops
    cdef Products level = epilogues.products_of(module)
    cdef dict activations = epilogues.activations_of(module)
    cdef Py_ssize_t size, matrices = 0, cost = 0, per_row
    cdef set made = set() if prepared.capturing() else None  # what the program computes itself, a plan need not know of
    memset(&w, 0, sizeof(Work))
    if not 0 < len(program) <= MOST:
        raise ValueError(f"in_steps: expected 1 to {MOST} instructions, got {len(program)}")
    y = program[0][1]
    w.wide, w.steps, w.reverse, w.length = is_double(y), steps, reverse, len(program)
    w.rows, size = cnp.PyArray_DIM(y, cnp.PyArray_NDIM(y) - 2), cnp.PyArray_ITEMSIZE(y)
    w.multiply, w.combine = level.multiply[w.wide], level.combine
    for i, (name, result, x, z) in enumerate(program):
        do, y = &w.instructions[i], result
        do.n = cnp.PyArray_DIM(y, cnp.PyArray_NDIM(y) - 1)
        do.kind = NAMES.get(name, SLOPE if name.endswith("_slope") else ACTIVATE)
        do.k = do.n
        if do.kind >= PRODUCT:
            matrix = z
            do.k, do.z_row, do.z_col = cnp.PyArray_DIM(matrix, 0), cnp.PyArray_STRIDE(matrix, 0), cnp.PyArray_STRIDE(matrix, 1)
            if cnp.PyArray_NDIM(matrix) != 2 or cnp.PyArray_DIM(matrix, 1) != do.n or is_double(matrix) != w.wide:
                raise ValueError("in_steps: unexpected matrix")
            seen(matrix)
            do.z.data = <const char*>cnp.PyArray_DATA(matrix)
            matrices += do.k * do.n * size
            cost += 2 * do.n * do.k * ADDITIONS // (LANE_FLOPS * TILE_LANES)
        else:
            if do.kind >= ACTIVATE:
                loops = epilogues.find(activations, name.removesuffix("_slope"))
                do.loop = loops.backward_from_y[w.wide] if do.kind == SLOPE else loops.forward[w.wide]
            if do.kind != ACTIVATE:
                find(&do.z, z, do.n, &w, made)
            cost += do.n * (COST if do.kind >= ACTIVATE else 1)
        find(&do.x, x, do.k, &w, made)
        find(&do.y, y, do.n, &w, None)
        per_row = do.n * size
        do.dense = do.x.row == per_row and do.y.row == per_row and (do.kind == ACTIVATE or do.z.row == per_row)
        if w.rows and do.kind >= PRODUCT and do.y.row != per_row or not cnp.PyArray_ISWRITEABLE(y):
            raise ValueError("in_steps: unexpected result")
        if made is not None:
            made.add(id(owner(y)))
    w.per_task = max(ceil_div(w.rows, TASKS), <Py_ssize_t>(ROWS if matrices <= NEAR_BYTES else MANY_ROWS))
    w.ns = steps * w.rows * cost // ADDITIONS
    if w.rows == 0:
        w.steps = 0
    prepared.do(run, &w, sizeof(w), program[0][1])
    if prepared.capturing():
        for name, result, x, z in program:
            prepared.fills(result)
