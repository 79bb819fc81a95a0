"""The examples in minidl's docstrings run and print what they say; docstrings of public names say enough."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re

import numpy as np
import pytest

import minidl as md
from minidl import data, init, nn, optim
from minidl import functional as F
from minidl._source import PURE
from minidl.autograd.op import Op

from .test_structure import PUBLIC

# Modules that cannot be imported without an extra: they are looked at where it is installed.
NEEDED = {"minidl.sklearn": "sklearn", "minidl.sklearn.mlp": "sklearn"}
MODULES = [
    importlib.import_module(name)
    for _, name, _ in pkgutil.walk_packages(md.__path__, "minidl.")
    if not name.startswith("minidl._kernels.")
    and (name not in NEEDED or importlib.util.find_spec(NEEDED[name]))
]
USUAL = {"np": np, "md": md, "F": F, "nn": nn, "init": init, "optim": optim, "data": data}


def examples() -> dict[str, doctest.DocTest]:
    """All docstrings with examples, by name: those of compiled and generated functions as well,
    which doctest alone passes over.
    """
    finder = doctest.DocTestFinder(exclude_empty=True)
    things = {module.__name__: module for module in MODULES}
    for space in (*MODULES, F):
        for name, thing in vars(space).items():
            if isinstance(thing, type) and issubclass(thing, Op):
                continue  # they hold functions of NumPy, whose examples are not ours
            if callable(thing) and getattr(thing, "__module__", None) in things:
                things.setdefault(f"{thing.__module__}.{name}", thing)
    found = {}
    for name, thing in things.items():
        module = thing if thing in MODULES else importlib.import_module(thing.__module__)
        globs = USUAL | vars(module)
        for test in finder.find(thing, name, module if thing in MODULES else False, globs):
            if test.examples:
                found.setdefault(test.name, test)
    return found


EXAMPLES = examples()
if PURE:
    del EXAMPLES["minidl.replay.capture.capture"]  # counts records, of which there are none


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    md.manual_seed(0)
    result = doctest.DocTestRunner(verbose=False).run(EXAMPLES[name])
    assert result.attempted > 0 and result.failed == 0


def test_nobody_is_passed_over():
    assert {"minidl.nn.module.Module", "minidl.nn.activation.PReLU", "minidl.init"} <= set(EXAMPLES)
    assert len(EXAMPLES) > 20


# ── What they say ─────────────────────────────────────────────────────────────────────────────────

FORMULA = re.compile(r"[=^²√Σ/<>|]| [-+*] ")
REFERENCE = {name: thing for name, thing in PUBLIC.items() if name.count(".") == 1}
# Functions of minidl.ops through which no gradient flows.
WITHOUT_GRADIENT = {
    "arange", "equal", "full", "greater", "greater_equal", "less", "less_equal", "not_equal", "one_hot", "ones",
    "randn", "zeros",
}  # fmt: skip


def thin(doc):
    """Why a docstring says too little: no formula and no second paragraph or line, or a handful of words."""
    text = " ".join(doc.partition(">>>")[0].split())
    if len(text) < 70:
        return f"it has {len(text)} characters"
    if len(doc.strip().splitlines()) == 1 and not FORMULA.search(text):
        return "it has one line and no formula"
    return None


@pytest.mark.parametrize("name", REFERENCE)
def test_public_docstrings_say_more_than_the_name(name):
    why = thin(REFERENCE[name].__doc__ or "")
    assert why is None, f"{name}: {why}; say formula, shapes, errors, source"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, thing in REFERENCE.items()
        if inspect.isroutine(thing) and thing.__module__.startswith("minidl.ops.")
        if thing.__name__ not in WITHOUT_GRADIENT
    ],
)
def test_differentiable_functions_say_their_gradient(name):
    assert re.search("gradient|slope", REFERENCE[name].__doc__), f"{name}: which gradient?"


@pytest.mark.parametrize("doc", ["x0 * x1.", "", "The natural logarithm. " * 5, "e^x.\n\n>>> 1\n1"])
def test_a_thin_docstring_would_be_seen(doc):
    assert thin(doc)
