"""`export_onnx`: a model as an ONNX file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl import check
from minidl.autograd.tensor import Tensor
from minidl.io import files
from minidl.nn import Module
from minidl.onnx import layer_rules, loss_rules, sequence_rules  # noqa: F401  (they declare rules)
from minidl.onnx.graph import Graph, merged
from minidl.onnx.proto import model_proto
from minidl.onnx.tracing import free_name, trace


def export_onnx(
    model: Callable, example: Any, path: str | os.PathLike[str], dynamic_batch: bool = True
) -> None:
    """Writes a model as an ONNX file (operator set 21), which onnxruntime and many others run.

    The model is run twice in evaluation mode, and each op that it calls becomes one or several ONNX nodes. So any
    module and any function of Tensors can be exported, as long as it is made of minidl's ops and does the same for
    every input; a file knows no ``if``. Parameters and buffers keep the names that they have in ``state_dict()``.

    Args:
        model: a Module, or a function of Tensors that returns Tensors.
        example: an input: an array or Tensor, or a tuple of them for several. Its values do not matter, but its
            shapes and dtypes do; integers become int64.
        path: of the file; an older one is replaced as a whole or not.
        dynamic_batch: axis 0 of all inputs counts samples, of which the file is to take any number. The second run
            has one sample more. False: inputs have the example's shape.

    Raises:
        NotImplementedError: an op that has no counterpart in ONNX; names it, and the line that calls it.
        ValueError: what depends on the values or the number of samples in a way that a file cannot hold (arrays that
            NumPy computed from the input, a ``reshape`` to a fixed number of samples); names the op and the line.
        TypeError: an example or a result that is not made of Tensors.
        ImportError: the onnx library is missing: ``pip install "minidl[onnx]"``.
    """
    if not callable(model):
        raise TypeError(f"export_onnx: model: expected a Module or a function, got {model!r}")
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"export_onnx: path must be a string or a Path, got {path!r}")
    dynamic_batch = check.flag("export_onnx", "dynamic_batch", dynamic_batch)
    onnx = library()
    inputs = _inputs(model, example)
    samples = (0, 0)
    if dynamic_batch:
        n = max(_samples(inputs), 2)  # (a length of 1 could come from a single one, or not)
        samples = (n, n + 1)
        inputs = {name: np.resize(x, (n, *x.shape[1:])) for name, x in inputs.items()}
    others = {name: _other(x, samples[1]) for name, x in inputs.items()}
    with _evaluation_mode(model):
        graph = merged(_run(model, inputs), _run(model, others), samples)
    proto = model_proto(graph, onnx)
    onnx.checker.check_model(proto, full_check=True)
    with files.replacing(path) as file:
        file.write(proto.SerializeToString())


def _run(model: Callable, inputs: dict[str, np.ndarray]) -> Graph:
    """What a run gives, with inputs made from the example, which the model may not take."""
    try:
        return trace(model, inputs)
    except Exception as error:
        if str(error).startswith("export_onnx:"):
            raise
        shapes = ", ".join([str(array.shape) for array in inputs.values()])
        raise ValueError(
            f"export_onnx: the model raises with values of the example in inputs of shape {shapes}: "
            f"{type(error).__name__}: {error} (if the number of samples is always that of the example: "
            "dynamic_batch=False)"
        ) from error


def library() -> Any:
    try:
        import onnx  # an optional extra
    except ImportError:
        raise ImportError('export_onnx and import_onnx need: pip install "minidl[onnx]"') from None
    return onnx


def _inputs(model: Callable, example: Any) -> dict[str, np.ndarray]:
    """The arrays of an example, by the names that the model has for its arguments."""
    given = example if isinstance(example, tuple) else (example,)
    if not given:
        raise ValueError("export_onnx: example: expected at least one array, got none")
    arrays = []
    for x in given:
        try:
            array = np.array(Tensor(x).data)
        except (TypeError, ValueError) as error:
            raise TypeError(f"export_onnx: example: {error}") from None
        arrays.append(array.astype(np.int64) if array.dtype.kind in "iu" else array)
    called = model.forward if isinstance(model, Module) else model
    try:
        known = [
            p.name
            for p in inspect.signature(called).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        known = []
    names = [known[i] if i < len(known) else f"input_{i}" for i in range(len(arrays))]
    pairs = zip(names, arrays, strict=True)
    return {free_name(model, name): array for name, array in pairs}


def _samples(inputs: dict[str, np.ndarray]) -> int:
    """The number of samples in the example."""
    shapes = [array.shape for array in inputs.values()]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(
            f"export_onnx: example: expected as many samples on axis 0 of all inputs, at least 1, got shapes "
            f"{', '.join(map(str, shapes))}; if axis 0 does not count samples: dynamic_batch=False"
        )
    return lengths.pop()


def _other(array: np.ndarray, samples: int) -> np.ndarray:
    """An input for the second run: the same values, which the model can take, in another order; 0: as many samples."""
    values = array.reshape(-1)[::-1]
    if array.size and (values == values[0]).all():
        if array.dtype.kind == "f":  # a share stays one, and so does a sign
            values = 1 - values if 0 <= values[0] <= 1 else -values
        else:
            values = np.zeros_like(values)
    return np.resize(values, (samples, *array.shape[1:]) if samples else array.shape)


@contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    """In the block; and no gradients are asked for (ops would copy ids for them). Afterwards all is as it was."""
    modules = list(model.modules()) if isinstance(model, Module) else []
    parameters = list(model.parameters()) if isinstance(model, Module) else []
    modes = [module.training for module in modules]
    wanted = [parameter.requires_grad for parameter in parameters]
    try:
        for module in modules[:1]:
            module.eval()
        for parameter in parameters:
            parameter.requires_grad = False
        yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training
        for parameter, requires_grad in zip(parameters, wanted, strict=True):
            parameter.requires_grad = requires_grad
