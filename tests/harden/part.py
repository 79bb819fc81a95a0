"""What parts of `make harden` share: a copy of the checkout, a virtual environment, commands and their output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "harden"  # copies stay there, so the next run compiles less
HERE = Path("tests/harden")


class Missing(Exception):
    """A part cannot run here: what is missing, and how to get it."""


class Failed(Exception):
    """What a part is about does not hold."""


@dataclass(frozen=True)
class Part:
    """A row of the table in run.py. `run` raises Missing or Failed, or returns one line: what it has seen."""

    name: str
    proves: str
    minutes: float  # on two cores; docs/hardening.md says which of these were measured
    run: Callable[[Work], str]
    needs: Mapping[str, str] | None = None  # {command or module: how to get it}


def check_needs(part: Part) -> None:
    for name, how in (part.needs or {}).items():
        if shutil.which(name) is None and not importable(name):
            raise Missing(f"{name}: {how}")


def importable(name: str) -> bool:
    found = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True)
    return found.returncode == 0


class Work:
    """The folder and the log of one part."""

    def __init__(self, name: str, quick: bool = False) -> None:
        self.quick = quick  # a sample, as CI runs it; only the parts in states.py know how
        self.folder = FOLDER / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = FOLDER / f"{name}.log"
        self.log.write_text("")
        self.python = Path(sys.executable)
        self.source = ROOT  # where commands run

    def run(self, *command: str | Path, timeout: float = 7200, **env: str) -> str:
        """Runs a command in `source`, whose minidl it imports; its output. Raises Failed if it fails."""
        words = [str(word) for word in command]
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(f'{k}={v}' for k, v in env.items())} {' '.join(words)}\n")
            log.flush()
            begin = log.tell()
            try:
                code = subprocess.run(
                    words, cwd=self.source, env=self.environment(env), timeout=timeout,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Failed(f"not done after {timeout:.0f} s: {' '.join(words)}") from None
        with self.log.open(errors="replace") as log:
            log.seek(begin)
            output = log.read()
        if code:
            raise Failed(f"exit status {code} of: {' '.join(words)}")
        return output

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Scripts import minidl from `source` too, and not what is installed."""
        return os.environ | {"PYTHONPATH": str(self.source), "PYTHONDONTWRITEBYTECODE": "1"} | more

    def pytest(self, *arguments: str | Path, **env: str) -> str:
        """pytest's closing line."""
        output = self.run(self.python, "-m", "pytest", "-p", "no:cacheprovider", *arguments, **env)
        return re.findall(r"^.*\d+ passed.*$", output, re.M)[-1].strip(" =")

    def copy(self) -> None:
        """Copies the checkout to `folder`; what was compiled there and is still good stays."""
        self.source = self.folder / "src"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        names = {name for name in listed if (ROOT / name).is_file()}
        manifest = self.folder / "copied.txt"
        before = manifest.read_text().split("\n") if manifest.exists() else []
        for name in set(before) - names:
            (self.source / name).unlink(missing_ok=True)
        for name in names:
            old, new = ROOT / name, self.source / name
            if not new.exists() or new.read_bytes() != old.read_bytes():
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(old, new)
                new.touch()
        manifest.write_text("\n".join(sorted(names)))

    def build(self, **env: str) -> None:
        """Compiles the copy in place, and sees to it that this is what will be imported."""
        self.run(self.python, "setup.py", "-q", "build_ext", "--inplace", **env)

    def check_import(self, **env: str) -> None:
        code = (
            "import minidl; from minidl import _kernels as K; print(minidl.__file__, *K.available)"
        )
        where = self.run(self.python, "-c", code, **env).split("\n")[-2]
        if not where.startswith(str(self.source)):
            raise Failed(f"imports {where} and not {self.source}")

    def venv(self, *install: str, base: str = sys.executable) -> None:
        """A virtual environment of `base` in which `install` is all there is."""
        place = self.folder / "venv"
        self.run(base, "-m", "venv", "--clear", place)
        self.python = place / "bin" / "python"
        self.run(self.python, "-m", "pip", "--disable-pip-version-check", "-q", "install", *install)


def last_line(output: str) -> str:
    return output.strip().split("\n")[-1]


def tail(path: Path, lines: int = 60) -> Sequence[str]:
    return path.read_text(errors="replace").split("\n")[-lines:]
