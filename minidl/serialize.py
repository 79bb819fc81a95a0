"""Saving and loading: ``.npz`` and ``.safetensors`` files, never pickle.

A file holds arrays by name, and a JSON text for all the rest: the tree of dicts, lists and tuples,
and the numbers and strings in it. An array's name is the path to it, joined by "/". A flat dict of
arrays therefore stands under its own names, and other programs read it; a file of theirs, without
the JSON text, loads as such a dict.

In the JSON text an array is ``{"array": name}``, a NumPy scalar ``{"scalar": name}``, a dict
``{"dict": {...}}``, a StateDict ``{"state": {...}, "multipliers": {...}}``, a tuple ``{"tuple":
[...]}``, a nan or inf ``{"float": "nan"}``; lists, strings, bools, None and other numbers stand for
themselves.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidl.files import replacing
from minidl.state import StateDict

Arrays = dict[str, np.ndarray]

NPZ_ENTRY = "__minidl__"
SAFETENSORS_ENTRY = "minidl"
RESERVED = (NPZ_ENTRY, "__metadata__")
VERSION = 1
STORABLE = {"bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64))} | {
    *(f"float{n}" for n in (16, 32, 64))
}
SAFETENSORS_TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * n}": f"<{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": f"<f{n}" for n in (2, 4, 8)},
    "BF16": "<u2",  # NumPy has no bfloat16: its bits are the upper half of a float32's
}


def save(state: Any, path: str | os.PathLike[str]) -> None:
    """Writes `state` to a file that `load` reads; an older file is replaced as a whole or not.

    Args:
        state: arrays and Tensors (bool, integer, float16, float32, float64; anything with
            ``__array__``), NumPy and Python numbers of any size, strings, bools and None, in dicts
            with string keys, lists and tuples, nested as you like. A StateDict keeps its
            multipliers.
        path: ends in ``.npz`` or ``.safetensors`` (needs ``pip install "minidl[safetensors]"``).

    Raises:
        TypeError: something that cannot be saved; the message names its place in `state`. Nothing
            is written.
        ValueError: another ending, or two arrays that would get the same name.
        ImportError: the safetensors library is missing.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "checkpoint.npz")
    >>> save({"model": {"weight": np.ones(2)}, "epoch": 3}, path)
    >>> load(path)
    {'model': {'weight': array([1., 1.])}, 'epoch': 3}
    """
    write = {".npz": _write_npz, ".safetensors": _write_safetensors}[_ending("save", path)]
    arrays: Arrays = {}
    tree = _encode(state, (), arrays)
    for name in arrays:
        if name in RESERVED or "\0" in name:
            raise ValueError(f"save: the key {name!r} is reserved")
    flat = type(state) is dict and tree == {"dict": {name: {"array": name} for name in arrays}}
    text = None if flat else json.dumps({"version": VERSION, "tree": tree}, allow_nan=False)
    write(path, arrays, text)


def load(path: str | os.PathLike[str]) -> Any:
    """What `save` wrote: arrays as ndarrays (Tensors too), everything else as it was.

    A file from another program gives a flat dict of arrays; bfloat16 becomes float32.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the ending is unknown, or the file is truncated or damaged, or holds Python
            objects.
        ImportError: the safetensors library is missing.
    """
    read = {".npz": _read_npz, ".safetensors": _read_safetensors}[_ending("load", path)]
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"load: {path} is not there") from None
    try:
        arrays, text = read(content)
        return arrays if text is None else _decode_file(text, arrays)
    except ImportError:
        raise
    except Exception as error:  # a damaged file makes zipfile, NumPy and json raise many kinds
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"load: {path} is truncated, damaged or no {Path(path).suffix} file ({reason})"
        ) from error


def _ending(who: str, path: str | os.PathLike[str]) -> str:
    ending = Path(path).suffix.lower()
    if ending not in (".npz", ".safetensors"):
        raise ValueError(f"{who}: {path} must end in .npz or .safetensors")
    return ending


# --- The tree: everything that is no array -------------------------------------------------------


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


# --- The files -----------------------------------------------------------------------------------


def _write_npz(path: str | os.PathLike[str], arrays: Arrays, text: str | None) -> None:
    """What np.savez does, for any names (it cannot take ``file``, one of its arguments)."""
    if text is not None:
        arrays = {**arrays, NPZ_ENTRY: np.array(text.encode("ascii"))}
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # has no date: same state, same bytes
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read_npz(content: bytes) -> tuple[Arrays, bytes | None]:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.namelist():
            member = io.BytesIO(archive.read(entry))  # all of it: zipfile checks its CRC
            arrays[entry.removesuffix(".npy")] = _read_npy(member, entry)
    text = arrays.pop(NPZ_ENTRY, None)
    return arrays, None if text is None else text.item()


def _read_npy(member: BinaryIO, entry: str) -> np.ndarray:
    try:
        return np.lib.format.read_array(member, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{entry}: {error}") from error


def _safetensors() -> Any:
    try:
        import safetensors.numpy  # an optional extra
    except ImportError:
        raise ImportError('.safetensors files need: pip install "minidl[safetensors]"') from None
    return safetensors


def _write_safetensors(path: str | os.PathLike[str], arrays: Arrays, text: str | None) -> None:
    metadata = None if text is None else {SAFETENSORS_ENTRY: text}
    content = _safetensors().numpy.save(arrays, metadata)
    with replacing(path) as file:
        file.write(content)


def _read_safetensors(content: bytes) -> tuple[Arrays, str | None]:
    library = _safetensors()
    arrays = {}
    for name, entry in library.deserialize(content):
        if entry["dtype"] not in SAFETENSORS_TYPES:
            raise ValueError(f"{name} has the dtype {entry['dtype']}, which NumPy does not have")
        array = np.frombuffer(entry["data"], SAFETENSORS_TYPES[entry["dtype"]])
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        # astype copies: writable, and in native byte order.
        arrays[name] = array.astype(array.dtype.newbyteorder("=")).reshape(entry["shape"])
    # The library checked the header: eight bytes with its length, then JSON.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return arrays, header.get("__metadata__", {}).get(SAFETENSORS_ENTRY)
