"""`capture`: a step that is recorded in its first call and replayed in later ones.

A call looks for a record that fits its arguments, and all that Python decided when it was recorded. If there is one,
arguments are copied in, the plan's calls are run, results are copied out. If not, the function is run as it is, and
recorded. docs/capture.md draws it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from numpy import ndarray

from minidl import check
from minidl._kernels.runtime.prepared import CaptureError, Plan, capturing
from minidl._kernels.runtime.shared import Count, add, hold, let_go
from minidl.autograd.modes import watching
from minidl.autograd.tensor import Tensor
from minidl.replay.record import Record

ARRAYS = (Tensor, ndarray)
MOST_RECORDS = 8  # of a step; the one that was not used for longest goes first

__all__ = ["CaptureError", "Step", "capture"]


def capture(fn: Callable | None = None, strict: bool = True) -> Any:
    """fn as a step that Python runs once: later calls do again, in compiled code, what its kernels were asked to do.

    step = capture(fn), or ``@capture`` above fn. The bits are those of fn, always: arguments, parameters, optimizer
    settings and counts may change from call to call. Other shapes, dtypes, training modes or replaced arrays make
    another record (at most 8 are kept). Results are tensors of the caller's own, without a graph.

    Args:
        fn: a function of Tensors and arrays (anywhere in tuples, lists and dicts); other arguments are constants.
            Typically it computes a loss, runs ``backward`` and steps an optimizer.
        strict: what cannot be recorded raises; False: it warns once and runs fn as it is from then on. So does minidl
            without compiled modules, whose kernels leave no calls that could be done again.

    Raises:
        CaptureError: naming op and line: a Python value read from a tensor (``item``, ``if loss > 1``), NumPy on
            tensors, an op of your own, an op that cannot be recorded.

    >>> import minidl as md
    >>> double = md.capture(lambda x: 2 * x + 1)
    >>> double(md.Tensor([1.0, 2.0])), double(md.Tensor([3.0, 4.0]))
    (Tensor([3. 5.]), Tensor([7. 9.]))
    >>> double.records
    1
    """
    strict = check.flag("capture", "strict", strict)
    if fn is None:
        return functools.partial(capture, strict=strict)
    if not callable(fn):
        raise TypeError(f"capture: expected a function, got {fn!r}")
    return Step(fn, strict)


class Captured:
    """A function and the records of its calls. (Compiled; its subclass is the class that users see.)"""

    def __init__(self, fn: Any, strict: bool) -> None:
        self._fn, self._strict = fn, strict
        self._records: list[Record] = []  # the latest one that was used comes first
        self._copies = False  # gradients are copied out, too, as somebody has kept one
        self._gave_up = False
        self._running = Count()

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._gave_up or watching() or capturing():  # (inside another step it is a part of that)
            return self._fn(*args, **options)
        try:
            if add(self._running, 1) != 1:
                raise RuntimeError(
                    "capture: this step is running already, in another thread or in itself"
                )
            return self._run(args, options)
        finally:
            add(self._running, -1)

    def _run(self, args: tuple, options: dict) -> Any:
        """Replays a record that fits, or makes one."""
        given, spec = args, None
        if options or not all_arrays(args):
            found: list = []
            spec = _flattened((args, options), found)
            given = tuple(found)
        records = self._records
        for record in records:
            if record.fits(given, spec):
                if record.gradients_are_held():
                    self._keep([])
                    self._copies = True
                    break
                if record is not records[0]:
                    records.remove(record)
                    records.insert(0, record)
                return record.replay(given)
        had = [leaf for earlier in records for leaf in earlier.with_gradients()]
        return self._record(given, spec, args, options, had)

    def _record(self, given: tuple, spec: Any, args: tuple, options: dict, had: list) -> Any:
        plan = Plan(self._strict)
        if (
            not plan.start()
        ):  # another thread is recording, or nothing compiled is there that could be called again
            self._give_up(plan.failure)
            return self._fn(*args, **options)
        result, finished = None, False
        try:
            record = Record(plan, given, spec)
            new_args, new_options = _rebuilt((args, options), iter(record.stand_ins))
            result = self._fn(*new_args, **new_options)
            if capturing():
                record.finish(self._fn, result, self._copies, had)
            if capturing():
                finished = True
                del new_args, new_options, result
                record.check_lifetimes()
        finally:
            plan.stop()
        if plan.failure is not None:
            record.give_back(given)
        self._give_up(plan.failure)
        if plan.failure is not None:
            return record.hand_out() if finished else result
        kept = [earlier for earlier in self._records if not record.replaces(earlier)]
        self._keep([record, *kept][:MOST_RECORDS])
        return record.hand_out()

    def _keep(self, records: list) -> None:
        hold(self)  # another thread may be asking for `records` or `plan()`
        before, self._records = self._records, records
        let_go(self)
        del before

    def _give_up(self, failure: CaptureError | str | None) -> None:
        """After a failure the function runs as it is from now on; said once."""
        if failure is not None:
            self._gave_up = True
            warnings.warn(f"capture: runs uncaptured: {failure}", stacklevel=5)


class Step(Captured):
    """What `capture` returns: call it as the function.

    `records` tells how many plans there are; `plan()` is the one that was used last.
    """

    def __init__(self, fn: Any, strict: bool) -> None:
        super().__init__(fn, strict)
        functools.update_wrapper(self, fn)

    @property
    def records(self) -> int:
        """How many plans are kept."""
        return len(self._records)

    def plan(self) -> Any:
        """The plan that was used last; printed, it shows each call with the time that it took. None: there is none."""
        return self._records[0].plan if self._records else None


def all_arrays(given: tuple) -> bool:
    for x in given:  # noqa: SIM110 (a generator takes longer)
        if type(x) is not Tensor and type(x) is not ndarray:
            return False
    return True


def _flattened(x: Any, found: list) -> Any:
    """x with its tensors and arrays taken out, to `found`."""
    if isinstance(x, ARRAYS):
        found.append(x)
        return ARRAYS
    if type(x) in (tuple, list):
        return type(x), [_flattened(item, found) for item in x]
    if type(x) is dict:
        return {key: _flattened(value, found) for key, value in x.items()}
    return type(x), repr(x) if isinstance(x, float) else x  # (0.0 and -0.0 are equal)


def _rebuilt(x: Any, replaced: Any) -> Any:
    """x with the next of `replaced` for each tensor and array."""
    if isinstance(x, ARRAYS):
        return next(replaced)
    if type(x) in (tuple, list):
        return type(x)([_rebuilt(item, replaced) for item in x])
    if type(x) is dict:
        return {key: _rebuilt(value, replaced) for key, value in x.items()}
    return x
