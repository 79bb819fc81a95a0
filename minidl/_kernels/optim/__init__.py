"""The formulas of the optimizers.

In the order of reading: `updates`.
"""
