"""What of a module can be seen from outside: hooks on its calls and their gradients, and its view in a notebook."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any
from weakref import ref

import numpy as np

from minidl.autograd.modes import recording
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, wrap
from minidl.replay.watch import outside_of_steps


class Inspected:
    """The part of `Module` that lets others look at it."""

    _hooks: Hooks | None = None  # None: a call is `forward`, and layers may fuse

    def register_forward_hook(self, fn: Callable) -> Handle:
        """Calls ``fn(module, inputs, output)`` after each forward pass; unless it returns None, that is the output.

        inputs is the tuple of positional arguments. Hooks run in the order of registration, each with the output of the
        one before. They belong to a call, ``module(x)``, not to ``module.forward(x)``. A layer that has hooks is not
        fused with its neighbours, so that they see its own output. A module that works in place has overwritten its
        input when they run. Copies of the module have the same hooks; saved and pickled modules have none.

        Returns:
            A handle: ``handle.remove()`` ends it, as does leaving ``with handle:``.

        Raises:
            TypeError: fn is not callable. CaptureError: in a captured step, a replay of which could not call it.

        >>> from minidl.nn import ReLU
        >>> layer = ReLU()
        >>> handle = layer.register_forward_hook(lambda module, inputs, output: print(module, output.shape))
        >>> _ = layer([-1.0, 2.0])
        ReLU() (2,)
        >>> handle.remove()
        """
        return _register(self, "forward", fn)

    def register_backward_hook(self, fn: Callable) -> Handle:
        """Calls ``fn(module, grad_inputs, grad_outputs)`` when backward has passed the module: both are tuples.

        As PyTorch's ``register_full_backward_hook``: grad_outputs are the gradients of the outputs (None: none came),
        grad_inputs those of the positional inputs (None: it requires none). What fn returns, unless None, replaces the
        gradients of the inputs: a tuple of as many (or a Tensor for a single input). It does not change the gradients
        of the module's parameters. Where no input requires a gradient (the first layer), fn is called as soon as
        grad_outputs are there, and must return None. `md.grad` with respect to parameters of the module alone does not
        reach its inputs, and calls no hook that waits for them. Order, copies and fusing as for
        `register_forward_hook`.

        Raises:
            TypeError: fn is not callable. At a call: an output that is not a Tensor, tuple or list. In backward:
                fn returned something other than gradients. CaptureError: as for `register_forward_hook`.
            ValueError: in backward: fn returned gradients of another number or shape.

        >>> from minidl.nn import ReLU
        >>> layer, x = ReLU(), Tensor([-1.0, 2.0], requires_grad=True)
        >>> with layer.register_backward_hook(lambda module, gxs, gys: print(gxs, gys)):
        ...     layer(x).sum().backward()
        (Tensor([0. 1.]),) (Tensor([1. 1.]),)
        """
        return _register(self, "backward", fn)

    def _repr_html_(self) -> str:
        from minidl.notebook.views import module_html  # here, as only notebooks need it

        return module_html(self)


_keys = count()


class Handle:
    """What registering a hook returns; ``remove()`` ends it. Removing it again does nothing."""

    def __init__(self, module: Any, kind: str, key: int) -> None:
        self._module, self._kind, self._key = ref(module), kind, key

    def remove(self) -> None:
        """The hook is not called any more."""
        module = self._module()
        if module is not None and module._hooks is not None:
            hooks = module._hooks
            left = {key: fn for key, fn in hooks.of(self._kind).items() if key != self._key}
            hooks = hooks.replaced(self._kind, left)
            if hooks is None:  # as before the first hook: a captured step is replayed again
                del module._hooks
            else:
                module._hooks = hooks

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def _register(module: Any, kind: str, fn: Callable) -> Handle:
    if not callable(fn):
        name = f"{type(module).__name__}.register_{kind}_hook"
        raise TypeError(f"{name}: fn: expected a function, got {fn!r}")
    hooks, key = module._hooks or Hooks({}, {}), next(_keys)
    module._hooks = hooks.replaced(kind, hooks.of(kind) | {key: fn})
    return Handle(module, kind, key)


class Hooks:
    """The hooks of one module by key, in the order of registration. It is replaced, never changed: so a captured
    step notices a new hook, and a hook may remove itself while it runs.
    """

    def __init__(self, forward: dict[int, Callable], backward: dict[int, Callable]) -> None:
        self.forward, self.backward = forward, backward

    def of(self, kind: str) -> dict[int, Callable]:
        return self.forward if kind == "forward" else self.backward

    def replaced(self, kind: str, hooks: dict[int, Callable]) -> Hooks | None:
        """The same with these of a kind; None if no hook is left."""
        both = (hooks, self.backward) if kind == "forward" else (self.forward, hooks)
        return Hooks(*both) if any(both) else None

    def __deepcopy__(self, memo: dict) -> Hooks:
        return Hooks(copy.deepcopy(self.forward, memo), copy.deepcopy(self.backward, memo))

    def __reduce__(self) -> tuple:
        return type(None), ()  # a pickled module has no hooks

    def call(self, module: Any, inputs: tuple, options: dict) -> Any:
        """The call of a module that has hooks."""
        outside_of_steps(f"a hook of {type(module).__name__}")
        passing = _Passing(module, self.backward) if self.backward and recording() else None
        if passing is not None:
            inputs = passing.enter(inputs)
        output = module.forward(*inputs, **options)
        for fn in self.forward.values():
            replaced = fn(module, inputs, output)
            output = output if replaced is None else replaced
        return output if passing is None else passing.leave(output)


# ── Backward ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Passing:
    """One call of a module that has backward hooks: its inputs and its outputs go through ops that do nothing but see
    the gradients on their way back.
    """

    def __init__(self, module: Any, hooks: dict[int, Callable]) -> None:
        self.module, self.hooks = module, hooks
        self.inputs: list = []  # shape and dtype of each that requires a gradient; None for others
        self.token: Tensor | None = None  # of the inputs; None if no input requires a gradient
        self.grad_outputs: tuple = ()

    def enter(self, inputs: tuple) -> tuple:
        self.inputs = [(x.shape, x.dtype) if _flows(x) else None for x in inputs]
        inputs, self.token = _through(inputs, self._at_inputs, None)
        return inputs

    def leave(self, output: Any) -> Any:
        if isinstance(output, Tensor):
            return _through((output,), self._at_outputs, self.token)[0][0]
        if type(output) not in (tuple, list):
            raise TypeError(
                f"{self._name()}: expected a Tensor, a tuple or a list as the module's output, got "
                f"{type(output).__name__}"
            )
        return type(output)(_through(output, self._at_outputs, self.token)[0])

    def _at_outputs(self, gys: tuple) -> tuple:
        self.grad_outputs = gys
        if self.token is None:
            self._run((None,) * len(self.inputs))
        return gys

    def _at_inputs(self, gxs: tuple) -> tuple:
        both = zip(gxs, self.inputs, strict=True)
        # (0: the result depends on another output, which does not depend on this input)
        return self._run(
            tuple(wrap(np.zeros(*like)) if g is None and like else g for g, like in both)
        )

    def _run(self, gxs: tuple) -> tuple:
        for fn in self.hooks.values():
            returned = fn(self.module, gxs, self.grad_outputs)
            if returned is not None:
                gxs = self._checked(returned)
        return gxs

    def _checked(self, gxs: Any) -> tuple:
        """What a hook returned, as the gradients of all inputs."""
        gxs = (gxs,) if isinstance(gxs, Tensor) else gxs
        if self.token is None:
            raise ValueError(
                f"{self._name()}: no input requires a gradient: expected None, got {gxs!r}"
            )
        if not isinstance(gxs, tuple | list):
            raise TypeError(
                f"{self._name()}: expected None, a Tensor or a tuple of them, got {gxs!r}"
            )
        if len(gxs) != len(self.inputs):
            raise ValueError(
                f"{self._name()}: expected {len(self.inputs)} gradients, one for each input, got {len(gxs)}"
            )
        for i, (g, like) in enumerate(zip(gxs, self.inputs, strict=True)):
            if g is not None and not isinstance(g, Tensor):
                raise TypeError(
                    f"{self._name()}: input {i}: expected a Tensor or None, got {type(g).__name__}"
                )
            if g is not None and like is not None and g.shape != like[0]:
                raise ValueError(
                    f"{self._name()}: input {i}: expected a gradient of shape {like[0]}, got {g.shape}"
                )
        return tuple(gxs)

    def _name(self) -> str:
        return f"a backward hook of {type(self.module).__name__}"


def _flows(x: Any) -> bool:
    """Whether a gradient flows to x."""
    return isinstance(x, Tensor) and x.requires_grad


def _through(
    xs: Sequence, on_gradients: Callable[[tuple], tuple], before: Tensor | None
) -> tuple[tuple, Tensor | None]:
    """xs with views in place of those to which a gradient flows, and the token of their barrier (None if no
    gradient flows to any of them).

    `on_gradients` is given the gradients of all xs once they are there (None where none came), and returns those that
    are passed on. The barrier that `before` is the token of is reached afterwards in any case.
    """
    places = [i for i, x in enumerate(xs) if _flows(x)]
    if not places:
        return tuple(xs), None
    barrier = _Barrier(len(xs), places, on_gradients)
    token = barrier(*[xs[i] for i in places], *([] if before is None else [before]))
    passed = {i: _ThroughBarrier(barrier, i)(xs[i], token) for i in places}
    return tuple(passed.get(i, x) for i, x in enumerate(xs)), token


class _Barrier(Op):
    """Waits for the gradients of several tensors. Each tensor is replaced by a view (`_ThroughBarrier`) that also
    depends on the result of this op, a token; so the backward of the barrier runs after theirs.
    """

    saves = ()

    def __init__(self, n: int, places: list[int], on_gradients: Callable[[tuple], tuple]) -> None:
        self.n, self.places, self.on_gradients = n, places, on_gradients
        self.gradients: dict[int, Tensor] = {}

    def forward(self, *xs: np.ndarray) -> np.ndarray:
        return np.zeros((), np.float32)

    def backward(self, gy: Tensor) -> tuple:
        gradients, self.gradients = self.gradients, {}  # (another backward may follow)
        gxs = self.on_gradients(tuple(gradients.get(i) for i in range(self.n)))
        passed_on = tuple(gxs[i] for i in self.places)
        return passed_on if len(passed_on) == len(self.edges) else (*passed_on, gy)


class _ThroughBarrier(Op):
    """y = x. Its gradient goes to the barrier."""

    saves = ()
    shares = "view"

    def __init__(self, barrier: _Barrier, i: int) -> None:
        self.barrier, self.i = barrier, i

    def forward(self, x: np.ndarray, token: np.ndarray) -> np.ndarray:
        return x

    def backward(self, gy: Tensor) -> tuple:
        self.barrier.gradients[self.i] = gy
        return None, wrap(np.zeros((), np.float32))
