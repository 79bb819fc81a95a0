"""The examples in minidl's docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import minidl as md
from minidl import data, init, nn, optim
from minidl import functional as F
from minidl._source import PURE
from minidl.autograd.op import Op

MODULES = [
    importlib.import_module(name)
    for _, name, _ in pkgutil.walk_packages(md.__path__, "minidl.")
    if not name.startswith("minidl._kernels.")
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
    assert {"minidl.nn.module", "minidl.nn.activation.PReLU", "minidl.init"} <= set(EXAMPLES)
    assert len(EXAMPLES) > 20
