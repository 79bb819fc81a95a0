"""What the ranks of a test run: ``python -m tests.distributed.programs NAME ... OPTION=NUMBER``. Prints, on
rank 0, a hash of the parameters, the optimizers' states and what was measured.
"""

import hashlib
import json
import sys

import numpy as np

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.distributed import DataParallel, world

STEPS = 4


def batches(*shapes, seed=1, classes=0):
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        n = 20 if step == 1 else 48  # one is smaller, and not divided evenly
        arrays = [rng.standard_normal((n, *shape)).astype("float32") for shape in shapes]
        yield (*arrays, rng.integers(0, classes, n)) if classes else arrays


def mlp(**options):
    model = nn.Sequential(
        nn.Affine(20, 37), nn.RReLU(), nn.Dropout(0.3), nn.Affine(37, 16), nn.BatchNorm(16), nn.ReLU(),
        nn.Dropout(0.2, rng=3), nn.Affine(16, 5),
    )  # fmt: skip
    parallel = DataParallel(model, optim.Adam(model.parameters(), 1e-2), **options)
    losses = [
        parallel.step(lambda x, t: F.cross_entropy(model(x), t), *batch)
        for batch in batches((20,), classes=5)
    ]
    return [model], [parallel.optimizer], losses


def lenet(**options):
    model = nn.Sequential(
        nn.Conv(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool(2), nn.Conv(6, 16, 5), nn.Tanh(), nn.AvgPool(2),
        nn.Flatten(), nn.Affine(64, 40), nn.PReLU(40), nn.Affine(40, 10),
    )  # fmt: skip
    parallel = DataParallel(model, optim.SGD(model.parameters(), 0.1, 0.9), **options)

    def loss(x, t):
        y = model(x)
        return F.cross_entropy(y, t), (y.detach().argmax(1) == t).mean()

    return (
        [model],
        [parallel.optimizer],
        [parallel.step(loss, *b) for b in batches((1, 16, 16), classes=10)],
    )


def networks(norm):
    conv, init = nn.ConvTranspose, md.init.Normal(0, 0.1)
    G = nn.Sequential(
        conv(8, 12, 4, 1, 0, bias=False, weight=init), nn.BatchNorm(12), nn.ReLU(inplace=True),
        conv(12, 6, 4, 2, 1, bias=False, weight=init), nn.BatchNorm(6), nn.ReLU(inplace=True),
        conv(6, 1, 4, 2, 1, bias=False, weight=init), nn.Tanh(),
    )  # fmt: skip
    D = nn.Sequential(
        nn.Conv(1, 6, 4, 2, 1, weight=init), nn.LeakyReLU(0.2),
        nn.Conv(6, 12, 4, 2, 1, bias=not norm, weight=init), *([nn.BatchNorm(12)] if norm else []),
        nn.LeakyReLU(0.2), nn.Conv(12, 1, 4, bias=False, weight=init), nn.Flatten(),
    )  # fmt: skip
    return G, D


def dcgan(**options):
    G, D = networks(norm=True)
    d = DataParallel([G, D], optim.Adam(D.parameters(), 2e-3, (0.5, 0.999)), **options)
    g = DataParallel([G, D], optim.Adam(G.parameters(), 2e-3, (0.5, 0.999)), **options)
    bce = F.binary_cross_entropy_with_logits

    def d_loss(real, noise):
        with md.no_grad():
            fake = G(noise)
        scores = D(real), D(fake)
        return bce(scores[0], np.ones(scores[0].shape, "float32")) + bce(
            scores[1], np.zeros(scores[1].shape, "float32")
        )

    def g_loss(noise):
        score = D(G(noise))
        return bce(score, np.ones(score.shape, "float32"))

    losses = []
    for real, noise in batches((1, 16, 16), (8, 1, 1)):
        losses += [d.step(d_loss, real, noise), g.step(g_loss, noise)]
    return [G, D], [d.optimizer, g.optimizer], losses


def wgan_gp(**options):
    G, D = networks(norm=False)
    d = DataParallel([G, D], optim.Adam(D.parameters(), 1e-3, (0.0, 0.9)), **options)
    g = DataParallel([G, D], optim.Adam(G.parameters(), 1e-3, (0.0, 0.9)), **options)

    def d_loss(real, noise):
        with md.no_grad():
            fake = G(noise)
        share = F.sigmoid(md.randn(len(real), 1, 1, 1))  # drawn for the shard
        x = (share * real + (1 - share) * fake).detach()
        x.requires_grad = True
        slope = md.grad(D(x).sum(), x, create_graph=True)
        norm = ((slope * slope).sum(axis=(1, 2, 3)) + 1e-12).sqrt()
        return D(fake).mean() - D(real).mean() + 10 * ((norm - 1) ** 2).mean()

    losses = []
    for real, noise in batches((1, 16, 16), (8, 1, 1)):
        losses += [d.step(d_loss, real, noise), g.step(lambda z: -D(G(z)).mean(), noise)]
    return [G, D], [d.optimizer, g.optimizer], losses


def odd(**options):
    """Two dtypes, spectral norm, a layer that only some shards use and one that none uses, batches of few samples."""
    model = nn.ModuleDict({
        "single": nn.spectral_norm(nn.Affine(4, 6)), "rare": nn.Affine(6, 6), "never": nn.Affine(2, 2),
        "double": nn.Sequential(nn.BatchNorm(6), nn.RReLU(rng=7), nn.Affine(6, 1)).astype("float64"),
    })  # fmt: skip
    parallel = DataParallel(model, optim.AdamW(model.parameters(), 1e-2), check_every=1, **options)

    def loss(x):
        y = model["single"](x)
        if x[0, 0] > 0:
            y = model["rare"](y)
        return model["double"](y.astype("float64")).mean()

    rng = np.random.default_rng(3)
    losses = [
        parallel.step(loss, rng.standard_normal((n, 4)).astype("float32")) for n in (3, 5, 16, 29)
    ]
    assert model["never"].weight.grad is None and parallel.optimizer.groups[0].slots[2].step < 5
    return [model], [parallel.optimizer], losses


def digest(models, optimizers, measured):
    found = hashlib.blake2b(digest_size=12)
    for thing in (*models, *optimizers):
        found.update(repr(_plain(thing.state_dict())).encode())
    found.update(repr(measured).encode())
    return found.hexdigest()


def _plain(tree):
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    return tree.tobytes() if isinstance(tree, np.ndarray) else tree


PROGRAMS = {"mlp": mlp, "lenet": lenet, "dcgan": dcgan, "wgan_gp": wgan_gp, "odd": odd}


def run(names, **options):
    """The hash of each program, by name."""
    found = {}
    for name in names:
        md.manual_seed(0)
        found[name] = digest(*PROGRAMS[name](**options))
    return found


if __name__ == "__main__":
    pairs = [argument.split("=") for argument in sys.argv[1:] if "=" in argument]
    names = [argument for argument in sys.argv[1:] if "=" not in argument]
    found = run(names or PROGRAMS, **{name: json.loads(value) for name, value in pairs})
    everywhere = world().gather(found)
    assert all(its == found for its in everywhere), everywhere
    if world().is_main:
        print(*[f"{name}={value}" for name, value in found.items()], flush=True)
