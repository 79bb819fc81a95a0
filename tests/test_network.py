"""benchmarks/network.py: the simulated sums take what the formulas say, and every rank gets the whole sum."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "network.py"


def loaded():
    spec = importlib.util.spec_from_file_location("network", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


network = loaded()
NET = network.Network(2e-5, 1e9, "")
SIZE, ADDING = 4e6, 1e-10
SENT, ADDED = SIZE / 1e9, SIZE * ADDING  # seconds to send, and to add, all of it
FORMULAS = {  # Thakur, Rabenseifner & Gropp 2005; of n ranks, whose logarithm is log
    "ring": lambda n, log: 2 * (n - 1) * 2e-5 + (n - 1) / n * (2 * SENT + ADDED),
    "recursive doubling": lambda n, log: log * (2e-5 + SENT + ADDED),
    "binomial tree": lambda n, log: log * (4e-5 + 2 * SENT + ADDED),
    "tree by exchange": lambda n, log: 2 * (n - 1) * 2e-5 + (n - 1) / n * (2 * SENT + ADDED),
    "tree by halving": lambda n, log: 2 * log * 2e-5 + (n - 1) / n * (2 * SENT + ADDED),
}


@pytest.mark.parametrize("ranks", [1, 2, 8, 1024])
@pytest.mark.parametrize("name", FORMULAS)
def test_the_time_is_that_of_the_formula(name, ranks):
    clocks = network.run(network.ALGORITHMS[name], np.zeros(ranks), SIZE, NET, ADDING)
    assert clocks.max() == pytest.approx(FORMULAS[name](ranks, math.log2(ranks)), rel=1e-9)


def test_all_algorithms_are_compared_with_a_formula():
    assert network.ALGORITHMS.keys() == FORMULAS.keys()


@pytest.mark.parametrize("ranks", [2, 8, 32])
@pytest.mark.parametrize("name", FORMULAS)
def test_what_a_late_rank_adds_reaches_everyone(name, ranks):
    """All ranks wait for the last one: its numbers are in every sum."""
    for late in (0, 1, ranks - 1):
        clocks = np.zeros(ranks)
        clocks[late] = 10.0
        assert network.run(network.ALGORITHMS[name], clocks, SIZE, NET).min() > 10.0


def test_a_step():
    work = network.Work(forward=1.0, backward=2.0, update=0.5, size=SIZE)
    step = lambda **more: network.step(work, 4, network.halving, NET, **more)  # noqa: E731
    alone = network.step(work, 1, network.halving, NET)
    assert alone == 3.5
    summing = network.run(network.halving, np.zeros(4), SIZE, NET).max()
    assert step() == pytest.approx(alone + summing)
    # Of ten buckets nine are sent while backward goes on; the last one is sent after it.
    last = network.run(network.halving, np.zeros(4), SIZE / 10, NET).max()
    assert step(buckets=10) == pytest.approx(alone + last)
    # Where the network is the bottleneck, it is never idle once backward has begun to fill it.
    slow = network.Network(0.0, 1e6, "")
    busy = network.run(network.halving, np.zeros(4), SIZE, slow).max()
    assert network.step(work, 4, network.halving, slow, buckets=10) == pytest.approx(
        1.2 + busy + 0.5
    )


def test_ranks_that_differ_wait_for_the_slowest():
    steady = network.Work(1.0, 2.0, 0.5, SIZE)
    noisy = network.Work(1.0, 2.0, 0.5, SIZE, spread=0.05)
    few, many = (network.step(noisy, n, network.ring, NET) for n in (2, 256))
    assert network.step(steady, 2, network.ring, NET) < many and few < many < 3.5 * 1.25


def test_only_powers_of_two():
    with pytest.raises(ValueError, match="powers of two of ranks, got 6"):
        network.run(network.halving, np.zeros(6), SIZE, NET)


def test_every_network_says_where_its_figures_come_from():
    for name, net in network.NETWORKS.items():
        assert 1e-7 < net.latency < 1e-3 and 1e8 < net.bandwidth < 1e11 and len(net.source) > 20, (
            name
        )
