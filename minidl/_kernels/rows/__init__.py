"""Loops in which the elements of a row depend on one another.

In the order of reading: `folding` and `reduction` (sums and extrema), `softmax` (with cross-entropy; `softmax_columns`
along an axis that is not the last), `normalization` (of rows), `batch_norm` and its loops `batch_norm_loops`,
`pooling`, `scatter`, `scan`.
"""
