"""SIGKILL at random moments of a training that saves each step: what is resumed ends with the bits of one never killed.

python tests/harden/killed_training.py --kills 100
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import minidl as md
from minidl import callbacks, nn, optim

EPOCHS = 12
X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
TARGET = np.arange(40) % 3


def train(path: Path) -> None:
    """Trains, or goes on; the last save has all of it."""
    md.manual_seed(0)
    model = nn.Sequential(nn.Affine(6, 64), nn.BatchNorm(64), nn.Dropout(0.2), nn.Affine(64, 3))
    loader = md.data.DataLoader((X, TARGET), 8, shuffle=True)
    checkpoint = callbacks.Checkpoint(path, every=1, resume=True)
    optimizer = optim.Adam(model.parameters())
    md.fit(
        model, loader, "cross_entropy", optimizer, EPOCHS, progress=False, callbacks=[checkpoint]
    )


def state(path: Path) -> str:
    found = md.load(path)
    del found["history"]["time"]
    found["means"] = None  # they have a time, too
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return repr(found)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--ending", default=".npz")
    options = parser.parse_args()
    rng, kills, trainings, litter = random.Random(0), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole, path = (Path(folder, name, "run" + options.ending) for name in ("whole", "killed"))
        whole.parent.mkdir()
        path.parent.mkdir()
        train(whole)
        expected = state(whole)
        while kills < options.kills:
            child = os.fork()
            if not child:
                signal.alarm(60)  # one that hangs must fail
                train(path)
                os._exit(0)
            time.sleep(rng.uniform(0.01, 0.2))
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            names = os.listdir(path.parent)
            assert len(names) <= 2, f"litter: {names}"
            litter += any(name.endswith(".tmp") for name in names)
            if status == signal.SIGKILL:
                kills += 1
                if path.exists():
                    md.load(path)
                continue
            assert status == 0, f"a resumed training ended with status {status}"
            assert state(path) == expected, "a resumed training has other bits"
            path.unlink()
            trainings += 1
        train(path)
        assert state(path) == expected, "a resumed training has other bits"
        assert os.listdir(path.parent) == [path.name], "the last save has left something"
    print(
        f"{kills} kills ({litter} within a save), {trainings + 1} trainings ended with the same bits"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
