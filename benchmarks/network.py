"""A simulated network: when 2 to 1024 ranks have added up their gradients, and how long a training step then takes.

Each rank has a clock. An algorithm is a list of rounds; in a round every rank sends one message and waits for one,
which arrives ``latency + bytes / bandwidth`` after both have reached the round. (Links are full duplex and switches do
not block, as in the model of Thakur, Rabenseifner & Gropp, Optimization of Collective Communication Operations in
MPICH, IJHPCA 2005.) What a rank adds to its own costs ``bytes * adding`` more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Round = tuple[np.ndarray, float, float]  # from whom each rank receives, bytes, bytes that it adds


@dataclass(frozen=True)
class Network:
    """Latency in seconds, bandwidth in bytes per second, and who measured them."""

    latency: float
    bandwidth: float
    source: str


# Of what a line of Ethernet carries, TCP with frames of 1,500 bytes delivers 1460 / 1538.
_TCP = 1460 / 1538 / 8
_HURWITZ = (
    "latency: 21 µs end to end over 10 GbE, Hurwitz & Feng, Initial End-to-End Performance Evaluation of 10-Gigabit "
    "Ethernet, Hot Interconnects 2003"
)
_LINE = "bandwidth: not measured, what TCP leaves of the line rate (1460/1538)"
_GRIMM = "J. Grimm, osu_latency and osu_bw with MPICH, 2021, gist.github.com/jfgrimm/3af692a5475bdd4ed836b5a18197a209"
NETWORKS = {
    "1 GbE, TCP": Network(25.4e-6, 116e6, _GRIMM),
    "10 GbE, TCP": Network(21e-6, 10e9 * _TCP, f"{_HURWITZ}; {_LINE}"),
    "25 GbE, TCP": Network(21e-6, 25e9 * _TCP, f"latency as for 10 GbE; {_LINE}"),
    "100 GbE, TCP": Network(21e-6, 100e9 * _TCP, f"latency as for 10 GbE; {_LINE}"),
    "InfiniBand HDR": Network(
        1.2e-6,
        192e9 / 8,
        "1.2 µs, 192 Gb/s (printed as GB/s): Microsoft, HBv3-series virtual machine performance, "
        "learn.microsoft.com/azure/virtual-machines/hbv3-performance",
    ),
}

# ── Algorithms ────────────────────────────────────────────────────────────────────────────────────


def ring(ranks: int, size: float) -> Iterator[Round]:
    """Pieces go round once to be added and once more to be handed out: the fewest bytes, the most messages."""
    before = np.roll(np.arange(ranks), 1)
    for _ in range(ranks - 1):
        yield before, size / ranks, size / ranks
    for _ in range(ranks - 1):
        yield before, size / ranks, 0.0


def doubling(ranks: int, size: float) -> Iterator[Round]:
    """Recursive doubling: all of it, log2(ranks) times."""
    for distance in _distances(ranks):
        yield np.arange(ranks) ^ distance, size, size


def halving(ranks: int, size: float) -> Iterator[Round]:
    """Recursive halving, then doubling (Rabenseifner): as few bytes as the ring, 2 log2(ranks) messages."""
    for distance in _distances(ranks):
        size /= 2
        yield np.arange(ranks) ^ distance, size, size
    for distance in reversed(_distances(ranks)):
        yield np.arange(ranks) ^ distance, size, 0.0
        size *= 2


def exchange(ranks: int, size: float) -> Iterator[Round]:
    """What `minidl.distributed` does: each rank gets its piece from every other, adds them in the order of the tree,
    and sends the sum to every other.
    """
    piece = size / ranks
    for added in (piece, 0.0):
        for step in range(1, ranks):
            yield (np.arange(ranks) + step) % ranks, piece, added


def binomial(ranks: int, size: float) -> Iterator[Round]:
    """A tree to rank 0 and back: what a reduce and a broadcast do."""
    everyone = np.arange(ranks)
    for distance in _distances(ranks):
        receives = everyone % (2 * distance) == 0
        yield np.where(receives, everyone + distance, everyone), size, size
    for distance in reversed(_distances(ranks)):
        receives = everyone % (2 * distance) == distance
        yield np.where(receives, everyone - distance, everyone), size, 0.0


def _distances(ranks: int) -> list[int]:
    if ranks & (ranks - 1):
        raise ValueError(f"the simulation takes powers of two of ranks, got {ranks}")
    return [1 << i for i in range(ranks.bit_length() - 1)]


Algorithm = Callable[[int, float], Iterator[Round]]
ALGORITHMS: dict[str, Algorithm] = {
    "ring": ring,
    "recursive doubling": doubling,
    "binomial tree": binomial,
    "tree by exchange": exchange,
    "tree by halving": halving,
}


# ── Running them ──────────────────────────────────────────────────────────────────────────────────


def run(
    algorithm: Algorithm, clocks: np.ndarray, size: float, network: Network, adding: float = 0.0
) -> np.ndarray:
    """The time at which each rank is done, in seconds.

    Args:
        clocks: when each rank begins.
        size: bytes of the whole buffer.
        adding: seconds per byte that is added to another.
    """
    mine = np.arange(len(clocks))
    for source, sent, added in algorithm(len(clocks), size):
        cost = network.latency + sent / network.bandwidth + added * adding
        clocks = np.where(source == mine, clocks, np.maximum(clocks, clocks[source]) + cost)
    return clocks


@dataclass(frozen=True)
class Work:
    """What a rank computes in a step, in seconds, and the bytes of gradients.

    ``spread``: the standard deviation of forward and backward, as a share of them (ranks differ by chance, and all
    wait for the slowest).
    """

    forward: float
    backward: float
    update: float
    size: float
    spread: float = 0.0


def step(
    work: Work,
    ranks: int,
    algorithm: Algorithm,
    network: Network,
    adding: float = 0.0,
    buckets: int = 1,
    seed: int = 0,
) -> float:
    """Seconds per step: forward, backward, the sum of the gradients, update.

    With one bucket the sum begins after backward. With more, each part of the buffer is sent as soon as backward has
    filled it, one after the other, and backward goes on meanwhile: what a network card can do that needs no processor
    (over TCP it needs some, which is not in the model).
    """
    rng = np.random.default_rng(seed)
    slow = np.maximum(1 + work.spread * rng.standard_normal(ranks), 0.5)
    free = np.zeros(ranks)  # when the link of each rank is free
    for i in range(buckets if ranks > 1 else 0):
        ready = (work.forward + work.backward * (i + 1) / buckets) * slow
        free = run(algorithm, np.maximum(ready, free), work.size / buckets, network, adding)
    computed = (work.forward + work.backward) * slow
    return float(np.maximum(free, computed).max()) + work.update
