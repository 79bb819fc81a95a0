"""What every kernel runs on. These modules are compiled once, not per CPU level.

In the order of reading: `pool` (the thread pool), `memory` (recycled arrays), `cpu` (which levels run here),
`epilogues` (activations that other kernels apply), `prepared` (calls that a captured step does again), `fields` (what
it must find unchanged), `shared` (what several Python threads change at once), `sizes` (products that cannot overflow).
"""
