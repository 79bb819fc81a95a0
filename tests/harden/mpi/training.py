"""A training over MPI ranks that saves each step and resumes where it was: what the other scripts of this folder kill.

    mpiexec -n 4 python tests/harden/mpi/training.py run.npz

Prints a digest of the parameters and buffers at the end.
"""

from __future__ import annotations

import argparse
import hashlib

import numpy as np

import minidl as md
from minidl import callbacks, distributed, nn, optim

rng = np.random.default_rng(0)
X = rng.normal(size=(160, 6)).astype(np.float32)
TARGET = np.arange(160) % 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--timeout", type=float, default=60.0)
    args = parser.parse_args()
    world = distributed.world(timeout=args.timeout)
    md.manual_seed(0)
    model = nn.Sequential(nn.Affine(6, 64), nn.BatchNorm(64), nn.Dropout(0.2), nn.Affine(64, 3))
    loader = md.data.DataLoader((X, TARGET), 32, shuffle=True)
    parallel = distributed.DataParallel(model, optim.Adam(model.parameters()), shards=8)
    checkpoint = callbacks.Checkpoint(args.path, every=1, resume=True)
    md.fit(
        model, loader, "cross_entropy", parallel, args.epochs, progress=False,
        callbacks=[checkpoint],
    )  # fmt: skip
    if world.is_main:
        print(f"digest {digest(model)}", flush=True)


def digest(model: nn.Module) -> str:
    """A hash of all bits of a model."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    main()
