"""ImageFolder: classes, what is read as an image, sizes, and what is said of damaged files."""

import numpy as np
import pytest

from minidl import images
from minidl.data import DataLoader, ImageFolder, split, transforms

Image = pytest.importorskip("PIL.Image")
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    """Two classes; what is not an image, or hidden, beside them."""
    for name, count in (("b", 3), ("a", 2)):
        for i in range(count):
            path = tmp_path / name / ("deep" if i else "") / f"{i}.PNG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(COLOUR + 10 * i).save(path)
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / ".hidden.png").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").touch()
    return tmp_path


def test_classes_and_samples(root):
    folder = ImageFolder(root)
    assert folder.classes == ["a", "b"] and folder.class_to_index == {"a": 0, "b": 1}
    assert len(folder) == 5 and folder.labels.tolist() == [0, 0, 1, 1, 1]
    assert [p.relative_to(root).as_posix() for p in folder.paths[:2]] == ["a/0.PNG", "a/deep/1.PNG"]
    image, label = folder[0]
    assert image.dtype == np.uint8 and label == 0 and type(label) is int
    np.testing.assert_array_equal(image, COLOUR.transpose(2, 0, 1))
    assert [label for _, label in folder] == folder.labels.tolist()
    assert folder[-1][1] == 1 and repr(folder).endswith("5 images, 2 classes)")


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches(root, prefetch):
    x, y = next(iter(DataLoader(ImageFolder(str(root)), 4, prefetch=prefetch)))
    assert x.shape == (4, 3, 6, 8) and x.dtype == np.uint8
    assert y.tolist() == [0, 0, 1, 1] and y.dtype == np.int64
    train, rest = split(ImageFolder(root), (3, 2), rng=0)
    loader = DataLoader(train, 3, transform=transforms.ToFloat(), prefetch=prefetch)
    assert [(x.shape, x.dtype) for x, _ in loader] == [((3, 3, 6, 8), np.float32)]
    assert len(rest) == 2


def test_kinds_of_images(tmp_path):
    (tmp_path / "all").mkdir()
    grey = COLOUR[..., 0]
    clear = np.dstack([COLOUR, np.full((6, 8), 0, np.uint8)])
    palette = Image.new("P", (8, 6), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    expected = {
        "grey": (Image.fromarray(grey), np.repeat(grey[..., None], 3, 2)),
        "clear": (Image.fromarray(clear), np.full((6, 8, 3), 255)),
        "palette": (palette, np.full((6, 8, 3), [9, 8, 7])),
        "bits": (Image.new("1", (8, 6), 1), np.full((6, 8, 3), 255)),
        "deep": (Image.fromarray(np.full((6, 8), 0x1234, np.uint16)), np.full((6, 8, 3), 0x12)),
    }
    for name, (image, _) in expected.items():
        image.save(tmp_path / "all" / f"{name}.png")
    folder = ImageFolder(tmp_path)
    for path, (image, _) in zip(folder.paths, folder, strict=True):
        np.testing.assert_array_equal(image.transpose(1, 2, 0), expected[path.stem][1])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(COLOUR).save(tmp_path / "all" / "turned.png", exif=turned)
    assert ImageFolder(tmp_path)[len(expected)][0].shape == (3, 8, 6)


def test_sizes(root):
    Image.fromarray(np.zeros((20, 10, 3), np.uint8)).save(root / "a" / "tall.jpg")
    said = r"DataLoader: .*a.0.PNG has shape \(3, 6, 8\), .*tall.jpg \(3, 20, 10\).*ImageFolder\(root, size="
    with pytest.raises(ValueError, match=said):
        next(iter(DataLoader(ImageFolder(root), 4)))
    for folder in (ImageFolder(root, size=(5, 4)), ImageFolder(root, transforms.Resize((5, 4)))):
        ((x, _),) = DataLoader(folder, 6)
        assert x.shape == (6, 3, 5, 4) and x.dtype == np.uint8


def test_random_transforms_repeat(root):
    crop = transforms.Compose([transforms.RandomCrop(3), transforms.ToFloat()])
    folder = ImageFolder(root, crop)
    assert folder.random and not ImageFolder(root, transforms.Pad(1)).random

    def epoch(**more):
        return [x.tobytes() for x, _ in DataLoader(folder, 2, rng=0, **more)]

    assert epoch() == epoch(prefetch=2) != [x.tobytes() for x, _ in DataLoader(folder, 2, rng=1)]


def test_damaged_files_are_named(root):
    whole = (root / "a" / "0.PNG").read_bytes()
    for name, content in (("cut", whole[:-40]), ("text", b"hello"), ("empty", b"")):
        path = root / "a" / f"{name}.png"
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"images.read: .*{name}\.png is truncated, damaged or"
        ):
            list(DataLoader(ImageFolder(root), 2, prefetch=1))
        path.unlink()
    assert len(list(DataLoader(ImageFolder(root), 2))) == 3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda r: ImageFolder(r / "none"), FileNotFoundError, "root: .*none is not there"),
        (lambda r: ImageFolder(r / "README.md"), NotADirectoryError, "is not a folder"),
        (lambda r: ImageFolder(r / "b" / "deep"), ValueError, "has no folders in it: .*cat.1.jpg"),
        (lambda r: ImageFolder(r / "c"), ValueError, r"no pictures in .*c.empty or below \(\.jpg"),
        (lambda r: ImageFolder(3), TypeError, "root must be a string or a Path, got 3"),
        (lambda r: ImageFolder(r, 3), TypeError, "transform must be callable"),
        (lambda r: ImageFolder(r, size=0), ValueError, "ImageFolder: size"),
        (lambda r: ImageFolder(r)[5], IndexError, "index 5 of 5 images"),
        (lambda r: ImageFolder(r)["0"], TypeError, "ImageFolder: index must be an integer"),
        (
            lambda r: ImageFolder(r, lambda x: x[0])[0],
            ValueError,
            r"expected one image, \(1, ...\), for one of shape \(1, 3, 6, 8\), got shape \(3, 6, 8\)",
        ),
    ],
)
def test_what_is_wrong_is_said(root, make, error, message):
    (root / "c" / "empty").mkdir(parents=True)
    if (
        "ImageFolder(r" in message
        or error in (IndexError,)
        or "index must" in message
        or "one of" in message
    ):
        (root / "c" / "empty").rmdir()
        (root / "c").rmdir()
    with pytest.raises(error, match=message):
        make(root)


def test_without_pillow(root, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=r'images.read: .*pip install "minidl\[images\]"'):
        ImageFolder(root)[0]
    images.write(COLOUR, root / "still.png")
