"""`profile`: where the time of a block of code goes, op by op.

While the block runs, the functions to be timed are replaced by ones that time them (`calls.py` does so for the ops);
before and after it nothing is slower.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from threading import get_ident
from time import perf_counter_ns
from typing import Any

import numpy as np

import minidl.autograd.engine as engine
import minidl.autograd.tensor as tensors
from minidl.autograd.op import Op
from minidl.data.loader import DataLoader
from minidl.drawing.graph import op_name
from minidl.inspection.calls import around_ops
from minidl.inspection.report import Event, Plan, Report
from minidl.nn import Module
from minidl.optim.base import Optimizer
from minidl.replay.capture import Step
from minidl.replay.watch import outside_of_steps

FRAMES = 12  # how many callers of an op are searched for the layer that it belongs to


class profile(Report):
    """Times every op inside: ``with md.profile() as p: ...``, then ``print(p.table())`` and ``p.save("trace.json")``.

    What is timed: the forward and the backward of each op, apart; the engine on its way through the graph ("walk":
    ``backward()``, ``md.grad``); optimizers' ``step``; batches of a `DataLoader`; captured steps, a replay as a whole,
    and then, from the plan's own clock, its calls. Time is that of the clock, not of the processor. An op's forward is
    timed from its arrays to its array: what Python does around it (checks, layers, your code) is "outside of ops".
    An object can be entered again, and adds up. Other threads are timed, too.

    Inside, each call takes a few microseconds longer; that is measured and shown as "profile itself". Outside there is
    no cost. Results have the same bits.

    Args:
        model: a `Module`; each op is then assigned to the layer that called it: ``p.table(by="layer")``. This takes
            longer. In backward an op belongs to the layer of its forward.

    Attributes:
        active: (of the class) the profile that is active; None if there is none.
        events: what was timed, as `Event`, in the order in which it ended.
        plans: a `Plan` for each captured step that was replayed.
        wall: seconds inside.

    Raises:
        TypeError: model is neither a Module nor None. RuntimeError: entered while a profile is active. CaptureError:
            entered in a captured step.

    >>> from minidl.functional import relu
    >>> x = tensors.Tensor(np.ones((2, 2), np.float32), requires_grad=True)
    >>> with profile() as p:
    ...     relu(x).backward(np.ones((2, 2), np.float32))
    >>> [(event.name, event.phase) for event in p.events]
    [('relu', 'forward'), ('relu', 'backward'), ('walk', 'backward')]
    """

    active: profile | None = None

    def __init__(self, model: Module | None = None) -> None:
        if model is not None and not isinstance(model, Module):
            raise TypeError(f"profile: model: expected a Module or None, got {model!r}")
        super().__init__()
        self._names: dict[int, str] = {}  # of the model's layers
        if model is not None:
            for name, module in model.named_modules():
                self._names[id(module)] = f"{name} {type(module).__name__}".lstrip()
        self._model = model  # (keeps it alive, and so the ids valid)
        self._running: dict[int, _Timing | None] = {}  # the innermost call, by thread
        self._layers: dict[int, str] = {}  # by op, until the op is gone and its id is another's
        self._steps: dict[Step, list[int]] = {}  # replays and their time, of each captured step

    def __enter__(self) -> profile:
        outside_of_steps("profile")
        if profile.active is not None:
            raise RuntimeError("profile: another profile is active: one at a time")
        with ExitStack() as stack:  # (which undoes all of it if something raises)
            profile.active = self
            stack.callback(setattr, profile, "active", None)
            stack.enter_context(around_ops(self._timed_op))
            _replace(stack, DataLoader, "__iter__", self._timed_batches)
            _replace(stack, Step, "__call__", self._timed_step)
            for kind in _with_step(Optimizer):
                _replace(stack, kind, "step", self._timed_update)
            walk = partial(self._timed, "walk", "backward")
            tensors.connect({}, walk(engine.walk))  # for Tensor.backward
            stack.callback(tensors.connect, {}, engine.walk)
            _replace(stack, sys.modules["minidl"], "grad", walk)
            self._stack = stack.pop_all()
        self._thread, self._entered = get_ident(), perf_counter_ns()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall += (perf_counter_ns() - self._entered) / 1e9
        self._stack.close()
        self._layers.clear()
        for step, (replays, time) in self._steps.items():
            self.plans.append(Plan.read(_name(step), replays, time / 1e9, str(step.plan())))
        self._steps.clear()

    # ── What is put in place of functions ────────────────────────────────────────────────────────────────────────────

    def _timed(self, name: str, phase: str, fn: Callable) -> Callable:
        def timed(*args: Any, **options: Any) -> Any:
            with _Timing(self, name, phase):
                return fn(*args, **options)

        return timed

    def _timed_op(self, method: str, fn: Callable) -> Callable:
        phase = "forward" if method == "forward" else "backward"

        def timed(op: Op, *args: Any) -> Any:
            timing = _Timing(self, op, phase)
            if self._names:
                timing.layer = self._layer(op, phase)
            with timing:
                result = fn(op, *args)
                if not op.shares:
                    timing.made = result if isinstance(result, tuple) else (result,)
            return result

        return timed

    def _layer(self, op: Op, phase: str) -> str:
        """The layer that an op belongs to."""
        if phase == "backward":
            return self._layers.get(id(op), "")
        frame: Any = sys._getframe(2)
        for _ in range(FRAMES):
            if frame is None:
                break
            if frame.f_code.co_name == "forward" and frame.f_code.co_varnames[:1] == ("self",):
                layer = self._names.get(id(frame.f_locals["self"]))
                if layer is not None:
                    return layer
            frame = frame.f_back
        return ""

    def _timed_update(self, fn: Callable) -> Callable:
        def step(optimizer: Optimizer, *args: Any, **options: Any) -> Any:
            with _Timing(self, f"{type(optimizer).__name__}.step", "optimizer"):
                return fn(optimizer, *args, **options)

        return step

    def _timed_batches(self, fn: Callable) -> Callable:
        def batches(inner: Iterator[Any]) -> Iterator[Any]:
            while profile.active is self:
                with _Timing(self, "DataLoader", "data"):
                    batch = next(inner, self)
                if batch is self:
                    return
                yield batch
            yield from inner

        return lambda loader: batches(fn(loader))

    def _timed_step(self, fn: Callable) -> Callable:
        def call(step: Step, *args: Any, **options: Any) -> Any:
            with _Timing(self, f"captured {_name(step)}", "captured") as timing:
                result = fn(step, *args, **options)
            plan = step.plan()
            if plan is not None and plan.replays and not timing.inside:  # it was not run as it is
                total = self._steps.setdefault(step, [0, 0])
                total[0] += 1
                total[1] += timing.duration
            return result

        return call


class _Timing:
    """A call that is being timed: a context around it. `made` is for the arrays that it makes."""

    __slots__ = (
        "duration",
        "entered",
        "inside",
        "layer",
        "made",
        "name",
        "outer",
        "phase",
        "profile",
        "start",
        "thread",
    )

    def __init__(self, owner: profile, name: str | Op, phase: str) -> None:
        self.entered = perf_counter_ns()
        self.profile, self.name, self.phase, self.layer = owner, name, phase, ""
        self.made: Any = ()
        # inside: the time of the calls in it, including what timing them took
        self.inside = self.duration = 0

    def __enter__(self) -> _Timing:
        self.thread = get_ident()
        running = self.profile._running
        self.outer = running.get(self.thread)
        if self.outer is not None and self.outer.phase == "backward":
            self.phase, self.layer = "backward", self.layer or self.outer.layer
        running[self.thread] = self
        self.start = perf_counter_ns()
        return self

    def __exit__(self, *exception: object) -> None:
        self.duration = duration = perf_counter_ns() - self.start
        owner, name, nbytes = self.profile, self.name, 0
        owner._running[self.thread] = self.outer
        if not isinstance(name, str):
            if owner._names:
                owner._layers[id(name)] = self.layer
            name = op_name(name)
        for x in self.made:
            if type(x) is np.ndarray:
                nbytes += x.nbytes
        own = duration - self.inside
        owner.events.append(
            Event(name, self.phase, self.start, duration, own, self.thread, self.layer, nbytes)
        )
        total = perf_counter_ns() - self.entered
        owner.overhead += (total - duration) / 1e9
        if self.outer is not None:
            self.outer.inside += total


def _replace(
    stack: ExitStack, owner: Any, name: str, around: Callable[[Callable], Callable]
) -> None:
    """Puts around(fn) in the place of owner.name until the stack is left."""
    fn = getattr(owner, name)
    setattr(owner, name, around(fn))
    stack.callback(setattr, owner, name, fn)


def _name(step: Step) -> str:
    return getattr(step, "__name__", "function")


def _with_step(kind: Any) -> Iterator[Any]:
    """The class and its subclasses that have a `step` of their own."""
    if "step" in vars(kind):
        yield kind
    for below in kind.__subclasses__():
        yield from _with_step(below)
