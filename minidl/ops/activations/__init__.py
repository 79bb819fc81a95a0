"""Activation functions and their relatives.

In the order of reading: `activation` (what a row of the table means, and the op that runs any row), `table` (one row
per elementwise activation), `prelu` (slopes that are learned), `softmax`, `gates` (maxout, CReLU, GLU), `noise`
(dropout and RReLU).
"""
