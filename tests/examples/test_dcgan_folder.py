"""The GAN example on folders of pictures: what is read, what is skipped, what is said; 3x64x64."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

Image = pytest.importorskip("PIL.Image")

import dcgan  # noqa: E402
import dcgan_study  # noqa: E402
from gan import drawing, folder, images, quality  # noqa: E402

from minidl.images.files import below  # noqa: E402

RED, BLUE = (220, 30, 30), (30, 30, 220)
TINY = ["--batch-size", "16", "--ngf", "4", "--nz", "8", "--epochs", "1"]


def picture(path, colour, rng, size=(40, 30)):
    noise = rng.integers(-20, 20, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(path)


@pytest.fixture
def plain(tmp_path):
    """Forty pictures without classes, some of them in a folder below."""
    rng = np.random.default_rng(0)
    for i in range(40):
        where = tmp_path / "pics" / ("more" if i % 3 else "")
        picture(where / f"{i:02}.png", rng.integers(30, 220, 3), rng)
    return tmp_path / "pics"


@pytest.fixture
def sorted_by_colour(tmp_path):
    """Two subfolders of 24, and three files that are not pictures."""
    rng = np.random.default_rng(0)
    for i in range(24):
        picture(tmp_path / "pics" / "red" / "deep" / f"{i:02}.jpg", RED, rng)
        picture(tmp_path / "pics" / "blue" / f"{i:02}.PNG", BLUE, rng)
    whole = (tmp_path / "pics" / "blue" / "00.PNG").read_bytes()
    (tmp_path / "pics" / "blue" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pics" / "red" / "text.jpg").write_text("hello")
    (tmp_path / "pics" / "red" / "empty.gif").touch()
    (tmp_path / "pics" / "red" / "notes.txt").write_text("not looked at")
    (tmp_path / "pics" / "red" / ".hidden.jpg").write_text("not looked at")
    return tmp_path / "pics"


def run(path, out, *more):
    return dcgan_study.main([*TINY, "--data", f"folder:{path}", "--out", str(out), *more])


# ── Runs ────────────────────────────────────────────────────────────────────────────────────────


def test_subfolders_are_classes_and_broken_pictures_are_skipped(sorted_by_colour, tmp_path, capsys):
    assert run(sorted_by_colour, tmp_path) == 0
    text = capsys.readouterr().out
    for name in ("blue/cut.png: ", "red/text.jpg: it is not a picture", "red/empty.gif: it is not"):
        assert f"skipped {name}" in text
    assert "48 pictures of 64x64; 3 skipped that could not be read" in text
    assert "Fréchet distance" in text
    where = tmp_path / "dcgan" / "folder-pics"
    result = json.loads((where / "results.json").read_text())
    assert len(result["skipped"]) == 3 and list(result["classes"]) == ["blue", "red"]
    assert result["figures"]["samples"].keys() == {"frechet", "precision", "recall", "nearest"}
    assert {path.name for path in where.iterdir()} == {
        "checkpoint.npz", "classes.png", "curves.png", "nearest.png", "results.json",
        "samples", "samples.png", "training.gif", "walk.gif", "walk.png",
    }  # fmt: skip
    with Image.open(where / "samples.png") as page:
        assert page.mode == "RGB"
        assert page.size == (8 * 66 + 2, drawing.TITLE + 8 * 66 + 2)


def test_without_classes_the_rest_is_there(plain, tmp_path, capsys):
    assert run(plain, tmp_path) == 0
    assert "no Fréchet distance, precision and recall" in capsys.readouterr().out
    where = tmp_path / "dcgan" / "folder-pics"
    result = json.loads((where / "results.json").read_text())
    assert "classes" not in result and "classes" not in result["history"]
    assert result["figures"].keys() == {"samples", "held-out images"}
    assert result["figures"]["samples"].keys() == {"nearest"}
    names = {path.name for path in where.iterdir()}
    assert {"nearest.png", "walk.gif", "training.gif", "curves.png"} <= names
    assert "classes.png" not in names


def test_resumes_with_the_same_bits_and_the_same_pictures(plain, tmp_path):
    def checkpoint(out):
        return (out / "dcgan" / "folder-pics" / "checkpoint.npz").read_bytes()

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(plain, whole, "--epochs", "2", "--no-plots")
    run(plain, parts, "--no-plots")
    run(plain, parts, "--epochs", "2", "--no-plots", "--resume")
    assert checkpoint(parts) == checkpoint(whole)
    for file in below(plain)[:20]:
        picture(file, RED, np.random.default_rng(1))
    with pytest.raises(SystemExit, match="made with other pictures"):
        run(plain, parts, "--epochs", "3", "--resume")


def test_gradient_penalty_too(plain, tmp_path):
    assert run(plain, tmp_path, "--wgan-gp", "--no-plots") == 0
    assert (tmp_path / "dcgan" / "folder-pics-wgan-gp" / "results.json").is_file()


def test_defaults_are_those_of_the_paper(capsys):
    args = dcgan_study.arguments(["--data", "folder:x"])
    assert (args.nz, args.ngf, args.channels, args.size) == (100, 64, 3, 64)
    args = dcgan_study.arguments(["--data", "mnist"])
    assert (args.nz, args.ngf, args.channels, args.size) == (64, 32, 1, 32)
    for wrong, said in (
        ("cats", "'cats' is not one of digits,"),
        ("folder:", "the path is missing"),
    ):
        with pytest.raises(SystemExit):
            dcgan_study.arguments(["--data", wrong])
        assert said in capsys.readouterr().err


def test_networks_are_those_of_the_paper():
    g, d = dcgan.generator(100, 8, 3, 64), dcgan.discriminator(8, 3, 64)
    assert g(np.zeros((2, 100, 1, 1), np.float32)).shape == (2, 3, 64, 64)
    assert d(np.zeros((2, 3, 64, 64), np.float32)).shape == (2, 1)
    assert [v.shape for _, v in g.named_parameters() if v.ndim == 4] == [
        (100, 64, 4, 4), (64, 32, 4, 4), (32, 16, 4, 4), (16, 8, 4, 4), (8, 3, 4, 4),
    ]  # fmt: skip
    assert [v.shape for _, v in d.named_parameters() if v.ndim == 4] == [
        (8, 3, 4, 4), (16, 8, 4, 4), (32, 16, 4, 4), (64, 32, 4, 4), (1, 64, 4, 4),
    ]  # fmt: skip


# ── What is wrong with a folder ─────────────────────────────────────────────────────────────────


def test_folders_that_will_not_do(plain, tmp_path, monkeypatch):
    def said(path, *more):
        with pytest.raises(SystemExit) as error:
            run(path, tmp_path / "out", *more)
        assert not (tmp_path / "out").exists()  # nothing is left behind
        return str(error.value)

    assert said(tmp_path / "none").endswith("none is not there")
    assert said(plain / "00.png").endswith("00.png is not a folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").touch()
    assert "empty: no pictures in it or below (.jpg, .jpeg, .png" in said(tmp_path / "empty")
    for i in range(12):
        (tmp_path / "empty" / f"{i}.png").write_text("broken")
    assert "none of the 12 pictures could be read" in said(tmp_path / "empty")
    assert "40 pictures, and 80 are needed: 64 for a batch and 16 to compare with; a smaller" in (
        said(plain, "--batch-size", "64")
    )
    assert said(plain, "--images", "8") == "--images 8: a batch needs 16"
    monkeypatch.setattr(folder, "find_spec", lambda name: None)
    assert said(plain) == 'folders of pictures need Pillow: pip install "minidl[images]"'


def test_only_some_broken_pictures_are_named(plain, capsys):
    for i in range(25):
        (plain / f"broken{i}.png").touch()
    assert len(folder.load(plain).skipped) == 25
    text = capsys.readouterr().out
    assert text.count("skipped broken") == folder.NAMED and "25 skipped" in text


# ── What is read ────────────────────────────────────────────────────────────────────────────────


def test_order_is_mixed_and_always_the_same(sorted_by_colour):
    first, again = folder.load(sorted_by_colour), folder.load(sorted_by_colour)
    assert first.images.shape == (48, 64, 64, 3) and first.images.dtype == np.uint8
    assert (first.images == again.images).all() and (first.labels == again.labels).all()
    assert 0 < first.labels[:12].sum() < 12
    # A label is that of its picture: blue, then red.
    means = first.images.mean(axis=(1, 2))
    assert first.names == ["blue", "red"] and ((means[:, 0] > means[:, 2]) == first.labels).all()


def test_a_part_is_held_out(plain):
    every = folder.load(plain).images
    loaded = images.load(f"folder:{plain}", None, 16)
    assert (len(loaded.train), len(loaded.held_out)) == (24, 16)
    assert loaded.labels is None and loaded.names == []
    assert (np.concatenate([loaded.held_out, loaded.train]) == every).all()
    assert len(images.load(f"folder:{plain}", 20, 16).train) == 20
    assert (loaded.epochs, loaded.classifier_epochs) == (200, 30)


@pytest.mark.parametrize(("count", "epochs"), [(1000, (200, 30)), (16000, (44, 4))])
def test_large_folders_need_fewer_epochs(count, epochs):
    pictures = folder.Pictures(np.zeros((count, 1, 1, 3), np.uint8), None, [], [])
    loaded = images._split(pictures, None, 64)
    assert (loaded.epochs, loaded.classifier_epochs) == epochs


def test_when_subfolders_are_no_classes(plain, sorted_by_colour):
    def found():
        return folder.classes(sorted_by_colour, below(sorted_by_colour))

    for extra in below(plain):
        if extra.parent.name == "more" or extra.parent == plain:
            extra.unlink()  # both fixtures fill the same folder
    assert found() == ["blue", "red"]
    few = sorted_by_colour / "green" / "0.png"
    picture(few, RED, np.random.default_rng(0))
    assert found() == []  # one picture is not a class
    few.unlink()
    picture(sorted_by_colour / "0.png", RED, np.random.default_rng(0))
    assert found() == []  # a picture beside the folders


def test_progress_is_a_line_that_is_drawn_again(monkeypatch, capsys):
    progress = folder.Progress(2000)
    progress.show(1)
    assert capsys.readouterr().out == ""  # not with each picture
    progress.live, progress.shown = True, -1.0
    progress.show(1000)
    text = capsys.readouterr().out
    assert text.startswith("\rreading pictures: 1,000 of 2,000, ") and "\n" not in text


def test_scaled_and_back():
    given = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    given[0, 0, 0] = 0, 127, 255
    x = images.scaled(given)
    assert x.shape == (3, 3, 64, 64) and x.dtype == np.float32 and x.min() == -1 and x.max() == 1
    assert x[0, 0, 0, 0] == -1 and x[0, 2, 0, 0] == 1
    assert (images.pixels(x) == given).all()


def test_flat_is_the_mean_of_4x4_pixels():
    given = np.zeros((2, 64, 64, 3), np.uint8)
    given[1, :4, 4:8, 1] = 100
    rows = images.flat(given)
    assert rows.shape == (2, 16 * 16 * 3) and not rows[0].any()
    assert np.flatnonzero(rows[1]).tolist() == [1 * 3 + 1] and rows.max() == 100
    assert images.flat(np.zeros((5, 28, 28), np.uint8)).shape == (5, 784)


def test_classes_of_different_size_are_no_collapse():
    real = np.array([0.9, 0.09, 0.01, 0.0])
    assert quality.troubles(1.0, real, real) == []
    assert quality.troubles(1.0, np.array([1, 0, 0, 0]), real)[0].startswith("2 of 4 classes")
    found = quality.troubles(1.0, np.array([0.4, 0.5, 0.1, 0]), real)
    assert found == ["50% of the samples are of class 1, of the real images 9%"]
    assert quality.troubles(0.2) == ["samples differ 20% as much as real images do"]
