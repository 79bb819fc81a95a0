"""Loops in which each element is computed on its own.

In the order of reading: `activations`, `formulas` and `elementwise` (arithmetic with broadcasting), `selection` (where,
clip), `losses`, `prelu`, `gates`, `noise`. `tasks` says how a loop is cut, `streaming` how large results are written.
"""
