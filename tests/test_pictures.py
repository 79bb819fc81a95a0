"""docs/pictures: what the plotting module draws is well-formed and inside its frame, and the pages' pictures are drawn
by the code beside them."""

import importlib.util
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PICTURES, IMAGES = ROOT / "docs" / "pictures", ROOT / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"


def module(name):
    spec = importlib.util.spec_from_file_location(name, PICTURES / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


svg, make = module("svg"), module("make")
X = np.linspace(0.5, 4.0, 30)
RANDOM = np.random.default_rng(0).standard_normal((40, 2))
KINDS = {
    "plot": svg.plot({"x²": (X, X**2), "log x": (X, np.log(X))}, "x", "value", "Two curves"),
    "plot, counted": svg.plot([X, X[::-1]], markers=True),
    "plot, logarithmic": svg.plot({"a": (X, 10.0 ** (-5 * X))}, logy=True, logx=True, markers=True),
    "plot, one value": svg.plot({"a": ([1.0], [2.0])}, markers=True),
    "plot, not finite": svg.plot({"a": [1.0, np.nan, 2.0, np.inf, 3.0]}),
    "plot, limits": svg.plot({"a": (X, X**3)}, "x", xlim=(1, 3), ylim=(-10, 5)),
    "plot, long legend": svg.plot({f"the curve of number {i}": X + i for i in range(9)}, "x", "y"),
    "scatter": svg.scatter({"real": RANDOM, "generated": (X, -X)}, "x", "y", "Points"),
    "bars": svg.bars({"forward": 2.0, "backward": -4.0}, ylabel="ms", title="Times"),
    "bars, groups": svg.bars({"a": {"one": 1, "two": 2}, "b": {"one": 3, "two": 0.5}}),
    "bars, logarithmic": svg.bars({"a": 1e-3, "b": 10.0}, logy=True),
}
FLAT = {
    "heat": svg.heat([[1.0, -2.5], [np.nan, 0.0]], "Cells", rows="ab", columns="cd", marked=[(0, 1)]),
    "heat, one row": svg.heat([1e-6, 123456.0], xlabel="i", ylabel="j"),
    "boxes": svg.boxes(
        {"x": (0, 0, "x\n2 < 3", "blue"), "f": (1, 0.5, "mul"), "w": (0, 1, "w & v")},
        [("x", "f"), ("w", "f", "w", "green"), ("f", "x", "gx", "red")],
        "A graph",
    ),
    "beside": svg.beside(svg.heat(np.eye(2), "A"), svg.heat(np.eye(3), "B"), title="Two", columns=1),
}  # fmt: skip


def parsed(picture):
    return ElementTree.fromstring(picture._repr_svg_())


def box(element, names=("x", "y", "width", "height")):
    x, y, width, height = (float(element.get(name, 0)) for name in names)
    return x, y, x + width, y + height


def frame_of(tree):
    (frame,) = (e for e in tree.iter(f"{SVG}rect") if e.get("class") == "frame")
    return box(frame)


def marks(tree):
    """The points of lines, and the corners of bars."""
    for line in tree.iter(f"{SVG}polyline"):
        yield from (tuple(map(float, point.split(","))) for point in line.get("points").split())
    yield from ((float(c.get("cx")), float(c.get("cy"))) for c in tree.iter(f"{SVG}circle"))
    for bar in tree.iter(f"{SVG}rect"):
        if bar.get("class") == "bar":
            x0, y0, x1, y1 = box(bar)
            yield from ((x0, y0), (x1, y1))


@pytest.mark.parametrize("kind", KINDS)
def test_data_is_inside_the_frame(kind):
    tree = parsed(KINDS[kind])
    left, top, right, bottom = frame_of(tree)
    points = list(marks(tree))
    assert points
    for x, y in points:
        assert left - 0.1 <= x <= right + 0.1 and top - 0.1 <= y <= bottom + 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_outside_the_frame_and_on_the_panel(kind):
    tree = parsed(KINDS[kind])
    left, top, right, bottom = frame_of(tree)
    texts = list(tree.iter(f"{SVG}text"))
    assert texts
    for element in texts:
        x, y, text = float(element.get("x")), float(element.get("y")), element.text
        if "rotate" in element.get("transform", ""):
            assert 12 <= x < left
            continue
        wide = svg.text_width(text)
        begin = x - {"start": 0, "middle": wide / 2, "end": wide}[element.get("text-anchor")]
        assert begin >= 0 and begin + wide <= KINDS[kind].width, text
        assert svg.SIZE <= y <= KINDS[kind].height - 4, text
        beside = begin + wide <= left or begin >= right
        assert beside or y <= top or y - svg.SIZE >= bottom, text


def test_values_are_where_the_axis_says():
    tree = parsed(svg.plot([([0.0, 1.0, 4.0], [0.0, 10.0, 10.0])], xlim=(0, 4), ylim=(0, 20)))
    left, top, right, bottom = frame_of(tree)
    expected = [(left, bottom), (left + (right - left) / 4, (top + bottom) / 2)]
    expected.append((right, (top + bottom) / 2))
    np.testing.assert_allclose(list(marks(tree)), expected, atol=0.11)


def test_a_gap_in_the_data_is_a_gap_in_the_line():
    lines = list(parsed(KINDS["plot, not finite"]).iter(f"{SVG}polyline"))
    assert [len(line.get("points").split()) for line in lines] == [1, 1, 1]


@pytest.mark.parametrize("kind", FLAT)
def test_boxes_and_cells_are_on_the_panel(kind):
    picture = FLAT[kind]
    for element in parsed(picture).iter(f"{SVG}rect"):
        x0, y0, x1, y1 = box(element)
        assert x0 >= 0 and y0 >= 0 and x1 <= picture.width and y1 <= picture.height


def test_an_arrow_ends_at_the_border_of_its_box():
    tree = parsed(svg.boxes({"a": (0, 0, "a"), "b": (1, 0, "b")}, [("a", "b")]))
    (a, b) = (box(e) for e in tree.iter(f"{SVG}rect") if e.get("class") == "box")
    (arrow,) = (e.get("d") for e in tree.iter(f"{SVG}path") if e.get("class") == "arrow")
    x0, y0, x1, y1 = map(float, re.findall(r"[\d.]+", arrow))
    assert x0 == pytest.approx(a[2], abs=0.1) and a[2] < x1 < b[0] and y0 == y1


def test_x_and_y_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="3 values of x and 2 of y"):
        svg.plot([([1, 2, 3], [1, 2])])


def rounded(text):
    """The text without its numbers, and the numbers: other processors may round a pixel's tenth differently."""
    pattern = r"\d+\.?\d*"
    return re.sub(pattern, "#", text), np.array(re.findall(pattern, text), dtype=float)


MODULES = {m.__name__: m for m in make.modules()}


@pytest.mark.parametrize("name", MODULES)
def test_pictures_of_the_pages_are_drawn_by_their_code(name):
    for picture, text in make.drawn(MODULES[name]).items():
        path = IMAGES / f"{picture}.svg"
        assert path.exists(), f"{path.name} is missing: run docs/pictures/make.py"
        committed = path.read_text(encoding="utf-8")
        assert len(committed) < 40_000, f"{picture}: {len(committed)} bytes"
        ElementTree.fromstring(committed)
        (text, numbers), (expected, values) = rounded(text), rounded(committed)
        assert text == expected, f"{picture} is out of date: run docs/pictures/make.py {picture}"
        np.testing.assert_allclose(numbers, values, rtol=2e-3, atol=0.21, err_msg=picture)


def test_every_picture_of_the_concepts_has_its_code():
    drawn = {name for m in MODULES.values() for name in make.drawn(m)}
    committed = {
        path.relative_to(IMAGES).with_suffix("").as_posix()
        for path in (IMAGES / "concepts").glob("*.svg")
    }
    assert committed - drawn == set()
