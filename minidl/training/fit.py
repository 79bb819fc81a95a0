"""Training: `fit` goes over the data again and again, `evaluate` measures.

One step is four lines, in `_train_epoch` and `steps`: forward, loss, backward, step. All else is bookkeeping.

A **callback** is a function, called with the `Training` after each epoch; or an object with any of
these methods, each called with the `Training` too:

    on_train_begin    before the first batch
    on_backward_end   gradients are there, the optimizer has not stepped yet (clip, measure them)
    on_batch_end      after the optimizer's step (with accumulate=k, once in k batches)
    on_epoch_end      after validation; the history has this epoch
    on_train_end      at the end, also after Ctrl-C; not after an exception

A callback that changes something for the time of the training hands its undoing to
``training.cleanup``, a `contextlib.ExitStack` that is closed however the training ends.
Ready-made ones are in `minidl.callbacks`, and those that watch a training run in `minidl.monitor`. They
are called in the order of the list; one with ``sees_all = True`` after all others, and at the end of
the training before them. What one must remember in a resumed training, it gives in ``state_dict()`` and
takes in ``load_state_dict(state)``; if its ``stopped`` is true then, the training stays ended. With
several ranks (`minidl.distributed`) callbacks are called on rank 0, and what they change in the training is
changed on all.

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

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import Any

from minidl import check
from minidl.atomic import at_once, starmap
from minidl.autograd.tensor import Tensor
from minidl.distributed import DataParallel
from minidl.nn import Module
from minidl.nn.buffers import KeptBuffers
from minidl.replay.watch import changed
from minidl.training.arguments import (
    Metrics,
    batches_of,
    check_loader,
    check_optimizer,
    epochs_of,
    measures,
)
from minidl.training.events import handlers, listed
from minidl.training.history import History
from minidl.training.metrics import Means, Metric
from minidl.training.progress import reporter
from minidl.training.state import Training
from minidl.training.steps import Steps, count_of_steps, has_stepped, samples_in, steps_of


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
    accumulate: int = 1,
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
        optimizer: has ``zero_grad()`` and ``step()``; or a `minidl.distributed.DataParallel` with one: batches are
            divided among ranks, and what is measured is of all. Progress and callbacks are on rank 0; what callbacks
            change is changed on every rank.
        epochs: how often to go over the data.
        validation: a loader, or a tuple of two arrays (x, target), to be measured after each epoch;
            or None.
        metrics: "accuracy", "top5" (or another number), "precision", "recall", "f1", or functions
            ``metric(y, target) -> number`` that give a batch's mean. The names are computed from
            totals over the epoch. The loss says what the output means: the greatest score names the
            class (cross_entropy, nll_loss); each label is a yes where its probability is above 0.5
            (binary_cross_entropy) or its logit above 0 (binary_cross_entropy_with_logits); of
            another loss, or none, the shapes tell, as in `minidl.training.metrics.accuracy`.
            Precision, recall and F1 of several classes or labels are the means of theirs. For the
            losses of real numbers (mse_loss, l1_loss, huber_loss) accuracy is left out.
        callbacks: functions called with the `Training` after each epoch, or objects with methods
            such as ``on_batch_end``: see the top of this module.
        progress: shows loss, metrics, samples/s and the time left: as a bar in a terminal if tqdm
            is installed, else as a line per epoch.
        capture: gradients are computed by a captured step (`minidl.capture`): the same bits, faster.
            CaptureError if the model or the loss cannot be captured.
        accumulate: how many batches contribute their gradients to one step of the optimizer, weighted by
            their samples: for a loss that is the mean over samples, the step of one large batch
            (except for layers that look at the whole batch, such as BatchNorm).

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
    loss_of, chosen = measures("fit", model, loss, metrics)
    epochs = epochs_of(epochs)
    check_loader(loader, epochs)
    parallel = optimizer if isinstance(optimizer, DataParallel) else None
    optimizer = optimizer if parallel is None else parallel.optimizer
    check_optimizer(model, optimizer)
    accumulate = check.integer("fit", "accumulate", accumulate, 1)
    if validation is not None:
        validation = batches_of("fit: validation", validation)
    captured = check.flag("fit", "capture", capture)
    step = steps_of(model, optimizer, parallel, loss_of, captured)
    callbacks = listed(callbacks)
    events = handlers(callbacks, parallel)
    new_means = partial(Means, loss_of, chosen)
    names = new_means().names
    names += [f"val_{name}" for name in names if validation is not None]
    names += [*(["lr"] if hasattr(optimizer, "lr") else []), "time"]
    training = Training(model, loader, optimizer, epochs, callbacks, new_means, names)
    batches = len(loader) if isinstance(loader, Sized) else None
    with (
        closing(reporter(progress, training.epochs, batches, parallel)) as report,
        _modes_kept(model),
        _ctrl_c_asks(training, parallel is not None and parallel.world.size > 1),
        training.cleanup,
    ):
        _call(events["on_train_begin"], training)
        report.go_on_after(training.epoch)
        while training.goes_on():
            training.open_epoch()
            _train_epoch(training, step, accumulate, events, report)
            if training.interrupted:
                break
            values, rate = training.means.values(), training.means.rate()
            if validation is not None:
                measured = _measured(
                    step, validation, loss_of, chosen, lambda: training.interrupted
                )
                values |= {f"val_{name}": value for name, value in measured.values().items()}
                step.hear(training)
            if training.interrupted:
                break
            if hasattr(optimizer, "lr"):
                values["lr"] = float(optimizer.lr)
            values["time"] = training.means.seconds()
            training.in_epoch = False
            training.history.append(values)
            report.epoch(training.epoch, values, rate)
            _call(events["on_epoch_end"], training)
        step.hear(training)
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
        "loss", the mean over all samples, and each metric by name, from totals over all batches.
    """
    loader = batches_of("evaluate: loader", loader)
    loss_of, chosen = measures("evaluate", model, loss, metrics)
    return _measured(Steps(model), loader, loss_of, chosen, lambda: False).values()


def every_batch(fn: Callable[[], Any]) -> Any:
    """A callback that calls ``fn()`` after each step of the optimizer: ``every_batch(schedule.step)``."""
    return _EveryBatch(fn)


def every_epoch(fn: Callable[..., Any], monitor: str | None = None) -> Any:
    """A callback that calls ``fn()`` after each epoch: ``every_epoch(schedule.step)``.

    Args:
        monitor: a name in the history, whose latest value fn is called with:
            ``every_epoch(plateau.step, "val_loss")``.

    Raises:
        ValueError: when the training begins, if its history will have no such name.
    """
    return _EveryEpoch(fn, monitor)


class _Every:
    """Calls a function; what a checkpoint keeps is the state of the object whose method it is."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            raise TypeError(f"{self.name}: fn must be a function, got {fn!r}")
        self.fn = fn

    @property
    def every_rank(self) -> bool:
        """Whether it is called on every rank: a schedule, which does the same on each."""
        return hasattr(getattr(self.fn, "__self__", None), "load_state_dict")

    def state_dict(self) -> Any:
        owner: Any = getattr(self.fn, "__self__", None)
        return owner.state_dict() if self.every_rank else None

    def load_state_dict(self, state: Any) -> None:
        self.fn.__self__.load_state_dict(state)  # type: ignore[attr-defined]


class _EveryBatch(_Every):
    name = "every_batch"

    def on_batch_end(self, training: Training) -> None:
        self.fn()


class _EveryEpoch(_Every):
    name = "every_epoch"

    def __init__(self, fn: Callable[..., Any], monitor: str | None) -> None:
        super().__init__(fn)
        self.monitor = monitor

    def on_train_begin(self, training: Training) -> None:
        if self.monitor is not None:
            training.check_measure("every_epoch", self.monitor)

    def on_epoch_end(self, training: Training) -> None:
        self.fn(*([] if self.monitor is None else [training.history[self.monitor][-1]]))


# ── The loops ─────────────────────────────────────────────────────────────────────────────────────


def _train_epoch(
    training: Training,
    step: Steps,
    accumulate: int,
    events: dict[str, list[Callable]],
    report: Any,
) -> None:
    """One pass over the loader, or what is left of it; ends early when training is stopping."""
    model, optimizer, means = training.model, training.optimizer, training.means
    after_backward, after_batch = events["on_backward_end"], events["on_batch_end"]
    buffers = KeptBuffers(model)
    model.train()
    for group in _groups(step.batches(training.batches()), accumulate):
        buffers.keep()
        before = None
        try:
            for number, (batch, share) in enumerate(group):
                step.batch(training, batch, number, share)
            if after_backward:
                _call(after_backward, training)
            before = count_of_steps(optimizer)
            optimizer.step()
        except BaseException:
            if before is None or not has_stepped(before):
                buffers.restore()
            raise
        training.batch += len(group)
        training.step += 1
        if after_batch:
            _call(after_batch, training)
        if report.due():
            report.batch(training.epoch, training.batch, means)
        if training.stopping:
            break
    if not (training.batch or training.interrupted):
        raise ValueError(f"fit: the loader gave no batches in epoch {training.epoch}")


def _groups(batches: Iterable[Any], size: int) -> Iterator[list[tuple[Any, float]]]:
    """The batches of each step, with their shares of its samples."""
    if size == 1:
        for batch in batches:
            yield [(batch, 1.0)]
        return
    left = iter(batches)
    while group := list(islice(left, size)):
        counts = [samples_in(batch) for batch in group]
        total = max(sum(counts), 1)
        yield [(batch, n / total) for batch, n in zip(group, counts, strict=True)]


def _measured(
    step: Steps,
    loader: Iterable[Any],
    loss: Callable[..., Tensor] | None,
    metrics: dict[str, Metric],
    stopping: Callable[[], bool],
) -> Means:
    means = Means(loss, metrics)
    with _modes_kept(step.model):
        step.model.eval()
        step.measure(means, loader, loss, stopping)
    if not means.samples:
        raise ValueError("fit, evaluate: the loader gave no samples to measure")
    return means


def _call(handlers: list[Callable], training: Training) -> None:
    for handler in handlers:
        handler(training)


@contextmanager
def _modes_kept(model: Module) -> Iterator[None]:
    """Afterwards every module has the training flag that it has now."""
    modes = [(module, "training", module.training) for module in model.modules()]
    try:
        yield
    finally:
        changed()
        at_once(starmap(object.__setattr__, modes))


@contextmanager
def _ctrl_c_asks(training: Training, ranks: bool) -> Iterator[None]:
    """The first Ctrl-C asks the training to stop between two batches: no step is half done. (With several ranks, all
    stop after the same batch: the step tells them.)
    """

    def asked(signum: int, frame: Any) -> None:
        if training.asked:
            raise KeyboardInterrupt
        training.asked = True
        if not ranks:
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
