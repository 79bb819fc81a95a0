"""The products of the section `ops`: 40 shapes, powers of two and their neighbours, each as x @ y and as x @ y.T.

Rows of a power of two of bytes compete for the same places of a cache. A larger product that takes less time than a
smaller one shows what that costs: its shape could be computed instead.
"""

from __future__ import annotations

from op_row import Row, row

BASES = (
    (128, 1024, 1024), (32, 1024, 1024), (64, 512, 512), (256, 2048, 1024), (128, 4096, 1024), (32, 3136, 128),
    (256, 256, 256), (512, 512, 512), (64, 784, 256), (1024, 64, 1024),
)  # fmt: skip
LARGER = ((0, 0, 0), (8, 0, 0), (0, 1, 0), (0, 0, 16))  # what is added to m, k and n
SHAPES = {
    base: [tuple(map(sum, zip(base, more, strict=True))) for more in LARGER] for base in BASES
}
CALLS = {"x @ y": "{m}x{k} {k}x{n}", "x @ y.T": "{m}x{k} {n}x{k}"}


def product(call: str, m: int, k: int, n: int) -> Row:
    return row("ops.matmul", CALLS[call].format(m=m, k=k, n=n), call, call, call)


ROWS = [product(call, *shape) for shapes in SHAPES.values() for shape in shapes for call in CALLS]
# name of a product: the names of those that are a little larger
NEIGHBOURS = {
    product(call, *base).name: [product(call, *shape).name for shape in shapes[1:]]
    for base, shapes in SHAPES.items()
    for call in CALLS
}
