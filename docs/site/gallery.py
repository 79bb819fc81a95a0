"""The examples as a gallery, by sphinx-gallery: each with its pictures, and how long it took where it was measured.

Nothing is run when the site is built: the longest takes minutes. gallery.json has what was measured, and
``python docs/site/gallery.py [NAME ...]`` measures again.
"""

import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stage import Stage

ROOT = Path(__file__).resolve().parent.parent.parent
RECORD = Path(__file__).with_name("gallery.json")
settings = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "plot_gallery": False,
    "within_subsection_order": "ExampleTitleSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "thumbnail_size": (400, 280),
}
HEADER = """Examples
========

Whole programs, each a file of ``examples/`` that can be run, with the pictures that it draws and, where it was
measured, the time that it took on one core.

"""


def write(staged: "Stage") -> None:
    """The examples as sphinx-gallery reads them."""
    staged.write("examples/GALLERY_HEADER.rst", HEADER)
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for name, about in record["examples"].items():
        pictures = [staged.picture(f"docs/{picture}") for picture in about["pictures"]]
        source = (ROOT / "examples" / name).read_text(encoding="utf-8")
        staged.write(
            f"examples/{Path(name).name}", example(source, about, pictures, record["machine"])
        )


def example(source: str, about: dict, pictures: list[str], machine: str) -> str:
    """A program for sphinx-gallery: its docstring in reStructuredText, and its parts as sections."""
    match = re.match(r'"""(.*?)"""\n', source, re.DOTALL)
    title = about["title"]
    text = [title, "=" * len(title), "", *_paragraphs(match[1]), ""]
    for picture in pictures:
        text += [
            f".. image:: /{picture}",
            "   :alt: " + about["shows"],
            "   :class: example-picture",
            "",
        ]
    if about["seconds"]:
        minutes, seconds = divmod(round(about["seconds"]), 60)
        took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        text += [f"``{about['command']}`` took {took} on one core ({machine}).", ""]
    code = re.sub(
        r"^# ── (.*?) ─+$",
        lambda m: f"# %%\n# {m[1]}\n# {'-' * len(m[1])}",
        source[match.end() :],
        flags=re.M,
    )
    thumbnail = f"\n# sphinx_gallery_thumbnail_path = {pictures[0]!r}\n"
    return 'r"""' + "\n".join(text) + '"""\n' + code + thumbnail


def _paragraphs(docstring: str) -> list[str]:
    """The docstring's lines, its indented ones as literal blocks."""
    lines: list[str] = []
    for line in docstring.strip().splitlines():
        begins = line.startswith(" ") and lines and not lines[-1].strip()
        if begins and not any(previous.startswith(" ") for previous in lines[-2:-1]):
            lines += [".. code-block:: text", ""]
        lines.append(line)
    return lines


def measure(names: list[str]) -> None:
    """Runs these examples, or all, as their commands say, each in a folder of its own; writes down how long they took.

    On one thread, and in seconds of the processor: the same on a machine that has other things to do.
    """
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    environment = os.environ | {"MINIDL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in names or record["examples"]:
        about = record["examples"][name]
        with tempfile.TemporaryDirectory() as folder:
            _, program, *arguments = about["command"].split()
            command = [sys.executable, ROOT / program, *arguments]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, cwd=folder, check=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        about["seconds"] = round(sum(after[:2]) - sum(before[:2]), 1)
        record["machine"] = processor()
        RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def processor() -> str:
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.is_file() else ""
    found = re.search(r"model name\s*: (.*)", text)
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    measure(sys.argv[1:])
