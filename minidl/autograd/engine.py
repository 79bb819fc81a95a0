"""The engine: reverse-mode automatic differentiation in one file.

A `Tensor` is an array that remembers which `Op` made it. An op's `forward` works on arrays and calls kernels; its
`backward` works on Tensors, so that a gradient is computed by ops again and has a gradient of its own, to any order.
If nobody asks for that, an op may have a faster `fused_backward`, on arrays too; which of them runs is decided here.

    x ──┐
        Op ── y        forward:  y = op.forward(x.data, w.data)
    w ──┘              backward: gx, gw = op.backward(gy)

`backward()` walks the ops from the result to the leaves, each op once and after all of its consumers. Gradients wait
in a dict until they reach a leaf. Read `minidl.autograd.op` first, then `walk`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy import ndarray

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.memory import alike, owner, steppable
from minidl._kernels.runtime.prepared import (
    begins,
    buffer_for,
    capturing,
    is_older,
    note,
    reads,
    recorder,
)
from minidl._kernels.runtime.shared import hold, let_go
from minidl.autograd.modes import restore_recording, switch_recording, textbook, watching
from minidl.autograd.op import Add, Cast, Op, SumTo
from minidl.autograd.tape import check_history
from minidl.autograd.tensor import Tensor, as_array, wrap


def _consumers_first(roots: Sequence[Tensor]) -> list[Op]:
    """All ops that the roots depend on, each after every op that consumes its result. No recursion.

    Ops are numbered as they are recorded, and an op can only consume what was there before it: so descending
    order is what we need.
    """
    seen = {root._op for root in roots if root._op is not None}
    order = list(seen)
    in_order, before = True, sys.maxsize
    for op in order:  # grows while we walk over it
        if op.edges is None:
            raise RuntimeError(
                f"{type(op).__name__}: the graph was freed by an earlier backward() or grad(); "
                "pass retain_graph=True (or create_graph=True) to that call to walk it again"
            )
        for edge in op.edges:
            if isinstance(edge, Op):
                known = len(seen)
                seen.add(edge)
                if len(seen) != known:  # (one search instead of two)
                    order.append(edge)
        in_order = in_order and op._number <= before
        before = op._number
    if not in_order:  # a chain is found in this order
        order.sort(key=attrgetter("_number"), reverse=True)
    return order


def _leading_to(targets: set, order: list[Op]) -> set[Op]:
    """The ops of `order` from which some target can be reached: the others need not run backward."""
    useful: set[Op] = set()
    for op in reversed(order):
        if any([edge in targets or edge in useful for edge in op.edges]):
            useful.add(op)
    return useful


def _complete_after(targets: set | None, order: list[Op]) -> dict:
    """For each op, which targets have their whole gradient when it has run: it is their last consumer."""
    last = {edge: op for op in order for edge in op.edges if targets and edge in targets}
    complete: dict[Op, list] = {}
    for target, op in last.items():
        complete.setdefault(op, []).append(target)
    return complete


def walk(
    roots: Sequence[Tensor],
    gradients: Sequence[Any],
    targets: set | None,
    retain_graph: bool,
    create_graph: bool,
    arrived: Any = None,
) -> dict:
    """Carries the gradients of the roots (None: 1) back to the targets; returns {leaf or op: its gradient}.

    Without targets (None) to all leaves, whose `grad` they are added to: `Tensor.backward`; see its docstring.
    A target that the roots depend on, but with slope 0 everywhere (relu's second derivative), gets None as its
    gradient. ``arrived(target, gradient)`` is called as soon as a target's gradient is complete.
    """
    seeds = _seeds(roots, gradients)
    order = _consumers_first(roots)
    grads: dict[Any, Any] = {}
    own: set[Any] = set()  # whose gradient is an array that nobody else has: parts are added to it
    useful = wanted = None
    if targets is not None:
        useful = _leading_to(targets, order)
        wanted = targets | useful
        grads = {edge: None for op in useful for edge in op.edges if edge in targets}
    complete = None if arrived is None else _complete_after(targets, order)
    for i, root in enumerate(roots):
        _add_to(grads, root if root._op is None else root._op, seeds[i])
    fused = not (create_graph or textbook())
    recorded = switch_recording(create_graph)
    try:
        for op in order:
            gy = grads.get(op) if targets is not None and op in targets else grads.pop(op, None)
            if useful is not None and op not in useful:
                continue  # what lies before the targets is neither run nor freed
            if gy is not None:
                if wanted is not None:
                    op._detailed().wanted = [edge in wanted for edge in op.edges]
                elif op._details is not None:
                    op._details.wanted = None
                declared = op._declared
                quick = fused and declared.fused is not None
                if recorder.on and capturing():
                    begins(f"{type(op).__name__} backward")
                part = fused and declared.adds is not None and not watching()
                if part and op.edges[0] in own:
                    whole = grads[op.edges[0]]
                    declared.adds(op, gy._data, whole._data)  # op.add_gradient
                else:
                    if quick:
                        result = declared.fused(op, gy._data)  # op.fused_backward, found faster
                    else:
                        result = declared.backward(op, gy)
                    _pass_on(op, result, quick, gy, grads)
                    if part:
                        own.add(op.edges[0])
            if not retain_graph:
                op._free()
            if complete is not None:
                for target in complete.get(op, ()):
                    arrived(target, grads[target])
    finally:
        restore_recording(recorded)
    if targets is None:
        _add_to_leaves(grads, seeds[0], create_graph)
    return grads


def _pass_on(op: Op, result: Any, fused: bool, gy: Tensor, grads: dict) -> None:
    """Adds what op's backward (or fused_backward) gave to the gradients of op's inputs."""
    edges = op.edges
    gxs = result if isinstance(result, tuple) else (result,)
    if len(gxs) != len(edges):
        raise RuntimeError(
            f"{type(op).__name__}: its {'fused_backward' if fused else 'backward'} gave {len(gxs)} gradients "
            f"for {len(edges)} inputs"
        )
    for i in range(len(gxs)):
        gx = gxs[i]
        if gx is not None and op.needs(i):
            if fused:
                gx = wrap(gx if type(gx) is ndarray else op._as_array(gx, "fused_backward"))
                if recorder.on and capturing():
                    reads(gx._data)
            elif not isinstance(gx, Tensor):
                raise TypeError(
                    f"{type(op).__name__}: its backward must return Tensors, got {type(gx).__name__} for input {i}"
                )
            _add_to(grads, edges[i], _as_input(op, i, gx, gy))


def _as_input(op: Op, i: int, gx: Tensor, gy: Tensor) -> Tensor:
    """gx in the shape and dtype of op's input i: summed over broadcast axes, and cast back."""
    likes = None if op._details is None else op._details.likes
    saved = None if op._saved is None else op._saved[i]
    like = gy if saved is None else saved
    if likes is not None or not alike(gx._data, like._data):
        shape, dtype = (like._data.shape, like._data.dtype) if likes is None else likes[i]
        if gx._data.shape != shape:
            try:
                gx = SumTo(shape)(gx)
            except ValueError:
                raise ValueError(
                    f"{type(op).__name__}: its backward gave a gradient of shape "
                    f"{gx.shape} for input {i}, of shape {shape}"
                ) from None
        if gx._data.dtype != dtype:
            gx = Cast(dtype)(gx)
    if watching():
        _check_anomaly(op, gx)
    return gx


def _add_to(grads: dict, key: Any, g: Tensor) -> None:
    before = grads.get(key)
    grads[key] = g if before is None else Add()(before, g)


def _add_to_leaves(grads: dict, seed: Tensor, create_graph: bool) -> None:
    """Adds to `grad` of every leaf, of all or (if something raises) of none. Each gets an array of its own, which may
    be changed freely.

    Nobody waits for anybody: a leaf takes a sum only if its gradient still is the one that was read; if not, the sum is
    computed again. What else adds meanwhile may be another thread, but also a signal handler or a `__del__` of this
    one, which is done only after what it would wait for.
    """
    owners = {id(owner(seed._data))}
    had: dict | None = None  # the gradients that leaves had
    changed = 0
    try:
        for leaf, g in grads.items():
            changed += 1
            while True:
                before = _grad_of(leaf)
                grads[leaf] = total = _sum_for(leaf, before, g, owners, create_graph)
                if before is not None:
                    had = had or {}
                    had[leaf] = before
                if _exchange_grad(leaf, before, total):
                    break
    except BaseException:
        for leaf, total in list(grads.items())[:changed]:
            _exchange_grad(leaf, total, None if had is None else had.get(leaf))
        raise


def _sum_for(
    leaf: Tensor, before: Tensor | None, g: Tensor, owners: set, create_graph: bool
) -> Tensor:
    """What the leaf's gradient `before` (None: it has none) becomes by g. `owners`: of memory that others have."""
    if recorder.on and capturing():
        before = _noted_gradient(leaf, before)
    if before is not None:
        return before + g if create_graph else wrap(K.binary("add", before._data, g._data))
    its = id(owner(g._data))
    shared = its in owners or its == id(owner(leaf._data)) or not steppable(g._data)
    owners.add(its)
    if create_graph:
        return Cast(g._data.dtype)(g) if shared else g  # a Cast copies
    return wrap(K.copy(g._data) if shared else g._data)


def _grad_of(tensor: Tensor) -> Any:
    """``tensor.grad``, which another thread may be setting."""
    hold(tensor)
    grad = tensor.grad
    let_go(tensor)
    return grad


def _exchange_grad(tensor: Tensor, before: Any, grad: Any) -> bool:
    """``tensor.grad = grad``, if it still is `before` (which the caller holds: its last reference may not go here)."""
    hold(tensor)
    unchanged = tensor.grad is before
    if unchanged:
        tensor.grad = grad
    let_go(tensor)
    return unchanged


def _noted_gradient(leaf: Tensor, grad: Tensor | None) -> Tensor | None:
    """The leaf's gradient, in a step that is captured: one from an earlier call is another array in each."""
    note("gradient", (leaf, grad))
    if grad is None or not is_older(grad._data):
        return grad
    buffer = buffer_for(grad._data)
    note("added", (leaf, buffer))
    return wrap(buffer)


def _seeds(outputs: Sequence[Tensor], gradients: Sequence[Any]) -> list[Tensor]:
    """The gradients to start from, checked before anything is done."""
    seeds = []
    for i, y in enumerate(outputs):
        gradient = gradients[i]
        if not y._requires_grad:
            raise RuntimeError(
                "backward: this tensor does not require a gradient: none of what it was computed from "
                "has requires_grad=True, or it was computed inside no_grad(), or it is a gradient that was "
                "computed without create_graph=True"
            )
        check_history(y)
        if gradient is None:
            if y._data.size != 1:
                raise RuntimeError(
                    f"backward: the tensor has shape {y.shape}; a gradient may only be left out for "
                    "one element: reduce it (sum, mean) or pass gradient="
                )
            seeds.append(
                wrap(K.number(1.0, y._data) if y._data.ndim == 0 else np.ones_like(y._data))
            )
            continue
        seed = gradient if isinstance(gradient, Tensor) else wrap(as_array(gradient, y._data.dtype))
        if not alike(seed._data, y._data):
            if seed.shape != y.shape:
                raise ValueError(
                    f"backward: expected a gradient of shape {y.shape}, got {seed.shape}"
                )
            seed = Cast(y.dtype)(seed)
        seeds.append(seed)
    return seeds


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Any:
    """The gradients of the outputs' sum with respect to the inputs; ``.grad`` is left alone.

    Args:
        outputs, inputs: a Tensor or a sequence of them; inputs need not be leaves.
        grad_outputs: gradient of each output; None for scalars.
        create_graph: record the computation, so that the result can be differentiated again (any order).
        retain_graph: keep the graph; default: what `create_graph` says.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Returns:
        A Tensor for a single input, else a tuple.
    """
    single = isinstance(inputs, Tensor)
    xs, ys = _tensors("inputs", inputs), _tensors("outputs", outputs)
    create_graph = check.flag("grad", "create_graph", create_graph)
    if grad_outputs is None or isinstance(outputs, Tensor):
        grad_outputs = [grad_outputs] * len(ys)
    if len(grad_outputs) != len(ys):
        raise ValueError(f"grad: {len(ys)} outputs, but {len(grad_outputs)} grad_outputs")
    for i, x in enumerate(xs):
        if not x._requires_grad:
            raise RuntimeError(f"grad: input {i} does not require a gradient")
    keys = [x._op or x for x in xs]
    keep = (
        create_graph if retain_graph is None else check.flag("grad", "retain_graph", retain_graph)
    )
    grads = walk(ys, list(grad_outputs), set(keys), keep, create_graph)
    for i, key in enumerate(keys):
        if key not in grads and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on input {i}; allow_unused=True gives None for it"
            )
    results = tuple(
        wrap(np.zeros_like(x._data)) if key in grads and grads[key] is None else grads.get(key)
        for x, key in zip(xs, keys, strict=True)
    )
    return results[0] if single else results


def _tensors(argument: str, given: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    xs = check.items("grad", argument, given, "Tensors")
    for x in xs:
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: {argument}: expected Tensors, got {type(x).__name__}")
    return xs


def _check_anomaly(op: Op, gx: Tensor) -> None:
    if np.isnan(gx._data).any():
        where = (op._details and op._details.where) or "(it was called outside detect_anomaly)"
        raise RuntimeError(
            f"{type(op).__name__}: its backward gave NaN. The op was called here:\n{where}"
        )
