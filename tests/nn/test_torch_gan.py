"""The networks of PyTorch's DCGAN tutorial, here and there: the same weights, outputs, gradients, and
losses of 20 steps; and the weights travel by name through ``.safetensors`` files.

PyTorch's are written out as in the tutorial (pytorch.org/tutorials, DCGAN Faces), minidl's are those
of examples/dcgan.py under the tutorial's names.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import dcgan  # noqa: E402

T = torch.nn
NZ, NGF, N = 10, 4, 8
SIZES = pytest.mark.parametrize(
    ("channels", "size"), [(1, 32), (3, 64)], ids=["1x32x32", "3x64x64"]
)
# The largest difference as a share of the largest value: sums are added in another order here and
# there, and each layer hands its rounding on.
OUTPUTS = {np.float32: 1e-5, np.float64: 1e-12}
GRADIENTS = {np.float32: 1e-4, np.float64: 1e-11}
# Of the losses: float32 stays within 3e-7 until, in some step, a value so close to 0 that rounding gives
# it its sign goes through a ReLU here and not there. Its gradient is then another, and Adam, which
# steps by the gradient's sign at first, goes another way. PyTorch's own float32 leaves its float64 in
# the same way, as often, and by as much: up to 3e-3 in 20 steps of such networks, over several seeds.
LOSSES = {np.float32: 2e-2, np.float64: 1e-9}
FIRST_LOSSES = {np.float32: 1e-5, np.float64: 1e-12}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks of this size have nothing to share out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Theirs(T.Module):
    def __init__(self, *layers):
        super().__init__()
        self.main = T.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


class Ours(nn.Module):
    def __init__(self, *layers):
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


def their_generator(nc, size):
    ngf = NGF
    more = size == 64
    first = ngf * 8 if more else ngf * 4
    layers = [T.ConvTranspose2d(NZ, first, 4, 1, 0, bias=False), T.BatchNorm2d(first), T.ReLU(True)]
    if more:
        layers += [T.ConvTranspose2d(ngf * 8, ngf * 4, 4, 2, 1, bias=False)]
        layers += [T.BatchNorm2d(ngf * 4), T.ReLU(True)]
    return Theirs(
        *layers,
        T.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False),
        T.BatchNorm2d(ngf * 2),
        T.ReLU(True),
        T.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
        T.BatchNorm2d(ngf),
        T.ReLU(True),
        T.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
        T.Tanh(),
    )


def their_discriminator(nc, size):
    ndf = NGF
    layers = []
    if size == 64:
        layers += [T.Conv2d(ndf * 4, ndf * 8, 4, 2, 1, bias=False), T.BatchNorm2d(ndf * 8)]
        layers += [T.LeakyReLU(0.2, inplace=True)]
    return Theirs(
        T.Conv2d(nc, ndf, 4, 2, 1, bias=False),
        T.LeakyReLU(0.2, inplace=True),
        T.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False),
        T.BatchNorm2d(ndf * 2),
        T.LeakyReLU(0.2, inplace=True),
        T.Conv2d(ndf * 2, ndf * 4, 4, 2, 1, bias=False),
        T.BatchNorm2d(ndf * 4),
        T.LeakyReLU(0.2, inplace=True),
        *layers,
        T.Conv2d(ndf * 8 if size == 64 else ndf * 4, 1, 4, 1, 0, bias=False),
        T.Sigmoid(),
    )


def their_weights(module):
    """The tutorial's ``weights_init``."""
    if "Conv" in type(module).__name__:
        T.init.normal_(module.weight.data, 0.0, 0.02)
    elif "BatchNorm" in type(module).__name__:
        T.init.normal_(module.weight.data, 1.0, 0.02)
        T.init.constant_(module.bias.data, 0)


def networks(channels, size, dtype=np.float32):
    """(G, D) of PyTorch, and the same of minidl with the same weights."""
    torch.manual_seed(0)
    theirs = their_generator(channels, size), their_discriminator(channels, size)
    for net in theirs:
        net.apply(their_weights)
        net.double() if dtype == np.float64 else net.float()
    ours = (
        Ours(*dcgan.generator(NZ, NGF, channels, size)),
        Ours(*dcgan.discriminator(NGF, channels, size)[:-1], nn.Sigmoid()),
    )
    for mine, net in zip(ours, theirs, strict=True):
        mine.astype(dtype).load_state_dict(net.state_dict())
    return theirs, ours


def images(channels, size, dtype=np.float32, n=N):
    rng = np.random.default_rng(1)
    return np.tanh(rng.standard_normal((n, channels, size, size))).astype(dtype)


def noise(rng, dtype):
    return rng.standard_normal((N, NZ, 1, 1)).astype(dtype)


def difference(found, expected):
    """The largest, as a share of the largest value."""
    found, expected = (np.asarray(getattr(x, "data", x)) for x in (found, expected))
    assert found.shape == expected.shape and found.dtype == expected.dtype
    return float(abs(found - expected).max() / abs(expected).max())


def gradients(theirs, ours):
    """(name, gradient there, gradient here) of all parameters."""
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        yield name, parameter.grad.numpy(), mine[name].grad.data


@SIZES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outputs_and_gradients(channels, size, dtype):
    (G, D), (g, d) = networks(channels, size, dtype)
    z = noise(np.random.default_rng(0), dtype)
    zt, zm = torch.tensor(z, requires_grad=True), md.Tensor(z, requires_grad=True)
    image, mine = G(zt), g(zm)
    image.retain_grad()
    assert difference(mine, image.detach()) < OUTPUTS[dtype]
    said, mine_said = D(image), d(mine)
    assert difference(mine_said, said.detach()) < OUTPUTS[dtype]
    T.functional.binary_cross_entropy(said.view(-1), torch.ones(N, dtype=said.dtype)).backward()
    F.binary_cross_entropy(mine_said.reshape(-1), np.ones(N, dtype)).backward()
    assert difference(zm.grad, zt.grad) < GRADIENTS[dtype]
    for pair in ((D, d), (G, g)):
        for name, expected, found in gradients(*pair):
            assert difference(found, expected) < GRADIENTS[dtype], name
    # Running statistics came along, and with them the networks say the same when evaluating.
    for theirs, ours in ((G, g), (D, d)):
        for name, value in theirs.named_buffers():
            assert difference(ours.buffers[name], value.numpy()) < OUTPUTS[dtype], name
        theirs.eval(), ours.eval()
    with torch.no_grad(), md.no_grad():
        assert difference(d(g(z)), D(G(zt))) < OUTPUTS[dtype]


def their_losses(G, D, real, steps):
    """The tutorial's loop."""
    rng, found, criterion = np.random.default_rng(2), [], T.BCELoss()
    dtype = {np.dtype("f4"): torch.float32, np.dtype("f8"): torch.float64}[real.dtype]
    optimizerD = torch.optim.Adam(D.parameters(), lr=0.0002, betas=(0.5, 0.999))
    optimizerG = torch.optim.Adam(G.parameters(), lr=0.0002, betas=(0.5, 0.999))
    for _ in range(steps):
        D.zero_grad()
        label = torch.full((N,), 1.0, dtype=dtype)
        errD_real = criterion(D(torch.from_numpy(real)).view(-1), label)
        errD_real.backward()
        fake = G(torch.from_numpy(noise(rng, real.dtype)))
        label.fill_(0.0)
        errD_fake = criterion(D(fake.detach()).view(-1), label)
        errD_fake.backward()
        optimizerD.step()
        G.zero_grad()
        label.fill_(1.0)
        errG = criterion(D(fake).view(-1), label)
        errG.backward()
        optimizerG.step()
        found.append([errD_real.item(), errD_fake.item(), errG.item()])
    return np.array(found)


def our_losses(G, D, real, steps):
    rng, found, criterion = np.random.default_rng(2), [], F.binary_cross_entropy
    ones, zeros = np.ones(N, real.dtype), np.zeros(N, real.dtype)
    optimizerD = optim.Adam(D.parameters(), lr=0.0002, betas=(0.5, 0.999))
    optimizerG = optim.Adam(G.parameters(), lr=0.0002, betas=(0.5, 0.999))
    for _ in range(steps):
        D.zero_grad()
        errD_real = criterion(D(real).reshape(-1), ones)
        errD_real.backward()
        fake = G(noise(rng, real.dtype))
        errD_fake = criterion(D(fake.detach()).reshape(-1), zeros)
        errD_fake.backward()
        optimizerD.step()
        G.zero_grad()
        errG = criterion(D(fake).reshape(-1), ones)
        errG.backward()
        optimizerG.step()
        found.append([errD_real.item(), errD_fake.item(), errG.item()])
    return np.array(found)


@SIZES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_of_20_steps(channels, size, dtype):
    theirs, ours = networks(channels, size, dtype)
    real = images(channels, size, dtype)
    expected, found = their_losses(*theirs, real, 20), our_losses(*ours, real, 20)
    np.testing.assert_allclose(found[:2], expected[:2], rtol=FIRST_LOSSES[dtype])
    np.testing.assert_allclose(found, expected, rtol=LOSSES[dtype])
    assert expected[-1, 0] < 0.9 * expected[0, 0]  # something was learned


# ── Files ───────────────────────────────────────────────────────────────────────────────────────


@SIZES
def test_weights_travel_from_pytorch_and_back(tmp_path, channels, size):
    files = pytest.importorskip("safetensors.torch")
    theirs, ours = networks(channels, size)
    real, path = torch.from_numpy(images(channels, size)), tmp_path / "net.safetensors"
    their_losses(*theirs, real.numpy(), 3)  # running statistics and counts of their own
    for net, mine, fresh in zip(theirs, ours, networks(channels, size)[0], strict=True):
        files.save_file(net.state_dict(), path)
        mine.load_state_dict(md.load(path))
        md.save(mine.state_dict(), path)
        fresh.load_state_dict(files.load_file(path))
        state = fresh.state_dict()
        assert list(state) == list(net.state_dict()) == list(mine.state_dict())
        for name, value in net.state_dict().items():
            assert state[name].dtype == value.dtype and torch.equal(state[name], value), name
        counts = [value.item() for name, value in state.items() if "num_batches" in name]
        assert counts and all(count in (3, 9) for count in counts)


def test_a_slope_is_a_weight_there(tmp_path):
    """PReLU: minidl's name is ``slope``, PyTorch's ``weight``; minidl takes and gives both."""
    files = pytest.importorskip("safetensors.torch")
    path = tmp_path / "net.safetensors"
    theirs = T.Sequential(T.Linear(3, 4), T.PReLU(4, 0.1), T.Linear(4, 4), T.PReLU(init=0.7))
    files.save_file(theirs.state_dict(), path)
    layers = [nn.Affine(3, 4), nn.PReLU(lr_mult=2), nn.Affine(4, 4), nn.PReLU(shared=True)]
    ours = nn.Sequential(*layers)
    ours.load_state_dict(md.load(path))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(ours(x).data, theirs(torch.from_numpy(x)), rtol=1e-5, atol=1e-6)

    assert list(ours.state_dict())[2] == "1.slope"
    ours[1].slope.data = np.arange(4, dtype=np.float32)
    state = ours.state_dict(torch_names=True)
    assert list(state) == list(theirs.state_dict())
    md.save(state, path)
    theirs.load_state_dict(files.load_file(path))
    assert theirs[1].weight.tolist() == [0, 1, 2, 3]

    # Here the multipliers come back, too.
    other = nn.Sequential(nn.Affine(3, 4), nn.PReLU(), nn.Affine(4, 4), nn.PReLU(shared=True))
    other.load_state_dict(md.load(path))
    assert other[1].slope.lr_mult == 2 and other[1].slope.data.tolist() == [0, 1, 2, 3]


def test_names_that_are_missing_or_wrong_are_told():
    layer = nn.Sequential(nn.PReLU(4))
    with pytest.raises(RuntimeError, match=r"0\.slope: expected shape \(4,\), got \(3,\)"):
        layer.load_state_dict({"0.weight": np.zeros(3)})
    with pytest.raises(RuntimeError, match=r"not known here: 0\.weight"):
        layer.load_state_dict({"0.slope": np.zeros(4), "0.weight": np.ones(4)})
    with pytest.raises(RuntimeError, match=r"missing: 0\.slope"):
        layer.load_state_dict({})
    found = layer.load_state_dict({"0.weight": np.ones(4), "1.weight": np.ones(4)}, strict=False)
    assert found == ([], ["1.weight"]) and (layer[0].slope.data == 1).all()
