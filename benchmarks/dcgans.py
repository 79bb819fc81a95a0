"""The cases with convolutions: whole steps of two DCGANs, and single layers.

The networks are those of the paper (Radford, Metz & Chintala, ICLR 2016), as in examples/dcgan.py.
The workers get them as lists of layers; images, noise and initial weights are in one .npz, the same
for all.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from mlps import digits

BATCH = 64
# Adam's first steps are the sign of the gradient, whatever its size: where it is near zero, rounding
# decides, and the losses drift apart, in a GAN faster than in a classifier. PyTorch's own with the
# two memory layouts are 1e-3 apart after some steps. Hence a strict limit for the losses of the first
# step, D's before and G's after an update of D, and a looser one for those of the first five.
STEPS_CHECKED = 5
TOLERANCES = [(2, 1e-4), (None, 1e-2)]
BATCHES_KEPT = {32: 16, 64: 8}  # different batches that a run cycles over, by size of the image
RATES = {"lr": 2e-4, "betas": (0.5, 0.999)}

# name: channels and size of the images, numbers of noise, width of both networks
DCGANS = {
    "1x32x32, batch 64": (1, 32, 64, 32),
    "3x64x64, batch 64": (3, 64, 100, 64),
}
# name: (operation, channels in, channels out, size of x, kernel, stride); padding 1 throughout
LAYERS = {
    "conv 4x4 stride 2, 64 to 128 at 32x32": ("conv", 64, 128, 32, 4, 2),
    "conv_transpose 4x4 stride 2, 128 to 64 at 16x16": ("conv_transpose", 128, 64, 16, 4, 2),
    "conv 3x3, 64 to 64 at 32x32": ("conv", 64, 64, 32, 3, 1),
    "conv 3x3, 128 to 128 at 16x16": ("conv", 128, 128, 16, 3, 1),
}


def dcgan_case(inputs: Path, name: str, checked: int = STEPS_CHECKED) -> dict:
    channels, size, nz, width = DCGANS[name]
    networks = {
        "generator": generator(nz, width, channels, size),
        "discriminator": discriminator(width, channels, size),
    }
    return {
        "kind": "dcgan",
        "name": name,
        "batch": BATCH,
        "data": str(data_file(inputs, channels, size, nz, networks)),
        "steps_checked": checked,
        "tolerances": TOLERANCES,
        "flops": step_flops(networks, size),
        **networks,
        **RATES,
    }


def generator(nz: int, width: int, channels: int, size: int) -> list[dict]:
    """Noise (N, nz, 1, 1) -> images (N, channels, size, size)."""
    n = width * size // 8
    layers = [layer("conv_transpose", nz, n, 1, 0, True, "relu")]
    while n > width:
        layers.append(layer("conv_transpose", n, n // 2, 2, 1, True, "relu"))
        n //= 2
    return [*layers, layer("conv_transpose", width, channels, 2, 1, False, "tanh")]


def discriminator(width: int, channels: int, size: int) -> list[dict]:
    """Images -> scores (N, 1, 1, 1)."""
    n, layers = width, [layer("conv", channels, width, 2, 1, False, "leaky_relu")]
    while n < width * size // 8:
        layers.append(layer("conv", n, 2 * n, 2, 1, True, "leaky_relu"))
        n *= 2
    return [*layers, layer("conv", n, 1, 1, 0, False, None)]


def layer(
    operation: str, n_in: int, n_out: int, stride: int, padding: int, norm: bool, activation
) -> dict:
    """A 4x4 (transposed) convolution without bias, BatchNorm if `norm`, an activation."""
    return {
        "operation": operation,
        "in": n_in,
        "out": n_out,
        "stride": stride,
        "padding": padding,
        "norm": norm,
        "activation": activation,
    }


def step_flops(networks: dict[str, list[dict]], size: int) -> float:
    """The products that a step needs at least: G forward; D forward on real, on fake, and on
    fake once more; D's weight gradients for both, and input gradients of all layers but the first;
    then the input gradients of all of D, and both gradients of G (no input gradient of its first).
    """
    d = products(networks["discriminator"], size)
    g = products(networks["generator"], 1)
    return 2.0 * BATCH * (3 * sum(g) - g[0] + 8 * sum(d) - 2 * d[0])


def products(layers: list[dict], size: int) -> list[int]:
    """Multiplications of each layer, for one image."""
    counts = []
    for each in layers:
        # Each pixel of a conv's result, or of a conv_transpose's input, uses all taps of the kernel.
        if each["operation"] == "conv":
            size = (size + 2 * each["padding"] - 4) // each["stride"] + 1
        counts.append(each["in"] * each["out"] * 16 * size * size)
        if each["operation"] == "conv_transpose":
            size = (size - 1) * each["stride"] + 4 - 2 * each["padding"]
    return counts


def data_file(
    inputs: Path, channels: int, size: int, nz: int, networks: dict[str, list[dict]]
) -> Path:
    """Images (uint8), noise, and initial weights as usual in DCGANs: N(0, 0.02), gains of BatchNorm
    N(1, 0.02).
    """
    target = inputs / f"dcgan-{channels}x{size}x{size}.npz"
    if not target.exists():
        rng = np.random.default_rng(0)
        n = BATCHES_KEPT[size] * BATCH
        arrays: dict = {
            "images": padded_digits(n) if channels == 1 else pictures(n, channels, size, rng),
            "noise": rng.standard_normal((n, nz, 1, 1), np.float32),
        }
        for name, layers in networks.items():
            for i, each in enumerate(layers):
                pair = (each["in"], each["out"])
                shape = (*(pair if each["operation"] == "conv_transpose" else pair[::-1]), 4, 4)
                arrays[f"{name}{i}.weight"] = rng.normal(0, 0.02, shape).astype(np.float32)
                if each["norm"]:
                    arrays[f"{name}{i}.gain"] = rng.normal(1, 0.02, pair[1]).astype(np.float32)
        np.savez(target, **arrays)
    return target


def padded_digits(n: int) -> np.ndarray:
    """The first embedded MNIST images, padded to (n, 1, 32, 32)."""
    images = digits(n)[0].reshape(-1, 1, 28, 28)
    return np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2)])


def pictures(n: int, channels: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth coloured pictures: random amplitudes of a few low frequencies."""
    k = np.arange(6)
    waves = np.cos(math.pi * k[:, None] * (np.arange(size) + 0.5) / size)
    amplitudes = rng.normal(0, 1, (n, channels, 6, 6)) / (1 + k[:, None] + k)
    x = np.tanh(waves.T @ amplitudes @ waves)
    return np.round(127.5 * (x + 1)).astype(np.uint8)


def layer_case(name: str) -> dict:
    operation, n_in, n_out, size, kernel, stride = LAYERS[name]
    pair = (n_in, n_out) if operation == "conv_transpose" else (n_out, n_in)
    pixels = (size // stride if operation == "conv" else size) ** 2
    return {
        "kind": "layer",
        "name": name,
        "operation": operation,
        "shape": (BATCH, n_in, size, size),
        "weight": (*pair, kernel, kernel),
        "stride": stride,
        "padding": 1,
        # forward, input gradient and weight gradient are as many multiplications each
        "flops": 3 * 2.0 * BATCH * pixels * n_in * n_out * kernel**2,
    }
