"""Saving and loading: ``.npz`` and ``.safetensors`` files, never pickle.

A file holds arrays by name, and a JSON text for all the rest: the tree of dicts, lists and tuples,
and the numbers and strings in it. An array's name is the path to it, joined by "/". A flat dict of
arrays is therefore saved under its own names, and other programs read it; a file of theirs, without
the JSON text, loads as such a dict.

In the JSON text an array is ``{"array": name}``, a NumPy scalar ``{"scalar": name}``, a dict
``{"dict": {...}}``, a StateDict ``{"state": {...}, "multipliers": {...}}``, a tuple ``{"tuple":
[...]}``, a nan or inf ``{"float": "nan"}``; lists, strings, bools, None and other numbers mean
themselves.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidl.io import files, npz, safetensors
from minidl.io.state import StateDict

Arrays = dict[str, np.ndarray]

FORMATS: dict[str, Any] = {".npz": npz, ".safetensors": safetensors}
RESERVED = (npz.TREE, safetensors.METADATA)
VERSION = 1
STORABLE = {"bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64))} | {
    *(f"float{n}" for n in (16, 32, 64))
}


def save(state: Any, path: str | os.PathLike[str]) -> None:
    """Writes `state` to a file that `load` reads; an older file is replaced as a whole or not.

    The file has a checksum of each array, which `load` checks, and is safe from a power cut when
    `save` returns. A process that is killed while it saves leaves a file ``.minidl-*.tmp``, which
    the next `save` to the same folder removes (not on Windows).

    Args:
        state: arrays and Tensors (bool, integer, float16, float32, float64; anything with
            ``__array__``), NumPy and Python numbers of any size, strings, bools and None, in dicts
            with string keys, lists and tuples, nested as you like. A StateDict keeps its
            multipliers.
        path: ends in ``.npz`` or ``.safetensors`` (needs ``pip install "minidl[safetensors]"``).

    Raises:
        TypeError: something that cannot be saved; the message names its place in `state`. Nothing
            is written.
        ValueError: another ending, two arrays that would get the same name, a state that contains
            itself, or a path to something that is not a regular file.
        FileNotFoundError: the folder is not there.
        ImportError: the safetensors library is missing.
        OSError: the disk is full or broken; the older file is still there.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "checkpoint.npz")
    >>> save({"model": {"weight": np.ones(2)}, "epoch": 3}, path)
    >>> load(path)
    {'model': {'weight': array([1., 1.])}, 'epoch': 3}
    """
    form = _form("save", path)
    arrays: Arrays = {}
    try:
        tree = _encode(state, (), arrays)
        flat = type(state) is dict and tree == {"dict": {name: {"array": name} for name in arrays}}
        text = None if flat else json.dumps({"version": VERSION, "tree": tree}, allow_nan=False)
    except RecursionError:
        raise ValueError("save: state contains itself, or is nested too deeply") from None
    for name in arrays:
        _check_name(name)
    with files.replacing(path) as file:
        form.write(file, arrays, text)


def load(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Any:
    """What `save` wrote: arrays as ndarrays (Tensors too), everything else as it was.

    A file from another program gives a flat dict of arrays; bfloat16 becomes float32.

    Args:
        max_bytes: the most that all arrays of the file may take: a small compressed file may
            declare very large ones. Default: 1 GiB, or 16 times the file's size if that is more.

    Raises:
        FileNotFoundError: the file is not there.
        ImportError: the safetensors library is missing.
        ValueError: the ending is unknown, or the file is not a regular file, is truncated or damaged,
            declares more than `max_bytes`, or holds Python objects.
    """
    form = _form("load", path)
    with files.reading("load", path, max_bytes) as (file, limit):
        arrays, text = form.read(file, limit)
        return arrays if text is None else _decode_file(text, arrays)


def _form(who: str, path: str | os.PathLike[str]) -> Any:
    """The module that reads and writes files with this ending."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{who}: path must be a string or a Path, got {path!r}")
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{who}: {path} must end in .npz or .safetensors")
    return FORMATS[ending]


# --- The tree: everything that is not an array -------------------------------------------------------


def _encode(value: Any, path: tuple[str, ...], arrays: Arrays) -> Any:
    """The JSON form of `value`; its arrays are put into `arrays` under their names."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.generic):
        return {"scalar": _add(np.asarray(value), path, arrays)}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, Mapping):
        items = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"save: {_show(path)} has the key {key!r}: keys must be strings")
            items[key] = _encode(item, (*path, key), arrays)
        if isinstance(value, StateDict):
            multipliers = _encode(value.multipliers, (*path, "multipliers"), arrays)
            return {"state": items, "multipliers": multipliers}
        return {"dict": items}
    if isinstance(value, list | tuple):
        listed = [_encode(item, (*path, str(i)), arrays) for i, item in enumerate(value)]
        return listed if isinstance(value, list) else {"tuple": listed}
    return {"array": _add(_as_array(value, path), path, arrays)}


def _as_array(value: Any, path: tuple[str, ...]) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(getattr(value, "data", None), np.ndarray):  # a Tensor, also one with a gradient
        return value.data
    if not hasattr(value, "__array__"):
        raise TypeError(
            f"save: {_show(path)} is of type {type(value).__name__}: expected arrays, Tensors, "
            "numbers, strings, bools, None, or dicts, lists and tuples of them"
            + (" (pass its state_dict())" if hasattr(value, "state_dict") else "")
        )
    try:
        return np.asarray(value)
    except Exception as error:
        raise TypeError(f"save: {_show(path)} does not turn into an array: {error}") from error


def _add(array: np.ndarray, path: tuple[str, ...], arrays: Arrays) -> str:
    if array.dtype.name not in STORABLE:
        raise TypeError(
            f"save: {_show(path)} has the dtype {array.dtype}: expected bool, integer, float16, "
            "float32 or float64"
        )
    name = "/".join(path)
    if name in arrays:
        raise ValueError(f"save: two arrays are named {name!r}: rename the key with a '/'")
    # Row-major and in native byte order; ascontiguousarray would give a 0-d array an axis.
    arrays[name] = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    return name


def _check_name(name: str) -> None:
    if name in RESERVED or "\0" in name:
        raise ValueError(f"save: the key {name!r} is reserved")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"save: the key {name!r} cannot be encoded in UTF-8") from None
    if length > npz.NAME_BYTES:
        raise ValueError(
            f"save: the key {name[:20]!r}... has {length:,} bytes, expected {npz.NAME_BYTES:,} "
            "at most, with the keys around it"
        )


def _show(path: tuple[str, ...]) -> str:
    return "state" + "".join(f"[{key!r}]" for key in path)


def _decode_file(text: str | bytes, arrays: Arrays) -> Any:
    content = json.loads(text)
    if content["version"] > VERSION:
        raise ValueError(f"it has version {content['version']}; this minidl reads up to {VERSION}")
    return _decode(content["tree"], arrays)


def _decode(node: Any, arrays: Arrays) -> Any:
    """The inverse of `_encode`."""
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    kind = next(iter(node), None)
    content = node[kind]
    if kind == "array":
        return arrays[content]
    if kind == "scalar":
        return arrays[content][()]
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(_decode(item, arrays) for item in content)
    if kind not in ("dict", "state"):
        raise ValueError(f"its tree has the unknown kind {kind!r}")
    items = {key: _decode(item, arrays) for key, item in content.items()}
    return items if kind == "dict" else StateDict(items, _decode(node["multipliers"], arrays))
