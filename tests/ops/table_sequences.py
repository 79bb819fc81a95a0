"""The rows of table.py for recurrent layers and attention."""

from __future__ import annotations

import numpy as np

from minidl import functional as F
from minidl import ops

from .table import Row, normal

ALLOWED = np.array([[True, False, True], [False, False, False]])


def layer(gates: int) -> tuple:
    """x, the weights and biases: 4 steps of 2 samples, 3 features to 2."""
    return (4, 2, 3), (2 * gates, 3), (2 * gates, 2), (2 * gates,), (2 * gates,)


ROWS = [
    Row(
        "F.rnn",
        lambda x, *p: ops.concatenate([F.rnn(x, None, *p)[0], F.rnn(x, None, *p, reverse=True)[0]]),
        normal(*layer(1)),
        rtol=1e-4,
    ),
    Row(
        "F.rnn/relu, a first state",
        lambda h, x, w, wh: F.rnn(x, h, w, wh, nonlinearity="relu")[0],
        normal((2, 2), *layer(1)[:3]),
        rtol=1e-4,
    ),
    Row(
        "F.lstm",
        lambda h, c, x, *p: ops.stack(
            [F.lstm(x, (h, c), *p)[1][1], F.lstm(x, (h, c), *p)[0].sum(0)]
        ),
        normal((2, 2), (2, 2), *layer(4)),
        rtol=1e-4,
    ),
    Row(
        "F.lstm/reverse, no biases",
        lambda x, w, wh: F.lstm(x, None, w, wh, reverse=True)[0],
        normal(*layer(4)[:3]),
        rtol=1e-4,
    ),
    Row(
        "F.gru",
        lambda h, x, *p: F.gru(x, h, *p, reverse=True)[0],
        normal((2, 2), *layer(3)),
        rtol=1e-4,
    ),
    Row(
        "F.gru/no biases",
        lambda x, w, wh: F.gru(x, None, w, wh)[1],
        normal(*layer(3)[:3]),
        rtol=1e-4,
    ),
    Row(
        "F.scaled_dot_product_attention",
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m),
        normal((2, 3, 4), (2, 5, 4), (2, 5, 2), (3, 5)),
        rtol=1e-4,
    ),
    Row(
        "F.scaled_dot_product_attention/causal, blocks of queries",
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        normal((130, 2), (90, 2), (90, 2)),
        rtol=1e-4,
    ),
    Row(
        "F.scaled_dot_product_attention/masks, dropout",
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, ALLOWED, True, 0.3, 3),
        normal((2, 4), (3, 4), (3, 2)),
        rtol=1e-4,
    ),
]
