"""The arguments of `fit` and `evaluate`, checked before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl import functional as F
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.training.metrics import Mean, Metric, Output, named

Metrics = Sequence[str | Callable[..., Any]] | str
RESERVED = ("loss", "lr", "time")  # names of the history that no metric can have


def measures(who: str, model: Any, loss: Any, metrics: Metrics) -> tuple[Any, dict[str, Metric]]:
    """The loss as a function and the metrics by name."""
    if not isinstance(model, Module):
        raise TypeError(f"{who}: model: expected an nn.Module, got {type(model).__name__}")
    if isinstance(loss, str):
        if loss not in F.LOSSES:
            raise ValueError(f"{who}: loss: {loss!r} is not one of {', '.join(F.LOSSES)}")
        loss = getattr(F, loss)
    elif loss is not None and not callable(loss):
        raise TypeError(f"{who}: loss: expected a function or its name, got {type(loss).__name__}")
    elif loss is not None:
        check.function(who, "loss", loss)
    chosen: dict[str, Metric] = {}
    output = Output(loss)
    metrics = (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics
    for given in check.items(who, "metrics", metrics, "functions"):
        metric: Metric | None
        if callable(given):
            metric = Mean(check.function(who, "metrics", given))
            name = getattr(given, "__name__", type(given).__name__)
        else:
            name, metric = given, named(who, given, output)
        if name in chosen or name in RESERVED:
            raise ValueError(
                f"{who}: metrics: {name!r} is the name of something else that is measured: expected different names"
            )
        if metric is not None:
            chosen[name] = metric
    return loss, chosen


def epochs_of(epochs: Any) -> int:
    """How often `fit` goes over the data."""
    if isinstance(epochs, bool) or not isinstance(epochs, int | np.integer):
        raise TypeError(f"fit: epochs: expected an int, got {epochs!r}")
    if epochs < 0:
        raise ValueError(f"fit: epochs must not be negative, got {epochs}")
    return int(epochs)


def check_loader(loader: Any, epochs: int) -> None:
    """Raises if `loader` cannot be iterated over once per epoch."""
    if isinstance(loader, tuple) or not hasattr(loader, "__iter__"):
        raise TypeError(
            f"fit: loader: expected an iterable of batches, got {type(loader).__name__}; "
            "arrays go into data.DataLoader((x, target), batch_size)"
        )
    if epochs > 1 and isinstance(loader, Iterator):
        raise TypeError(
            f"fit: loader: a {type(loader).__name__} can be gone through only once, not in "
            f"{epochs} epochs; use a DataLoader or a list of batches"
        )


def check_optimizer(model: Module, optimizer: Any) -> None:
    """Raises if it is not an optimizer, or if it has parameters and none of them is the model's."""
    if isinstance(optimizer, type):
        kind = optimizer.__name__
        raise TypeError(
            f"fit: optimizer: {kind} is a class: expected {kind}(model.parameters(), ...)"
        )
    for name in ("zero_grad", "step"):
        if not callable(getattr(optimizer, name, None)):
            raise TypeError(f"fit: optimizer: {type(optimizer).__name__} has no {name}()")
    groups = getattr(optimizer, "groups", None)
    stepped = {id(p) for group in groups for p in group["params"]} if groups else set()
    own = list(model.named_parameters())
    if stepped and own and not any(id(p) in stepped for _, p in own):
        raise ValueError(
            f"fit: optimizer: none of its {len(stepped)} parameters is one of the model's {len(own)} "
            f"({', '.join(name for name, _ in own[:3])} ...): nothing would be trained. Build it from "
            "model.parameters(), after the model's last change"
        )


def batches_of(what: str, data: Any) -> Any:
    """A tuple of arrays as batches; anything else must be a loader already."""
    if isinstance(data, tuple):
        return DataLoader(data, batch_size=1000)
    if not hasattr(data, "__iter__"):
        raise TypeError(f"{what}: expected a loader or (x, target), got {type(data).__name__}")
    return data
