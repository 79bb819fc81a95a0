"""`import_onnx`: an ONNX file as a module."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from minidl.autograd.tensor import as_tensor
from minidl.io import files
from minidl.nn import Module, Parameter
from minidl.onnx import layer_operators, sequence_operators  # noqa: F401  (they declare operators)
from minidl.onnx.export import library
from minidl.onnx.operators import OPERATORS
from minidl.onnx.proto import BUFFERS

OLDEST, NEWEST = 13, 23  # operator sets whose operators mean what `operators` does
STATISTICS = {"BatchNormalization": (3, 4)}  # inputs that are averages, not trained


class Step(NamedTuple):
    """A node of the graph: operator, its name for errors, names of inputs and outputs, attributes."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: dict[str, Any]


class OnnxModel(Module):
    """The graph of an ONNX file. A call runs its nodes with minidl's ops, so that it can be trained on.

    Its parameters have the names that the file's initializers have. In training mode batch normalisation uses the
    statistics of the batch and updates the running ones, and dropout drops; `import_onnx` returns it in evaluation
    mode.
    """

    def __init__(
        self,
        steps: list[Step],
        states: dict[str, Parameter | np.ndarray],
        constants: dict[str, np.ndarray],
        inputs: list[str],
        outputs: list[str],
    ) -> None:
        self._steps, self._constants = steps, constants
        self._inputs, self._outputs = inputs, outputs
        self._states: dict[str, str] = {}
        # Names in the graph -> names of attributes, which must not be those that a Module has.
        self._states = {name: f"{name}_" if hasattr(self, name) else name for name in states}
        for name, value in states.items():
            setattr(self, self._states[name], value)

    def forward(self, *inputs: Any) -> Any:
        if len(inputs) != len(self._inputs):
            raise TypeError(
                f"OnnxModel: expected {len(self._inputs)} inputs ({', '.join(self._inputs)}), got {len(inputs)}"
            )
        values: dict[str, Any] = {"": None} | self._constants
        values |= {name: getattr(self, attribute) for name, attribute in self._states.items()}
        values |= {name: as_tensor(x) for name, x in zip(self._inputs, inputs, strict=True)}
        for step in self._steps:
            results = self._run(step, [values[name] for name in step.inputs])
            values |= zip(step.outputs, results, strict=False)
        results = tuple([as_tensor(values[name]) for name in self._outputs])
        return results[0] if len(results) == 1 else results

    def _run(self, step: Step, inputs: list) -> tuple:
        operator = OPERATORS[step.kind]
        settings = step.settings | ({"training": self.training} if operator.by_mode else {})
        settings |= {"results": len(step.outputs)} if operator.by_results else {}
        try:
            result = operator.function(*inputs, **settings)
        except (TypeError, ValueError, IndexError, NotImplementedError) as error:
            raise type(error)(f"OnnxModel: node {step.name!r} ({step.kind}): {error}") from error
        return result if isinstance(result, tuple) else (result,)

    def extra_repr(self) -> str:
        return f"{', '.join(self._inputs)} -> {', '.join(self._outputs)}, {len(self._steps)} nodes"


def import_onnx(path: str | os.PathLike[str]) -> OnnxModel:
    """The module that an ONNX file holds, in evaluation mode: its graph, run with minidl's ops.

    Initializers of float32 or float64 become Parameters, under the names that they have in the file, so that the model
    can be trained further; running statistics become buffers. Single numbers, bounds and such, and what is not finite,
    such as a mask, are constants. (A file of another program does not say what else is not to be trained: for a
    parameter p of that kind, ``p.requires_grad = False``.) All operators that `export_onnx` writes are known, and those
    that are common in files that PyTorch writes.

    Raises:
        NotImplementedError: an operator, an attribute or an operator set that is not known; names the node.
        ValueError: the file is damaged, or no ONNX file. FileNotFoundError: it is not there.
        TypeError: `path` is not a path; the file has arrays of another dtype, such as half precision.
        ImportError: the onnx library is missing: ``pip install "minidl[onnx]"``.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"import_onnx: path must be a string or a Path, got {path!r}")
    onnx = library()
    with files.reading("import_onnx", path, passing=(NotImplementedError, _OtherDtype)) as (
        file,
        _,
    ):
        proto = onnx.load_model_from_string(file.read())
        folder = os.path.dirname(os.path.realpath(path))
        onnx.external_data_helper.load_external_data_for_model(proto, folder)
        onnx.checker.check_model(proto)
        # What passes that check may yet have an array of another size than it says, a name that is no text, and so on.
        return _model(proto, onnx)


class _OtherDtype(TypeError):
    """An array of a dtype that minidl does not have: the file may be good."""


def _model(proto: Any, onnx: Any) -> OnnxModel:
    _check_opset(proto)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    graph = proto.graph
    steps = [_step(node, number, onnx) for number, node in enumerate(graph.node)]
    arrays = {array.name: _array(array, onnx) for array in graph.initializer}
    constants = {}
    for step in [step for step in steps if step.kind == "Constant"]:
        constants[step.outputs[0]] = _constant(step)
    steps = [step for step in steps if step.kind != "Constant"]
    states = _states(arrays, steps, {entry.key: entry.value for entry in proto.metadata_props})
    constants |= {name: array for name, array in arrays.items() if name not in states}
    inputs = [value.name for value in graph.input if value.name not in arrays]
    model = OnnxModel(steps, states, constants, inputs, [value.name for value in graph.output])
    model.eval()
    return model


def _check_opset(proto: Any) -> None:
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx") and not OLDEST <= entry.version <= NEWEST:
            age = "old" if entry.version < OLDEST else "new"
            raise NotImplementedError(
                f"import_onnx: operator set {entry.version} is too {age}: expected {OLDEST} to {NEWEST} "
                "(onnx.version_converter converts files)"
            )


def _step(node: Any, number: int, onnx: Any) -> Step:
    name = node.name or f"number {number}"
    known = OPERATORS.get(node.op_type)
    if node.domain not in ("", "ai.onnx") or known is None:
        domain = f"{node.domain}::" if node.domain else ""
        raise NotImplementedError(
            f"import_onnx: node {name!r}: the operator {domain}{node.op_type} is not known"
        )
    settings = {
        a.name: _attribute(onnx.helper.get_attribute_value(a), onnx) for a in node.attribute
    }
    for setting in settings:
        if setting not in known.settings:
            raise NotImplementedError(
                f"import_onnx: node {name!r} ({node.op_type}): the attribute {setting} is not known"
            )
    return Step(node.op_type, name, tuple(node.input), tuple(node.output), settings)


def _attribute(value: Any, onnx: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return _array(value, onnx)
    if isinstance(value, int | float):
        return value
    return [item.decode() if isinstance(item, bytes) else item for item in value]


def _array(tensor: Any, onnx: Any) -> np.ndarray:
    array = np.array(onnx.numpy_helper.to_array(tensor))
    if array.dtype not in (np.float32, np.float64) and array.dtype.kind not in "iub":
        raise _OtherDtype(
            f"import_onnx: the array {tensor.name!r} has dtype {array.dtype}; minidl has float32 and float64"
        )
    return array


def _constant(step: Step) -> np.ndarray:
    """The array of a Constant node."""
    (kind, value), *_ = step.settings.items()
    return np.asarray(value, {"f": np.float32, "i": np.int64}.get(kind.removeprefix("value_")[0]))


def _states(arrays: dict, steps: list[Step], metadata: dict) -> dict[str, Parameter | np.ndarray]:
    """Parameters and buffers among the initializers; the others are constants."""
    averages = set(metadata.get(BUFFERS, "").split("\n"))
    weights = set()
    for step in steps:
        for i, name in enumerate(step.inputs):
            if i in STATISTICS.get(step.kind, ()):
                averages.add(name)
            elif i not in OPERATORS[step.kind].never_trained:
                weights.add(name)
    states: dict[str, Parameter | np.ndarray] = {}
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        if name in averages:
            states[name] = array
        elif array.ndim and name in weights and np.isfinite(array).all():
            states[name] = Parameter(array, name=name)
    return states
