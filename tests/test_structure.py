"""Who may import whom, how long a file and how full a folder may be, and that public names are documented."""

import ast
import graphlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minidl as md
from minidl import callbacks, data, distributed, images, init, monitor, nn, optim, testing
from minidl import functional as F
from minidl.data import transforms

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "minidl"

# A module, or a package with all in it -> what of minidl it may import besides itself.
ALLOWED = {
    "_source": set(),
    "atomic": set(),
    "_kernels": {"atomic", "_source"},
    "random": set(),
    "check": set(),
    "porting": set(),
    "notebook": set(),
    "autograd": {"porting", "_kernels", "check", "notebook"},
    "replay": {"autograd", "_kernels", "check"},
    "ops": {"porting", "autograd", "_kernels", "random", "check", "atomic"},
    "composite": {"ops", "autograd", "random"},
    "functional": {"ops", "composite", "porting"},
    "init": {"random", "check", "porting"},
    "io": {"autograd", "check"},
    "nn": {
        "porting",
        "functional",
        "replay",
        "ops",
        "init",
        "autograd",
        "random",
        "check",
        "io",
        "atomic",
        "notebook",
    },
    "optim": {"porting", "autograd", "_kernels", "check", "atomic"},
    "config": {"_kernels", "_source"},
    "images": {"porting", "io", "check"},
    "data": {"autograd", "images", "porting", "random", "io", "check", "atomic"},
    "callbacks": {"training", "io", "check"},
    "distributed": {
        "functional",
        "ops",
        "data",
        "nn",
        "replay",
        "autograd",
        "_kernels",
        "random",
        "check",
        "atomic",
    },
    "training": {
        "random",
        "replay",
        "distributed",
        "data",
        "functional",
        "nn",
        "autograd",
        "check",
        "atomic",
        "notebook",
    },
    "train": {"training"},
    "monitor": {"training", "optim", "nn", "autograd", "check"},
    "drawing": {"nn", "autograd", "_kernels", "check"},
    "onnx": {
        "inspection",
        "io",
        "nn",
        "functional",
        "ops",
        "autograd",
        "_kernels",
        "config",
        "check",
    },
    "sklearn": {
        "training",
        "data",
        "optim",
        "nn",
        "init",
        "functional",
        "ops",
        "autograd",
        "check",
    },
    "inspection": {
        "data",
        "drawing",
        "replay",
        "nn",
        "optim",
        "ops",
        "autograd",
        "_kernels",
        "random",
        "check",
    },
    "testing": {"autograd", "ops", "functional", "random", "check"},
}


def modules() -> dict[str, Path]:
    """Each module's name, without "minidl.", and its file; packages by their own name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()


def imports(tree: ast.AST) -> set[str]:
    """What of minidl the code imports, functions included, but not what only type checkers see."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "minidl":
                while rest and rest not in MODULES and not is_kernel(rest):
                    rest = rest.rpartition(".")[0]  # a function: its module counts
                found.add(rest)
    return found


def is_kernel(name: str) -> bool:
    return (PACKAGE / name.replace(".", "/")).with_suffix(".pyx").is_file()


IMPORTS = {
    name: imports(ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()
}


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_nobody_imports_upward(name):
    room = name.split(".")[0]
    assert room in ALLOWED, f"{name} is new: say in ALLOWED what it may import"
    used = {other.split(".")[0] for other in IMPORTS[name]} - {room}
    assert used <= ALLOWED[room], f"{name} imports {used - ALLOWED[room]}; see ALLOWED"


def test_no_circles():
    edges = {name: used - {name} for name, used in IMPORTS.items() if name}
    list(graphlib.TopologicalSorter(edges).static_order())  # CycleError names the circle


def test_a_circle_would_be_seen():
    tree = ast.parse("def f():\n    from minidl.nn import Affine\nimport minidl.optim")
    assert imports(tree) == {"nn", "optim"}
    hidden = "if TYPE_CHECKING:\n    from minidl.nn import Affine"
    assert imports(ast.parse(hidden)) == set()


def test_numpy_is_all_that_is_needed():
    # Each imported where it is used, not before.
    extras = {
        "matplotlib",
        "tqdm",
        "safetensors",
        "PIL",
        "onnx",
        "sklearn",
        "tensorboardX",
        "mpi4py",
    }
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = set(tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            others = {n.split(".")[0] for n in names} - sys.stdlib_module_names
            allowed = {"minidl", "numpy"} | (set() if node in at_import else extras)
            assert others <= allowed, f"{name}, line {node.lineno}: imports {others - allowed}"


def test_what_reads_files_is_imported_when_a_file_is_read():
    """zipfile, json and what they bring along would be a tenth of the time of ``import minidl``."""
    code = "import sys, numpy; old = set(sys.modules); import minidl; print(set(sys.modules) - old)"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "'minidl.nn.parameter'" in told.stdout
    assert not [name for name in ("zipfile", "json", "pathlib") if f"'{name}'" in told.stdout]


@pytest.mark.parametrize(
    "folder", [path for path in [PACKAGE, *sorted(PACKAGE.rglob("*"))] if path.is_dir()], ids=str
)
def test_no_folder_is_crowded(folder):
    built = {".so", ".pyd", ".c", ".pyc"}
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix not in built]
    assert len(files) <= 15, f"{folder} has {len(files)} files: which of them belong together?"


@pytest.mark.parametrize(
    "path",
    [
        path.relative_to(ROOT).as_posix()
        for folder in ("minidl", "tests", "examples", "benchmarks", "tools", "docs")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".pyx", ".pxd"}
    ],
)
def test_no_file_is_longer_than_450_lines(path):
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= 450, f"{path} has {lines} lines: is it about one subject?"


def public_names():
    """(what to call it, the thing) for all that users see."""
    for space, prefix in ((md, "md"), (F, "F"), (nn, "nn"), (optim, "optim"), (init, "init"),
                          (data, "data"), (transforms, "data.transforms"), (images, "md.images"),
                          (testing, "md.testing"), (monitor, "md.monitor"),
                          (callbacks, "md.callbacks"), (distributed, "md.distributed")):  # fmt: skip
        names = getattr(space, "__all__", None) or [n for n in dir(space) if not n.startswith("_")]
        for name in names:
            thing = getattr(space, name)
            ours = getattr(thing, "__module__", "") or ""
            if callable(thing) and ours.startswith("minidl"):
                yield f"{prefix}.{name}", thing


PUBLIC = dict(public_names())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    thing = PUBLIC[name]
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert own and own.strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", [n for n, thing in PUBLIC.items() if inspect.isclass(thing)])
def test_public_methods_are_documented(name):
    for base in PUBLIC[name].__mro__:
        if base.__module__.startswith("minidl"):
            for method, value in vars(base).items():
                if method.startswith("_") or method in ("forward", "backward"):
                    continue
                if inspect.isroutine(value) or isinstance(value, property):
                    assert inspect.getdoc(value), f"{base.__name__}.{method} has no docstring"


def test_there_are_enough_names_to_mean_something():
    assert {"md.Tensor", "F.relu", "nn.Affine", "optim.Adam", "data.DataLoader"} <= set(PUBLIC)
