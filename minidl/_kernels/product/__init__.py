"""Matrix products.

In the order of reading: `gemm` (entry points), `product` (what a product is), `blocking` (the loops over parts that fit
the caches), `panels` (how the right operand is packed and the work cut into tasks, for convolutions too), `block` (one
task), `tile` (the innermost loop), `dots` (a matrix times a vector, and few rows times rows), `narrow` (few columns).
"""
