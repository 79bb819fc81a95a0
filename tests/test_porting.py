"""docs/porting: every minidl expression in its tables exists, with the arguments that it is given."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import minidl as md
from minidl import callbacks, data, images, init, nn, optim
from minidl import functional as F
from minidl.data import transforms

ROOT = Path(__file__).resolve().parent.parent
OURS = {
    "md": md, "nn": nn, "F": F, "optim": optim, "init": init, "data": data,
    "transforms": transforms, "images": images, "callbacks": callbacks,
    "x": md.Tensor, "loss": md.Tensor, "model": nn.Module, "optimizer": optim.Optimizer,
    "layer": nn.Affine(1, 1), "params": list,
}  # fmt: skip
SPAN = re.compile(r"`([^`]+)`")


def cells(page: Path, column: str) -> list[str]:
    """Code spans of a column, in all tables that have it."""
    found, at = [], None
    for line in page.read_text(encoding="utf-8").splitlines():
        parts = [part.strip() for part in line.strip("|").split("|")]
        if not line.startswith("|"):
            at = None
        elif at is None:
            at = parts.index(column) if column in parts else -1
        elif at >= 0:
            found += SPAN.findall(parts[at])
    return found


def resolve(node: ast.expr, names: dict):
    """What an expression of names, attributes and calls names; raises if there is no such thing."""
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(resolve(node.value, names), node.attr)
    assert isinstance(node, ast.Call), ast.unparse(node)
    function = resolve(node.func, names)
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.Call)
            and inner is not node
            and isinstance(inner.func, ast.Attribute)
        ):
            resolve(inner, names)
    try:
        signature = inspect.signature(function)
    except ValueError:  # a compiled class
        return function
    if function is nn.Module:  # model(x)
        return None
    method = isinstance(node.func, ast.Attribute) and isinstance(
        resolve(node.func.value, names), type
    )
    values = [None] * (len(node.args) + method)
    signature.bind(*values, **{keyword.arg: None for keyword in node.keywords})
    return function


CASES = [
    (page.stem, span)
    for page in sorted((ROOT / "docs" / "porting").glob("from_*.md"))
    for span in cells(page, "minidl")
]


@pytest.mark.parametrize(("page", "span"), CASES)
def test_what_the_tables_name_exists(page, span):
    resolve(ast.parse(span, mode="eval").body, OURS)


def test_there_are_tables_for_four_libraries():
    assert {page for page, _ in CASES} == {
        f"from_{n}" for n in ("pytorch", "keras", "chainer", "nnc")
    }
    assert len(CASES) > 200


@pytest.mark.parametrize(
    "wrong", ["nn.Linear(8, 4)", "nn.Affine(8, 4, out=3)", "x.unsqueeze(0)", "nn.Affine()"]
)
def test_a_name_or_an_argument_that_is_not_there_is_noticed(wrong):
    with pytest.raises((AttributeError, TypeError)):
        resolve(ast.parse(wrong, mode="eval").body, OURS)


def test_the_names_of_pytorch_exist():
    torch = pytest.importorskip("torch")
    import torch.nn.functional as functional

    names = {
        "torch": torch, "nn": torch.nn, "F": functional, "optim": torch.optim,
        "x": torch.Tensor, "model": torch.nn.Module, "optimizer": torch.optim.Optimizer,
    }  # fmt: skip
    for span in cells(ROOT / "docs" / "porting" / "from_pytorch.md", "PyTorch"):
        node = ast.parse(span, mode="eval").body
        while isinstance(node, ast.Call):
            node = node.func
        inner = node.value if isinstance(node, ast.Attribute) else node
        if not isinstance(inner, ast.Call) and not isinstance(node, ast.Name):
            resolve(node, names)
