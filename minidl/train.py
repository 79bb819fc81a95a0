"""The training loop under its public path: ``from minidl.train import every_batch``. It is in `minidl.training.fit`."""

from minidl.training.fit import evaluate, every_batch, every_epoch, fit
from minidl.training.history import History
from minidl.training.state import Training

__all__ = ["History", "Training", "evaluate", "every_batch", "every_epoch", "fit"]
