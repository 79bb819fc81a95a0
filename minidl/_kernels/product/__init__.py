"""Matrix products.

In the order of reading: `gemm` (entry points), `product` (what a product is), `tile` (the innermost loops), `panels`
(how the right operand is packed and the work cut into tasks, for convolutions too), `blocking` (the loops over parts
that fit the caches), `dots` (narrow products).
"""
