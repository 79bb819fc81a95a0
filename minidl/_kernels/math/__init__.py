"""Functions of one number, branch-free, so that loops around them vectorise.

In the order of reading: `elementary` (exp, log ...), `power`, `compensated` (expm1, sinh, tanh, sigmoid, softplus, to
about 1 ulp), `trigonometric`, `rounding` (// and %), `normal` (erf, the normal distribution), `composed` (values and
slopes of activations that are more than one of these).
"""
