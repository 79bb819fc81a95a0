"""The cases of small networks: whole steps, single kernels, and steps against width and batch.

The first network is one that SimpleChains.jl, the fastest library for small networks, is measured with; LeNet-5 has
ReLU and max pooling. The single kernels are those in which such networks spend their time.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
from mlps import STEPS_CHECKED, digits, mlp_case

# name: widths, batch, and how the network differs from ReLU, float32 and training with Adam
STEPS = {
    "24-8-2 tanh, float64, batch 200, gradient": (
        [24, 8, 2],
        200,
        {"activation": "tanh", "dtype": "float64", "adam": False},
    ),
    "4-32-16-4 tanh, batch 64": ([4, 32, 16, 4], 64, {"activation": "tanh"}),
    "4-32-16-4 tanh, batch 10,000": ([4, 32, 16, 4], 10_000, {"activation": "tanh"}),
    "784-100-10, batch 32": ([784, 100, 10], 32, {}),
}
LENET = "LeNet-5, batch 128"
LENET_BATCH, LENET_IMAGES = 128, 1024
LENET_CONVS = [(6, 1, 5, 5), (16, 6, 5, 5)]  # each with ReLU and max pooling, 2x2
LENET_WIDTHS = [256, 120, 84, 10]

WIDTHS = [2, 4, 16, 64, 256, 1024]  # w in 16-w-w-4, batch 64
BATCHES = [4**i for i in range(7)]  # of 4-32-16-4
KERNEL_PEERS = ("minidl", "numpy", "torch", "jax", "tf")
SWEEPERS = ("minidl", "minidl_captured", "numpy", "torch", "jax", "jax_scan", "tf")

PASSES = ("forward", "input gradient", "weight gradient")
CONV = "conv 5x5, 1 to 6 at 28x28"
PRODUCTS = {"10000x32 -> 16": (10_000, 32, 16), "10000x16 -> 4": (10_000, 16, 4)}
POOL = "max_pool 2x2, 128x6x24x24"
TINY = "100 ops on shape (4,)"


def small_cases(inputs: Path, quick: bool) -> list[dict]:
    steps = [mlp_case(inputs, name, *shape, **how) for name, (*shape, how) in STEPS.items()]
    kernels = [pool_case(), *map(conv_case, PASSES)]
    kernels += [affine_case(name, what) for name in PRODUCTS for what in PASSES]
    for case in kernels:
        case["peers_asked"] = KERNEL_PEERS
    kernels.append({**tiny_case(), "peers_asked": ("minidl_captured", *KERNEL_PEERS)})
    for case in kernels:
        case["table"] = "kernels"
    return [*steps, lenet_case(inputs), *kernels, *sweeps(inputs, quick)]


def sweeps(inputs: Path, quick: bool) -> list[dict]:
    """Steps against width and against batch, for the plot."""
    widths, batches = (WIDTHS[::3], BATCHES[::3]) if quick else (WIDTHS, BATCHES)
    shapes = [("width", w, [16, w, w, 4], 64) for w in widths]
    shapes += [("batch", b, [4, 32, 16, 4], b) for b in batches]
    cases = []
    for table, size, network, batch in shapes:
        case = mlp_case(inputs, f"{table} {size}", network, batch, 5, "tanh")
        cases.append({**case, "table": table, "peers_asked": SWEEPERS})
    return cases


def lenet_case(inputs: Path) -> dict:
    return {
        "kind": "lenet",
        "name": LENET,
        "batch": LENET_BATCH,
        "data": str(lenet_file(inputs)),
        "steps_checked": STEPS_CHECKED,
        "flops": lenet_flops(),
    }


def lenet_flops() -> float:
    """Forward and both gradients of every layer; no input gradient of the first one."""
    size, counts = 28, []
    for out, channels, height, width in LENET_CONVS:
        size -= height - 1
        counts.append(out * channels * height * width * size**2)
        size //= 2
    counts += [a * b for a, b in pairwise(LENET_WIDTHS)]
    return 2.0 * LENET_BATCH * (3 * sum(counts) - counts[0])


def lenet_file(inputs: Path) -> Path:
    """MNIST images, their labels, and initial weights (out, in, ...), uniform with bound 1/sqrt(fan in)."""
    target = inputs / "lenet.npz"
    if not target.exists():
        images, labels = digits(LENET_IMAGES)
        images = images.reshape(-1, 1, 28, 28).astype(np.float32) / 255
        arrays = {"images": images, "labels": labels.astype(np.int32)}
        rng = np.random.default_rng(0)
        shapes = [*LENET_CONVS, *((b, a) for a, b in pairwise(LENET_WIDTHS))]
        for i, shape in enumerate(shapes):
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            arrays[f"w{i}"] = rng.uniform(-bound, bound, shape).astype(np.float32)
            arrays[f"b{i}"] = rng.uniform(-bound, bound, shape[0]).astype(np.float32)
        np.savez(target, **arrays)
    return target


def pool_case() -> dict:
    return {"kind": "max_pool", "name": POOL, "shape": (128, 6, 24, 24), "window": 2}


def conv_case(what: str) -> dict:
    return {
        "kind": "layer",
        "name": f"{CONV}, {what}",
        "operation": "conv",
        "shape": (LENET_BATCH, 1, 28, 28),
        "weight": LENET_CONVS[0],
        "stride": 1,
        "padding": 0,
        "pass": what,
        "flops": 2.0 * LENET_BATCH * 24**2 * math.prod(LENET_CONVS[0]),
    }


def affine_case(name: str, what: str) -> dict:
    """y = x Wᵀ + b, with the bias's gradient in the pass of the weight's."""
    rows, n_in, n_out = PRODUCTS[name]
    return {
        "kind": "affine",
        "name": f"{name}, {what}",
        "shape": (rows, n_in, n_out),
        "pass": what,
        "flops": 2.0 * rows * n_in * n_out,
    }


def tiny_case() -> dict:
    return {"kind": "tiny", "name": TINY, "ops": 100}
