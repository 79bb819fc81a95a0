"""Checkpoint: saves a training, and resumes it with the same bits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from minidl import check
from minidl.io.saving import FORMATS, load, save
from minidl.training.state import Training


class Checkpoint:
    """Saves the whole training after each epoch and, if asked, every `every` steps of the optimizer; resumes it.

    A resumed run has the same bits as one that was never interrupted: the file holds the model, the optimizer, the
    loader's place in its epoch, the totals of that epoch, the history, the random generators (the library's, the
    loader's and those of layers), and what the callbacks keep: `optim.EMA`, `EarlyStopping`, schedules in
    ``every_batch(schedule.step)`` or ``every_epoch(...)``, and any other with ``state_dict()`` and
    ``load_state_dict()``. Variables of a function of your own are not saved.

    The file is replaced atomically: after a power failure it is the old one or the new one. After Ctrl-C it is
    written once more. ``md.load(path)["model"]`` is the model's state alone, for ``model.load_state_dict``.

    Args:
        path: of an ``.npz`` or ``.safetensors`` file.
        every: how many steps of the optimizer lie between two saves; None saves after epochs only.
        resume: True continues from the file if it exists. ``epochs`` of `md.fit` includes the epochs already done.

    Raises:
        ValueError: `path` has another ending; on resuming, a file that does not fit the training (nothing has changed).
        TypeError: when the training begins, a loader or optimizer without ``state_dict()`` and ``load_state_dict()``.
        FileNotFoundError: when the training begins, the folder of the file does not exist.

    >>> import minidl as md
    >>> from minidl import nn, optim
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "run.npz")
    >>> def run(epochs):
    ...     md.manual_seed(0)
    ...     model = nn.Affine(2, 2)
    ...     optimizer = optim.Adam(model.parameters())
    ...     loader = md.data.DataLoader((np.eye(2, dtype="float32"), [0, 1]), 1, shuffle=True)
    ...     return md.fit(model, loader, "cross_entropy", optimizer, epochs,
    ...                   callbacks=[Checkpoint(path, resume=True)], progress=False)
    >>> _ = run(2)
    >>> resumed = run(3)["loss"]  # one more epoch
    >>> path.unlink()
    >>> resumed == run(3)["loss"]
    True
    """

    sees_all = True  # it is called after the other callbacks, to save what they changed
    only_looks = True  # (see `minidl.training.ranks`; what it loads is noticed)

    def __init__(
        self, path: str | os.PathLike[str], every: int | None = None, resume: bool = False
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"Checkpoint: path: expected the path of a file, got {path!r}")
        self.path = Path(path)
        if self.path.suffix.lower() not in FORMATS:
            raise ValueError(f"Checkpoint: path: {path} must end in one of {', '.join(FORMATS)}")
        self.every = None if every is None else check.integer("Checkpoint", "every", every, 1)
        self.resume = check.flag("Checkpoint", "resume", resume)

    def on_train_begin(self, training: Training) -> None:
        """Checks that the training can be saved; resumes it if `resume` is True and the file exists."""
        for name, thing in (("loader", training.loader), ("optimizer", training.optimizer)):
            stateful = hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")
            if not stateful and not (name == "loader" and isinstance(thing, list)):
                raise TypeError(
                    f"Checkpoint: {name}: {type(thing).__name__} has no state_dict() and "
                    "load_state_dict(): the training could not be resumed"
                )
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"Checkpoint: {self.path}: its folder is not there")
        if self.resume and self.path.exists():
            state: Any = load(self.path)
            try:
                training.load_state_dict(state)
            except (ValueError, RuntimeError, TypeError, KeyError) as error:
                raise ValueError(f"Checkpoint: {self.path}: {error}") from error

    def on_batch_end(self, training: Training) -> None:
        """Saves once in `every` steps."""
        if self.every is not None and training.step % self.every == 0:
            save(training.state_dict(), self.path)

    def on_epoch_end(self, training: Training) -> None:
        """Saves."""
        save(training.state_dict(), self.path)

    def on_train_end(self, training: Training) -> None:
        """Saves after Ctrl-C."""
        if training.interrupted:
            save(training.state_dict(), self.path)
