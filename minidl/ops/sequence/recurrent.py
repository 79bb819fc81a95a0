"""Recurrent layers: Elman's RNN, LSTM, GRU; one layer in one direction, over all time steps.

The inputs of all steps meet their weights in one product, beforehand: x (T, N, C) becomes gx (T, N, gates * H). The
rest depends on the step before, and is one op. Its `steps` is the textbook's formula, in Tensor operations, which is
differentiated where gradients are to have gradients; `forward` and `fused_backward` are the same as a program for
K.in_steps, which does all steps in one call. Gates lie side by side, in PyTorch's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.engine import grad
from minidl.autograd.modes import enable_grad, recording
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.ops.activations.piecewise_linear import relu
from minidl.ops.activations.smooth import sigmoid, tanh
from minidl.ops.args import filled, input_and_weights
from minidl.ops.arrays.joining import split, stack
from minidl.ops.linalg import affine
from minidl.ops.shape import reshape

ACTIVATIONS = {"tanh": tanh, "relu": relu}


class Recurrence(Op):
    """y (T, N, H), and for LSTM the last c at y[T], from gx (T, N, gates * H), the first h and c (N, H), and w.

    With `reverse` the steps go from the last to the first. `recorded`: backward may come.
    """

    saves_output = True

    def __init__(self, reverse: bool, recorded: bool) -> None:
        self.reverse, self.recorded = reverse, recorded

    def order(self, steps: int) -> list[int]:
        """The places of the steps, one after the other."""
        return list(range(steps))[::-1] if self.reverse else list(range(steps))

    def steps(self, *xs: Tensor) -> Tensor:
        """The result from the inputs, in Tensor operations."""
        raise NotImplementedError(f"{type(self).__name__} has no steps")

    def in_time(self, found: list[Tensor], *more: Tensor) -> Tensor:
        """The results of the steps, in their places."""
        return stack([*(found[::-1] if self.reverse else found), *more])

    def backward(self, gy: Tensor) -> tuple:
        create = recording()
        with enable_grad():
            xs = [reshape(self.input(i), self.input(i).shape) for i in range(len(self.edges))]
            y = self.steps(*xs)
        wanted = [i for i in range(len(xs)) if self.needs(i)]
        grads = grad(y, [xs[i] for i in wanted], gy, create, allow_unused=True)
        found = dict(zip(wanted, grads, strict=True))
        return tuple(found.get(i) for i in range(len(xs)))

    def in_steps(self, steps: int, *program: tuple, back: bool = False) -> None:
        """The program in the order of the steps, or `back`, against it."""
        K.in_steps(steps, self.reverse != back, list(program))

    def rooms(self, gx: np.ndarray, *widths: int) -> list[np.ndarray]:
        """For what each step computes; without a backward, which would ask for it, the steps take the same place."""
        lead = gx.shape[:2] if self.recorded else gx.shape[1:2]
        return [K.empty((*lead, n), gx.dtype) for n in widths]

    def states(self, gx: np.ndarray, c: np.ndarray) -> tuple:
        """Places for c before and after all steps, and those of the first and the last c."""
        if not self.recorded:
            (every,) = self.rooms(gx, c.shape[1])
            return (every,) * 4
        every = K.empty((len(gx) + 1, *c.shape), gx.dtype)
        if self.reverse:
            return every[1:], every[:-1], every[-1], every[0]
        return every[:-1], every[1:], every[0], every[-1]

    def weight_grad(self, y: np.ndarray, h: np.ndarray, gu: np.ndarray) -> tuple:
        """The gradients of w and b, of u[t] = h[t - 1] wᵀ + b: one product for all steps but the first."""
        first, now, then = (-1, gu[:-1], y[1:]) if self.reverse else (0, gu[1:], y[:-1])
        gw, gb = K.affine_weight_grad(h, gu[first])
        if len(gu) > 1:
            more, more_b = K.affine_weight_grad(then, now)
            gw, gb = K.binary("add", gw, more), K.binary("add", gb, more_b)
        return gw, gb


class RNN(Recurrence):
    """h[t] = f(gx[t] + h[t - 1] wᵀ), with f = tanh or relu."""

    def __init__(self, reverse: bool, recorded: bool, activation: str) -> None:
        super().__init__(reverse, recorded)
        self.activation = activation

    def steps(self, gx: Tensor, h: Tensor, w: Tensor) -> Tensor:  # type: ignore[override]
        found = []
        for t in self.order(len(gx)):
            h = ACTIVATIONS[self.activation](gx[t] + h @ w.T)
            found.append(h)
        return self.in_time(found)

    def forward(self, gx: np.ndarray, h: np.ndarray, w: np.ndarray) -> np.ndarray:
        gx = dense(gx)
        y, u, z = (K.empty(shape, gx.dtype) for shape in (gx.shape, h.shape, h.shape))
        self.in_steps(
            len(gx),
            ("product", u, (y, dense(h)), turned(w, len(gx))),
            ("add", z, gx, u),
            (self.activation, y, z, None),
        )
        return y

    def fused_backward(self, gy: np.ndarray) -> tuple:
        gy = dense(gy)
        h0, w, y = self.input(1)._data, self.input(2)._data, self.output()._data
        gz, g, gh = K.empty(gy.shape, gy.dtype), K.empty(h0.shape, gy.dtype), zeros(h0)
        self.in_steps(
            len(gy),
            ("add", g, gy, gh),
            (f"{self.activation}_slope", gz, y, g),
            ("product", gh, gz, w),
            back=True,
        )
        return gz, gh, self.weight_grad(y, h0, gz)[0] if self.needs(2) else None


class LSTM(Recurrence):
    """c[t] = σ(f) c[t - 1] + σ(i) tanh(g) and h[t] = σ(o) tanh(c[t]), with i, f, g, o = gx[t] + h[t - 1] wᵀ."""

    def steps(self, gx: Tensor, h: Tensor, c: Tensor, w: Tensor) -> Tensor:  # type: ignore[override]
        found = []
        for t in self.order(len(gx)):
            i, f, g, o = split(gx[t] + h @ w.T, 4, 1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
            found.append(h)
        return self.in_time(found, c)

    def forward(self, gx: np.ndarray, h: np.ndarray, c: np.ndarray, w: np.ndarray) -> np.ndarray:  # type: ignore[override]
        gx, n, steps = dense(gx), h.shape[1], len(gx)
        y, u = K.empty((steps + 1, *h.shape), gx.dtype), K.empty(gx.shape[1:], gx.dtype)
        th, ic = self.rooms(gx, n, n)
        if len(h) == 1:  # the gates of one row lie side by side
            (z,) = self.rooms(gx, 4 * n)
            s, g, o = z[..., : 2 * n], z[..., 2 * n : 3 * n], z[..., 3 * n :]
            sums = [("add", z, gx, u)]
        else:
            s, g, o = self.rooms(gx, 2 * n, n, n)
            sums = [
                ("add", s, gx[:, :, : 2 * n], u[:, : 2 * n]),
                ("add", g, gx[:, :, 2 * n : 3 * n], u[:, 2 * n : 3 * n]),
                ("add", o, gx[:, :, 3 * n :], u[:, 3 * n :]),
            ]
        before, after, first, last = self.states(gx, c)
        K.assign(first, c)
        self.in_steps(
            steps,
            ("product", u, (y[:steps], dense(h)), turned(w, len(gx))),
            *sums,
            ("sigmoid", s, s, None),
            ("tanh", g, g, None),
            ("sigmoid", o, o, None),
            ("mul", ic, s[..., :n], g),
            ("mul", after, s[..., n:], before),
            ("add", after, after, ic),
            ("tanh", th, after, None),
            ("mul", y, o, th),
        )
        K.assign(y[steps], last)
        self.kept = s, g, o, th, before
        return y

    def fused_backward(self, gy: np.ndarray) -> tuple:
        gy = dense(gy)
        h0, w, y = self.input(1)._data, self.input(3)._data, self.output()._data
        gz, n = K.empty(self.input(0).shape, gy.dtype), h0.shape[1]
        gh, gc, (s, g, o, th, c) = zeros(h0), K.copy(gy[-1]), self.kept
        go, more, gth = (K.empty(h0.shape, gy.dtype) for _ in range(3))
        gs = K.empty((len(h0), 2 * n), gy.dtype)
        self.in_steps(
            len(gy) - 1,
            ("add", go, gy, gh),
            ("mul", more, go, o),
            ("tanh_slope", gth, th, more),
            ("add", gc, gc, gth),
            ("mul", gs[:, :n], gc, g),
            ("mul", gs[:, n:], gc, c),
            ("sigmoid_slope", gz[:, :, : 2 * n], s, gs),
            ("mul", more, gc, s[:, :, :n]),
            ("tanh_slope", gz[:, :, 2 * n : 3 * n], g, more),
            ("mul", more, go, th),
            ("sigmoid_slope", gz[:, :, 3 * n :], o, more),
            ("mul", gc, gc, s[:, :, n:]),
            ("product", gh, gz, w),
            back=True,
        )
        return gz, gh, gc, self.weight_grad(y[:-1], h0, gz)[0] if self.needs(3) else None


class GRU(Recurrence):
    """h[t] = n + σ(z) (h[t - 1] - n) with n = tanh(gx[t].n + σ(r) u.n), r, z = gx[t] + u and u = h[t - 1] wᵀ + b."""

    def steps(self, gx: Tensor, h: Tensor, w: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        found = []
        for t in self.order(len(gx)):
            (xr, xz, xn), (ur, uz, un) = split(gx[t], 3, 1), split(h @ w.T + b, 3, 1)
            r, z = sigmoid(xr + ur), sigmoid(xz + uz)
            new = tanh(xn + r * un)
            h = new + z * (h - new)
            found.append(h)
        return self.in_time(found)

    def forward(self, gx: np.ndarray, h: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:  # type: ignore[override]
        gx, h, n = dense(gx), dense(h), h.shape[1]
        y, run = K.empty((len(gx), *h.shape), gx.dtype), K.empty(h.shape, gx.dtype)
        s, u, new, far = self.rooms(gx, 2 * n, 3 * n, n, n)
        self.in_steps(
            len(gx),
            ("product", u, (y, h), turned(w, len(gx))),
            ("add", u, u, dense(b)),
            ("add", s, gx[:, :, : 2 * n], u[..., : 2 * n]),
            ("sigmoid", s, s, None),
            ("mul", run, s[..., :n], u[..., 2 * n :]),
            ("add", run, gx[:, :, 2 * n :], run),
            ("tanh", new, run, None),
            ("sub", far, (y, h), new),
            ("mul", run, s[..., n:], far),
            ("add", y, new, run),
        )
        self.kept = s, u, new, far
        return y

    def fused_backward(self, gy: np.ndarray) -> tuple:
        gy = dense(gy)
        h0, w, y = self.input(1)._data, self.input(2)._data, self.output()._data
        shape, n, (s, u, new, far) = self.input(0).shape, h0.shape[1], self.kept
        gx, gu, gh = K.empty(shape, gy.dtype), K.empty(shape, gy.dtype), zeros(h0)
        g, gn = (K.empty(h0.shape, gy.dtype) for _ in range(2))
        gs = K.empty((len(h0), 2 * n), gy.dtype)
        self.in_steps(
            len(gy),
            ("add", g, gy, gh),
            ("mul", gh, g, s[:, :, n:]),
            ("sub", gn, g, gh),
            ("tanh_slope", gx[:, :, 2 * n :], new, gn),
            ("mul", gs[:, :n], gx[:, :, 2 * n :], u[:, :, 2 * n :]),
            ("mul", gs[:, n:], g, far),
            ("sigmoid_slope", gx[:, :, : 2 * n], s, gs),
            ("sigmoid_slope", gu[:, :, : 2 * n], s, gs),
            ("mul", gu[:, :, 2 * n :], gx[:, :, 2 * n :], s[:, :, :n]),
            ("more", gh, gu, w),
            back=True,
        )
        gw, gb = self.weight_grad(y, h0, gu) if self.needs(2) or self.needs(3) else (None, None)
        return gx, gh, gw, gb


def zeros(x: np.ndarray) -> np.ndarray:
    """As x, in C order."""
    y = K.empty(x.shape, x.dtype)
    K.set_all(y, 0)
    return y


def turned(w: np.ndarray, steps: int) -> np.ndarray:
    """wᵀ, in C order where it serves several products."""
    return K.copy(w.T) if steps > 2 else w.T


def dense(x: np.ndarray) -> np.ndarray:
    """x in C order."""
    return x if x.flags.c_contiguous else K.copy(x)


# ── The public functions ─────────────────────────────────────────────────────────────────────────────────────────────


def rnn(
    x: Any,
    state: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """h[t] = f(x[t] W_ihᵀ + b_ih + h[t - 1] W_hhᵀ + b_hh): Elman's recurrent layer, in one direction.

    The gradient goes back through all steps.

    Args:
        x: (T, N, C), the steps first.
        state: h before the first step, (N, H), or None for zeros.
        weight_ih, weight_hh: (H, C) and (H, H).
        bias_ih, bias_hh: (H,), or None.
        nonlinearity: f, "tanh" or "relu".
        reverse: the steps go from the last to the first.

    Returns:
        (y, h): all h (T, N, H), and the last one (N, H).

    Raises:
        ValueError: shapes that do not fit, no steps, or another nonlinearity.

    Source: Elman, Finding Structure in Time, Cognitive Science 1990.
    """
    nonlinearity = check.choice("rnn", "nonlinearity", nonlinearity, tuple(ACTIVATIONS))
    reverse = check.flag("rnn", "reverse", reverse)
    x, (h,), w, wh, bias, bias_hh = _checked(
        "rnn", 1, x, (state,), weight_ih, weight_hh, bias_ih, bias_hh
    )
    gx = affine(x, w, _both(bias, bias_hh))
    y = RNN(reverse, will_record(gx, h, wh), nonlinearity)(gx, h, wh)
    return y, y[0 if reverse else -1]


def lstm(
    x: Any,
    state: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """c[t] = σ(f) c[t - 1] + σ(i) tanh(g), h[t] = σ(o) tanh(c[t]): long short-term memory, one layer, one direction.

    i, f, g, o = x[t] W_ihᵀ + b_ih + h[t - 1] W_hhᵀ + b_hh, side by side. The gradient goes back through all steps.

    Args:
        x: (T, N, C), the steps first.
        state: (h, c) before the first step, both (N, H), or None for zeros.
        weight_ih, weight_hh: (4H, C) and (4H, H).
        bias_ih, bias_hh: (4H,), or None.
        reverse: the steps go from the last to the first.

    Returns:
        (y, (h, c)): all h (T, N, H), and the last h and c, (N, H).

    Raises:
        ValueError: shapes that do not fit, or no steps.

    Source: Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 1997; Gers, Schmidhuber & Cummins,
    Learning to Forget, 2000.
    """
    reverse = check.flag("lstm", "reverse", reverse)
    pair = (None, None) if state is None else tuple(check.items("lstm", "state", state, "h and c"))
    if len(pair) != 2:
        raise ValueError(f"lstm: state: expected h and c, got {len(pair)} arrays")
    x, (h, c), w, wh, bias, bias_hh = _checked(
        "lstm", 4, x, pair, weight_ih, weight_hh, bias_ih, bias_hh
    )
    gx = affine(x, w, _both(bias, bias_hh))
    y = LSTM(reverse, will_record(gx, h, c, wh))(gx, h, c, wh)
    steps = len(gx)
    return y[:steps], (y[0 if reverse else steps - 1], y[steps])


def gru(
    x: Any,
    state: Any,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """h[t] = (1 - σ(z)) n + σ(z) h[t - 1]: a layer of gated recurrent units, in one direction.

    r, z, v = x[t] W_ihᵀ + b_ih and r', z', v' = h[t - 1] W_hhᵀ + b_hh, side by side; the gates are σ(r + r') and
    σ(z + z'), and n = tanh(v + σ(r + r') v'). The gradient goes back through all steps.

    Args:
        x: (T, N, C), the steps first.
        state: h before the first step, (N, H), or None for zeros.
        weight_ih, weight_hh: (3H, C) and (3H, H).
        bias_ih, bias_hh: (3H,), or None.
        reverse: the steps go from the last to the first.

    Returns:
        (y, h): all h (T, N, H), and the last one (N, H).

    Raises:
        ValueError: shapes that do not fit, or no steps.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014.
    """
    reverse = check.flag("gru", "reverse", reverse)
    x, (h,), w, wh, bias, bias_hh = _checked(
        "gru", 3, x, (state,), weight_ih, weight_hh, bias_ih, bias_hh
    )
    gx = affine(x, w, bias)
    if bias_hh is None:
        bias_hh = filled((wh.shape[0],), 0.0, wh.dtype)
    y = GRU(reverse, will_record(gx, h, wh, bias_hh))(gx, h, wh, bias_hh)
    return y, y[0 if reverse else -1]


def _both(bias: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Both biases as one."""
    return other if bias is None else bias if other is None else bias + other


def _checked(
    name: str, gates: int, x: Any, states: Sequence[Any], w: Any, wh: Any, b: Any, bh: Any
) -> tuple:
    """All as tensors of one dtype, with zeros for states that are not given; ValueError if they do not fit."""
    x = as_tensor(x)
    if x.ndim != 3 or not len(x):
        raise ValueError(
            f"{name}: x: expected (T, N, C) with one step or more, got shape {x.shape}"
        )
    for argument, value in (("weight_ih", w), ("weight_hh", wh)):
        if value is None:
            raise TypeError(f"{name}: {argument}: expected an array, got None")
    given = [w, wh, b, bh, *states]
    x, *made = input_and_weights(x, *[a for a in given if a is not None])
    w, wh, b, bh, *states = [None if a is None else made.pop(0) for a in given]
    if wh.ndim != 2 or wh.shape[0] != gates * wh.shape[1]:
        raise ValueError(
            f"{name}: weight_hh: expected shape ({f'{gates} ' if gates > 1 else ''}H, H), got {wh.shape}"
        )
    rows, n = wh.shape
    state = (x.shape[1], n)
    wanted = ("weight_ih", "bias_ih", "bias_hh", "state", "state")
    shapes = ((rows, x.shape[2]), (rows,), (rows,), state, state)
    for argument, value, shape in zip(wanted, (w, b, bh, *states), shapes, strict=False):
        if value is not None and value.shape != shape:
            raise ValueError(
                f"{name}: {argument}: expected shape {shape} for x {x.shape} and weight_hh {wh.shape}, "
                f"got {value.shape}"
            )
    states = [filled(state, 0.0, x.dtype) if s is None else s for s in states]
    return x, states, w, wh, b, bh
