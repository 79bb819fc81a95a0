"""Every layer and every activation, as a file: onnxruntime and the imported module compute the same to 1e-5."""

import numpy as np
import pytest

from minidl import functional as F
from minidl import init, nn
from minidl.ops.activations.table import ROWS

from .run import normal, onnx, round_trip

IMAGE, ROW = normal(2, 4, 6, 5), normal(3, 6)
SIGNS, SHARES = np.sign(normal(3, 4)), np.abs(normal(3, 4)) / 5
WIDE = init.Uniform(-1, 1)


def trained(layer):
    """Running statistics as after a training."""
    layer.running_mean[...] = normal(4)
    layer.running_var[...] = np.abs(normal(4)) + 0.5
    return layer


# Each layer: how to make one, and its inputs. Several of them for a name that has more than one way.
LAYERS = {
    "Affine": [
        (lambda: nn.Affine(6, 3), ROW),
        (lambda: nn.Affine(5, 3, bias=False), IMAGE),
        (lambda: nn.spectral_norm(nn.Affine(6, 3)), ROW),
        (lambda: nn.weight_norm(nn.Affine(6, 3), dim=None), ROW),
    ],
    "AdaptiveAvgPool": [
        (lambda: nn.AdaptiveAvgPool((3, None)), IMAGE),
        (lambda: nn.AdaptiveAvgPool(4), IMAGE),
    ],
    "AdaptiveMaxPool": [
        (lambda: nn.AdaptiveMaxPool(1), IMAGE),
        (lambda: nn.AdaptiveMaxPool((4, 2)), IMAGE),
    ],
    "AvgPool": [(lambda: nn.AvgPool(3, 2, 1), IMAGE), (lambda: nn.AvgPool(2), normal(2, 3, 8))],
    "Bilinear": [(lambda: nn.Bilinear(6, 4, 3), ROW, normal(3, 4))],
    "BatchNorm": [
        (lambda: trained(nn.BatchNorm(4, weight=WIDE, bias=WIDE)), IMAGE),
        (lambda: trained(nn.BatchNorm(4, affine=False, activation="relu")), normal(3, 4)),
        (lambda: nn.BatchNorm(4, track_running_stats=False), np.concatenate([IMAGE, IMAGE])),
    ],
    "BCELoss": [(lambda: nn.BCELoss(), SHARES, SHARES[::-1])],
    "BCEWithLogitsLoss": [(lambda: nn.BCEWithLogitsLoss(), SIGNS, SHARES)],
    "Conv": [
        (lambda: nn.Conv(4, 6, 3, stride=2, padding=1, groups=2), IMAGE),
        (lambda: nn.Conv(4, 2, (3,), dilation=2, bias=False), normal(2, 4, 9)),
        (lambda: nn.Conv(2, 3, (2, 3, 2), activation=("leaky_relu", 0.2)), normal(2, 2, 4, 4, 4)),
        (lambda: nn.Conv(4, 3, (6, 5)), IMAGE),
        (lambda: nn.Conv(4, 3, (3, 2), padding="same"), IMAGE),
        (lambda: nn.Conv(4, 3, 3, padding=(2, 1), padding_mode="reflect"), IMAGE),
        (lambda: nn.Conv(4, 3, 3, padding=1, padding_mode="replicate"), IMAGE),
        (lambda: nn.weight_norm(nn.Conv(4, 3, 3)), IMAGE),
    ],
    "ConvTranspose": [
        (lambda: nn.ConvTranspose(4, 3, 4, stride=2, padding=1), IMAGE),
        (lambda: nn.ConvTranspose(4, 6, 3, 2, 1, 1, groups=2, activation="tanh"), IMAGE),
        (lambda: nn.ConvTranspose(4, 2, (3,), dilation=2, bias=False), normal(2, 4, 5)),
        (lambda: nn.spectral_norm(nn.ConvTranspose(4, 2, 3)), IMAGE),
    ],
    "CosineEmbeddingLoss": [(lambda: nn.CosineEmbeddingLoss(), ROW, ROW[::-1], SIGNS[:, 0])],
    "CReLU": [(lambda: nn.CReLU(), IMAGE)],
    "CrossEntropyLoss": [
        (lambda: nn.CrossEntropyLoss(), ROW, np.array([5, 0, 2])),
        (lambda: nn.CrossEntropyLoss(reduction="none"), IMAGE, np.arange(60).reshape(2, 6, 5) % 4),
        (lambda: nn.CrossEntropyLoss(label_smoothing=0.1), normal(3, 4), SHARES),
    ],
    "Dropout": [(lambda: nn.Dropout(0.5), ROW)],
    "Dropout2d": [(lambda: nn.Dropout2d(0.5), IMAGE)],
    "Embedding": [(lambda: nn.Embedding(7, 3), np.array([[1, 6, 0], [2, 2, 5]]))],
    "Flatten": [(lambda: nn.Flatten(), IMAGE), (lambda: nn.Flatten(2), IMAGE)],
    "GLU": [(lambda: nn.GLU(), ROW), (lambda: nn.GLU(1), IMAGE)],
    "GRU": [(lambda: nn.GRU(5, 3, bidirectional=True, batch_first=True), IMAGE[:, 0])],
    "GroupNorm": [(lambda: nn.GroupNorm(2, 4, weight=WIDE, bias=WIDE), IMAGE)],
    "HingeLoss": [(lambda: nn.HingeLoss(), SHARES, SIGNS)],
    "HuberLoss": [(lambda: nn.HuberLoss(delta=0.5), normal(3, 4), SIGNS)],
    "Identity": [(lambda: nn.Identity(), ROW)],
    "InstanceNorm": [(lambda: nn.InstanceNorm(4, affine=True, weight=WIDE), IMAGE)],
    "KLDivLoss": [(lambda: nn.KLDivLoss(), normal(3, 4), SHARES)],
    "L1Loss": [(lambda: nn.L1Loss("sum"), normal(3, 4), SIGNS)],
    "LayerNorm": [
        (lambda: nn.LayerNorm(5, weight=WIDE, bias=WIDE), IMAGE),
        (lambda: nn.LayerNorm((6, 5), affine=False), IMAGE),
    ],
    "LSTM": [
        (lambda: nn.LSTM(5, 3, num_layers=2, batch_first=True), IMAGE[:, 0]),
        (lambda: nn.LSTM(5, 4, bias=False, bidirectional=True, batch_first=True), IMAGE[:, 1]),
    ],
    "LogSoftmax": [(lambda: nn.LogSoftmax(1), IMAGE)],
    "Maxout": [(lambda: nn.Maxout(6, 2, 3), ROW)],
    "MaxPool": [
        (lambda: nn.MaxPool(3, 1, 1), IMAGE),
        (lambda: nn.MaxPool(2), normal(2, 2, 4, 4, 4)),
    ],
    "MSELoss": [(lambda: nn.MSELoss(), normal(3, 4), SIGNS)],
    "MultiheadAttention": [
        (lambda: nn.MultiheadAttention(5, 1, batch_first=True, bias=False), IMAGE[:, 0]),
        (
            lambda: nn.MultiheadAttention(6, 3, kdim=5, vdim=4, batch_first=True),
            normal(2, 3, 6),
            IMAGE[:, 0],
            normal(2, 6, 4),
        ),
    ],
    "PixelShuffle": [(lambda: nn.PixelShuffle(2), IMAGE)],
    "PixelUnshuffle": [(lambda: nn.PixelUnshuffle(3), normal(2, 4, 6, 3))],
    "PReLU": [
        (lambda: nn.PReLU(4, slope=WIDE), IMAGE),
        (lambda: nn.PReLU(), IMAGE),
        (lambda: nn.PReLU(shared=True), ROW),
        (lambda: nn.PReLU((4, 6, 5), base_axis=None, slope=WIDE), IMAGE),
        (lambda: nn.PReLU((4, 6, 5), base_axis=(0, 2), slope=WIDE), IMAGE),
    ],
    "Reshape": [(lambda: nn.Reshape(2, -1), IMAGE)],
    "RNN": [
        (lambda: nn.RNN(5, 3, nonlinearity="relu", batch_first=True), IMAGE[:, 0]),
        (lambda: nn.RNN(5, 3, bidirectional=True), normal(4, 2, 5)),
    ],
    "RReLU": [(lambda: nn.RReLU(), ROW)],
    "Softmax": [(lambda: nn.Softmax(), ROW), (lambda: nn.Softmax(1), IMAGE)],
    "Upsample": [
        (lambda: nn.Upsample((2, 3)), IMAGE),
        (lambda: nn.Upsample(2, "bilinear"), IMAGE),
        (lambda: nn.Upsample((3, 2), "bicubic"), IMAGE),
    ],
}
# What is no layer of its own, or cannot be exported (and says so).
APART = {
    "Module", "ModuleDict", "ModuleList", "Parameter", "ParameterMaker", "ParameterScope", "Sequential",
    "remove_parametrization", "spectral_norm", "weight_norm",
    "NLLLoss",  # NumPy computes where its targets are
}  # fmt: skip


def test_every_layer_has_a_row():
    plain = {name for name in nn.LAYERS}
    assert set(nn.__all__) == set(LAYERS) | APART | plain and not set(LAYERS) & APART


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, rows in LAYERS.items() for i in range(len(rows))]
)
def test_layers(name, number, tmp_path):
    make, *example = LAYERS[name][number]
    round_trip(make(), *example, path=tmp_path / "layer.onnx")


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_are_operators(kind, tmp_path):
    layer = getattr(nn, kind)(5, 3, num_layers=2, bidirectional=True, batch_first=True)
    round_trip(layer, IMAGE[:, 0], path=tmp_path / "layer.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "layer.onnx").graph.node]
    assert kinds.count(kind) == 4 and "Gemm" not in kinds


POINTS = np.concatenate([3 * normal(40), [0.0, -0.0, 0.5, -0.5, 1, -1, 3, -3, 6]]).astype("float32")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_activation(row, tmp_path):
    usual = list(row.params.values())
    function, changed = getattr(F, row.name), [value + 0.25 for value in usual]

    def model(x):
        y = [function(x, *usual), function(x, *changed)]
        if row.inplace:
            y.append(function(x * 1, *usual, inplace=True))
        return y

    round_trip(model, POINTS, path=tmp_path / "activation.onnx")


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.has_slope_from_y], ids=lambda row: row.name
)
def test_activations_that_a_layer_applies(row, tmp_path):
    name = (row.name, *row.params.values())
    for layer, x in (
        (nn.Affine(6, 4, activation=name), ROW),
        (nn.Conv(4, 2, 3, activation=name), IMAGE),
    ):
        round_trip(layer, x, path=tmp_path / "layer.onnx")
