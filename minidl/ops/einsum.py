"""Einstein summation: sums over axes that one operand alone has, then matrix products of two operands at a time."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import combinations, compress
from math import prod
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple

import numpy as np

from minidl import _kernels as K
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.ops.args import one_float_dtype, operands
from minidl.ops.reduction import sum
from minidl.ops.shape import Transpose, transpose

# A batch of matrices of no more elements than this takes longer than one large matrix, though that takes copies.
FEW_ELEMENTS = 256
# A batch of products of two vectors, which are no longer than this, takes longer than all products and then sums.
FEW_STEPS = 256


class Einsum(Op):
    """y = Σ x0 x1 over the letters that y does not have. Each letter is in two or three of x0, x1 and y.

    So both gradients are of this kind: gy takes the place of an operand, and the operand that of y.
    """

    def __init__(self, left: str, right: str, result: str) -> None:
        self.subscripts = left, right, result
        self.equation = f"{left},{right}->{result}"

    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        how = _layout(*self.subscripts, x0.shape, x1.shape)
        if how.turned:
            x0, x1 = x1, x0
        x0, x1 = (
            K.reshape(x.transpose(order), shape)
            for x, (order, shape) in ((x0, how.left), (x1, how.right))
        )
        if how.summed is None:
            return K.reshape(K.matmul(x0, x1), how.shape).transpose(how.order)
        y = K.binary("mul", x0, x1)
        return K.sum_axes(y, how.summed) if how.summed else y

    def backward(self, gy: Tensor) -> tuple:
        left, right, result = self.subscripts
        return (
            Einsum(result, right, left)(gy, self.input(1)) if self.needs(0) else None,
            Einsum(left, result, right)(self.input(0), gy) if self.needs(1) else None,
        )


class EinsumOfIntegers(Op):
    """The sum of integers or bools, which kernels do not multiply, and which have no gradients."""

    saves = ()

    def __init__(self, equation: str) -> None:
        self.equation = equation

    def forward(self, *xs: np.ndarray) -> np.ndarray:
        return by_numpy(_sum_products, self.equation, *xs)


def _sum_products(equation: str, *xs: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum(equation, *xs, optimize=len(xs) > 2))


Side = tuple[tuple[int, ...], tuple[int, ...]]  # the order of an operand's axes, and its shape then


class Layout(NamedTuple):
    """How two operands become (..., rows, inner) and (..., inner, columns), or factors."""

    turned: bool  # they change places first
    left: Side
    right: Side
    shape: tuple[int, ...]  # of the product, an axis for each letter
    order: tuple[int, ...]  # in which its axes are those of the result
    summed: tuple[int, ...] | None  # the product's axes, of factors; None: they are matrices


@lru_cache(maxsize=512)
def _layout(
    left: str, right: str, result: str, shape0: tuple[int, ...], shape1: tuple[int, ...]
) -> Layout:
    length = dict(zip(left + right, shape0 + shape1, strict=True))
    inner = [c for c in (left if prod(shape0) >= prod(shape1) else right) if c not in result]
    # The columns are the right operand's, and the product has them last, as the result should.
    turned = result[-1:] not in right
    if turned:
        left, right = right, left
    batch, rows, columns = _groups(left, right, result, length)
    short = bool(batch) and not rows and not columns and prod(length[c] for c in inner) <= FEW_STEPS
    factors = short or not inner
    if factors:
        batch, rows, columns = [*result, *inner], [], []

    def side(letters: str, *matrix: list[str]) -> Side:
        axes = () if factors else matrix
        order = [c for c in batch if c in letters] + [c for axis in axes for c in axis]
        shape = [length[c] if c in letters else 1 for c in batch]
        shape += [prod(length[c] for c in axis) for axis in axes]
        return tuple(letters.index(c) for c in order), tuple(shape)

    made = batch + rows + columns
    return Layout(
        turned,
        side(left, rows, inner),
        side(right, inner, columns),
        tuple(length[c] for c in made),
        tuple(made.index(c) for c in result),
        tuple(range(len(result), len(batch))) if factors else None,
    )


def _groups(
    left: str, right: str, result: str, length: dict[str, int]
) -> tuple[list[str], list[str], list[str]]:
    """The letters of the result that count products, rows and columns.

    Letters of one operand that come before the rows, as n does in "oc,nchw->nohw", count products, too: the result and
    the operand are used as they lie.
    """
    free = [c for c in result if (c in left) != (c in right)]
    ends = len(free)
    while ends and free[ends - 1] in right:
        ends -= 1
    begins = ends
    while begins and free[begins - 1] in left:
        begins -= 1
    if prod(length[c] for c in free[begins:]) > FEW_ELEMENTS:
        free = free[begins:]
    rows, columns = [c for c in free if c in left], [c for c in free if c in right]
    return [c for c in result if c not in free], rows, columns


def einsum(equation: str, *operands_: Any) -> Tensor:
    """Einstein summation as in ``numpy.einsum``: ``einsum("nk,km->nm", a, b)``; "..." and repeated letters work.

    Letters that one operand alone has are summed first, then two operands at a time become a matrix product: of more
    than two, those first whose product is the smallest compared with them. The gradient of an operand is the same sum
    with gy in its place. Dtypes as for `add`.

    Raises:
        ValueError: an equation that does not fit its operands.
        TypeError: an equation that is not a string.
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: equation must be a string, got {equation!r}")
    xs = list(operands(*operands_)) if operands_ else []
    if any([x.dtype.kind == "f" for x in xs]):
        xs = list(one_float_dtype(*xs))
    inputs, output = _explicit(equation, tuple([x.ndim for x in xs]))
    if any(len(set(letters)) < len(letters) for letters in inputs):
        diagonals = [_diagonal(x, letters) for x, letters in zip(xs, inputs, strict=True)]
        xs, inputs = [x for x, _ in diagonals], tuple([letters for _, letters in diagonals])
    sums, pairs = _plan(equation, inputs, output, tuple([x.shape for x in xs]))
    if xs[0].dtype.kind != "f":
        return EinsumOfIntegers(f"{','.join(inputs)}->{output}")(*xs)
    xs = [sum(x, axes) if axes else x for x, axes in zip(xs, sums, strict=True)]
    if not pairs:
        left = [c for axis, c in enumerate(inputs[0]) if axis not in sums[0]]
        return Transpose(tuple([left.index(c) for c in output]))(xs[0])
    for i, j, subscripts in pairs:
        x1, x0 = xs.pop(j), xs.pop(i)
        xs.append(Einsum(*subscripts)(x0, x1))
    return xs[0]


# ── The equation ─────────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=512)
def _explicit(equation: str, ndims: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """The subscripts with "..." spelled out with letters of its own, and the output NumPy would choose."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ndims):
        raise ValueError(
            f"einsum {equation!r}: {len(inputs)} subscripts, but {len(ndims)} operands were given"
        )
    spare = [c for c in ascii_lowercase[::-1] + ascii_uppercase[::-1] if c not in equation]
    widest = 0
    for i, (letters, ndim) in enumerate(zip(inputs, ndims, strict=True)):
        named = len(letters.replace("...", ""))
        if "..." in letters:
            width = ndim - named
            if width > len(spare):
                raise ValueError(
                    f"einsum {equation!r}: operand {i} has {ndim} axes, more than there are names for: "
                    f"the 52 letters"
                )
            widest = max(widest, width)
            inputs[i] = letters.replace("...", "".join(spare[:width][::-1]))
        if len(inputs[i]) != ndim or named > ndim:
            raise ValueError(
                f"einsum {equation!r}: operand {i} has {ndim} axes, its subscripts name {named}"
            )
    batch, letters = "".join(spare[:widest][::-1]), "".join(inputs)
    if arrow:
        output = output.replace("...", batch)
    else:
        once = sorted(c for c in set(letters) if letters.count(c) == 1 and c not in batch)
        output = batch + "".join(once)
    for c in letters + output:
        if c not in ascii_letters:
            raise ValueError(f"einsum {equation!r}: expected letters, got {c!r}")
    for c in output:
        if c not in letters or output.count(c) > 1:
            problem = "no operand has it" if c not in letters else "the output names it twice"
            raise ValueError(f"einsum {equation!r}: letter {c!r} of the output: {problem}")
    return tuple(inputs), output


def _diagonal(x: Tensor, letters: str) -> tuple[Tensor, str]:
    """A repeated letter names a diagonal: it is taken by indexing, whose gradient is known."""
    for letter in dict.fromkeys(letters):
        axes = [axis for axis, c in enumerate(letters) if c == letter]
        if len(axes) > 1:
            n = x.shape[axes[0]]
            if any(x.shape[axis] != n for axis in axes):
                raise ValueError(
                    f"einsum: letter {letter!r} names axes of shape {x.shape} that differ"
                )
            rest = [axis for axis in range(x.ndim) if axis not in axes]
            ids = list(range(n))
            x = transpose(x, (*axes, *rest))[(ids,) * len(axes)]
            letters = letter + "".join(letters[axis] for axis in rest)
    return x, letters


# ── The order of what is computed ────────────────────────────────────────────────────────────────────────────────────

Pair = tuple[int, int, tuple[str, str, str]]


@lru_cache(maxsize=512)
def _plan(
    equation: str, inputs: tuple[str, ...], output: str, shapes: tuple[tuple[int, ...], ...]
) -> tuple[list[tuple[int, ...]], list[Pair]]:
    """What is done one after the other.

    Returns the axes over which each operand is summed first: those of letters that it alone has, and those of length 1
    where another operand has more. And the pairs: which two of the operands that are left are multiplied, and with
    which subscripts; the product becomes the last operand.
    """
    sizes = _sizes(equation, inputs, shapes)
    axes = [
        list(zip(letters, shape, strict=True))
        for letters, shape in zip(inputs, shapes, strict=True)
    ]
    uses = Counter([c for operand in axes for c, n in operand if n == sizes[c]] + list(output))
    needed = [[n == sizes[c] and uses[c] > 1 for c, n in operand] for operand in axes]
    sums = [tuple(axis for axis, keep in enumerate(keeps) if not keep) for keeps in needed]
    left = ["".join(compress(*both)) for both in zip(inputs, needed, strict=True)]
    pairs = []
    while len(left) > 1:
        i, j = _next_pair(left, output, sizes)
        x1, x0 = left.pop(j), left.pop(i)
        left.append(_kept(x0, x1, left, output) if left else output)
        pairs.append((i, j, (x0, x1, left[-1])))
    return sums, pairs


def _sizes(
    equation: str, inputs: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]
) -> dict[str, int]:
    """The length of each letter, which is not 1 if it is not 1 in some operand."""
    sizes: dict[str, int] = {}
    for i, (letters, shape) in enumerate(zip(inputs, shapes, strict=True)):
        for axis, (letter, n) in enumerate(zip(letters, shape, strict=True)):
            known = sizes.setdefault(letter, n)
            if n != known and 1 not in (n, known):
                raise ValueError(
                    f"einsum {equation!r}: letter {letter!r}: axis {axis} of operand {i} has {n}, "
                    f"an earlier axis has {known}"
                )
            if n != 1:
                sizes[letter] = n
    return sizes


def _kept(left: str, right: str, others: list[str], output: str) -> str:
    """The letters of a product that are still needed, in the order in which a batch of matrix products has them."""
    needed = set(output).union(*others)
    both = [c for c in left if c in right]
    return "".join(c for c in dict.fromkeys([*both, *left, *right]) if c in needed)


def _next_pair(inputs: list[str], output: str, sizes: dict[str, int]) -> tuple[int, int]:
    """The two operands whose product is the smallest, compared with what it replaces; of equal ones that with the least
    work. (The greedy order of numpy.einsum_path.)
    """

    def cost(pair: tuple[int, int]) -> tuple[int, int]:
        left, right = (inputs[i] for i in pair)
        others = [letters for i, letters in enumerate(inputs) if i not in pair]
        result = _kept(left, right, others, output)
        made, x0, x1, work = (
            prod(sizes[c] for c in letters) for letters in (result, left, right, {*left, *right})
        )
        return made - x0 - x1, work

    return min(combinations(range(len(inputs)), 2), key=cost)
