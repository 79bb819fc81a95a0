"""Whole models, both ways; and functions of minidl that are no layers."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.ops.sequence import recurrent

from .run import normal, onnx, round_trip


def lenet():
    return nn.Sequential(
        nn.Conv(1, 6, 5, padding=2), nn.Tanh(), nn.MaxPool(2),
        nn.Conv(6, 16, 5), nn.Tanh(), nn.MaxPool(2), nn.Flatten(),
        nn.Affine(400, 120), nn.Tanh(), nn.Affine(120, 84), nn.Tanh(), nn.Affine(84, 10),
    )  # fmt: skip


def generator():
    """DCGAN's, for images of 16 x 16, with running statistics as after a training."""
    model = nn.Sequential(
        nn.Reshape(8, 1, 1), nn.ConvTranspose(8, 16, 4, bias=False), nn.BatchNorm(16), nn.ReLU(),
        nn.ConvTranspose(16, 8, 4, 2, 1, bias=False), nn.BatchNorm(8), nn.PReLU(8),
        nn.ConvTranspose(8, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    model.train()
    for _ in range(3):
        model(normal(8, 8))
    return model


class Block(nn.Module):
    def __init__(self, width, heads):
        self.norms = [nn.LayerNorm(width), nn.LayerNorm(width)]
        self.heads = heads
        self.qkv, self.joined = nn.Affine(width, 3 * width), nn.Affine(width, width)
        self.mlp = nn.Sequential(
            nn.Affine(width, 4 * width), nn.GELU(), nn.Affine(4 * width, width)
        )

    def forward(self, x, mask):
        n, length, width = x.shape
        shape = (n, length, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norms[0](x)).reshape(shape).transpose(2, 0, 3, 1, 4)
        scores = q @ k.transpose(0, 1, 3, 2) / (width // self.heads) ** 0.5
        y = F.softmax(md.where(mask, scores, -1e9)) @ v
        x = x + self.joined(y.transpose(0, 2, 1, 3).reshape(n, length, width))
        return x + self.mlp(self.norms[1](x))


class Gpt(nn.Module):
    """Token 0 is padding, which nobody attends to."""

    def __init__(self, tokens=11, length=6, width=8):
        self.tokens, self.places = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, 2), Block(width, 2)])
        self.norm, self.scores = nn.LayerNorm(width), nn.Affine(width, tokens, bias=False)
        self.causal = np.tril(np.ones((length, length), bool))

    def forward(self, ids):
        n, length = ids.shape
        x = self.tokens(ids) + self.places(np.arange(length))
        known = (ids != 0).reshape(n, 1, 1, length)
        mask = md.where(known, self.causal[:length, :length], False)
        for block in self.blocks:
            x = block(x, mask)
        return self.scores(self.norm(x))


IDS = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 0, 0, 0]])
MODELS = {
    "LeNet": (lenet, normal(2, 1, 28, 28)),
    "DCGAN generator": (generator, normal(2, 8)),
    "GPT": (Gpt, IDS),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name, tmp_path):
    make, example = MODELS[name]
    model = make()
    imported = round_trip(model, example, path=tmp_path / "model.onnx")
    parameters = dict(model.named_parameters())
    back = dict(imported.named_parameters())
    assert set(back) == set(parameters)
    for key, value in parameters.items():
        np.testing.assert_array_equal(back[key].data, value.data)
    assert set(imported.buffers) == {name for name in model.buffers if "running" in name}


@pytest.mark.parametrize("name", MODELS)
def test_imported_models_are_trained_on(name, tmp_path):
    make, example = MODELS[name]
    model = make()
    md.export_onnx(model, example, tmp_path / "model.onnx")
    losses = []
    for trained in (model, md.import_onnx(tmp_path / "model.onnx")):
        trained.train()
        optimizer = optim.SGD(trained.parameters(), lr=0.01)
        for _ in range(3):
            loss = (trained(example) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert all(p.grad is not None for p in trained.parameters())
    np.testing.assert_allclose(losses[:3], losses[3:], rtol=1e-4)
    assert losses[0] > losses[2]


X, W = normal(2, 4, 5, 6), normal(6, 4)


def in_place(x):
    y = x * 1
    y += x
    y *= 2
    y -= 1.0
    z = y * 1
    z **= 2
    return y + z


FUNCTIONS = {
    "arithmetic": lambda x: md.exp(x) - md.log(md.abs(x) + 1) / (x * x + 1) + md.sqrt(-x * -x),
    "extrema": lambda x: md.maximum(x, 0.3) - md.minimum(x, -x) + x.max(1, keepdims=True) + x.min(),
    "powers": lambda x: x**3 + x**2 + (x**2 + 1) ** -1 + (x**2 + 1) ** 0.5 + (x**2 + 1) ** 1.7,
    "powers of tensors": lambda x: (md.abs(x) + 1) ** x + 2**x,
    "elementary": lambda x: (
        md.sin(x) + md.cos(x) * md.tan(x / 3) - md.arctan(x) + md.sinh(x) / md.cosh(x) + md.erf(x) + md.expm1(x)
        + md.log1p(x**2) * md.log2(x**2 + 1) + md.rsqrt(x**2 + 1) + md.sign(x) * md.floor(x)
    ),
    "rounding": lambda x: x // 0.3 + x % 0.7 + 5 % (x.astype("int64") * 2 + 7).astype("float32"),
    "integers": lambda x: (x * 10).astype("int64") // 3 + (x * 10).astype("int64") % 4,
    "logic": lambda x: md.where(((x > 0) & (x < 1)) | ~(x > -1), x, 2.0),
    "places": lambda x: [
        x.argsort(2), x.argsort(None), x.sort(axis=-1), x.argmax(1), x.argmin(axis=2, keepdims=True), x.argmax(-1)
    ],
    "order": lambda x: x.sort(1) + md.cumsum(x, 2) + md.flip(md.roll(x, 1, 3), 2),
    "products of elements": lambda x: md.prod(x, 1) + md.norm(x, axis=1) + md.logsumexp(x, 1),
    "repeating": lambda x: md.tile(md.repeat(x, 2, 1), (1, 1, 1, 2)),
    "triangles": lambda x: md.tril(x) - md.triu(x, 1),
    "parts": lambda x: [*md.split(x, 2, 1), md.stack([x, -x], 1), md.stack([x, x], -1)],
    "causal attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "steps without their product": lambda x: recurrent.GRU(False, False)(
        x[:, 0].transpose(1, 0, 2), x[:, 0, 0, :2], md.Tensor(W[:, :2]), md.Tensor(W[:, 0])
    ),
    "new tensors": lambda x: md.concatenate([x, md.zeros(len(x), 1, 5, 6)], 1) + md.arange(6.0),
    "clip": lambda x: md.clip(x, -1, 1) + md.clip(x, min=0.2) + md.clip(x, max=0.1),
    "comparisons": lambda x: (
        md.where(x > 0.5, x, -x) + md.where(np.float32(0) >= x, 1.0, 2.0) + md.where(x != x * 1, x, 3 * x)
        + md.where(x < -1, 0.5, x) + md.where(x <= 2, x, 1.0) + md.where(x == x, x, 0.0)
    ),
    "means": lambda x: x.mean((1, 3)) + x.sum((1, 3)) / 7,
    "over samples": lambda x: x - x.mean(0) + x.sum(0, keepdims=True),
    "deviations": lambda x: x.var(1, keepdims=True) + x.std((2, 3), keepdims=True, ddof=1),
    "slices": lambda x: x[:, 1:3, ::2, ::-1] + x[:, -1, None, 1:4, 0:1],
    "numbers": lambda x: x[:, 1, ..., 2] + x[:, -1, 0, 0:1],
    "arrays": lambda x: x[:, [2, 0, 0], 1] + x[:, 1, [3, 3, -1]],
    "arrays side by side": lambda x: x[:, [2, 0, -1], [1, 1, 2]],
    "arrays that broadcast": lambda x: x[:, :, np.array([[0], [1]]), np.array([[0, 1, 2]])],
    "padding": lambda x: md.pad(x, [(0, 0), (1, 2), (0, 0), (3, 0)], 2.0),
    "joining": lambda x: md.stack([md.concatenate([x, 2 * x], 1), md.concatenate([-x, x], 1)], 1),
    "zeros to begin with": lambda x: md.concatenate([np.zeros((len(x), 1, 5, 6), "f4"), x], 1),
    "products": lambda x: x @ x.transpose(0, 1, 3, 2) @ (x @ np.ones(6, "f4")).expand_dims(-1),
    "product with a matrix": lambda x: F.affine(x @ W, W, activation="relu"),
    "einsum": lambda x: md.einsum("nchw,nkhw,wl->nckl", x, x, W),
    "repetition": lambda x: md.broadcast_to(x[:, :1], x.shape) + x + md.broadcast_to(W[:, 0], x.shape),
    "views that NumPy makes": lambda x: x - md.Tensor(x.data[:, 1:2, 1:2]) * md.Tensor(x.data.reshape(x.shape)),
    "shapes": lambda x: md.transpose(x, 0, 3, 1, 2).reshape(len(x), -1).expand_dims(1).squeeze(1),
    "dtypes": lambda x: x.astype("float64").astype("int64").astype("float32"),
    "in place": in_place,
    "several results": lambda x: (x * 2, [x.sum(1)]),
    "results that are inputs": lambda x: (x, x, np.float32(1) * x),
    "what is not used": lambda x: (x * np.sign(x.data), x * 2)[1],
    "nothing random in evaluation": lambda x: F.dropout(F.rrelu(x), training=False),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, tmp_path):
    round_trip(lambda x: FUNCTIONS[name](x), X, path=tmp_path / "function.onnx")


def test_several_inputs_and_a_fixed_batch(tmp_path):
    round_trip(
        lambda x, y: x * y.mean((1,)), normal(3, 4), normal(3, 5, 4), path=tmp_path / "a.onnx"
    )
    round_trip(
        lambda x: x.reshape(2, 2, 30), normal(4, 5, 6), path=tmp_path / "b.onnx", samples=False
    )
    round_trip(lambda x: x * 2, np.array(3, np.float32), path=tmp_path / "c.onnx", samples=False)
    double = nn.Affine(3, 2).astype("float64")
    round_trip(double, normal(2, 3).astype("float64"), path=tmp_path / "d.onnx")


def test_names(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            self.x = nn.Parameter([1.0, 2.0])
            self.layers = [nn.Affine(2, 2), nn.Affine(2, 2)]
            self.layers[1].weight = self.layers[0].weight  # shared: written once
            self.apply_to = nn.Sequential(nn.BatchNorm(2), nn.BatchNorm(2))

        def forward(self, x, scale):
            return self.apply_to(self.layers[1](self.layers[0](x * self.x))) * scale

    model = Model()
    md.export_onnx(model, (normal(3, 2), normal(3, 1)), tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    names = [array.name for array in graph.initializer]
    assert sorted(names) == sorted(
        name
        for name in model.state_dict()
        if name != "layers.1.weight" and not name.endswith("num_batches_tracked")
    )
    assert [value.name for value in graph.input] == ["x_", "scale"]
    assert [value.name for value in graph.output] == ["output"]
    lengths = graph.input[0].type.tensor_type.shape.dim
    assert [(d.dim_param, d.dim_value) for d in lengths] == [("batch", 0), ("", 2)]
    imported = md.import_onnx(tmp_path / "m.onnx")
    assert not imported.training and set(imported.buffers) == {n for n in names if "running" in n}
    imported.load_state_dict({name: model.state_dict()[name] for name in names})


def test_a_slope_is_a_column_of_channels(tmp_path):
    md.export_onnx(nn.PReLU(4), normal(2, 4, 3, 3), tmp_path / "m.onnx")
    proto = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "m.onnx"), data_prop=True)
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in proto.graph.value_info
    }
    (node,) = [node for node in proto.graph.node if node.op_type == "PRelu"]
    assert shapes[node.input[1]] == [4, 1, 1]


def test_imported_modules_are_copied_pickled_and_exported_again(tmp_path):
    model = nn.Sequential(nn.Affine(4, 6), nn.BatchNorm(6), nn.Reshape(2, 3), nn.Softmax(1))
    imported, x = round_trip(model, normal(3, 4), path=tmp_path / "m.onnx"), normal(3, 4)
    for again in (copy.deepcopy(imported), pickle.loads(pickle.dumps(imported))):
        np.testing.assert_array_equal(again(x).data, imported(x).data)
        again.load_state_dict(imported.state_dict())
    twice = round_trip(imported, x, path=tmp_path / "again.onnx")
    assert set(twice.state_dict()) == set(imported.state_dict())
    md.fit(
        imported,
        [(x, np.zeros((3, 2, 3), "f4"))],
        "mse_loss",
        optim.Adam(imported.parameters()),
        2,
        progress=False,
    )
    assert imported.buffers["1.running_mean"].any()


def test_the_model_is_left_as_it_was(tmp_path):
    model = nn.Sequential(nn.Affine(2, 3), nn.BatchNorm(3), nn.Dropout(0.5))
    model.layers_seen = 3
    model[2].training, before = False, model.state_dict()
    model[0].weight.requires_grad = False
    md.export_onnx(model, normal(4, 2), tmp_path / "m.onnx")
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    x = md.Tensor(normal(4, 2), requires_grad=True)
    y = x * 2
    y += x > 0  # (operators and ops work as before)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, 2)
