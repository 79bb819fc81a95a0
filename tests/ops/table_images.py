"""The rows of table.py for images: normalisation, pooling, upsampling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minidl import functional as F
from minidl import ops

from .table import FUSED, Row, normal, spread

IMAGES = normal((3, 4, 2, 3), (4,), (4,))
MEAN, VAR = np.arange(4.0), np.arange(1.0, 5)


def trained(activation: Any = None) -> Callable:
    """Batch normalisation with the statistics of x."""
    return lambda x, *parameters: F.batch_norm(
        x, None, None, *(*parameters, None, None)[:2], training=True, eps=0.1, activation=activation
    )


def evaluated(x: Any, w: Any, b: Any) -> Any:
    return F.batch_norm(x, MEAN, VAR, w, b, activation="tanh")


def last(fn: Callable) -> Callable:
    """fn of images whose memory has the channels last."""
    return lambda x, *rest: fn((x.transpose(0, 2, 3, 1) * 1.0).transpose(0, 3, 1, 2), *rest)


ROWS = [
    Row("F.batch_norm", trained(), IMAGES, rtol=1e-4, single=1e-4, levels=True),
    Row("F.batch_norm/plain", trained(), normal((4, 3)), rtol=1e-4, single=1e-4, levels=True),
    Row("F.batch_norm/weight only", trained(), normal((2, 3, 4), (3,)), rtol=1e-4, single=1e-4),
    Row(
        "F.batch_norm/bias only",
        lambda x, b: F.batch_norm(x, None, None, None, b, training=True),
        normal((2, 3, 2, 2, 1), (3,)),
        rtol=1e-4,
        single=1e-4,
    ),
    Row("F.batch_norm/channels last", last(trained()), IMAGES, rtol=1e-4, single=1e-4, levels=True),
    Row("F.batch_norm/evaluating", evaluated, IMAGES, rtol=1e-4, levels=True),
    Row("F.batch_norm/evaluating, channels last", last(evaluated), IMAGES, rtol=1e-4, levels=True),
    *[
        Row(
            f"F.batch_norm/{name}{', channels last' if turn is last else ''}",
            turn(trained(name)),
            IMAGES,
            rtol=1e-3,
            single=1e-3,
            levels=True,
        )
        for name in (*FUSED, ("leaky_relu", 0.2))
        for turn in (last, lambda fn: fn)
    ],
    Row(
        "F.group_norm",
        lambda x, w, b: F.group_norm(x, 2, w, b),
        normal((2, 4, 3), (4,), (4,)),
        rtol=1e-4,
        single=1e-4,
        levels=True,
    ),
    Row("F.group_norm/plain", lambda x: F.group_norm(x, 2), normal((3, 6)), rtol=1e-4, single=1e-4),
    Row("F.instance_norm", F.instance_norm, IMAGES, rtol=1e-4, single=1e-4, levels=True),
    # Images
    Row("F.max_pool", lambda x: F.max_pool(x, 2), spread((2, 3, 4, 5)), levels=True),
    Row(
        "F.max_pool/channels last",
        last(lambda x: F.max_pool(x, 2)),
        spread((2, 3, 4, 5)),
        levels=True,
    ),
    Row("F.max_pool/overlapping", lambda x: F.max_pool(x, 3, 1, 1), spread((2, 2, 7)), levels=True),
    Row("F.max_pool/3-d", lambda x: F.max_pool(x, 2, 1), spread((1, 2, 3, 2, 3)), levels=True),
    Row("F.avg_pool", lambda x: F.avg_pool(x, 2), normal((2, 3, 4, 5)), levels=True),
    Row(
        "F.avg_pool/channels last",
        last(lambda x: F.avg_pool(x, 2)),
        normal((2, 3, 4, 5)),
        levels=True,
    ),
    Row("F.avg_pool/overlapping", lambda x: F.avg_pool(x, 3, 2, 1), normal((2, 2, 7)), levels=True),
    Row("F.avg_pool/3-d", lambda x: F.avg_pool(x, (1, 2, 3), 1), normal((1, 2, 3, 2, 3))),
    Row("F.upsample", lambda x: F.upsample(x, 2), normal((2, 3, 2, 2))),
    Row("F.upsample/channels last", last(lambda x: F.upsample(x, (2, 3))), normal((2, 3, 2, 2))),
    Row("F.pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), normal((2, 8, 2, 3))),
    Row(
        "F.pixel_shuffle/channels last", last(lambda x: F.pixel_shuffle(x, 2)), normal((2, 8, 2, 3))
    ),
    Row("F.pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), normal((2, 2, 4, 6))),
    *[
        Row(
            f"F.upsample/{mode}, {scale}",
            partial(F.upsample, scale=scale, mode=mode),
            normal(shape),
        )
        for mode, scale, shape in (
            ("bilinear", 2, (2, 1, 3, 4)),
            ("bilinear", (3, 1), (1, 2, 3, 2)),
            ("bicubic", (2, 3), (1, 2, 3, 4)),
            ("bicubic", 2, (2, 1, 1)),
        )
    ],
    Row("F.adaptive_avg_pool", lambda x: F.adaptive_avg_pool(x, (2, 3)), normal((2, 2, 5, 6))),
    Row("F.adaptive_avg_pool/to 1", lambda x: F.adaptive_avg_pool(x, 1), normal((2, 2, 3, 2))),
    Row("F.adaptive_max_pool", lambda x: F.adaptive_max_pool(x, 2), spread((2, 2, 5, 3))),
    Row("F.dropout2d", lambda x: F.dropout2d(x, 0.5, rng=3), normal((3, 4, 2, 2))),
    *[
        Row(
            f"ops.pad/{mode}",
            lambda x, m=mode: ops.pad(x, ((1, 2), (2, 0), (0, 1)), mode=m),
            normal((3, 3, 2)),
        )
        for mode in ("reflect", "replicate")
    ],
    Row(
        "F.conv/same",
        lambda x, w, b: F.conv(x, w, b, padding="same", dilation=(1, 2)),
        normal((2, 2, 4, 5), (3, 2, 4, 2), (3,)),
    ),
    Row("F.bilinear", F.bilinear, normal((2, 3, 2), (2, 3, 4), (3, 2, 4), (3,))),
]
