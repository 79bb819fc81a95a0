"""The API reference: one page a module, made from the docstrings of everything public."""

import functools
import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import snippets
from source_pages import ROOT, address

import minidl

if TYPE_CHECKING:
    from stage import Stage

# The modules with a page, and the short name by which examples and docstrings call them.
MODULES = {
    "minidl": "md",
    "minidl.nn": "nn",
    "minidl.functional": "F",
    "minidl.optim": "optim",
    "minidl.init": "init",
    "minidl.data": "data",
    "minidl.data.transforms": "transforms",
    "minidl.images": "images",
    "minidl.train": "train",
    "minidl.callbacks": "callbacks",
    "minidl.monitor": "monitor",
    "minidl.testing": "testing",
    "minidl.ops": "ops",
}
# Which page of the reference begins how, where the module's docstring does not say it.
TITLES = {
    "minidl": "Tensors, gradients, training, files",
    "minidl.nn": "Layers",
    "minidl.functional": "Functions without state",
    "minidl.optim": "Optimizers and schedules",
    "minidl.init": "Initializers",
    "minidl.data": "Data sets and loaders",
    "minidl.data.transforms": "Transforms of images",
    "minidl.images": "Pictures",
    "minidl.train": "The training loop, in parts",
    "minidl.callbacks": "Callbacks for fit",
    "minidl.monitor": "Watching a model learn",
    "minidl.testing": "Checking gradients",
    "minidl.ops": "All operations, in one place",
}
# The parts of a long page: a heading, and the modules in which what belongs there is defined.
PARTS = {
    "Tensors and gradients": ("autograd",),
    "Arithmetic": ("ops.arithmetic",),
    "Reductions": ("ops.reduction",),
    "Linear algebra": ("ops.linalg", "nn.linear"),
    "Convolution and pooling": ("ops.spatial", "nn.spatial"),
    "Activations": ("ops.activations", "functional", "nn.activation", "nn.gates", "nn.noise"),
    "Normalization": ("ops.norm", "ops.batch_norm", "nn.normalization"),
    "Losses": ("ops.losses", "nn.losses"),
    "Shapes": ("ops.shape", "nn.layers"),
    "Modules and parameters": ("nn.module", "nn.containers", "nn.parameter"),
    "Training": ("training",),
    "Files": ("io",),
    "A step recorded and replayed": ("replay", ""),
    "Threads, memory, settings": ("_kernels", "config", "random"),
}


def names(module: ModuleType) -> list[str]:
    """The public names of a module."""
    listed = getattr(module, "__all__", None)
    found = []
    for name in listed or dir(module):
        thing = getattr(module, name)
        home = getattr(thing, "__module__", None) or ""
        if name.startswith("_") or not callable(thing) or not home.startswith("minidl"):
            continue
        # A module without a list also has what it imports for itself.
        if (
            listed
            or module.__name__ in ("minidl", "minidl.train", "minidl.ops")
            or home == module.__name__
        ):
            found.append(name)
    return [name for name in found if name != "prefer_source"]


@functools.cache
def everything() -> dict[str, Any]:
    """All public things by the name under which the reference has them: `minidl.nn.Conv`."""
    found: dict[str, Any] = {}
    for module in MODULES:
        space = importlib.import_module(module)
        for name in names(space):
            thing = getattr(space, name)
            if not any(thing is other for other in found.values()):
                found[f"{module}.{name}"] = thing
    return found


@functools.cache
def _other_names() -> dict[str, str]:
    """By which other names people call what the reference has."""
    found: dict[str, str] = {}
    for full, thing in everything().items():
        module, _, name = full.rpartition(".")
        for other in (f"{MODULES[module]}.{name}", f"{thing.__module__}.{thing.__name__}", name):
            found.setdefault(other, full)
    return found


def public(name: str) -> str | None:
    """The full name of what is called `name`: `md.grad`, `minidl.autograd.engine.grad` and `grad` are the same."""
    name = name.removesuffix("()")
    if name in _other_names():
        return _other_names()[name]
    owner, _, member = name.rpartition(".")
    full = _other_names().get(owner)
    return f"{full}.{member}" if full else None


FIRST = ("Tensor", "grad", "Module", "Sequential", "Parameter", "Optimizer")  # of their part


def parts(module: str) -> Iterator[tuple[str, list[str]]]:
    """The headings of a module's page, and the names below each."""
    own = [full.rpartition(".")[2] for full in everything() if full.rpartition(".")[0] == module]
    space = importlib.import_module(module)
    if module not in ("minidl", "minidl.nn", "minidl.functional"):
        yield "", own
        return
    left = sorted(own, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    for heading, homes in PARTS.items():
        chosen = []
        for name in left:
            home = getattr(space, name).__module__.removeprefix("minidl").removeprefix(".")
            if any(home == h or (h and home.startswith(f"{h}.")) for h in homes):
                chosen.append(name)
        left = [name for name in left if name not in chosen]
        if chosen:
            yield heading, chosen
    if left:
        yield "More", left


def page(module: str) -> str:
    space = importlib.import_module(module)
    title = f"{module}: {TITLES[module][0].lower()}{TITLES[module][1:]}"
    lines = [title, "=" * len(title), ""]
    if module == "minidl.ops":
        lines += _ops_page(space)
        return "\n".join(lines)
    lines += [f"Usually imported as ``{MODULES[module]}``.", "", f".. automodule:: {module}", ""]
    for heading, chosen in parts(module):
        if heading:
            lines += [heading, "-" * len(heading), ""]
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in chosen] + [""]
        for name in chosen:
            lines += entry(module, name, getattr(space, name))
    return "\n".join(lines)


@functools.cache
def _examples() -> dict[str, str]:
    page = (ROOT / "docs" / "by_example.md").read_text(encoding="utf-8")
    return {public(name) or name: text for name, text in snippets.examples(page).items()}


def example(full: str, thing: Any) -> list[str]:
    """The example of docs/by_example.md, for what has none in its docstring."""
    if ">>>" in (thing.__doc__ or "") or full not in _examples():
        return []
    lines = [
        ".. code-block:: pycon",
        "",
        *(f"   {line}" for line in _examples()[full].splitlines()),
    ]
    return ["", *(f"   {line}" for line in lines), ""]


def entry(module: str, name: str, thing: Any) -> list[str]:
    shown = example(f"{module}.{name}", thing)
    if not inspect.isclass(thing):
        return [f".. autofunction:: {module}.{name}", *shown, ""]
    kind = "autoexception" if issubclass(thing, BaseException) else "autoclass"
    hidden = "forward, backward" if module == "minidl.nn" else ""
    lines = [f".. {kind}:: {module}.{name}", "   :members:"]
    return [*lines, *([f"   :exclude-members: {hidden}"] if hidden else []), *shown, ""]


def _ops_page(space: ModuleType) -> list[str]:
    """The operations are documented where people call them."""
    lines = [
        "The operations of `minidl` and `minidl.functional`, by their names in ``minidl.ops``.",
        "",
    ]
    lines += [".. autosummary::", "   :nosignatures:", ""]
    own = [f"minidl.ops.{name}" for name in names(space)]
    known = {id(thing): full for full, thing in everything().items()}
    lines += [f"   {known[id(getattr(space, full.rpartition('.')[2]))]}" for full in own]
    for full in own:
        if full in everything():
            lines += ["", *entry("minidl.ops", full.rpartition(".")[2], everything()[full])]
    return [*lines, ""]


def write(staged: "Stage") -> None:
    title = "Reference"
    lines = [
        title,
        "=" * len(title),
        "",
        "Everything public, by module. ``import minidl as md`` and",
        "",
    ]
    lines += [
        "``from minidl import data, init, nn, optim, functional as F`` are what the examples begin with.",
        "",
    ]
    lines += [".. toctree::", "   :maxdepth: 1", "", *(f"   {module}" for module in MODULES), ""]
    staged.write("reference/index.rst", "\n".join(lines))
    for module in MODULES:
        staged.write(f"reference/{module}.rst", page(module))


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where the source of something is shown, for the [source] beside it."""
    if domain != "py" or not info.get("fullname"):
        return None
    thing: Any = importlib.import_module(info["module"] or "minidl")
    for part in info["fullname"].split("."):
        thing = getattr(thing, part, None)
    thing = getattr(thing, "fget", None) or thing
    try:
        file = inspect.getsourcefile(inspect.unwrap(thing))
        line = inspect.getsourcelines(inspect.unwrap(thing))[1]
    except (TypeError, OSError):
        return None
    root = inspect.getsourcefile(minidl).removesuffix("minidl/__init__.py")
    if not file.startswith(root):
        return None
    return address(f"{file.removeprefix(root)}#L{line}", "reference/page")
