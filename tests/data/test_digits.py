"""The embedded digits are what their README says."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from minidl import data
from minidl.data import datasets
from minidl.data.idx import packed, to_idx, unpacked


@pytest.mark.parametrize(("train", "per_digit"), [(True, 500), (False, 100)])
def test_shapes_types_and_classes(train, per_digit):
    images, labels = data.digits(train=train)
    assert images.shape == (10 * per_digit, 28, 28)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [per_digit] * 10
    assert images.max() == 255
    assert (images == 0).mean() > 0.7  # 0 is the background
    assert images.flags.writeable


def test_default_is_the_training_part():
    np.testing.assert_array_equal(data.digits()[1], data.digits(train=True)[1])


def test_classes_are_mixed():
    # A loader without shuffling, or a split, must not meet one digit after another.
    for train in (True, False):
        labels = data.digits(train)[1]
        for quarter in np.array_split(labels, 4):
            assert np.bincount(quarter, minlength=10).min() > 0.5 * len(quarter) / 10


def test_no_test_image_is_a_training_image():
    train, test = ({image.tobytes() for image in data.digits(part)[0]} for part in (True, False))
    assert not train & test


def test_a_nearest_centroid_reads_them():
    # Labels that belong to other images would give 10%.
    (x, y), (x_test, y_test) = data.digits(True), data.digits(False)
    x, x_test = (a.reshape(len(a), -1).astype(np.float32) for a in (x, x_test))
    centroids = np.stack([x[y == digit].mean(axis=0) for digit in range(10)])
    distances = (centroids**2).sum(axis=1) - 2 * x_test @ centroids.T
    assert (distances.argmin(axis=1) == y_test).mean() > 0.78


def test_size_and_readme():
    folder = Path(datasets.__file__).parent
    assert sum((folder / name).stat().st_size for name in datasets.DIGITS) < 800_000
    readme = (folder / "README.md").read_text()
    for name, digest in datasets.DIGITS.items():
        assert name in readme
        assert digest in readme
    assert "CC BY-SA" in readme or "Share Alike 3.0" in readme


def test_a_damaged_copy_is_named(tmp_path, monkeypatch):
    folder = Path(datasets.__file__).parent
    for name in datasets.DIGITS:
        shutil.copy(folder / name, tmp_path)
    shutil.copy(tmp_path / "digits-test-labels.gz", tmp_path / "digits-train-labels.gz")
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "datasets.py"))
    assert len(data.digits(False)[1]) == 1000
    with pytest.raises(ValueError, match=r"digits-train-labels\.gz is damaged"):
        data.digits(True)


def test_damaged_images_are_named(tmp_path, monkeypatch):
    folder = Path(datasets.__file__).parent
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "datasets.py"))
    name = "digits-test-images.gz"
    content = gzip.decompress((folder / name).read_bytes())
    shutil.copy(folder / "digits-test-labels.gz", tmp_path)
    for damaged in (
        content[:-1],
        content[:100],
        content[:3],
        content[:20] + b"\xff" + content[21:],
    ):
        (tmp_path / name).write_bytes(gzip.compress(damaged, 1))
        with pytest.raises(ValueError, match=r"digits-test-images\.gz is damaged"):
            data.digits(False)


@pytest.mark.parametrize("shape", [(0, 28, 28), (1, 1, 1), (3, 5, 7), (2, 28, 28)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_packed_images_come_back(shape, share):
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, shape).astype(np.uint8) * (rng.random(shape) < share)
    content = to_idx(images.astype(np.uint8))
    assert unpacked(packed(content)) == content


@pytest.mark.skipif("MINIDL_DATA" not in os.environ, reason="needs MINIDL_DATA with MNIST")
def test_tools_make_digits_makes_them():
    import hashlib
    import runpy

    tool = Path(__file__).parents[2] / "tools" / "make_digits.py"
    contents = runpy.run_path(str(tool))["contents"]()
    made = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert made == datasets.DIGITS
