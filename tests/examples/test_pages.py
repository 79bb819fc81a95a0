"""The examples that a learner copies: one page each, with a loop, on minidl's public names alone."""

import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", ["dcgan.py", "activation_study.py"])
def test_a_page_is_short_shows_the_loop_and_uses_public_names_alone(name):
    text = (EXAMPLES / name).read_text("utf-8")
    assert text.count("\n") <= 200
    assert "loss.backward()" in text and "md.fit" not in text
    names = re.findall(r"\b(?:md|nn|optim|init|data|F)\.(\w+)", text)
    assert len(names) > 15 and not [name for name in names if name.startswith("_")]
    imports = re.findall(r"^ *(?:from|import) (\S+)", text, re.M)
    assert set(imports) <= {
        "argparse", "time", "pathlib", "numpy", "minidl", "matplotlib.image", "matplotlib.figure",
        "gan.ranks",  # with --ranks alone
    }  # fmt: skip
