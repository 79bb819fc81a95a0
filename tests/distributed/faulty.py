"""Ranks of which one is at fault: ``python -m tests.distributed.faulty KIND [FOLDER]``."""

import atexit
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import minidl as md
from minidl import _kernels as K
from minidl import callbacks, data, nn, optim
from minidl import functional as F
from minidl.distributed import DataParallel, world

CULPRIT = 2


def say(text):
    os.write(1, (text + "\n").encode())  # in one piece


class Here(ArithmeticError):
    pass


def raises():
    raise Here("this is the message\nof two lines")


def differs(model):
    model[0].bias.data[0] += 1e-6


FAULTS = {
    "raises": raises,
    "hangs": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "sleeps": lambda: time.sleep(60),
    "is_killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "is_interrupted": lambda: os.kill(os.getpid(), signal.SIGINT),
    "exits": lambda: sys.exit(0),
    "aborts": lambda: world().abort("enough"),
}


def steps(kind):
    """A loop of one's own, in whose third step one rank is at fault."""
    md.manual_seed(0)
    width = 9 if kind == "has_other_shapes" and world().rank == CULPRIT else 8
    model = nn.Sequential(nn.Affine(4, width), nn.Tanh(), nn.Affine(width, 2))
    if kind == "begins_differently" and world().rank == CULPRIT:
        differs(model)
    options = {}
    if kind == "shards_differ" and world().rank == CULPRIT:
        options["shards"] = 6
    if kind == "levels_differ" and world().rank == CULPRIT:
        K.active = "reference"
    if kind == "shapes_differ" and world().rank >= CULPRIT:
        model[2] = nn.Affine(8, 3)
    parallel = DataParallel(model, optim.SGD(model.parameters(), 0.1), check_every=4, **options)
    x, target = np.ones((16, 4), "float32"), np.arange(16) % 2
    count = 0

    def loss(x, target):
        if kind in FAULTS and count == 2 and world().rank == CULPRIT:
            FAULTS[kind]()
        if kind in ("all_raise", "caught") and count == 2:
            raises()
        if kind == "waits_at_last" and count == 2 and world().rank == CULPRIT:
            raises()
        return F.cross_entropy(model(x), target)

    for count in range(2000 if kind == "forever" else 6):
        try:
            if kind == "batches_differ" and world().rank == CULPRIT:
                x, target = x[:14], target[:14]
            if kind == "samples_differ" and world().rank == CULPRIT:
                target = target[::-1]
            parallel.step(loss, x, target)
        except Here:
            if kind != "caught":
                raise
        finally:
            if kind == "waits_at_last":
                world().barrier()
            if kind == "raises" and world().rank == 0 and count == 2:
                say("rank 0 could tidy up")
        if kind == "differs" and count == 1 and world().rank == CULPRIT:
            differs(model)
        if kind == "forever":
            time.sleep(0.01)
            if count == 2 and world().is_main:
                say("going")
    if kind == "raises_outside" and world().rank == CULPRIT:
        raises()
    world().barrier()
    if kind == "hangs_at_the_end" and world().rank == CULPRIT:
        FAULTS["hangs"]()


def data_differ(kind):
    """`md.fit` with other data on one rank, or a callback that waits for ranks which do not call it."""
    md.manual_seed(0)
    model = nn.Affine(4, 2)
    x, target = np.ones((16, 4), "float32"), np.arange(16) % 2
    parallel = DataParallel(model, optim.SGD(model.parameters(), 0.1))
    culprit = world().rank == CULPRIT
    train, valid = (x + (culprit and kind == "data_differ"), target), [(x, target)] * 2
    if culprit and kind == "validation_differs":
        valid.pop()
    called = [lambda training: world().barrier()] if kind == "callback_waits" else []
    loader = data.DataLoader(train, 8)
    md.fit(model, loader, "cross_entropy", parallel, 1, valid, callbacks=called, progress=False)


def fits(kind, folder):
    """`md.fit` with a checkpoint, until Ctrl-C."""
    md.manual_seed(0)
    model = nn.Sequential(nn.Affine(4, 8), nn.BatchNorm(8), nn.Tanh(), nn.Affine(8, 2))
    x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
    loader = data.DataLoader((x, np.arange(64) % 2), 16, shuffle=True, rng=0)

    def slowly(training):
        time.sleep(0.05)
        if training.step == 3:
            say("going")

    slow = callbacks.every_batch(lambda: None)
    slow.on_batch_end = slowly
    history = md.fit(
        model,
        loader,
        "cross_entropy",
        DataParallel(model, optim.Adam(model.parameters())),
        int(os.environ.get("EPOCHS", 1000)),
        callbacks=[slow, callbacks.Checkpoint(Path(folder, "run.npz"), every=2, resume=True)],
        progress=False,
    )
    say(f"rank {world().rank}: interrupted={history.interrupted}, {len(history)} epochs")


def last_validation():
    """`md.fit`, with Ctrl-C on one rank in the validation of the last epoch."""
    md.manual_seed(0)
    model = nn.Sequential(nn.Affine(4, 2))
    x, target = np.ones((16, 4), "float32"), np.arange(16) % 2
    measured = []

    class Validation(list):
        def __iter__(self):
            measured.append(1)
            if len(measured) == 2 and world().rank == CULPRIT:
                FAULTS["is_interrupted"]()
            return super().__iter__()

    parallel = DataParallel(model, optim.SGD(model.parameters(), 0.1))
    loader, valid = data.DataLoader((x, target), 8), Validation([(x, target)])
    history = md.fit(model, loader, "cross_entropy", parallel, 2, valid, progress=False)
    say(f"rank {world().rank}: interrupted={history.interrupted}, {len(history)} epochs")


if __name__ == "__main__":
    if sys.argv[1] == "hangs_at_last":
        # What is registered first runs last: MPI_Finalize comes next.
        atexit.register(lambda: FAULTS["hangs"]() if world().rank == CULPRIT else None)
    world(timeout=float(os.environ.get("PATIENCE", 60)))
    say(f"rank {world().rank} is {os.getpid()}")
    if sys.argv[1] == "fits":
        fits(*sys.argv[1:])
    elif sys.argv[1] == "last_validation":
        last_validation()
    elif sys.argv[1] in ("data_differ", "validation_differs", "callback_waits"):
        data_differ(sys.argv[1])
    else:
        steps(sys.argv[1])
