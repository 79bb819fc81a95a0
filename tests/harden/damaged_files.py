"""Damaged files: a clear error, or what was saved; where a format has checksums, never anything else.

    python tests/harden/damaged_files.py             each kind of damage at every 64th byte
    python tests/harden/damaged_files.py --every 1   at every byte

At each place in turn one bit is flipped, a byte is overwritten by 0 or 255, left out or repeated, and the file ends
there. A reader may raise ValueError naming the file (import_onnx: NotImplementedError, too), at once and without a
warning. What it returns instead must be what was saved; in a format without checksums, something of that kind. Readers
run in child processes.
"""

import argparse
import gzip
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl import callbacks, images, nn, optim
from minidl.data.idx import to_idx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))
from guard import faults

SECONDS = 5.0  # a reader that takes longer hangs
MEMORY = 1 << 30  # bytes that reading may take
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Format:
    """How a file is made and read. `same` says whether what was read will do."""

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    same: Callable[[Any, Any], bool]
    errors: tuple[type[Exception], ...] = (ValueError,)


def equal(found: Any, saved: Any) -> bool:
    """The same tree, dtypes and bits."""
    if type(found) is not type(saved):
        return False
    if isinstance(saved, np.ndarray):
        return (found.dtype, found.shape, found.tobytes()) == (
            saved.dtype,
            saved.shape,
            saved.tobytes(),
        )
    if isinstance(saved, dict):
        return found.keys() == saved.keys() and all(equal(found[k], saved[k]) for k in saved)
    if isinstance(saved, list | tuple):
        return len(found) == len(saved) and all(map(equal, found, saved))
    return found == saved


def alike(found: Any, saved: Any) -> bool:
    """An array where one was saved: without checksums a damaged file may be another good one."""
    return type(found) is type(saved) and (
        not isinstance(saved, tuple | list) or all(map(alike, found, saved))
    )


def network() -> nn.Sequential:
    md.manual_seed(0)
    return nn.Sequential(
        nn.Conv(1, 3, (3, 3)), nn.BatchNorm(3), nn.ReLU(), nn.Flatten(), nn.Affine(48, 3)
    )


STATE = {
    "model": {"weight": RNG.normal(size=(20, 9)).astype("float32"), "bias": np.arange(9.0)},
    "moments": [RNG.normal(size=(20, 9)), np.zeros((0, 2), np.float16)],
    "step": 1234, "name": "run", "mask": RNG.random(100) < 0.5, "tuple": (1.5, float("inf"), None),
}  # fmt: skip
X, TARGET = RNG.normal(size=(8, 1, 6, 6)).astype("float32"), np.arange(8) % 3


def saved(state: Any) -> Callable[[Path], None]:
    return lambda path: md.save(state, path)


def training(path: Path, resume: bool = False) -> Any:
    """A short training with its file, or what such a file gives to one that is resumed."""
    model = network()
    optimizer = optim.Adam(model.parameters())
    loader = md.data.DataLoader((X, TARGET), 4, shuffle=True)
    before = model.state_dict(), optimizer.state_dict()
    try:
        md.fit(
            model, loader, "cross_entropy", optimizer, 1, progress=False,
            callbacks=[callbacks.Checkpoint(path, resume=resume)],
        )  # fmt: skip
    except ValueError:
        assert equal((model.state_dict(), optimizer.state_dict()), before), "changed by a bad file"
        raise
    return dict(model.state_dict()), optimizer.state_dict()


def idx(compress: bool) -> Callable[[Path], None]:
    content = to_idx(RNG.integers(0, 256, size=(20, 8, 8), dtype=np.uint8))
    return lambda path: path.write_bytes(gzip.compress(content, mtime=0) if compress else content)


def table(path: Path) -> None:
    rows = [f"{a:.4g},{b:.6g},{'abc'[i % 3]}" for i, (a, b) in enumerate(RNG.normal(size=(60, 2)))]
    path.write_text("\n".join(["first,second,kind", *rows, ""]))


def picture(path: Path) -> None:
    images.write(RNG.integers(0, 256, size=(24, 24, 3), dtype=np.uint8), path)


def onnx_outputs(path: Path) -> np.ndarray:
    """What the model says of a batch."""
    model = md.import_onnx(path)
    try:
        with np.errstate(all="ignore"):
            return model(X).data
    except (TypeError, ValueError, NotImplementedError) as error:  # good for other shapes, perhaps
        assert "node '" in str(error), f"names no node: {error}"
        return X


def safetensors(path: Path) -> None:
    """A file of the library's own, without minidl's checksums."""
    import safetensors.numpy

    safetensors.numpy.save_file({"w": RNG.normal(size=(9, 9)), "b": np.arange(5)}, path)


def weight(path: Path) -> np.ndarray:
    return nn.Affine(20, 9, weight=path).weight.data


def numbers(write: Callable[[Path, np.ndarray], None]) -> Callable[[Path], None]:
    return lambda path: write(path, RNG.normal(size=(9, 20)).astype("float32"))


FORMATS = {
    "state.npz": Format(saved(STATE), md.load, equal),
    "state.safetensors": Format(saved(STATE), md.load, equal),
    "flat.npz": Format(saved(STATE["model"]), md.load, equal),
    "compressed.npz": Format(
        lambda path: np.savez_compressed(path, **STATE["model"]), md.load, equal
    ),
    "library.safetensors": Format(safetensors, md.load, alike),
    "checkpoint.npz": Format(training, lambda path: training(path, resume=True), equal),
    "checkpoint.safetensors": Format(training, lambda path: training(path, resume=True), equal),
    "weight.npy": Format(numbers(np.save), weight, alike),
    "weight.npz": Format(numbers(lambda path, w: np.savez(path, weight=w)), weight, equal),
    "weight.csv": Format(numbers(lambda path, w: np.savetxt(path, w, delimiter=",")), weight, alike),
    "images.idx": Format(idx(False), md.data.read_idx, alike),
    "images.idx.gz": Format(idx(True), md.data.read_idx, equal),
    "table.csv": Format(table, lambda path: md.data.read_csv(path, "kind"), alike),
    "picture.png": Format(picture, images.read, equal),
    "picture.bmp": Format(picture, images.read, alike),
    "picture.jpg": Format(picture, images.read, alike),
    "model.onnx": Format(
        lambda path: md.export_onnx(network(), X, path), onnx_outputs, alike,
        (ValueError, NotImplementedError),
    ),
}  # fmt: skip

DAMAGES: dict[str, Callable[[bytearray, int], bytes]] = {
    "flipped": lambda b, i: b[:i] + bytes([b[i] ^ (1 << (i // 64) % 8)]) + b[i + 1 :],
    "0": lambda b, i: b[:i] + b"\0" + b[i + 1 :],
    "255": lambda b, i: b[:i] + b"\xff" + b[i + 1 :],
    "left out": lambda b, i: b[:i] + b[i + 1 :],
    "repeated": lambda b, i: b[:i] + b[i : i + 1] + b[i:],
    "cut": lambda b, i: b[:i],
}


def hunt(name: str, form: Format, folder: Path, every: int) -> tuple[list[str], str]:
    """What goes wrong with one format, and a line of figures."""
    path = folder / name
    form.make(path)
    whole = bytearray(path.read_bytes())
    given = form.read(path)
    assert form.same(form.read(path), given), f"{name}: not even the whole file is read alike"
    cases = [(kind, at) for at in range(0, len(whole), every) for kind in DAMAGES]

    def attempt(index: int, note: Callable[[str], None]) -> None:
        kind, at = cases[index]
        note(f"{name}: byte {at} of {len(whole)} {kind}")
        content = DAMAGES[kind](whole, at)
        path.write_bytes(content)
        begun = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = form.read(path)
        except form.errors as error:
            assert name in str(error) or isinstance(error, NotImplementedError), f"no name: {error}"
        else:
            assert content == whole or form.same(found, given), "silently wrong"
        assert time.process_time() - begun < SECONDS, "takes too long"

    found = faults(len(cases), attempt, most=10, seconds=300)
    return found, f"{name} {len(cases)}"


def limit_memory() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.RLIM_INFINITY))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=64)
    parser.add_argument("--only", default="", help="formats whose name contains this")
    options = parser.parse_args()
    limit_memory()
    findings, figures = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, form in FORMATS.items():
            if options.only in name:
                found, figure = hunt(name, form, Path(folder), options.every)
                findings += found
                figures.append(figure)
    print(*findings, sep="\n")
    print(f"{len(findings)} findings in damaged files: {', '.join(figures)}")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
