"""Writing a file so that its place never holds half of it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for writing that takes the place of `path` when the block ends well.

    Whatever ends the block otherwise (an error, a full disk, Ctrl-C) leaves the old file as it was.

    Raises:
        FileNotFoundError: the folder of `path` is not there.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one: its target is replaced
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder {target.parent} is not there")
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a file")
    # In the same folder, as os.replace is atomic only within a file system. Not tempfile: its files
    # can be read by their owner only, and the new file would stay so.
    temporary = target.parent / f".minidl-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
