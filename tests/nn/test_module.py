"""Module: names, sharing, state, modes, text."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.io.state import StateDict


class Net(nn.Module):
    def __init__(self):
        self.scale = nn.Parameter([2.0])
        self.layers = [nn.Affine(2, 3), {"act": nn.PReLU(3)}]
        self.head = nn.Sequential(nn.Affine(3, 3), nn.Dropout(0.5), nn.Affine(3, 1, bias=False))
        self.tied = self.layers[0].weight
        self.mean = np.zeros(3)
        self.count = np.array(1)
        self._cache = np.zeros(9)
        self.note, self.sizes = "text", [1, 2]

    def forward(self, x):
        x = self.layers[1]["act"](self.layers[0](x))
        return self.head(x) * self.scale


NAMES = [
    "scale",
    "layers.0.weight",
    "layers.0.bias",
    "layers.1.act.slope",
    "head.0.weight",
    "head.0.bias",
    "head.2.weight",
]


def test_names_and_order():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [id(p) for p in net.parameters()] == [id(p) for _, p in net.named_parameters()]
    assert net.num_parameters() == 1 + 9 + 3 + 12 + 3
    assert list(net.buffers) == ["mean", "count"]
    assert list(net.state_dict()) == [*NAMES, "tied", "mean", "count"]


def test_children_and_modules():
    net = Net()
    assert [name for name, _ in net.named_children()] == ["layers.0", "layers.1.act", "head"]
    names = [name for name, _ in net.named_modules()]
    assert names == ["", "layers.0", "layers.1.act", "head", "head.0", "head.1", "head.2"]
    assert len(list(net.modules())) == 7 and next(net.modules()) is net
    assert list(net.children())[2] is net.head
    order = []
    assert net.apply(lambda m: order.append(type(m).__name__)) is net
    assert order == ["Affine", "PReLU", "Affine", "Dropout", "Affine", "Sequential", "Net"]


def test_modes_and_zero_grad():
    net = Net()
    assert net.training and net.head[1].training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(TypeError, match="mode"):
        net.train("yes")
    net(np.ones((2, 2), np.float32)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_child_that_points_to_its_parent():
    net = Net()
    net.head.parent = net
    assert len(list(net.parameters())) == len(NAMES)
    assert net.state_dict() is not None
    net.apply(lambda m: None)


def test_shared_modules_count_once():
    layer = nn.Affine(2, 2)
    model = nn.Sequential(layer, layer)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert len(list(model.modules())) == 2


def test_astype():
    net = Net()
    net.head[1].p = 0.0
    net(np.ones((2, 2), np.float32)).sum().backward()
    assert net.astype("float64") is net
    assert {p.dtype for p in net.parameters()} == {np.dtype("float64")}
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype("float64")}
    assert net(np.ones((2, 2))).dtype == np.float64
    net.astype(np.float32)
    assert net.mean.dtype == np.float32 and net.count.dtype.kind == "i"
    with pytest.raises(TypeError, match="int32"):
        net.astype("int32")


def test_forward_must_be_written():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(again):
    net = Net()
    net.scale.lr_mult = 5.0
    other = again(net)
    assert other.tied is other.layers[0].weight is not net.tied
    assert other.scale.lr_mult == 5.0 and not other.layers[1]["act"].slope.decay
    x = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(other.eval()(x).data, net.eval()(x).data)


# ── State ────────────────────────────────────────────────────────────────────────────────────────


def test_state_goes_round():
    net, other = Net(), Net()
    net.scale.lr_mult, net.scale.decay = 0.0, False
    net.mean += 3
    state = net.state_dict()
    assert isinstance(state, StateDict) and type(state["scale"]) is np.ndarray
    assert state.multipliers["scale"] == {"lr_mult": 0.0, "decay": False}
    assert "mean" not in state.multipliers
    kept = [p.data for p in other.parameters()]
    missing, unexpected = other.load_state_dict(state)
    assert (missing, unexpected) == ([], [])
    assert all(a is p.data for a, p in zip(kept, other.parameters(), strict=True))  # in place
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert (p.lr_mult, p.decay) == (q.lr_mult, q.decay)
    assert (other.mean == 3).all()
    state["scale"][...] = 9  # a copy
    assert net.scale.item() == other.scale.item() == 2.0


def test_other_kinds_of_values_and_dtypes():
    layer = nn.Affine(2, 1)
    layer.load_state_dict({"weight": md.Tensor([[1.0, 2.0]]), "bias": [3]})
    np.testing.assert_array_equal(layer.weight.data, [[1, 2]])
    layer.load_state_dict({"weight": np.array([[1, 2]]), "bias": np.array([0.1])})
    assert layer.bias.dtype == np.float32 and layer.bias.item() == np.float32(0.1)
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear(2, 1)
    layer.load_state_dict(linear.state_dict())
    x = np.ones((1, 2), np.float32)
    assert layer(x).item() == pytest.approx(linear(torch.tensor(x)).item())


def test_loading_tells_all_that_is_wrong_and_changes_nothing():
    net = Net()
    before = net.state_dict()
    state = Net().state_dict()
    del state["scale"], state["mean"]
    state["surprise"] = np.zeros(1)
    state["head.0.bias"] = np.zeros(4)
    state["head.2.weight"] = np.array([["a", "b", "c"]])
    with pytest.raises(RuntimeError) as raised:
        net.load_state_dict(state)
    text = str(raised.value)
    for part in (
        "missing: scale, mean",
        "not known here: surprise",
        "head.0.bias: expected shape (3,), got (4,)",
        "head.2.weight: expected float32, got <U1",
    ):
        assert part in text
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_loading_a_part():
    net = Net()
    missing, unexpected = net.load_state_dict({"scale": [7.0], "more": 1}, strict=False)
    assert missing == [*NAMES[1:], "tied", "mean", "count"] and unexpected == ["more"]
    assert net.scale.item() == 7.0
    with pytest.raises(RuntimeError, match="shape"):
        net.load_state_dict({"scale": [7.0, 8.0]}, strict=False)


def test_a_shared_parameter_needs_one_of_its_names():
    net = Net()
    state = net.state_dict()
    del state["tied"]
    assert net.load_state_dict(state) == ([], [])


def test_bad_multipliers_change_nothing():
    layer = nn.Affine(1, 1, weight=[[1.0]])
    state = nn.Affine(1, 1, weight=[[2.0]]).state_dict()
    state.multipliers["bias"]["lr_mult"] = -1.0
    with pytest.raises(ValueError, match="bias"):
        layer.load_state_dict(state)
    assert layer.weight.item() == 1.0


def test_loading_counts_as_in_place_change():
    layer = nn.Affine(2, 1)
    x = md.Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    y = layer(x).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="in place"):
        y.backward()


# ── Lists of modules ─────────────────────────────────────────────────────────────────────────────


def test_sequential():
    a, b = nn.Affine(2, 3), nn.Affine(3, 4)
    model = nn.Sequential(a, nn.ReLU())
    assert model.append(b) is model
    assert len(model) == 3 and model[0] is a and model[-1] is b and list(model)[2] is b
    assert isinstance(model[:1], nn.Sequential) and len(model[:1]) == 1
    x = np.ones((5, 2), np.float32)
    np.testing.assert_array_equal(model(x).data, b(nn.ReLU()(a(x))).data)
    model[2] = nn.Identity()
    assert model(x).shape == (5, 3)
    assert nn.Sequential()(x) is x
    with pytest.raises(TypeError, match="expected a Module at position 1, got function"):
        nn.Sequential(a, lambda x: x)
    with pytest.raises(TypeError, match="expected a Module"):
        model[0] = 3


def test_module_list():
    layers = nn.ModuleList(nn.Affine(2, 2) for _ in range(3))
    assert len(layers) == 3 and isinstance(layers[1:], nn.ModuleList) and len(layers[1:]) == 2
    assert [name for name, _ in layers.named_parameters()][:2] == ["0.weight", "0.bias"]
    assert len(layers.extend([nn.ReLU()])) == 4
    with pytest.raises(NotImplementedError):
        layers(1)


def test_repr():
    text = repr(Net())
    assert text.splitlines() == [
        "Net(",
        "  scale (1,), tied (3, 2)",
        "  (layers.0): Affine(2, 3; weight (3, 2), bias (3,))",
        "  (layers.1.act): PReLU(base_axis=0; slope (3,))",
        "  (head): Sequential(",
        "    (0): Affine(3, 3; weight (3, 3), bias (3,))",
        "    (1): Dropout(p=0.5)",
        "    (2): Affine(3, 1; weight (1, 3))",
        "  )",
        ")",
    ]
    assert (
        repr(nn.Affine(1, 1, bias=False, lr_mult=0.5)) == "Affine(1, 1; weight (1, 1) lr_mult=0.5)"
    )


@pytest.mark.parametrize(
    "value",
    [np.ones((2, 3), "float32"), md.Tensor([1.0]), 0.5, [[1.0, 2.0, 3.0]] * 2, (1.0, 2.0), "zeros"],
    ids=["array", "Tensor", "number", "list", "tuple", "text"],
)
def test_a_parameter_is_not_replaced_by_what_is_never_trained(value):
    layer = nn.Affine(3, 2)
    weight = layer.weight
    with pytest.raises(TypeError, match=r"Affine.weight: .* is not trained, .*weight.data = "):
        layer.weight = value
    assert layer.weight is weight
    layer.weight = nn.Parameter(np.zeros((2, 3), "float32"))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_layer_is_not_replaced_by_what_is_never_trained():
    model = nn.Module()
    model.layer = nn.Affine(3, 2)
    with pytest.raises(TypeError, match=r"Module.layer: ndarray is not trained, unlike the Affine"):
        model.layer = np.ones(2)
    model.layer = nn.Affine(2, 2)
    model.layer = [nn.Affine(2, 2), nn.Affine(2, 2)]
    model.layer = None
