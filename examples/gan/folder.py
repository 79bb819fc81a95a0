"""Any folder of pictures as 64x64 colour images. Needs Pillow."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minidl import images as pictures
from minidl.images.files import FORMATS, below
from minidl.training.progress import clock

SIZE = 64
CLASS_LEAST = 10  # pictures that a subfolder must have to count as a class
NAMED = 10  # unreadable pictures that are listed on the screen


class Pictures(NamedTuple):
    """Pictures (N, 64, 64, 3) of bytes, shuffled; labels and names where subfolders are classes."""

    images: np.ndarray
    labels: np.ndarray | None
    names: list[str]
    skipped: list[str]  # "file: why"


def load(path: Path, most: int | None = None) -> Pictures:
    """The pictures in a folder and below, always in the same, mixed order.

    What cannot be read as a picture is named, skipped and counted. The subfolders are classes if there
    are at least two, each with at least `CLASS_LEAST` pictures, and no pictures outside of them.

    Args:
        most: how many to train on; somewhat more than a tenth of that is read in addition, to be held out.

    Raises:
        SystemExit: no folder, no pictures, or no Pillow.
    """
    if find_spec("PIL") is None:
        raise SystemExit('folders of pictures need Pillow: pip install "minidl[images]"')
    if not path.is_dir():
        raise SystemExit(f"{path} is {'not a folder' if path.exists() else 'not there'}")
    files = below(path)
    if not files:
        raise SystemExit(f"{path}: no pictures in it or below ({', '.join(FORMATS)})")
    names = classes(path, files)
    # Shuffled, so that any part of them is like the whole.
    files = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
    wanted = len(files) if most is None else min(len(files), most + most // 9 + 32)
    images = np.empty((wanted, SIZE, SIZE, 3), np.uint8)
    labels, skipped, progress = [], [], Progress(wanted)
    for file in files:
        if len(labels) == wanted:
            break
        try:
            images[len(labels)] = pictures.read(file, SIZE)
        except Exception as error:  # a file may contain anything, and Pillow may raise anything
            skipped.append(f"{file.relative_to(path)}: {why(error)}")
            if len(skipped) <= NAMED:
                progress.say(f"skipped {skipped[-1]}")
            continue
        labels.append(names.index(file.relative_to(path).parts[0]) if names else 0)
        progress.show(len(labels))
    more = f"; {len(skipped)} skipped that could not be read" if skipped else ""
    if not labels:
        raise SystemExit(f"{path}: none of the {len(files)} pictures could be read")
    progress.say(f"{path}: {len(labels):,} pictures of {SIZE}x{SIZE}{more}")
    return Pictures(images[: len(labels)], np.array(labels) if names else None, names, skipped)


def classes(path: Path, files: list[Path]) -> list[str]:
    """The names of the subfolders, if they can be classes; otherwise an empty list."""
    counts: dict[str, int] = {}
    for file in files:
        first, *rest = file.relative_to(path).parts
        if not rest:
            return []
        counts[first] = counts.get(first, 0) + 1
    return sorted(counts) if len(counts) > 1 and min(counts.values()) >= CLASS_LEAST else []


def why(error: BaseException) -> str:
    error = error.__cause__ or error  # what Pillow said of the file
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is not a picture"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Progress:
    """How many pictures are read: one line in a terminal, redrawn; elsewhere a line every 20 seconds."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.live = sys.stdout.isatty()
        self.begun = self.shown = time.perf_counter()

    def show(self, done: int) -> None:
        now = time.perf_counter()
        if now - self.shown > (0.2 if self.live else 20):
            self.shown = now
            left = clock((now - self.begun) / done * (self.count - done))
            text = f"reading pictures: {done:,} of {self.count:,}, {left} left"
            print(
                f"\r{text}\033[K" if self.live else text, end="" if self.live else "\n", flush=True
            )

    def say(self, text: str) -> None:
        print(f"\r\033[K{text}" if self.live else text, flush=True)
