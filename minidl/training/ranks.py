"""Callbacks where there are several ranks: they are called on rank 0, and what they change there is changed on all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.tensor import mark_changed, wrap
from minidl.distributed import DataParallel
from minidl.random import generator
from minidl.training.state import Training


class OnMain:
    """A callback's method on rank 0. Afterwards the other ranks have what it may have changed, too: parameters,
    buffers, gradients, which parameters require them, the numbers and flags of layers (`training`, a dropout's `p`),
    the optimizer's settings, the library's generator, the end of the training, or, where a checkpoint was loaded, all
    of its state.

    A callback with a true attribute `every_rank` is called on every rank instead, and must do the same on each. With a
    true `only_looks` it promises to change neither arrays nor layers: they are not compared.
    """

    def __init__(self, callback: Any, handler: Callable, parallel: DataParallel) -> None:
        self.handler, self.parallel = handler, parallel
        self.only_looks = getattr(callback, "only_looks", False)

    def __call__(self, training: Training) -> None:
        world, news = self.parallel.world, tuple[Any, ...]()
        if world.is_main:
            before, layers, loads = self._contents(), self._layers(), training.loads
            with world.alone():
                self.handler(training)
            loaded = training.state_dict() if training.loads != loads else None
            changed = [
                (i, now)
                for i, (now, then) in enumerate(zip(self._arrays(), before, strict=True))
                if loaded is None and not _same(now, then)
            ]
            random = generator().bit_generator.state
            news = (
                loaded,
                changed,
                self._changes(layers),
                self._settings(),
                training.stopping,
                random,
            )
        news = world.from_main(news)
        if not world.is_main:
            self._take(training, *news)

    def _arrays(self) -> list[np.ndarray | None]:
        """All that a callback may change: parameters, gradients, buffers."""
        if self.only_looks:
            return []
        parameters = self.parallel.parameters
        found: list[Any] = [p._data for p in parameters]
        found += [None if p.grad is None else p.grad._data for p in parameters]
        return found + [getattr(*place) for place in self.parallel.buffers.places]

    def _contents(self) -> list[np.ndarray | None]:
        return [None if array is None else array.copy(order="K") for array in self._arrays()]

    def _layers(self) -> list[dict[str, Any]]:
        """Of each parameter whether it requires a gradient, of each layer its numbers and flags."""
        if self.only_looks:
            return []
        found: list[dict] = [{"requires_grad": p.requires_grad} for p in self.parallel.parameters]
        for module in self.parallel.modules:
            own = vars(module).items()
            found.append({name: value for name, value in own if type(value) in (bool, int, float)})
        return found

    def _changes(self, before: list[dict]) -> list[tuple[int, str, Any]]:
        pairs = enumerate(zip(self._layers(), before, strict=True))
        return [(i, *item) for i, (now, then) in pairs for item in now.items() - then.items()]

    def _settings(self) -> list:
        groups = self.parallel.optimizer.groups
        multipliers = [(p.lr_mult, p.decay) for p in self._with_multipliers()]
        return [[group.options() for group in groups], multipliers]

    def _with_multipliers(self) -> list:
        return [p for p in self.parallel.parameters if hasattr(p, "lr_mult")]

    def _take(
        self,
        training: Training,
        loaded: Any,
        changed: list,
        layers: list[tuple[int, str, Any]],
        settings: list,
        stopping: bool,
        random: dict,
    ) -> None:
        if loaded is not None:
            training.load_state_dict(loaded)
        parameters, count = self.parallel.parameters, len(self.parallel.parameters)
        for i, value in changed:
            if i >= 2 * count:
                getattr(*self.parallel.buffers.places[i - 2 * count])[...] = value
            elif i >= count:
                parameters[i - count].grad = None if value is None else wrap(value)
            else:
                parameters[i]._data[...] = value
        mark_changed(parameters)
        for i, name, value in layers:
            setattr([*parameters, *self.parallel.modules][i], name, value)
        options, multipliers = settings
        for group, its in zip(self.parallel.optimizer.groups, options, strict=True):
            for name, value in its.items():
                group[name] = value
        for p, its in zip(self._with_multipliers(), multipliers, strict=True):
            p.lr_mult, p.decay = its
        training.stopping = stopping
        generator().bit_generator.state = random


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    bits = f"u{a.itemsize}"  # -0 is another value than 0, and NaN is equal to itself
    return a.shape == b.shape and np.array_equal(a.view(bits), b.view(bits))
