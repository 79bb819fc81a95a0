"""The oldest versions that pyproject.toml allows: ``python tools/minima.py`` prints them, one per line.

.ci/run installs exactly these and runs the tests; setup.py refuses to build with an older tool.
"""

import itertools
import re
import tomllib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(path: Path = PYPROJECT) -> dict[str, list[str]]:
    """{purpose: requirements}; a purpose is "build", "run" or the name of an extra."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    project = table["project"]
    return {
        "build": table["build-system"]["requires"],
        "run": project["dependencies"],
        **project["optional-dependencies"],
    }


def minima(lines: Iterable[str]) -> dict[str, str]:
    """{name: oldest version} of the requirements that have one."""
    parts = (re.fullmatch(r"([\w.-]+)\s*>=\s*([\d.]+)(?:\s*;.*)?", line) for line in lines)
    return {part[1]: part[2] for part in parts if part}


def numbers(version: str) -> tuple[int, ...]:
    """3.3.0rc1 -> (3, 3, 0, 1), which is good enough to compare versions."""
    return tuple(int(digits) for digits in re.findall(r"\d+", version.partition("+")[0]))


def outdated(
    wanted: dict[str, str], installed: Callable[[str], str] = metadata.version
) -> str | None:
    """A sentence on the first tool that is missing or too old."""
    for name, oldest in wanted.items():
        try:
            found = installed(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found == "none" or numbers(found) < numbers(oldest):
            return (
                f"building minidl needs {name} {oldest} or newer, and there is {found}: "
                f'pip install "{name}>={oldest}"'
            )
    return None


if __name__ == "__main__":
    for name, version in minima(itertools.chain(*requirements().values())).items():
        print(f"{name}=={version}")
