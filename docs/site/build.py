"""Builds the site: ``python docs/site/build.py [--offline] [--out build/site]``. `make docs` does.

--offline puts Python for the browser into the site, so that Run works without a network: it asks npm for Pyodide, and
takes NumPy's wheel for it from the file that PYODIDE_NUMPY names. Without it, both come from Pyodide's own server.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import gallery
import maths
import reference
import stage

PYODIDE = "314.0.7"  # and NumPy 2.4
CDN = f"https://cdn.jsdelivr.net/pyodide/v{PYODIDE}/full/"
NEEDED = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
)
STREAMED = ("pyodide.asm.wasm", "python_stdlib.zip")
ROOT = stage.ROOT


def gather(folder: Path) -> None:
    """All that Sphinx reads."""
    staged = stage.Stage(folder)
    for name in staged.pages:
        staged.page(name)
    if "index" not in staged.pages:
        entry = "# minidl\n\nA deep learning framework that one person can read.\n"
        staged.write("index.md", entry + stage.nav.below("index", entry, staged.pages))
    reference.write(staged)
    gallery.write(staged)
    playground = ROOT / "docs" / "playground"
    for file in sorted(playground.rglob("*")):
        if file.is_file() and file.suffix != ".md" and "__pycache__" not in file.parts:
            staged.write(f"static/playground/{file.relative_to(playground)}", file.read_bytes())
    staged.write("sources.json", json.dumps(sorted(staged.sources)))
    staged.remove_the_rest(kept=("static", "gallery"))
    (folder / "extra").mkdir(exist_ok=True)


def python_for_the_browser(live: Path, wheel: Path | None, offline: bool) -> None:
    """What static/live/worker.js loads: minidl's wheel of pure Python, and where Pyodide and NumPy are."""
    live.mkdir(parents=True, exist_ok=True)
    for old in live.glob("*.whl"):
        old.unlink()
    if wheel:
        shutil.copy(wheel, live)
    else:
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
        ]
        environment = os.environ | {"MINIDL_PURE": "1"}
        subprocess.run([*command, "--wheel-dir", live, ROOT], check=True, env=environment)
    (wheel,) = live.glob("minidl-*-py3-none-any.whl")
    plotting = ROOT / "docs" / "pictures" / "svg.py"
    config = {"pyodide": CDN, "numpy": None, "minidl": wheel.name, "svg": plotting.is_file()}
    if plotting.is_file():
        shutil.copy(plotting, live)
    if offline:
        numpy = Path(os.environ["PYODIDE_NUMPY"])
        take_pyodide(live / "pyodide")
        shutil.copy(numpy, live)
        config |= {"pyodide": "pyodide/", "numpy": numpy.name}
    # What the page counts while it loads; from Pyodide's server, as it was in this version.
    counted = [*live.glob("*.whl"), *(live / "pyodide" / name for name in STREAMED)]
    config["bytes"] = sum(path.stat().st_size for path in counted) if offline else 13_400_000
    (live / "config.json").write_text(json.dumps(config), encoding="utf-8")


def take_pyodide(folder: Path) -> None:
    """The files of the npm package that the browser needs; npm is asked only once."""
    if all((folder / name).is_file() for name in NEEDED):
        return
    folder.mkdir(exist_ok=True)
    subprocess.run(["npm", "pack", "--silent", f"pyodide@{PYODIDE}"], cwd=folder, check=True)
    archive = folder / f"pyodide-{PYODIDE}.tgz"
    with tarfile.open(archive) as package:
        for name in NEEDED:
            (folder / name).write_bytes(package.extractfile(f"package/{name}").read())
    archive.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--wheel", type=Path, help="minidl's pure-Python wheel, if there is one")
    parser.add_argument("--fresh", action="store_true", help="reads every page again")
    args = parser.parse_args()
    if args.offline and not os.environ.get("PYODIDE_NUMPY"):
        parser.error("--offline: PYODIDE_NUMPY must name NumPy's wheel for Pyodide")
    staged = args.out.parent / f"{args.out.name}-staged"
    gather(staged)
    python_for_the_browser(staged / "static" / "live", args.wheel, args.offline)
    options = ["-E", "-a"] if args.fresh else []
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", *options]
    command += ["-c", Path(__file__).parent, staged, args.out]
    # Docstrings and lines are read from the Python files, not from what was compiled of them.
    environment = os.environ | {"MINIDL_DOCS": str(staged), "MINIDL_ENGINE": "python"}
    done = subprocess.run(command, env=environment)
    if done.returncode:
        sys.exit(done.returncode)
    maths.write_font(args.out)
    print(f"The site is in {args.out}. To see it: python -m http.server --directory {args.out}")


if __name__ == "__main__":
    main()
