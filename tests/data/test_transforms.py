"""Transforms of batches of images: what they compute, with Pillow and NumPy as oracles."""

import numpy as np
import pytest

import minidl as md
from minidl import data
from minidl.data import transforms as T

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (5, 3, 6, 8), dtype=np.uint8)
FLOATS = BYTES.astype(np.float32) / 255
GREY = BYTES[:, 0]

SHAPES = {
    "ToFloat": (T.ToFloat(), (6, 8)),
    "Pad": (T.Pad((1, 2)), (8, 12)),
    "CenterCrop": (T.CenterCrop((3, 4)), (3, 4)),
    "RandomCrop": (T.RandomCrop(5, padding=(0, 1)), (5, 5)),
    "RandomHorizontalFlip": (T.RandomHorizontalFlip(), (6, 8)),
    "Resize": (T.Resize((3, 5)), (3, 5)),
    "Resize shorter": (T.Resize(3), (3, 4)),
    "Lambda": (T.Lambda(lambda x: x[..., ::2, :]), (3, 8)),
    "Compose": (T.Compose([T.Pad(1), lambda x: x[..., 1:]]), (8, 9)),
}


@pytest.mark.parametrize(
    "x", [BYTES, GREY, FLOATS, BYTES[:0]], ids=["bytes", "grey", "floats", "none"]
)
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_types_and_that_x_is_left_alone(name, x):
    if "Resize" in name:
        pytest.importorskip("PIL")
    transform, size = SHAPES[name]
    before = x.copy()
    y = transform(x, rng=0)
    assert y.shape == (*x.shape[:-2], *size)
    assert y.dtype == (np.float32 if name == "ToFloat" else x.dtype)
    assert (x == before).all()
    if y.size and y.shape == x.shape and name != "ToFloat":
        y[...] = 0
        assert (x == before).all()


def test_to_float():
    y = T.ToFloat()(BYTES)
    assert y.dtype == np.float32 and (y == BYTES.astype(np.float32) / np.float32(255)).all()
    assert T.ToFloat()(np.full((1, 2, 2), 65535, np.uint16)).max() == 1
    assert T.ToFloat()(np.ones((1, 2, 2), bool)).dtype == np.float32
    assert T.ToFloat()(FLOATS.astype(np.float64)).dtype == np.float32


def test_normalize():
    y = T.Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 4.0])(FLOATS)
    expected = (FLOATS - np.float32([[[0.1]], [[0.2]], [[0.3]]])) / np.float32(
        [[[1]], [[2]], [[4]]]
    )
    assert y.dtype == np.float32 and (y == expected).all()
    grey = T.Normalize(0.5, 0.25)
    assert grey(FLOATS[:, 0]).shape == FLOATS[:, 0].shape
    np.testing.assert_array_equal(grey(FLOATS)[:, 0], grey(FLOATS[:, 0]))


@pytest.mark.parametrize("resample", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(3, 5), (9, 13)])
def test_resize_is_pillows(size, resample):
    Image = pytest.importorskip("PIL.Image")
    how = Image.Resampling[resample.upper()]
    y = T.Resize(size, resample)(BYTES)
    for image, found in zip(BYTES, y, strict=True):
        expected = Image.fromarray(image.transpose(1, 2, 0)).resize(size[::-1], how)
        np.testing.assert_array_equal(found, np.asarray(expected).transpose(2, 0, 1))
    close = T.Resize(size, resample)(FLOATS)
    assert close.dtype == np.float32
    if resample in (
        "nearest",
        "box",
        "bilinear",
    ):  # the others go beyond the range, which bytes cannot
        assert abs(close - y / 255).max() < 0.005
    # Other strides, such as those of channels that lie innermost.
    np.testing.assert_array_equal(T.Resize(size, resample)(np.asfortranarray(BYTES)), y)


def test_resize_of_the_shorter_side():
    pytest.importorskip("PIL")
    assert T.Resize(4)(np.zeros((1, 5, 9), np.uint8)).shape == (1, 4, 7)
    assert T.Resize(4)(np.zeros((1, 9, 5), np.uint8)).shape == (1, 7, 4)
    assert T.Resize([4])(np.zeros((1, 4, 8), np.uint8)).shape == (1, 4, 8)


def test_resize_without_pillow(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=r'Resize: Pillow is missing.*"minidl\[images\]"'):
        T.Resize(2)(BYTES)


def test_grayscale_is_pillows():
    y = T.Grayscale()(BYTES)
    assert y.shape == (5, 1, 6, 8) and y.dtype == np.uint8
    three = T.Grayscale(3)(BYTES)
    assert three.shape == BYTES.shape and all((three[:, i] == y[:, 0]).all() for i in range(3))
    floats = T.Grayscale()(FLOATS)
    assert floats.dtype == np.float32 and abs(floats - y / 255).max() < 0.003
    assert T.Grayscale()(GREY).shape == (5, 1, 6, 8)  # the axis of channels
    Image = pytest.importorskip("PIL.Image")
    for image, found in zip(BYTES, y, strict=True):
        np.testing.assert_array_equal(
            found[0], Image.fromarray(image.transpose(1, 2, 0)).convert("L")
        )


def test_center_crop_and_pad():
    x = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    np.testing.assert_array_equal(T.CenterCrop((3, 3))(x), x[:, 1:4, 2:5])
    np.testing.assert_array_equal(
        T.CenterCrop((2, 4))(x), x[:, 2:4, 2:6]
    )  # round(1.5), as torchvision
    y = T.Pad((1, 0), value=9)(BYTES)
    assert (y[:, :, 0] == 9).all() and (y[:, :, -1] == 9).all() and (y[:, :, 1:-1] == BYTES).all()


@pytest.mark.parametrize("x", [BYTES, GREY], ids=["colour", "grey"])
def test_random_crop_takes_a_window_of_each_image(x):
    many = np.repeat(x[:1], 300, axis=0)
    y = T.RandomCrop((4, 6))(many, rng=0)
    windows = {
        (r, c): x[0][..., r : r + 4, c : c + 6].tobytes() for r in range(3) for c in range(3)
    }
    counts = [sum(image.tobytes() == window for image in y) for window in windows.values()]
    assert sum(counts) == 300 and min(counts) > 10  # all nine places, and nothing else
    padded = T.RandomCrop((6, 8), padding=1)(many, rng=0)
    assert (padded == 0).any(axis=(1, 2) if x.ndim == 3 else (1, 2, 3)).any()


def test_flips_about_half():
    many = np.repeat(BYTES[:1], 400, axis=0)
    y = T.RandomHorizontalFlip()(many, rng=0)
    same = (y == many).all(axis=(1, 2, 3))
    mirrored = (y == many[..., ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all() and 150 < same.sum() < 250
    assert (T.RandomHorizontalFlip(0)(BYTES) == BYTES).all()
    assert (T.RandomHorizontalFlip(1)(GREY) == GREY[..., ::-1]).all()


def test_generators():
    crop = T.RandomCrop(2)
    np.testing.assert_array_equal(crop(BYTES, rng=3), crop(BYTES, rng=np.random.default_rng(3)))
    md.manual_seed(3)
    np.testing.assert_array_equal(crop(BYTES), crop(BYTES, rng=3))
    assert [t.random for t in (crop, T.Pad(1), T.Compose([T.Pad(1)]), T.Compose([crop]))] == [
        True, False, False, True,
    ]  # fmt: skip
    np.testing.assert_array_equal(crop(BYTES, np.random.default_rng(3)), crop(BYTES, rng=3))
    assert crop(BYTES, "labels", np.random.default_rng(3))[1:] == ("labels",)


def test_labels_pass_through_the_loader():
    labels = np.arange(5)
    y, kept, more = T.ToFloat()(BYTES, labels, "more")
    assert kept is labels and more == "more" and y.dtype == np.float32
    loader = data.DataLoader((BYTES, labels), 2, transform=T.Compose([T.ToFloat(), T.Pad(1)]))
    assert [(x.shape, t.tolist()) for x, t in loader][-1] == ((1, 3, 8, 10), [4])
    (only,) = next(iter(data.DataLoader(BYTES, 5, transform=T.ToFloat())))
    assert only.shape == BYTES.shape


def test_the_last_function_may_give_something_else():
    flat = T.Compose([T.ToFloat(), lambda x: x.reshape(len(x), -1)])
    assert flat(BYTES).shape == (5, 144)
    with pytest.raises(ValueError, match=r"Pad: expected a batch of images.* \(5, 144\)"):
        T.Compose([flat, T.Pad(1)])(BYTES)


def test_what_it_is_can_be_printed():
    chain = T.Compose([T.Resize(4, "box"), T.Normalize((0.1, 0.2, 0.3), 0.5)])
    assert repr(chain) == (
        "Compose([Resize(4, 'box'), Normalize(mean=(0.1, 0.2, 0.3), std=(0.5,))])"
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.ToFloat()(np.zeros((4, 4))), ValueError, r"ToFloat: .*\(4, 4\); for one image"),
        (lambda: T.ToFloat()(np.zeros((1, 2, 2), int)), TypeError, "ToFloat: .*got int64"),
        (lambda: T.ToFloat()(np.array([[["a"]]])), ValueError, "ToFloat: expected a batch"),
        (lambda: T.Normalize(0.5, 0.5)(BYTES), TypeError, r"got uint8: put ToFloat\(\) before"),
        (
            lambda: T.Normalize([0.5] * 3, 0.5)(FLOATS[:, 0]),
            ValueError,
            r"mean has 3 values, images of shape \(5, 6, 8\) have 1 channel",
        ),
        (lambda: T.Normalize(0.5, [1, 0, 1]), ValueError, "std must be greater than 0"),
        (lambda: T.Normalize([], 1), ValueError, "mean must not be empty"),
        (lambda: T.Resize(0), ValueError, "Resize: size"),
        (lambda: T.Resize((1, 2, 3)), ValueError, r"Resize: size must be an int or \(rows"),
        (lambda: T.Resize(2, "cubic"), ValueError, "Resize: resample: expected one of 'nearest'"),
        (lambda: T.Resize(2)(np.zeros((1, 2, 2), int)), TypeError, "Resize: .*got int64"),
        (lambda: T.Resize(2)(np.zeros((1, 0, 2))), ValueError, "have no pixels"),
        (
            lambda: T.CenterCrop(7)(BYTES),
            ValueError,
            r"CenterCrop: size \(7, 7\) is larger than the images, \(6, 8\)",
        ),
        (lambda: T.RandomCrop(9)(BYTES), ValueError, r"RandomCrop: size \(9, 9\) is larger"),
        (lambda: T.RandomHorizontalFlip(1.5), ValueError, "RandomHorizontalFlip: p"),
        (lambda: T.Pad(-1), ValueError, "Pad: padding"),
        (lambda: T.Pad(1, value=300)(BYTES), ValueError, "Pad: value 300 does not fit into uint8"),
        (lambda: T.Pad(1, value=0.5)(BYTES), ValueError, "Pad: value 0.5 does not fit into uint8"),
        (lambda: T.Grayscale(2), ValueError, "Grayscale: channels must be 1 or 3"),
        (lambda: T.Grayscale()(np.zeros((1, 2, 3, 3))), ValueError, "expected 1 or 3 channels"),
        (lambda: T.Compose([T.Pad(1), 3]), TypeError, "Compose: transforms .*got 3"),
        (lambda: T.Compose([T.ToFloat]), TypeError, "Compose: transforms: ToFloat is a class"),
        (lambda: T.Compose(T.Pad(1)), TypeError, "Compose: transforms must be a sequence"),
        (lambda: T.Lambda(lambda x: x[:2])(BYTES), ValueError, r"shape \(2, 3, 6, 8\) for 5 images"),
        (lambda: T.Transform()(BYTES), NotImplementedError, r"apply\(x, rng\) is missing"),
        (lambda: T.ToTensor, AttributeError, r"here it is transforms.ToFloat\(\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
