"""A graph in ONNX's own form."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.config import __version__
from minidl.onnx.graph import Graph, Length, Multiple, Node

OPSET, IR_VERSION = 21, 10
BUFFERS = "minidl_buffers"  # metadata: which initializers are not trained


def model_proto(graph: Graph, onnx: Any) -> Any:
    """The graph as an onnx.ModelProto; `onnx` is the library."""
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    nodes = [*_shape_nodes(graph), *graph.nodes]
    constants, names = _distinct(graph.constants)
    protos = [
        helper.make_node("Constant", [], [name], name=name, value=tensor(array))
        for name, array in constants.items()
    ]
    for number, node in enumerate(nodes):
        inputs = [names.get(name, name) for name in node.inputs]
        settings = {name: _setting(value, helper) for name, value in node.settings.items()}
        name = f"{node.kind}_{number}"
        protos.append(helper.make_node(node.kind, inputs, node.outputs, name=name, **settings))
    inputs = [_value(name, array, graph, helper) for name, array in graph.inputs.items()]
    outputs = [_value(name, array, graph, helper) for name, array in graph.outputs.items()]
    states = [tensor(np.ascontiguousarray(array), name) for name, array in graph.states.items()]
    model = helper.make_model(
        helper.make_graph(protos, "minidl", inputs, outputs, states),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minidl",
        producer_version=__version__,
    )
    buffers = [name for name in graph.states if name not in graph.trained]
    helper.set_model_props(model, {BUFFERS: "\n".join(buffers)})
    return model


def _distinct(constants: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The constants that differ; and for each name the one of an equal array that is kept."""
    first: dict[tuple, str] = {}
    names = {
        name: first.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
        for name, array in constants.items()
    }
    return {name: constants[name] for name in first.values()}, names


def _setting(value: Any, helper: Any) -> Any:
    """The value of an attribute."""
    return helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value


def _value(name: str, array: np.ndarray, graph: Graph, helper: Any) -> Any:
    lengths = [n if isinstance(n, int) else _symbol(n) for n in graph.lengths[name]]
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, lengths)


def _symbol(n: Multiple) -> str:
    return "batch" if n.factor == 1 else f"{n.factor}*batch"


def _shape_nodes(graph: Graph) -> list[Node]:
    """What makes the shapes: those that do not grow with the batch become constants."""
    reshapes = {node.inputs[1] for node in graph.nodes if node.kind == "Reshape"}
    nodes: list[Node] = []
    for name, lengths in graph.shapes.items():
        grown = [n for n in lengths if isinstance(n, Multiple)]
        if name in reshapes and len(grown) == 1 and 0 not in lengths:
            lengths = tuple([-1 if isinstance(n, Multiple) else n for n in lengths])
            grown = []
        if not grown:
            graph.constants[name] = np.array(lengths, np.int64)
            continue
        if not nodes:
            nodes.append(
                Node("Shape", [next(iter(graph.inputs))], ["/samples"], {"start": 0, "end": 1}, "")
            )
        nodes += _computed(graph, name, lengths)
    return nodes


def _computed(graph: Graph, name: str, lengths: tuple[Length, ...]) -> list[Node]:
    """Nodes that put a shape together from the number of samples."""
    nodes, parts = [], []
    for i, n in enumerate(lengths):
        part = f"{name}/{i}"
        parts.append(part)
        if not isinstance(n, Multiple):
            graph.constants[part] = np.array([n], np.int64)
        else:
            graph.constants[f"{part}/factor"] = np.array([n.factor], np.int64)
            nodes.append(Node("Mul", ["/samples", f"{part}/factor"], [part], {}, ""))
    return [*nodes, Node("Concat", parts, [name], {"axis": 0}, "")]
