"""Exports a model, and compares what onnxruntime and the imported model compute with what the model does."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-5
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def outputs(result):
    """All arrays of a result, however nested."""
    if isinstance(result, tuple | list):
        return [array for item in result for array in outputs(item)]
    return [result.data]


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def largest_difference(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(ours, theirs, strict=True))


def round_trip(model, *example, path, samples=True):
    """The file's model, after all was compared: with the example and, if axis 0 counts samples, with twice as many."""
    md.export_onnx(model, example, path, dynamic_batch=samples)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == 21
    run, imported = session(path), md.import_onnx(path)
    for inputs in (example, [np.concatenate([x, x[::-1]]) for x in example] if samples else ()):
        if not inputs:
            continue
        if isinstance(model, nn.Module):
            model.eval()
        with md.no_grad():
            expected = outputs(model(*map(Tensor, inputs)))
            back = outputs(imported(*map(Tensor, inputs)))
        there = run.run(None, dict(zip([i.name for i in run.get_inputs()], inputs, strict=True)))
        assert largest_difference(expected, there) <= TOLERANCE
        assert largest_difference(expected, back) <= TOLERANCE
    return imported
