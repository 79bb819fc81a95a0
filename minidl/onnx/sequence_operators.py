"""ONNX's recurrent operators, in minidl's ops. See `operators`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import functional as F
from minidl import ops
from minidl.onnx.operators import operator

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


def _by_gates(weight: Any, order: tuple[int, ...]) -> Any:
    """A weight or a bias with the rows of its gates in another order."""
    parts = ops.split(weight, len(order), 0)
    return ops.concatenate([parts[i] for i in order], 0)


def _all_directions(
    run: Callable,
    order: tuple[int, ...],
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    direction: str,
    states: list,
) -> tuple:
    """Y (T, directions, N, H) and the last states (directions, N, H) of run(x, states, w, r, b_w, b_r, reverse)."""
    ys, ends = [], []
    for i, reverse in enumerate(DIRECTIONS[direction]):
        biases = (None, None) if b is None else ops.split(b[i], 2, 0)
        weights = [v if v is None else _by_gates(v, order) for v in (w[i], r[i], *biases)]
        y, *end = run(x, [None if s is None else s[i] for s in states], *weights, reverse)
        ys.append(y)
        ends.append(end)
    return ops.stack(ys, 1), *[ops.stack(list(state), 0) for state in zip(*ends, strict=True)]


def _refuse(lengths: Any, layout: int, clip: float | None, *others: Any) -> None:
    if (
        lengths is not None
        or layout
        or clip is not None
        or any(other is not None for other in others)
    ):
        raise NotImplementedError("sequence_lens, peepholes, layout=1 and clip are not supported")


@operator("RNN", never_trained=(4,))
def rnn(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, *, hidden_size: int | None = None,
    direction: str = "forward", activations: Any = None, layout: int = 0, clip: float | None = None,
) -> tuple:  # fmt: skip
    _refuse(lengths, layout, clip)
    names = list(activations or ["Tanh", "Tanh"])

    def run(x: Any, states: list, w: Any, r: Any, bw: Any, br: Any, reverse: bool) -> tuple:
        name = names[1] if reverse and direction == "bidirectional" else names[0]
        return F.rnn(x, states[0], w, r, bw, br, name.lower(), reverse)

    return _all_directions(run, (0,), x, w, r, b, direction, [h])


@operator("LSTM", never_trained=(4,))
def lstm(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, peepholes: Any = None, *,
    hidden_size: int | None = None, direction: str = "forward", activations: Any = None, layout: int = 0,
    clip: float | None = None, input_forget: int = 0,
) -> tuple:  # fmt: skip
    _refuse(lengths, layout, clip, peepholes, input_forget or None)
    _check_activations("LSTM", activations)

    def run(x: Any, states: list, *weights: Any) -> tuple:
        y, state = F.lstm(x, None if states[0] is None else states, *weights)
        return y, *state

    return _all_directions(run, (0, 2, 3, 1), x, w, r, b, direction, [h, c])


@operator("GRU", never_trained=(4,))
def gru(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, *, hidden_size: int | None = None,
    direction: str = "forward", activations: Any = None, layout: int = 0, clip: float | None = None,
    linear_before_reset: int = 0,
) -> tuple:  # fmt: skip
    _refuse(lengths, layout, clip)
    _check_activations("GRU", activations)
    if not linear_before_reset:
        raise NotImplementedError(
            "linear_before_reset=0 is not supported: minidl's GRU is PyTorch's"
        )

    def run(x: Any, states: list, *weights: Any) -> tuple:
        return F.gru(x, states[0], *weights)

    return _all_directions(run, (1, 0, 2), x, w, r, b, direction, [h])


def _check_activations(kind: str, activations: Any) -> None:
    if activations is not None and list(activations) != USUAL[kind] * (
        len(activations) // len(USUAL[kind])
    ):
        raise NotImplementedError(f"activations {list(activations)}: expected {USUAL[kind]}")
