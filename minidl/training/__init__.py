"""Training loops, what is recorded of them, and what is shown meanwhile.

In the order of reading: `fit` (the loop), `metrics`, `history` (the numbers of every epoch), `progress` (bars),
`watching` (how `minidl.monitor` looks into a model).
"""
