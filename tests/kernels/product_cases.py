"""What the tests of matrix products share."""

from importlib import import_module

import numpy as np

from minidl import _kernels as K

DTYPES = ("float32", "float64")


class Level:
    """The products of one level: the tile's, also where the level itself prefers BLAS."""

    def __init__(self, name):
        gemm = import_module(f"minidl._kernels.{name}.gemm")
        self.matmul = gemm.matmul
        self.affine_forward = gemm.affine_forward
        self.affine_weight_grad = gemm.affine_weight_grad
        self.activation_forward = K.load(name).activation_forward


def load(name):
    return K.load("reference") if name == "reference" else Level(name)


def matrix(rng, rows, columns, dtype, layout):
    """A matrix in one of 7 layouts."""

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    return {
        "rows": lambda: normal(rows, columns),
        "columns": lambda: normal(columns, rows).T,
        "part": lambda: normal(rows + 3, columns + 5)[1 : rows + 1, 2 : columns + 2],
        "part of columns": lambda: normal(columns + 3, rows + 5)[1 : columns + 1, 2 : rows + 2].T,
        "every other": lambda: normal(2 * rows, 3 * columns)[::2, ::3],
        "backwards": lambda: normal(rows, columns)[::-1, ::-1],
        "one row repeated": lambda: np.broadcast_to(normal(1, columns), (rows, columns)),
    }[layout]()


class Truth:
    """The product in float64, and the size of its terms."""

    def __init__(self, a, b):
        a, b = a.astype(np.float64), b.astype(np.float64)
        self.product, self.terms, self.k = a @ b, np.abs(a) @ np.abs(b), a.shape[-1]

    def assert_close(self, c, plus=0.0):
        """c is the product + plus, within the rounding of a sum of K products, element by element."""
        plus = np.asarray(plus, np.float64)
        error = np.abs(c - (self.product + plus))
        bound = self.terms + np.abs(plus)
        assert (error <= (self.k + 3) * np.finfo(c.dtype).eps * bound).all()


def assert_close(c, a, b, plus=0.0):
    Truth(a, b).assert_close(c, plus)
