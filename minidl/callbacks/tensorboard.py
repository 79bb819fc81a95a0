"""TensorBoard: the history of a training as TensorBoard shows it."""

from __future__ import annotations

import os
from typing import Any

from minidl import check
from minidl.training.state import Training


class TensorBoard:
    """Writes the history's values of each epoch for TensorBoard: ``tensorboard --logdir folder``.

    "loss/training" and "loss/validation" share a plot, so do metrics; "lr" and "time" have one each. The library
    tensorboardX writes them.

    Args:
        folder: for the files of one run; created if it does not exist.
        every: also write the loss of a batch, "loss/step", once in this many steps of the optimizer.

    Raises:
        ModuleNotFoundError: tensorboardX is missing; says how to install it.
    """

    only_looks = True  # (see `minidl.training.ranks`)

    def __init__(self, folder: str | os.PathLike[str], every: int | None = None) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"TensorBoard: folder: expected a path, got {folder!r}")
        self.every = None if every is None else check.integer("TensorBoard", "every", every, 1)
        self.folder = os.fspath(folder)
        self.writer: Any = None
        _writer_class()

    def on_train_begin(self, training: Training) -> None:
        """Opens a file in the folder."""
        self.writer = _writer_class()(self.folder)
        training.cleanup.callback(self.writer.close)

    def on_batch_end(self, training: Training) -> None:
        """Writes the loss of the batch."""
        if self.every is not None and training.step % self.every == 0:
            self.writer.add_scalar("loss/step", training.loss, training.step)

    def on_epoch_end(self, training: Training) -> None:
        """Writes the latest values of the history."""
        for name, values in training.history.history.items():
            self.writer.add_scalar(_tag(name), values[-1], training.epoch)
        self.writer.flush()


def _tag(name: str) -> str:
    if name in ("lr", "time"):
        return name
    measured = name.removeprefix("val_")
    return f"{measured}/{'training' if measured == name else 'validation'}"


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter  # an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'TensorBoard: tensorboardX is missing; install it with: pip install "minidl[tensorboard]"'
        ) from error
    return SummaryWriter
