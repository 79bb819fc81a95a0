"""The moving average of a model's weights, public as ``optim.EMA``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import call, setitem
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.fields import Effect
from minidl._kernels.runtime.prepared import begins, capturing, note, outside_of_steps, recorder
from minidl.atomic import at_once, starmap
from minidl.autograd.tensor import mark_changed


class EMA:
    """An exponential moving average of a model's parameters, which often does better than the last of them:

        average += (1 - decay) (p - average)

    at each `update`, from the parameters at the time when it is built. Buffers (running statistics) are not averaged:
    the model keeps its own.

    `md.fit` does it after each step of the optimizer with ``callbacks=[ema]``. A loop of your own calls ``update()``
    after ``optimizer.step()``; it may be part of a captured step.

    Args:
        decay: from 0 to 1. The average reaches back about 1 / (1 - decay) steps.

    Raises:
        TypeError: `model` is not a Module. ValueError: it has no parameters, or some whose shape is inferred from the
            first batch; decay is out of range.

    Source: Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; with this formula: Kingma &
    Ba, Adam, ICLR 2015 (section 7.2).

    >>> from minidl import nn
    >>> model = nn.Affine(1, 1, weight=np.array([[1.0]], "float32"), bias=False)
    >>> ema = EMA(model, decay=0.75)
    >>> model.weight.data = [[5.0]]
    >>> ema.update()
    >>> with ema.average():
    ...     model.weight.item()
    2.0
    >>> model.weight.item()
    5.0
    """

    every_rank = True  # (see `minidl.training.ranks`)

    def __init__(self, model: Any, decay: float = 0.999) -> None:
        if isinstance(model, type) or not hasattr(model, "named_parameters"):
            raise TypeError(f"EMA: model: expected an nn.Module, got {model!r}")
        self.model = model
        self._decay = check.number("EMA", "decay", decay, 0.0, 1.0)
        self._parameters = dict(model.named_parameters())
        waiting = [name for name, p in self._parameters.items() if p.waits_for_shape]
        if waiting or not self._parameters:
            raise ValueError(
                f"EMA: model: {', '.join(waiting)}: its shape is inferred from the first batch; call the model before"
                if waiting
                else "EMA: model: it has no parameters"
            )
        self._averages = [p._data.copy(order="K") for p in self._parameters.values()]
        self._counts = [np.zeros((), np.int64) for _ in self._averages]
        self._inside = False

    @property
    def decay(self) -> float:
        """How much of the average each update keeps."""
        return self._decay

    @property
    def updates(self) -> int:
        """How often `update` was called."""
        return int(self._counts[0])

    def update(self) -> None:
        """Takes the model's present parameters into the average: all of them, or none.

        Raises:
            RuntimeError: inside of `average`, where the parameters are the averages.
            ValueError: a parameter has another shape or dtype by now.
        """
        self._check_outside("update")
        weights = [p._data for p in self._parameters.values()]
        self._check_fit("update", weights)
        if recorder.on and capturing():
            begins("EMA.update")
        rates, decays = [1 - self._decay] * len(weights), [0.0] * len(weights)
        K.ema_step([(self._averages, weights, self._counts, rates, decays)])
        if recorder.on and capturing():
            note("before", _Unchanged(self, weights))

    @contextmanager
    def average(self) -> Iterator[Any]:
        """``with ema.average(): md.evaluate(model, ...)``: inside, the model has the averages for its parameters.

        Afterwards, however the block ends, it has the very arrays that it had. What is done to the parameters inside
        is done to the averages.

        Raises:
            RuntimeError: it is inside already.
        """
        outside_of_steps("EMA.average")
        self._check_outside("average")
        parameters = list(self._parameters.values())
        own = [p._data for p in parameters]
        self._check_fit("average", own)
        try:
            self._give(parameters, self._averages, True)
            yield self.model
        finally:
            self._give(parameters, own, False)

    def _give(self, parameters: list[Any], arrays: list[np.ndarray], inside: bool) -> None:
        mark_changed(parameters)
        changes: list[tuple] = [
            (setattr, p, "_data", a) for p, a in zip(parameters, arrays, strict=True)
        ]
        at_once(starmap(call, [*changes, (setattr, self, "_inside", inside)]))

    def _check_outside(self, method: str) -> None:
        if self._inside:
            raise RuntimeError(f"EMA.{method}: called inside of `with ema.average()`")

    def _check_fit(self, method: str, weights: list[np.ndarray]) -> None:
        k = K.first_misfit(self._averages, weights)
        if k >= 0:
            name, average = list(self._parameters)[k], self._averages[k]
            raise ValueError(
                f"EMA.{method}: {name} is now {weights[k].dtype}{weights[k].shape}, its average "
                f"{average.dtype}{average.shape}; build EMA after the model's last change"
            )

    def on_batch_end(self, training: Any) -> None:
        """`update`, for `md.fit`."""
        self.update()

    def state_dict(self) -> dict[str, Any]:
        """The decay, how many updates there were, and copies of the averages by the parameters' names."""
        averages = zip(self._parameters, self._averages, strict=True)
        return {
            "decay": self._decay,
            "updates": self.updates,
            "averages": {name: average.copy() for name, average in averages},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave. Everything is checked before anything changes.

        Raises:
            ValueError: the averages of another model; a name is missing.
        """
        name = "EMA.load_state_dict"
        outside_of_steps(name)
        self._check_outside("load_state_dict")
        check.state(name, state, "decay", "updates", "averages")
        decay = check.number(name, "decay", state["decay"], 0.0, 1.0)
        updates = check.integer(name, "updates", state["updates"], 0)
        averages = {key: np.asarray(value) for key, value in state["averages"].items()}
        own = dict(zip(self._parameters, self._averages, strict=True))
        if {key: value.shape for key, value in averages.items()} != {
            key: value.shape for key, value in own.items()
        }:
            raise ValueError(
                f"{name}: expected averages of {_listed(own)}; given: {_listed(averages)}"
            )
        changes: list[tuple] = [(setattr, self, "_decay", decay)]
        for key, count in zip(own, self._counts, strict=True):
            values = averages[key].astype(own[key].dtype)
            changes += [(setitem, own[key], ..., values), (setitem, count, (), updates)]
        at_once(starmap(call, changes))

    def __repr__(self) -> str:
        return (
            f"EMA(decay={self._decay:g}; {len(self._averages)} parameters, {self.updates} updates)"
        )


def _listed(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name}{list(array.shape)}" for name, array in arrays.items())


class _Unchanged(Effect):
    """A captured update is right as long as the parameters have these arrays, and the decay is the same."""

    def __init__(self, ema: EMA, weights: list[np.ndarray]) -> None:
        self.ema, self.weights, self.decay = ema, weights, ema._decay
        self.parameters = list(ema._parameters.values())

    def ready(self) -> bool:
        same = [p._data is w for p, w in zip(self.parameters, self.weights, strict=True)]
        return all(same) and self.ema._decay == self.decay and not self.ema._inside
