"""What the ranks of a test of `md.fit` run: ``-m tests.distributed.training FOLDER EPOCHS [STOP_AFTER [ACCUMULATE]]``.

Data in random order and form, validation, metrics, callbacks that change the training, and a checkpoint that is
resumed if it is there. Prints, on rank 0, a hash of all that is left in the end.
"""

import sys
from pathlib import Path

import numpy as np

import minidl as md
from minidl import callbacks, data, nn, optim
from minidl.distributed import DataParallel, world

from .programs import digest


class Clip:
    """Changes gradients, a parameter, a setting and the state of the generator: on rank 0, where it is called."""

    def on_train_begin(self, training):
        self.norms = []

    def on_backward_end(self, training):
        self.norms.append(optim.clip_grad_norm(training.model.parameters(), 0.5))

    def on_batch_end(self, training):
        if training.step % 5 == 0:
            weight = training.model[0].weight
            weight.data = weight.data.clip(-0.3, 0.3)

    def on_epoch_end(self, training):
        assert self.norms and world().is_main
        training.optimizer.groups[0]["weight_decay"] += 0.01
        md.randn(3)  # the library's generator is another afterwards


def noisy(x, target):
    return x + md.randn(*x.shape).numpy() * np.float32(0.1), target


def fit(folder, epochs, stop_after=None, accumulate=1, capture=False):
    md.manual_seed(0)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((150, 12)).astype("float32")
    target = (x[:, :3].sum(1) > 0).astype(int) + (x[:, 3] > 1)
    model = nn.Sequential(
        nn.Affine(12, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(0.2), nn.Affine(16, 3)
    )
    optimizer = optim.Adam(model.parameters(), 1e-2)
    parallel = DataParallel(model, optimizer, shards=8, check_every=3)
    ema = optim.EMA(model, 0.9)
    schedule = optim.StepLR(optimizer, 7, 0.8)
    seen = []

    def stop(training):
        seen.append(training.step)
        if training.epoch == stop_after:
            training.stop()

    history = md.fit(
        model,
        data.DataLoader((x[:110], target[:110]), 32, shuffle=True, transform=noisy),
        "cross_entropy",
        parallel,
        epochs,
        validation=data.DataLoader((x[110:], target[110:]), 25),
        metrics=("accuracy", "f1"),
        callbacks=[
            Clip(), callbacks.every_batch(schedule.step), ema, stop,
            callbacks.EarlyStopping("val_loss", 50),
            callbacks.Checkpoint(Path(folder, "run.npz"), every=3, resume=True),
        ],
        accumulate=accumulate,
        capture=bool(capture),
    )  # fmt: skip
    del history.history["time"]
    assert bool(seen) == world().is_main
    return digest([model], [optimizer], [history.history, ema.state_dict()])


class Freeze:
    """Changes layers on rank 0."""

    def on_batch_end(self, training):
        layers = training.model
        layers[0].weight.requires_grad = training.step % 3 != 0
        layers[1].train(training.step < 4)
        layers[3].p = training.step / 10


def freezes(capture=False):
    md.manual_seed(0)
    rng = np.random.default_rng(2)
    x, target = rng.standard_normal((64, 12)).astype("float32"), rng.integers(0, 3, 64)
    model = nn.Sequential(
        nn.Affine(12, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(0.2), nn.Affine(16, 3)
    )
    optimizer = optim.Adam(model.parameters(), 1e-2)
    md.fit(
        model, data.DataLoader((x, target), 16, shuffle=True), "cross_entropy",
        DataParallel(model, optimizer), 2, callbacks=[Freeze()], progress=False, capture=capture,
    )  # fmt: skip
    return digest([model], [optimizer], [])


if __name__ == "__main__":
    plain = sys.argv[1] != "freezes"
    found = fit(sys.argv[1], *map(int, sys.argv[2:])) if plain else freezes()
    everywhere = world().gather(found)
    assert all(its == found for its in everywhere), everywhere
    if world().is_main:
        print("found", found)
