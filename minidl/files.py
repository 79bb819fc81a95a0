"""Writing a file so that its place never holds half of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for writing that takes the place of `path` when the block ends well.

    Whatever ends the block otherwise (an error, a full disk, Ctrl-C) leaves the old file as it was.

    Raises:
        FileNotFoundError: the folder of `path` is not there.
    """
    target = os.path.realpath(path)  # a symbolic link stays one: its target is replaced
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: its folder {folder} is not there")
    if os.path.isdir(target):
        raise IsADirectoryError(f"{path} is a folder, expected a file")
    # In the same folder, as os.replace is atomic only within a file system. Not tempfile: its files
    # can be read by their owner only, and the new file would stay so.
    temporary = os.path.join(folder, f".minidl-{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
