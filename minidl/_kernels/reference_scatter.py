"""The NumPy twin of scatter.pyx."""

from __future__ import annotations

import numpy as np


def add_rows(x, ids, rows):
    y = np.zeros((rows, x.shape[1]), x.dtype)
    np.add.at(y, np.asarray(ids), x)
    return y
