"""The parameters after 200 training steps have the same bits for any number of threads."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl._source import PURE


def train(threads: int, optimizer: type, **settings: float) -> list[np.ndarray]:
    before = md.get_num_threads()
    md.set_num_threads(threads)
    try:
        md.manual_seed(0)
        model = nn.Sequential(
            nn.Affine(784, 128), nn.PReLU(128), nn.LayerNorm(128), nn.RReLU(), nn.Dropout(0.1),
            nn.Affine(128, 64), nn.GLU(), nn.Maxout(32, 40, 2), nn.CReLU(), nn.Affine(80, 10),
        )  # fmt: skip
        steps = optimizer(model.parameters(), **settings)
        rng = np.random.default_rng(1)
        x = rng.standard_normal((4, 96, 784)).astype("float32")
        target = rng.integers(0, 10, (4, 96))
        for i in range(200):
            loss = F.cross_entropy(model(x[i % 4]), target[i % 4])
            steps.zero_grad()
            loss.backward()
            steps.step()
        return [p.data for p in model.parameters()]
    finally:
        md.set_num_threads(before)


@pytest.mark.skipif(PURE, reason="there is one thread")
@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [(optim.Adam, {"lr": 1e-3}), (optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4})],
    ids=["Adam", "SGD"],
)
def test_200_steps_with_1_to_4_threads(optimizer, settings):
    expected = train(1, optimizer, **settings)
    for threads in (2, 3, 4):
        for ours, alone in zip(train(threads, optimizer, **settings), expected, strict=True):
            np.testing.assert_array_equal(ours, alone)
