"""Makes the images that `minidl.data.digits` gives: ``python tools/make_digits.py``.

Of each digit, 500 of the official MNIST training images and 100 of the test images: those whose
pixels have the smallest sha256. That is as good as a random draw, and the same on every machine and
with every version of NumPy. (Not the first ones of the file: MNIST's first 5,000 test images are
easier than its last 5,000.) They stay in the order of the source. They are compressed by zopfli
(``pip install zopfli``), which writes gzip files too, 3 % smaller than zlib does. `digits` checks
the uncompressed bytes.
"""

import hashlib
from pathlib import Path

import numpy as np

import minidl.data
from minidl.data.idx import packed, to_idx

FOLDER = Path(minidl.data.__file__).parent
PER_DIGIT = {"train": 500, "test": 100}


def chosen(images: np.ndarray, labels: np.ndarray, per_digit: int) -> np.ndarray:
    """The row numbers of the images chosen, ascending."""
    digests = np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in images])
    rows = []
    for digit in range(10):
        candidates = np.flatnonzero(labels == digit)
        rows.append(candidates[np.argsort(digests[candidates], kind="stable")[:per_digit]])
    return np.sort(np.concatenate(rows))


def contents() -> dict[str, bytes]:
    """The uncompressed IDX files by name."""
    files = {}
    for part, per_digit in PER_DIGIT.items():
        images, labels = minidl.data.mnist(train=part == "train")
        rows = chosen(images, labels, per_digit)
        files[f"digits-{part}-images.gz"] = to_idx(images[rows])
        files[f"digits-{part}-labels.gz"] = to_idx(labels[rows].astype(np.uint8))
    return files


if __name__ == "__main__":
    import zopfli.gzip  # (tests that only ask for the contents do without it)

    for name, content in contents().items():
        stored = packed(content) if "images" in name else content
        (FOLDER / name).write_bytes(zopfli.gzip.compress(stored, numiterations=100))
        size = (FOLDER / name).stat().st_size
        print(f'    "{name}": "{hashlib.sha256(content).hexdigest()}",  # {size:,} bytes')
