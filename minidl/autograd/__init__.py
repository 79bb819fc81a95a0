"""Automatic differentiation.

In the order of reading: `tensor` (an array, its gradient, and the op that made it), `op` (one operation: what it
computes and how a gradient passes through it), `engine` (the walk that carries gradients back), `modes` (no_grad and
its relatives), `tape` (what is remembered of a call), `changes` (how a tensor that was overwritten is noticed),
`decorate` (modes as decorators).

Forward: ``Op.__call__`` -> ``Record.run`` -> the op's ``forward`` on arrays; recorded if a gradient may be asked for.
Backward: ``Tensor.backward`` -> ``engine.walk`` -> the op's ``fused_backward`` or ``backward``, for the last op first.
"""
