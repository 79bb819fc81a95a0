"""make_grid and save_image: where pixels go, and that values outside of the range are not drawn."""

from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import data, images

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("columns", [1, 2, 3, 8])
@pytest.mark.parametrize("gap", [0, 1, 3])
@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 1, 4, 6), (5, 3, 4, 6)])
def test_each_image_is_at_its_place(shape, gap, columns):
    batch = RNG.integers(0, 256, shape, dtype=np.uint8)
    grid = images.make_grid(batch, columns, gap, background=7)
    across = min(columns, 5)
    rows = -(-5 // across)
    size = (rows * (4 + gap) + gap, across * (6 + gap) + gap)
    assert grid.dtype == np.uint8
    assert grid.shape == (*size, 3) if shape[1] == 3 else grid.shape == size
    seen = np.zeros(size, bool)
    for i in range(5):
        y, x = gap + i // across * (4 + gap), gap + i % across * (6 + gap)
        here = grid[y : y + 4, x : x + 6]
        image = batch[i].transpose(1, 2, 0) if shape[1] == 3 else batch[i].reshape(4, 6)
        np.testing.assert_array_equal(here, image)
        seen[y : y + 4, x : x + 6] = True
    assert (grid[~seen] == 7).all()


@pytest.mark.parametrize(
    "make", [np.asarray, md.Tensor, lambda x: md.Tensor(x, requires_grad=True)]
)
def test_values_become_bytes(make):
    x = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16)
    every = np.arange(256).reshape(16, 16)
    np.testing.assert_array_equal(images.make_grid(make(x), padding=0), every)
    np.testing.assert_array_equal(
        images.make_grid(make(2 * x - 1), padding=0, value_range=(-1, 1)), every
    )
    bytes_ = every[None].astype(np.uint8)
    for same in (bytes_, bytes_.astype(int), md.Tensor(bytes_)):
        np.testing.assert_array_equal(images.make_grid(same, padding=0), every)
    assert images.make_grid(np.eye(2, dtype=bool)[None], padding=0).tolist() == [[255, 0], [0, 255]]
    # What rounding adds is not worth an error: undone normalisations end a little beyond 1.
    assert images.make_grid(np.full((1, 1, 1), np.float32(1.000001)), padding=0) == 255


@pytest.mark.parametrize(
    ("values", "value_range", "message"),
    [
        ([-0.9, 0.8], None, r"from -0.9 to 0.8, outside of value_range \(0, 1\).*=\(-1, 1\)"),
        ([0.0, 254.0], None, r"from 0 to 254, outside of .*\(0, 1\).* pass value_range=\(0, 255\)"),
        ([-2.1, 2.6], None, r"from -2.1 to 2.6, .*undo a normalisation first"),
        ([-1.2, 0.0], (-1, 1), r"from -1.2 to 0, outside of value_range \(-1, 1\)"),
        ([0.0, 1.001], None, r"from 0 to 1.001, outside of value_range \(0, 1\)"),
        ([0.0, np.inf], None, "from 0 to inf, outside"),
        ([0.0, np.nan], None, "1 of 2 values are NaN"),
    ],
)
def test_values_outside_of_the_range(tmp_path, values, value_range, message):
    batch = np.array(values, np.float32).reshape(1, 1, 2)
    path = tmp_path / "a.png"
    for call in (
        lambda: images.make_grid(batch, value_range=value_range),
        lambda: images.save_image(batch, path, value_range=value_range),
    ):
        with pytest.raises(ValueError, match=f"make_grid: .*{message}"):
            call()
    assert not path.exists()


@pytest.mark.parametrize(
    ("batch", "more", "error", "message"),
    [
        (np.zeros((2, 2)), {}, ValueError, r"\(2, 2\); for one image: image\[None\]"),
        (np.zeros((2, 2, 2, 2)), {}, ValueError, r"got shape \(2, 2, 2, 2\)$"),
        (np.zeros((2, 9, 9, 3)), {}, ValueError, r"come last: batch.transpose\(0, 3, 1, 2\)"),
        (np.zeros((0, 3, 2, 2)), {}, ValueError, r"no images in an array of shape \(0, 3"),
        (np.array([[["a"]]]), {}, TypeError, "expected numbers"),
        (np.zeros((1, 2, 2)), {"value_range": (1, 0)}, ValueError, "the smaller one first"),
        (np.zeros((1, 2, 2)), {"value_range": (0, 1, 2)}, ValueError, "must be two numbers"),
        (np.zeros((1, 2, 2)), {"value_range": 1}, TypeError, "two numbers"),
        (np.zeros((1, 2, 2)), {"columns": 0}, ValueError, "columns"),
        (np.zeros((1, 2, 2)), {"padding": -1}, ValueError, "padding"),
        (np.zeros((1, 2, 2)), {"background": 256}, ValueError, "background"),
    ],
)
def test_what_is_wrong_is_said(batch, more, error, message):
    with pytest.raises(error, match=f"make_grid: .*{message}"):
        images.make_grid(batch, **more)


def test_save_image_writes_the_grid(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for batch in (RNG.random((3, 1, 4, 5)), RNG.random((3, 3, 4, 5))):
        images.save_image(batch * 2 - 1, tmp_path / "a.png", 2, 1, (-1, 1))
        with Image.open(tmp_path / "a.png") as file:
            found = np.asarray(file)
        np.testing.assert_array_equal(found, images.make_grid(batch, 2, 1))


def test_the_picture_on_the_page_is_what_its_code_draws():
    pytest.importorskip("PIL")
    path = Path(__file__).resolve().parents[2] / "docs" / "images" / "data" / "grid.png"
    expected = images.make_grid(data.digits()[0][:24], columns=12, background=90)
    np.testing.assert_array_equal(images.read(path)[..., 0], expected)
