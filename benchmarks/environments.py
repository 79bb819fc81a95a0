"""The peers: what is measured, in which virtual environment, with which versions. All versions are
pinned in this file.

Each environment is created once, with venv and pip, and rebuilt when its row changes. A peer whose
environment cannot be created stays in every table, with the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUMPY = "numpy==2.4.6"


@dataclass(frozen=True)
class Environment:
    """A virtual environment: what pip installs, and the Python it needs ("" is the one that
    runs this).
    """

    requirements: tuple[str, ...]
    python: str = ""


ENVIRONMENTS = {
    "minidl": Environment((NUMPY,)),  # and the wheel of this checkout
    "numpy": Environment((NUMPY,)),
    "torch": Environment(("torch==2.13.0", NUMPY)),
    "jax": Environment(("jax==0.10.2", "jaxlib==0.10.2", NUMPY)),
    "tf": Environment(("tensorflow-cpu==2.21.0", NUMPY)),
    # The newest NNabla with binaries is built for Python 3.8 to 3.10, and it pins NumPy itself.
    "nnabla": Environment(("nnabla==1.39.0", "setuptools<81"), python="3.10"),
}


@dataclass(frozen=True)
class Peer:
    """One column of the tables: a worker script in an environment, in one of its variants."""

    label: str
    environment: str
    variant: str = "default"

    @property
    def script(self) -> Path:
        return ROOT / "benchmarks" / "workers" / f"{self.environment}_.py"


PEERS = {
    "minidl": Peer("minidl", "minidl"),
    "minidl_captured": Peer("minidl, captured", "minidl", "captured"),
    "numpy": Peer("NumPy by hand", "numpy"),
    "torch": Peer("PyTorch", "torch"),
    "torch_fused": Peer("PyTorch, fused Adam", "torch", "fused"),
    "torch_compile": Peer("torch.compile", "torch", "compile"),
    "torch_channels_last": Peer("PyTorch, channels_last", "torch", "channels_last"),
    "jax": Peer("JAX jit", "jax"),
    "jax_scan": Peer("JAX jit, scan over steps", "jax", "scan"),
    "tf": Peer("TensorFlow", "tf"),
    "nnabla": Peer("NNabla", "nnabla"),
}


class Unavailable(Exception):
    """An environment could not be created; the text says why."""


def folder(root: Path, name: str) -> Path:
    return root / name


def executable(root: Path, name: str) -> Path:
    return folder(root, name) / "bin" / "python"


def prepare(root: Path, name: str, log: Callable[[str], None], keep: bool = False) -> None:
    """Creates the environment `name` below `root`, unless it exists with these versions (with `keep`:
    with any).

    Raises Unavailable.
    """
    if keep and executable(root, name).exists():
        return
    wheel = build_wheel(root, log) if name == "minidl" else None
    environment = ENVIRONMENTS[name]
    installed = [*environment.requirements, *([wheel.name, digest_of(wheel)] if wheel else [])]
    stamp = folder(root, name) / "installed.json"
    if stamp.exists() and json.loads(stamp.read_text()) == installed:
        return
    log(f"making the environment of {name}: {', '.join(environment.requirements)}")
    shutil.rmtree(folder(root, name), ignore_errors=True)
    python = find_python(environment.python)
    run([python, "-m", "venv", folder(root, name)], name)
    packages = [*environment.requirements, *([wheel] if wheel else [])]
    run([executable(root, name), "-m", "pip", "install", "--quiet", *packages], name)
    stamp.write_text(json.dumps(installed))


def find_python(version: str) -> str:
    """A Python of that version, from the path or from pyenv. Raises Unavailable."""
    if not version:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in (
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}*/bin/python")),
    ):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    raise Unavailable(f"needs Python {version}, which was not found")


def sources() -> list[Path]:
    """What the wheel is built from: a change in one of these files builds it anew."""
    found = [ROOT / "pyproject.toml", ROOT / "setup.py", *sorted(ROOT.glob("tools/*.py"))]
    kinds = {".py", ".pyx", ".pxd", ".gz", ".h", ".c"}
    return found + sorted(p for p in (ROOT / "minidl").rglob("*") if p.suffix in kinds)


def copy_sources(to: Path) -> None:
    """A copy to build in (pip builds in the source tree), so that the checkout stays as it is."""
    shutil.rmtree(to, ignore_errors=True)
    texts = ("README.md", "LICENSE", "minidl/**/*.md", "minidl/**/py.typed")
    for path in [*sources(), *(path for text in texts for path in ROOT.glob(text))]:
        destination = to / path.relative_to(ROOT)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination)


def build_wheel(root: Path, log: Callable[[str], None]) -> Path:
    """The wheel of this checkout, rebuilt only if a source file has changed. Raises Unavailable."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    target = root / "wheels" / digest.hexdigest()[:16]
    wheels = list(target.glob("*.whl"))
    if not wheels:
        log("building the wheel of this checkout")
        copy_sources(root / "source")
        shutil.rmtree(root / "wheels", ignore_errors=True)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", target]
        run([*command, root / "source"], "minidl")
        wheels = list(target.glob("*.whl"))
    return wheels[0]


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(command: list, name: str) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise Unavailable(" ".join(lines) or f"{name}: {done.stderr[-500:]}")


def installed_megabytes(root: Path, name: str) -> float:
    """The size of the environment's packages on the disk, without those of an empty environment."""
    [packages] = folder(root, name).glob("lib/python*/site-packages")
    own = [
        p for p in packages.iterdir() if not p.name.startswith(("pip", "setuptools", "_distutils"))
    ]
    files = [p for entry in own for p in ([entry] if entry.is_file() else entry.rglob("*"))]
    return (
        sum(p.stat().st_size for p in files if p.is_file() and "__pycache__" not in p.parts) / 1e6
    )


def freeze(root: Path, name: str) -> list[str]:
    """The exact versions in an environment, as pip lists them."""
    command = [str(executable(root, name)), "-m", "pip", "list", "--format=freeze"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()
