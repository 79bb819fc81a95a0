"""What several threads do at once, each with things of its own and with a model that all of them share.

A job is a function of the number of its round; it returns arrays (or anything that `==` compares). What it must return
is what it returned in a single thread, bit by bit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import minidl as md
from minidl import functional as F
from minidl import nn, optim

VARIANTS = 4  # a job's rounds are the same modulo this


def arrays(variant, *shapes, dtype="float32"):
    rng = np.random.default_rng(variant)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def network(variant, outputs=4):
    with md.random.drawing_from(np.random.default_rng(variant)):
        return nn.Sequential(
            nn.Affine(6, 16), nn.Tanh(), nn.Affine(16, 16), nn.ReLU(), nn.Affine(16, outputs)
        )


def graphs(variant):
    """A graph with branches, a view, saved outputs, a part that two ops read; freed, and one that is dropped."""
    x, w = (md.Tensor(a, requires_grad=True) for a in arrays(variant, (5, 6), (6, 6)))
    for _ in range(3):
        h = (x @ w).tanh()
        h = (h * h + h.reshape(6, 5).T.exp()).sum(axis=0)
        dropped = (F.sigmoid(h) * 2).sum()
        (h * x.mean(axis=0)).sum().backward()
        del dropped
    return x.grad._data, w.grad._data


def gradients_of_gradients(variant):
    x = md.Tensor(arrays(variant, (4, 3))[0], requires_grad=True)
    (g,) = md.grad([(x.tanh() ** 2).sum()], [x], create_graph=True)
    (gg,) = md.grad([(g * g).sum()], [x])
    return g._data, gg._data


def modes(variant):
    """Nested switches, left in the order of the nesting and not: each must hold in this thread alone."""
    w = md.Tensor([1.0, 2.0], requires_grad=True)
    seen = [(w * 2).requires_grad]
    with md.no_grad():
        seen.append((w * 2).requires_grad)
        with md.enable_grad():
            y = (w * w).sum()
            y.backward()
            seen.append(y.requires_grad)
        with NO_GRAD:
            seen.append((w * 2).requires_grad)
        seen.append((w * 2).requires_grad)
    with NO_GRAD:
        seen.append((w * 2).requires_grad)
    seen.append((w * 2).requires_grad)
    assert seen == [True, False, True, False, False, False, True], seen
    return (w.grad._data,)


def training(variant):
    """An optimizer, clipping, dropout and a loader that prefetches, all of this thread."""
    x, y = arrays(variant, (24, 6), (24, 4))
    model = network(variant)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loader = md.data.DataLoader((x, y), 8, shuffle=True, rng=variant, prefetch=2)
    with md.random.drawing_from(np.random.default_rng(variant)):
        for inputs, targets in loader:
            optimizer.zero_grad()
            h = F.dropout(md.Tensor(inputs), 0.2)
            F.mse_loss(model(h), md.Tensor(targets)).backward()
            optim.clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()
    return tuple(p._data.copy() for p in model.parameters())


def captured(variant):
    x, y = arrays(variant, (8, 6), (8, 4))
    model = network(variant)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = md.capture(step)
    return tuple(step(x, y)._data.copy() for _ in range(4))


def saving(variant):
    model, other = network(variant), network(variant + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.npz")
        md.save(model.state_dict(), path)
        other.load_state_dict(md.load(path))
    return tuple(p._data.copy() for p in other.parameters())


def shared_inference(variant):
    """The model that all threads share: with a graph and without, views and arrays of its parameters."""
    x = md.Tensor(arrays(variant, (3, 1, 8, 8))[0])
    with md.no_grad():
        y = SHARED(x)
    graph = SHARED(x)  # live while arrays are handed out
    weight = SHARED[0].weight
    total = weight.data.sum() + weight.detach().reshape(-1).numpy().sum() + graph.data[0, 0]
    return y._data, graph._data, total


def writes_are_noticed(variant):
    x = md.Tensor(arrays(variant, (4,))[0], requires_grad=True)
    h = x * 2
    y = (h * h).sum()
    h.data[0] = 5
    try:
        y.backward()
    except RuntimeError:
        return (True,)
    return (False,)


def einsum(variant):
    x, y = (md.Tensor(a, requires_grad=True) for a in arrays(variant, (3, 4), (4, 3 + variant)))
    md.einsum("ij,jk->ki", x, y).sum().backward()
    return x.grad._data, y.grad._data


JOBS = (
    graphs, gradients_of_gradients, modes, training, captured, saving, shared_inference, writes_are_noticed, einsum,
)  # fmt: skip
NO_GRAD = md.no_grad()
with md.random.drawing_from(np.random.default_rng(0)):
    SHARED = nn.Sequential(
        nn.Conv(1, 4, 3), nn.BatchNorm(4), nn.PReLU(4), nn.Flatten(), nn.Affine(144, 5)
    ).eval()


def expected():
    """What each job returns in a single thread, by its name and variant."""
    return {(job.__name__, variant): job(variant) for job in JOBS for variant in range(VARIANTS)}


def same(results, expected):
    return len(results) == len(expected) and all(
        np.array_equal(a, b) for a, b in zip(results, expected, strict=True)
    )
