"""Matrix products.

In the order of reading: `gemm` (entry points), `product` (what a product is), `tile` (the innermost loops), `blocking`
(packing, and cutting into tasks), `dots` (narrow products).
"""
