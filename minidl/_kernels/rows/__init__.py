"""Loops in which the elements of a row depend on one another.

In the order of reading: `folding` and `reduction` (sums and extrema), `softmax` (with cross-entropy), `normalization`
(of rows), `batch_norm` and its loops `batch_norm_loops`, `pooling`, `scatter`, `scan`.
"""
