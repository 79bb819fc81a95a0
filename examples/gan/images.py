"""The real images, and how the networks get them: bytes as numbers from -1 to 1.

Grey images of 28x28 bytes become 1x32x32 numbers, the coloured pictures of a folder 3x64x64.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan import folder
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
FOLDER = "folder:"  # and the path
LEAST = 16  # images, to train on and to compare with
HELD_OUT = 2000  # images at most that the samples are compared with


class Images(NamedTuple):
    """Images of bytes, (N, 28, 28) or (N, 64, 64, 3), to train on and to compare with.

    Without classes, labels are None and names is empty.
    """

    train: np.ndarray
    labels: np.ndarray | None
    held_out: np.ndarray
    held_out_labels: np.ndarray | None
    names: list[str]
    epochs: int  # a sensible number for the GAN
    classifier_epochs: int
    skipped: list[str]  # files that could not be read


def load(source: str, most: int | None, batch_size: int) -> Images:
    """The images of `source`, a name in DATA or "folder:PATH"; at most `most` to train on.

    Raises:
        SystemExit: there are too few, or none; the message says where and why.
    """
    if source.startswith(FOLDER):
        return _split(folder.load(Path(source.removeprefix(FOLDER)), most), most, batch_size)
    load, names, epochs, classifier_epochs = DATA[source]
    (images, labels), (test_images, test_labels) = load(), load(train=False)
    images, labels = images[:most], labels[:most]
    if len(images) < max(batch_size, LEAST):
        least = f"a batch ({batch_size})" if batch_size > LEAST else LEAST
        raise SystemExit(f"there are {len(images)} images, and {least} are needed")
    n = min(HELD_OUT, len(images))
    return Images(
        images, labels, test_images[:n], test_labels[:n], names, epochs, classifier_epochs, []
    )


def _split(pictures: folder.Pictures, most: int | None, batch_size: int) -> Images:
    """Holds out a tenth of the pictures, which are shuffled already."""
    images, labels, names, skipped = pictures
    least, n = max(batch_size, LEAST), len(images)
    if n < least + LEAST:
        raise SystemExit(
            f"there are {n} pictures, and {least + LEAST} are needed: {least} for a batch and "
            f"{LEAST} to compare with"
            + ("; a smaller --batch-size needs fewer" if batch_size > LEAST else "")
        )
    held = min(HELD_OUT, max(n // 10, LEAST))
    rows, others = slice(held, held + most if most else None), slice(held)
    if len(images[rows]) < least:
        raise SystemExit(f"--images {most}: a batch needs {least}")
    few = len(images[rows])
    # Some 10,000 steps of the GAN, and 1,000 of the classifier, unless there are too few pictures.
    epochs, classifier_epochs = np.clip([640_000 // few, 64_000 // few], [5, 3], [200, 30]).tolist()
    parts = (None, None) if labels is None else (labels[rows], labels[others])
    return Images(
        images[rows], parts[0], images[others], parts[1], names, epochs, classifier_epochs, skipped
    )


def scaled(images: np.ndarray) -> np.ndarray:
    """Bytes -> numbers from -1 to 1, the range of tanh.

    (N, 28, 28) -> (N, 1, 32, 32) with a margin; (N, H, W, 3) -> (N, 3, H, W).
    """
    if images.ndim == 3:
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None]
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return planes.astype(np.float32) / np.float32(127.5) - np.float32(1)


def pixels(images: np.ndarray) -> np.ndarray:
    """The inverse of `scaled`: numbers from -1 to 1 -> bytes."""
    found = np.rint((images + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return found[:, 0, 2:-2, 2:-2] if images.shape[1] == 1 else found.transpose(0, 2, 3, 1)


def flat(images: np.ndarray) -> np.ndarray:
    """Bytes -> one row per image, for comparisons. Of coloured pictures, blocks of 4x4 pixels are averaged:
    details do not count, and there may be 100,000 pictures to search.
    """
    if images.ndim == 3:
        return images.reshape(len(images), -1)
    n, height, width, channels = images.shape
    rows = np.empty((n, height // 4 * (width // 4) * channels), np.uint8)
    for i in range(0, n, 1000):
        blocks = images[i : i + 1000].reshape(-1, height // 4, 4, width // 4, 4, channels)
        rows[i : i + 1000] = np.rint(blocks.mean(axis=(2, 4))).reshape(-1, rows.shape[1])
    return rows
