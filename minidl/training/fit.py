"""Training: `fit` goes over the data again and again, `evaluate` measures.

One step is four lines, in `_train_epoch` and `steps`: forward, loss, backward, step. All else is bookkeeping.

A **callback** is a function, called with the `Training` after each epoch; or an object with any of
these methods, each called with the `Training` too:

    on_train_begin    before the first batch
    on_backward_end   gradients are there, the optimizer has not stepped yet (clip, measure them)
    on_batch_end      after the optimizer's step
    on_epoch_end      after validation; the history has this epoch
    on_train_end      at the end, also after Ctrl-C; not after an exception

A callback that changes something for the time of the training hands its undoing to
``training.cleanup``, a `contextlib.ExitStack` that is closed however the training ends.
Ready-made ones that watch a training run are in `minidl.monitor`.

>>> def halve_after_three(training):                          # a schedule
...     if training.epoch == 3:
...         training.optimizer.lr /= 2
>>> class StopWhenWorse:                                      # early stopping
...     def on_epoch_end(self, training):
...         losses = training.history["val_loss"]
...         if len(losses) > 3 and min(losses[-3:]) > min(losses):
...             training.stop()
>>> class Norms:                                              # a monitor
...     def on_train_begin(self, training):
...         self.norms = []
...     def on_backward_end(self, training):
...         parameters = training.model.parameters()
...         self.norms.append([np.linalg.norm(p.grad.data) for p in parameters])
>>> def checkpoint(training):
...     minidl.save(training.model.state_dict(), f"epoch-{training.epoch}.npz")
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, closing, contextmanager
from time import perf_counter
from typing import Any

import numpy as np

from minidl import check
from minidl import functional as F
from minidl.autograd.modes import no_grad
from minidl.autograd.tensor import Tensor
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.nn.buffers import KeptBuffers
from minidl.nn.losses import Loss
from minidl.training.events import handlers
from minidl.training.history import History
from minidl.training.metrics import (
    Means,
    accuracy,
    class_accuracy,
    label_accuracy,
    probability_accuracy,
)
from minidl.training.progress import reporter
from minidl.training.steps import CapturedSteps, Steps

ACCURACIES: dict[Any, Callable] = {
    F.cross_entropy: class_accuracy,
    F.nll_loss: class_accuracy,
    F.kl_div: class_accuracy,
    F.binary_cross_entropy: probability_accuracy,
    F.binary_cross_entropy_with_logits: label_accuracy,
}
OURS = {getattr(F, name) for name in F.LOSSES}
Metrics = Sequence[str | Callable[..., Any]] | str


class Training:
    """A training in progress, as callbacks see it.

    Attributes:
        model, loader, optimizer, history: what `fit` was given, and what it will return.
        epochs, epoch: how many there will be; the present one, counted from 1.
        batch, step: batches done in this epoch; in the whole training.
        x, target, y, loss: the latest batch, the model's output for it (a Tensor), and its loss (a
            number).
        interrupted: Ctrl-C was pressed.
        cleanup: a `contextlib.ExitStack`, closed at the very end, after an exception too.
    """

    def __init__(self, model: Module, loader: Any, optimizer: Any, epochs: int) -> None:
        self.model, self.loader, self.optimizer, self.epochs = model, loader, optimizer, epochs
        self.history = History()
        self.epoch = self.batch = self.step = 0
        self.x: Any = None
        self.target: Any = None
        self.y: Any = None
        self.loss = math.nan
        self.interrupted = self.stopping = False
        self.cleanup = ExitStack()

    def stop(self) -> None:
        """Ends the training after this batch; its epoch is closed as usual, validation included."""
        self.stopping = True


def fit(
    model: Module,
    loader: Iterable[Any],
    loss: Callable[..., Tensor] | str,
    optimizer: Any,
    epochs: int,
    validation: Any = None,
    metrics: Metrics = ("accuracy",),
    callbacks: Sequence[Any] = (),
    progress: bool = True,
    capture: bool = False,
) -> History:
    """Trains a model.

    Ctrl-C ends the training after the step that is being done: all that was learned is kept and the
    history returned, with ``interrupted`` True and without the unfinished epoch. A second Ctrl-C
    raises KeyboardInterrupt at once.

    Args:
        model: called with x; set to training mode meanwhile, and back to what it was however the
            training ends.
        loader: gives batches (x, target), anew for each epoch: a `minidl.data.DataLoader`, a list
            of batches, ...
        loss: called as ``loss(y, target)``, returns the mean over the batch: `F.cross_entropy`, or
            its name.
        optimizer: has ``zero_grad()`` and ``step()``.
        epochs: how often to go over the data.
        validation: a loader, or a tuple of two arrays (x, target), to be measured after each epoch;
            or None.
        metrics: "accuracy", or functions ``metric(y, target) -> number`` that give a batch's mean.
            The loss says what accuracy is: the greatest score names the class (cross_entropy,
            nll_loss); each label is a yes where its probability is above 0.5 (binary_cross_entropy)
            or its logit above 0 (binary_cross_entropy_with_logits); another loss, or none: as
            `minidl.training.metrics.accuracy` infers from the shapes. It is left out for the losses of real
            numbers (mse_loss, l1_loss, huber_loss).
        callbacks: functions called with the `Training` after each epoch, or objects with methods
            such as ``on_batch_end``: see the top of this module.
        progress: shows loss, metrics, samples/s and the time left: as a bar in a terminal if tqdm
            is installed, else as a line per epoch.
        capture: gradients are computed by a captured step (`minidl.capture`): the same bits, sooner.
            CaptureError if the model or the loss cannot be captured.

    Raises:
        TypeError, ValueError: an argument that does not fit, before anything is done; batches that
            are not pairs.
        FloatingPointError: a loss that is NaN or infinite.
    Whatever a batch raises before the optimizer steps: parameters, the optimizer's state and buffers
    (running statistics) are as the batch before left them. Random generators and the loader have
    advanced.
    """
    if loss is None:
        raise TypeError("fit: loss: expected a function or its name, got None")
    loss_of, chosen = _checked("fit", model, loss, metrics)
    if isinstance(epochs, bool) or not isinstance(epochs, int | np.integer):
        raise TypeError(f"fit: epochs: expected an int, got {epochs!r}")
    if epochs < 0:
        raise ValueError(f"fit: epochs must not be negative, got {epochs}")
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
    if isinstance(optimizer, type):
        kind = optimizer.__name__
        raise TypeError(
            f"fit: optimizer: {kind} is a class: expected {kind}(model.parameters(), ...)"
        )
    for name in ("zero_grad", "step"):
        if not callable(getattr(optimizer, name, None)):
            raise TypeError(f"fit: optimizer: {type(optimizer).__name__} has no {name}()")
    _check_trains(model, optimizer)
    if validation is not None:
        validation = _batches_of("fit: validation", validation)
    steps = CapturedSteps if check.flag("fit", "capture", capture) else Steps
    step = steps(model, optimizer, loss_of)
    events = handlers(callbacks)
    training = Training(model, loader, optimizer, int(epochs))
    batches = len(loader) if isinstance(loader, Sized) else None
    with (
        closing(reporter(progress, training.epochs, batches)) as report,
        _modes_kept(model),
        _ctrl_c_asks(training),
        training.cleanup,
    ):
        _call(events["on_train_begin"], training)
        while training.epoch < training.epochs and not training.stopping:
            begun = perf_counter()
            training.epoch += 1
            means = _train_epoch(training, step, Means(loss_of, chosen), events, report)
            values, rate = means.values(), means.rate()
            if validation is not None and not training.interrupted:
                measured = _measured(
                    model, validation, loss_of, chosen, lambda: training.interrupted
                )
                values |= {f"val_{name}": value for name, value in measured.values().items()}
            if training.interrupted:
                break
            if hasattr(optimizer, "lr"):
                values["lr"] = float(optimizer.lr)
            values["time"] = perf_counter() - begun
            training.history.append(values)
            report.epoch(training.epoch, values, rate)
            _call(events["on_epoch_end"], training)
        if training.interrupted:
            training.history.interrupted = True
            report.say(
                f"interrupted in epoch {training.epoch}, after {training.batch} batches: "
                "what was learned until here is kept"
            )
        _call(events["on_train_end"], training)
    return training.history


def evaluate(
    model: Module,
    loader: Any,
    loss: Callable[..., Tensor] | str | None = None,
    metrics: Metrics = ("accuracy",),
) -> dict[str, float]:
    """Measures a model in evaluation mode, without recording anything; its mode is restored.

    Args:
        model, loss, metrics: as in `fit`; without a loss only the metrics are measured.
        loader: gives batches (x, target); or a tuple of two arrays.

    Returns:
        "loss" and each metric by name: means over all samples.
    """
    loader = _batches_of("evaluate: loader", loader)
    loss_of, chosen = _checked("evaluate", model, loss, metrics)
    return _measured(model, loader, loss_of, chosen, lambda: False).values()


def every_batch(fn: Callable[[], Any]) -> Any:
    """A callback that calls ``fn()`` after each batch: ``every_batch(schedule.step)``."""
    return _EveryBatch(fn)


class _EveryBatch:
    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn

    def on_batch_end(self, training: Training) -> None:
        self.fn()


# ── The loops ─────────────────────────────────────────────────────────────────────────────────────


def _train_epoch(
    training: Training,
    step: Steps,
    means: Means,
    events: dict[str, list[Callable]],
    report: Any,
) -> Means:
    """One pass over the loader; ends early when training is stopping."""
    model, optimizer = training.model, training.optimizer
    after_backward, after_batch = events["on_backward_end"], events["on_batch_end"]
    buffers = KeptBuffers(model)
    training.batch = 0
    model.train()
    for batch in training.loader:
        x, target = _pair(batch)
        buffers.keep()
        try:
            y, batch_loss = step.forward(x, target)
            value = _number(batch_loss)
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"fit: the loss is {value} in epoch {training.epoch}, batch "
                    f"{training.batch + 1}; parameters and buffers are as the batch before left "
                    "them. Is the learning rate too high, or a NaN in the data?"
                )
            training.x, training.target, training.y, training.loss = x, target, y, value
            means.add(value, y, target)
            step.backward(batch_loss)
            if after_backward:
                _call(after_backward, training)
        except BaseException:
            buffers.restore()
            raise
        optimizer.step()
        training.batch += 1
        training.step += 1
        if after_batch:
            _call(after_batch, training)
        if report.due():
            report.batch(training.epoch, training.batch, means)
        if training.stopping:
            break
    if not training.batch:
        raise ValueError(f"fit: the loader gave no batches in epoch {training.epoch}")
    return means


def _measured(
    model: Module,
    loader: Iterable[Any],
    loss: Callable[..., Tensor] | None,
    metrics: dict[str, Callable],
    stopping: Callable[[], bool],
) -> Means:
    means = Means(loss, metrics)
    with _modes_kept(model), no_grad():
        model.eval()
        for batch in loader:
            x, target = _pair(batch)
            y = model(x)
            means.add(None if loss is None else _number(loss(y, target)), y, target)
            if stopping():
                break
    if not means.samples:
        raise ValueError("fit, evaluate: the loader gave no samples to measure")
    return means


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        given = f"{len(batch)} items" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ValueError(f"fit, evaluate: loader: expected batches (x, target), got {given}")
    return batch[0], batch[1]


def _number(loss: Tensor) -> float:
    if loss.size != 1:
        raise ValueError(
            f"loss: expected one number for the batch, got shape {loss.shape} (reduction 'none'?)"
        )
    return loss.item()


def _call(handlers: list[Callable], training: Training) -> None:
    for handler in handlers:
        handler(training)


# ── Arguments ─────────────────────────────────────────────────────────────────────────────────────


def _checked(who: str, model: Any, loss: Any, metrics: Metrics) -> tuple[Any, dict[str, Callable]]:
    """The loss as a function and the metrics by name."""
    if not isinstance(model, Module):
        raise TypeError(f"{who}: model: expected an nn.Module, got {type(model).__name__}")
    if isinstance(loss, str):
        if loss not in F.LOSSES:
            raise ValueError(f"{who}: loss: {loss!r} is not one of {', '.join(F.LOSSES)}")
        loss = getattr(F, loss)
    elif loss is not None and not callable(loss):
        raise TypeError(f"{who}: loss: expected a function or its name, got {type(loss).__name__}")
    chosen: dict[str, Callable] = {}
    metrics = (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics
    for metric in check.items(who, "metrics", metrics, "functions"):
        if callable(metric):
            chosen[getattr(metric, "__name__", type(metric).__name__)] = metric
        elif metric != "accuracy":
            raise ValueError(f'{who}: metrics: {metric!r} is neither "accuracy" nor a function')
        else:
            function = loss.function if isinstance(loss, Loss) else loss
            if function in ACCURACIES or function not in OURS:  # (real numbers have no accuracy)
                chosen["accuracy"] = ACCURACIES.get(function, accuracy)
    return loss, chosen


def _check_trains(model: Module, optimizer: Any) -> None:
    """Raises if the optimizer has parameters, and not one of them is the model's."""
    groups = getattr(optimizer, "groups", None)
    stepped = {id(p) for group in groups for p in group["params"]} if groups else set()
    own = list(model.named_parameters())
    if stepped and own and not any(id(p) in stepped for _, p in own):
        raise ValueError(
            f"fit: optimizer: none of its {len(stepped)} parameters is one of the model's {len(own)} "
            f"({', '.join(name for name, _ in own[:3])} ...): nothing would be trained. Build it from "
            "model.parameters(), after the model's last change"
        )


def _batches_of(what: str, data: Any) -> Any:
    """A tuple of arrays as batches; anything else must be a loader already."""
    if isinstance(data, tuple):
        return DataLoader(data, batch_size=1000)
    if not hasattr(data, "__iter__"):
        raise TypeError(f"{what}: expected a loader or (x, target), got {type(data).__name__}")
    return data


@contextmanager
def _modes_kept(model: Module) -> Iterator[None]:
    """Afterwards every module has the training flag that it has now."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _ctrl_c_asks(training: Training) -> Iterator[None]:
    """The first Ctrl-C asks the training to stop between two batches: no step is half done."""

    def asked(signum: int, frame: Any) -> None:
        if training.interrupted:
            raise KeyboardInterrupt
        training.interrupted = training.stopping = True

    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, asked)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
