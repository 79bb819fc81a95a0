"""The short examples: each runs to its picture, is one page, and uses public names alone."""

import re
import runpy
import sys
from pathlib import Path

import pytest

SHORT = Path(__file__).resolve().parents[2] / "examples" / "short"
SHARED = {"page", "text"}
EXAMPLES = sorted(path.stem for path in SHORT.glob("*.py") if path.stem not in SHARED)


@pytest.fixture
def beside(monkeypatch):
    """Imports as for a script in that folder."""
    monkeypatch.syspath_prepend(SHORT)
    for name in SHARED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in SHARED:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_trains_and_draws(name, beside, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", [name, "--steps", "2", "--out", str(tmp_path)])
    runpy.run_path(str(SHORT / f"{name}.py"), run_name="__main__")
    picture = tmp_path / "short" / f"{name}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"picture: {picture}" in capsys.readouterr().out


def test_without_matplotlib_it_trains_and_says_so(beside, tmp_path, monkeypatch):
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys, "argv", ["xor", "--steps", "2", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=re.escape('pip install "minidl[plot]"')):
        runpy.run_path(str(SHORT / "xor.py"), run_name="__main__")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_page_on_public_names_alone(name):
    text = (SHORT / f"{name}.py").read_text("utf-8")
    assert text.count("\n") <= 150
    names = re.findall(r"\b(?:md|nn|optim|init|data|F)\.(\w+)", text)
    assert len(names) > 5 and not [n for n in names if n.startswith("_")]
    imports = set(re.findall(r"^ *(?:from|import) (\S+)", text, re.M))
    assert imports <= {"math", "itertools", "numpy", "minidl", *SHARED}
    assert f"python examples/short/{name}.py" in text and f"out/short/{name}.png" in text


def test_the_readme_lists_them_all():
    text = (SHORT / "README.md").read_text("utf-8")
    assert re.findall(r"^\| \[(\w+)\.py\]", text, re.M) == sorted(EXAMPLES, key=text.index)
