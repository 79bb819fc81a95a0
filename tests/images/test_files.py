"""Picture files: written by hand or by Pillow, read by Pillow."""

import sys

import numpy as np
import pytest

from minidl import images

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


@pytest.mark.parametrize("ending", [".png", ".PNG", ".bmp", ".tif", ".ppm"])
@pytest.mark.parametrize("picture", [COLOUR, GREY, GREY.T, COLOUR[:1, :1]])
def test_what_is_written_is_read(tmp_path, picture, ending):
    Image = pytest.importorskip("PIL.Image")
    path = tmp_path / f"a{ending}"
    images.write(picture, path)
    with Image.open(path) as file:
        assert file.mode == ("L" if picture.ndim == 2 else "RGB")
        file.verify()
    expected = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    np.testing.assert_array_equal(images.read(path), expected)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_lossy_formats(tmp_path):
    pytest.importorskip("PIL")
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    for ending in (".jpg", ".webp"):
        images.write(smooth, tmp_path / f"a{ending}")
        assert abs(images.read(tmp_path / f"a{ending}").astype(int) - smooth).max() < 8


def test_sizes(tmp_path):
    pytest.importorskip("PIL")
    wide = np.zeros((50, 170, 3), np.uint8)
    wide[:, 50:120] = (220, 30, 30)
    images.write(wide, tmp_path / "a.png")
    assert (images.read(tmp_path / "a.png", 40) == (220, 30, 30)).all()  # the middle
    assert images.read(tmp_path / "a.png", (20, 30)).shape == (20, 30, 3)
    large = np.full((400, 500, 3), 90, np.uint8)
    images.write(large, tmp_path / "a.jpg")
    assert images.read(str(tmp_path / "a.jpg"), 32).shape == (32, 32, 3)
    with pytest.raises(ValueError, match=r"images.read: size must be an int or \(height, width\)"):
        images.read(tmp_path / "a.png", (1, 2, 3))


def test_the_middle_is_taken_upright_on_white_in_colour(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    wide = np.zeros((50, 170, 3), np.uint8)
    wide[:, 50:120] = (
        220,
        30,
        30,
    )  # beyond the middle square there is some more of it: edges are blurred
    path = tmp_path / "a.png"

    def read(image, **options):
        image.save(path, **options)
        found = images.read(path, 64)
        assert found.shape == (64, 64, 3) and found.dtype == np.uint8
        return found

    assert (read(Image.fromarray(wide)) == (220, 30, 30)).all()
    assert (read(Image.fromarray(wide.transpose(1, 0, 2).copy())) == (220, 30, 30)).all()
    half = Image.fromarray(np.repeat(np.uint8([[0] * 32 + [200] * 32]), 64, axis=0))
    grey = read(half)
    assert (grey[:, 40:] == 200).all() and (grey[:, :24] == 0).all()
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned: what is left belongs on top
    upright = read(half, exif=turned)
    assert (upright[:24] == 0).all() and (upright[40:] == 200).all()
    assert (read(Image.new("RGBA", (70, 70), (0, 0, 0, 0))) == 255).all()
    palette = Image.new("P", (70, 70), 1)
    palette.putpalette([0, 0, 0, 220, 30, 30])
    assert (read(palette) == (220, 30, 30)).all()
    assert (read(palette, transparency=1) == 255).all()
    path = tmp_path / "a.jpg"
    large = read(Image.new("CMYK", (1000, 800), (0, 255, 255, 0)))
    assert (large[..., 0] > 240).all() and (large[..., 1:] < 15).all()


def test_png_needs_no_library_and_others_say_what_they_need(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    images.write(COLOUR, tmp_path / "a.png")
    for call in (lambda: images.write(COLOUR, tmp_path / "a.jpg"), lambda: images.read("a.png")):
        with pytest.raises(ModuleNotFoundError, match=r'Pillow is missing.*"minidl\[images\]"'):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("picture", "name", "error", "message"),
    [
        (COLOUR / 255, "a.png", TypeError, r"expected bytes \(uint8\), got float64; .*save_image"),
        (COLOUR.transpose(2, 0, 1), "a.png", ValueError, r"\(H, W, 3\), got shape \(3, 6, 9\)"),
        (GREY[:0], "a.png", ValueError, r"got shape \(0, 9\)"),
        (GREY, "a.xyz", ValueError, r"one of the endings \.jpg, .*got '.*a\.xyz'"),
        (GREY, "no/a.png", FileNotFoundError, "its folder .*no is not there"),
    ],
)
def test_what_is_not_written(tmp_path, picture, name, error, message):
    with pytest.raises(error, match=message):
        images.write(picture, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "pixels", [np.full((2, 2), 1 << 20, np.int32), np.ones((2, 2), np.float32)]
)
def test_pixels_in_no_known_range_are_not_guessed(tmp_path, pixels):
    pytest.importorskip("PIL.Image").fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"images.read: .*a\.tif .*in no known range"):
        images.read(tmp_path / "a.tif")


def test_paths(tmp_path):
    pytest.importorskip("PIL")
    for call in (lambda: images.write(GREY, 3), lambda: images.read(3)):
        with pytest.raises(TypeError, match="path must be a string or a Path, got 3"):
            call()
    with pytest.raises(FileNotFoundError, match=r"images.read: .*none\.png is not there"):
        images.read(tmp_path / "none.png")
    with pytest.raises(AttributeError, match=r"here it is images.read\(path\)"):
        images.imread()
