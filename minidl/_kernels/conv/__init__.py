"""Convolutions and their gradients.

A ladder: the plain sum over taps (reference/conv.py, in NumPy), the same on the register tile (`direct`), for each
phase of a stride (`phases`), with vectors along the pixels where outputs are few (`runs`) or where a single tap sees an
image in C order (`pointwise`), transposed as a product that is added up where its results overlap (`overlap`, `lines`),
and Winograd's algorithm (`winograd`, `winograd_sums`), which takes fewer products for 3 x 3 kernels, and 4 x 4 with
stride 2: docs/winograd.md explains and measures it, MINIDL_WINOGRAD=0 turns it off.

In the order of reading: `conv` (entry points), `image` (padding), `direct`, `phases`, `weight_gradient`, `pointwise`,
`runs`, `runs_convolution`, `runs_gradient`, `overlap`, `lines`, `winograd`, `winograd_sums`.
"""
