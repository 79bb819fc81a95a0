"""What was found in earlier runs, by function and dtype, as long as what it was found of is still the same.

That is: the lines of the kernels' source that the function is made of, the bits of its results on some thousand numbers
at each level (compilers and their options change them), the C of the comparison, and the sample.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path

import numpy as np

from accuracy.compare import Compared, Function, pytorch_version
from accuracy.sample import Sample, doubles

ROOT = Path(__file__).parents[2]
MATH = ROOT / "minidl" / "_kernels" / "math"
RULES = ROOT / "minidl" / "_kernels" / "loops" / "activations.pyx"
ELEMENTARY = ROOT / "tests" / "kernels" / "mathcheck.pyx"


@cache
def pieces() -> tuple[dict[str, str], str]:
    """{name: text} of the functions in _kernels/math, and what else they need: constants, C, types."""
    functions: dict[str, str] = {}
    rest = ""
    for path in sorted(MATH.glob("*.pxd")):
        text = re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)
        for piece in re.split(r"\n(?=[^\s)])", text):
            defined = re.match(r"cdef inline .*?(\w+)\(", piece)
            if defined:
                functions[defined[1]] = piece
            elif not piece.startswith(("from ", "#")):
                rest += piece
    return functions, rest


def own_lines(name: str) -> str:
    """Where the source says what the function is: its branches in activations.pyx, or its line in mathcheck.pyx."""
    text = RULES.read_text(encoding="utf-8")
    entry = re.search(rf'^ACTIVATIONS\["{name}"\] = .*', text, re.MULTILINE)
    if entry is None:
        return next(
            found[0]
            for found in re.finditer(r"y\[i\] = (?:any_)?(\w+)_\(x\[i\]\)", ELEMENTARY.read_text())
            if found[1] == name
        )
    tags, said = set(re.findall(r"\[(\w+)\]\(NULL\)", entry[0])), ""
    branches = [
        (set(re.findall(r"[A-Z]\w+ is (\w+)", branch.split(":")[0])), branch.split("\n\n\n")[0])
        for branch in re.split(r"\n    (?:el)?if (?=[A-Z]\w+ is )", text)[1:]
    ]
    every, new = set().union(*(of for of, _ in branches)), tags
    while new:  # a branch may lead to another tag
        more = "".join(branch for of, branch in branches if of & new)
        said += more
        new = every & set(re.findall(r"\w+", more)) - tags
        tags |= new
    return said


def source(name: str) -> str:
    """The lines of `own_lines`, and of each function that they call, directly or not."""
    functions, rest = pieces()
    text, found, left = rest, set(), [own_lines(name)]
    while left:
        piece = left.pop()
        text += piece
        for word in sorted(set(re.findall(r"\w+", piece)) & set(functions) - found):
            found.add(word)
            left.append(functions[word])
    return text


def key(name: str, dtype: str, sample: Sample) -> str:
    x = doubles(20_000, 0)
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    function, digest = Function(name), hashlib.sha256(source(name).encode())
    values = function.values(x)
    slopes = function.slopes(x, np.ones_like(x), values)
    for y in (*values.values(), *slopes.values()):
        digest.update(y.tobytes())
    for path in ("truth.c", "truth.h"):
        digest.update((Path(__file__).parent / path).read_bytes())
    share = sample[:2] if dtype == "float32" else sample[2:]
    digest.update(repr((name, dtype, share, list(values), pytorch_version())).encode())
    return digest.hexdigest()[:16]


class Kept:
    """A file with what was found; without a path nothing is kept."""

    def __init__(self, path: Path | None):
        self.path = path
        self.found = json.loads(path.read_text()) if path and path.exists() else {}

    def get(self, name: str, dtype: str, key: str) -> Compared | None:
        there = self.found.get(f"{name} {dtype}")
        return Compared(**there["found"]) if there and there["key"] == key else None

    def put(self, name: str, dtype: str, key: str, found: Compared) -> None:
        self.found[f"{name} {dtype}"] = {"key": key, "found": found._asdict()}
        if self.path:  # whole or not at all
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.found, indent=1))
            new.replace(self.path)
