"""Folders of images, one per class."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minidl import check, images
from minidl.data.sources import may_draw
from minidl.images.files import FORMATS, below


class ImageFolder:
    """The images in ``root/cat/...``, ``root/dog/...``: the folders in `root` are the classes, ordered by name.

    ``folder[i]`` reads a file: (image, label), bytes (3, H, W) and an int. All images are read in colour,
    on white where they are transparent, and turned upright as their EXIF data says. Files in folders
    further below belong to the same class; hidden files, and those without the ending of a picture, are
    left out.

    All images of a batch must have the same size. ``size=64`` reads all as 64 x 64, which is the fastest,
    as large JPEG files are decoded no larger than needed; or a transform resizes or crops. Transforms
    that only compute with pixels, such as `ToFloat`, are faster on whole batches: pass them to the loader.

    Needs ``pip install "minidl[images]"``.

    Args:
        root: the folder with a folder per class.
        transform: called as ``transform(x)`` with a batch of one image, (1, 3, H, W); returns a batch of one.
        size: (height, width), or an int for a square: each image is cropped around its centre to these
            proportions, and resized. None leaves images as they are.

    Attributes:
        classes: the names of the classes; a label is an index of this list.
        class_to_index: the label of each name.
        paths, labels: a list of the files, and an array of their labels.

    Raises:
        FileNotFoundError, NotADirectoryError: `root` is not there, or not a folder.
        ValueError: `root` has no folders, or one of them no pictures; when an image is read: the file is
            damaged (the message names it).

    >>> from tempfile import mkdtemp
    >>> root = Path(mkdtemp())
    >>> for name, grey in (("day", 200), ("night", 20)):
    ...     (root / name).mkdir()
    ...     images.write(np.full((4, 6), grey, np.uint8), root / name / "1.png")
    >>> folder = ImageFolder(root)
    >>> folder.classes, len(folder), folder[1][0].shape, folder[1][1]
    (['day', 'night'], 2, (3, 4, 6), 1)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        size: int | Sequence[int] | None = None,
    ) -> None:
        if not isinstance(root, str | os.PathLike):
            raise TypeError(f"ImageFolder: root must be a string or a Path, got {root!r}")
        if transform is not None:
            check.function("ImageFolder", "transform", transform)
        if size is not None and len(check.integers("ImageFolder", "size", size, 1)) > 2:
            raise ValueError(f"ImageFolder: size must be an int or (height, width), got {size}")
        self.root, self.transform, self.size = Path(root), transform, size
        if not self.root.is_dir():
            there = self.root.exists()
            raise (NotADirectoryError if there else FileNotFoundError)(
                f"ImageFolder: root: {root} is {'not a folder' if there else 'not there'}"
            )
        folders = [p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")]
        self.classes = sorted(folder.name for folder in folders)
        if not self.classes:
            raise ValueError(
                f"ImageFolder: {root} has no folders in it: expected one per class, such as "
                f"{self.root / 'cat' / '1.jpg'}"
            )
        self.class_to_index = {name: label for label, name in enumerate(self.classes)}
        self.paths: list[Path] = []
        labels: list[int] = []
        for name, label in self.class_to_index.items():
            found = below(self.root / name)
            if not found:
                raise ValueError(
                    f"ImageFolder: no pictures in {self.root / name} or below "
                    f"({', '.join(FORMATS)})"
                )
            self.paths += found
            labels += [label] * len(found)
        self.labels = np.array(labels, np.int64)

    @property
    def random(self) -> bool:
        """Whether its transform may draw random numbers."""
        return self.transform is not None and may_draw(self.transform)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        i = check.integer("ImageFolder", "index", index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"ImageFolder: index {i} of {len(self)} images")
        image = images.read(self.paths[i], self.size).transpose(2, 0, 1)
        if self.transform is not None:
            one = check.array("ImageFolder", "the transform's result", self.transform(image[None]))
            if one.ndim == 0 or len(one) != 1:
                raise ValueError(
                    f"ImageFolder: transform: expected one image, (1, ...), for one of shape "
                    f"{(1, *image.shape)}, got shape {one.shape}"
                )
            image = one[0]
        return image, int(self.labels[i])

    def describe(self, index: int) -> str:
        """What errors call an image."""
        return str(self.paths[index])

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r}, {len(self)} images, {len(self.classes)} classes)"
