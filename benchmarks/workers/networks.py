"""What the workers share for convolutions: the networks of a DCGAN case with their data, and the
operands of a single layer.

Arrays have PyTorch's axes: images (N, C, H, W), weights of a convolution (out, in, KH, KW) and
of a transposed one (in, out, KH, KW). This file runs on Python 3.10 too.
"""

from dataclasses import dataclass

import numpy as np
from base import normal

PASSES = ("forward", "input gradient", "weight gradient")  # of a layer, measured alone
NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)  # axes for transpose: from the other one


@dataclass
class Layer:
    """A (transposed) convolution without bias, BatchNorm if it has a gain, an activation."""

    operation: str
    weight: np.ndarray
    stride: int
    padding: int
    gain: np.ndarray | None
    activation: str | None

    @property
    def channels(self) -> tuple:
        """(in, out)"""
        a, b = self.weight.shape[:2]
        return (b, a) if self.operation == "conv" else (a, b)

    @property
    def initial(self) -> list:
        """The values of its parameters: weight, and BatchNorm's gain and shift."""
        return [self.weight] + ([] if self.gain is None else [self.gain, np.zeros_like(self.gain)])


class DCGANData:
    """Batches, noise and initial weights of a DCGAN case, from the .npz that the orchestrator
    wrote.
    """

    def __init__(self, case: dict) -> None:
        with np.load(case["data"]) as file:
            images, noise = file["images"], file["noise"]
            self.generator = layers(case["generator"], "generator", file)
            self.discriminator = layers(case["discriminator"], "discriminator", file)
        starts = range(0, len(images), case["batch"])
        batches = [images[s : s + case["batch"]] for s in starts]
        self.real = [(x / np.float32(127.5) - 1).astype(np.float32) for x in batches]
        self.noise = [np.ascontiguousarray(noise[s : s + case["batch"]]) for s in starts]
        self.lr, self.betas = case["lr"], tuple(case["betas"])
        self.steps_checked = case["steps_checked"]

    def __len__(self) -> int:
        return len(self.real)


def layers(described: list, network: str, file) -> list:
    return [
        Layer(
            each["operation"],
            file[f"{network}{i}.weight"],
            each["stride"],
            each["padding"],
            file[f"{network}{i}.gain"] if each["norm"] else None,
            each["activation"],
        )
        for i, each in enumerate(described)
    ]


def layer_operands(case: dict) -> tuple:
    """x, weight and gy of a layer case."""
    weight = normal(tuple(case["weight"]), 2) * np.float32(0.02)
    n, _, *size = case["shape"]
    stride, padding, kernel = case["stride"], case["padding"], case["weight"][2]
    if case["operation"] == "conv":
        out, size = weight.shape[0], [(s + 2 * padding - kernel) // stride + 1 for s in size]
    else:
        out, size = weight.shape[1], [(s - 1) * stride + kernel - 2 * padding for s in size]
    return normal(tuple(case["shape"]), 1), weight, normal((n, out, *size), 3)
