"""What a notebook shows: well-formed, escaped, right about the numbers."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, nn
from minidl.notebook.svg import curves, histogram


def parsed(html):
    return ET.fromstring(
        f"<div>{html.replace('<br>', '<br/>').replace('details open', 'details')}</div>"
    )


def text(html):
    return " ".join(" ".join(parsed(html).itertext()).split())


def bars(html):
    return [node for node in parsed(html).iter() if node.tag.endswith("rect")]


ARRAYS = {
    "number": (3.0, "Tensor shape (), float32 3"),
    "vector": ([1.0, 2.5], "Tensor shape (2,), float32 1 2.5"),
    "matrix": (np.arange(4).reshape(2, 2), "Tensor shape (2, 2), int64 0 1 2 3"),
    "three axes": (np.ones((1, 2, 2), "float32"), "[[[1. 1.] [1. 1.]]]"),
    "empty": (np.zeros((0, 3), "float32"), "shape (0, 3), float32"),
    "special": ([np.nan, -np.inf], "nan -inf"),
    "flags": (np.array([True, False]), "bool True False"),
    "many flags": (np.ones(500, bool), "500 of 500 are True"),
    "large": (np.arange(1000.0), "min 0, mean 499.5, max 999"),
    "large, special": (np.r_[np.full(200, 2.0), np.nan, np.inf], "max 2; 1 of 202 NaN; 1 of 202 infinite"),
    "nothing finite": (np.full(200, np.nan), "200 of 200 NaN"),
    "huge": (np.array([3e38, -3e38] * 100, "float32"), "min -3e+38, mean 0, max 3e+38"),
    "wide": (np.zeros((1, 50), "float32"), "[[0. 0."),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_tensors(name):
    data, expected = ARRAYS[name]
    assert expected in text(Tensor(data)._repr_html_())


def test_what_else_a_tensor_tells():
    w = nn.Parameter([1.0, 2.0], lr_mult=2.0)
    y = (w * w).sum()
    y.backward()
    assert "Parameter shape (2,), float32, requires_grad=True, lr_mult=2" in text(w._repr_html_())
    assert "grad: min 2, mean 3, max 4" in text(w._repr_html_())
    assert "op=Sum" in text(y._repr_html_())


def test_the_histogram_counts_every_value_once():
    values = np.random.default_rng(0).standard_normal(1000)
    titles = [bar[0].text for bar in bars(histogram(values))]
    assert sum(int(title.rpartition(": ")[2].replace(",", "")) for title in titles) == 1000
    counts, edges = np.histogram(values, 32)
    heights = [float(bar.get("height")) for bar in bars(histogram(values))]
    assert len(heights) == np.count_nonzero(counts) and max(heights) == 56.0
    assert titles[0].startswith(f"{edges[0]:.4g} to {edges[1]:.4g}: {counts[0]}")
    assert len(bars(histogram(np.full(5, 7.0)))) == 1


def test_modules():
    class Odd(nn.Module):
        def __init__(self):
            self.parts = {"<a&b>": nn.Affine(2, 3, lr_mult={"bias": 0.0})}
            self.slopes = nn.PReLU()
            self.itself = self

    html = Odd()._repr_html_()
    told = text(html)
    assert "(parts.<a&b>): Affine (2, 3) 9 parameters" in told and "<a&b>" not in html
    assert "weight (3, 2) float32" in told and "bias (3,) float32, lr_mult=0, frozen" in told
    assert "slope inferred from the first batch" in told


def test_histories():
    history = md.History()
    for loss in (1.0, float("nan"), 0.25):
        history.append({"loss": loss, "val_loss": 2 * loss, "<b>": 1.0, "time": 3.0})
    html = history._repr_html_()
    assert "<b>&" not in html and "&lt;b&gt;" in html
    svgs = [node for node in parsed(html).iter() if node.tag.endswith("svg")]
    assert [svg.get("aria-label") for svg in svgs] == ["loss over 3 epochs", "<b> over 3 epochs"]
    lines = [p.get("d") for p in svgs[0].iter() if p.get("stroke-width")]
    assert len(lines) == 2 and lines[0].count("M") == 2  # broken at the NaN
    assert parsed(md.History()._repr_html_()) is not None
    assert parsed(curves("one", {"training": [1.0]})) is not None
    assert parsed(curves("none", {"training": [float("inf")]})) is not None
