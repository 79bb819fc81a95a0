"""RNN, LSTM and GRU: layers that go through a sequence step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minidl import check, random
from minidl import functional as F
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.init import VarianceScaling
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker
from minidl.ops import concatenate, stack, transpose

# U(-1/sqrt(H), 1/sqrt(H)) for all weights and biases: with (H, H) for the fan, as in PyTorch.
DEFAULT_INIT = VarianceScaling(1 / 3, "fan_in", "uniform")

Four = tuple[Any, Any, Any, Any]  # weight_ih, weight_hh, bias_ih, bias_hh


class _Recurrent(Module):
    """What the three have in common: layers on top of each other, directions, batches, state.

    A subclass names its gates and runs one layer in one direction.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: Any = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
        rng: Any = None,
    ) -> None:
        owner = type(self).__name__
        self.input_size = check.integer(owner, "input_size", input_size, 1)
        self.hidden_size = check.integer(owner, "hidden_size", hidden_size, 1)
        self.num_layers = check.integer(owner, "num_layers", num_layers, 1)
        self.batch_first = check.flag(owner, "batch_first", batch_first)
        self.dropout = check.number(owner, "dropout", dropout, 0.0, 1.0)
        self.bidirectional = check.flag(owner, "bidirectional", bidirectional)
        self.rng = None if rng is None else random.generator(rng, owner)
        names = [
            f"{kind}_{which}_{place}"
            for place, _ in self._places()
            for kind in ("weight", "bias")
            for which in ("ih", "hh")
        ]
        make = ParameterMaker(owner, names, lr_mult, scope)
        rows, fan = self.gates * self.hidden_size, (self.hidden_size, self.hidden_size)
        for place, layer in self._places():
            inputs = self.hidden_size * (1 + self.bidirectional) if layer else self.input_size
            for which, n in (("ih", inputs), ("hh", self.hidden_size)):
                name = f"weight_{which}_{place}"
                setattr(self, name, make(name, weight, DEFAULT_INIT, (rows, n), fan))
            for which in ("ih", "hh"):
                name = f"bias_{which}_{place}"
                setattr(self, name, make(name, bias, DEFAULT_INIT, (rows,), fan, optional=True))

    def _places(self) -> Iterator[tuple[str, int]]:
        """The end of the names of each layer's parameters in each direction, and the layer's number."""
        for layer in range(self.num_layers):
            yield f"l{layer}", layer
            if self.bidirectional:
                yield f"l{layer}_reverse", layer

    def run(self, x: Tensor, state: Any, parameters: Four, reverse: bool) -> tuple[Tensor, Any]:
        """One layer in one direction: y (T, N, H), and its last state."""
        raise NotImplementedError(f"{type(self).__name__} has no run")

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        x = as_tensor(x)
        owner, single = type(self).__name__, x.ndim == 2
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            order = "(N, T, C)" if self.batch_first else "(T, N, C)"
            raise ValueError(
                f"{owner}: expected x {order} or (T, C) with C = {self.input_size}, got shape {x.shape}"
            )
        batch_axis = 0 if self.batch_first else 1
        y = x.expand_dims(batch_axis) if single else x
        y = transpose(y, (1, 0, 2)) if self.batch_first else y
        states = iter(self._first_states(state, y.shape[1], single))
        last: list[Any] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                y = F.dropout(y, self.dropout, self.training, self.rng)
            found = []
            for reverse in (False, True)[: 1 + self.bidirectional]:
                place = f"l{layer}_reverse" if reverse else f"l{layer}"
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                w, wh, b, bh = (getattr(self, f"{name}_{place}") for name in names)
                out, end = self.run(y, next(states), (w, wh, b, bh), reverse)
                found.append(out)
                last.append(end)
            y = concatenate(found, -1) if self.bidirectional else found[0]
        y = transpose(y, (1, 0, 2)) if self.batch_first else y
        return (y.squeeze(batch_axis) if single else y), self._joined(last, single)

    def _first_states(self, state: Any, samples: int, single: bool) -> list[Any]:
        """The state that each layer and direction begins with; None is zeros."""
        count = self.num_layers * (1 + self.bidirectional)
        return [None] * count if state is None else self._split(state, count, samples, single)

    def _split(
        self, state: Any, count: int, samples: int, single: bool, name: str = "state"
    ) -> list:
        h = as_tensor(state)
        expected = (count, self.hidden_size) if single else (count, samples, self.hidden_size)
        if h.shape != expected:
            raise ValueError(
                f"{type(self).__name__}: {name}: expected shape {expected}, got {h.shape}"
            )
        h = h.expand_dims(1) if single else h
        return [h[i] for i in range(count)]

    def _joined(self, last: list[Any], single: bool) -> Any:
        h = stack(last, 0)
        return h.squeeze(1) if single else h

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in (
            ("num_layers", 1), ("nonlinearity", "tanh"), ("batch_first", False),
            ("dropout", 0.0), ("bidirectional", False),
        ):  # fmt: skip
            value = getattr(self, name, default)
            if value != default:
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)


class RNN(_Recurrent):
    """h[t] = f(x[t] W_ihᵀ + b_ih + h[t - 1] W_hhᵀ + b_hh), f = tanh or relu (see `F.rnn`).

    Called with x and, if need be, the first state, it gives (y, state), as in PyTorch.

    Shapes: x (T, N, input_size), or (N, T, input_size) with `batch_first`, or (T, input_size) for a single sequence;
    y in the same order with D * hidden_size features, D the number of directions; state (num_layers * D, N,
    hidden_size) in either order, zeros if left out. Parameters have PyTorch's names: weight_ih_l0 (hidden_size,
    input_size), weight_hh_l0, bias_ih_l0, bias_hh_l0, then "l1" ..., and "l0_reverse".

    Args:
        num_layers: layers on top of each other; each gets the y of the one below.
        nonlinearity: "tanh" or "relu".
        bias: False means no biases.
        batch_first: x and y are (N, T, C).
        dropout: of the y of each layer but the last, while training.
        bidirectional: a second layer beside each goes from the last step to the first; their y are joined.
        weight, bias: initializers of all weights and biases; by default U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).
        lr_mult: learning-rate multiplier of all parameters, or a dict by name.
        scope: layers with the same scope name share their parameters.
        rng: for dropout: a `numpy.random.Generator`, an int seed, or None for the library's own.

    Raises:
        ValueError: shapes that do not fit, or no steps.

    Source: Elman, Finding Structure in Time, Cognitive Science 1990.

    >>> import numpy as np
    >>> y, state = RNN(3, 5)(np.zeros((7, 2, 3), "float32"))
    >>> y.shape, state.shape
    ((7, 2, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: Any = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
        rng: Any = None,
    ) -> None:
        self.nonlinearity = check.choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            weight, lr_mult, scope, rng,
        )  # fmt: skip

    def run(self, x: Tensor, state: Any, parameters: Four, reverse: bool) -> tuple[Tensor, Any]:
        return F.rnn(x, state, *parameters, self.nonlinearity, reverse)


class GRU(_Recurrent):
    """h[t] = (1 - z) n + z h[t - 1]: gated recurrent units (see `F.gru`).

    Arguments, shapes and results as for `RNN`; weights have 3 * hidden_size rows, for the gates r and z and for n.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014.

    >>> import numpy as np
    >>> y, state = GRU(3, 5, bidirectional=True)(np.zeros((7, 2, 3), "float32"))
    >>> y.shape, state.shape
    ((7, 2, 10), (2, 2, 5))
    """

    gates = 3

    def run(self, x: Tensor, state: Any, parameters: Four, reverse: bool) -> tuple[Tensor, Any]:
        return F.gru(x, state, *parameters, reverse)


class LSTM(_Recurrent):
    """c[t] = σ(f) c[t - 1] + σ(i) tanh(g), h[t] = σ(o) tanh(c[t]): long short-term memory (see `F.lstm`).

    Arguments, shapes and results as for `RNN`; the state is (h, c), each (num_layers * D, N, hidden_size), and weights
    have 4 * hidden_size rows, for i, f, g and o.

    Source: Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 1997.

    >>> import numpy as np
    >>> y, (h, c) = LSTM(3, 5, num_layers=2, batch_first=True)(np.zeros((2, 7, 3), "float32"))
    >>> y.shape, h.shape, c.shape
    ((2, 7, 5), (2, 2, 5), (2, 2, 5))
    """

    gates = 4

    def run(self, x: Tensor, state: Any, parameters: Four, reverse: bool) -> tuple[Tensor, Any]:
        return F.lstm(x, state, *parameters, reverse)

    def _first_states(self, state: Any, samples: int, single: bool) -> list[Any]:
        if state is not None and (not isinstance(state, tuple | list) or len(state) != 2):
            raise ValueError(f"LSTM: state: expected (h, c), got {type(state).__name__}")
        return super()._first_states(state, samples, single)

    def _split(
        self, state: Any, count: int, samples: int, single: bool, name: str = "state"
    ) -> list:
        hs = super()._split(state[0], count, samples, single, "state: h")
        cs = super()._split(state[1], count, samples, single, "state: c")
        return list(zip(hs, cs, strict=True))

    def _joined(self, last: list[Any], single: bool) -> Any:
        hs, cs = zip(*last, strict=True)
        return super()._joined(list(hs), single), super()._joined(list(cs), single)
