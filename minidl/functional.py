"""F: every stateless function by its name, no logic. ``from minidl import functional as F; F.relu(x)``."""

from minidl.ops.activations.gates import crelu, glu, maxout
from minidl.ops.activations.noise import dropout, rrelu
from minidl.ops.activations.prelu import prelu
from minidl.ops.activations.softmax import log_softmax, softmax
from minidl.ops.activations.table import FUNCTIONS, identity
from minidl.ops.batch_norm import batch_norm
from minidl.ops.indexing import embedding
from minidl.ops.linalg import affine
from minidl.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    one_hot,
)
from minidl.ops.norm import group_norm, instance_norm, layer_norm
from minidl.ops.spatial.conv import conv, conv_transpose
from minidl.ops.spatial.pooling import avg_pool, max_pool, pixel_shuffle, upsample

globals().update(FUNCTIONS)  # relu, sigmoid, ...: one for each row of the activation table

__all__ = [
    "affine",
    "avg_pool",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv",
    "conv_transpose",
    "crelu",
    "cross_entropy",
    "dropout",
    "embedding",
    "glu",
    "group_norm",
    "huber_loss",
    "identity",
    "instance_norm",
    "l1_loss",
    "layer_norm",
    "log_softmax",
    "maxout",
    "max_pool",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "pixel_shuffle",
    "prelu",
    "rrelu",
    "softmax",
    "upsample",
    *FUNCTIONS,
]
