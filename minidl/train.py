"""The training loop under its public path: ``from minidl.train import every_batch``. It is in `minidl.training.fit`."""

from minidl.training.fit import Training, evaluate, every_batch, fit
from minidl.training.history import History

__all__ = ["History", "Training", "evaluate", "every_batch", "fit"]
