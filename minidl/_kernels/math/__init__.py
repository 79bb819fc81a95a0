"""Functions of one number, branch-free, so that loops around them vectorise.

In the order of reading: `elementary` (exp, log ...), `compensated` (expm1, tanh, sigmoid, softplus, to about 1 ulp),
`normal` (erf, the normal distribution), `composed` (values and slopes of activations that are more than one of these).
"""
