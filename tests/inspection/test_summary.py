"""md.summary: its numbers against hand counts and PyTorch's parameters, and that it leaves a model as it was."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl._source import PURE
from minidl.inspection.text import in_bytes


def row(table, name):
    return next(row for row in table.rows if row.name == name)


def work(model, *shapes, **options):
    return md.summary(model, shapes[0] if len(shapes) == 1 else list(shapes), **options)


class Attended(nn.Module):
    """Each step looks at all steps."""

    def __init__(self):
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        return self.attention(x, x, x)


# (model, input shape, multiply-adds of one forward pass)
PRODUCTS = {
    "affine": (lambda: nn.Affine(7, 5), (3, 7), 3 * 7 * 5),
    "affine on rows": (lambda: nn.Affine(7, 5), (3, 2, 7), 3 * 2 * 7 * 5),
    "conv": (lambda: nn.Conv(4, 6, 3, padding=1), (2, 4, 5, 5), 2 * 6 * 25 * 4 * 9),
    "stride, groups": (lambda: nn.Conv(4, 6, 3, 2, groups=2), (2, 4, 7, 7), 2 * 6 * 9 * 2 * 9),
    "one axis": (lambda: nn.Conv(4, 6, (3,)), (2, 4, 7), 2 * 6 * 5 * 4 * 3),
    "transposed": (lambda: nn.ConvTranspose(4, 6, 3, 2), (2, 4, 5, 5), 2 * 4 * 25 * 6 * 9),
    "maxout": (lambda: nn.Maxout(4, 3, 2), (5, 4), 5 * 4 * 6),
    "activation": (lambda: nn.GELU(), (5, 4), 0),
    "rnn": (lambda: nn.RNN(3, 5), (7, 2, 3), 7 * 2 * (3 * 5 + 5 * 5)),
    "lstm": (lambda: nn.LSTM(3, 5), (7, 2, 3), 7 * 2 * 4 * (3 * 5 + 5 * 5)),
    "gru, both ways": (lambda: nn.GRU(3, 5, bidirectional=True), (7, 2, 3), 2 * 7 * 2 * 3 * 40),
    "attention": (lambda: Attended(), (7, 2, 8), 7 * 2 * 8 * 8 * 4 + 2 * 2 * 7 * 7 * 8),
    "fused": (lambda: nn.Affine(7, 5, activation="relu"), (3, 7), 3 * 7 * 5),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_multiply_adds(name):
    make, shape, expected = PRODUCTS[name]
    assert work(make(), shape).total_multiply_adds == expected


def test_multiply_adds_of_functions():
    class Net(nn.Module):
        def forward(self, x, z):
            return md.einsum("bij,bjk->bik", x, z) @ md.matmul(z[0].T, x[0].T)

    assert (
        work(Net(), (2, 3, 4), (2, 4, 5)).total_multiply_adds
        == 2 * 3 * 4 * 5 + 5 * 4 * 3 + 2 * 3 * 5 * 3
    )


class Net(nn.Module):
    """Shared layers, shared parameters, a lazy layer, frozen ones, dropout, statistics, two outputs."""

    def __init__(self):
        self.features = [nn.Conv(1, 4, 3, lr_mult={"bias": 2.0}), nn.BatchNorm(4), nn.PReLU()]
        self.twice = nn.Affine(6, 6)
        self.head = nn.Sequential(
            nn.Dropout(rng=0), self.twice, nn.ReLU(), nn.Affine(6, 2, lr_mult=0)
        )
        self.tied = nn.Affine(2, 6, weight=nn.Parameter(np.ones((6, 2), "float32")))
        self.untied = nn.Affine(2, 6, weight=self.tied.weight)
        self.unused = nn.Affine(3, 3)
        self.calls, self.log = 0, []

    def forward(self, x):
        self.calls += 1
        self.log.append(x.shape)
        for layer in self.features:
            x = layer(x)
        x = self.twice(self.twice(x.reshape(len(x), 4, -1).mean(axis=1)))
        y = self.head(x)
        return {"y": self.untied(self.tied(y)[:, :2]), "x": [x, 3]}


def test_rows():
    model = Net()
    table = work(model, (5, 1, 5, 4))
    assert [(r.name, r.kind, r.depth) for r in table.rows][:5] == [
        ("", "Net", 0), ("features.0", "Conv", 1), ("features.1", "BatchNorm", 1),
        ("features.2", "PReLU", 1), ("twice", "Affine", 1),
    ]  # fmt: skip
    assert row(table, "").output == {"y": (5, 6), "x": [(5, 6), "int"]}
    assert row(table, "features.0").output == (5, 4, 3, 2)
    assert row(table, "features.0").lr_mult == {"bias": 2.0}
    assert row(table, "features.2").inferred and row(table, "features.2").parameters == 4
    assert row(table, "twice").calls == 3 and row(table, "twice").multiply_adds == 3 * 5 * 36
    assert row(table, "head.1").same_as == "twice" and row(table, "head.1").parameters == 0
    assert row(table, "head.3").frozen == row(table, "head.3").parameters == 14
    assert row(table, "untied").parameters == 6  # the weight is counted where it comes first
    assert row(table, "unused").calls == 0 and row(table, "unused").output is None
    assert table.total_parameters == model.num_parameters() + 4
    assert table.trained_parameters == table.total_parameters - 14
    assert table.total_multiply_adds == sum(r.multiply_adds for r in table.rows)
    text = str(table)
    for part in (
        "Affine       same as twice",
        "14 frozen",
        "bias 2",
        "not called",
        "4*",
        "(5, 6) x 3",
    ):
        assert part in text
    for name in ("features.0", "head.3"):
        assert f"{name.rpartition('.')[2]} {row(table, name).kind}" in text
    assert "waits for its first batch" in text and "<table>" in table._repr_html_()


def everything(model):
    """All that a run could change."""
    state = [(name, value.tobytes(), value.shape) for name, value in model.state_dict().items()]
    own = [{k: repr(v) for k, v in vars(m).items()} for m in model.modules()]
    same = [(id(v), k) for m in model.modules() for k, v in vars(m).items()]
    grads = [p.grad for p in model.parameters()]
    waits = [p.waits_for_shape for p in model.parameters()]
    drawn = [vars(m)["rng"].bit_generator.state for m in model.modules() if "rng" in vars(m)]
    return [state, own, same, grads, waits, drawn, md.random.generator().bit_generator.state]


@pytest.mark.parametrize("mode", [True, False])
def test_it_changes_nothing(mode):
    md.manual_seed(3)
    model, seen = Net().train(mode), []
    model.twice.register_forward_hook(lambda *_: seen.append(1))
    before, hooks = everything(model), model.twice._hooks
    numpys = np.random.get_state()[1].copy()
    work(model, (5, 1, 5, 4))
    assert everything(model) == before and model.twice._hooks is hooks and not seen
    assert (np.random.get_state()[1] == numpys).all()
    with pytest.raises(ValueError, match="conv"):
        work(model, (5, 2, 5, 4))  # two channels
    assert everything(model) == before and model.training is mode and not seen
    model(np.ones((5, 1, 5, 4), "float32"))
    assert seen == [1, 1, 1]


def test_memory():
    n, e = 64, 4
    model = nn.Sequential(nn.Affine(100, 32), nn.ReLU(), nn.Affine(32, 10))
    table = work(model, (n, 100))
    parameters = e * model.num_parameters()
    # One array of the hidden layer: its product and ReLU are fused, and ReLU's gradient needs only the result.
    assert table.memory == {
        "parameters": parameters, "gradients": parameters, "activations": e * n * 32, "input": e * n * 100,
    }  # fmt: skip
    assert table.total_memory == sum(table.memory.values())
    double = work(model, (2 * n, 100))
    assert double.memory["activations"] == 2 * table.memory["activations"]
    model[0].weight.requires_grad = model[0].bias.requires_grad = False
    assert work(model, (n, 100)).memory["gradients"] == e * 330
    assert work(model.astype("float64"), (n, 100)).memory["input"] == 8 * n * 100


@pytest.mark.skipif(PURE, reason="the max_pool that is written in NumPy keeps the places of maxima")
def test_activations_are_what_the_ops_keep():
    layers = [nn.Conv(2, 3, 3), nn.GELU(), nn.MaxPool(2), nn.Flatten(), nn.Affine(12, 4), nn.Tanh()]
    images, pooled = 8 * 3 * 4 * 4, 8 * 12
    # The inputs of GELU, MaxPool and Affine (of which Flatten makes no copy); the output of Affine with Tanh.
    kept = images + images + pooled + 8 * 4
    assert work(nn.Sequential(*layers), (8, 2, 6, 6)).memory["activations"] == 4 * kept


def test_what_is_kept_in_lists_and_as_views():
    class Keeps(md.Op):
        saves = ()

        def forward(self, x):
            a, b, c = (np.zeros(n, "float32") for n in (10, 20, 30))
            self.kept = [(a, 3, [b]), (c[:2], c[2:4], x)]
            return x * 1

        def backward(self, gy):
            return gy

    class Net(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter([1.0])

        def forward(self, x):
            return Keeps()(x * self.scale)

    hidden = 4 * 2 * 3  # bytes of x * scale, which Keeps has; x itself is the input
    assert work(Net(), (2, 3)).memory["activations"] == 4 * (10 + 20 + 30) + hidden


def test_integers_and_dtypes():
    table = work(nn.Embedding(10, 3), (2, 5), dtype="int64")
    assert table.rows[0].output == (2, 5, 3)

    class Both(nn.Module):
        def __init__(self):
            self.words, self.mix = nn.Embedding(10, 3), nn.Affine(4, 2)

        def forward(self, ids, x):
            return self.mix(md.concatenate([self.words(ids), x], axis=1))

    assert work(Both(), (6,), (6, 1), dtype=["int64", None]).rows[0].output == (6, 2)
    assert work(nn.ReLU(), (0, 3)).rows[0].output == (0, 3)


def test_a_model_without_parameters_or_modules():
    table = work(nn.Sequential(), (2, 3))
    assert table.total_parameters == 0 and table.memory["activations"] == 0
    assert [r.name for r in table.rows] == [""]


WRONG = {
    "model": (lambda: md.summary(F.relu, (2, 3)), TypeError, "model: expected a Module"),
    "number": (lambda: md.summary(nn.ReLU(), 3), TypeError, "input_shape: expected a tuple"),
    "empty": (lambda: md.summary(nn.ReLU(), ()), TypeError, "input_shape: expected a tuple"),
    "float": (lambda: md.summary(nn.ReLU(), (2, 3.5)), TypeError, "input_shape must be an integer"),
    "negative": (lambda: md.summary(nn.ReLU(), (2, -1)), ValueError, "input_shape must be"),
    "mixed": (lambda: md.summary(nn.ReLU(), [(2, 3), 4]), TypeError, "input_shape must be an integer"),
    "dtype": (lambda: md.summary(nn.ReLU(), (2, 3), dtype="c8"), TypeError, "complex64"),
    "dtypes": (lambda: md.summary(nn.ReLU(), (2, 3), dtype=["int64", "int64"]), ValueError, "dtype: expected 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.skipif(PURE, reason="nothing is captured")
def test_not_in_a_captured_step():
    model = nn.ReLU()
    step = md.capture(lambda x: (md.summary(model, (2, 3)), model(x))[1])
    with pytest.raises(md.CaptureError, match="summary"):
        step(np.ones((2, 3), "float32"))
    assert model._hooks is None


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (math.pi * 1e9, "3.14 GB")],
)
def test_in_bytes(n, text):
    assert in_bytes(n) == text


def test_a_model_that_registers_hooks_while_it_runs():
    class Net(nn.Module):
        def __init__(self):
            self.inner = nn.Affine(2, 2)

        def forward(self, x):
            with self.inner.register_forward_hook(lambda m, xs, y: y * 2):
                return self.inner(x)

    model = Net()
    assert row(work(model, (3, 2)), "").output == (3, 2) and model.inner._hooks is None
