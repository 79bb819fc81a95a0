"""`summary`: what a model consists of, what its layers give, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from threading import get_ident
from typing import Any

import numpy as np

from minidl import check
from minidl.autograd.modes import enable_grad
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, wrap
from minidl.inspection.calls import around_ops
from minidl.inspection.counting import kept_bytes, multiply_adds
from minidl.inspection.text import aligned, in_bytes
from minidl.inspection.unchanged import unchanged
from minidl.nn import Module, Parameter
from minidl.nn.hooks import Hooks
from minidl.replay.watch import outside_of_steps


def summary(model: Module, input_shape: Any, dtype: Any = None) -> Summary:
    """A table of a model's layers: output shapes, parameters, learning-rate multipliers, multiply-adds, and the memory
    of a training step.

    The model is run on inputs of ones (zeros where they are integers), in evaluation mode. It is left as it was:
    running statistics, random numbers, gradients, training mode. A layer whose shape is inferred from the first batch
    is shown with the shape that it would get, marked "*", and goes on waiting. Hooks are not called.

    Each column adds up to its total: a row has what is the module's own, without its children; what is shared is
    counted where it comes first. Multiply-adds are those of products and convolutions (`Affine`, `Conv`,
    `ConvTranspose`, recurrent layers, attention, ``@``, ``einsum``) in one forward pass, taps on the padding included;
    additions of a bias, activations, normalisation, pooling and ops of your own are not counted. The memory is that of
    parameters, their gradients, the input, and activations: all arrays that the recorded graph keeps for backward; the
    optimizer's moments are not in it.

    Args:
        input_shape: of the input, with the batch axis: ``(64, 784)``; a list of shapes for a model of several inputs.
        dtype: of the input, or a list of one for each; by default the parameters'. `Embedding` takes integers:
            ``dtype="int64"``.

    Returns:
        An object that prints itself, with `rows`, `total_parameters` and what else `Summary` lists.

    Raises:
        TypeError: model is not a Module; a shape that is not a tuple of integers. ValueError: as the layers raise for
            an input of this shape. CaptureError: in a captured step.

    >>> from minidl.nn import Affine, ReLU, Sequential
    >>> summary(Sequential(Affine(784, 32), ReLU(), Affine(32, 10)), (64, 784))
    layer       output    parameters  multiply-adds
    Sequential  (64, 10)
      0 Affine  (64, 32)      25,120      1,605,632
      1 ReLU    (64, 32)
      2 Affine  (64, 10)         330         20,480
    total                     25,450      1,626,112
    parameters  25,450 trained
    memory      412 kB: parameters 102 kB, gradients 102 kB, activations 8.19 kB, input 201 kB
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: model: expected a Module, got {model!r}")
    inputs = _inputs(model, input_shape, dtype)
    outside_of_steps("summary")
    tracer = _Tracer(model)
    with unchanged(model), enable_grad():
        model.eval()
        for module in model.modules():
            vars(module)["_hooks"] = tracer
        with around_ops(tracer.counting):
            model(*[Tensor(x.copy()) for x in inputs])
        for row in tracer.rows:
            row.count()
        for module in model.modules():
            vars(module)["_hooks"] = None
        activations = _activations(model, inputs)
        memory = {
            "parameters": sum(p._data.nbytes for p in model.parameters()),
            "gradients": sum(p._data.nbytes for p in model.parameters() if p.requires_grad),
            "activations": activations,
            "input": sum(x.nbytes for x in inputs),
        }
    return Summary(tracer.rows, memory)


def _inputs(model: Module, input_shape: Any, dtype: Any) -> list[np.ndarray]:
    """An array for each input."""
    if not isinstance(input_shape, tuple | list) or not input_shape:
        raise TypeError(
            f"summary: input_shape: expected a tuple of lengths with the batch axis, such as (64, 784), or a list of "
            f"them, got {input_shape!r}"
        )
    several = all(isinstance(shape, tuple | list) for shape in input_shape)
    shapes = [
        check.integers("summary", "input_shape", shape, 0)
        for shape in (input_shape if several else [input_shape])
    ]
    dtypes = list(dtype) if isinstance(dtype, tuple | list) else [dtype] * len(shapes)
    if len(dtypes) != len(shapes):
        raise ValueError(f"summary: dtype: expected {len(shapes)}, one per input, got {dtype!r}")
    usual = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    found = [usual if d is None else check.dtype("summary", d) for d in dtypes]
    return [
        Tensor(np.full(check.shape("summary", shape), d.kind == "f"), dtype=d)._data
        for shape, d in zip(shapes, found, strict=True)
    ]


def _activations(model: Module, inputs: list[np.ndarray]) -> int:
    """The bytes that a training step keeps between forward and backward, as layers fuse when nobody looks."""
    xs = [wrap(x) for x in inputs]
    outputs = _tensors(model(*xs))
    others = [x._data for x in (*model.parameters(), *xs)] + list(model.buffers.values())
    return kept_bytes([y._op for y in outputs if y._op is not None], others)


def _tensors(y: Any) -> Iterator[Tensor]:
    if isinstance(y, Tensor):
        yield y
    elif isinstance(y, Mapping):
        yield from (x for item in y.values() for x in _tensors(item))
    elif isinstance(y, tuple | list):
        yield from (x for item in y for x in _tensors(item))


# ── What is found ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Row:
    """One module.

    Attributes:
        name: in the model, dotted; "" for the model itself. kind: the class. depth: how far below the model it is.
        module: the module itself.
        output: the shape of its output, or what has such shapes in it; None if it was not called. calls: how often.
        parameters, frozen: how many numbers of its own there are; how many of them are not trained, by ``lr_mult=0`` or
            ``requires_grad=False``.
        lr_mult: the multipliers that are not 1, by parameter.
        multiply_adds: of its own ops, in all of its calls.
        inferred: whether its shape was inferred from the input.
        same_as: the name under which the same module came before; its numbers are there.
    """

    name: str
    kind: str
    depth: int
    module: Module = field(repr=False)
    own: dict[str, Parameter] = field(repr=False)  # not counted in an earlier row
    output: Any = None
    calls: int = 0
    parameters: int = 0
    frozen: int = 0
    lr_mult: dict[str, float] = field(default_factory=dict)
    multiply_adds: int = 0
    inferred: bool = False
    same_as: str | None = None

    def count(self) -> None:
        """Adds up the parameters, once their shapes are known."""
        self.parameters = sum(p._data.size for p in self.own.values())
        fixed = [p for p in self.own.values() if p.lr_mult == 0 or not p.requires_grad]
        self.frozen = sum(p._data.size for p in fixed)
        self.lr_mult = {key: p.lr_mult for key, p in self.own.items() if p.lr_mult != 1}

    def cells(self) -> list[str]:
        """Its line of the table."""
        label = f"{self.name.rpartition('.')[2]} {self.kind}".strip()
        if self.same_as is not None:
            return ["  " * self.depth + label, f"same as {self.same_as}", "", "", ""]
        output = "not called" if self.calls == 0 else str(self.output)
        if self.calls > 1:
            output += f" x {self.calls}"
        count = f"{self.parameters:,}" if self.parameters else ""
        if self.frozen:
            count += " frozen" if self.frozen == self.parameters else f" ({self.frozen:,} frozen)"
        values = set(self.lr_mult.values())
        alike = len(values) == 1 and len(self.lr_mult) == len(self.own)
        told = [f"{key} {value:g}" for key, value in self.lr_mult.items()]
        lr_mult = f"{values.pop():g}" if alike else ", ".join(told)
        work = f"{self.multiply_adds:,}" if self.multiply_adds else ""
        return ["  " * self.depth + label, output, count + "*" * self.inferred, lr_mult, work]


class Summary:
    """What `summary` returns.

    Attributes:
        rows: one `Row` per module, parents first.
        total_parameters, trained_parameters, frozen_parameters: how many numbers.
        total_multiply_adds: of one forward pass of the batch.
        memory: bytes by name: "parameters", "gradients", "activations", "input".
        total_memory: their sum.
    """

    def __init__(self, rows: list[Row], memory: dict[str, int]) -> None:
        self.rows, self.memory = rows, memory
        self.total_parameters = sum(row.parameters for row in rows)
        self.frozen_parameters = sum(row.frozen for row in rows)
        self.trained_parameters = self.total_parameters - self.frozen_parameters
        self.total_multiply_adds = sum(row.multiply_adds for row in rows)
        self.total_memory = sum(memory.values())

    def _table(self) -> list[list[str]]:
        head = ["layer", "output", "parameters", "lr_mult", "multiply-adds"]
        total = ["total", "", f"{self.total_parameters:,}", "", f"{self.total_multiply_adds:,}"]
        lines = [head, *[row.cells() for row in self.rows], total]
        if not any(row.lr_mult for row in self.rows):
            lines = [[*line[:3], line[4]] for line in lines]
        return lines

    def _notes(self) -> list[str]:
        frozen = f", {self.frozen_parameters:,} frozen" if self.frozen_parameters else ""
        parts = ", ".join(f"{name} {in_bytes(n)}" for name, n in self.memory.items())
        notes = [
            f"parameters  {self.trained_parameters:,} trained{frozen}",
            f"memory      {in_bytes(self.total_memory)}: {parts}",
        ]
        if any(row.inferred for row in self.rows):
            notes.append(
                "*           inferred from this input; the layer still waits for its first batch"
            )
        return notes

    def __repr__(self) -> str:
        return "\n".join(aligned(self._table(), 2) + self._notes())

    def _repr_html_(self) -> str:
        rows = [
            "".join(
                f'<td style="text-align:{"left" if i < 2 else "right"};white-space:pre">{escape(cell)}</td>'
                for i, cell in enumerate(line)
            )
            for line in self._table()
        ]
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        notes = "<br>".join(
            f'<span style="white-space:pre">{escape(n)}</span>' for n in self._notes()
        )
        return f'<div style="font-family:monospace"><table>{table}</table>{notes}</div>'


class _Tracer(Hooks):
    """Stands in for the hooks of every module while the model runs: notes who is called, and what its ops do."""

    def __init__(self, model: Module) -> None:
        super().__init__({}, {})
        self.rows: list[Row] = []
        self.by_module: dict[int, Row] = {}
        self.counted: set[int] = set()  # parameters
        self.running: list[Row] = []
        self.thread = get_ident()
        self._add("", model, 0, ())

    def _add(self, name: str, module: Module, depth: int, above: tuple[Module, ...]) -> None:
        own = {}
        before = self.by_module.get(id(module))
        for key, p in module._own():
            if isinstance(p, Parameter) and id(p) not in self.counted:
                self.counted.add(id(p))
                own[key] = p
        row = Row(name, type(module).__name__, depth, module, own)
        row.inferred = any(p.waits_for_shape for p in own.values())
        self.rows.append(row)
        if before is not None:
            row.same_as = before.name
            return
        self.by_module[id(module)] = row
        for key, child in module._own():
            if isinstance(child, Module) and child is not module and child not in above:
                self._add(f"{name}.{key}" if name else key, child, depth + 1, (*above, module))

    def call(self, module: Module, inputs: tuple, options: dict) -> Any:
        """A call of a module, as its hooks would do it."""
        row = self.by_module[id(module)]
        self.running.append(row)
        try:
            y = module.forward(*inputs, **options)
        finally:
            self.running.pop()
        row.calls += 1
        row.output = _shapes(y)
        return y

    def counting(self, method: str, fn: Callable) -> Callable:
        """A forward method that notes its multiply-adds."""
        if method != "forward":
            return fn

        def forward(op: Op, *xs: np.ndarray) -> np.ndarray:
            y = fn(op, *xs)
            if self.running and get_ident() == self.thread:
                self.running[-1].multiply_adds += multiply_adds(op, y, xs)
            return y

        return forward


def _shapes(y: Any) -> Any:
    """The shapes of what a module returned, in its tuples, lists and dicts."""
    if isinstance(y, Tensor | np.ndarray):
        return y.shape
    if isinstance(y, Mapping):
        return {key: _shapes(item) for key, item in y.items()}
    if isinstance(y, tuple | list):
        return [_shapes(item) for item in y]
    return type(y).__name__
