"""The real images, and how they are put to the networks: 28x28 bytes as 32x32 numbers from -1 to 1."""

import numpy as np

from minidl import data

DIGITS = [str(digit) for digit in range(10)]
CLOTHES = ["T-shirt", "trouser", "pullover", "dress", "coat"]
CLOTHES += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]

# What is loaded, the names of the classes, epochs of the GAN and of the classifier.
DATA = {
    "digits": (data.digits, DIGITS, 40, 12),
    "mnist": (data.mnist, DIGITS, 10, 3),
    "fashion": (data.fashion_mnist, CLOTHES, 15, 4),
}


def scaled(images: np.ndarray) -> np.ndarray:
    """Bytes (N, 28, 28) -> (N, 1, 32, 32) from -1 to 1, the range of tanh."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return padded[:, None].astype(np.float32) / np.float32(127.5) - np.float32(1)


def pixels(images: np.ndarray) -> np.ndarray:
    """The inverse of `scaled`: (N, 1, 32, 32) from -1 to 1 -> bytes (N, 28, 28)."""
    return np.rint((images[:, 0, 2:-2, 2:-2] + 1) * 127.5).clip(0, 255).astype(np.uint8)
