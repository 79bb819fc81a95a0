"""Files that PyTorch has written, by its older exporter and, where onnxscript is installed, by its newer one."""

import importlib.util
import warnings

import numpy as np
import pytest

import minidl as md

from .run import TOLERANCE, onnx

torch = pytest.importorskip("torch")

nn = torch.nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
        self.places = nn.Parameter(torch.randn(6, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.scores = nn.Linear(8, 11)

    def forward(self, ids):
        x = self.tokens(ids) + self.places[: ids.shape[1]]
        h, mask = self.norm(x), torch.triu(torch.full((6, 6), float("-inf")), 1)
        return self.scores(x + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0])


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y, state = self.layer(x)
        return y.sum(-1) + sum(h.sum() for h in (state if isinstance(state, tuple) else (state,)))


MODELS = {
    "LeNet": lambda: nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 10), nn.LogSoftmax(1),
    ),
    "residual": lambda: nn.Sequential(
        Residual(), Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(3, 2)
    ),
    "generator": lambda: nn.Sequential(
        nn.ConvTranspose2d(5, 8, 4), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Tanh()
    ),
    "activations": lambda: nn.Sequential(
        nn.PReLU(4), nn.ELU(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Hardswish(), nn.Hardtanh(),
        nn.ReLU6(), nn.GELU("tanh"), nn.SELU(), nn.CELU(), nn.Softsign(), nn.Hardsigmoid(), nn.Softshrink(),
        nn.Tanhshrink(), nn.LogSigmoid(), nn.GLU(1), nn.Softmax(-1),
    ),
    "normalisation": lambda: nn.Sequential(
        nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm([3, 3])
    ),
    "resizing": lambda: nn.Sequential(
        nn.Upsample(scale_factor=2), nn.PixelShuffle(2), nn.Conv2d(1, 1, 3, padding="same"), nn.ZeroPad2d((1, 0, 2, 0)),
        nn.AvgPool2d(3, 2, 1), nn.ReflectionPad2d(1), nn.Upsample(scale_factor=2, mode="bilinear"),
    ),
    "one axis": lambda: nn.Sequential(nn.Conv1d(3, 4, 3, dilation=2), nn.BatchNorm1d(4), nn.MaxPool1d(2)),
    "attention": Attention,
    "LSTM": lambda: Recurrent(nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)),
    "GRU": lambda: Recurrent(nn.GRU(3, 4, bidirectional=True)),
    "RNN": lambda: Recurrent(nn.RNN(3, 4, nonlinearity="relu", bias=False)),
}  # fmt: skip
INPUTS = {
    "LeNet": (2, 1, 28, 28), "residual": (2, 3, 8, 8), "generator": (2, 5, 1, 1), "activations": (2, 4, 3),
    "normalisation": (2, 4, 3, 3), "resizing": (2, 4, 3, 3), "one axis": (2, 3, 12),
    "LSTM": (2, 5, 3), "GRU": (5, 2, 3), "RNN": (5, 2, 3),
}  # fmt: skip
NEWER = [True] if importlib.util.find_spec("onnxscript") else []


@pytest.mark.parametrize("newer", [False, *NEWER])
@pytest.mark.parametrize("name", MODELS)
def test_files_of_pytorch(name, newer, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # as after a training
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    x = torch.randint(0, 11, (2, 6)) if name == "attention" else torch.randn(INPUTS[name])
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), path, dynamo=newer, verbose=False)
    assert onnx.load(path).producer_name == "pytorch"
    imported = md.import_onnx(path)
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(imported(x.numpy()).data, expected, atol=TOLERANCE, rtol=TOLERANCE)
    parameters = list(imported.parameters())
    imported.train()
    (imported(x.numpy()) ** 2).mean().backward()
    assert parameters and all(p.grad is not None for p in parameters)
