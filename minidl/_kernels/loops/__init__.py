"""Loops in which each element is computed on its own.

In the order of reading: `driver` (how a loop is specialised, cut into tasks and run), `activations`, `elementwise`
(arithmetic; `strided` walks arrays that broadcast), `selection` (where, clip), `losses`, `prelu`, `gates`, `noise`.
"""
