"""What a file cannot hold is named, with the op and the line; and so is what a file has that is not known."""

import re
import sys

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.onnx.model import BUFFERS

from .run import normal, onnx

X = normal(3, 4)


class Own(md.Op):
    def forward(self, x):
        return x * 2


def overwritten(x):
    y = x * 2
    y.data[0] = 0
    return y + 1


REFUSED = {
    "an op of one's own": (lambda x: Own()(x), NotImplementedError, "Own"),
    "random numbers": (lambda x: F.dropout(x), ValueError, "Dropout .*draws random numbers"),
    "NumPy on values": (lambda x: x * np.sign(x.data), ValueError, "Mul .*NumPy"),
    "an if": (lambda x: x * 2 if x.data[0, 0] == X[0, 0] else x + 1, ValueError, "runs"),
    "a number read": (lambda x: x * float(x.data.sum()), ValueError, "Mul .*by NumPy"),
    "functions without a gradient": (
        lambda x: x + md.sort(x, 1),
        ValueError,
        "Add .*methods such as x.sort",
    ),
    "the number of samples": (lambda x: x.sum(0) / len(x), ValueError, "Div .*number of samples"),
    "a fixed batch": (
        lambda x: x.reshape(3, 2, 2),
        ValueError,
        r"raises with .* shape \(4, 4\): ValueError: reshape: cannot",
    ),
    "a setting": (lambda x: F.elu(x, abs(x.data[0, 0].item()) + 1), ValueError, "Elu's alpha"),
    "a length": (lambda x: x[:, : int(x.data[0, 0] == X[0, 0]) + 1], ValueError, "Slice .*NumPy"),
    "a mask": (lambda x: x[x.data > 0], NotImplementedError, "mask"),
    "values overwritten": (overwritten, ValueError, "Add .*changed in place"),
    "arrays apart": (
        lambda x: x.reshape(len(x), 1, 2, 2)[:, [0], :, [1]],
        NotImplementedError,
        "side by side",
    ),
    "a result": (lambda x: x.data, TypeError, "must return Tensors.*ndarray"),
    "NumPy on ids": (lambda x: F.one_hot((x > 0).astype("int64"), 2), ValueError, "the result"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_cannot_hold(name, tmp_path):
    model, error, message = REFUSED[name]
    path = tmp_path / "m.onnx"
    with pytest.raises(error, match=message) as raised:
        md.export_onnx(model, X, path)
    assert not path.exists()
    if "called at" in str(raised.value):
        assert "test_errors.py:" in str(raised.value)


def test_what_is_computed_from_values_is_found_without_a_batch_axis(tmp_path):
    with pytest.raises(ValueError, match=r"Mul .*was computed from the model's input"):
        md.export_onnx(lambda x: x * np.abs(x.data), X, tmp_path / "m.onnx", dynamic_batch=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, X, "m.onnx"), TypeError, "model: expected a Module or a function, got 3"),
        ((nn.ReLU(), X, 3), TypeError, "path must be a string or a Path, got 3"),
        ((nn.ReLU(), "a", "m.onnx"), TypeError, "example: .*<U1"),
        ((nn.ReLU(), (), "m.onnx"), ValueError, "example: expected at least one"),
        ((nn.ReLU(), np.float32(1), "m.onnx"), ValueError, r"samples.*shapes \(\)"),
        ((nn.ReLU(), (X, X[:2]), "m.onnx"), ValueError, r"samples.*\(3, 4\), \(2, 4\)"),
        ((nn.ReLU(), X, "m.onnx", 3), TypeError, "dynamic_batch must be True or False"),
        ((nn.ReLU(), X, "gone/m.onnx"), FileNotFoundError, "gone"),
    ],
)
def test_arguments(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        md.export_onnx(*arguments)


@pytest.mark.parametrize(
    "call", [lambda: md.export_onnx(nn.ReLU(), X, "m"), lambda: md.import_onnx("m")]
)
def test_without_the_library_the_extra_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=re.escape('pip install "minidl[onnx]"')):
        call()


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def saved(path, *nodes, opset=21, dtype=onnx.TensorProto.FLOAT, arrays=(), domain=""):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*node[:3], domain=domain, name="here", **node[3]) for node in nodes],
        "g", [value("x", dtype, [2, 3])], [value("y", dtype, ["n", "m"])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid(domain, opset)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


UNKNOWN = {
    "operator": (
        dict(node=("Det", ["x"], ["y"], {})),
        "node 'here': the operator Det is not known",
    ),
    "domain": (
        dict(node=("Relu", ["x"], ["y"], {}), domain="com.example"),
        "the operator com.example::Relu is not known",
    ),
    "old": (dict(node=("Relu", ["x"], ["y"], {}), opset=9), "operator set 9 is too old"),
    "new": (dict(node=("Relu", ["x"], ["y"], {}), opset=24), "operator set 24 is too new"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_files_with_what_is_not_known(name, tmp_path):
    settings, message = UNKNOWN[name]
    node = settings.pop("node") if "node" in settings else None
    path = saved(tmp_path / "m.onnx", node, **settings)
    settings["node"] = node
    with pytest.raises(NotImplementedError, match=f"import_onnx: .*{message}"):
        md.import_onnx(path)


def test_attributes_that_are_not_known(tmp_path):
    node = ("LayerNormalization", ["x", "w"], ["y"], {"axis": -1, "alpha": 2.0})
    weight = [("w", np.ones(3, np.float32))]
    path = saved(tmp_path / "m.onnx", node, arrays=weight)
    with pytest.raises(NotImplementedError, match=r"'here' .*: the attribute alpha is not known"):
        md.import_onnx(path)
    node = ("MaxPool", ["x"], ["y"], {"kernel_shape": [2], "ceil_mode": 1})
    with pytest.raises(NotImplementedError, match=r"node 'here' \(MaxPool\): ceil_mode=1"):
        md.import_onnx(saved(tmp_path / "m.onnx", node))(np.ones((1, 2, 3), np.float32))
    path = saved(tmp_path / "m.onnx", ("Pad", ["x", "w"], ["y"], {"mode": "wrap"}),
                 arrays=[("w", np.array([0, 1, 0, 1]))])  # fmt: skip
    model = md.import_onnx(path)
    with pytest.raises(NotImplementedError, match=r"OnnxModel: node 'here' \(Pad\): mode='wrap'"):
        model(np.ones((2, 3), np.float32))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"import_onnx: .*gone\.onnx is not there"):
        md.import_onnx(tmp_path / "gone.onnx")
    for content in (b"", b"not a model", b"\x08\x0a" * 7):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"import_onnx: .*m\.onnx is truncated, damaged or no"):
            md.import_onnx(tmp_path / "m.onnx")
    with pytest.raises(TypeError, match="import_onnx: path must be"):
        md.import_onnx(3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda proto: proto.graph.initializer[0].dims.append(7),
        lambda proto: setattr(proto.graph.initializer[0], "data_type", 33),
        lambda proto: setattr(proto.graph.initializer[0], "raw_data", bytes(11)),
        # A value that is no text: setting it raises, a damaged file may have it.
        lambda proto: proto.metadata_props[0].MergeFromString(b"\x12\x02\xff\xfe"),
    ],
    ids=["shape", "dtype", "size", "text"],
)
def test_files_that_only_look_whole(tmp_path, damage):
    """What the check of the onnx library lets pass."""
    path = saved(tmp_path / "m.onnx", ("Add", ["x", "w"], ["y"], {}), arrays=[("w", X)])
    proto = onnx.load(path)
    proto.metadata_props.add(key=BUFFERS, value="w")
    damage(proto)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=r"import_onnx: .*m\.onnx is truncated, damaged or no"):
        md.import_onnx(path)


@pytest.mark.parametrize("name", ["training", "_states", "_steps"])
def test_names_that_the_module_needs_itself(tmp_path, name):
    weight = [(name, np.ones(3, np.float32))]
    path = saved(tmp_path / "m.onnx", ("Add", ["x", name], ["y"], {}), arrays=weight)
    model = md.import_onnx(path)
    assert [given for given, _ in model.named_parameters()] == [f"{name}_"]
    np.testing.assert_array_equal(model(np.ones((2, 3), np.float32)).data, 2)


def test_dropout_and_names_that_a_module_has(tmp_path):
    dropout = ("Dropout", ["h", "share"], ["y"], {})
    path = saved(
        tmp_path / "m.onnx", ("Add", ["x", "forward"], ["h"], {}), dropout,
        arrays=[("forward", np.ones(3, np.float32)), ("share", np.array(0.5, np.float32))],
    )  # fmt: skip
    model, x = md.import_onnx(path), np.ones((200, 3), np.float32)
    assert [name for name, _ in model.named_parameters()] == ["forward_"]
    np.testing.assert_array_equal(model(x).data, 2)
    dropped = model.train()(x).data
    assert set(np.unique(dropped)) == {0, 4} and 0.3 < (dropped == 0).mean() < 0.7


def test_half_precision_and_inputs(tmp_path):
    path = saved(
        tmp_path / "m.onnx", ("Add", ["x", "w"], ["y"], {}), dtype=onnx.TensorProto.FLOAT16,
        arrays=[("w", np.ones(3, np.float16))],
    )  # fmt: skip
    with pytest.raises(TypeError, match="import_onnx: the array 'w' has dtype float16"):
        md.import_onnx(path)
    md.export_onnx(nn.Affine(4, 2), X, path)
    model = md.import_onnx(path)
    with pytest.raises(TypeError, match=r"OnnxModel: expected 1 inputs \(x\), got 2"):
        model(X, X)
    with pytest.raises(ValueError, match=r"OnnxModel: node 'Gemm_0' \(Gemm\): affine: last axis"):
        model(normal(3, 5))
    assert "x -> output, 2 nodes; weight (2, 4), bias (2,)" in repr(model)
