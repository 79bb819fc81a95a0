"""Monitors: callbacks for `fit` that watch what goes on inside a model while it learns.

- `DeadUnits`: the share of units of each activation layer that fire for no sample;
- `Saturation`: the share of outputs on the flat parts of their activation, where no gradient passes;
- `GradientNorms`: the norm of the gradient of each layer or parameter.

They work on any `nn.Module`, leave it as it is, draw no random numbers, and do not change
the steps of the training. Each has ``history``, a list of numbers per layer; ``at``, the epochs
(or steps) that these belong to; and ``plot(path)``. Each `fit` starts them over.

>>> import numpy as np
>>> from minidl import data, nn, optim
>>> from minidl.training.fit import fit
>>> model = nn.Sequential(nn.Affine(4, 8), nn.ReLU(), nn.Affine(8, 2))
>>> batches = data.DataLoader((np.ones((64, 4), "float32"), np.zeros(64, int)), 16)
>>> dead, norms = DeadUnits(), GradientNorms()
>>> _ = fit(model, batches, "cross_entropy", optim.SGD(model.parameters(), 0.1), epochs=2,
...         callbacks=[dead, norms], progress=False)
>>> list(dead.history), list(norms.history), norms.at
(['1 ReLU'], ['0 Affine', '2 Affine'], [1, 2])

In a loop of one's own: ``dead.measure(model, x)`` and ``norms.measure(model)``, after each epoch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.autograd.modes import no_grad
from minidl.autograd.tensor import Tensor, as_array, plain
from minidl.nn import Module
from minidl.optim import clip_grad_norm
from minidl.training.history import new_figure, save_or_show
from minidl.training.watching import activation_layers, is_elementwise, labelled, slope, watch

Path = str | os.PathLike[str]
PROBE_BATCH = 1000  # samples that go through the model at once


class Monitor:
    """Base of the monitors: numbers by name, and their plot.

    Attributes:
        history: a list of numbers for each layer, by its name in the model and its class:
            ``"1 ReLU"``.
        at: the epoch, or step, of each of these numbers.
    """

    title, unit, percent = "", "", False

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.at: list[int] = []

    def _record(self, at: int, values: dict[str, float]) -> None:
        self.at.append(at)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)

    def _clear(self) -> None:
        self.history, self.at = {}, []

    def plot(self, path: Path | None = None) -> None:
        """Draws one line per layer.

        Args:
            path: a file to write (the ending tells the format); without it a window, or the
                notebook's cell, shows it.

        Raises:
            ModuleNotFoundError: matplotlib is missing; says how to install it.
        """
        figure = new_figure(f"{type(self).__name__}.plot", path, (7, 4))
        axes = figure.subplots()
        for i, (name, values) in enumerate(self.history.items()):
            scale = 100 if self.percent else 1
            # Layers are ordered, and so are their colours.
            axes.plot(self.at, np.multiply(values, scale), ".-", label=name,
                      color=_colour(i, len(self.history)))  # fmt: skip
        axes.set(xlabel=self.unit, ylabel=self.title + (" (%)" if self.percent else ""))
        if self.percent:
            axes.set_ylim(-3, 103)
        elif any(0 < value < math.inf for values in self.history.values() for value in values):
            axes.set_yscale("log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if self.history:
            figure.legend(loc="outside right upper", fontsize=8)
        save_or_show(figure, path)


def _colour(i: int, n: int) -> Any:
    from matplotlib import colormaps  # needed by nothing else

    return colormaps["viridis"](0.92 * i / max(n - 1, 1))


class _OutputMonitor(Monitor):
    """What the outputs of activation layers are like, over an epoch's batches or on a probe."""

    unit, percent = "epoch", True

    def __init__(
        self, probe: Any = None, modules: Sequence[Any] | None = None, every: int = 1
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(probe, tuple):
            raise TypeError(f"{name}: probe: expected inputs as an array, got a tuple")
        self.probe = (
            None if probe is None else check.array(type(self).__name__, "probe", plain(probe))
        )
        if self.probe is not None and (self.probe.ndim == 0 or len(self.probe) == 0):
            raise ValueError(f"{name}: probe: expected samples, got shape {self.probe.shape}")
        if isinstance(modules, str | Module):
            raise TypeError(f"{name}: modules: expected a list, got {modules!r}")
        self.modules = modules
        self.every = check.integer(name, "every", every, 1)
        self._seen: dict[str, Any] = {}

    def measure(self, model: Module, x: Any = None, at: int | None = None) -> dict[str, float]:
        """Measures on the samples x (default: the probe), in evaluation mode; adds to the history.

        Args:
            at: the epoch; by default one more than the last entry's, from 0.
        """
        x = self.probe if x is None else as_array(x)
        if x is None:
            raise ValueError(f"{type(self).__name__}.measure: no x given, and no probe")
        chosen = self._chosen(model)
        modes = [(module, module.training) for module in model.modules()]
        self._seen = {}
        try:
            model.eval()
            with no_grad(), watch([m for _, m in chosen], self._seer(chosen)):
                for first in range(0, len(x), PROBE_BATCH):
                    model(np.array(x[first : first + PROBE_BATCH]))  # its own: it may work in place
        finally:
            for module, training in modes:
                module.training = training
        if at is None:
            at = self.at[-1] + 1 if self.at else 0
        return self._close(chosen, at)

    def on_train_begin(self, training: Any) -> None:
        """Starts over: measures the probe at epoch 0, or watches the modules from here on."""
        self._clear()
        self._seen = {}
        chosen = self._chosen(training.model)
        if self.probe is None:
            see = self._seer(chosen)

            def in_training(module: Module, x: Any, y: Any) -> None:
                if module.training and training.batch % self.every == 0:  # not while validating
                    see(module, x, y)

            training.cleanup.enter_context(watch([m for _, m in chosen], in_training))
        elif all(parameter.size for parameter in training.model.parameters()):
            self.measure(training.model, at=0)
        # else a layer waits for the first batch to tell its shape, and must not draw before that

    def on_epoch_end(self, training: Any) -> None:
        """Adds this epoch to the history."""
        if self.probe is None:
            self._close(self._chosen(training.model), training.epoch)
        else:
            self.measure(training.model, at=training.epoch)

    def _chosen(self, model: Module) -> list[tuple[str, Module]]:
        """(label, module) of what is watched."""
        name = type(self).__name__
        if self.modules is None:
            chosen = self._default(model)
            if not chosen:
                raise ValueError(
                    f"{name}: the model has no activation layers; name the modules to watch: "
                    "modules=[...] (functions such as F.relu cannot be watched)"
                )
            return chosen
        chosen = []
        for wanted in self.modules:
            found = [
                (label, module)
                for (label, module), (path, _) in zip(
                    labelled(model), model.named_modules(), strict=True
                )
                if module is wanted or (isinstance(wanted, str) and path == wanted)
            ]
            if not found:
                paths = ", ".join(path for path, _ in model.named_modules() if path)
                raise ValueError(
                    f"{name}: modules: {wanted!r} is not in the model, which has {paths}"
                )
            chosen += found
        return chosen

    def _default(self, model: Module) -> list[tuple[str, Module]]:
        return activation_layers(model)

    def _seer(self, chosen: list[tuple[str, Module]]) -> Callable[[Module, Any, Any], None]:
        labels = {id(module): label for label, module in chosen}

        def see(module: Module, x: Any, y: Any) -> None:
            label = labels[id(module)]
            if not isinstance(y, Tensor | np.ndarray):
                raise TypeError(
                    f"{type(self).__name__}: layer {label}: expected a Tensor as its output, "
                    f"got {type(y).__name__}: name the modules to watch: modules=[...]"
                )
            self._see(label, module, x, y)

        return see

    def _see(self, label: str, module: Module, x: Any, y: Any) -> None:
        """Looks at one forward pass; adds to ``self._seen[label]``."""
        raise NotImplementedError

    def _share(self, label: str) -> float:
        """The number that sums up what was seen of a layer."""
        raise NotImplementedError

    def _close(self, chosen: list[tuple[str, Module]], at: int) -> dict[str, float]:
        values = {
            label: self._share(label) if label in self._seen else math.nan for label, _ in chosen
        }
        self._record(at, values)
        self._seen = {}
        return values


class DeadUnits(_OutputMonitor):
    """The share of units of each activation layer that fire for no sample.

    A unit fires when its output is above `threshold`. Units are counted along `axis` of the output:
    columns of (N, units), channels of (N, C, H, W), which fire if they do anywhere in an image. For
    ReLU a unit that fires for no sample learns no more from these samples; a leaky unit may still.

    Args:
        probe: inputs of the model to measure on, in evaluation mode, before the first and after
            each epoch. None: all batches of the epoch, as the model learns from them; for each
            unit, one output above `threshold` in the whole epoch is enough.
        modules: what to watch: modules, or their names in the model. None: all activation layers.
        threshold: 0.0 for all that are zero or negative where they do not fire; sigmoid, which is
            always positive, needs a higher one.
        axis: the axis of units in the outputs.

    Attributes:
        history: shares from 0 to 1 by layer; NaN for a layer that was not called.
        units: the latest measurement: a boolean array by layer, True for dead units.

    Raises:
        ValueError: the model has no activation layers, or not the named ones; outputs without this
            axis.

    Source: Lu, Shin, Su & Karniadakis, Dying ReLU and Initialization, 2019.

    >>> from minidl.nn import Affine, ReLU, Sequential
    >>> model = Sequential(Affine(1, 2, weight=np.array([[1.0], [0.0]]), bias=np.array([0, -1.0])),
    ...                    ReLU())
    >>> DeadUnits().measure(model, [[-1.0], [1.0]])
    {'1 ReLU': 0.5}
    """

    title = "units that never fire"

    def __init__(
        self,
        probe: Any = None,
        modules: Sequence[Any] | None = None,
        threshold: float = 0.0,
        axis: int = 1,
    ) -> None:
        super().__init__(probe, modules)
        self.threshold = check.number("DeadUnits", "threshold", threshold)
        self.axis = check.integer("DeadUnits", "axis", axis)
        self.units: dict[str, np.ndarray] = {}

    def _see(self, label: str, module: Module, x: Any, y: Any) -> None:
        values = plain(y)
        if not -values.ndim <= self.axis < values.ndim:
            raise ValueError(
                f"DeadUnits: layer {label}: an output of shape {values.shape} has no axis "
                f"{self.axis}; pass axis="
            )
        unit = self.axis % values.ndim
        others = tuple(axis for axis in range(values.ndim) if axis != unit)
        fired = values.max(axis=others, initial=-math.inf) > self.threshold
        before = self._seen.get(label)
        self._seen[label] = fired if before is None else before | fired

    def _share(self, label: str) -> float:
        self.units[label] = ~self._seen[label]
        return float(self.units[label].mean())


class Saturation(_OutputMonitor):
    """The share of outputs on the flat parts of their activation, where almost no gradient passes.

    Flat is where ``|slope| < tolerance * (the greatest |slope| of this activation)``. Slopes are what
    the layer's own backward gives, so any layer that works element by element can be watched. Of
    ReLU's outputs, those that are 0 are saturated; of sigmoid's (tolerance 0.01), those with
    ``|x| > 6.0``.

    Args:
        probe, modules: as for `DeadUnits`.
        tolerance: from 0 to 1.
        every: without a probe, every so many batches are looked at, from the first of the epoch on:
            the layer runs once more for these, forward and backward.

    Attributes:
        history: shares from 0 to 1 by layer; NaN for a layer that was not called.

    Raises:
        ValueError: as `DeadUnits`; a layer whose output has another shape than its input.

    >>> from minidl.nn import Sigmoid
    >>> Saturation().measure(Sigmoid(), [[0.0, 5.0, 7.0, -7.0]])
    {'Sigmoid': 0.5}
    """

    title = "saturated outputs"

    def __init__(
        self,
        probe: Any = None,
        modules: Sequence[Any] | None = None,
        tolerance: float = 0.01,
        every: int = 10,
    ) -> None:
        super().__init__(probe, modules, every)
        self.tolerance = check.number("Saturation", "tolerance", tolerance, 0.0, 1.0)

    def _default(self, model: Module) -> list[tuple[str, Module]]:
        return [(label, module) for label, module in labelled(model) if is_elementwise(module)]

    def _see(self, label: str, module: Module, x: Any, y: Any) -> None:
        x = as_array(x)
        if x.shape != np.shape(plain(y)):
            raise ValueError(
                f"Saturation: layer {label}: an output of shape {np.shape(plain(y))} for an input "
                f"of shape {x.shape}: only what works element by element can be watched"
            )
        grid = np.linspace(-10, 10, 201, dtype=x.dtype).reshape(-1, *[1] * max(x.ndim - 1, 1))
        if any(True for _ in module.parameters()):  # these have the shape of x
            grid = np.broadcast_to(grid, (len(grid), *x.shape[1:]))
        steepest = np.abs(slope(module, grid)).max()
        flat = np.abs(slope(module, x)) < self.tolerance * steepest
        count, total = self._seen.get(label, (0, 0))
        self._seen[label] = (count + int(np.count_nonzero(flat)), total + flat.size)

    def _share(self, label: str) -> float:
        count, total = self._seen[label]
        return count / max(total, 1)


class GradientNorms(Monitor):
    """The length (Euclidean norm) of the gradient, by layer or by parameter.

    It is measured after backward, before the optimizer's step. A layer's norm is over all of its own
    parameters. Where no gradient came, the norm is 0.

    Args:
        by: "layer" or "parameter".
        every: None: all steps are measured, and each epoch's mean is kept. A number k: steps 1,
            1 + k, 1 + 2k, ... are measured and kept, without means.

    Attributes:
        history: norms by the name of the layer ("0 Affine") or the parameter ("0.weight").

    >>> from minidl.nn import Affine
    >>> model, norms = Affine(2, 1, bias=False), GradientNorms(by="parameter")
    >>> model([[3.0, 4.0]]).backward()
    >>> norms.measure(model)
    {'weight': 5.0}
    """

    title = "gradient norm"

    def __init__(self, by: str = "layer", every: int | None = None) -> None:
        super().__init__()
        self.by = check.choice("GradientNorms", "by", by, ("layer", "parameter"))
        self.every = None if every is None else check.integer("GradientNorms", "every", every, 1)
        self.unit = "epoch" if every is None else "step"
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0

    def measure(self, model: Module, at: int | None = None) -> dict[str, float]:
        """The norms of the gradients as they are now; adds them to the history."""
        values = self._norms(model)
        self._record((self.at[-1] + 1 if self.at else 0) if at is None else at, values)
        return values

    def on_train_begin(self, training: Any) -> None:
        """Starts over."""
        self._clear()
        self._begin()

    def on_backward_end(self, training: Any) -> None:
        """Measures this step."""
        if self.every is not None:
            if training.step % self.every == 0:
                self.measure(training.model, at=training.step + 1)
            return
        self._steps += 1
        for name, value in self._norms(training.model).items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def on_epoch_end(self, training: Any) -> None:
        """Keeps the means over this epoch's steps."""
        if self.every is None:
            self._record(
                training.epoch, {name: sum_ / self._steps for name, sum_ in self._sums.items()}
            )
            self._begin()

    def _norms(self, model: Module) -> dict[str, float]:
        if self.by == "parameter":
            return {name: _norm([p]) for name, p in model.named_parameters()}
        norms = {}
        for label, module in labelled(model):
            own = [value for _, value in module._own() if isinstance(value, Tensor)]
            if own:
                norms[label] = _norm(own)
        return norms


def _norm(parameters: list[Tensor]) -> float:
    return float(clip_grad_norm(parameters, math.inf))  # clips nothing
