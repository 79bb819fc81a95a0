"""Files: only regular ones are read, and no place ever holds half of a written one."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, BinaryIO

import numpy as np

from minidl import check

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CHUNK = 1 << 20
LEAST_LIMIT = 1 << 30
EXPANSION = 16

# --- Reading -------------------------------------------------------------------------------------


class TooLarge(ValueError):
    """A file declares more bytes than `max_bytes`."""


@contextmanager
def regular(who: str, path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A regular file, or what a symbolic link to one leads to, open for reading.

    A pipe, a socket or a device might never end, or never begin.

    Raises:
        FileNotFoundError: it is not there. IsADirectoryError: it is a folder. ValueError: it is
            another thing that is not a regular file.
    """
    # Without O_NONBLOCK, opening a pipe waits until someone writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        _check_regular(f"{who}: {path}", os.stat(path))  # opening a device may already do something
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise FileNotFoundError(f"{who}: {path} is not there") from None
    with open(descriptor, "rb") as file:
        _check_regular(f"{who}: {path}", os.fstat(descriptor))  # it may be another one by now
        yield file


def _check_regular(what: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{what} is a folder, expected a file")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{what} is a pipe, socket or device, expected a regular file")


@contextmanager
def reading(
    who: str,
    path: str | os.PathLike[str],
    max_bytes: int | None = None,
    passing: tuple[type[Exception], ...] = (),
) -> Iterator[tuple[BinaryIO, int]]:
    """`regular` and the `byte_limit`, for a reader that may raise anything where a file is damaged.

    Args:
        passing: what the reader raises of a good file, and says by itself.

    Raises:
        ValueError: what else the reader raised, with the file's name.
    """
    with regular(who, path) as file:
        limit = byte_limit(who, max_bytes, file)
        try:
            yield file, limit
        except TooLarge as error:
            raise ValueError(f"{who}: {path}: {error}") from None
        except (MemoryError, ImportError):
            raise
        except Exception as error:
            if isinstance(error, passing):
                raise
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise  # the disk's fault; EINVAL comes from a damaged offset
            ending = os.path.splitext(path)[1]
            raise ValueError(
                f"{who}: {path} is truncated, damaged or no {ending} file "
                f"({type(error).__name__}: {error})"
            ) from error


def size_of(file: BinaryIO) -> int:
    """The length of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def byte_limit(who: str, max_bytes: int | None, file: BinaryIO) -> int:
    """`max_bytes`, or its default: 1 GiB, or 16 times the file's size where that is more."""
    if max_bytes is None:
        return max(LEAST_LIMIT, EXPANSION * size_of(file))
    return check.integer(who, "max_bytes", max_bytes, least=0)


def within(limit: int, total: int, what: str) -> None:
    """Raises TooLarge if the `total` bytes that `what` declares are more than the limit."""
    if total > limit:
        raise TooLarge(
            f"{what} {total:,} bytes, more than max_bytes={limit:,}: if you trust the file, "
            "load it with a larger max_bytes"
        )


def read_into(file: IO[bytes], content: np.ndarray) -> int:
    """Fills an array of bytes from a file and returns how many there were."""
    done = 0
    while done < len(content):
        count = file.readinto(content[done : done + CHUNK])  # type: ignore[attr-defined]
        if not count:
            break
        done += count
    return done


# --- Writing -------------------------------------------------------------------------------------


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for writing that takes the place of `path` when the block ends well.

    Whatever ends the block otherwise (an error, a full disk, Ctrl-C) leaves the old file as it was.
    What a killed process left is removed by the next one that writes to the same folder.

    Raises:
        FileNotFoundError: the folder of `path` is not there.
        IsADirectoryError: `path` is a folder. ValueError: it is there and no regular file.
    """
    target = os.path.realpath(path)  # a symbolic link stays one: its target is replaced
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: its folder {folder} is not there")
    mode = None
    with suppress(FileNotFoundError):
        status = os.stat(target)
        _check_regular(f"{path}", status)
        mode = stat.S_IMODE(status.st_mode)
    remove_abandoned(folder)
    # Until it is whole, nobody may read what they could not read in the old file.
    temporary, file = _new_temporary(folder, 0o666 if mode is None else 0o600)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if mode is not None:
                os.chmod(temporary, mode)
            if fcntl:
                os.replace(temporary, target)  # before it is closed, which would unlock it
        if not fcntl:
            os.replace(temporary, target)  # Windows moves no open file
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _new_temporary(folder: str, mode: int) -> tuple[str, BinaryIO]:
    """The name of a new file, and the file itself, locked for as long as it is open."""
    # In the folder of the target, as os.replace is atomic only within a file system. Not tempfile:
    # its files can be read by their owner only, and the new file would stay so.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        name = "-".join([".minidl", *_machine(), os.urandom(8).hex()]) + ".tmp"
        temporary = os.path.join(folder, name)
        file = open(os.open(temporary, flags, mode), "wb")  # noqa: SIM115
        if fcntl is None or (_lock(file.fileno()) and os.fstat(file.fileno()).st_nlink):
            return temporary, file
        file.close()  # before it was locked, another process took it for abandoned


def remove_abandoned(folder: str) -> None:
    """Removes the temporary files in a folder that processes of this machine left when they were killed.

    A living process holds the lock of its file. On a network folder another machine may not see
    that lock: its files are left alone.
    """
    if fcntl is None:
        return
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        found = [
            e.path for e in entries if e.name.startswith(".minidl-") and e.name.endswith(".tmp")
        ]
    for path in found:
        if set(_machine()).isdisjoint(os.path.basename(path).split("-")):
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                if _lock(descriptor, otherwise=False):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _lock(descriptor: int, otherwise: bool = True) -> bool:
    """Locks an open file unless another process has; `otherwise` where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True


@cache
def _machine() -> tuple[str, ...]:
    """Names for this machine: its own, and where the system has one, that of its present boot.

    A container has a name of its own but shares the boot; a restarted machine keeps its name.
    """
    names = [os.uname().nodename if fcntl else "windows"]
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        names.append(file.read())
    return tuple(f"{zlib.crc32(name.encode()):08x}" for name in names)


def _sync_folder(folder: str) -> None:
    """Makes the new name in a folder last through a power cut, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders; another may allow to write but not to read it
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
