"""Ready-made callbacks for `md.fit`: ``from minidl import callbacks``.

In the order of reading: `stopping` (EarlyStopping), `checkpoint` (a run that is resumed with the same bits),
`tensorboard`.
What a callback is, and when it is called, is at the top of `minidl/training/fit.py`. `optim.EMA` is one, too.
"""

from minidl.callbacks.checkpoint import Checkpoint
from minidl.callbacks.stopping import EarlyStopping
from minidl.callbacks.tensorboard import TensorBoard
from minidl.training.fit import every_batch, every_epoch

__all__ = ["Checkpoint", "EarlyStopping", "TensorBoard", "every_batch", "every_epoch"]
