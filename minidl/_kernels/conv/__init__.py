"""Convolutions and their gradients.

In the order of reading: `conv` (entry points), `image` (padding), `direct` (the sum over a kernel's taps), `phases`
(strides), `weight_gradient`, `winograd` and `winograd_sums` (fewer products for 3 x 3 and 4 x 4 kernels).
"""
