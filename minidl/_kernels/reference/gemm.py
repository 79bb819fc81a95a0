"""The NumPy definitions of the matrix products, and what runs in their place where no tile beats BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl._kernels.reference.activations import activation_backward, activation_forward

__all__ = ["affine_forward", "affine_weight_grad", "in_steps", "matmul"]

PART_FLOPS = 4 * 10**9  # some 0.1 s on one core
# In a browser NumPy has no BLAS: beyond so many products einsum is twice as fast as matmul there, in which nothing is
# ordered for caches.
BLAS = np.show_config(mode="dicts")["Build Dependencies"]["blas"].get("found", False)
MANY = 10**5


def _floats(name: str, *arrays) -> None:
    for x in arrays:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{name}: expected an ndarray, got {type(x).__name__}")
        kind = x.dtype.type  # the byte order does not matter
        if kind not in (np.float32, np.float64) or kind != arrays[0].dtype.type:
            dtypes = ", ".join(str(x.dtype) for x in arrays)
            raise TypeError(f"{name}: expected float32 or float64 throughout, got {dtypes}")


def matmul(a, b, out=None, accumulate=False):
    _floats("matmul", a, b, *(() if out is None else (out,)))
    if accumulate and out is None:
        raise ValueError("matmul: accumulate needs out")
    with np.errstate(all="ignore"):
        c = np.asarray(_product(a, b))
        if out is None:
            return c
        if out.shape != c.shape:
            raise ValueError(f"matmul: out must have shape {c.shape}, got {out.shape}")
        out[...] = out + c if accumulate else c
        return out


def _product(a, b):
    """np.matmul, a long one in parts: BLAS does not notice Ctrl-C, Python does between two calls."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        try:
            return np.matmul(a, b)
        except ValueError:
            raise ValueError(
                f"matmul: shapes {a.shape} and {b.shape}: a's columns must be as many as b's rows, and of each "
                "batch axis the lengths must be equal, or one of them 1"
            ) from None
    if not BLAS and a.size * b.shape[1] > MANY:
        return np.einsum("ik,kj->ij", a, b)
    rows = max(PART_FLOPS // (2 * max(b.size, 1)), 1)
    if rows >= len(a):
        return np.matmul(a, b)
    c = np.empty((len(a), b.shape[1]), a.dtype)
    for top in range(0, len(a), rows):
        np.matmul(a[top : top + rows], b, out=c[top : top + rows])
    return c


def affine_forward(
    x, weight, bias=None, activation=None, a=0.0, b=0.0, activate=activation_forward
):
    """`activate`: whose activations are applied: those in NumPy, or those of the level that has no tile."""
    _floats("affine", x, weight, *(() if bias is None else (bias,)))
    if weight.ndim != 2 or x.ndim < 1 or weight.shape[1] != x.shape[-1]:
        expected = x.shape[-1] if x.ndim else 1
        raise ValueError(f"affine: expected weight (out, {expected}), got {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"affine: expected bias ({weight.shape[0]},), got {bias.shape}")
    y = np.ascontiguousarray(matmul(x, weight.T))
    if bias is not None:
        with np.errstate(all="ignore"):
            y += bias
    return y if activation is None else activate(activation, y, a, b, y)


def affine_weight_grad(x, gy, gw_out=None):
    _floats("affine", x, gy)
    if x.ndim < 1 or gy.ndim < 1 or x.shape[:-1] != gy.shape[:-1]:
        raise ValueError(f"affine: x and gy differ before the last axis: {x.shape}, {gy.shape}")
    rows, gy_rows = (v.reshape(int(np.prod(v.shape[:-1])), v.shape[-1]) for v in (x, gy))
    with np.errstate(all="ignore"):
        # (Along axis 0 NumPy adds row after row: a float32 sum of 108,000 of them was wrong by 1.5e-5 of itself.)
        gb = gy_rows.sum(axis=0, dtype=np.float64).astype(gy.dtype)
        return matmul(gy_rows.T, rows, out=gw_out), gb


def in_steps(steps, reverse, program):
    arithmetic = {"add": np.add, "sub": np.subtract, "mul": np.multiply}

    def at(x: Any, step: int) -> Any:
        if isinstance(x, tuple):
            return at(x[0], step - 1) if step else x[1]
        return x[steps - 1 - step if reverse else step] if np.ndim(x) == 3 else x

    for step in range(steps):
        for name, y, x, z in program:
            to, a, b = at(y, step), at(x, step), at(z, step)
            with np.errstate(all="ignore"):
                if name in arithmetic:
                    to[...] = arithmetic[name](a, b)
                elif name in ("product", "more"):
                    to[...] = a @ b + (to if name == "more" else 0)
                elif name.endswith("_slope"):
                    to[...] = activation_backward(name.removesuffix("_slope"), a, b, from_y=True)
                else:
                    to[...] = activation_forward(name, a)
