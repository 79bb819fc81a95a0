"""Conv and ConvTranspose: as PyTorch's layers, their parameters, and what they refuse."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import init, nn

X = np.random.default_rng(0).normal(size=(3, 4, 9, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "theirs", "args", "options"),
    [
        ("Conv", "Conv2d", (4, 6, 3), {}),
        ("Conv", "Conv2d", (4, 6, (3, 2), 2, (1, 0), 2, 2), {"bias": False}),
        ("Conv", "Conv1d", (4, 6, (3,), 2), {}),
        ("Conv", "Conv3d", (4, 6, (3, 2, 1)), {"groups": 2}),
        ("ConvTranspose", "ConvTranspose2d", (4, 6, 4, 2, 1), {"bias": False}),
        ("ConvTranspose", "ConvTranspose2d", (4, 6, (3, 2), (2, 3), 1, (0, 2), 2, True, 2), {}),
        ("ConvTranspose", "ConvTranspose1d", (4, 6, (3,)), {"dilation": 3}),
        ("ConvTranspose", "ConvTranspose3d", (4, 6, (2, 1, 2), 2), {}),
    ],
)
def test_as_torch(name, theirs, args, options):
    torch = pytest.importorskip("torch")
    layer = getattr(nn, name)(*args, **options)
    oracle = getattr(torch.nn, theirs)(*args, **options)
    assert list(layer.state_dict()) == list(oracle.state_dict())
    for key, value in oracle.state_dict().items():
        mine = layer.state_dict()[key]
        assert mine.shape == tuple(value.shape)
        # Drawn from the same distribution: uniform with the same limits.
        limit = 1 / np.sqrt(oracle.weight[0].numel())
        assert np.abs(mine).max() <= limit * (1 + 1e-6)
    layer.load_state_dict({k: v.numpy() for k, v in oracle.state_dict().items()})
    x = X.reshape(3, 4, 72) if "1d" in theirs else X.reshape(3, 4, 3, 3, 8) if "3d" in theirs else X
    expected = oracle(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-5, atol=1e-5)


def test_first_values_fill_their_limits():
    md.manual_seed(0)
    for layer, fan in ((nn.Conv(8, 64, 5, groups=2), 100), (nn.ConvTranspose(64, 8, 5), 200)):
        for p in layer.parameters():
            if p.size > 50:
                assert np.abs(p.data).max() == pytest.approx(1 / np.sqrt(fan), rel=0.05)


def test_fans():
    """fan_in counts the inputs of an output, in a group: HeNormal keeps the variance in both layers."""
    conv = nn.Conv(32, 64, 3, groups=2, weight=init.HeNormal())
    assert conv.weight.data.std() == pytest.approx(np.sqrt(2 / (16 * 9)), rel=0.05)
    conv = nn.ConvTranspose(64, 32, 3, groups=2, weight=init.HeNormal())
    assert conv.weight.data.std() == pytest.approx(np.sqrt(2 / (32 * 9)), rel=0.05)
    other = nn.ConvTranspose(64, 32, 3, weight=init.VarianceScaling(1, "fan_out", "normal"))
    assert other.weight.data.std() == pytest.approx(np.sqrt(1 / (32 * 9)), rel=0.05)


def test_where_parameters_come_from(tmp_path):
    weight = np.random.default_rng(1).normal(size=(6, 4, 3, 3)).astype(np.float32)
    np.save(tmp_path / "w.npy", weight)
    layer = nn.Conv(
        4, 6, 3, weight=tmp_path / "w.npy", bias=np.arange(6), lr_mult={"bias": 2, "weight": 0}
    )
    np.testing.assert_array_equal(layer.weight.data, weight)
    assert (layer.weight.lr_mult, layer.bias.lr_mult) == (0, 2)
    turned = nn.ConvTranspose(6, 4, 3, weight=layer.weight)
    assert turned.weight is layer.weight
    with nn.ParameterScope():
        a, b = (nn.Conv(4, 4, 3, padding=1, scope="s") for _ in range(2))
        assert a.weight is b.weight and len(list(nn.Sequential(a, b).parameters())) == 2
        with pytest.raises(ValueError, match=r"Conv.weight: scope 's' holds .*\(4, 4, 3, 3\)"):
            nn.Conv(4, 5, 3, scope="s")
    with pytest.raises(ValueError, match=r"Conv.weight: expected shape \(6, 4, 3, 3\), the array"):
        nn.Conv(4, 6, 3, weight=weight[:5])


def test_an_activation_in_the_same_pass():
    for layer in (
        nn.Conv(4, 6, 3, 2, activation="relu"),
        nn.ConvTranspose(4, 6, 3, activation="tanh"),
    ):
        plain = (F.conv if isinstance(layer, nn.Conv) else F.conv_transpose)(
            X, layer.weight, layer.bias, layer.stride
        )
        np.testing.assert_allclose(
            layer(X).data, getattr(F, layer.activation)(plain).data, rtol=1e-5, atol=1e-6
        )
        assert f"activation='{layer.activation}'" in repr(layer)


def test_any_integer_as_kernel_means_two_axes():
    assert nn.Conv(4, 2, np.int64(3)).kernel_size == (3, 3)
    assert nn.ConvTranspose(4, 2, np.int32(2)).kernel_size == (2, 2)


def test_repr():
    layer = nn.ConvTranspose(4, 6, 3, (2, 1), 1, (1, 0), 2, False, 2)
    assert repr(layer) == (
        "ConvTranspose(4, 6, (3, 3), stride=(2, 1), padding=(1, 1), output_padding=(1, 0), "
        "dilation=(2, 2), groups=2; weight (4, 3, 3, 3))"
    )


def test_it_learns():
    """A small network finds the kernel that made its targets."""
    md.manual_seed(0)
    target = F.conv(X, np.ones((2, 4, 3, 3), np.float32) / 10, None, 2)
    layer = nn.Conv(4, 2, 3, 2)
    steps = md.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(150):
        loss = F.mse_loss(layer(X), target)
        steps.zero_grad()
        loss.backward()
        steps.step()
    assert loss.item() < 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Conv(0, 2, 3), ValueError, "Conv: in_channels"),
        (lambda: nn.Conv(2, 0, 3), ValueError, "Conv: out_channels"),
        (lambda: nn.Conv(2, 2, 0), ValueError, "Conv: kernel_size"),
        (lambda: nn.Conv(2, 2, 1.5), TypeError, "Conv: kernel_size"),
        (lambda: nn.Conv(2, 2, (1, 1, 1, 1)), ValueError, "Conv: kernel_size: expected 1, 2 or 3"),
        (lambda: nn.Conv(2, 2, 3, stride=0), ValueError, "Conv: stride"),
        (lambda: nn.Conv(2, 2, 3, padding=-1), ValueError, "Conv: padding"),
        (
            lambda: nn.Conv(2, 2, 3, padding=(1, 2, 3)),
            ValueError,
            "Conv: padding: expected one int",
        ),
        (lambda: nn.Conv(2, 2, 3, dilation=0), ValueError, "Conv: dilation"),
        (lambda: nn.Conv(4, 6, 3, groups=3), ValueError, "groups=3 does not divide in_channels=4"),
        (lambda: nn.Conv(6, 4, 3, groups=3), ValueError, "groups=3 does not divide out_channels=4"),
        (lambda: nn.Conv(2, 2, 3, groups=0), ValueError, "Conv: groups"),
        (lambda: nn.Conv(2, 2, 3, activation="sin"), ValueError, "activation: expected one of"),
        (
            lambda: nn.ConvTranspose(2, 2, 3, 2, 0, (1, 2)),
            ValueError,
            "ConvTranspose: output_padding must be less than stride or dilation, got 2 on spatial "
            "axis 1, where the greater is 2",
        ),
        (
            lambda: nn.Conv(3, 2, 3)(X),
            ValueError,
            r"conv: axis 1 of x: expected 3 channels .*, got shape \(3, 4, 9, 8\)",
        ),
        (
            lambda: nn.ConvTranspose(3, 2, (3,))(X),
            ValueError,
            r"conv_transpose: x and weight: expected as many spatial axes in both, got shapes \(3, 4, 9, 8\)",
        ),
        (lambda: nn.Conv(4, 2, 10)(X), ValueError, "conv: axis 2 of x: the kernel spans 10"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
