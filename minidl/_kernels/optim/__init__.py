"""The formulas of the optimizers.

In the order of reading: `formulas`, `updates` (the walk over all parameters, and the entry points).
"""
