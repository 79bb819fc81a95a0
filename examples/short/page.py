"""What the short examples share: their arguments, and where their picture goes."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def arguments(description: str, argv: list[str] | None = None, steps: int = 1000):
    """--steps, --seed and --out of the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=steps, help=f"of training; default {steps}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER")
    return parser.parse_args(argv)


def batches(loader: Iterable[Any], steps: int) -> Iterator[Any]:
    """So many batches, going through the loader's data as often as that takes."""
    return itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), steps)


def figure(width: float, height: float) -> Figure:
    """An empty page for a picture, in inches."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("matplotlib"):
            raise
        message = 'no picture: matplotlib is missing; install it with: pip install "minidl[plot]"'
        raise SystemExit(message) from None
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes FOLDER/short/NAME.png."""
    path = folder / "short" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"picture: {path}")
