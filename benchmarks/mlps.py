"""The cases with multilayer perceptrons: their data, their weights, and what a step of one costs at least."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np

SAMPLES = 4096  # MNIST images that the cases with 784 inputs cycle over
STEPS_CHECKED = 20

MLPS = {
    "784-100-10, batch 32": ([784, 100, 10], 32),
    "784-256-256-10, batch 128": ([784, 256, 256, 10], 128),
    "784-1024-1024-10, batch 256": ([784, 1024, 1024, 10], 256),
}


def mlp_case(
    inputs: Path,
    name: str,
    widths: list[int],
    batch: int,
    checked: int = STEPS_CHECKED,
    activation: str = "relu",
    dtype: str = "float32",
    adam: bool = True,
) -> dict:
    """Training steps with Adam and cross-entropy; without `adam` only the gradient of the loss."""
    if widths[0] == 784:
        data = digits_file(inputs)
    else:
        data = points_file(inputs, widths[0], widths[-1], batch, dtype)
    return {
        "kind": "mlp",
        "name": name,
        "widths": widths,
        "batch": batch,
        "activation": activation,
        "dtype": dtype,
        "adam": adam,
        "data": str(data),
        "weights": str(weights_file(inputs, widths, dtype)),
        "steps_checked": checked,
        "flops": mlp_flops(widths, batch) * (2 if dtype == "float64" else 1),
    }


def mlp_flops(widths: list[int], batch: int) -> float:
    """Forward, weight gradients, and input gradients of all layers but the first; without biases and
    Adam. (One in float64 takes as long as two in float32, and is counted so.)
    """
    products = [batch * a * b for a, b in pairwise(widths)]
    return 2.0 * (3 * sum(products) - products[0])


def digits(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n embedded MNIST images, uint8, (n, 784), and their labels: real data, the same for all."""
    from minidl.data import (
        digits as embedded,
    )  # here: workers that import this file may have no minidl

    images, labels = embedded()
    return images.reshape(-1, 784)[:n], labels[:n].astype(np.uint8)


def digits_file(inputs: Path) -> Path:
    """MNIST images as float32 in [0, 1], and their labels."""
    target = inputs / "digits.npz"
    if not target.exists():
        images, labels = digits(SAMPLES)
        x = images.astype(np.float32) / 255
        np.savez(target, images=x, labels=labels.astype(np.int32))
    return target


def points_file(inputs: Path, features: int, classes: int, batch: int, dtype: str) -> Path:
    """Points from N(0, 1), labelled by the largest of some random linear functions: 4 to 64 batches."""
    count = batch * max(4, min(64, SAMPLES // batch))
    target = inputs / f"points-{features}-{classes}-{count}-{dtype}.npz"
    if not target.exists():
        rng = np.random.default_rng(0)
        x = rng.standard_normal((count, features))
        labels = np.argmax(x @ rng.standard_normal((features, classes)), axis=1)
        np.savez(target, images=x.astype(dtype), labels=labels.astype(np.int32))
    return target


def weights_file(inputs: Path, widths: list[int], dtype: str = "float32") -> Path:
    """Initial weights (out, in) and biases, uniform with bound 1/sqrt(in)."""
    target = inputs / f"weights-{'-'.join(map(str, widths))}-{dtype}.npz"
    if not target.exists():
        rng = np.random.default_rng(0)
        arrays: dict = {}
        for i, (a, b) in enumerate(pairwise(widths)):
            bound = 1 / math.sqrt(a)
            arrays[f"w{i}"] = rng.uniform(-bound, bound, (b, a)).astype(dtype)
            arrays[f"b{i}"] = rng.uniform(-bound, bound, b).astype(dtype)
        np.savez(target, **arrays)
    return target
