"""Activation functions and their relatives.

In the order of reading: `activation` (what is declared of an elementwise activation, and the op that runs any of
them), `piecewise_linear`, `smooth` and `self_gated` (the functions), `table` (all of them by name), `prelu` (slopes
that are learned), `softmax`, `gates` (maxout, CReLU, GLU), `noise` (dropout and RReLU).
"""

from minidl.ops.activations import piecewise_linear, smooth, self_gated  # isort: skip  (the order of the table)
