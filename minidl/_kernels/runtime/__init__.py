"""What every kernel runs on. These modules are compiled once, not per CPU level.

In the order of reading: `pool` (the thread pool), `memory` (recycled arrays), `cpu` (which levels run here),
`epilogues` (activations that other kernels apply), `platform` (what the pool needs of the operating system), `sizes`
(products that cannot overflow).
"""
