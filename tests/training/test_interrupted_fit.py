"""What `fit` leaves when it is broken off: one and the same step in all places, and nothing in memory."""

import gc
import signal

import numpy as np
import pytest

import minidl as md
from minidl import _kernels as K
from minidl import nn, optim

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)


def network():
    md.manual_seed(0)
    return nn.Sequential(nn.Affine(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Affine(8, 2))


def fit(model, optimizer=None, **options):
    optimizer = optimizer or optim.SGD(model.parameters(), 0.5)
    loader = md.data.DataLoader((X, Y), 10)
    return md.fit(model, loader, "cross_entropy", optimizer, 2, progress=False, **options)


@pytest.mark.parametrize("after", [False, True])
def test_a_step_that_is_broken_off_and_running_statistics_are_of_the_same_step(after):
    class Broken(optim.SGD):
        def step(self):
            if after:
                super().step()
            raise KeyboardInterrupt

    model = network()
    before = model.state_dict()
    with pytest.raises(KeyboardInterrupt):
        fit(model, Broken(model.parameters(), 0.5))
    left = model.state_dict()
    changed = {name: not np.array_equal(left[name], before[name]) for name in before}
    assert set(changed.values()) == {after}


@pytest.mark.skipif(not K.available, reason="minidl without compiled modules captures nothing")
def test_a_captured_training_leaves_nothing_to_the_cycle_collector():
    gc.collect()
    gc.disable()
    try:
        fit(network(), capture=True)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_ctrl_c_before_the_first_batch():
    class Pressed(nn.Affine):
        def train(self, mode=True):
            if mode:
                signal.raise_signal(signal.SIGINT)
            return super().train(mode)

    model = Pressed(4, 3)
    before = model.weight.data.copy()
    history = fit(model)
    assert history.interrupted and len(history) == 0
    np.testing.assert_array_equal(model.weight.data, before)
