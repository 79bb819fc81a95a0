"""What a rank computes in a training step, measured on this machine: MLPs and DCGANs, by samples per shard.

A rank has one thread: an MPI job usually runs one per core.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from network import Work

import minidl as md
from minidl import functional as F
from minidl import nn, optim

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "dcgan.py"
# name: samples of the largest shard, samples of the smallest
CASES = {
    "MLP 784-100-10": (32, 1),
    "MLP 784-256-256-10": (128, 1),
    "MLP 784-1024-1024-10": (256, 1),
    "DCGAN 1x32x32": (64, 2),  # BatchNorm needs more than one
    "DCGAN 3x64x64": (64, 2),
}
THREADS = 1  # of a rank
Parts = list[tuple[Callable[[], Any], Callable[[Any], Any], Callable[[], Any], int]]


def parts(name: str, samples: int) -> Parts:
    """The sums of gradients in a step, in order: (forward, backward of its result, update, bytes) of each."""
    kind, shape = name.split()
    rng = np.random.default_rng(0)
    md.manual_seed(0)
    if kind == "MLP":
        widths = [int(n) for n in shape.split("-")]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Affine(n_in, n_out), nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        x = rng.random((samples, widths[0]), np.float32)
        labels = rng.integers(0, widths[-1], samples)
        return [_part(lambda: F.cross_entropy(model(x), labels), model)]
    channels, size = (int(n) for n in shape.split("x")[:2])
    width, nz = (32, 64) if size == 32 else (64, 100)
    example = _example()
    G = example.generator(nz, width, channels, size)
    D = example.discriminator(width, channels, size)
    real = rng.random((samples, channels, size, size), np.float32)
    noise = rng.standard_normal((samples, nz, 1, 1), np.float32)
    ones, zeros = np.ones((samples, 1), np.float32), np.zeros((samples, 1), np.float32)
    loss, made = F.binary_cross_entropy_with_logits, {}

    def d_loss() -> md.Tensor:
        made["fake"] = G(noise)
        return loss(D(real), ones) + loss(D(made["fake"].detach()), zeros)

    return [_part(d_loss, D), _part(lambda: loss(D(made["fake"]), ones), G)]


def _example() -> Any:
    """examples/dcgan.py. (There is a dcgan.py beside this file, too.)"""
    spec = importlib.util.spec_from_file_location("example_dcgan", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _part(forward: Callable[[], Any], model: nn.Module) -> Any:
    optimizer = optim.Adam(model.parameters(), 1e-4)

    def backward(loss: md.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()

    return forward, backward, optimizer.step, sum(p.data.nbytes for p in model.parameters())


def measured(name: str, samples: int, seconds: float = 1.0) -> list[dict[str, float]]:
    """The least time of forward, backward and update of each part, in seconds, and its bytes of gradients."""
    todo = parts(name, samples)
    best = [dict.fromkeys(("forward", "backward", "update"), float("inf")) for _ in todo]
    until, rounds = time.perf_counter() + seconds, 0
    while rounds < 5 or time.perf_counter() < until:
        for (forward, backward, update, _), least in zip(todo, best, strict=True):
            # The processor's time: with one thread that is the time it takes, whatever else runs on the machine.
            times = [time.process_time()]
            result = forward()
            times.append(time.process_time())
            backward(result)
            times.append(time.process_time())
            update()
            times.append(time.process_time())
            for key, spent in zip(least, np.diff(times), strict=True):
                least[key] = min(least[key], float(spent))
        rounds += 1
    return [
        {key: round(value, 8) for key, value in least.items()} | {"size": size}
        for least, (*_, size) in zip(best, todo, strict=True)
    ]


def all_measured(seconds: float = 1.0) -> dict[str, dict[str, list[dict[str, float]]]]:
    """{case: {samples: parts}} for shards of 1, 2, 4, ... samples."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    md.set_num_threads(THREADS)
    for name, (largest, smallest) in CASES.items():
        counts = [n for n in (1 << i for i in range(11)) if smallest <= n <= largest]
        found[name] = {str(n): measured(name, n, seconds) for n in counts}
        print(name, {n: f"{1e3 * total(p):.3f} ms" for n, p in found[name].items()}, flush=True)
    return found


def total(measured_parts: list[dict[str, float]]) -> float:
    """Seconds of a step without communication."""
    return sum(p["forward"] + p["backward"] + p["update"] for p in measured_parts)


def works(table: dict[str, list[dict[str, float]]], samples: int, spread: float) -> list[Work]:
    """What a rank computes for so many samples a step: shards of the largest size that was measured, or one smaller."""
    sizes = sorted(int(n) for n in table)
    shard = max([n for n in sizes if n <= samples], default=sizes[0])
    shards = max(samples // shard, 1)
    return [
        # All but the last shard's backward is over before the sums can begin: it counts as forward.
        Work(
            shards * p["forward"] + (shards - 1) * p["backward"],
            p["backward"], p["update"], p["size"], spread,
        )
        for p in table[str(shard)]
    ]  # fmt: skip
