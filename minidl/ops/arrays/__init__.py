"""More functions on arrays, named and called as in NumPy.

In the order of reading: `elementary` (sin ... floor), `logic` (``//``, ``%``, ``~ & |``), `joining` (concatenate,
stack, split), `rearranging` (repeat ... triu), `order` (cumsum, sort), `creation` (zeros ... randn).
"""
