"""What builds the site: code blocks and links of pages, their order, formulas, docstrings as reStructuredText."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "site"))

import links  # noqa: E402
import nav  # noqa: E402
import snippets  # noqa: E402

NEEDED = "what builds the site is not installed: docs/site/requirements.txt"

PAGE = """# A page

```python
print(1)
```

```text
1
```

<!-- not run: takes minutes -->

```python
train()
```
then
```text
no output of it
```

- in a list:

  ~~~~python
  x = "```"
  ~~~~
"""


def test_blocks_of_a_page():
    printed, _, not_run, _, nested = snippets.blocks(PAGE)
    assert (printed.text, printed.prints, printed.line, printed.end) == ("print(1)\n", "1\n", 4, 5)
    assert not_run.not_run == "takes minutes" and not not_run.runs
    assert not_run.prints is None  # text is between
    assert nested.text == 'x = "```"\n' and nested.runs


def test_a_block_without_an_end_is_named():
    with pytest.raises(ValueError, match="line 3: the block that begins here has no end"):
        snippets.blocks("text\n\n```python\nx = 1\n")


def test_links_in_code_are_none():
    page = '[a](a.md) `[b](b.md)`\n```\n[c](c.md)\n```\n[![d](d.png)](e.md) <img src="f.svg"> [g](https://g.org)'
    assert [link.target for link in links.links(page)] == ["a.md", "d.png", "e.md", "f.svg"]


@pytest.mark.parametrize(
    ("file", "there", "local"),
    [
        (
            "minidl/autograd/tensor.py",
            ["Tensor", "Tensor.backward", "backward", "as_array"],
            ["wanted"],
        ),
        (
            "minidl/_kernels/loops/activations.pyx",
            ["rule", "activation_forward", "Rule"],
            ["gy", "i"],
        ),
        ("minidl/_kernels/runtime/pool.pyx", ["set_num_threads", "SPIN_NS"], ["since"]),
    ],
)
def test_symbols_of_source_files(file, there, local):
    symbols = links.symbols(ROOT / file)
    text = (ROOT / file).read_text("utf-8").splitlines()
    for name in there:
        assert name.rpartition(".")[2] in text[symbols[name] - 1]
    assert not set(local) & set(symbols)


def test_the_order_of_pages():
    names = {
        "index",
        "start",
        "tour/index",
        "tour/b",
        "tour/a",
        "tour/10_z",
        "tour/2_y",
        "odd",
        "prelu",
    }
    sections = nav.sections(names)
    assert sections["Learn"] == ["start", "tour/index"]
    assert sections["More"] == ["odd"]
    assert "prelu" in sections["Use"] and "reference/index" in sections["Use"]
    below = nav.folder_pages("tour", "[b](b.md) and [a](a.md)", names)
    assert below == ["tour/b", "tour/a", "tour/2_y", "tour/10_z"]  # linked ones first, 2 before 10


def test_links_on_the_site(tmp_path):
    pytest.importorskip("PIL", reason=NEEDED)
    import stage

    staged = stage.Stage(tmp_path)
    page = "[`walk`](../minidl/autograd/engine.py) [line](../minidl/autograd/op.py#L5) [it](../README.md) "
    page += "[kernels](../minidl/_kernels) [study](study/README.md#x) ![p](images/dcgan.png)"
    assert staged.link(page, "docs/reading.md", "reading").replace(") ", ")\n").splitlines() == [
        "[`walk`](source:minidl/autograd/engine.py#walk)",
        "[line](source:minidl/autograd/op.py#L5)",
        "[it](index.md)",
        "[kernels](minidl/_kernels/index.md)",
        "[study](study/index.md#x)",
        "![p](images/dcgan.webp)",
    ]
    assert (tmp_path / "images" / "dcgan.webp").is_file()


def test_formulas():
    pytest.importorskip("latex2mathml", reason=NEEDED)
    pytest.importorskip("sphinx", reason=NEEDED)
    import maths

    made = maths.mathml(r"-a - b = \max_i x_i / 2", True, None)
    assert (
        made.count('<mo form="prefix">−</mo>') == 1
    )  # the first one is a sign, the second a difference
    assert "<munder><mi>max</mi><mi>i</mi></munder>" in made
    assert '<mo lspace="0" rspace="0">/</mo>' in made
    rows = maths.mathml(r"\begin{aligned} a &= b \\ &= c \end{aligned}", True, None)
    assert rows.count("<mtr>") == 2


def test_docstrings_as_restructured_text():
    pytest.importorskip("sphinx", reason=NEEDED)
    pytest.importorskip("PIL", reason=NEEDED)
    import docstrings

    assert docstrings.escape("a * |x| and `b * c` of w_") == r"a \* \|x\| and `b * c` of w\_"
    lines = [
        "With v,",
        "",
        "    y = a * v",
        "",
        "Two things:",
        "    one: 1",
        "    two: 2",
        "",
        ">>> 2 * 3",
        "6",
    ]
    docstrings.process(None, "", "", None, None, lines)
    assert lines == [
        *("With v,", "", "::", "", "    y = a * v", "", "Two things:", ""),
        *("- one: 1", "- two: 2", "", "", ">>> 2 * 3", "6"),
    ]  # fmt: skip
